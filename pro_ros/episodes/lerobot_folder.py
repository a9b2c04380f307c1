"""The metadata of a LeRobot data set (v3): which episode lies where.

Source: huggingface/lerobot, docs "LeRobotDataset v3.0".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pro_ros.episodes.reading import damaged
from pro_ros.errors import DataError

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


def load_lerobot(path: Path) -> LeRobotFolder:
    """Read a LeRobot data set's metadata; remembered while its files do not change.

    Raises
    ------
    DataError
        It is damaged, or of another version than 3.
    """
    files = [path / INFO, *_episode_files(path)]
    state = tuple(f.stat().st_mtime_ns for f in files if f.is_file())
    return _load(path.resolve(), state)


@lru_cache(maxsize=4)
def _load(path: Path, state: tuple[int, ...]) -> LeRobotFolder:
    return LeRobotFolder(path)


def _episode_files(path: Path) -> list[Path]:
    return sorted((path / "meta" / "episodes").glob("chunk-*/file-*.parquet"))


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
    files = _episode_files(path)
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
