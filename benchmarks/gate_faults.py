"""Randomised fault schedules against the real nodes of the retry gate.

    source /opt/ros/<distribution>/setup.bash && source install/setup.bash
    python benchmarks/gate_faults.py                          # 1,000 schedules, at most 10 minutes
    python benchmarks/gate_faults.py --schedules 20 --seed 7  # a short look

Every schedule is a function of its number: goals with random limits, cancels, newer goals, what
the policy does in each attempt (succeed, slip, fail, stall, ignore its cancel, reject, be silent,
stop late, vanish, be killed with SIGKILL), what the recovery and the safe action do, and what the
monitor says (risks of several modes, predicted ends, silence, the same message again and again,
NaN, invalid, a restart), all at random times within a second or two. Gate, policy, recovery and
safe action are the nodes that ship; the monitor is a publisher that the schedule controls. Each
worker has a ROS domain of its own.

The judge does not ask the gate. It has the log of what really ran and of what was published, and
checks: every goal ends within its bounds and once, its result names the cause, status and cause
agree, nothing runs beside anything else, no attempt begins before the one before has ended, and
none on stale data.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# Publishers, clients and executors of the tests of the node.
sys.path.insert(0, str(HERE.parent / "test" / "nodes"))

PERIOD = 0.1
MODES = ("slip", "jam", "crash", "something else")
BEHAVIOURS = (
    "succeed", "succeed", "slip", "fail", "stall", "ignore_cancel", "reject", "silent",
)  # fmt: skip
FAULTS = ("dead", "frozen", "nan", "invalid")
LIMITS = {
    "max_attempts": 3, "max_duration": 3.0, "attempt_timeout": 1.0, "start_timeout": 0.5,
    "stop_timeout": 0.4, "recovery_timeout": 0.8, "safe_action_timeout": 0.8,
    "policy_silence": 0.5,
}  # fmt: skip
CONFIGS: tuple[dict[str, Any], ...] = (
    {},
    {"on_monitor_death": "hold"},
    {"on_monitor_death": "safe_action"},
    {"safe_action_after_stop": True},
    {"latch_on": ["risk_alarm", "policy_lost"]},
    {"verification": {"low_risk": False, "hold": 0.0, "timeout": 0.6, "return_timeout": 1.0}},
)
SLACK_S = 1.5
"""What a busy machine may add to the bound of a goal."""
STALE_SLACK_S = 0.1
"""Between the publication of an assessment and its receipt by the gate."""
SCHEDULES, MINUTES = 1000, 10.0
PER_GATE = 8
"""Schedules that one gate lives through."""


def main() -> None:
    """Orchestrate the workers, or be one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = HERE / "results" / "gate_faults.json"
    parser.add_argument("--out", type=Path, default=default, help="JSON file to be written")
    parser.add_argument("--schedules", type=int, default=SCHEDULES, help="how many at most")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="no new one after these")
    parser.add_argument("--workers", type=int, default=5, help="processes, one domain each")
    parser.add_argument("--seed", type=int, default=0, help="number of the first schedule")
    parser.add_argument("--domain", type=int, default=1 + os.getpid() % 80, help="first domain")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        Worker(options.work).run(range(options.seed, options.schedules, options.workers))
        return
    results = orchestrate(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in results.items() if k != "violations"}, indent=1))
    for violation in results["violations"]:
        print(violation, file=sys.stderr)
    sys.exit(1 if results["violations"] or not results["schedules"] else 0)


def orchestrate(options: argparse.Namespace) -> dict[str, Any]:
    """Run the workers, and add up what they found."""
    began = time.monotonic()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        workers = []
        for n in range(options.workers):
            work = Path(folder) / str(n)
            work.mkdir()
            environment = {
                **os.environ,
                "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
                "ROS_DOMAIN_ID": str(1 + (options.domain + n - 1) % 100),
                "ROS_LOG_DIR": str(work / "log"),
            }
            command = [
                sys.executable, __file__, "--work", str(work), "--workers", str(options.workers),
                "--seed", str(options.seed + n),
                "--schedules", str(options.seed + options.schedules),
            ]  # fmt: skip
            log = (work / "out.txt").open("w")
            workers.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        end = began + 60.0 * options.minutes
        while any(w.poll() is None for w in workers) and time.monotonic() < end:
            time.sleep(0.2)
        for n, worker in enumerate(workers):
            (Path(folder) / str(n) / "enough").touch()
            try:
                worker.wait(90)
            except subprocess.TimeoutExpired:
                worker.kill()
        reports = []
        for n, worker in enumerate(workers):
            work = Path(folder) / str(n)
            lines = (work / "reports.jsonl").read_text().splitlines()
            reports += [json.loads(line) for line in lines]
            if worker.returncode:
                said = (work / "out.txt").read_text()[-3000:]
                reports.append({"violations": [f"worker {n} ended badly: {said}"]})
    return {
        **summary(reports),
        "seconds": time.monotonic() - began,
        "machine": {"cores": os.cpu_count(), "load_before": load, "workers": options.workers},
    }


