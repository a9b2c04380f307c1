"""LeRobot data sets (v3), read in place: one recording per episode.

A v3 data set packs many episodes into each file: ``meta/info.json`` (features, rate, paths),
``meta/episodes/chunk-*/file-*.parquet`` (where each episode lies), ``data/...parquet`` (a row per
frame) and ``videos/<camera>/...mp4``. Source: huggingface/lerobot, docs "LeRobotDataset v3.0".

In the stream file, a numeric stream names ``columns``: ``next.reward`` for a single number,
``observation.state[0]`` or ``observation.state.<name>`` for an element of a vector. A camera has
``topic: observation.images.front`` and ``type: lerobot/video`` (or ``lerobot/image`` for frames
stored in the table). Episodes are ``by: file``; the outcome, where a data set holds it, is a label
stream with the column ``next.success`` or ``next.reward`` and an ``outcome.signal``. The task text
becomes the episode's task.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from pro_ros.episodes.lerobot_video import video_frames
from pro_ros.episodes.marks import TaskMark
from pro_ros.episodes.reading import AllowMissing, Recording, damaged, may_lack, stream_order
from pro_ros.errors import DataError, SpecError, suggest
from pro_ros.streams.decode import Decoder
from pro_ros.streams.images import decode_image
from pro_ros.streams.sample import Sample
from pro_ros.streams.spec import RobotSpec

NS = 1_000_000_000

VIDEO, IMAGE = "lerobot/video", "lerobot/image"
"""``type`` of a camera's stream."""

INFO = Path("meta") / "info.json"


def is_lerobot(path: Path) -> bool:
    """Whether a folder is a LeRobot data set, of any version."""
    return (path / INFO).is_file()


class LeRobotFolder:
    """The metadata of a LeRobot data set.

    Attributes
    ----------
    fps
        Frames per second.
    features
        ``info.json``'s features: type, shape and names by feature.
    episodes
        Rows of the episode table by ``episode_index``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        info = _read_info(path)
        self.fps = float(info["fps"])
        self.features: Mapping[str, Mapping[str, Any]] = info["features"]
        self._data_path: str = info["data_path"]
        self._video_path: str | None = info.get("video_path")
        self.episodes = _read_episodes(path)

    def episode(self, run: str) -> Mapping[str, Any]:
        """The row of an episode by its number as text."""
        if not run.isdecimal() or int(run) not in self.episodes:
            last = max(self.episodes)
            raise DataError(f"{self.path}: no episode '{run}' (the last is {last})")
        return self.episodes[int(run)]

    def data_file(self, row: Mapping[str, Any]) -> Path:
        """The Parquet file that holds an episode's frames."""
        return self.path / self._data_path.format(
            chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
        )

    def video_file(self, row: Mapping[str, Any], camera: str) -> Path:
        """The video file that holds an episode's frames of a camera."""
        if self._video_path is None:
            raise DataError(f"{self.path / INFO}: names no 'video_path'")
        return self.path / self._video_path.format(
            video_key=camera,
            chunk_index=row[f"videos/{camera}/chunk_index"],
            file_index=row[f"videos/{camera}/file_index"],
        )

    def columns(self) -> dict[str, tuple[str, int | None]]:
        """Names for ``columns`` in the stream file: feature, and element or None."""
        found: dict[str, tuple[str, int | None]] = {}
        for feature, about in self.features.items():
            shape = list(about.get("shape") or [1])
            if about.get("dtype") in ("video", "image", "string") or len(shape) > 1:
                continue
            if shape == [1]:
                found[feature] = (feature, None)
            for i in range(shape[0]):
                found[f"{feature}[{i}]"] = (feature, i)
            for i, name in enumerate(_names(about, shape[0])):
                found.setdefault(f"{feature}.{name}", (feature, i))
        return found


def open_lerobot_episode(
    path: Path, run: str, spec: RobotSpec, *, allow_missing: AllowMissing = False
) -> LeRobotEpisode:
    """Open episode number ``run`` of a LeRobot data set.

    Raises
    ------
    DataError
        The data set is damaged or of another version than 3, there is no such episode, or it
        lacks a column or camera that the stream file names.
    SpecError
        The stream file has no ``columns`` for a stream, or a camera of another type.
    """
    return LeRobotEpisode(load_lerobot(path), run, spec, allow_missing=allow_missing)


def load_lerobot(path: Path) -> LeRobotFolder:
    """Read a LeRobot data set's metadata; remembered, since every episode needs it."""
    changed = (path / INFO).stat().st_mtime_ns if is_lerobot(path) else 0
    return _load(path.resolve(), changed)


@lru_cache(maxsize=4)
def _load(path: Path, changed_ns: int) -> LeRobotFolder:
    return LeRobotFolder(path)


