"""A gate is chosen on some attempts and tried on others, and the benchmark of it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pro_ros.gate.rehearsal import RecordedAttempt

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
STEP = 1_000_000_000
LENGTH = 10
"""Steps of an attempt."""


@pytest.fixture
def trials(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gate_trials

    return gate_trials


def stretch(trials: ModuleType, peaks: list[float], failed: set[int]):
    """Attempts in a row, each with one risky step and, if it failed, its event three steps on."""
    steps = LENGTH * (len(peaks) + 1)
    score = np.full(steps, 0.01)
    attempts = []
    for n, peak in enumerate(peaks):
        begin = LENGTH * (n + 1)
        score[begin + 3] = peak
        event = (begin + 6) * STEP if n in failed else None
        attempts.append(
            RecordedAttempt(
                str(n),
                begin * STEP,
                (begin + LENGTH) * STEP,
                n not in failed,
                event,
                "drop" if n in failed else "",
            )
        )
    nothing = np.zeros(steps)
    signal = trials.Signal(score, nothing, nothing, ("drop",) * steps)
    return trials.Stretch(
        np.arange(steps) * STEP,
        np.ones(steps, dtype=bool),
        tuple(attempts),
        tuple(a.id for a in attempts),
        {"PRO": signal},
    )


def gate(threshold: float):
    from pro_ros.gate.config import AlarmConfig, FreshnessConfig, GateConfig

    return GateConfig(
        freshness=FreshnessConfig(period=1.0, needed=2), alarm=AlarmConfig(threshold=threshold)
    )


PEAKS = [n / 100 for n in range(10, 50)]


@pytest.mark.parametrize("count", [0, 1, 7])
def test_the_laxest_gate_is_chosen_that_interrupts_no_more_than_asked_for(trials, count):
    made = stretch(trials, PEAKS, failed=set())
    level = trials.Chooser([made], "PRO", trials.Rule(gate, trials.risk_levels)).at_most(count)
    interrupted = sum(r.interrupted for r in trials.play([made], "PRO", gate(level)))
    assert interrupted == count
    lower = np.nextafter(level, 0.0)
    assert sum(r.interrupted for r in trials.play([made], "PRO", gate(lower))) == count + 1


def test_what_failures_say_has_no_say_in_the_threshold(trials):
    rule = trials.Rule(gate, trials.risk_levels)
    failed = set(range(20, 40))
    plain = trials.Chooser([stretch(trials, PEAKS, failed)], "PRO", rule).at_most(2)
    louder = [p + 0.4 if n in failed else p for n, p in enumerate(PEAKS)]
    assert trials.Chooser([stretch(trials, louder, failed)], "PRO", rule).at_most(2) == plain


def test_a_share_is_asked_of_the_next_attempt_too(trials):
    made = stretch(trials, PEAKS, failed=set())
    chooser = trials.Chooser([made], "PRO", trials.Rule(gate, trials.risk_levels))
    # (k + 1) / 41 <= 0.1
    assert chooser.for_share(0.1) == chooser.at_most(3)


def test_counts_and_leads_are_those_of_the_attempts(trials):
    failed = {0, 10, 20, 39}
    tested = trials.Tested()
    tested.add([stretch(trials, PEAKS, failed)], "PRO", gate(0.25), 0.25)
    found = tested.summary(100)
    assert (found["failures_in_time"]["count"], found["failures_in_time"]["of"]) == (2, 4)
    assert (found["good_interrupted"]["count"], found["good_interrupted"]["of"]) == (23, 36)
    assert found["lead_median_s"]["value"] == pytest.approx(3.0)
    assert found["reasons"] == {"RISK_ALARM drop": 2}
    assert found["by_mode"]["drop"]["count"] == 2
    assert found["stops_per_100_attempts"] == pytest.approx(100 * 25 / 40)
    assert found["failures_in_time"]["low"] < 0.5 < found["failures_in_time"]["high"]


def test_the_benchmark_runs_on_the_shipped_recording_alone(tmp_path):
    out = tmp_path / "gate.json"
    done = subprocess.run(
        [
            sys.executable,
            str(BENCHMARKS / "gate_recordings.py"),
            *("--quick", "--data", str(tmp_path / "nowhere"), "--out", str(out)),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if "skipped" in line] == [
        f"apple picks skipped: no picks_float32.npz in {tmp_path / 'nowhere'}"
    ]
    found = json.loads(out.read_text())
    assert "pickapp" not in found
    protocol = found["ur3"]["protocol"]
    assert (protocol["failures"], protocol["good"]) == (18, 30)
    settings = found["ur3"]["settings"]
    assert {"0.02", "0.05", "0.1", "0.1 matched", "default ending"} <= set(settings)
    assert settings["0.1"]["PRO"]["did_not_begin"] == 0
    # What may look at the tested block interrupts no more there than the operator did.
    most = settings["0.1"]["PRO"]["good_interrupted"]["count"]
    assert settings["0.1 matched"]["clock"]["good_interrupted"]["count"] <= most
