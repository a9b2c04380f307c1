"""How long the retry gate takes from an alarm to the policy, and what it costs a task.

    source /opt/ros/<distribution>/setup.bash && source install/setup.bash
    python benchmarks/gate_latency.py                    # 400 alarms, 20 tasks
    python benchmarks/gate_latency.py --alarms 20 --tasks 3 --seconds 1

The gate is the node that ships, in a process of its own; the policy, the scripted one, in another;
monitor and client in a third. All three share the machine and its steady clock.

**Alarm to cancel**: from the receipt of the assessment that raises the alarm, by a second
subscriber in the monitor's process, to the cancel request in the policy's callback. From its
publication is given as well. **Overhead**: the same task of some seconds ordered from the gate and
from the policy directly, in turn, timed at the client; the median of the differences.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# Publishers, clients and executors of the tests of the node.
sys.path.insert(0, str(HERE.parent / "test" / "nodes"))

TARGETS = {"alarm_to_cancel_p99_ms": 5.0, "overhead_share": 0.01}
PERIOD = 1.0 / 30.0
TOLD_TOPIC = "/gate_latency/told"


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = HERE / "results" / "gate_latency.json"
    parser.add_argument("--out", type=Path, default=default, help="JSON file to be written")
    parser.add_argument("--alarms", type=int, default=400, help="attempts that are stopped")
    parser.add_argument("--tasks", type=int, default=20, help="undisturbed tasks of each kind")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of such a task [s]")
    options = parser.parse_args()
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    load = os.getloadavg()[0]
    results = measure(options)
    results = {
        "targets": TARGETS, **results,
        "machine": {"cores": os.cpu_count(), "load_before": load},
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


def policy() -> None:
    """The scripted policy, which also publishes when it was told to stop."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from std_msgs.msg import Int64

    from pro_ros.nodes.scripted_policy import ScriptedPolicy
    from pro_ros.nodes.spinning import spin

    class Telling(ScriptedPolicy):
        def __init__(self) -> None:
            super().__init__()
            self._told = self.create_publisher(Int64, TOLD_TOPIC, 50)

        def _on_cancel(self, handle: Any) -> Any:
            answer = super()._on_cancel(handle)
            self._told.publish(Int64(data=self.told_ns))
            return answer

    rclpy.init()
    node = Telling()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        spin(node, executor)
    except KeyboardInterrupt:
        rclpy.try_shutdown()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Start the processes and go through both measurements."""
    import rclpy
    from gate_rig import SCRIPTS, Client, FakeMonitor, Spinning, wait_for, write_gate_file

    with tempfile.TemporaryDirectory() as folder:
        path = write_gate_file(
            Path(folder) / "gate.yaml",
            # Generous times: what is measured is not whether they are kept.
            limits={"stop_timeout": 5.0, "attempt_timeout": 60.0, "max_duration": 120.0},
            freshness={"period": 0.5, "needed": 2},
            verification={"hold": 0.0},
            alarm={"max_alarms": 1000, "in_attempts": 1000},
            causes={"modes": {"slip": "abort"}},
        )
        commands = [
            [str(SCRIPTS / "gate"), "--ros-args", "-p", f"gate_file:={path}",
             "--log-level", "error"],
            ["-c", f"import sys; sys.path[0] = {str(HERE)!r}; import gate_latency; "
             "gate_latency.policy()", "--ros-args", "-p", f"duration:={options.seconds}"],
        ]  # fmt: skip
        processes = [subprocess.Popen([sys.executable, *command]) for command in commands]
        rclpy.init()
        spinning, client = Spinning(), Client()
        monitor = FakeMonitor(client)
        try:
            watcher = make_watcher()
            spinning.add(client)
            spinning.add(watcher)
            wait_for(client.action.server_is_ready, "the gate", 60)
            wait_for(watcher.direct.server_is_ready, "the policy", 60)
            wait_for(lambda: client.states and client.state().open, "an open gate", 30)
            time.sleep(1.0)
            found = {
                "alarm_to_cancel_ms": alarms(options.alarms, client, monitor, watcher),
                "overhead": overhead(options, client, watcher),
            }
        finally:
            monitor.stop()
            for process in processes:
                process.terminate()
            spinning.end()
            for process in processes:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
            rclpy.try_shutdown()
    return found


def make_watcher() -> Any:
    """A node that hears alarms as the gate does, and when the policy was told to stop."""
    from pro_ros.action import RunPolicy
    from pro_ros.msg import Assessment
    from rclpy.action import ActionClient
    from rclpy.node import Node
    from std_msgs.msg import Int64

    from pro_ros.nodes.qos import ASSESSMENTS

    class Watcher(Node):
        def __init__(self) -> None:
            super().__init__("watcher")
            self.heard_ns = 0
            self.told: list[int] = []
            self.direct = ActionClient(self, RunPolicy, "run_policy")
            self.create_subscription(Assessment, "/pro/assessment", self._hear, ASSESSMENTS)
            self.create_subscription(Int64, TOLD_TOPIC, lambda m: self.told.append(m.data), 50)

        def _hear(self, message: Assessment) -> None:
            if message.risk.alarm_score >= message.risk.alarm_threshold and not self.heard_ns:
                self.heard_ns = time.monotonic_ns()

    return Watcher()


def alarms(count: int, client: Any, monitor: Any, watcher: Any) -> dict[str, Any]:
    """Raise ``count`` alarms, each in an attempt of its own."""
    from gate_rig import wait_for

    from pro_ros.gate.reasons import State

    received, published = [], []
    for _ in range(count):
        order = client.order()
        client.await_state(State.RUNNING)
        time.sleep(0.05)
        told = len(watcher.told)
        watcher.heard_ns = 0
        monitor.raise_risk("slip")
        wait_for(lambda n=told: len(watcher.told) > n, "the policy is told to stop")
        monitor.lower_risk()
        order.result()
        client.await_state(State.IDLE)
        wait_for(lambda: watcher.heard_ns, "the alarm is heard")
        received.append((watcher.told[-1] - watcher.heard_ns) / 1e6)
        published.append((watcher.told[-1] - monitor.alarm_ns) / 1e6)
    return {
        "count": count,
        "from_receipt": quantiles(received),
        "from_publication": quantiles(published),
    }


def quantiles(values: list[float]) -> dict[str, float]:
    """p50, p99 and the largest."""
    ordered = sorted(values)
    return {
        "p50": statistics.median(ordered),
        "p99": ordered[min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))],
        "max": ordered[-1],
    }


def overhead(options: argparse.Namespace, client: Any, watcher: Any) -> dict[str, Any]:
    """The same task through the gate and without it, in turn."""
    from gate_rig import reason
    from pro_ros.action import RunPolicy

    gated, direct = [], []
    for _ in range(options.tasks):
        began = time.monotonic()
        order = client.order()
        ended = threading.Event()
        order.handle.get_result_async().add_done_callback(lambda _, e=ended: e.set())
        ended.wait(60)
        gated.append(time.monotonic() - began)
        assert reason(order.result()) == "SUCCESS"
        time.sleep(0.1)
        began = time.monotonic()
        direct.append(direct_task(watcher, RunPolicy.Goal()) - began)
        time.sleep(0.1)
    extra = [g - d for g, d in zip(gated, direct, strict=True)]
    task = statistics.median(direct)
    return {
        "tasks": options.tasks,
        "task_s": task,
        "gated_s": statistics.median(gated),
        "extra_ms": 1000 * statistics.median(extra),
        "share": statistics.median(extra) / task,
    }


def direct_task(watcher: Any, goal: Any) -> float:
    """Order a task from the policy itself; when its result came."""
    ended, when = threading.Event(), []

    def done(_: Any) -> None:
        when.append(time.monotonic())
        ended.set()

    sent = watcher.direct.send_goal_async(goal)
    sent.add_done_callback(lambda s: s.result().get_result_async().add_done_callback(done))
    assert ended.wait(60)
    return when[0]


if __name__ == "__main__":
    main()
