"""Camera messages to RGB frames of the size that the stream file asks for."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from pro_ros.errors import DataError
from pro_ros.streams.sample import ByteArray
from pro_ros.streams.spec import ImageSpec

ENCODINGS = {
    "rgb8": (3, False), "bgr8": (3, True), "rgba8": (4, False), "bgra8": (4, True),
    "mono8": (1, False), "8uc1": (1, False), "8uc3": (3, True), "8uc4": (4, True),
}  # fmt: skip
"""Channels and whether blue comes first; 8UC3 and 8UC4 are BGR(A), as OpenCV has them."""


def decode_image(message: Any, size: ImageSpec, stream: str) -> ByteArray:
    """A sensor_msgs Image or CompressedImage as RGB uint8 ``[H, W, 3]`` of the given size.

    Raises
    ------
    DataError
        The encoding is not supported, the data is damaged, or it is no image at all.
    """
    if hasattr(message, "encoding"):
        frame = _raw(message, stream)
    elif hasattr(message, "format"):
        frame = _compressed(message, stream)
    else:
        name = getattr(message, "__msgtype__", type(message).__name__)
        raise DataError(f"stream '{stream}': expected Image or CompressedImage, got {name}")
    if frame.shape[:2] == (size.height, size.width):
        return frame
    from PIL import Image

    resized = Image.fromarray(frame).resize((size.width, size.height), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.uint8)


def source_size(message: Any) -> tuple[int, int] | None:
    """Height and width of an Image or CompressedImage as sent; None where they cannot be read."""
    if hasattr(message, "encoding"):
        return int(message.height), int(message.width)
    from PIL import Image

    try:
        width, height = Image.open(io.BytesIO(bytes(message.data))).size
    except (OSError, ValueError, SyntaxError):
        return None
    return height, width


def _raw(message: Any, stream: str) -> ByteArray:
    encoding = str(message.encoding)
    if encoding.lower() not in ENCODINGS:
        raise DataError(
            f"stream '{stream}': image encoding '{encoding}' is not supported"
            f" (supported: {', '.join(ENCODINGS)})"
        )
    channels, blue_first = ENCODINGS[encoding.lower()]
    height, width, step = int(message.height), int(message.width), int(message.step)
    step = step or width * channels  # some drivers leave it unset for rows without padding
    data = np.frombuffer(bytes(message.data), dtype=np.uint8)
    if not height or not width or step < width * channels or len(data) < height * step:
        raise DataError(
            f"stream '{stream}': image of {width}x{height} {encoding} with step {step} does not"
            f" fit its {len(data)} bytes"
        )
    rows = data[: height * step].reshape(height, step)[:, : width * channels]
    frame = rows.reshape(height, width, channels)
    if channels == 1:
        return np.repeat(frame, 3, axis=2)
    rgb = frame[:, :, 2::-1] if blue_first else frame[:, :, :3]
    return np.ascontiguousarray(rgb)


def _compressed(message: Any, stream: str) -> ByteArray:
    from PIL import Image, UnidentifiedImageError

    form = str(message.format).lower()
    if "compresseddepth" in form:
        raise DataError(f"stream '{stream}': depth image '{message.format}' is not supported")
    try:
        with Image.open(io.BytesIO(bytes(message.data)), formats=("JPEG", "PNG")) as image:
            if image.mode.startswith(("I", "F")):
                raise DataError(
                    f"stream '{stream}': compressed image has more than 8 bits per channel"
                )
            frame = np.asarray(image.convert("RGB"), dtype=np.uint8)
    except UnidentifiedImageError:
        raise DataError(
            f"stream '{stream}': compressed image '{message.format}' is neither JPEG nor PNG"
        ) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as exc:
        raise DataError(f"stream '{stream}': compressed image cannot be read: {exc}") from exc
    # image_transport writes "<source>; jpeg compressed <order>": with order rgb8 the publisher
    # gave an encoder that expects BGR an RGB image, and red and blue are exchanged in the file.
    swapped = form.partition("compressed")[2].strip().startswith("rgb")
    return np.ascontiguousarray(frame[:, :, ::-1]) if swapped else frame
