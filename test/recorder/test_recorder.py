"""The recorder: nothing received is lost, what is written is a data set, limits are kept."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pro_ros.episodes.arrays import sequences
from pro_ros.episodes.dataset import Dataset, Source, create_dataset
from pro_ros.episodes.labels import RewardConfig, label
from pro_ros.errors import DataError, StorageError
from pro_ros.interfaces import (
    EPISODE_EVENT,
    TASK_CONTEXT,
    context_message,
    definition,
    event_message,
    typestore,
)
from pro_ros.recorder import journal as journal_module
from pro_ros.recorder.journal import (
    CLOSED,
    MESSAGE,
    Journal,
    JournalHead,
    JournalTopic,
    JournalWriter,
    frame,
)
from pro_ros.recorder.preroll import PreRoll
from pro_ros.recorder.recorder import Recorder
from pro_ros.recorder.rules import RecorderSettings
from pro_ros.streams.spec import RobotSpec, parse_spec

ROOT = Path(__file__).resolve().parents[2]
S = 1_000_000_000
T0 = 1_700_000_000 * S
FLOAT = "std_msgs/msg/Float32"
PERIOD = S // 20


def robot(**episodes: Any) -> RobotSpec:
    return parse_spec(
        {
            "format": "pro_ros/streams/1", "robot": "arm", "gap": 1.0, "step": {"rate": 10},
            "streams": {"force": {
                "modality": "telemetry", "topic": "/force", "type": FLOAT, "rate": 20,
                "clock": "receipt", "features": [{"name": "z", "field": "data", "unit": "N"}],
            }},
            "events": {"hit": {"signal": "force.z", "kind": "jam", "above": 90.0}},
            "failure_modes": ["hit"],
            "episodes": {"by": "events", "context": {"site": "north"}, **episodes},
        },
        "test",
    )  # fmt: skip


def pressure(value: float) -> bytes:
    store = typestore()
    return bytes(store.serialize_cdr(store.types[FLOAT](data=value), FLOAT))


def event(t_ns: int, kind: str, episode_id: str = "", outcome: str = "unknown") -> bytes:
    store = typestore()
    message = event_message(store, t_ns, kind, episode_id=episode_id, outcome=outcome)
    return bytes(store.serialize_cdr(message, EPISODE_EVENT))


def task(t_ns: int, prompt: str, episode_id: str = "", **more: Any) -> bytes:
    store = typestore()
    context = more.pop("context", {})
    message = context_message(
        store, t_ns, prompt=prompt, context=context, episode_id=episode_id, **more
    )
    return bytes(store.serialize_cdr(message, TASK_CONTEXT))


class Robot:
    """A recorder and the clock of what it is fed."""

    def __init__(self, output: Path, spec: RobotSpec | None = None, **rules: Any) -> None:
        self.lines: list[tuple[str, str]] = []
        self.recorder = Recorder(
            output,
            spec or robot(),
            RecorderSettings(**{"lead_in": 1.0, "lead_out": 0.5, **rules}),
            lambda level, line: self.lines.append((level, line)),
            retry_s=0.05,
        )
        text, digest = definition(FLOAT)
        topic = JournalTopic("/force", FLOAT, text, digest)
        self.force = self.recorder.declare(topic, timing=True)
        self.now = T0

    def run(self, seconds: float, value: float = 1.0) -> None:
        for _ in range(round(seconds * S) // PERIOD):
            self.recorder.message(self.force, self.now, pressure(value))
            self.now += PERIOD

    def begin(self, key: str, context: bytes | None = None) -> str:
        reason = self.recorder.begin(self.now, key, event(self.now, "episode_begin", key), context)
        self.now += 1
        return reason

    def end(self, outcome: str = "success", key: str = "") -> Path | None:
        path = self.recorder.end(self.now, event(self.now, "episode_end", key, outcome))
        self.now += 1
        return path

    def episode(self, key: str, seconds: float = 1.0, outcome: str = "success") -> None:
        self.begin(key)
        self.run(seconds)
        self.end(outcome)

    def warnings(self) -> list[str]:
        return [line for level, line in self.lines if level != "info"]


def neighbours(items: list[Any]) -> list[tuple[Any, Any]]:
    return [(items[i], items[i + 1]) for i in range(len(items) - 1)]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "data"


# The journal


def write_journal(path: Path, bodies: list[bytes]) -> list[int]:
    """A journal with one topic, and its size after each message."""
    writer = JournalWriter(path, JournalHead("a", "a", 1))
    sizes = []
    for number, body in enumerate(bodies):
        writer.append([frame(MESSAGE, 0, number, body)])
        sizes.append(writer.size)
    writer.close("")
    return sizes


def bodies_of(path: Path) -> list[bytes]:
    return [r.body for r in Journal(path).records() if r.kind == MESSAGE]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=12), st.data())
def test_any_truncation_leaves_the_records_before_it(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "a.journal"
    sizes = write_journal(path, bodies)
    length = path.stat().st_size
    at = data.draw(st.integers(0, length))
    os.truncate(path, at)
    whole = sum(size <= at for size in sizes)
    try:
        assert bodies_of(path) == bodies[:whole]
    except DataError:
        # Not even the head is whole.
        assert whole == 0
        assert at < (sizes[0] if sizes else length)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=100), min_size=1, max_size=8), st.data())
def test_a_damaged_byte_leaves_the_records_before_it(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "a.journal"
    sizes = write_journal(path, bodies)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    whole = sum(size <= at for size in sizes)
    try:
        assert bodies_of(path) == bodies[:whole]
    except DataError:
        assert whole == 0


def test_many_records_at_once_are_written_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    writer = JournalWriter(path, JournalHead("a", "a", 1))
    writer.append([frame(MESSAGE, 0, i, b"%d" % i) for i in range(3000)])
    writer.close("")
    assert bodies_of(path) == [b"%d" % i for i in range(3000)]


def test_a_record_that_is_taken_in_pieces_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.writev
    monkeypatch.setattr(os, "writev", lambda fd, parts: real(fd, [b"".join(parts)[:7]]))
    path = tmp_path / "a.journal"
    write_journal(path, [b"one" * 10, b"two" * 10])
    assert bodies_of(path) == [b"one" * 10, b"two" * 10]


def test_a_journal_says_whether_it_was_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    sizes = write_journal(path, [b"x"])
    found = Journal(path)
    assert [r.kind for r in found.records()][-1] == CLOSED
    assert found.closed
    os.truncate(path, sizes[-1] + 3)
    found = Journal(path)
    list(found.records())
    assert (found.closed, found.torn) == (False, 3)


def test_a_file_that_is_no_journal_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "b.journal"
    path.write_bytes(b"something else, long enough for a frame")
    with pytest.raises(DataError, match=r"b\.journal: not a journal"):
        Journal(path)


# Pre-roll


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 50)), max_size=60))
def test_the_lead_in_is_bounded_in_time_and_bytes(steps: list[tuple[int, int]]) -> None:
    ring = PreRoll(100, 500)
    now, pushed = 0, []
    for later, size in steps:
        now += later
        record = frame(MESSAGE, 0, now, b"x" * size)
        ring.push(0, now, record)
        pushed.append((now, record))
        assert ring.bytes <= 500
    kept = ring.take(now)
    # The newest ones, without a hole, none too old.
    assert [k.record for k in kept] == [r for _, r in pushed][len(pushed) - len(kept) :]
    assert all(k.receipt_ns >= now - 100 for k in kept)
    if len(kept) < len(pushed):
        t, record = pushed[-len(kept) - 1]
        size = sum(len(a) + len(b) for a, b in (*(k.record for k in kept), record))
        assert t < now - 100 or size > 500
    assert (len(ring), ring.bytes) == (0, 0)


# Episodes become a data set


def test_an_episode_is_a_recording_with_its_outcome(out: Path) -> None:
    cell = Robot(out)
    cell.run(3.0)
    cell.begin("pick 1", task(cell.now, "pick the box", "pick 1", task_id="t", attempt=2))
    begun = cell.now - 1
    cell.run(1.0)
    cell.recorder.event(cell.now, event(cell.now, "drop"))
    cell.run(1.0)
    path = cell.end("failure")
    ended = cell.now - 1
    cell.run(2.0)
    assert cell.recorder.flush()
    dataset = Dataset.load(out)
    (entry,), (episode,) = dataset.manifest.recordings, dataset.manifest.episodes
    assert path == out / "recordings" / "pick-1" == dataset.locate(entry.id)
    assert (episode.id, episode.outcome, episode.end_seen) == ("pick-1/0000", "failure", True)
    assert (episode.start_ns, episode.end_ns) == (begun, ended)
    assert (episode.task, episode.attempt) == ("pick the box", 2)
    assert episode.context == {"site": "north"}
    assert episode.attributes == {"episode_id": "pick 1", "task_id": "t"}
    # One second of lead-in, half a second of lead-out.
    assert 0.9 * S < begun - entry.start_ns <= S
    assert 0.4 * S < entry.end_ns - ended < 0.6 * S
    (drop,) = dataset.manifest.events
    assert (drop.kind, drop.episode) == ("drop", episode.id)
    cell.recorder.close()


def test_import_of_the_single_bags_finds_the_same(out: Path, tmp_path: Path) -> None:
    cell = Robot(out)
    cell.recorder.context(cell.now, task(cell.now, "pick", context={"sku": "7"}))
    cell.run(60.0)
    for number, outcome in enumerate(("success", "failure", "unknown")):
        cell.episode(f"e{number}", 2.0, outcome)
        cell.run(1.5, 95.0 if number == 1 else 1.0)
    cell.recorder.close()
    dataset = Dataset.load(out)
    assert len(dataset.manifest.episodes) == 3
    assert {e.task for e in dataset.manifest.episodes} == {"pick"}
    again = create_dataset(
        tmp_path / "again",
        "data",
        dataset.spec,
        [Source(r.id, dataset.locate(r.id)) for r in dataset.manifest.recordings],
    )
    assert again.dataset.manifest.episodes == dataset.manifest.episodes
    assert again.dataset.manifest.events == dataset.manifest.events
    assert again.dataset.manifest.events
    assert not [w for w in again.warnings if "stamp" in w]


def test_a_recorded_episode_gives_steps_with_filled_windows_and_labels(out: Path) -> None:
    cell = Robot(out)
    cell.run(3.0)
    cell.episode("a", 2.0)
    cell.run(1.0)
    cell.recorder.close()
    dataset = Dataset.load(out)
    (sequence,) = sequences(dataset)
    assert (sequence.episode == -1)[:8].all()
    inside = sequence.episode == 0
    assert inside.sum() == 21
    labels = label(sequence, ("hit",), (0.3,), 0.5, RewardConfig())
    assert labels.success_known[inside].all()
    assert labels.value_known[inside].all()
    assert labels.final[inside].sum() == 5
    assert labels.within_known[inside].all()


def test_a_retry_names_the_attempt_in_another_recording(out: Path) -> None:
    cell = Robot(out)
    cell.episode("a", 1.0, "failure")
    cell.run(1.0)
    cell.begin("b", task(cell.now, "pick", "b", attempt=2, retry_of="a"))
    cell.run(1.0)
    cell.end()
    cell.recorder.close()
    first, second = Dataset.load(out).manifest.episodes
    assert (second.retry_of, second.attempt) == (first.id, 2)


def test_retry_within_links_recordings(out: Path) -> None:
    cell = Robot(out, robot(retry_within=5.0))
    for key, outcome in (("a", "failure"), ("b", "success"), ("c", "success")):
        cell.episode(key, 1.0, outcome)
        cell.run(1.0)
    cell.recorder.close()
    found = [(e.attempt, e.retry_of) for e in Dataset.load(out).manifest.episodes]
    assert found == [(1, None), (2, "a/0000"), (1, None)]


def test_streams_that_were_never_heard_are_absent(out: Path) -> None:
    document = robot().model_dump(mode="json", exclude_defaults=True)
    document["streams"]["grip"] = {**document["streams"]["force"], "topic": "/grip"}
    cell = Robot(out, parse_spec(document, "test"))
    cell.episode("a")
    cell.recorder.close()
    (entry,) = Dataset.load(out).manifest.recordings
    assert entry.absent == ("grip",)


@pytest.mark.parametrize("by", ["file", "gap", "signal"])
def test_other_ways_of_cutting_record_by_events(out: Path, by: str) -> None:
    more = {"signal": "force.z"} if by == "signal" else {}
    cell = Robot(out, robot(by=by, **more))
    cell.episode("a")
    cell.recorder.close()
    dataset = Dataset.load(out)
    assert dataset.spec.episodes.by == "events"
    assert [e.outcome for e in dataset.manifest.episodes] == ["success"]
    # The folder may be used again with the same stream file.
    cell = Robot(out, robot(by=by, **more))
    cell.now += 100 * S
    cell.episode("a")
    cell.recorder.close()
    assert [r.id for r in Dataset.load(out).manifest.recordings] == ["a", "a-2"]


def test_no_message_stands_in_two_recordings_but_the_first_after_an_end(out: Path) -> None:
    cell = Robot(out)
    cell.run(2.0)
    for key in "abc":
        cell.episode(key)
        cell.run(0.2 if key == "a" else 0.0)
    cell.run(2.0)
    cell.recorder.close()
    dataset = Dataset.load(out)
    assert [e.end_seen for e in dataset.manifest.episodes] == [True] * 3
    times: list[set[int]] = []
    for entry in dataset.manifest.recordings:
        with dataset.recording(entry.id) as recording:
            times.append({s.receipt_ns for s in recording.samples()})
    assert [len(a & b) for a, b in neighbours(times)] == [0, 1]
    assert all(label(s, ("hit",), (0.1,), 0.5, RewardConfig()).value_known.any()
               for s in sequences(dataset))  # fmt: skip


def test_an_episode_that_is_superseded_is_unknown(out: Path) -> None:
    cell = Robot(out)
    cell.begin("a")
    cell.run(1.0)
    cell.episode("b")
    cell.run(1.0)
    cell.recorder.close()
    found = [(e.outcome, e.end_seen) for e in Dataset.load(out).manifest.episodes]
    assert found == [("unknown", False), ("success", True)]


def test_shutting_down_leaves_the_running_episode_unknown(out: Path) -> None:
    cell = Robot(out)
    cell.begin("a")
    cell.run(1.0)
    cell.recorder.close()
    (episode,) = Dataset.load(out).manifest.episodes
    assert (episode.outcome, episode.end_seen) == ("unknown", False)
    assert not list((out / ".recorder").glob("*.journal"))


def test_an_episode_without_samples_is_put_aside(out: Path) -> None:
    cell = Robot(out)
    cell.begin("a")
    cell.end()
    cell.recorder.tick(cell.now + 10 * S)
    cell.episode("b")
    cell.recorder.close()
    assert [r.id for r in Dataset.load(out).manifest.recordings] == ["b"]
    (line,) = cell.warnings()
    assert "rejected/a: put aside" in line
    assert (out / ".recorder" / "rejected" / "a" / "metadata.yaml").exists()


def test_a_clock_that_goes_back_ends_the_recording(out: Path) -> None:
    cell = Robot(out)
    cell.begin("a")
    cell.run(1.0)
    cell.now -= S // 2
    cell.run(0.2)
    cell.now -= 100 * S
    cell.run(1.0)
    cell.end()
    cell.episode("b")
    cell.recorder.close()
    found = {e.recording: (e.outcome, e.end_seen) for e in Dataset.load(out).manifest.episodes}
    assert found == {"a": ("unknown", False), "b": ("success", True)}
    assert any("clock went back" in line for line in cell.warnings())


def test_nothing_is_recorded_while_the_clock_does_not_run(out: Path) -> None:
    cell = Robot(out)
    cell.recorder.message(cell.force, 0, pressure(1.0))
    assert "clock" in cell.recorder.begin(0, "a", event(0, "episode_begin", "a"))
    cell.recorder.close()
    assert not Dataset.load(out).manifest.recordings


def test_changes_of_the_manifest_by_others_are_kept(out: Path) -> None:
    cell = Robot(out)
    cell.episode("a")
    cell.run(1.0)
    assert cell.recorder.flush()
    path = out / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["episodes"][0]["group"] = "monday"
    path.write_text(json.dumps(manifest))
    cell.episode("b")
    cell.recorder.close()
    assert [e.group for e in Dataset.load(out).manifest.episodes] == ["monday", ""]


# Limits


def test_the_oldest_recordings_make_room(out: Path) -> None:
    cell = Robot(out, max_total_bytes=60_000, compress=False)
    for number in range(12):
        cell.episode(f"e{number}", 2.0)
        cell.run(1.0)
        assert cell.recorder.flush()
        used = sum(p.stat().st_size for p in out.rglob("*") if p.suffix in (".mcap", ".journal"))
        assert used < 60_000
    cell.recorder.close()
    dataset = Dataset.load(out)
    kept = [r.id for r in dataset.manifest.recordings]
    assert 2 <= len(kept) < 12
    assert kept == [f"e{n}" for n in range(12 - len(kept), 12)]
    assert {p.name for p in (out / "recordings").iterdir()} == set(kept)
    assert {e.recording for e in dataset.manifest.episodes} == set(kept)
    assert len(sequences(dataset)) == len(kept)


def test_recording_stops_when_full(out: Path) -> None:
    cell = Robot(out, max_total_bytes=60_000, when_full="stop", compress=False)
    reasons = []
    for number in range(12):
        reasons.append(cell.begin(f"e{number}"))
        cell.run(2.0)
        cell.end()
        cell.run(1.0)
        assert cell.recorder.flush()
    kept = [r.id for r in Dataset.load(out).manifest.recordings]
    assert kept == [f"e{n}" for n in range(len(kept))]
    assert 2 <= len(kept) < 12
    assert "max_total_bytes" in reasons[-1]
    assert len(cell.warnings()) == 1
    assert "max_total_bytes" in cell.recorder.status().fault
    # There is room again.
    shutil.rmtree(out / "recordings")
    (out / "recordings").mkdir()
    cell.recorder.close()


def test_one_episode_may_not_take_everything(out: Path) -> None:
    cell = Robot(out, max_total_bytes=60_000)
    cell.episode("a", 200.0)
    cell.run(1.0)
    cell.recorder.close()
    (entry,) = Dataset.load(out).manifest.recordings
    assert entry.end_ns - entry.start_ns < 150 * S
    assert any("max_total_bytes" in line for line in cell.warnings())


@pytest.mark.parametrize("rule", [{"max_episode_seconds": 2.0}, {"max_episode_bytes": 6000}])
def test_the_rest_of_a_long_episode_is_not_recorded(out: Path, rule: dict[str, Any]) -> None:
    cell = Robot(out, **rule)
    cell.begin("a")
    cell.run(10.0)
    assert cell.end() is None
    cell.episode("b")
    cell.recorder.close()
    first, second = Dataset.load(out).manifest.episodes
    assert (first.outcome, first.end_seen) == ("unknown", False)
    assert S < first.end_ns - first.start_ns < 8 * S
    assert (second.outcome, second.end_seen) == ("success", True)
    (line,) = cell.warnings()
    assert next(iter(rule)) in line


def test_a_removal_that_was_interrupted_is_finished_or_forgotten(out: Path) -> None:
    cell = Robot(out)
    for key in "ab":
        cell.episode(key)
        cell.run(1.0)
    cell.recorder.close()
    manifest = json.loads((out / "manifest.json").read_text())
    removing = out / ".recorder" / "removing"
    # Killed before the manifest was written, and after.
    (removing / "a").touch()
    Robot(out).recorder.close()
    assert (out / "recordings" / "a").exists()
    manifest["recordings"] = manifest["recordings"][1:]
    manifest["episodes"] = manifest["episodes"][1:]
    (out / "manifest.json").write_text(json.dumps(manifest))
    (removing / "a").touch()
    Robot(out).recorder.close()
    assert not (out / "recordings" / "a").exists()
    assert not list(removing.iterdir())


def test_continuous_recording_makes_parts_that_are_cut_later(out: Path) -> None:
    cell = Robot(out, robot(by="gap"), continuous=True, max_episode_seconds=2.0)
    cell.recorder.context(cell.now, task(cell.now, "pick"))
    cell.run(9.0)
    cell.recorder.close()
    dataset = Dataset.load(out)
    assert dataset.spec.episodes.by == "gap"
    assert len(dataset.manifest.recordings) == 5
    assert {e.task for e in dataset.manifest.episodes} == {"pick"}
    total = 0
    for entry in dataset.manifest.recordings:
        with dataset.recording(entry.id) as recording:
            total += sum(1 for _ in recording.samples())
    assert total == 180


def test_a_part_ends_between_episodes(out: Path) -> None:
    cell = Robot(out, continuous=True, max_episode_seconds=2.0)
    for number in range(8):
        cell.run(0.2)
        cell.episode(f"e{number}", 1.5)
    cell.recorder.close()
    dataset = Dataset.load(out)
    assert [e.outcome for e in dataset.manifest.episodes] == ["success"] * 8
    assert len({e.recording for e in dataset.manifest.episodes}) > 1


# Kill, full disk, two recorders


CHILD = textwrap.dedent(
    """
    import sys
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    from test_recorder import Robot
    cell = Robot(Path({out!r}))
    cell.run(1.0)
    cell.begin("a")
    print("begun", flush=True)
    while True:
        cell.run(0.05, float(cell.now % 1000))
        print(cell.now, flush=True)
    """
)


def test_a_killed_process_loses_nothing_that_it_had_taken(out: Path) -> None:
    code = CHILD.format(tests=str(Path(__file__).parent), out=str(out))
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    for _ in range(200):
        taken = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    said = child.stdout.read().splitlines()
    child.wait()
    taken = int(said[-1]) if said and said[-1].isdigit() and len(said[-1]) == 19 else taken
    assert not Dataset.load(out).manifest.recordings
    cell = Robot(out)
    assert cell.recorder.flush()
    dataset = Dataset.load(out)
    (episode,), (entry,) = dataset.manifest.episodes, dataset.manifest.recordings
    assert (episode.outcome, episode.end_seen) == ("unknown", False)
    # The last message that was acknowledged is there: ``taken`` is the time of the next one.
    assert entry.end_ns >= taken - PERIOD
    with dataset.recording("a") as recording:
        times = [s.receipt_ns for s in recording.samples()]
    assert len(times) >= 200
    assert {b - a for a, b in neighbours(times)} <= {PERIOD, PERIOD + 1}
    (line,) = cell.warnings()
    assert "killed" in line
    cell.recorder.close()


def test_a_kill_between_bag_and_manifest_is_made_good(out: Path, tmp_path: Path) -> None:
    cell = Robot(out)
    cell.begin("a")
    cell.run(1.0)
    (journal,) = (out / ".recorder").glob("*.journal")
    saved = shutil.copy(journal, tmp_path / journal.name)
    empty = (out / "manifest.json").read_text()
    cell.recorder.close()
    whole = (out / "manifest.json").read_text()
    for manifest in (empty, whole):
        (out / "manifest.json").write_text(manifest)
        shutil.copy(saved, journal)
        Robot(out).recorder.close()
        assert len(Dataset.load(out).manifest.recordings) == 1
        assert not journal.exists()


def test_a_full_disk_keeps_what_is_finished_and_recording_goes_on(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Robot(out)
    cell.episode("a")
    cell.run(1.0)
    assert cell.recorder.flush()
    cell.begin("b")
    cell.run(1.0)

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full_bag(*_: Any) -> None:
        raise StorageError("data: cannot be written: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(journal_module.os, "writev", full)
        patched.setattr("pro_ros.recorder.binding.BagWriter.__enter__", full_bag)
        cell.run(1.0)
        assert cell.end() is None
        assert "No space left" in cell.begin("c")
        cell.run(1.0)
        assert "No space left" in cell.recorder.status().fault
        assert not cell.recorder.flush(0.3)
        assert len(cell.warnings()) <= 3
    cell.end()
    cell.episode("d")
    cell.run(1.0)
    cell.recorder.close()
    found = [(e.recording, e.outcome) for e in Dataset.load(out).manifest.episodes]
    assert found == [("a", "success"), ("b", "unknown"), ("d", "success")]
    assert cell.recorder.status().fault == ""


def test_a_device_that_is_always_full_is_named() -> None:
    writer = JournalWriter.__new__(JournalWriter)
    writer.path, writer.size = Path("/dev/full"), 0
    writer._file = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(StorageError, match="No space left"):
        writer.append([frame(MESSAGE, 0, 0, b"x")])
    writer.close()


def test_two_recorders_do_not_share_a_folder(out: Path) -> None:
    cell = Robot(out)
    with pytest.raises(StorageError, match=f"process {os.getpid()} records here already"):
        Robot(out)
    cell.recorder.close()
    # The file of a process that is gone says nothing.
    (out / ".recorder" / "lock").write_text("999999\n")
    Robot(out).recorder.close()


def test_folders_of_others_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "photos"
    other.mkdir()
    (other / "a.jpg").touch()
    with pytest.raises(StorageError, match="is no data set"):
        Robot(other)
    Robot(tmp_path / "data").recorder.close()
    with pytest.raises(DataError, match="differs"):
        Robot(tmp_path / "data", robot(task="another"))
    with pytest.raises(StorageError, match="is a file"):
        Robot(other / "a.jpg")
