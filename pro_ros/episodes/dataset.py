"""A data set: a folder with ``manifest.json``, ``streams.yaml`` and the recordings, or links."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import yaml

from pro_ros.config import load_model
from pro_ros.episodes.attempts import link_retries
from pro_ros.episodes.bags import BagRecording
from pro_ros.episodes.lerobot import LeRobotEpisode
from pro_ros.episodes.lerobot_folder import is_lerobot, load_lerobot
from pro_ros.episodes.manifest import Episode, Manifest, RecordingEntry
from pro_ros.episodes.mark_reader import read_marks
from pro_ros.episodes.outcome_table import apply_outcomes
from pro_ros.episodes.reading import AllowMissing, Recording
from pro_ros.episodes.remarks import Watch
from pro_ros.episodes.runs import open_run, split_run
from pro_ros.episodes.segment import Segmentation, segment
from pro_ros.errors import DataError, suggest
from pro_ros.files import atomic_dir
from pro_ros.streams.spec import RobotSpec, load_spec
from pro_ros.workers import work_on

MANIFEST = "manifest.json"
STREAMS = "streams.yaml"
RECORDINGS = "recordings"

MANY = 64
"""Recordings from which processes side by side make up for what they take to start."""

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Source:
    """A recording that goes into a data set.

    ``path`` may end in ``#<run>``, as in :class:`~pro_ros.episodes.manifest.RecordingEntry`.
    ``copy`` puts a copy of the file or folder into the data set, ``move`` the thing itself (from
    the same file system); otherwise it stays where it is and the data set holds its absolute
    path. ``origin``: name of the file that it was made from, if it is not that of ``path``.
    """

    id: str
    path: Path
    copy: bool = False
    move: bool = False
    origin: str = ""


class Dataset:
    """A data set on disk, read with :meth:`load`.

    Attributes
    ----------
    path
        The folder.
    spec
        Its stream file.
    manifest
        Its recordings, episodes and events.
    """

    def __init__(self, path: Path, spec: RobotSpec, manifest: Manifest) -> None:
        self.path = path
        self.spec = spec
        self.manifest = manifest

    @classmethod
    def load(cls, path: Path | str) -> Dataset:
        """Read a data set's folder (or its ``manifest.json``).

        Raises
        ------
        DataError
            It is not there, or its manifest is damaged.
        SpecError
            Its stream file is wrong.
        """
        path = Path(path)
        folder = path.parent if path.name == MANIFEST else path
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
        if not (folder / MANIFEST).is_file():
            raise DataError(f"{folder}: not a data set: it has no {MANIFEST}")
        manifest = load_model(folder / MANIFEST, Manifest, DataError)
        return cls(folder, load_spec(folder / STREAMS), manifest)

    def entry(self, recording: str) -> RecordingEntry:
        """The manifest's entry of a recording."""
        for entry in self.manifest.recordings:
            if entry.id == recording:
                return entry
        known = [r.id for r in self.manifest.recordings]
        raise DataError(f"{self.path}: no recording '{recording}'{suggest(recording, known)}")

    def locate(self, recording: str) -> Path:
        """Path of a recording, ``#<run>`` included.

        Raises
        ------
        DataError
            It is not there.
        """
        entry = self.entry(recording)
        path = self.path / entry.path
        if not split_run(path)[0].exists():
            raise DataError(
                f"{self.path / MANIFEST}: recording '{recording}' is missing: "
                f"no such file or folder: {split_run(path)[0]}"
            )
        return path

    def recording(self, recording: str) -> Recording:
        """Open a recording for reading; use it as a context manager."""
        absent = self.entry(recording).absent
        return open_run(self.locate(recording), self.spec, allow_missing=absent)

    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 over manifest, stream file and the content of the recordings.

        It does not depend on where the recordings lie, nor on keys that are not given: one that
        is added to the format makes no other data set of it. Read once, then remembered.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        manifest = self.manifest.model_dump(mode="json", exclude_defaults=True)
        for entry in manifest["recordings"]:
            entry["path"] = split_run(self.path / entry["path"])[1]
            entry["source"] = ""
        for part in (manifest, self.spec.model_dump(mode="json", exclude_defaults=True)):
            digest.update(json.dumps(part, sort_keys=True).encode())
        # Many runs may share one file: its content counts once.
        places = [split_run(self.locate(r.id))[0] for r in self.manifest.recordings]
        for place in dict.fromkeys(places):
            for file in _files(place):
                digest.update(str(file.relative_to(place)).encode() + b"\0")
                with file.open("rb") as content:
                    while block := content.read(1 << 20):
                        digest.update(block)
        return digest.hexdigest()


