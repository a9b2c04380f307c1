"""Fleets: the same bytes with any number of processes, and nothing lost, whatever ends them."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from worker_jobs import behave

from pro_ros.cell import fleet, world
from pro_ros.cell.catalogue import load_catalogue
from pro_ros.cell.cell import DivergedError
from pro_ros.cell.fleet import Fleet, FleetRequest, Job, Watch, run_fleet
from pro_ros.cell.journal import Journal, from_line, read_results, to_line
from pro_ros.cell.loop import SPACING_NS, Attempt, TaskResult
from pro_ros.cell.sensors import NS, Reading
from pro_ros.episodes.dataset import Source, create_dataset
from pro_ros.episodes.marks import BEGIN, END, MOMENT, EventMark, TaskMark
from pro_ros.episodes.mcap import Writer
from pro_ros.episodes.splits import split
from pro_ros.errors import DataError, ProError, SpecError, StorageError
from pro_ros.gate.config import load_gate_config
from pro_ros.paths import share_file
from pro_ros.streams.spec import load_spec
from pro_ros.workers import work_on

CATALOGUE = load_catalogue()
GATE = load_gate_config(share_file("config/cell/gate.yaml"))
FOREIGN = next(sku for sku in CATALOGUE.items if sku not in CATALOGUE.site("ash").items)
"""An item that the site has not."""

T0 = 1_767_225_600 * NS


def request(out: Path, **changes: Any) -> FleetRequest:
    base = FleetRequest(CATALOGUE, GATE, out, ("ash",), 3, jobs=1)
    return replace(base, **changes)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def one_line(error: BaseException) -> str:
    text = str(error)
    assert text
    assert "\n" not in text
    return text


# A task without physics

Fault = Callable[[str, int], None]


class Quick:
    """In the place of a TaskRun: two attempts of a few readings; ``fault`` may end it."""

    fault: Fault = staticmethod(lambda site, seed: None)
    ran: list[str] = []  # noqa: RUF012

    def __init__(self, catalogue: Any, task: Any, gate: Any, watcher: Any, *rest: Any) -> None:
        self.task, self.listener = task, rest[1]

    def run(self) -> TaskResult:
        site, sku, seed = self.task.site, self.task.sku, self.task.seed
        name = f"{site}-{seed:06d}"
        Quick.ran.append(name)
        if self.listener is not None:
            self.say(name, T0 + seed * SPACING_NS)
        Quick.fault(site, seed)
        failed = Attempt(
            1, 0.0, 5.0, "failure", "policy_failure", False, "", None, (("drop", 3.5),), 0.0
        )
        return TaskResult(site, sku, seed, True, "success", 9.5, (failed, replace(
            failed, number=2, begin=5.0, end=9.5, outcome="success", cause="success", failures=()
        )))  # fmt: skip

    def say(self, name: str, start_ns: int) -> None:
        """Readings and marks of two attempts."""
        context = {"site": self.task.site, "sku": self.task.sku}
        for number in (1, 2):
            t_ns = start_ns + number * 5 * NS
            episode, before = f"{name}-{number}", f"{name}-1" if number == 2 else ""
            self.listener(TaskMark(
                t_ns, "pick", name, context, episode, number, before, t_ns
            ))  # fmt: skip
            self.listener(EventMark(t_ns, BEGIN, MOMENT, 0, episode, "", t_ns))
            for k in range(10):
                at = t_ns + k * NS // 10
                self.listener(Reading("vacuum", at, at, (1e5,)))
            end_ns = t_ns + NS
            self.listener(EventMark(end_ns, END, MOMENT, number % 2 + 1, episode, "", end_ns))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> type[Quick]:
    monkeypatch.setattr(fleet, "TaskRun", Quick)
    monkeypatch.setattr(Quick, "fault", staticmethod(lambda site, seed: None))
    monkeypatch.setattr(Quick, "ran", [])
    return Quick


def raising(error: BaseException, *names: str) -> Fault:
    def fault(site: str, seed: int) -> None:
        if str(Job(site, seed)) in names:
            raise error

    return fault


# The same bytes


def test_the_same_seeds_give_the_same_bytes_with_one_process_and_with_two(tmp_path: Path) -> None:
    asked = request(tmp_path / "a", sites=("ash", "cedar"), tasks_per_site=1, attempts=1)
    one = run_fleet(asked)
    two = run_fleet(replace(asked, out=tmp_path / "b", jobs=2))
    assert one.results == two.results
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    names = {f"{site}/{site}-000000/metadata.yaml" for site in ("ash", "cedar")}
    assert names < set(contents(tmp_path / "a"))
    assert all(1.0 < r.duration < 90.0 for r in one.results)
    assert one.speed() > 1.0


@pytest.mark.parametrize("jobs", [1, 3])
def test_lines_stand_in_the_order_of_tasks_whoever_is_done_first(
    tmp_path: Path, quick: type[Quick], monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    def backwards(todo: Sequence[Job], work: Any, processes: int) -> Any:
        assert processes == jobs
        return ((job, work(job)) for job in reversed(todo))

    monkeypatch.setattr(fleet, "work_on", backwards)
    found = run_fleet(request(tmp_path / "f", sites=("cedar", "ash"), jobs=jobs))
    keys = [(s, n) for s in ("ash", "cedar") for n in range(3)]
    assert [(r.site, r.seed) for r in found.results] == keys
    assert [(r.site, r.seed) for r in read_results(tmp_path / "f" / "tasks.jsonl")] == keys


def test_simulated_times_of_a_site_do_not_overlap() -> None:
    # The gate ends a task by then, and stopping, recovering and warming up take some time.
    assert GATE.limits.max_duration + 25.0 < SPACING_NS / NS


# Going on


def test_a_second_call_runs_nothing_and_says_the_same(tmp_path: Path, quick: type[Quick]) -> None:
    first = run_fleet(request(tmp_path / "f"))
    before = contents(tmp_path / "f")
    second = run_fleet(request(tmp_path / "f"))
    assert len(quick.ran) == 3
    assert second.results == first.results
    assert second.resumed == 3
    assert contents(tmp_path / "f") == before


def test_more_tasks_and_sites_are_added(tmp_path: Path, quick: type[Quick]) -> None:
    run_fleet(request(tmp_path / "f", tasks_per_site=2))
    found = run_fleet(request(tmp_path / "f", tasks_per_site=3, sites=("ash", "birch")))
    assert len(quick.ran) == 6
    assert len(found.results) == 6
    run_fleet(request(tmp_path / "g", tasks_per_site=3, sites=("ash", "birch")))
    assert contents(tmp_path / "f") == contents(tmp_path / "g")


def test_a_bag_that_was_removed_is_made_again(tmp_path: Path, quick: type[Quick]) -> None:
    run_fleet(request(tmp_path / "f"))
    before = contents(tmp_path / "f")
    bag = tmp_path / "f" / "ash" / "ash-000001"
    for file in bag.iterdir():
        file.unlink()
    bag.rmdir()
    assert run_fleet(request(tmp_path / "f")).resumed == 2
    assert quick.ran[3:] == ["ash-000001"]
    assert contents(tmp_path / "f") == before


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"attempts": 1}, "attempts"), ({"items": ("tea_box",)}, "items"),
        ({"held_out": True}, "held_out"), ({"record": False}, "record"),
        ({"watch": Watch(threshold=3e4)}, "watch"),
    ],
)  # fmt: skip
def test_a_folder_of_other_settings_is_refused(
    tmp_path: Path, quick: type[Quick], changes: dict[str, Any], key: str
) -> None:
    run_fleet(request(tmp_path / "f"))
    before = contents(tmp_path / "f")
    with pytest.raises(SpecError) as caught:
        run_fleet(request(tmp_path / "f", **changes))
    line = one_line(caught.value)
    assert f"'{key}'" in line
    assert str(tmp_path / "f") in line
    assert contents(tmp_path / "f") == before


def test_a_folder_of_something_else_is_refused(tmp_path: Path, quick: type[Quick]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"is no fleet"):
        run_fleet(request(tmp_path))
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_two_calls_at_once_are_refused(tmp_path: Path, quick: type[Quick]) -> None:
    caught: list[ProError] = []

    def again(site: str, seed: int) -> None:
        with pytest.raises(StorageError, match="another process fills") as error:
            run_fleet(request(tmp_path / "f"))
        caught.append(error.value)

    quick.fault = staticmethod(again)  # type: ignore[assignment]
    assert len(run_fleet(request(tmp_path / "f", tasks_per_site=1)).results) == 1
    assert len(caught) == 1


# What ends it


def test_an_interrupted_run_keeps_what_is_done_and_goes_on(
    tmp_path: Path, quick: type[Quick]
) -> None:
    quick.fault = staticmethod(raising(KeyboardInterrupt(), "ash-000002"))  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        run_fleet(request(tmp_path / "f", tasks_per_site=4))
    kept = contents(tmp_path / "f")
    assert {n.split("/")[1] for n in kept if n.startswith("ash/")} == {"ash-000000", "ash-000001"}
    assert kept["groups.csv"].decode().splitlines()[1:] == [
        "ash-000000,ash-000000", "ash-000001,ash-000001",
    ]  # fmt: skip
    assert len(read_results(tmp_path / "f" / "tasks.jsonl")) == 2
    quick.fault = staticmethod(raising(KeyboardInterrupt()))  # type: ignore[assignment]
    assert run_fleet(request(tmp_path / "f", tasks_per_site=4)).resumed == 2
    run_fleet(request(tmp_path / "g", tasks_per_site=4))
    assert contents(tmp_path / "f") == contents(tmp_path / "g")


def test_a_line_that_a_kill_cut_short_is_run_again(tmp_path: Path, quick: type[Quick]) -> None:
    run_fleet(request(tmp_path / "f"))
    before = contents(tmp_path / "f")
    lines = tmp_path / "f" / "tasks.jsonl"
    lines.write_bytes(lines.read_bytes()[:-30])
    hidden = tmp_path / "f" / "ash" / ".ash-000002.abc.tmp"
    hidden.mkdir()
    assert run_fleet(request(tmp_path / "f")).resumed == 2
    assert contents(tmp_path / "f") == before
    assert not hidden.exists()


def test_a_damaged_line_is_named(tmp_path: Path, quick: type[Quick]) -> None:
    run_fleet(request(tmp_path / "f"))
    lines = tmp_path / "f" / "tasks.jsonl"
    text = lines.read_text().splitlines(keepends=True)
    lines.write_text(text[0] + "{}\n" + text[2])
    with pytest.raises(DataError, match=r"tasks\.jsonl: line 2"):
        run_fleet(request(tmp_path / "f"))


def test_a_full_disk_is_one_line_and_what_is_done_is_kept(
    tmp_path: Path, quick: type[Quick], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Writer.write

    def full(self: Writer, *given: Any) -> None:
        if "ash-000002" in str(self.path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, *given)

    monkeypatch.setattr(Writer, "write", full)
    with pytest.raises(StorageError) as caught:
        run_fleet(request(tmp_path / "f", tasks_per_site=4))
    line = one_line(caught.value)
    assert line.endswith("ash-000002: cannot be written: No space left on device")
    assert len(read_results(tmp_path / "f" / "tasks.jsonl")) == 2
    assert sorted(p.name for p in (tmp_path / "f" / "ash").iterdir()) == [
        "ash-000000", "ash-000001",
    ]  # fmt: skip


def test_a_disk_that_has_no_room_for_a_line_is_one_line(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    journal = Journal(tmp_path / "tasks.jsonl")
    (tmp_path / "tasks.jsonl").symlink_to(full)
    with pytest.raises(StorageError, match=r"tasks\.jsonl: cannot be written: No space left"):
        journal.add(TaskResult("ash", "book", 1, False, "success", 1.0, ()))
    assert journal.found == {}


def test_a_diverging_task_is_one_line_and_the_others_go_on(
    tmp_path: Path, quick: type[Quick]
) -> None:
    error = DivergedError("the simulation of seed 1 at site 'ash' diverged after 2.00 s")
    quick.fault = staticmethod(raising(error, "ash-000001"))  # type: ignore[assignment]
    told: list[str] = []
    seen: list[tuple[int, str]] = []
    found = run_fleet(request(tmp_path / "f"), lambda n, name: seen.append((n, name)), told.append)
    assert told == ["the simulation of seed 1 at site 'ash' diverged after 2.00 s: left out"]
    assert found.diverged == (str(error),)
    assert [r.seed for r in found.results] == [0, 2]
    assert seen == [(1, "ash-000000"), (2, "ash-000001"), (3, "ash-000002")]
    assert sorted(p.name for p in (tmp_path / "f" / "ash").iterdir()) == [
        "ash-000000", "ash-000002",
    ]  # fmt: skip
    assert "ash-000001" not in (tmp_path / "f" / "groups.csv").read_text()


def test_too_many_diverging_tasks_end_it(tmp_path: Path, quick: type[Quick]) -> None:
    names = [f"ash-{n:06d}" for n in (5, 10, 15)]
    quick.fault = staticmethod(raising(DivergedError("diverged"), *names))  # type: ignore[assignment]
    asked = request(tmp_path / "f", tasks_per_site=40, record=False)
    with pytest.raises(DataError) as caught:
        run_fleet(asked)
    assert "3 of 40 tasks diverged, more than 5 %" in one_line(caught.value)
    assert len(read_results(tmp_path / "f" / "tasks.jsonl")) == 13
    found = run_fleet(replace(asked, out=tmp_path / "g", tasks_per_site=60))
    assert (len(found.results), len(found.diverged)) == (57, 3)


# What is asked for


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"sites": ("asch",)}, ("'asch'", "did you mean 'ash'?")),
        ({"items": ("tea_bux",)}, ("'tea_bux'", "did you mean 'tea_box'?")),
        ({"items": (FOREIGN,)}, ("'ash'", f"'{FOREIGN}'")),
        ({"first_seed": 999_999}, ("1000001",)),
        ({"tasks_per_site": 0}, ("at least one task",)),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_one_line_and_makes_no_folder(
    tmp_path: Path, changes: dict[str, Any], names: Sequence[str]
) -> None:
    with pytest.raises(SpecError) as caught:
        run_fleet(request(tmp_path / "f", **changes))
    line = one_line(caught.value)
    assert all(name in line for name in names)
    assert not (tmp_path / "f").exists()


def test_only_the_items_asked_for_are_ordered(tmp_path: Path, quick: type[Quick]) -> None:
    def skus(name: str, **changes: Any) -> set[str]:
        changes = {"sites": ("larch",), "tasks_per_site": 60, "record": False, **changes}
        return {r.sku for r in run_fleet(request(tmp_path / name, **changes)).results}

    held = set(CATALOGUE.held_out.items)
    assert not skus("plain") & held
    assert skus("held", held_out=True) & held
    place = CATALOGUE.site("larch").items
    foreign = next(sku for sku in CATALOGUE.items if sku not in place)
    assert skus("two", items=(place[0], foreign, place[1])) == set(place[:2])


def test_without_mujoco_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mujoco", None)
    with pytest.raises(SpecError) as caught:
        run_fleet(request(tmp_path / "f"))
    assert "pip install 'pro_ros[cell]'" in one_line(caught.value)
    assert not (tmp_path / "f").exists()


def test_without_a_renderer_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> None:
        raise RuntimeError("no EGL")

    monkeypatch.setattr(world.require_mujoco(), "Renderer", none)
    with pytest.raises(SpecError, match="no renderer"):
        run_fleet(request(tmp_path / "f", camera=True))
    assert not (tmp_path / "f").exists()


# The data set


def test_all_attempts_at_a_task_stand_on_the_same_side_of_a_split_by_group(
    tmp_path: Path, quick: type[Quick]
) -> None:
    run_fleet(request(tmp_path / "f", sites=("ash", "birch"), tasks_per_site=4))
    bags = sorted((tmp_path / "f").glob("*/*-*"))
    spec = load_spec(share_file("config/cell/streams.yaml"))
    dataset = create_dataset(
        tmp_path / "d", "d", spec, [Source(bag.name, bag) for bag in bags],
        outcomes=tmp_path / "f" / "groups.csv", allow_missing=True,
    ).dataset  # fmt: skip
    episodes = dataset.manifest.episodes
    assert len(episodes) == 16
    assert len({e.attributes["episode_id"] for e in episodes}) == 16
    repeated = {e.id: e.retry_of for e in episodes if e.attempt == 2}
    assert len(repeated) == 8
    by_id = {e.id: e for e in episodes}
    for retry, first in repeated.items():
        assert first is not None
        assert by_id[first].recording == by_id[retry].recording
    for fold in split(episodes, "group", 3):
        sides = [{by_id[i].recording for i in side} for side in (fold.train, fold.test)]
        assert sides[0].isdisjoint(sides[1])
    assert len(split(episodes, "site", 2)) == 2


# Lines


def test_a_result_survives_its_line() -> None:
    attempt = Attempt(1, 0.0, 4.2, "failure", "risk_alarm", True, "drop", 3.1,
                      (("drop", 3.14159), ("jam", 4.0)), 0.91)  # fmt: skip
    result = TaskResult("ash", "book", 7, False, "attempts_exhausted", 5.123456789, (attempt,))
    line = to_line(result)
    assert "\n" not in line
    assert from_line(line) == result
    assert json.loads(line)["attempts"][0]["failures"] == [["drop", 3.14159], ["jam", 4.0]]


def test_speed_is_not_known_where_nothing_ran() -> None:
    assert str(Fleet(()).speed()) == "nan"
    assert str(Fleet(()).speed("ash")) == "nan"


# Processes


def test_all_jobs_are_done_by_processes_with_one_thread_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    jobs = [f"job {n}" for n in range(7)]
    assert sorted(work_on(jobs, behave, 2)) == [(job, f"{job} by 1") for job in jobs]
    assert os.environ["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize(
    ("job", "error", "line"),
    [
        ("killed", DataError, "the process at 'killed' was killed by signal 9 (SIGKILL)"),
        ("refused", SpecError, "refused: give another"),
        ("broken", RuntimeError, "in the process of 'broken'"),
    ],
)
def test_a_process_that_fails_is_told_of(job: str, error: type[Exception], line: str) -> None:
    with pytest.raises(error) as caught:
        list(work_on(["good", job, "good", "good"], behave, 2))
    assert line in str(caught.value)
