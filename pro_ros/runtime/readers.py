"""What turns the bytes of a live message into a sample."""

from __future__ import annotations

from typing import Any

from pro_ros.errors import DataError, ProError
from pro_ros.streams.cdr import CdrReader, compile_reader
from pro_ros.streams.decode import Decoder
from pro_ros.streams.images import source_size
from pro_ros.streams.sample import Sample


def live_reader(msgtype: str, typestore: Any, decoder: Decoder) -> CdrReader:
    """Make the reader of one stream.

    Numbers are read by offset (:mod:`pro_ros.streams.cdr`). Frames must keep the size of the
    first one: one of another size would be squeezed to what the operator reads, and judged as if
    the scene had changed.

    Raises
    ------
    DataError
        By the reader: the message is not what the stream file says.
    """
    compiled = compile_reader(msgtype, typestore, decoder)
    if compiled is not None:
        return compiled
    name, visual = decoder.name, decoder.spec.image is not None
    expected: list[tuple[int, int]] = []

    def read(raw: bytes | memoryview, receipt_ns: int) -> Sample:
        try:
            message = typestore.deserialize_cdr(raw, msgtype)
            size = source_size(message) if visual else None
            if size is not None and expected and size != expected[0]:
                raise DataError(
                    f"stream '{name}': a frame of {size[1]}x{size[0]}, expected "
                    f"{expected[0][1]}x{expected[0][0]} as the first one"
                )
            sample = decoder.decode(message, receipt_ns)
        except ProError:
            raise
        except Exception as exc:
            # Generated code meets damaged bytes in any way.
            raise DataError(f"stream '{name}': damaged {msgtype} message: {exc}") from exc
        if size is not None and not expected:
            expected.append(size)
        return sample

    return read
