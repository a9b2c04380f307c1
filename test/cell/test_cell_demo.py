"""``pro-ros demo --cell``: what is chosen, what is said of it, and what is left on the disk."""

from __future__ import annotations

import io
import re
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from invoked import Ran, invoke, one_line
from made_up_readings import readings
from rich.console import Console
from rosbags.rosbag2 import Reader
from typer.testing import CliRunner

from pro_ros.cell import demonstration as demo
from pro_ros.cell import film as film_module
from pro_ros.cell import loop
from pro_ros.cell import picks as picking
from pro_ros.cell.catalogue import load_catalogue
from pro_ros.cell.cell import DivergedError
from pro_ros.cell.loop import INTERVENTION, Attempt, TaskResult
from pro_ros.cell.request import Watch
from pro_ros.cell.results import ClosedLoop, read
from pro_ros.cell.rows import AttemptRow, FailureRow, TaskRow
from pro_ros.cell.sensors import NS, Reading
from pro_ros.cell.spectator import Spectator, left_alone
from pro_ros.cell.tape import order_ns
from pro_ros.cell.tasks import draw_task
from pro_ros.cell.watchers import Nobody, Pro
from pro_ros.cli import cell_view
from pro_ros.cli.cell_view import Lines, Moving, StoppedError, make_view
from pro_ros.cli.main import app
from pro_ros.episodes.marks import BEGIN, END, MOMENT, EventMark, TaskMark
from pro_ros.gate.config import load_gate_config
from pro_ros.gate.inputs import AssessmentSeen
from pro_ros.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pro_ros.model.config import OperatorConfig
from pro_ros.model.factory import build_operator
from pro_ros.paths import share_file
from pro_ros.streams.spec import load_spec

pytest.importorskip("mujoco", reason="the cell needs mujoco")

