"""The monitor on live topics: assessments per second, latency, CPU, memory.

    source /opt/ros/<distribution>/setup.bash && source install/setup.bash
    python benchmarks/live.py                 # two runs of ten minutes
    python benchmarks/live.py --seconds 20    # a short look

Joint states and wrench at 500 Hz each, suction pressure at 38 Hz and a 640x480 RGB image at 30 Hz
are published by a process of its own. The monitor (the real node, its operator with random
weights: timing does not depend on them) assesses 30 times a second, once from telemetry alone and
once with the camera, through the compact network. Beside it, in the same run, a bare rclpy node
subscribes to the same topics with typed messages and empty callbacks, and a listener takes the
time at which each assessment arrives.

Latency is from the stamp of the newest sample that an assessment rests on, set just before it was
published, to the arrival of the assessment in the listener: two passages through DDS included.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from latency import JOINTS, NS, STREAMS, machine, random_checkpoint
from rich.console import Console
from rich.table import Table

from pro_ros.files import atomic_file
from pro_ros.interfaces import header_message, typestore
from pro_ros.runtime.intake import Intake, Source
from pro_ros.runtime.live import LiveOperator
from pro_ros.runtime.pipeline import Pipeline
from pro_ros.runtime.readers import live_reader
from pro_ros.streams.decode import Decoder
from pro_ros.streams.spec import parse_spec

TARGETS = {
    "assessments_hz": 30.0, "latency_p50_ms": 5.0, "latency_p99_ms": 20.0,
    "latency_p99_ms_camera": 60.0, "subscription_cpu_ratio": 1.5,
}  # fmt: skip

TOPICS = {
    "/joint_states": ("sensor_msgs/msg/JointState", 500.0),
    "/wrench": ("geometry_msgs/msg/WrenchStamped", 500.0),
    "/suction": ("sensor_msgs/msg/FluidPressure", 38.0),
    "/camera/image_raw": ("sensor_msgs/msg/Image", 30.0),
}
HEIGHT, WIDTH = 480, 640
SETTLE_S = 5.0
"""Not counted: discovery and the first steps [s]."""

TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Orchestrate the runs, or be one of their processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = Path(__file__).parent / "results" / "live.json"
    parser.add_argument("--out", type=Path, default=default, help="JSON file to be written")
    parser.add_argument("--seconds", type=float, default=600.0, help="length of each run [s]")
    parser.add_argument("--hours", type=float, default=1.0, help="of simulated traffic [h]")
    parser.add_argument("--only", choices=("telemetry", "camera", "memory"), help="one part")
    parser.add_argument("--role", choices=tuple(ROLES), help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        ROLES[options.role](options.checkpoint)
        return
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    results: dict[str, Any] = {}
    if options.only and options.out.is_file():
        results = json.loads(options.out.read_text(encoding="utf-8"))
    results |= {"targets": TARGETS, "topics": TOPICS}
    if options.only != "memory":
        results["seconds"] = options.seconds
    for name in ("telemetry", "camera"):
        if options.only in (None, name):
            load = os.getloadavg()[0]
            with tempfile.TemporaryDirectory() as folder:
                results[name] = run(Path(folder), options.seconds, name == "camera")
            results[name]["machine"] = machine(load)
    if options.only in (None, "memory"):
        with tempfile.TemporaryDirectory() as folder:
            results["memory"] = simulated_traffic(Path(folder), options.hours)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(options.out) as path:
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    show(results)


# --- one run --------------------------------------------------------------------------------


def run(work: Path, seconds: float, camera: bool) -> dict[str, Any]:
    """Start the four processes, watch them, and collect what they say."""
    streams = copy.deepcopy(STREAMS)
    if camera:
        streams["streams"]["camera"] = {
            "modality": "visual", "rate": 30, "topic": "/camera/image_raw",
            "type": "sensor_msgs/msg/Image", "image": {"height": 64, "width": 96},
        }  # fmt: skip
    random_checkpoint(work / "model", parse_spec(streams, "live"))
    processes = {
        role: subprocess.Popen(
            [sys.executable, __file__, "--role", role, "--checkpoint", str(work / "model")],
            stdout=subprocess.PIPE, text=True, start_new_session=True,
        )
        for role in ROLES
    }  # fmt: skip
    try:
        for process in processes.values():
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise SystemExit("a process of the benchmark did not start")
        time.sleep(SETTLE_S)
        for process in processes.values():
            process.send_signal(signal.SIGUSR1)  # begin to count
        before = {role: cpu(process.pid) for role, process in processes.items()}
        began, memory = time.monotonic(), []
        while time.monotonic() - began < seconds:
            memory.append((time.monotonic() - began, resident(processes["monitor"].pid)))
            time.sleep(1.0)
        elapsed = time.monotonic() - began
        after = {role: cpu(process.pid) for role, process in processes.items()}
    finally:
        said = {}
        for process in processes.values():
            process.send_signal(signal.SIGINT)
        for role, process in processes.items():
            out, _ = process.communicate(timeout=60)
            said[role] = json.loads(out.strip().splitlines()[-1]) if out.strip() else {}
    share = {role: cpu_share(before[role], after[role], elapsed) for role in processes}
    operator = share["monitor"].pop(str(said["monitor"]["operator_thread"]), 0.0)
    return {
        **said["listener"],
        "inside": said["monitor"],
        "published_hz": said["player"],
        "cpu": {
            "subscriptions": sum(share["monitor"].values()),
            "operator": operator,
            "bare_node": sum(share["bare"].values()),
            "player": sum(share["player"].values()),
            "listener": sum(share["listener"].values()),
        },
        "subscription_cpu_ratio": sum(share["monitor"].values()) / sum(share["bare"].values()),
        "memory": slope(memory),
    }


def cpu(pid: int) -> dict[str, int]:
    """CPU time per thread [ticks]."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        found[task.name] = int(fields[11]) + int(fields[12])
    return found


