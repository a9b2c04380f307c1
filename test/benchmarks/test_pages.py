"""The benchmark pages say what the results say, and the benchmarks run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_the_pages_hold_the_numbers_of_the_results():
    done = run("pages.py", "--check")
    assert done.returncode == 0, done.stderr


def test_the_ur3_benchmark_runs(tmp_path):
    out = tmp_path / "ur3.json"
    done = run("ur3_cobotops.py", "--quick", "--out", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    # The clock needs no long training: its numbers are those of the full run.
    whole = json.loads((BENCHMARKS / "results" / "ur3_cobotops.json").read_text())
    assert found["rivals"]["clock"] == whole["rivals"]["clock"]
    assert found["protocol"]["labelled_rows"]["grip_lost"] > 7000


def test_the_apple_benchmark_runs(tmp_path, shared_data):
    if not (shared_data / "pickapp_apple_ur5e").is_dir():
        pytest.skip("no PickApp recordings")
    out = tmp_path / "pickapp.json"
    data = str(shared_data / "pickapp_apple_ur5e")
    done = run("pickapp.py", "--quick", "--data", data, "--out", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["protocol"]["picks"] == 300
    assert found["grasp"]["gradient boosting"]["mean"][0] > 0.65


def test_the_scoring_benchmark_runs(tmp_path):
    out = tmp_path / "scoring.json"
    done = run("scoring.py", "--repeats", "20", "--out", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    whole = json.loads((BENCHMARKS / "results" / "scoring.json").read_text())
    assert found["scorer"] == whole["scorer"]
    # Of the full run: times of this one depend on what else the machine does.
    bars = whole["targets"]
    assert max(whole["many_over_one"].values()) <= bars["many_over_one"]
    for kind in ("same_situation_ms", "new_situation_ms"):
        assert whole[kind][str(bars["many"])]["p99"] <= bars["many_p99_ms"]
