"""Some of the randomised fault schedules, and the figures of the gate, on real nodes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import Pace

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / name), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_every_goal_ends_in_time_with_its_cause_whatever_fails(tmp_path: Path) -> None:
    out = tmp_path / "faults.json"
    done = run("gate_faults.py", "--schedules", "20", "--workers", "3", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["violations"] == []
    assert found["schedules"] == 20
    assert found["most_live"] == 1
    assert found["goals"] == sum(found["reasons"].values()) >= 20


@pytest.fixture(scope="module")
def plans() -> Iterator[Callable[[int], Any]]:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        from gate_faults import Plan

        yield Plan.of
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_the_schedules_are_made_of_their_numbers(plans: Callable[[int], Any]) -> None:
    assert plans(3) == plans(3)
    assert plans(3) != plans(4)
    kinds = {kind for n in range(200) for _, kind, _ in plans(n).steps}
    assert kinds == {
        "risk", "calm", "fault", "ending", "restart", "cancel", "goal", "vanish", "rearm",
        "process", "kill",
    }  # fmt: skip


@pytest.mark.slow
def test_an_alarm_reaches_the_policy_at_once_and_a_quiet_task_costs_little(
    tmp_path: Path,
) -> None:
    out = tmp_path / "latency.json"
    with Pace() as pace:
        done = run(
            "gate_latency.py", *("--alarms", "15", "--tasks", "2", "--seconds", "1"),
            *("--out", str(out)),
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    # The bars are for a machine that does nothing else; here only what cannot be noise.
    assert found["alarm_to_cancel_ms"]["from_receipt"]["p50"] < 50.0 * pace.slowdown
    assert found["overhead"]["extra_ms"] < 200.0 * pace.slowdown


BROKEN = {
    "starts on stale data": """
from pro_ros.gate.watch import Watch
Watch.verified = lambda self, now_ns: True
""",
    "takes an accepted cancel for the stop": """
from pro_ros.nodes.action_driver import ActionDriver, Word
answered = ActionDriver._cancel_answered
def too_early(self, run, done):
    self._runs.pop(run, None)
    self._executing = set()
    self._on_status = lambda message: None
    self._obstacle = lambda: ""
    self._tell(Word(run, "ended", "canceled"))
ActionDriver._cancel_answered = too_early
""",
    "forgets goals": """
from pro_ros.nodes.gate_node import GateNode
finish = GateNode._finish
GateNode._finish = lambda self, f: None if f.reason.name == "CANCELLED" else finish(self, f)
""",
}


def blind(plan: Any) -> bool:
    """The monitor dies early and for long, while attempts follow each other."""
    early = [at for at, kind, value in plan.steps if kind == "fault" and value and at < 0.6]
    late = [at for at, kind, value in plan.steps if kind == "fault" and not value]
    return bool(early and late and late[0] - early[0] > 0.5) and set(plan.script) <= {
        "stall", "fail", "succeed", "slip",
    }  # fmt: skip


def cancelled(plan: Any) -> bool:
    """A cancel, before anything else happens, of a policy that needs a while to stop."""
    return (
        bool(plan.steps)
        and plan.steps[0][1] == "cancel"
        and plan.steps[0][0] < 0.4
        and plan.script[0] in ("stall", "succeed")
        and plan.stop_time >= 0.1
    )


def retried(plan: Any) -> bool:
    """An alarm of a mode that is retried, and a policy that needs a while to stop."""
    return (
        bool(plan.steps)
        and plan.steps[0][1:] == ("risk", "slip")
        and plan.script[0] == "stall"
        and plan.stop_time >= 0.3
        and plan.limits.get("max_attempts", 3) > 1
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "chosen"),
    [
        ("starts on stale data", blind),
        ("takes an accepted cancel for the stop", retried),
        ("forgets goals", cancelled),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_the_judge_sees_a_gate_that(
    fault: str, chosen: Callable[[Any], bool], plans: Callable[[int], Any], tmp_path: Path
) -> None:
    # Schedules that the broken gate falls for.
    numbers = [n for n in range(5000) if chosen(plans(n))][:3]
    assert len(numbers) == 3
    code = (
        f"import sys; sys.path[0] = {str(BENCHMARKS)!r}\n"
        "from pathlib import Path\n"
        "import gate_faults\n"
        f"{BROKEN[fault]}\n"
        f"gate_faults.Worker(Path({str(tmp_path)!r})).run({numbers}, [{{'on_monitor_death': "
        "'hold'}])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=500
    )
    lines = (tmp_path / "reports.jsonl").read_text(encoding="utf-8").splitlines()
    violations = [v for line in lines for v in json.loads(line)["violations"]]
    assert violations, done.stdout + done.stderr