def cpu_share(before: dict[str, int], after: dict[str, int], seconds: float) -> dict[str, float]:
    """Share of one core per thread."""
    return {task: (ticks - before.get(task, 0)) / TICKS / seconds for task, ticks in after.items()}


def resident(pid: int) -> float:
    """Resident memory [MiB]."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def slope(memory: list[tuple[float, float]]) -> dict[str, float]:
    """Memory at begin and end [MiB], and the slope of a line through its second half [MiB/h]."""
    t, used = np.array(memory).T
    late = t >= t[-1] / 2
    per_second = float(np.polyfit(t[late], used[late], 1)[0]) if late.sum() > 2 else 0.0
    return {
        "begin_mib": float(used[0]), "end_mib": float(used[-1]),
        "slope_mib_per_hour": 3600 * per_second,
    }  # fmt: skip


def simulated_traffic(work: Path, hours: float) -> dict[str, Any]:
    """Memory of the operator over hours of traffic, as fast as it goes: a clock that is set.

    Everything but ROS itself: intake, decoding, steps, judging, messages in CDR.
    """
    spec = parse_spec(STREAMS, "live")
    checkpoint = random_checkpoint(work / "model", spec)
    store = typestore()
    now = 1_700_000_000 * NS
    intake = Intake(lambda: now)
    readers, sources = {}, []
    for name, stream in spec.streams.items():
        kind = str(stream.type)
        source = Source((name,), 10 * stream.rate)
        readers[source] = [(name, live_reader(kind, store, Decoder(name, stream)))]
        sources.append((source, round(NS / stream.rate), bodies_of(store, kind)))
    published = 0

    def publish(topic: str, data: bytes) -> None:
        nonlocal published
        published += topic == "assessment"

    operator = LiveOperator(
        Pipeline(checkpoint), intake, readers, publish, lambda severity, line: None,
        max_lateness=1.0,
    )  # fmt: skip
    began = time.monotonic()
    due = [now] * len(sources)
    end, next_turn, next_look = now + round(3600 * hours * NS), now, now
    memory = []
    count = 0
    while now < end:
        at = min(range(len(due)), key=due.__getitem__)
        source, period, bodies = sources[at]
        now = due[at]
        due[at] += period
        count += 1
        body = bodies[count % len(bodies)]
        body[4:12] = np.array(divmod(now, NS), dtype=np.uint32).tobytes()
        intake.push(source, bytes(body))
        if now >= next_turn:
            operator.turn()
            next_turn += NS // 60
        if now >= next_look:
            memory.append(((now - end) / NS + 3600 * hours, resident(os.getpid())))
            next_look += 10 * NS
    return {
        "hours": hours, "messages": count, "assessments": published,
        "seconds_taken": time.monotonic() - began, **slope(memory),
    }  # fmt: skip


# --- its processes --------------------------------------------------------------------------


def counting() -> threading.Event:
    """Set when it is time to count."""
    begin = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: begin.set())
    return begin


def until_interrupted(spin: Callable[[], None]) -> None:
    """Spin until SIGINT, however rclpy says it."""
    import rclpy

    print("ready", flush=True)
    with contextlib.suppress(KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        spin()


def play(_: str) -> None:
    """Publish all topics at their rates, each message stamped just before it goes out."""
    import rclpy
    from rosidl_runtime_py.utilities import get_message

    begin = counting()
    rclpy.init()
    node = rclpy.create_node("player")
    store = typestore()
    bodies = {topic: bodies_of(store, kind) for topic, (kind, _) in TOPICS.items()}
    publishers = {
        topic: node.create_publisher(get_message(kind), topic, 10)
        for topic, (kind, _) in TOPICS.items()
    }
    start = time.time_ns()
    due = dict.fromkeys(TOPICS, start)
    count = dict.fromkeys(TOPICS, 0)
    counted_from: int | None = None
    print("ready", flush=True)
    try:
        while True:
            topic = min(due, key=due.__getitem__)
            wait = due[topic] - time.time_ns()
            if wait > 0:
                time.sleep(wait / NS)
            if counted_from is None and begin.is_set():
                counted_from, count = time.time_ns(), dict.fromkeys(TOPICS, 0)
            body = bodies[topic][count[topic] % len(bodies[topic])]
            now = time.time_ns()
            # The stamp is the first thing in each of these messages.
            body[4:12] = np.array(divmod(now, NS), dtype=np.uint32).tobytes()
            publishers[topic].publish(bytes(body))
            count[topic] += 1
            due[topic] += round(NS / TOPICS[topic][1])
    except KeyboardInterrupt:
        seconds = (time.time_ns() - (counted_from or start)) / NS
        print(json.dumps({topic: round(n / seconds, 2) for topic, n in count.items()}))


def bodies_of(store: Any, kind: str) -> list[bytearray]:
    """Some messages of a type in CDR, different from each other."""
    rng = np.random.default_rng(0)
    made = []
    for n in range(50 if kind != "sensor_msgs/msg/Image" else 4):
        header = header_message(store, 1)
        if kind == "sensor_msgs/msg/JointState":
            message = store.types[kind](
                header=header, name=JOINTS, position=np.sin(n / 8 + np.arange(6)),
                velocity=np.cos(n / 8 + np.arange(6)), effort=rng.normal(size=6),
            )  # fmt: skip
        elif kind == "geometry_msgs/msg/WrenchStamped":
            vectors = [
                store.types["geometry_msgs/msg/Vector3"](*map(float, rng.normal(size=3)))
                for _ in range(2)
            ]
            wrench = store.types["geometry_msgs/msg/Wrench"](*vectors)
            message = store.types[kind](header=header, wrench=wrench)
        elif kind == "sensor_msgs/msg/FluidPressure":
            message = store.types[kind](
                header=header, fluid_pressure=6e4 + 100 * rng.normal(), variance=0.0
            )
        else:
            pixels = rng.integers(0, 255, HEIGHT * WIDTH * 3, dtype=np.uint8)
            message = store.types[kind](
                header=header, height=HEIGHT, width=WIDTH, encoding="rgb8", is_bigendian=0,
                step=3 * WIDTH, data=pixels,
            )  # fmt: skip
        made.append(bytearray(store.serialize_cdr(message, kind)))
    return made


def monitor(checkpoint: str) -> None:
    """The real node."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter

    from pro_ros.nodes.pro_node import ProNode

    begin = counting()
    rclpy.init()
    node = ProNode(parameter_overrides=[Parameter("checkpoint", value=checkpoint)])
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    node.trigger_configure()
    node.trigger_activate()
    operator = node._operator
    assert operator is not None
    before = operator.counts

    def look() -> None:
        nonlocal before
        if begin.is_set():
            begin.clear()
            before = operator.counts

    node.create_timer(0.1, look)
    until_interrupted(executor.spin)
    health = operator.health()
    print(
        json.dumps(
            {
                "operator_thread": operator._thread.native_id,
                "steps": health.steps - before.steps,
                "assessed": health.assessed - before.assessed,
                "late": health.late - before.late,
                "valid": health.valid - before.valid,
                "failures": health.failures,
                "receipt_latency_p50_ms": 1e3 * health.latency_p50,
                "receipt_latency_p99_ms": 1e3 * health.latency_p99,
                "not_taken": {n: s.dropped + s.errors for n, s in health.streams.items()},
            }
        ),
        flush=True,
    )
    os._exit(0)


