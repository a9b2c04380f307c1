"""How long a step takes, how fast replay is, and how much memory it needs, on one CPU core.

    python benchmarks/latency.py

The default operator with random weights (timing does not depend on them) judges a made-up
recording with the topics and rates of a picking robot: joint states and wrench at 500 Hz, suction
pressure at 38 Hz, 30 assessments per second. The shipped UR3 recording is measured beside it: one
message per topic and step, the worst case for replay.

Replay is compared with what ``rosbags`` needs to deserialise the messages of the same recording.
Both run in turn, and the median of the ratios counts. Wall-clock times suffer where other
processes want the core; CPU times beside them do not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from rosbags.highlevel import AnyReader

from pro_ros.episodes.bags import BagRecording
from pro_ros.episodes.bagwriter import BagWriter
from pro_ros.files import atomic_file
from pro_ros.interfaces import header_message, typestore
from pro_ros.model.calibration import Affine, AlarmThreshold, Calibration
from pro_ros.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pro_ros.model.config import OperatorConfig
from pro_ros.model.factory import build_operator
from pro_ros.paths import share_file
from pro_ros.runtime.assessor import Assessor
from pro_ros.runtime.encoder import Encoder
from pro_ros.runtime.monitor import Monitor
from pro_ros.runtime.replay import replay
from pro_ros.streams.sample import Step
from pro_ros.streams.spec import RobotSpec, load_spec, parse_spec
from pro_ros.streams.stepper import Stepper

NS = 1_000_000_000
START_NS = 1_700_000_000 * NS
JOINTS = [f"joint_{n}" for n in range(6)]
XYZ = ("x", "y", "z")
SETTLED = 100
"""Steps that are not counted: the first ones fill caches."""

TARGETS = {"step_p50_ms": 1.0, "step_p99_ms": 3.0, "replay_over_deserialising": 2.0}

STREAMS: dict[str, Any] = {
    "format": "pro_ros/streams/1",
    "robot": "picker",
    "step": {"rate": 30},
    "gap": 1.0,
    "streams": {
        "joints": {
            "modality": "state",
            "topic": "/joint_states",
            "type": "sensor_msgs/msg/JointState",
            "rate": 500,
            "features": [
                {"name": field, "field": field, "names": JOINTS, "unit": unit}
                for field, unit in (("position", "rad"), ("velocity", "rad/s"), ("effort", "N*m"))
            ],
        },
        "wrench": {
            "modality": "telemetry",
            "topic": "/wrench",
            "type": "geometry_msgs/msg/WrenchStamped",
            "rate": 500,
            "features": [
                {"name": "force", "field": "wrench.force", "names": XYZ, "unit": "N"},
                {"name": "torque", "field": "wrench.torque", "names": XYZ, "unit": "N*m"},
            ],
            "norms": {"load": ["force.x", "force.y", "force.z"]},
            "summaries": [{"over": 0.5, "stats": ["mean", "std", "min", "max", "delta"]}],
        },
        "suction": {
            "modality": "telemetry",
            "topic": "/suction",
            "type": "sensor_msgs/msg/FluidPressure",
            "rate": 38,
            "features": [{"name": "pressure", "field": "fluid_pressure", "unit": "Pa"}],
            "summaries": [{"over": 1.0}, {"over": "episode", "stats": ["min", "max"]}],
        },
    },
    "events": {
        "grip_lost": {"signal": "suction.pressure", "kind": "grip_lost", "above": 95000},
        "collision": {"signal": "wrench.load", "kind": "failure", "above": 60},
    },
    "failure_modes": ["grip_lost", "collision"],
    "episodes": {"task": "pick the box", "context": {"sku": "A7", "robot": "picker"}},
}

STREAM_RATES = {f"{name}_hz": stream["rate"] for name, stream in STREAMS["streams"].items()}


def main() -> None:
    """Measure everything, print a table, write the JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = Path(__file__).parent / "results" / "latency.json"
    parser.add_argument("--out", type=Path, default=default, help="JSON file to be written")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the recording [s]")
    parser.add_argument(
        "--long", type=float, default=600.0, help="of the long one, for memory [s]"
    )
    parser.add_argument("--repeats", type=int, default=7, help="replays, each with its rival")
    parser.add_argument("--memory-of", nargs=3, metavar=("BAG", "CHECKPOINT", "OUT"),
                        help=argparse.SUPPRESS)  # fmt: skip
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        print(json.dumps(memory_of(*map(Path, options.memory_of))))
        return
    one_core()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder), options.seconds, options.long, options.repeats)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(options.out) as path:
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    show(results)


