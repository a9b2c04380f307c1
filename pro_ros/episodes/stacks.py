"""Steps of unknown number, stacked into arrays without holding them twice."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pro_ros.files import storage_error
from pro_ros.streams.sample import Step
from pro_ros.streams.spec import RobotSpec

CHUNK = 4096
"""Steps per block while arrays grow."""


class Blocks:
    """A two-dimensional array that grows in blocks of :data:`CHUNK` rows."""

    def __init__(self, width: int, dtype: npt.DTypeLike) -> None:
        self._shape = (CHUNK, width)
        self._dtype = dtype
        self._blocks: list[npt.NDArray[Any]] = []
        self._used = 0

    def add(self, row: npt.ArrayLike) -> None:
        """Append a row ``[width]``."""
        at = self._used % CHUNK
        if at == 0:
            self._blocks.append(np.empty(self._shape, dtype=self._dtype))
        self._blocks[-1][at] = row
        self._used += 1

    def array(self) -> npt.NDArray[Any]:
        """Rows so far ``[N, width]``."""
        if not self._blocks:
            return np.empty((0, self._shape[1]), dtype=self._dtype)
        return np.concatenate(self._blocks)[: self._used]


class Frames:
    """Frames of one camera, in memory or in a file of the cache folder."""

    def __init__(self, shape: tuple[int, int, int], cache: Path | None) -> None:
        self._shape = shape
        self._blank = bytes(int(np.prod(shape)))
        self._count = 0
        self._parts: list[bytes] = []
        self._path: Path | None = None
        self._file: Any = None
        if cache is not None:
            with _storing(cache):
                cache.mkdir(parents=True, exist_ok=True)
                self._file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - closed by close()
                    dir=cache, prefix="frames-", suffix=".u8", delete=False
                )
            self._path = Path(self._file.name)

    def add(self, frame: npt.NDArray[np.uint8] | None) -> None:
        """Append a frame ``[3, H, W]``, or zeros where there is none."""
        pixels = self._blank if frame is None else frame.tobytes()
        if self._path is None:
            self._parts.append(pixels)
        else:
            with _storing(self._path):
                self._file.write(pixels)
        self._count += 1

    def close(self) -> None:
        """No frame follows."""
        if self._path is not None:
            with _storing(self._path):
                self._file.close()

    def array(self) -> npt.NDArray[np.uint8]:
        """uint8 ``[N, 3, H, W]``; zeros where there was no frame."""
        shape = (self._count, *self._shape)
        if self._path is not None:
            return np.memmap(self._path, dtype=np.uint8, mode="r", shape=shape)
        return np.frombuffer(b"".join(self._parts), dtype=np.uint8).reshape(shape)


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise storage_error(path, exc) from exc


class Stack:
    """The steps of one sequence while it grows."""

    def __init__(self, spec: RobotSpec, cache: Path | None) -> None:
        layout = spec.layout
        self._t = Blocks(1, np.int64)
        self._values = {m: Blocks(len(names), np.float32) for m, names in layout.items()}
        self._masks = {m: Blocks(len(names), np.bool_) for m, names in layout.items()}
        self._frame_masks = {c: Blocks(1, np.bool_) for c in spec.cameras}
        self.frames = {
            name: Frames((3, image.height, image.width), cache)
            for name, image in spec.cameras.items()
        }

    def add(self, step: Step) -> None:
        """Append a step.

        Raises
        ------
        StorageError
            The cache folder cannot hold its frames.
        """
        self._t.add(step.t_ns)
        for modality, blocks in self._values.items():
            blocks.add(step.values[modality])
            self._masks[modality].add(step.mask[modality])
        for camera, frames in self.frames.items():
            frame = step.frames.get(camera)
            self._frame_masks[camera].add(frame is not None)
            frames.add(frame)

    def close(self) -> None:
        """No step follows."""
        for frames in self.frames.values():
            frames.close()

    def t_ns(self) -> npt.NDArray[np.int64]:
        """Times of the steps, int64 ``[T]`` [ns]."""
        return self._t.array()[:, 0]

    def values(self) -> dict[str, npt.NDArray[np.float32]]:
        """Per modality float32 ``[T, F]``."""
        return {m: b.array() for m, b in self._values.items()}

    def masks(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Per modality bool ``[T, F]``."""
        return {m: b.array() for m, b in self._masks.items()}

    def frame_masks(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Per camera bool ``[T]``."""
        return {c: b.array()[:, 0] for c, b in self._frame_masks.items()}
