"""Camera messages become RGB frames of the size asked for."""

from __future__ import annotations

import io
from types import SimpleNamespace as Message
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pro_ros.errors import DataError
from pro_ros.streams.decode import Decoder
from pro_ros.streams.spec import StreamSpec

SIZE = 8
RGB = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def decode(message: Message, height: int = SIZE, width: int = SIZE) -> Any:
    spec = StreamSpec.model_validate({
        "modality": "visual", "rate": 10, "clock": "receipt",
        "image": {"height": height, "width": width},
    })  # fmt: skip
    return Decoder("cam", spec).decode(message, 1).values


def image(encoding: str, pixels: np.ndarray, pad: int = 0, step: int | None = None) -> Message:
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    padded = np.pad(rows, ((0, 0), (0, pad)), constant_values=77)
    return Message(
        encoding=encoding, height=height, width=width,
        step=padded.shape[1] if step is None else step, data=padded.reshape(-1),
    )  # fmt: skip


def compressed(pixels: np.ndarray, kind: str, form: str) -> Message:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return Message(format=form, data=np.frombuffer(buffer.getvalue(), dtype=np.uint8))


@pytest.mark.parametrize("pad", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[:, :, ::-1]),
        ("8UC3", RGB[:, :, ::-1]),
        ("rgba8", np.dstack([RGB, RGB[:, :, 0]])),
        ("bgra8", np.dstack([RGB[:, :, ::-1], RGB[:, :, 0]])),
    ],
)
def test_colour_encodings_give_the_same_rgb(encoding: str, pixels: np.ndarray, pad: int) -> None:
    frame = decode(image(encoding, pixels, pad))
    assert frame.dtype == np.uint8
    np.testing.assert_array_equal(frame, RGB)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_is_repeated(encoding: str) -> None:
    frame = decode(image(encoding, RGB[:, :, 0]))
    np.testing.assert_array_equal(frame, np.repeat(RGB[:, :, :1], 3, axis=2))


def test_an_unset_step_means_rows_without_padding() -> None:
    np.testing.assert_array_equal(decode(image("rgb8", RGB, step=0)), RGB)


def test_frames_are_resized() -> None:
    flat = np.full((40, 60, 3), (10, 20, 30), dtype=np.uint8)
    frame = decode(image("rgb8", flat), height=16, width=24)
    assert frame.shape == (16, 24, 3)
    assert (frame == (10, 20, 30)).all()


def test_png_and_jpeg_are_decoded() -> None:
    np.testing.assert_array_equal(decode(compressed(RGB, "PNG", "rgb8; png compressed bgr8")), RGB)
    flat = np.full((SIZE, SIZE, 3), (200, 100, 50), dtype=np.uint8)
    frame = decode(compressed(flat, "JPEG", "jpeg"))
    assert np.abs(frame.astype(int) - flat).max() <= 3


def test_a_file_written_in_rgb_order_has_red_and_blue_exchanged_back() -> None:
    frame = decode(compressed(RGB[:, :, ::-1], "PNG", "rgb8; png compressed rgb8"))
    np.testing.assert_array_equal(frame, RGB)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (image("16UC1", RGB), "encoding '16UC1' is not supported (supported: rgb8"),
        (image("rgb8", RGB, step=9999), "step 9999 does not fit"),
        (image("rgb8", RGB, step=3), "step 3 does not fit"),
        (Message(format="jpeg", data=b"nothing"), "neither JPEG nor PNG"),
        (Message(format="16UC1; compressedDepth", data=b""), "depth image"),
        (compressed(RGB[:, :, 0].astype(np.uint16), "PNG", "png"), "more than 8 bits"),
        (Message(data=1.0), "expected Image or CompressedImage, got SimpleNamespace"),
    ],
)
def test_what_is_no_readable_image_is_said(message: Message, words: str) -> None:
    with pytest.raises(DataError) as caught:
        decode(message)
    assert str(caught.value).startswith("stream 'cam': ")
    assert words in str(caught.value)


def test_a_truncated_file_is_said() -> None:
    whole = compressed(np.tile(RGB, (8, 8, 1)), "JPEG", "jpeg")
    with pytest.raises(DataError, match="cannot be read"):
        decode(Message(format="jpeg", data=bytes(whole.data)[: len(whole.data) // 2]))