def _files(place: Path) -> Iterator[Path]:
    """All files of a recording, in an order that does not depend on the file system."""
    if place.is_file():
        yield place
        return
    yield from sorted(p for p in place.rglob("*") if p.is_file() and not p.name.startswith("."))


@dataclass(frozen=True)
class Created:
    """A new data set and, per recording, what segmentation had to say."""

    dataset: Dataset
    segmentations: tuple[Segmentation, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Lines about what is odd in the recordings, and about what was left out."""
        return tuple(line for s in self.segmentations for line in (*s.outside, *s.skipped))


def create_dataset(
    out: Path | str,
    name: str,
    spec: RobotSpec,
    sources: Sequence[Source],
    *,
    outcomes: Path | str | None = None,
    outcome_columns: Mapping[str, str] | None = None,
    allow_missing: AllowMissing = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    processes: int = 1,
) -> Created:
    """Segment recordings and write them down as a data set, all or nothing.

    A source that is a LeRobot data set gives one recording per episode, read in place.

    Parameters
    ----------
    out
        Folder to be made.
    outcomes, outcome_columns
        A CSV file for :func:`~pro_ros.episodes.outcome_table.apply_outcomes`.
    allow_missing
        Streams that a recording may lack.
    progress
        Called with the share of the work that is done, rising from 0 to 1.
    processes
        That read side by side where there are many recordings; the result is the same. More than
        one only below ``if __name__ == "__main__"``, as with :mod:`multiprocessing`.

    Raises
    ------
    DataError
        A recording cannot be read or is empty, two have the same id, or the CSV file is wrong.
    StorageError
        ``out`` exists and ``overwrite`` is false, or it cannot be written.
    """
    out = Path(out)
    runs = [run for source in sources for run in _runs(source)]
    if not runs:
        raise DataError(f"{out}: a data set needs at least one recording")
    _check_ids(runs)
    with atomic_dir(out, overwrite=overwrite) as folder:
        entries: list[RecordingEntry] = []
        copies: dict[Path, str] = {}
        found: list[Segmentation] = []
        segmented = _segmented(runs, spec, allow_missing, progress, processes)
        for run, (entry, segmentation) in zip(runs, segmented, strict=True):
            if run.copy or run.move:
                entry = entry.model_copy(update={"path": _copied(run, folder, copies)})
            entries.append(entry)
            found.append(segmentation)
        episodes = [e for s in found for e in s.episodes]
        if outcomes is not None:
            episodes = apply_outcomes(outcomes, episodes, outcome_columns)
        if spec.episodes.by == "file":
            episodes = _link_files(episodes, runs, spec.episodes.retry_within)
        manifest = Manifest(
            name=name,
            attribution=spec.attribution,
            recordings=tuple(entries),
            episodes=tuple(episodes),
            events=tuple(e for s in found for e in s.events),
        )
        write_streams(folder / STREAMS, spec)
        write_manifest(folder / MANIFEST, manifest)
    return Created(Dataset.load(out), tuple(found))


def write_streams(path: Path, spec: RobotSpec) -> None:
    """Write the stream file of a data set."""
    text = yaml.safe_dump(
        spec.model_dump(mode="json", exclude_defaults=True),
        sort_keys=False,
        allow_unicode=True,
    )
    path.write_text(text, encoding="utf-8")


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write ``manifest.json``."""
    path.write_text(
        json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )


def _runs(source: Source) -> list[Source]:
    """A LeRobot data set as a whole becomes its episodes; anything else is one run."""
    place, run = split_run(source.path)
    if run or not is_lerobot(place):
        return [source]
    numbers = load_lerobot(place).episodes
    return [Source(f"{source.id}-{n:06d}", Path(f"{place}#{n}")) for n in numbers]


def _check_ids(runs: Sequence[Source]) -> None:
    seen: set[str] = set()
    for run in runs:
        if not run.id or any(c in run.id for c in "/\\#") or run.id.startswith("."):
            raise DataError(f"{run.path}: '{run.id}' cannot be a recording's id: no '/', '#', '.'")
        if run.id in seen:
            raise DataError(f"{run.path}: two recordings have the id '{run.id}'")
        seen.add(run.id)


def _segmented(
    runs: Sequence[Source],
    spec: RobotSpec,
    allow_missing: AllowMissing,
    progress: Progress | None,
    processes: int,
) -> list[tuple[RecordingEntry, Segmentation]]:
    """Every recording segmented, in the order of ``runs``."""
    done = 0

    def report(share: float) -> None:
        if progress is not None:
            progress((done + share) / len(runs))

    if len(runs) < MANY:
        processes = 1
    work = _Segmenter(tuple(runs), spec, allow_missing, report if processes == 1 else None)
    found = {}
    for number, segmented in work_on(range(len(runs)), work, processes):
        found[number] = segmented
        report(1.0)
        done += 1
    return [found[number] for number in range(len(runs))]


@dataclass(frozen=True)
class _Segmenter:
    """Segments one of the recordings; goes to the processes as it is."""

    runs: tuple[Source, ...]
    spec: RobotSpec
    allow_missing: AllowMissing
    report: Progress | None

    def __call__(self, number: int) -> tuple[RecordingEntry, Segmentation]:
        """The entry of a recording and what was found in it."""
        report = self.report or (lambda share: None)
        return segment_recording(self.runs[number], self.spec, self.allow_missing, report)


def segment_recording(
    run: Source, spec: RobotSpec, allow_missing: AllowMissing, report: Progress
) -> tuple[RecordingEntry, Segmentation]:
    """Segment one recording where it lies; the entry's path is absolute.

    Raises
    ------
    DataError, SpecError
        As :func:`create_dataset`.
    """
    place, name = split_run(run.path)
    with open_run(run.path, spec, allow_missing=allow_missing) as recording:
        if isinstance(recording, LeRobotEpisode):
            # Every frame has a row: the numbers alone tell where the episode lies.
            recording.decode_video = all(s.image for s in spec.input_streams.values())
        marks, lines = read_marks(recording)
        watch = Watch(spec)
        # The times of a table are known only once it was read through.
        bag = isinstance(recording, BagRecording)
        span = (recording.start_ns, recording.end_ns) if bag else None
        try:
            found = segment(run.id, watch.over(recording.samples(), span, report), spec, marks)
        except DataError as exc:
            raise exc if str(place) in str(exc) else DataError(f"{place}: {exc}") from exc
        absent = recording.absent
        lines += watch.lines(recording, run.id)
    entry = RecordingEntry(
        id=run.id,
        path=_with_run(place.resolve().as_posix(), name),
        start_ns=found.start_ns,
        end_ns=found.end_ns,
        source=run.origin or place.name,
        absent=absent,
    )
    return entry, replace(found, skipped=(*lines, *found.skipped))


def _copied(run: Source, folder: Path, copies: dict[Path, str]) -> str:
    """Put a recording into the data set, once for all its runs; its path in there."""
    place, name = split_run(run.path)
    if place not in copies:
        target = folder / RECORDINGS / run.id
        target.mkdir(parents=True)
        if run.move:
            target = place.rename(target if place.is_dir() else target / place.name)
        elif place.is_dir():
            # Not copytree: it collects all failures, where the first one tells enough.
            for file in _files(place):
                copy = target / file.relative_to(place)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, copy)
        else:
            target = Path(shutil.copy2(place, target))
        copies[place] = target.relative_to(folder).as_posix()
    return _with_run(copies[place], name)


def _with_run(path: str, run: str) -> str:
    return f"{path}#{run}" if run else path


def _link_files(
    episodes: Sequence[Episode], runs: Sequence[Source], within_s: float | None
) -> list[Episode]:
    """Link retries that are recordings of their own. LeRobot's pauses are not known."""
    timed = {r.id for r in runs if not is_lerobot(split_run(r.path)[0])}
    by_time = sorted((e for e in episodes if e.recording in timed), key=lambda e: e.start_ns)
    linked = {e.id: e for e in link_retries(by_time, within_s)}
    return [linked.get(e.id, e) for e in episodes]