def measure(work: Path, seconds: float, long: float, repeats: int) -> dict[str, Any]:
    """All numbers; times in the unit that their names say."""
    load = os.getloadavg()[0]
    spec = parse_spec(STREAMS, "latency")
    checkpoint = random_checkpoint(work / "picker", spec)
    bag, long_bag = work / "bag", work / "long"
    make_bag(bag, seconds)
    make_bag(long_bag, long)
    steps = steps_of(bag, spec)
    ur3 = share_file("examples/ur3_cobotops")
    ur3_spec = load_spec(ur3 / "streams.yaml")
    ur3_checkpoint = random_checkpoint(work / "ur3", ur3_spec)
    results: dict[str, Any] = {
        "machine": machine(load),
        "targets": TARGETS,
        "recording": {"seconds": seconds, "assessments": len(steps), **STREAM_RATES},
        "operator": operator_size(checkpoint),
        "step": step_times(checkpoint, steps, bag),
        "replay": replay_ratio(bag, checkpoint, work, repeats),
        "replay_ur3": replay_ratio(ur3 / "recording", ur3_checkpoint, work, repeats),
        "memory": {
            f"{length:g} s": in_subprocess(path, work / "picker", work / "replayed")
            for path, length in ((bag, seconds), (long_bag, long))
        },
    }
    results["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    return results


STREAM_RATES = {f"{name}_hz": stream["rate"] for name, stream in STREAMS["streams"].items()}


def random_checkpoint(path: Path, spec: RobotSpec) -> Checkpoint:
    """A checkpoint of the default operator, calibrated and with an alarm, as after training."""
    torch.manual_seed(0)
    operator = build_operator(OperatorConfig(), spec)
    alarm = AlarmThreshold(
        target="any", horizon=5.0, criterion="miss_rate", requested=0.1, threshold=0.9,
        episodes=50, events=50, hours=1.0, refractory_s=5.0, method="made up",
    )  # fmt: skip
    hazard = {mode: Affine(slope=0.9, intercept=-1.0) for mode in spec.failure_modes}
    save_checkpoint(path, operator, spec, Calibration(hazard=hazard, alarms=(alarm,)))
    return load_checkpoint(path)


def make_bag(path: Path, seconds: float) -> None:
    """Write the made-up recording: smooth motion with noise, in the order of receipt."""
    store = typestore()
    rng = np.random.default_rng(0)

    def joints(t_ns: int) -> Any:
        phase = t_ns / NS + np.arange(6)
        return store.types["sensor_msgs/msg/JointState"](
            header=header_message(store, t_ns),
            name=JOINTS,
            position=np.sin(phase),
            velocity=np.cos(phase),
            effort=rng.normal(size=6),
        )

    def vector(values: Any) -> Any:
        x, y, z = values.tolist()
        return store.types["geometry_msgs/msg/Vector3"](x=x, y=y, z=z)

    def wrench(t_ns: int) -> Any:
        both = store.types["geometry_msgs/msg/Wrench"](
            force=vector(rng.normal(scale=10, size=3)), torque=vector(rng.normal(size=3))
        )
        header = header_message(store, t_ns)
        return store.types["geometry_msgs/msg/WrenchStamped"](header=header, wrench=both)

    def suction(t_ns: int) -> Any:
        held = 60_000.0 if t_ns // NS % 8 < 5 else 101_325.0
        return store.types["sensor_msgs/msg/FluidPressure"](
            header=header_message(store, t_ns),
            fluid_pressure=held + rng.normal(scale=100),
            variance=0.0,
        )

    makers: dict[str, Callable[[int], Any]] = {
        "joints": joints, "wrench": wrench, "suction": suction,
    }  # fmt: skip
    due = [
        (START_NS + round(k * NS / stream["rate"]), name)
        for name, stream in STREAMS["streams"].items()
        for k in range(int(seconds * stream["rate"]))
    ]
    due.sort()
    with BagWriter(path) as writer:
        for t_ns, name in due:
            stream = STREAMS["streams"][name]
            # Received a little after it was measured.
            writer.write(stream["topic"], stream["type"], t_ns + 200_000, makers[name](t_ns))


def steps_of(bag: Path, spec: RobotSpec) -> list[Step]:
    """All steps of a recording."""
    stepper = Stepper(spec)
    with BagRecording(bag, spec) as recording:
        steps = [step for sample in recording.samples() for step in stepper.feed(sample)]
    return steps + stepper.flush()


def step_times(checkpoint: Checkpoint, steps: list[Step], bag: Path) -> dict[str, Any]:
    """Percentiles of what one step costs: the operator alone, up to all that a node adds."""
    assessor = Assessor(checkpoint)
    monitor = Monitor(checkpoint)
    encoder = Encoder(monitor.source)

    def speak(step: Step) -> None:
        encoder.messages(monitor.state(step))

    return {
        "operator": percentiles(assessor.assess, steps),
        "operator_monitor_and_messages": percentiles(speak, steps),
        "window_operator_monitor_and_messages": whole_step(checkpoint, speak, bag),
    }


def percentiles(work: Callable[[Step], object], steps: list[Step]) -> dict[str, float]:
    """Time every call."""
    times = []
    for step in steps:
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        work(step)
        times.append((time.perf_counter_ns() - wall, time.thread_time_ns() - cpu))
    return summary(times)


def whole_step(
    checkpoint: Checkpoint, work: Callable[[Step], object], bag: Path
) -> dict[str, float]:
    """Time steps between samples as a node takes them, each with building its window."""
    stepper = Stepper(checkpoint.spec)
    times = []
    with BagRecording(bag, checkpoint.spec) as recording:
        for sample in recording.samples():
            wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
            steps = stepper.feed(sample)
            for step in steps:
                work(step)
            if steps:
                times.append((time.perf_counter_ns() - wall, time.thread_time_ns() - cpu))
    return summary(times)


def summary(times: list[tuple[int, int]]) -> dict[str, float]:
    """Milliseconds of wall-clock and CPU time."""
    settled = np.array(times[SETTLED:]) / 1e6
    return {
        f"{kind}_p{q}_ms": round(float(np.percentile(settled[:, n], q)), 4)
        for n, kind in enumerate(("wall", "cpu"))
        for q in (50, 99)
    }


def replay_ratio(bag: Path, checkpoint: Checkpoint, work: Path, repeats: int) -> dict[str, Any]:
    """Replay and plain deserialising in turn: medians of times [s] and of ratios."""

    def deserialise() -> None:
        with AnyReader([bag]) as reader:
            for connection, _, raw in reader.messages():
                reader.deserialize(raw, connection.msgtype)

    def once() -> Any:
        with BagRecording(bag, checkpoint.spec) as recording:
            return replay(recording, checkpoint, work / "replayed", overwrite=True)

    done = once()
    times = np.array([[*clocked(deserialise), *clocked(once)] for _ in range(repeats)])
    wall, cpu = times[:, 2] / times[:, 0], times[:, 3] / times[:, 1]
    medians = np.median(times, axis=0)
    return {
        "messages": done.messages,
        "messages_per_assessment": round(done.messages / done.steps, 1),
        "assessments": done.steps,
        "deserialising_cpu_s": round(float(medians[1]), 3),
        "replay_cpu_s": round(float(medians[3]), 3),
        "replay_over_deserialising": {
            "cpu": round(float(np.median(cpu)), 2),
            "cpu_range": [round(float(cpu.min()), 2), round(float(cpu.max()), 2)],
            "wall": round(float(np.median(wall)), 2),
        },
        "repeats": repeats,
    }


def clocked(work: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and CPU time of a call [s]."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def in_subprocess(bag: Path, checkpoint: Path, out: Path) -> dict[str, float]:
    """Peak memory of a replay in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", str(bag), str(checkpoint), str(out)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=-1).stdout)
    return found


def memory_of(bag: Path, checkpoint: Path, out: Path) -> dict[str, float]:
    """Largest resident size before and after a replay [MiB]."""
    trained = load_checkpoint(checkpoint)
    before = peak_mib()
    with BagRecording(bag, trained.spec) as recording:
        done = replay(recording, trained, out, overwrite=True)
    return {
        "messages": done.messages,
        "before_mib": round(before, 1),
        "peak_mib": round(peak_mib(), 1),
    }


def peak_mib() -> float:
    """Largest resident size of this process so far."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Unlike getrusage, it does not begin with the size of the process that started this one.
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(n.split()[1]) for n in lines if n.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one_core() -> None:
    """Keep this process and its children on one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def machine(load: float) -> dict[str, Any]:
    """What the numbers depend on."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((n.partition(":")[2].strip() for n in lines if "model name" in n), model)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "cores_used": 1,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "load_before": round(load, 2),
    }


def operator_size(checkpoint: Checkpoint) -> dict[str, int]:
    """How large the operator is."""
    operator = checkpoint.operator
    return {
        "features": sum(len(names) for names in operator.layout.values()),
        "members": operator.config.members,
        "window": operator.config.temporal.window,
        "parameters": sum(p.numel() for p in operator.parameters()),
    }


def show(results: dict[str, Any]) -> None:
    """Print the numbers beside what they should be."""
    table = Table("measured", "value", "target")
    for name, times in results["step"].items():
        for q in (50, 99):
            target = f"<= {TARGETS[f'step_p{q}_ms']:g} ms" if name == "operator" else ""
            value = f"{times[f'wall_p{q}_ms']:.3f} ms (CPU {times[f'cpu_p{q}_ms']:.3f})"
            table.add_row(f"step, {name.replace('_', ' ')}, p{q}", value, target)
    for name, title in (("replay", "made-up recording"), ("replay_ur3", "UR3 at 1 Hz")):
        ratio = results[name]["replay_over_deserialising"]
        table.add_row(
            f"replay over deserialising, {title}",
            f"{ratio['cpu']:.2f} (wall {ratio['wall']:.2f})",
            f"<= {TARGETS['replay_over_deserialising']:g}" if name == "replay" else "",
        )
    for length, memory in results["memory"].items():
        table.add_row(
            f"peak memory of replay, {length}",
            f"{memory['peak_mib']:.0f} MiB ({memory['before_mib']:.0f} before)",
            "independent of length",
        )
    load = results["machine"]["load_before"]
    Console().print(table, f"load of the machine before: {load}", sep="\n")


if __name__ == "__main__":
    main()
