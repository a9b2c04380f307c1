"""What all recordings have in common, and how a reader's failure becomes one line."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from pro_ros.errors import DataError, ProError
from pro_ros.streams.decode import Decoder
from pro_ros.streams.sample import Sample
from pro_ros.streams.spec import RobotSpec

T = TypeVar("T")
R = TypeVar("R", bound="Recording")

AllowMissing = bool | Collection[str]
"""Streams that a recording may lack: all, none, or the named ones."""


class Recording(ABC):
    """A logged run, read through once per call of :meth:`samples`. A context manager.

    Attributes
    ----------
    path
        The file or folder.
    spec
        The stream file it is read with.
    streams
        Names of the streams that the recording has, in the order in which samples of one
        instant are given: that of the stream file, with the ``step.on`` stream last, so that a
        step sees all that is known at its time.
    absent
        Names of the streams that it lacks (only with ``allow_missing``).
    """

    def __init__(self, path: Path, spec: RobotSpec) -> None:
        self.path = path
        self.spec = spec
        self.streams: tuple[str, ...] = ()
        self.absent: tuple[str, ...] = ()
        self._decoders: dict[str, Decoder] = {}

    @abstractmethod
    def samples(self) -> Iterator[Sample]:
        """All samples in order of receipt; memory does not grow with the recording's length.

        Raises
        ------
        DataError
            the recording is damaged, or a message or row is not what the stream file says.
        """

    @property
    @abstractmethod
    def start_ns(self) -> int:
        """Receipt time of the first message or row [ns]."""

    @property
    @abstractmethod
    def end_ns(self) -> int:
        """One nanosecond after the last message or row [ns]."""

    @property
    @abstractmethod
    def message_count(self) -> int:
        """Messages of all topics, or rows of all tables."""

    @property
    def infinite(self) -> dict[str, int]:
        """Per stream, how many infinite values were read so far and treated as missing."""
        return {name: d.infinite for name, d in self._decoders.items() if d.infinite}

    def close(self) -> None:  # noqa: B027 - a table keeps nothing open
        """Close the files; reading is over."""

    def __enter__(self: R) -> R:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def stream_order(spec: RobotSpec) -> tuple[str, ...]:
    """Names of all streams in file order, the ``step.on`` stream last."""
    names = [n for n in spec.streams if n != spec.step.on]
    return (*names, spec.step.on) if spec.step.on is not None else tuple(names)


def may_lack(allow_missing: AllowMissing, stream: str) -> bool:
    """Whether a recording may lack this stream."""
    return allow_missing if isinstance(allow_missing, bool) else stream in allow_missing


def damaged(path: Path, exc: BaseException, hint: str = "") -> DataError:
    """One line for whatever a library says about a file that it cannot read."""
    if isinstance(exc, OSError) and exc.strerror:
        return DataError(f"{path}: cannot be read: {exc.strerror}")
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    reason = lines[0].rstrip(".") if lines else type(exc).__name__
    return DataError(f"{path}: damaged or truncated ({reason}){hint}")


def guarded(items: Iterable[T], path: Path, hint: str = "") -> Iterator[T]:
    """Pass items on; a failure of the library that reads them becomes a :class:`DataError`.

    Readers of damaged files fail in as many ways as files can be damaged (``struct.error``,
    ``IndexError``, ``MemoryError``, errors of decompressors), hence the broad ``except``.
    """
    iterator = iter(items)
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            return
        except ProError:
            raise
        except Exception as exc:
            raise damaged(path, exc, hint) from exc
        yield item
