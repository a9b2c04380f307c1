"""``pro-ros cell``: what it prints, what it refuses in one line, and what an interrupt leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from invoked import Ran, invoke, one_line

from pro_ros.cell import fleet, world
from pro_ros.cell.catalogue import load_catalogue
from pro_ros.cell.cell import DivergedError
from pro_ros.cell.journal import read_results
from pro_ros.cell.loop import Attempt, TaskResult
from pro_ros.paths import share_file

SPEC, STORAGE, INTERRUPTED = 2, 6, 130

_CATALOGUE = load_catalogue()
FOREIGN = next(
    sku
    for site in _CATALOGUE.training_sites()
    for sku in _CATALOGUE.training_items(site)
    if sku not in _CATALOGUE.site("ash").items
)
"""An item of some training site that 'ash' has not."""


def cell(*words: object) -> Ran:
    return invoke("cell", *words)


def refused(code: int, *words: object) -> str:
    """The one line of a command that must be refused."""
    return one_line(cell(*words), code)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException, int], None]:
    """Tasks without physics; the returned function makes one seed fail."""
    failing: dict[int, BaseException] = {}

    class Quick:
        def __init__(self, catalogue: Any, task: Any, *rest: Any) -> None:
            self.task = task

        def run(self) -> TaskResult:
            site, seed = self.task.site, self.task.seed
            if seed in failing:
                raise failing[seed]
            modes = (("drop", 1.0), ("miss", 2.0)) if seed % 2 else ()
            good = Attempt(2, 5.0, 9.0, "success", "success", False, "", None, (), 0.0)
            bad = Attempt(1, 0.0, 5.0, "failure", "policy_failure", False, "", None, modes, 0.0)
            attempts = (bad, good) if seed % 2 else (good,)
            return TaskResult(site, self.task.sku, seed, seed != 3, "success", 9.0, attempts)

    monkeypatch.setattr(fleet, "TaskRun", Quick)
    return lambda error, seed: failing.update({seed: error})


Quickly = Callable[[BaseException, int], None]


def test_the_table_counts_what_happened_at_each_site(tmp_path: Path, quick: Quickly) -> None:
    words = ["run", "-o", tmp_path / "f", "--site", "ash", "--site", "elm", "--tasks", 4,
             "--jobs", 1, "--no-record"]  # fmt: skip
    done = cell(*words)
    assert done.code == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    head = "site tasks success retries drops misses jams doubles x real time"
    assert " ".join(lines[0]) == head
    counts = ["75.0", "%", "2", "2", "2", "0", "0"]
    assert [row[:-1] for row in lines[1:3]] == [["ash", "4", *counts], ["elm", "4", *counts]]
    assert lines[3][:-1] == ["all", "8", "75.0", "%", "4", "4", "4", "0", "0"]
    assert all(float(row[-1]) > 100.0 for row in lines[1:4])
    assert "8 tasks in" in done.stdout
    again = cell(*words)
    assert "0 tasks in" in again.stdout
    assert "8 were there already" in again.stdout
    assert again.stdout.splitlines()[1].split()[-1] == "-"


def test_json_holds_the_same(tmp_path: Path, quick: Quickly) -> None:
    words = ["run", "-o", tmp_path / "f", "--site", "ash", "--tasks", 4, "--jobs", 1]
    done = cell(*words, "--no-record", "--json")
    found = json.loads(done.stdout)
    ash = found["sites"]["ash"]
    assert (ash["tasks"], ash["successes"], ash["retries"]) == (4, 3, 2)
    assert ash["failures"] == {"drop": 2, "miss": 2}
    assert found["diverged"] == []


def test_training_sites_are_run_unless_held_out_ones_are_asked_for(
    tmp_path: Path, quick: Quickly
) -> None:
    def sites(*words: object) -> set[str]:
        out = tmp_path / "-".join(map(str, words or ["plain"]))
        done = cell("run", "-o", out, "--tasks", 1, "--no-record", "--jobs", 1, *words)
        assert done.code == 0, done.stderr
        return {r.site for r in read_results(out / "tasks.jsonl")}

    catalogue = load_catalogue()
    assert sites() == set(catalogue.training_sites())
    assert sites("--held-out") == set(catalogue.held_out.sites)
    having = {s for s in catalogue.training_sites() if FOREIGN in catalogue.site(s).items}
    assert sites("--item", FOREIGN) == having
    assert 0 < len(having) < len(catalogue.training_sites())


def test_the_plain_policy_makes_one_attempt(tmp_path: Path, quick: Quickly) -> None:
    out = tmp_path / "f"
    done = cell(
        "run", "-o", out, "--site", "ash", "--tasks", 1, "--no-record", "--policy", "plain"
    )
    assert done.code == 0, done.stderr
    assert json.loads((out / "fleet.json").read_text())["attempts"] == 1
    line = refused(SPEC, "run", "-o", out, "--policy", "plain", "--attempts", 3)
    assert "--attempts 3" in line


def test_a_diverging_task_is_a_note(tmp_path: Path, quick: Quickly) -> None:
    quick(DivergedError("the simulation of seed 2 at site 'ash' diverged after 1.00 s"), 2)
    done = cell("run", "-o", tmp_path / "f", "--site", "ash", "--tasks", 4, "--no-record",
                "--jobs", 1)  # fmt: skip
    assert done.code == 0
    assert done.stderr == (
        "note: the simulation of seed 2 at site 'ash' diverged after 1.00 s: left out\n"
    )
    assert "3 tasks in" in done.stdout
    assert "1 diverged" in done.stdout


def test_an_interrupt_says_how_to_go_on(tmp_path: Path, quick: Quickly) -> None:
    quick(KeyboardInterrupt(), 2)
    done = cell("run", "-o", tmp_path / "f", "--site", "ash", "--tasks", 4, "--no-record",
                "--jobs", 1)  # fmt: skip
    assert done.code == INTERRUPTED
    assert done.stderr.splitlines() == [
        "note: 2 of 4 tasks are done; the same command goes on with the rest",
        "interrupted: nothing was left half-written",
    ]
    assert len(read_results(tmp_path / "f" / "tasks.jsonl")) == 2


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--site", "asch"], ["'asch'", "did you mean 'ash'?"]),
        (["--item", "hard_back"], ["'hard_back'", "did you mean 'hardback'?"]),
        (["--site", "ash", "--item", FOREIGN], ["'ash'", f"'{FOREIGN}'", "it has: "]),
        (["--cell", "none.yaml"], ["none.yaml", "cannot be read"]),
        (["--gate", "none.yaml"], ["none.yaml", "cannot be read"]),
    ],
)
def test_what_cannot_be_run_is_one_line(
    tmp_path: Path, words: list[str], names: list[str]
) -> None:
    line = refused(SPEC, "run", "-o", tmp_path / "f", *words)
    assert all(name in line for name in names), line
    assert list(tmp_path.iterdir()) == []


def test_without_mujoco_the_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    line = refused(SPEC, "run", "-o", tmp_path / "f")
    assert line == "error: the cell needs the package 'mujoco': pip install 'pro_ros[cell]'"
    assert list(tmp_path.iterdir()) == []


def test_without_a_renderer_the_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> None:
        raise RuntimeError("no EGL")

    monkeypatch.setattr(world.require_mujoco(), "Renderer", none)
    line = refused(SPEC, "run", "-o", tmp_path / "f", "--camera")
    assert "no renderer" in line
    assert "libegl1" in line
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = refused(STORAGE, "run", "-o", tmp_path / "file" / "f", "--site", "ash")
    assert str(tmp_path / "file" / "f") in line


def test_the_list_shows_every_site_and_item_and_what_is_held_out() -> None:
    done = cell("list")
    assert done.code == 0
    catalogue = load_catalogue()
    rows = {words[0]: words for line in done.stdout.splitlines() if (words := line.split())}
    assert {*catalogue.sites, *catalogue.items} < set(rows)
    held = {name for name, words in rows.items() if words[1:2] == ["yes"]}
    assert held == {*catalogue.held_out.sites, *catalogue.held_out.items}
    assert "pump_flow 0.62" in done.stdout
    found = json.loads(cell("list", "--json").stdout)
    assert set(found["sites"]) == set(catalogue.sites)


def test_another_cell_file_is_taken(tmp_path: Path, quick: Quickly) -> None:
    document = yaml.safe_load(share_file("config/cell/cell.yaml").read_text())
    document["sites"] = {"oak": {**document["sites"]["ash"], "pump_flow": 0.123}}
    document["held_out"] = {"sites": [], "items": []}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(document))
    assert "pump_flow 0.123" in cell("list", "--cell", path).stdout
    done = cell("run", "-o", tmp_path / "f", "--cell", path, "--no-record", "--jobs", 1)
    assert done.code == 0, done.stderr
    assert {r.site for r in read_results(tmp_path / "f" / "tasks.jsonl")} == {"oak"}
    line = refused(SPEC, "run", "-o", tmp_path / "f", "--cell", path, "--held-out")
    assert "no site that is held out" in line
    assert "'cell'" in refused(SPEC, "run", "-o", tmp_path / "f", "--no-record")


def until_gone(group: int) -> None:
    """Wait for all processes of a group to end."""
    for _ in range(1000):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    raise AssertionError("a process was left behind")


def test_ctrl_c_ends_all_processes_and_keeps_what_is_done(tmp_path: Path) -> None:
    out = tmp_path / "f"
    process = subprocess.Popen(
        [sys.executable, "-m", "pro_ros.cli.main", "cell", "run", "-o", out, "--site", "ash",
         "--tasks", "500", "--jobs", "2"],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        # A test may run where interrupts are ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    lines = out / "tasks.jsonl"
    end = time.monotonic() + 120.0
    while not (lines.exists() and lines.stat().st_size > 0) and time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    # As a terminal does: to all of them.
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, stderr
    assert stdout == ""
    note, line = stderr.splitlines()
    assert note.endswith("of 500 tasks are done; the same command goes on with the rest")
    assert line == "interrupted: nothing was left half-written"
    done = {f"ash-{r.seed:06d}" for r in read_results(lines)}
    bags = {p.name for p in (out / "ash").iterdir()}
    assert done <= bags
    assert not {name for name in bags if name.startswith(".")}
    until_gone(process.pid)
