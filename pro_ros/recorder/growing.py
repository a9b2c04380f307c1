"""A data set that grows while a robot works: one recording after another, the oldest removed.

The folder is a data set at any time (:mod:`pro_ros.episodes.dataset`). What is not ready yet lies
in the hidden folder ``.recorder`` in it::

    .recorder/lock                 who records here
    .recorder/<id>.journal         a recording in the making
    .recorder/removing/<id>        a recording that is being removed
    .recorder/rejected/<id>/       a bag that cannot be used, with the reason in the log
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

from pro_ros.config import load_model
from pro_ros.episodes.attempts import link_retries
from pro_ros.episodes.dataset import (
    MANIFEST,
    RECORDINGS,
    STREAMS,
    write_manifest,
    write_streams,
)
from pro_ros.episodes.manifest import Episode, Event, Manifest, RecordingEntry
from pro_ros.errors import DataError, StorageError
from pro_ros.files import atomic_file, storage_error
from pro_ros.recorder.journal import SUFFIX
from pro_ros.streams.spec import RobotSpec, load_spec

HIDDEN = ".recorder"


class Lock:
    """Holds a folder against other processes; a process that dies holds nothing any more.

    Raises
    ------
    StorageError
        Another process, named by its id, holds it.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as exc:
            raise storage_error(path, exc) from exc
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise StorageError(
                f"{folder}: process {holder} records here already: stop it, or give another folder"
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the folder free; the file stays, because another process may hold it by now."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class GrowingDataset:
    """The folder of a data set, locked for this process, with what it takes to extend it.

    The manifest is read again where another program has changed it in the meantime.

    Parameters
    ----------
    path
        An empty or new folder, or one that was made with the same streams.

    Attributes
    ----------
    sizes
        Bytes on disk per recording that may be removed, the oldest first.
    bytes
        Of all these, and of the bags put aside.

    Raises
    ------
    StorageError
        It cannot be written, holds something else, or another process records into it.
    DataError, SpecError
        Its manifest or stream file is damaged, or it was made with other streams.
    """

    def __init__(self, path: Path, spec: RobotSpec) -> None:
        self.path = path
        self.spec = spec
        self.hidden = path / HIDDEN
        self._check()
        try:
            self.hidden.mkdir(parents=True, exist_ok=True)
            self.rejected.mkdir(exist_ok=True)
            self._removing.mkdir(exist_ok=True)
        except OSError as exc:
            raise storage_error(path, exc) from exc
        self._lock = Lock(self.hidden / "lock", path)
        try:
            self._state: tuple[int, int, int] | None = None
            self._manifest = self._begin()
            self._clean()
            self.sizes = {
                entry.id: size_of(path / entry.path)
                for entry in self._manifest.recordings
                if entry.path == f"{RECORDINGS}/{entry.id}"
            }
            self.bytes = 0
            self._count()
        except BaseException:
            self._lock.release()
            raise

    @property
    def rejected(self) -> Path:
        """Folder for bags that cannot be used."""
        return self.hidden / "rejected"

    @property
    def _removing(self) -> Path:
        return self.hidden / "removing"

    @property
    def manifest(self) -> Manifest:
        """The manifest as it is on disk."""
        if self._stat() != self._state:
            self._manifest = load_model(self.path / MANIFEST, Manifest, DataError)
            self._state = self._stat()
        return self._manifest

    def place(self, recording: str) -> Path:
        """Where a recording's bag lies."""
        return self.path / RECORDINGS / recording

    def journals(self) -> list[Path]:
        """Journals that lie there, in order of their names."""
        return sorted(self.hidden.glob(f"*{SUFFIX}"))

    def journal(self, recording: str) -> Path:
        """Where a recording's journal lies."""
        return self.hidden / f"{recording}{SUFFIX}"

    def free_id(self, wanted: str) -> str:
        """An id for a recording that none has yet, as near as possible to ``wanted``."""
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in wanted)
        safe = safe[:100].lstrip("-") or "episode"
        taken = {entry.id for entry in self._manifest.recordings}
        name, number = safe, 1
        while (
            name in taken
            or self.journal(name).exists()
            or self.place(name).exists()
            or (self.rejected / name).exists()
        ):
            number += 1
            name = f"{safe}-{number}"
        return name

    def add(
        self,
        entry: RecordingEntry,
        episodes: tuple[Episode, ...],
        events: tuple[Event, ...],
        repeats: str = "",
    ) -> None:
        """Extend the manifest by a recording whose bag is at its place.

        Parameters
        ----------
        repeats
            ``episode_id`` of the attempt that its episodes repeat, as a TaskContext named it.

        Raises
        ------
        StorageError, DataError
            The manifest cannot be written, or read.
        """
        before = self.manifest
        again = _named(before, repeats)
        added = [
            e.model_copy(update={"retry_of": again}) if again and e.retry_of is None else e
            for e in episodes
        ]
        if self.spec.episodes.retry_within is not None:
            order = sorted([*before.episodes, *added], key=lambda e: e.start_ns)
            linked = {e.id: e for e in link_retries(order, self.spec.episodes.retry_within)}
            added = [linked[e.id] for e in added]
        self._write(
            before.model_copy(
                update={
                    "recordings": (*before.recordings, entry),
                    "episodes": (*before.episodes, *added),
                    "events": (*before.events, *events),
                }
            )
        )
        self.sizes[entry.id] = size_of(self.place(entry.id))
        self._count()

    def holds(self, recording: str) -> bool:
        """Whether the manifest has a recording of this id."""
        return any(entry.id == recording for entry in self.manifest.recordings)

    def reject(self, bag: Path) -> Path:
        """Put a bag aside that cannot be used; where it lies then."""
        target = self.rejected / bag.name
        try:
            shutil.rmtree(target, ignore_errors=True)
            bag.rename(target)
        except OSError as exc:
            raise storage_error(target, exc) from exc
        self._count()
        return target

    def remove_oldest(self) -> str:
        """Remove a rejected bag, else the oldest recording; its id, or empty if there is none.

        A process that is killed in between leaves a mark, and the next one finishes the removal:
        the manifest never names what is not there.
        """
        aside = sorted(self.rejected.iterdir(), key=lambda p: p.stat().st_mtime_ns)
        if aside:
            shutil.rmtree(aside[0], ignore_errors=True)
            self._count()
            return aside[0].name
        if not self.sizes:
            return ""
        oldest = next(iter(self.sizes))
        before = self.manifest
        gone = {e.id for e in before.episodes if e.recording == oldest}
        try:
            (self._removing / oldest).touch()
        except OSError as exc:
            raise storage_error(self._removing / oldest, exc) from exc
        self._write(
            before.model_copy(
                update={
                    "recordings": tuple(r for r in before.recordings if r.id != oldest),
                    "episodes": tuple(
                        e.model_copy(update={"retry_of": None}) if e.retry_of in gone else e
                        for e in before.episodes
                        if e.recording != oldest
                    ),
                    "events": tuple(e for e in before.events if e.recording != oldest),
                }
            )
        )
        self._remove(oldest)
        del self.sizes[oldest]
        self._count()
        return oldest

    def close(self) -> None:
        """Give the folder free."""
        self._lock.release()

    def _check(self) -> None:
        """Refuse a folder that holds something else."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise StorageError(f"{self.path}: is a file, expected a folder for a data set")
        try:
            names = {p.name for p in self.path.iterdir()}
        except OSError as exc:
            raise storage_error(self.path, exc) from exc
        if names and not names & {HIDDEN, MANIFEST}:
            raise StorageError(
                f"{self.path}: is no data set: give a new or empty folder, or a data set of the "
                "same stream file"
            )

    def _begin(self) -> Manifest:
        """The manifest of the folder, made where there is none."""
        streams = self.path / STREAMS
        if not (self.path / MANIFEST).exists():
            with atomic_file(streams) as staged:
                write_streams(staged, self.spec)
            self._write(
                Manifest(
                    name=self.path.resolve().name,
                    attribution=self.spec.attribution,
                    recordings=(),
                    episodes=(),
                )
            )
        elif load_spec(streams).model_dump() != self.spec.model_dump():
            raise DataError(
                f"{streams}: differs from the streams to be recorded: give another folder"
            )
        self._manifest = load_model(self.path / MANIFEST, Manifest, DataError)
        self._state = self._stat()
        return self._manifest

    def _write(self, manifest: Manifest) -> None:
        with atomic_file(self.path / MANIFEST) as staged:
            write_manifest(staged, manifest)
        self._manifest, self._state = manifest, self._stat()

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = (self.path / MANIFEST).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _clean(self) -> None:
        """Finish the removals that a killed process had begun, and what it had half-written."""
        for mark in self._removing.iterdir():
            if self.holds(mark.name):
                mark.unlink()
            else:
                self._remove(mark.name)
        staged = [
            *self.path.glob(f".{MANIFEST}.*.tmp"),
            *self.path.glob(f".{STREAMS}.*.tmp"),
            *(self.path / RECORDINGS).glob(".*.tmp"),
        ]
        for folder in staged:
            shutil.rmtree(folder, ignore_errors=True)

    def _count(self) -> None:
        self.bytes = sum(self.sizes.values()) + size_of(self.rejected)

    def _remove(self, recording: str) -> None:
        shutil.rmtree(self.place(recording), ignore_errors=True)
        with suppress(OSError):
            (self._removing / recording).unlink()


def size_of(place: Path) -> int:
    """Bytes of all files below a folder."""
    total = 0
    for folder, _, files in os.walk(place):
        for name in files:
            with suppress(OSError):
                total += Path(folder, name).stat().st_size
    return total


def _named(manifest: Manifest, episode_id: str) -> str | None:
    """The latest episode that the robot called so."""
    if not episode_id:
        return None
    called = (
        e.id for e in reversed(manifest.episodes) if e.attributes.get("episode_id") == episode_id
    )
    return next(called, None)
