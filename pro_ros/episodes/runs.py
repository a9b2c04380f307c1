"""Paths of recordings as manifests hold them: a file or folder, and one of many runs in it."""

from __future__ import annotations

from pathlib import Path

from pro_ros.episodes.lerobot import open_lerobot_episode
from pro_ros.episodes.lerobot_folder import is_lerobot
from pro_ros.episodes.reading import AllowMissing, Recording
from pro_ros.episodes.recording import open_recording
from pro_ros.streams.spec import RobotSpec


def open_run(
    path: Path | str, spec: RobotSpec, *, allow_missing: AllowMissing = False
) -> Recording:
    """Open a recording, or one of many runs in it, by a path as in a manifest.

    ``<file>.npz#<run>`` is the run whose arrays are called ``<run>/...``, and
    ``<LeRobot data set>#<number>`` an episode of it; anything else is left to
    :func:`~pro_ros.episodes.recording.open_recording`.

    Raises
    ------
    DataError, SpecError
        As :func:`~pro_ros.episodes.recording.open_recording`.
    """
    place, run = split_run(path)
    if is_lerobot(place):
        return open_lerobot_episode(place, run, spec, allow_missing=allow_missing)
    prefix = f"{run}/" if run else ""
    return open_recording(place, spec, table_prefix=prefix, allow_missing=allow_missing)


def split_run(path: Path | str) -> tuple[Path, str]:
    """Split ``<path>#<run>``; a path that exists as it is has no run."""
    path = Path(path)
    if path.exists() or "#" not in str(path):
        return path, ""
    place, _, run = str(path).rpartition("#")
    return Path(place), run