def summary(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Totals of what the workers report."""
    whole = [r for r in reports if "schedule" in r]
    counts: dict[str, Counter[str]] = {
        key: Counter() for key in ("reasons", "causes", "statuses", "faults", "behaviours")
    }
    for report in whole:
        for key, counter in counts.items():
            counter.update(report[key])
    # JSON keeps the order: the most frequent first.
    ordered = {key: dict(counter.most_common()) for key, counter in counts.items()}
    return {
        "schedules": len(whole),
        "goals": sum(r["goals"] for r in whole),
        "attempts": sum(r["attempts"] for r in whole),
        "most_live": max((r["most_live"] for r in whole), default=0),
        "longest_over_bound_s": max((r["over_bound_s"] for r in whole), default=None),
        **ordered,
        "violations": [v for r in reports for v in r["violations"]],
    }


@dataclass
class Plan:
    """One schedule: everything that happens, from its number alone."""

    number: int
    script: list[str] = field(default_factory=list)
    duration: float = 0.3
    stop_time: float = 0.02
    recovery: str = "succeed"
    safe_action: str = "succeed"
    limits: dict[str, Any] = field(default_factory=dict)
    steps: list[tuple[float, str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, number: int) -> Plan:
        """The schedule with this number."""
        chance = random.Random(number)
        plan = cls(number)
        plan.script = [chance.choice(BEHAVIOURS) for _ in range(chance.randint(1, 4))]
        plan.duration = chance.uniform(0.1, 0.6)
        plan.stop_time = chance.choice([0.0, 0.02, 0.1, 0.3, 0.6])
        plan.recovery = chance.choice(["succeed", "succeed", "fail", "stall", "reject"])
        plan.safe_action = chance.choice(["succeed", "succeed", "fail", "stall"])
        if chance.random() < 0.3:
            plan.limits["max_attempts"] = chance.randint(1, 5)
        if chance.random() < 0.3:
            plan.limits["max_duration"] = chance.uniform(0.2, 2.0)
        if chance.random() < 0.3:
            plan.limits["attempt_timeout"] = chance.uniform(0.1, 1.0)
        for _ in range(chance.randint(0, 5)):
            at = chance.uniform(0.0, 1.5)
            kind = chance.choice(
                ["risk", "risk", "fault", "fault", "ending", "restart", "cancel", "goal",
                 "vanish", "rearm"]
            )  # fmt: skip
            for_s = chance.uniform(0.05, 0.8)
            if kind == "risk":
                plan.steps.append((at, "risk", chance.choice(MODES)))
                plan.steps.append((at + for_s, "calm", None))
            elif kind == "fault":
                plan.steps.append((at, "fault", chance.choice(FAULTS)))
                plan.steps.append((at + for_s, "fault", ""))
            elif kind == "ending":
                plan.steps.append((at, "ending", None))
                plan.steps.append((at + for_s, "calm", None))
            else:
                plan.steps.append((at, kind, None))
        if chance.random() < 0.03:
            # A process, because only a process can be killed.
            plan.steps = [(0.0, "process", None), (chance.uniform(0.2, 1.2), "kill", None)]
        plan.steps.sort(key=lambda step: step[0])
        return plan


class Worker:
    """The nodes of one domain, and schedules one after the other."""

    def __init__(self, work: Path) -> None:
        self._work = work

    def run(self, numbers: Sequence[int], configs: Sequence[dict[str, Any]] = CONFIGS) -> None:
        """Play schedules, until it is enough; their reports go to a file."""
        import rclpy

        rclpy.init()
        with (self._work / "reports.jsonl").open("w") as out:
            # A gate lives through some schedules, as it would in a cell.
            for turn, begin in enumerate(range(0, len(numbers), PER_GATE)):
                if self._enough():
                    break
                on_new_goal = "supersede" if turn % 2 else "reject"
                bench = Bench(self._work, configs[turn % len(configs)], on_new_goal)
                try:
                    for number in numbers[begin : begin + PER_GATE]:
                        if self._enough():
                            break
                        out.write(json.dumps(bench.play(Plan.of(number))) + "\n")
                        out.flush()
                finally:
                    bench.end()
        rclpy.try_shutdown()

    def _enough(self) -> bool:
        return (self._work / "enough").exists()


def watched(name: str, action: str) -> Any:
    """A scripted policy that keeps a log of when each run began and ended."""
    from gate_rig import overrides

    from pro_ros.nodes.scripted_policy import ScriptedPolicy

    class Watched(ScriptedPolicy):
        def __init__(self) -> None:
            super().__init__(parameter_overrides=overrides({"action": action}))
            self.log: list[list[float]] = []

        async def _run(self, handle: Any) -> Any:
            run = [time.monotonic(), float("inf")]
            self.log.append(run)
            try:
                return await super()._run(handle)
            finally:
                run[1] = time.monotonic()

    made = Watched()
    made.role = name
    return made


class Bench:
    """A gate with everything around it."""

    def __init__(self, work: Path, config: dict[str, Any], on_new_goal: str) -> None:
        from gate_rig import Client, FakeMonitor, Spinning, overrides, write_gate_file

        from pro_ros.nodes.gate_node import GateNode

        self._spinning = Spinning()
        self.supersedes = on_new_goal == "supersede"
        self.client = Client()
        self.monitor = FakeMonitor(self.client)
        self.published: list[float] = []
        self._listen_to_monitor()
        self.config = config
        path = write_gate_file(work / "gate.yaml", limits=LIMITS, **{
            "verification": {"hold": 0.05, "timeout": 0.6, "return_timeout": 1.0},
            "alarm": {"max_alarms": 4, "in_attempts": 8}, **config,
        })  # fmt: skip
        self.policy = self._spinning.add(watched("policy", "run_policy"))
        self.recovery = self._spinning.add(watched("recovery", "recover"))
        self.safe_action = self._spinning.add(watched("safe_action", "make_safe"))
        parameters = {
            "gate_file": path, "on_new_goal": on_new_goal, "look_period": 0.05,
            "recovery.name": "recover", "safe_action.name": "make_safe",
        }  # fmt: skip
        self.gate = self._spinning.add(GateNode(parameter_overrides=overrides(parameters)))
        self._spinning.add(self.client)
        self.starts: list[float] = []
        self._listen_to_gate()
        self.gone: list[Any] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._await_servers()

    def end(self) -> None:
        """Take everything down."""
        self._kill()
        self.monitor.stop()
        self._spinning.end()

    def _listen_to_monitor(self) -> None:
        publish = self.monitor.publish

        def noted() -> None:
            sound = not self.monitor.fault
            before = time.monotonic()
            publish()
            if sound:
                self.published.append(before)

        self.monitor.publish = noted

    def _listen_to_gate(self) -> None:
        """Note when it decides that an attempt begins."""
        from pro_ros.gate.outputs import StartPolicy

        handle = self.gate.gate.handle

        def noted(given: Any, now_ns: int) -> Any:
            orders = handle(given, now_ns)
            if any(isinstance(order, StartPolicy) for order in orders):
                self.starts.append(now_ns / 1e9)
            return orders

        self.gate.gate.handle = noted

    def _await_servers(self) -> None:
        from gate_rig import wait_for

        for driver in self.gate._drivers.values():
            self._await_free(driver)
        wait_for(self.client.action.server_is_ready, "the gate", 30)
        wait_for(lambda: self.client.states and self.client.state().open, "an open gate", 30)

    def _await_free(self, driver: Any) -> None:
        from gate_rig import wait_for, within

        wait_for(lambda: not within(self.gate, driver._obstacle), "a server that is free", 30)

    # --- one schedule -----------------------------------------------------------------------

    def play(self, plan: Plan) -> dict[str, Any]:
        """Play a schedule and judge it."""
        self._prepare(plan)
        self.orders: list[tuple[Any, dict[str, Any]]] = []
        self.cancelled: set[int] = set()
        violations: list[str] = []
        began = time.monotonic()
        try:
            if plan.steps and plan.steps[0][1] == "process":
                self._act("process", None, plan)
            began = time.monotonic()
            self._order(plan.limits)
            for at, kind, value in plan.steps:
                time.sleep(max(0.0, began + at - time.monotonic()))
                if kind != "process":
                    self._act(kind, value, plan)
            violations += self._await_results()
        except Exception:
            violations.append(traceback.format_exc())
        report = self._report(plan, violations)
        self._tidy(violations)
        report["violations"] = [f"schedule {plan.number}: {v}" for v in violations]
        return report

    def _prepare(self, plan: Plan) -> None:
        self.monitor.fault, self.monitor.risk = "", 0.1
        self.monitor.success, self.monitor.termination = 0.5, 0.1
        self.published = self.published[-100:]
        self.starts.clear()
        for node in (self.policy, self.recovery, self.safe_action):
            node.log.clear()
            node.runs = node.most_live = 0
        self.gone.clear()
        self.policy._settings |= {
            "script": plan.script, "duration": plan.duration, "stop_time": plan.stop_time,
        }  # fmt: skip
        self.recovery._settings |= {"script": [plan.recovery], "duration": 0.1}
        self.safe_action._settings |= {"script": [plan.safe_action], "duration": 0.1}

    def _order(self, limits: dict[str, Any]) -> None:
        self.orders.append((self.client.order(**limits), limits))

    def _act(self, kind: str, value: Any, plan: Plan) -> None:
        if kind == "risk":
            self.monitor.raise_risk(value)
        elif kind == "ending":
            self.monitor.success, self.monitor.termination = 0.05, 0.95
        elif kind == "calm":
            self.monitor.lower_risk()
            self.monitor.success, self.monitor.termination = 0.5, 0.1
        elif kind == "fault":
            self.monitor.fault = value
        elif kind == "restart":
            self.monitor.sequence = 0
        elif kind == "cancel":
            order = self.orders[-1][0]
            if order.handle.accepted:
                self.cancelled.add(len(self.orders) - 1)
                order.cancel()
        elif kind == "goal":
            self._order(plan.limits)
        elif kind == "rearm":
            self.client.rearm()
        elif kind == "vanish":
            self._replace_policy()
        elif kind == "process":
            self._start_process(plan)
        elif kind == "kill":
            self._kill()

    def _await_results(self) -> list[str]:
        """Wait for all results, no longer than the longest bound of all."""
        violations = []
        for n, (order, limits) in enumerate(self.orders):
            try:
                if order.handle.accepted:
                    order.result(len(self.orders) * bound(limits) + 10.0)
            except AssertionError as exc:
                violations.append(f"goal {n} has no result: {exc}")
        return violations

    def _report(self, plan: Plan, violations: list[str]) -> dict[str, Any]:
        ended = [
            (n, order, limits)
            for n, (order, limits) in enumerate(self.orders)
            if order._result is not None and order._result.done()
        ]
        over, reasons, causes, statuses, attempts = [0.0], [], [], [], 0
        for n, order, limits in ended:
            result = order.result()
            found = self._judge(n, order, limits, violations)
            reasons.append(found[0])
            statuses.append(order.status())
            causes += found[1]
            attempts += len(result.attempts)
            over.append(found[2])
        self._judge_runs(violations)
        nodes = [self.policy, self.recovery, self.safe_action]
        return {
            "schedule": plan.number,
            "goals": len(self.orders),
            "attempts": attempts,
            "most_live": max(n.most_live for n in nodes),
            "over_bound_s": max(over),
            "reasons": reasons,
            "causes": causes,
            "statuses": statuses,
            "faults": [v if k == "fault" else k for _, k, v in plan.steps if v != ""],
            "behaviours": plan.script,
            "violations": violations,
        }  # fmt: skip

    def _judge(
        self, n: int, order: Any, limits: dict[str, Any], violations: list[str]
    ) -> tuple[str, list[str], float]:
        from gate_rig import causes, outcome, reason

        result, status = order.result(), order.status()
        why, each = reason(result), causes(result)
        most = min(limits.get("max_attempts") or 3, LIMITS["max_attempts"])
        rules = {
            "no cause": why == "NONE" or "NONE" in each,
            "an internal error": why == "INTERNAL_ERROR",
            "succeeded without success": (status == "succeeded") != (
                why == "SUCCESS" and result.stopped
            ),
            "canceled without the client's cancel": (status == "canceled") != (
                why == "CANCELLED" and result.stopped
            ) or (why == "CANCELLED" and n not in self.cancelled),
            "superseded without a newer goal": why == "SUPERSEDED" and (
                not self.supersedes or n == len(self.orders) - 1
            ),
            "busy without another goal": why == "BUSY" and len(self.orders) == 1,
            "too many attempts": len(each) > most,
            "no attempt, but an outcome": not each and outcome(result) != "NOT_ATTEMPTED",
            "an attempt before the end of the one before": any(
                seconds(b.begin) < seconds(a.end) - 1e-6
                for a, b in itertools.pairwise(result.attempts)
            ),
            "a success that no attempt had": why == "SUCCESS" and each and (
                outcome(result) != "SUCCESS"
            ),
        }  # fmt: skip
        violations += [f"goal {n}: {rule} ({why}, {each}, {status})" for rule, is_so in
                       rules.items() if is_so]  # fmt: skip
        # A goal that supersedes waits until the ones before have ended.
        before = [o.ended for o, _ in self.orders[:n] if o.ended] if self.supersedes else []
        begin = max([order.sent, *before])
        over = order.ended - begin - bound(limits)
        if over > SLACK_S:
            violations.append(f"goal {n} took {over:.2f} s longer than it may")
        return why, each, max(0.0, over)

    def _judge_runs(self, violations: list[str]) -> None:
        """What really ran: one thing at a time, never on stale data."""
        nodes = [self.policy, self.recovery, self.safe_action, *self.gone]
        runs = sorted((tuple(run), node.role) for node in nodes for run in node.log)
        for (first, role), (second, other) in itertools.pairwise(runs):
            if second[0] < first[1]:
                early = first[1] - second[0]
                violations.append(f"{other} began {early:.3f} s before {role} ended")
        for start in self.starts:
            known = [t for t in list(self.published) if t <= start]
            age = start - known[-1] if known else float("inf")
            if age > 2 * PERIOD + STALE_SLACK_S:
                violations.append(f"an attempt was started {age:.3f} s after the last assessment")

    # --- policies that go -------------------------------------------------------------------

    def _replace_policy(self) -> None:
        """The server of the policy vanishes with whatever it does; another one comes."""
        settings, now = self.policy._settings, time.monotonic()
        self._spinning.remove(self.policy)
        for run in self.policy.log:
            run[1] = min(run[1], now)
        self.gone.append(self.policy)
        self.policy = self._spinning.add(watched("policy", "run_policy"))
        self.policy._settings |= {**settings, "script": ["succeed"]}

    def _start_process(self, plan: Plan) -> None:
        from gate_rig import SCRIPTS, wait_for

        self._spinning.remove(self.policy)
        given = {
            "script": f"[{', '.join(plan.script)}]", "duration": plan.duration + 1.0,
            "stop_time": plan.stop_time,
        }  # fmt: skip
        arguments = [a for k, v in given.items() for a in ("-p", f"{k}:={v}")]
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPTS / "scripted_policy"), "--ros-args", *arguments]
        )
        driver = self.gate._drivers["policy"]
        count = self.gate.count_publishers
        wait_for(lambda: count(driver._status_topic) == 1, "the policy's process", 60)
        self._await_free(driver)

    def _kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)

    def _tidy(self, violations: list[str]) -> None:
        """Everything as at the start: the gate rearmed, a free policy, a sound monitor."""
        from gate_rig import wait_for

        from pro_ros.gate.reasons import State

        try:
            self.monitor.fault, self.monitor.risk = "", 0.1
            self.monitor.success, self.monitor.termination = 0.5, 0.1
            if self.process is not None:
                self._kill()
                self.process = None
                count = self.gate.count_publishers
                topic = self.gate._drivers["policy"]._status_topic
                wait_for(lambda: count(topic) == 0, "the middleware forgets the process", 30)
                self.policy = self._spinning.add(watched("policy", "run_policy"))
            for name in ("policy", "recovery", "safe_action"):
                node = getattr(self, name)
                if node.live:
                    self._spinning.remove(node)
                    action = node._settings["action"]
                    setattr(self, name, self._spinning.add(watched(name, action)))
            if self.gate.gate.snapshot().state is State.LATCHED:
                if not self.client.rearm(robot_stopped=True).accepted:
                    violations.append("a person could not rearm the gate")
            elif self.gate.gate.snapshot().state is not State.IDLE:
                violations.append("the gate is neither idle nor latched after its goals")
            self._await_servers()
        except Exception:
            violations.append(f"afterwards: {traceback.format_exc()}")


def bound(limits: dict[str, Any]) -> float:
    """The longest that a goal may take [s], as docs/gate.md says."""
    longest = min(limits.get("max_duration") or LIMITS["max_duration"], LIMITS["max_duration"])
    return longest + 2 * LIMITS["stop_timeout"] + LIMITS["safe_action_timeout"]


def seconds(stamp: Any) -> float:
    """A time of a message."""
    return stamp.sec + 1e-9 * stamp.nanosec


if __name__ == "__main__":
    main()
