"""Open a recording, whatever it is: a bag of ROS 2 or ROS 1, or tables."""

from __future__ import annotations

from pathlib import Path

from pro_ros.episodes.bags import BAG_SUFFIXES, BagRecording
from pro_ros.episodes.reading import AllowMissing, Recording
from pro_ros.episodes.table_files import TABLE_SUFFIXES
from pro_ros.episodes.tables import TableRecording
from pro_ros.errors import DataError
from pro_ros.streams.spec import RobotSpec

__all__ = ["Recording", "is_bag", "open_recording"]


def open_recording(
    path: Path | str,
    spec: RobotSpec,
    *,
    table_prefix: str = "",
    allow_missing: AllowMissing = False,
) -> Recording:
    """Open a recording for reading through; use it as a context manager.

    Parameters
    ----------
    path
        A rosbag2 folder, a single ``.mcap`` or ``.db3`` file, a ROS 1 ``.bag``, a table
        (``.csv``, ``.tsv``, ``.parquet``, ``.xlsx``, ``.npz``), or a folder of tables.
    spec
        The stream file.
    table_prefix
        Put before every column name of the stream file, for an NPZ file that holds many runs
        (``"run_17/"`` for arrays ``run_17/wrench``).
    allow_missing
        Streams that the recording may lack: true for any, or their names. A recording without
        any stream of the file is refused all the same.

    Raises
    ------
    DataError
        It does not exist, is damaged or empty, or lacks a topic, a type or a column.
    SpecError
        The stream file has no ``topic`` (bag), or no ``columns`` or ``table`` (tables) for it.
    """
    path = Path(path)
    if is_bag(path):
        return BagRecording(path, spec, allow_missing=allow_missing)
    return TableRecording(path, spec, prefix=table_prefix, allow_missing=allow_missing)


def is_bag(path: Path) -> bool:
    """Whether a path is a bag; False for tables.

    Raises
    ------
    DataError
        It does not exist, or is neither.
    """
    try:
        if path.is_dir():
            names = [p.name for p in path.iterdir()]
        elif path.exists():
            names = [path.name]
        else:
            raise DataError(f"{path}: no such file or folder")
    except OSError as exc:
        raise DataError(f"{path}: cannot be read: {exc.strerror}") from exc
    suffixes = {Path(name).suffix.lower() for name in names if not name.startswith(".")}
    if "metadata.yaml" in names or suffixes & BAG_SUFFIXES:
        return True
    if suffixes & TABLE_SUFFIXES:
        return False
    known = ", ".join(sorted(BAG_SUFFIXES | TABLE_SUFFIXES))
    what = "folder holds no recording" if path.is_dir() else "not a recording"
    raise DataError(f"{path}: {what} (known: a rosbag2 folder, {known})")