SPEC, CHECKPOINT, STORAGE = 2, 4, 6
ESCAPE = "\x1b"
GATE = load_gate_config(share_file("config/cell/gate.yaml"))
SITE = load_catalogue().held_out.sites[0]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that knows nothing, but reads the cell."""
    torch.manual_seed(0)
    spec = load_spec(share_file("config/cell/streams.yaml"))
    folder = tmp_path_factory.mktemp("cell") / "checkpoint"
    save_checkpoint(folder, build_operator(OperatorConfig(width=8, members=1), spec), spec)
    return folder


def run(*words: object) -> Ran:
    return invoke("demo", *words)


def refused(code: int, *words: object) -> str:
    """The one line of a command that must be refused."""
    return one_line(run(*words), code)


# Tasks without physics


def attempt(number: int, begin: float, end: float, outcome: str, **more: Any) -> Attempt:
    cause = {"success": "success", "failure": "policy_failure"}.get(outcome, "risk_alarm")
    stopped = cause == "risk_alarm"
    alarm = end if stopped else None
    given = {"failures": (), "peak": 0.0, **more}
    return Attempt(number, begin, end, outcome, cause, stopped, "", alarm, **given)


def scripted(way: str, seed: int) -> tuple[Attempt, ...]:
    """Every third task goes well, every third is caught, every third is not."""
    good = attempt(1, 0.0, 4.0, "success")
    drop = attempt(1, 0.0, 3.0, "failure", failures=(("drop", 2.5),))
    again = attempt(2, 5.0, 9.0, "success")
    if seed % 3 == 0 or (seed % 3 == 1 and way != picking.GATE):
        return (good,) if seed % 3 == 0 else (drop, *((again,) if way == picking.OUTCOME else ()))
    if seed % 3 == 1:
        return attempt(1, 0.0, 1.5, "unknown"), again
    return (drop,)


class Quick:
    """Tells what :func:`scripted` says, and readings of made-up numbers."""

    def __init__(
        self, catalogue: Any, task: Any, gate: Any, watcher: Any, candidates: int = 1,
        listener: Callable[[Any], None] | None = None, camera: Any = None, lesson: str = "",
    ) -> None:  # fmt: skip
        self.task, self.tell = task, listener or (lambda told: None)
        way = picking.GATE if isinstance(watcher, Spectator | Watching | film_module.Tape) else ""
        self.way = way or (picking.PLAIN if gate.limits.max_attempts == 1 else picking.OUTCOME)

    def run(self) -> TaskResult:
        attempts = scripted(self.way, self.task.seed)
        last = attempts[-1]
        begins = order_ns(self.task)
        marks = sorted(self._marks(attempts, begins), key=lambda m: m.receipt_ns)
        rates = {"vacuum": 50, "wrench": 50}
        for told in readings(last.end + 0.9, rates, begins - NS // 2):
            while marks and marks[0].receipt_ns <= told.receipt_ns:
                self.tell(marks.pop(0))
            self.tell(told)
        return TaskResult(
            self.task.site, self.task.sku, self.task.seed, last.outcome == "success",
            "success" if last.outcome == "success" else "attempts_exhausted", last.end, attempts,
        )  # fmt: skip

    def _marks(self, attempts: tuple[Attempt, ...], begins: int) -> Iterable[Any]:
        for made in attempts:
            begin, end = (begins + round(t * NS) for t in (made.begin, made.end))
            name = f"{self.task.seed}-{made.number}"
            yield TaskMark(begin, self.task.prompt, name, {}, name, made.number, "", begin)
            yield EventMark(begin, BEGIN, MOMENT, 0, name, "", begin)
            for mode, at in made.failures:
                t_ns = begins + round(at * NS)
                yield EventMark(t_ns, 13, MOMENT, 0, name, mode, t_ns)
            if made.stopped:
                yield EventMark(end, INTERVENTION, MOMENT, 0, name, "", end)
            outcome = {"success": 1, "failure": 2}.get(made.outcome, 0)
            yield EventMark(end, END, MOMENT, outcome, name, "", end + 1)


class Watching(Nobody):
    """Stands for PRO."""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (demo, loop, film_module):
        monkeypatch.setattr(module, "TaskRun", Quick)
    monkeypatch.setattr(demo, "cores", lambda: 1)
    monkeypatch.setattr(Watch, "make", lambda self: Watching() if self.checkpoint else Nobody())
    filmed = film_module.film
    monkeypatch.setattr(
        demo, "film", lambda *words, **more: filmed(*words, **more, pictures=False)
    )


# The command


def test_without_a_terminal_every_event_is_a_plain_line(
    tmp_path: Path, checkpoint: Path, quick: None
) -> None:
    out = tmp_path / "d"
    done = run("--cell", "--checkpoint", checkpoint, "-o", out)
    assert done.code == 0, done.stderr
    assert ESCAPE not in done.stdout + done.stderr
    assert "\r" not in done.stdout
    assert "14 of 20 first attempts go wrong" in done.stdout
    assert "stops 7 of these in time, and 0 that would have gone well" in done.stdout
    assert "pick 1 of 3, nothing goes wrong: pick the" in done.stdout
    assert "pick 2 of 3, a drop, caught in time: pick the" in done.stdout
    story = done.stdout.partition("pick 2 of 3")[2].partition("pick 3 of 3")[0]
    said = [line.split(" s  ")[1] for line in story.splitlines()[1:]]
    assert [" s  " in line for line in story.splitlines()[1:]] == [True] * len(said)
    assert said[0] == "first attempt"
    assert said[1].endswith(": the gate stops the arm")
    assert said[2] == "left alone: the item falls, 1.0 s from here"
    assert said[3] == "the arm stands; recovery"
    assert said[4] == "second attempt"
    assert said[5].startswith("success")
    assert "note: No video was asked for." in done.stderr
    table = [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines()]
    assert ["plain policy", "6 of 20", "14", "0", "11.0 s"] in table
    assert ["outcome only", "13 of 20", "14", "7", "8.3 s"] in table
    assert ["PRO gate", "13 of 20", "7", "7", "8.3 s"] in table


def test_a_report_of_all_tasks_and_a_bag_of_a_caught_pick_are_left(
    tmp_path: Path, checkpoint: Path, quick: None
) -> None:
    out = tmp_path / "d"
    done = run("--cell", "--checkpoint", checkpoint, "-o", out)
    assert sorted(p.name for p in out.iterdir()) == ["closed_loop.json", "pick", "report.html"]
    results = read(out / "closed_loop.json")
    assert [len(v.tasks) for v in results.variants] == [20, 20, 20]
    caught = demo.FIRST_SEED + (1 - demo.FIRST_SEED) % 3
    shown = [(f.variant, f.task.seed) for f in results.films]
    assert shown == [("outcome", caught), ("gate", caught), ("gate", caught + 3)]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "handful of tasks" in page
    assert "docs/benchmarks/closed_loop.md" in page
    assert "A drop, caught in time" in page
    assert f"pro-ros replay {out / 'pick'} {checkpoint} --out " in done.stdout
    with Reader(out / "pick") as bag:
        assert bag.duration / NS == pytest.approx(9.9, abs=0.1)


def test_where_nothing_is_caught_it_says_so(
    tmp_path: Path, checkpoint: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep = Quick.__init__

    def init(self: Any, *words: Any, **more: Any) -> None:
        asleep(self, *words, **more)
        self.way = picking.PLAIN

    monkeypatch.setattr(Quick, "__init__", init)
    done = run("--cell", "--checkpoint", checkpoint, "-o", tmp_path / "d")
    assert done.code == 0, done.stderr
    assert "stops 0 of these in time" in done.stdout
    assert "no failure is caught in time" in done.stderr
    assert "pick 2 of 2, a failure that is not caught" in done.stdout
    assert "caught in time:" not in done.stdout
    assert "the gate stops" not in done.stdout.partition("2. ")[2]
    assert "given up" in done.stdout


def test_a_diverging_task_is_left_out_of_all_ways(
    tmp_path: Path, checkpoint: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    went = Quick.run

    def diverging(self: Quick) -> TaskResult:
        if self.task.seed == demo.FIRST_SEED and self.way == picking.OUTCOME:
            raise DivergedError("diverged")
        return went(self)

    monkeypatch.setattr(Quick, "run", diverging)
    assert run("--cell", "--checkpoint", checkpoint, "-o", tmp_path / "d").code == 0
    results = read(tmp_path / "d" / "closed_loop.json")
    assert [len(v.tasks) for v in results.variants] == [19, 19, 19]
    assert demo.FIRST_SEED not in {t.seed for v in results.variants for t in v.tasks}


def test_a_full_disk_while_it_is_shown_ends_it_with_nothing_left(
    tmp_path: Path, checkpoint: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pro_ros.cell.bags.EpisodeBag.take", full)
    done = run("--cell", "--checkpoint", checkpoint, "-o", tmp_path / "d")
    assert done.code == STORAGE
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "No space left" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_real_cell_gives_a_report_and_a_bag_that_can_be_replayed(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = demo.Demonstration

    def two(*words: Any) -> Any:
        return replace(few(*words), tasks=2)

    monkeypatch.setattr(demo, "Demonstration", two)
    monkeypatch.setattr(demo, "cores", lambda: 1)
    filmed = film_module.film
    monkeypatch.setattr(
        demo, "film", lambda *words, **more: filmed(*words, **more, pictures=False)
    )
    out = tmp_path / "d"
    done = run("--cell", "--checkpoint", checkpoint, "-o", out)
    assert done.code == 0, done.stderr
    assert (out / "report.html").is_file()
    again = CliRunner().invoke(
        app, ["replay", str(out / "pick"), str(checkpoint), "--out", str(tmp_path / "replayed")]
    )
    assert again.exit_code == 0, again.stderr


def test_an_earlier_demo_is_kept_unless_told_otherwise(
    tmp_path: Path, checkpoint: Path, quick: None
) -> None:
    out = tmp_path / "d"
    assert run("--cell", "--checkpoint", checkpoint, "-o", out).code == 0
    line = refused(STORAGE, "--cell", "--checkpoint", checkpoint, "-o", out)
    assert "--overwrite" in line
    assert run("--cell", "--checkpoint", checkpoint, "-o", out, "--overwrite").code == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("")
    words = ["--cell", "--checkpoint", checkpoint, "-o", tmp_path / "mine", "--overwrite"]
    assert "no cell demo" in refused(STORAGE, *words)


def test_without_mujoco_the_line_says_what_to_install(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    line = refused(SPEC, "--cell", "--checkpoint", checkpoint, "-o", tmp_path / "d")
    assert line == "error: the cell needs the package 'mujoco': pip install 'pro_ros[cell]'"
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_another_robot_is_one_line(tmp_path: Path) -> None:
    other = share_file("examples/ur3_cobotops/checkpoint")
    line = refused(CHECKPOINT, "--cell", "--checkpoint", other, "-o", tmp_path / "d")
    assert str(other) in line
    assert "which the cell does not publish" in line
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_other_types_is_one_line(tmp_path: Path) -> None:
    text = share_file("config/cell/streams.yaml").read_text()
    changed = text.replace("sensor_msgs/msg/FluidPressure", "std_msgs/msg/Float64")
    changed = changed.replace("field: fluid_pressure", "field: data")
    assert changed != text
    (tmp_path / "streams.yaml").write_text(changed)
    spec = load_spec(tmp_path / "streams.yaml")
    other = tmp_path / "other"
    save_checkpoint(other, build_operator(OperatorConfig(width=8, members=1), spec), spec)
    line = refused(CHECKPOINT, "--cell", "--checkpoint", other, "-o", tmp_path / "d")
    assert str(other) in line
    assert "'/vacuum/pressure'" in line


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--pace", 2], "--pace"),
        (["--checkpoint", "x"], "--checkpoint"),
        (["--cell", "--shipped", "--checkpoint", "x"], "--shipped"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    tmp_path: Path, words: list[object], named: str
) -> None:
    assert named in refused(SPEC, *words, "-o", tmp_path / "d")


# What is chosen and said


def row(seed: int, *attempts: AttemptRow, success: bool = True) -> TaskRow:
    return TaskRow(
        site=SITE, sku="jar", seed=seed, success=success, reason="success",
        duration=attempts[-1].end, attempts=attempts,
    )  # fmt: skip


def tried(outcome: str, end: float = 4.0, at: float | None = None, mode: str = "drop",
          stopped: bool = False) -> AttemptRow:  # fmt: skip
    failures = () if at is None else (FailureRow(mode=mode, at=at),)
    return AttemptRow(number=1, begin=0.0, end=end, outcome=outcome, cause="", stopped=stopped,
                      alarm=end if stopped else None, failures=failures)  # fmt: skip


def results(*tasks: tuple[TaskRow, TaskRow]) -> ClosedLoop:
    def variant(key: str, rows: Iterable[TaskRow]) -> dict[str, Any]:
        return {"key": key, "name": key, "tasks": tuple(rows)}

    alone, gated = zip(*tasks, strict=True)
    return ClosedLoop.model_validate(
        {
            "setup": {"sites": (SITE,), "seeds": (0, 9)},
            "variants": (variant("plain", alone), variant("gate", gated)),
        }
    )


def test_one_of_each_mode_is_shown_before_a_second_and_the_quickest_first() -> None:
    stopped, again = tried("unknown", 1.0, stopped=True), tried("success", 8.0)
    found = picking.choose_picks(
        results(
            (row(1, tried("success")), row(1, tried("success"))),
            (row(2, tried("failure", at=2.0), success=False), row(2, stopped, again)),
            (row(3, tried("failure", at=2.0), success=False),
             row(3, stopped, tried("success", 7.0))),
            (row(4, tried("failure", at=3.0, mode="jam"), success=False), row(4, stopped, again)),
            (row(5, tried("success", at=2.0)), row(5, stopped, tried("success", 6.0))),
        )
    )  # fmt: skip
    assert [(p.seed, p.why, p.caught) for p in found] == [
        (1, "nothing goes wrong", False),
        (3, "a drop, caught in time", True),
        (4, "a jam, caught in time", True),
    ]


def test_stopped_too_late_or_without_success_is_not_shown_as_caught() -> None:
    wrong = tried("failure", at=2.0)
    late = tried("unknown", 2.5, at=2.0, stopped=True)
    early = tried("unknown", 1.0, stopped=True)
    found = picking.choose_picks(
        results(
            (row(1, wrong, success=False), row(1, late, tried("success", 8.0))),
            (row(2, wrong, success=False), row(2, early, wrong, success=False)),
        )
    )
    assert [(p.seed, p.why, p.caught) for p in found] == [
        (2, "stopped in time, yet not done", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("alone", "said"),
    [
        (tried("failure", at=2.5), "left alone: the item falls, 1.0 s from here"),
        (tried("success", at=2.5), "left alone: the item falls, 1.0 s from here, yet counts as"),
        (tried("success"), "a false stop"),
        (tried("failure"), "left alone, this attempt fails"),
    ],
)
def test_what_becomes_of_it_when_left_alone(alone: AttemptRow, said: str) -> None:
    assert left_alone(alone, 1.5).startswith(said)


def test_what_had_gone_wrong_before_the_stop_is_no_counterfactual() -> None:
    assert left_alone(tried("failure", at=1.0), 1.5) == ""


class Worried(Pro):
    """PRO that fears a drop for a moment, once in the first attempt."""

    def take(self, reading: Reading) -> Iterable[AssessmentSeen]:
        moment = self.begins_ns + NS < reading.receipt_ns < self.begins_ns + NS + NS // 10
        said = super().take(reading)
        return [replace(s, score=0.41 if moment else 0.05, threshold=0.3, mode="drop",
                        success=0.9, termination=0.0) for s in said]  # fmt: skip

    begins_ns = 0


@pytest.fixture(scope="module")
def looked_on(checkpoint: Path) -> tuple[Spectator, list[float]]:
    """A real pick with a stop that comes for sure."""
    loaded: Checkpoint = load_checkpoint(checkpoint)
    task = draw_task(load_catalogue(), "ash", 5)
    watcher = Worried(loaded)
    watcher.begins_ns = order_ns(task)
    times: list[float] = []
    alone = tried("failure", at=2.0)
    alarm = GATE.alarm.model_copy(update={"threshold": "calibrated"})
    gate = GATE.model_copy(update={"alarm": alarm})
    spectator = Spectator(watcher, task, gate, alone, lambda: times.append(spectator.at))
    made = loop.TaskRun(load_catalogue(), task, gate, spectator, listener=spectator.listen)
    spectator.finish(made.run())
    return spectator, times


def test_a_stop_is_told_with_its_risk_and_what_would_have_been(
    looked_on: tuple[Spectator, list[float]],
) -> None:
    spectator, times = looked_on
    said = [line.text for line in spectator.lines]
    stop = said.index("risk of a drop 0.41, over 0.30: the gate stops the arm")
    assert re.fullmatch(r"left alone: the item falls, (0\.9|1\.0) s from here", said[stop + 1])
    assert "second attempt" in said
    assert [line.at for line in spectator.lines] == sorted(line.at for line in spectator.lines)
    assert len(times) == len(spectator.tape.rows["vacuum"])
    assert times == sorted(times)
    assert [doing for _, doing in spectator.phases][:4] == [
        "attempt", "stop", "recovery", "attempt",
    ]  # fmt: skip


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
def test_the_panel_fits_the_terminal_and_shows_the_stop(
    looked_on: tuple[Spectator, list[float]], width: int, height: int
) -> None:
    spectator, _ = looked_on
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True,
                      color_system=None, legacy_windows=False)  # fmt: skip
    shown = row(5, tried("success", spectator.lines[-1].at))
    console.print(cell_view.panel(spectator, "1 of 1 · a test", shown, width, height - 1))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().rstrip("\n").split("\n")
    assert len(lines) < height
    assert {len(line) for line in lines} == {width}
    text = "\n".join(lines)
    assert "1 of 1 · a test" in text
    assert "the gate stops the arm" in text
    assert re.search(r"stops at +0\.30", text)
    assert re.search(r" 1 +(recovery)? +attempt 2 ", text)
    assert "┊" in text


def test_the_moving_panel_keeps_the_pace_and_ends_at_once_when_told(
    looked_on: tuple[Spectator, list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    spectator, _ = looked_on
    waited: list[float] = []

    class Over(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout or 0.0)
            return self.is_set()

    over = Over()
    console = Console(file=io.StringIO(), width=80, height=30, force_terminal=True)
    view = Moving(console, 2.0, over)
    began = spectator.at
    view.begin(1, 1, "a test", spectator, row(5, tried("success", spectator.at)))
    spectator.at = began + 1.0
    view.show()
    spectator.at = began
    assert waited[-1] == pytest.approx(0.5, abs=0.2)
    over.set()
    with pytest.raises(StoppedError):
        view.show()
    view.close()
    assert isinstance(console.file, io.StringIO)
    # The cursor is shown again.
    assert console.file.getvalue().rindex("\x1b[?25h") > console.file.getvalue().rindex(
        "\x1b[?25l"
    )


def test_the_panel_is_for_terminals_with_room() -> None:
    def view(**more: Any) -> Any:
        wide = {"width": 80, "height": 30, "force_terminal": True, "force_interactive": True}
        return make_view(
            Console(file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), **{**wide, **more}),
            1.0,
            threading.Event(),
        )

    assert isinstance(view(), Moving)
    for lacking in ({"width": 50}, {"height": 20}, {"force_terminal": False},
                    {"force_interactive": False}):  # fmt: skip
        assert isinstance(view(**lacking), Lines), lacking
    assert isinstance(view(_environ={"TERM": "dumb"}), Lines)