def bare(checkpoint: str) -> None:
    """A plain rclpy node: typed subscriptions, empty callbacks."""
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from rosidl_runtime_py.utilities import get_message

    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    rclpy.init()
    node = rclpy.create_node("bare")
    for topic, (kind, _) in topics_of(checkpoint).items():
        node.create_subscription(
            get_message(kind), topic, lambda message: None, qos_profile_sensor_data
        )
    until_interrupted(lambda: rclpy.spin(node))
    print(json.dumps({}), flush=True)
    os._exit(0)


def topics_of(checkpoint: str) -> dict[str, tuple[str, float]]:
    """The topics that the monitor subscribes to, for a fair comparison."""
    from pro_ros.model.checkpoint import load_checkpoint

    used = {stream.topic for stream in load_checkpoint(checkpoint).spec.streams.values()}
    return {topic: how for topic, how in TOPICS.items() if topic in used}


def listen(_: str) -> None:
    """Take the time of arrival of each assessment."""
    import rclpy
    from pro_ros.msg import Assessment

    begin = counting()
    rclpy.init()
    node = rclpy.create_node("listener")
    latencies: list[float] = []
    sequences: list[int] = []
    valid = 0

    def heard(message: Assessment) -> None:
        nonlocal valid
        now = time.time_ns()
        if not begin.is_set() or not message.validity & message.VALIDITY_VALID:
            return
        valid += 1
        step_ns = message.window_end.sec * NS + message.window_end.nanosec
        newest_ns = step_ns - round(min(message.ages) * NS)
        latencies.append((now - newest_ns) / 1e6)
        sequences.append(message.sequence)

    node.create_subscription(Assessment, "/pro/assessment", heard, 50)
    until_interrupted(lambda: rclpy.spin(node))
    gaps = int(np.sum(np.diff(sequences) - 1)) if len(sequences) > 1 else 0
    p50, p90, p99, most = np.percentile(latencies, [50, 90, 99, 100])
    print(
        json.dumps(
            {
                "valid_assessments": valid, "missed": gaps,
                "latency_p50_ms": p50, "latency_p90_ms": p90, "latency_p99_ms": p99,
                "latency_max_ms": most,
            }
        ),
        flush=True,
    )  # fmt: skip
    os._exit(0)


ROLES = {"monitor": monitor, "bare": bare, "listener": listen, "player": play}


def show(results: dict[str, Any]) -> None:
    """Print a table."""
    console = Console()
    if "memory" in results:
        console.print(results["memory"])
    names = [name for name in ("telemetry", "camera") if name in results]
    if not names:
        return
    table = Table("", *names, title=f"live, {results['seconds']:g} s")
    for key in ("valid_assessments", "missed", "latency_p50_ms", "latency_p99_ms",
                "latency_max_ms", "subscription_cpu_ratio"):  # fmt: skip
        table.add_row(key, *(f"{results[name][key]:.4g}" for name in names))
    for part in ("cpu", "memory", "published_hz", "inside"):
        for key in results[names[0]][part]:
            table.add_row(f"{part}: {key}", *(str(results[n][part].get(key))[:18] for n in names))
    console.print(table)


if __name__ == "__main__":
    main()