class LeRobotEpisode(Recording):
    """One episode of a LeRobot data set, read as a recording.

    Frame ``i`` of the data set has the time ``i / fps`` since 1970: episodes follow each other
    as they were recorded, without the pauses between them, which are not known. Receipt and stamp
    are the same.
    """

    def __init__(
        self,
        folder: LeRobotFolder,
        run: str,
        spec: RobotSpec,
        *,
        allow_missing: AllowMissing = False,
    ) -> None:
        super().__init__(folder.path, spec)
        self.folder = folder
        self.row = folder.episode(run)
        self.number = int(run)
        self._from = int(self.row["dataset_from_index"])
        self._length = int(self.row["length"])
        if self._length < 1:
            raise DataError(f"{self.path}: episode {run} is empty")
        self._elements = folder.columns()
        absent: list[str] = []
        streams: list[str] = []
        for name in stream_order(spec):
            if self._has(name, may_lack(allow_missing, name)):
                streams.append(name)
                self._decoders[name] = Decoder(name, spec.streams[name])
            else:
                absent.append(name)
        if not streams:
            raise DataError(f"{self.path}: has no column or camera of any stream")
        self.streams, self.absent = tuple(streams), tuple(absent)

    @property
    def start_ns(self) -> int:
        """Time of the first frame [ns]."""
        return self._time_ns(0)

    @property
    def end_ns(self) -> int:
        """One nanosecond after the last frame [ns]."""
        return self._time_ns(self._length - 1) + 1

    @property
    def message_count(self) -> int:
        """Frames."""
        return self._length

    def marks(self) -> list[TaskMark]:
        """The episode's task text, holding from its start."""
        tasks = [str(t) for t in self.row.get("tasks") or [] if t]
        return [TaskMark(self.start_ns, task="; ".join(tasks))] if tasks else []

    def samples(self) -> Iterator[Sample]:
        """See :meth:`Recording.samples`."""
        order = {name: i for i, name in enumerate(self.streams)}
        parts: list[Iterator[Sample]] = [self._numbers()]
        for name in self.streams:
            stream = self.spec.streams[name]
            if stream.type == VIDEO:
                parts.append(self._video(name, str(stream.topic)))
        yield from heapq.merge(*parts, key=lambda s: (s.receipt_ns, order[s.stream]))

    def _time_ns(self, frame: int) -> int:
        """Time of a frame of this episode [ns]."""
        return round((self._from + frame) * NS / self.folder.fps)

    def _has(self, name: str, optional: bool) -> bool:
        """Whether the data set has what a stream reads; raises where it must."""
        stream = self.spec.streams[name]
        where = f"{self.path}: stream '{name}'"
        if stream.image is not None:
            if stream.type not in (VIDEO, IMAGE):
                if optional:
                    return False
                raise SpecError(
                    f"{where}: a camera of a LeRobot data set has type {VIDEO} or {IMAGE}, "
                    f"not {stream.type}"
                )
            kind = str(stream.type).rpartition("/")[2]
            cameras = [k for k, f in self.folder.features.items() if f.get("dtype") == kind]
            if stream.topic in cameras:
                return True
            known, word = cameras, f"{kind} '{stream.topic}'"
        else:
            columns = [c for f in stream.features for c in f.columns]
            if any(not f.columns for f in stream.features):
                if optional:
                    return False
                raise SpecError(f"{where} names no 'columns': add them to read LeRobot data")
            missing = next((c for c in columns if c not in self._elements), None)
            if missing is None:
                return True
            known, word = list(self._elements), f"column '{missing}'"
        if optional:
            return False
        near = suggest(word.split("'")[1], known) or f" (it has: {', '.join(known[:8])})"
        raise DataError(f"{where}: no {word}{near}")

    def _numbers(self) -> Iterator[Sample]:
        """Samples of all streams that are stored in the table, frame by frame."""
        numeric = [n for n in self.streams if self.spec.streams[n].image is None]
        images = [n for n in self.streams if self.spec.streams[n].type == IMAGE]
        wanted = {c for n in numeric for f in self.spec.streams[n].features for c in f.columns}
        features = {self._elements[c][0] for c in wanted}
        features |= {str(self.spec.streams[n].topic) for n in images}
        seen = 0
        for batch in self._batches(sorted(features | {"frame_index", "timestamp"})):
            cells = {c: self._cells(batch, *self._elements[c]) for c in wanted}
            values = {n: self._decoders[n].decode_columns(cells) for n in numeric}
            for i in range(batch.num_rows):
                t_ns = self._checked_time(batch, i, seen)
                seen += 1
                for name in self.streams:
                    if name in values:
                        if not np.isnan(values[name][i]).all():
                            yield Sample(name, t_ns, t_ns, values[name][i])
                    elif name in images:
                        frame = self._image(name, batch, i)
                        if frame is not None:
                            yield Sample(name, t_ns, t_ns, frame)
        if seen != self._length:
            raise DataError(
                f"{self.folder.data_file(self.row)}: episode {self.number} has {seen} frames, "
                f"the metadata says {self._length}"
            )

    def _batches(self, features: list[str]) -> Iterator[pa.RecordBatch]:
        path = self.folder.data_file(self.row)
        if not path.is_file():
            raise DataError(f"{path}: missing: it holds episode {self.number}")
        try:
            table = pads.dataset(path, format="parquet")
            for feature in (*features, "episode_index"):
                if feature not in table.schema.names:
                    raise DataError(f"{path}: no column '{feature}', which info.json announces")
            mine = pads.field("episode_index") == self.number
            yield from table.to_batches(columns=features, filter=mine, use_threads=False)
        except (pa.ArrowException, OSError) as exc:
            raise damaged(path, exc) from exc

    def _cells(self, batch: pa.RecordBatch, feature: str, element: int | None) -> npt.NDArray[Any]:
        """One number per frame; NaN where the table has none."""
        column = batch.column(feature)
        if not pa.types.is_nested(column.type):
            return np.asarray(column.to_pandas())
        rows = column.to_pylist()
        index = element or 0
        return np.array([np.nan if r is None or r[index] is None else r[index] for r in rows])

    def _checked_time(self, batch: pa.RecordBatch, i: int, expected: int) -> int:
        """Time of a row [ns]; frames must be in order and on the rate's grid."""
        frame = batch.column("frame_index")[i].as_py()
        stamp = batch.column("timestamp")[i].as_py()
        fps = self.folder.fps
        if frame != expected or stamp is None or abs(stamp - expected / fps) > 0.5 / fps:
            raise DataError(
                f"{self.folder.data_file(self.row)}: episode {self.number}: expected frame "
                f"{expected} at {expected / fps:g} s, found frame {frame} at {stamp} s"
            )
        return self._time_ns(expected)

    def _image(self, name: str, batch: pa.RecordBatch, i: int) -> Any:
        stream = self.spec.streams[name]
        cell = batch.column(str(stream.topic))[i].as_py()
        if stream.image is None or cell is None:
            return None
        data = cell.get("bytes")
        if data is None:
            raise DataError(
                f"{self.folder.data_file(self.row)}: stream '{name}': the image is not in the "
                "table but in a file beside it, which is not read"
            )
        return decode_image(SimpleNamespace(format="", data=data), stream.image, name)

    def _video(self, name: str, camera: str) -> Iterator[Sample]:
        """Samples of one camera; a frame that the video lacks gives none."""
        path = self.folder.video_file(self.row, camera)
        begin = float(self.row[f"videos/{camera}/from_timestamp"])
        size = self.spec.streams[name].image
        if size is None:
            return
        for frame, pixels in video_frames(path, begin, self.folder.fps, self._length):
            message = SimpleNamespace(
                encoding="rgb8",
                height=pixels.shape[0],
                width=pixels.shape[1],
                step=pixels.shape[1] * 3,
                data=pixels.tobytes(),
            )
            t_ns = self._time_ns(frame)
            yield Sample(name, t_ns, t_ns, decode_image(message, size, name))


