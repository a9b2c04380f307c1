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
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as pads

from pro_ros.episodes.lerobot_folder import LeRobotFolder, load_lerobot
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


class LeRobotEpisode(Recording):
    """One episode of a LeRobot data set, read as a recording.

    Frame ``i`` of the data set has the time ``i / fps`` since 1970: episodes follow each other
    as they were recorded, without the pauses between them, which are not known. Receipt and stamp
    are the same.

    Attributes
    ----------
    decode_video
        Set it to False to leave out the frames of videos, where only the numbers are needed.
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
        self.decode_video = True
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

    @property
    def unread_videos(self) -> tuple[str, ...]:
        """Streams that :meth:`samples` leaves out because ``decode_video`` is false."""
        if self.decode_video:
            return ()
        return tuple(n for n in self.streams if self.spec.streams[n].type == VIDEO)

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
            if stream.type == VIDEO and self.decode_video:
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
            cells = self._cells(batch, wanted)
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

    def _cells(self, batch: pa.RecordBatch, columns: set[str]) -> dict[str, npt.NDArray[Any]]:
        """Values per column name of the stream file, one per frame; NaN where there is none."""
        found: dict[str, npt.NDArray[Any]] = {}
        vectors: dict[str, npt.NDArray[np.float64]] = {}
        for name in columns:
            feature, element = self._elements[name]
            column = batch.column(feature)
            if not pa.types.is_nested(column.type):
                found[name] = np.asarray(column.to_pandas())
                continue
            if feature not in vectors:
                vectors[feature] = self._vector(column, feature)
            found[name] = vectors[feature][:, element or 0]
        return found

    def _vector(self, column: pa.Array, feature: str) -> npt.NDArray[np.float64]:
        """Float64 ``[N, size]`` of a column of lists."""
        size = self.folder.features[feature]["shape"][0]
        rows = column.to_pylist()
        if any(r is not None and len(r) != size for r in rows):
            raise DataError(
                f"{self.folder.data_file(self.row)}: column '{feature}': expected {size} values "
                "per frame, as info.json says"
            )
        return np.array([r or [None] * size for r in rows], dtype=np.float64).reshape(-1, size)

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
