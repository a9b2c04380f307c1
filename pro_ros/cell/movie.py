"""Small videos that every browser plays, from pictures that come one by one."""

from __future__ import annotations

import base64
import io
from fractions import Fraction
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
"""``[height, width, 3]`` RGB."""

VideoType = Literal["video/webm", "image/webp"]

QUALITY: Final = {"crf": "44", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "0"}
"""Of VP9: constant quality, about 20 kB per second of the cell."""


class Movie(Protocol):
    """Takes pictures, gives a video."""

    video_type: VideoType

    def add(self, picture: Picture) -> None:
        """Take the next picture."""

    def finish(self) -> bytes:
        """The whole video; nothing can be added after it."""


def open_movie(period: Fraction, width: int, height: int) -> Movie:
    """Begin a video.

    Parameters
    ----------
    period
        From one picture to the next [s].
    width, height
        Size of a picture [pixels]; both even.

    WebM (VP9) where the package ``av`` is installed and can write it. Otherwise an animated WebP
    of half the size and half the rate, which a browser plays but does not let anyone seek.
    """
    try:
        import av

        av.codec.Codec("libvpx-vp9", "w")
    except (ImportError, ValueError):
        return _WebP(period)
    return _WebM(period, width, height)


def as_text(video: bytes) -> str:
    """A video as base64, for a page or a JSON document."""
    return base64.b64encode(video).decode("ascii")


class _WebM:
    """VP9 through PyAV, on one thread: the same pictures give the same bytes."""

    video_type: VideoType = "video/webm"

    def __init__(self, period: Fraction, width: int, height: int) -> None:
        import av

        self._av = av
        self._written = io.BytesIO()
        self._container: Any = av.open(
            self._written, "w", format="webm", options={"fflags": "+bitexact"}
        )
        stream: Any = self._container.add_stream("libvpx-vp9", rate=1 / period, options=QUALITY)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        # A jump to any place needs at most two seconds decoded.
        stream.codec_context.gop_size = max(1, int(2 / period))
        stream.time_base = period
        self._stream, self._period, self._count = stream, period, 0

    def add(self, picture: Picture) -> None:
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = self._count, self._period
        self._count += 1
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode())
        self._container.close()
        return self._written.getvalue()


class _WebP:
    """Animated WebP by Pillow."""

    video_type: VideoType = "image/webp"

    def __init__(self, period: Fraction) -> None:
        self._period, self._count = period, 0
        self._pictures: list[Any] = []

    def add(self, picture: Picture) -> None:
        from PIL import Image

        if self._count % 2 == 0:
            self._pictures.append(Image.fromarray(picture).reduce(2))
        self._count += 1

    def finish(self) -> bytes:
        written = io.BytesIO()
        if self._pictures:
            first, *others = self._pictures
            first.save(
                written, "WEBP", save_all=True, append_images=others, loop=0, quality=50,
                duration=round(2000 * self._period), method=3,
            )  # fmt: skip
        return written.getvalue()