def _read_info(path: Path) -> dict[str, Any]:
    place = path / INFO
    try:
        info = json.loads(place.read_text(encoding="utf-8"))
    except OSError as exc:
        raise DataError(f"{place}: cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise DataError(f"{place}: not valid JSON: {exc}") from exc
    version = str(info.get("codebase_version")) if isinstance(info, dict) else "none"
    if not version.startswith("v3."):
        raise DataError(
            f"{place}: LeRobot data set of version {version}; version v3.0 is read: convert it "
            "with LeRobot's own converter"
        )
    for key in ("fps", "features", "data_path"):
        if not info.get(key):
            raise DataError(f"{place}: missing key '{key}'")
    return dict(info)


def _read_episodes(path: Path) -> dict[int, Mapping[str, Any]]:
    files = sorted((path / "meta" / "episodes").glob("chunk-*/file-*.parquet"))
    if not files:
        raise DataError(f"{path}: no meta/episodes/chunk-*/file-*.parquet")
    found: dict[int, Mapping[str, Any]] = {}
    for file in files:
        try:
            # Statistics make up most of the table and are not needed.
            names = [n for n in pq.read_schema(file).names if not n.startswith("stats/")]
            rows = pq.read_table(file, columns=names).to_pylist()
        except (pa.ArrowException, OSError) as exc:
            raise damaged(file, exc) from exc
        for key in ("episode_index", "length", "dataset_from_index", "data/chunk_index"):
            if key not in names:
                raise DataError(f"{file}: no column '{key}'")
        found.update({int(r["episode_index"]): r for r in rows})
    if not found:
        raise DataError(f"{path}: holds no episodes")
    return dict(sorted(found.items()))


def _names(about: Mapping[str, Any], count: int) -> list[str]:
    """Names of a vector's elements: a list, or a list under one key such as 'motors'."""
    names = about.get("names")
    if isinstance(names, dict):
        lists = [v for v in names.values() if isinstance(v, list)]
        names = lists[0] if len(lists) == 1 else None
    if isinstance(names, list) and len(names) == count:
        return [str(n) for n in names]
    return []
