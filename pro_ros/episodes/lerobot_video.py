"""Frames of one episode out of a video file that holds many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pro_ros.episodes.reading import damaged
from pro_ros.errors import DataError


def video_frames(
    path: Path, begin_s: float, fps: float, count: int
) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Decode ``count`` frames from ``begin_s`` on, in order, without holding them.

    Yields
    ------
    frame
        Its number in the episode, from 0. One that the video lacks is left out.
    pixels
        uint8 ``[H, W, 3]`` RGB.

    Raises
    ------
    DataError
        The video is missing or damaged, or the optional package ``av`` is not installed.
    """
    try:
        import av
    except ImportError as exc:
        raise DataError(
            f"{path}: reading videos needs the package 'av': pip install 'pro_ros[lerobot]'"
        ) from exc
    if not path.is_file():
        raise DataError(f"{path}: no such video")
    last = -1
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            for number, frame in _numbered(container, stream, begin_s, fps):
                if number >= count:
                    break
                if number > last:
                    last = number
                    yield number, frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, IndexError, OSError) as exc:
        raise damaged(path, exc) from exc
    if last < 0:
        raise DataError(f"{path}: no frame at {begin_s:g} s: the video is too short")


def _numbered(
    container: Any, stream: Any, begin_s: float, fps: float
) -> Iterator[tuple[int, Any]]:
    """Decoded frames and their number since ``begin_s``, by time and not by counting."""
    # Seeking goes to the key frame at or before; half a period guards against rounding.
    container.seek(int(max(0.0, begin_s - 0.5 / fps) / stream.time_base), stream=stream)
    for frame in container.decode(stream):
        if frame.time is None:
            continue
        number = round((frame.time - begin_s) * fps)
        if number >= 0:
            yield number, frame
