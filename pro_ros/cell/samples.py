"""From a reading to the sample that decoding its message gives, without making the message."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import numpy as np

from pro_ros.cell.messages import FORMS, Encoder, Form
from pro_ros.cell.sensors import Reading
from pro_ros.episodes.bags import full_type
from pro_ros.errors import SpecError
from pro_ros.interfaces import typestore
from pro_ros.runtime.readers import live_reader
from pro_ros.streams.decode import Decoder
from pro_ros.streams.sample import Sample
from pro_ros.streams.spec import FeatureSpec, RobotSpec, StreamSpec

_Sampling = Callable[[Reading], Sample]

_AS_PUBLISHED: dict[str, Callable[[float], float]] = {
    "std_msgs/msg/Bool": bool,
    "std_msgs/msg/Int8": int,
    "std_msgs/msg/Float32": np.float32,
}
"""What a value becomes in a field of these types; it stays as it is in the others."""


class Sampler:
    """Samples of the streams that a stream file reads, for a pipeline in the same process.

    Parameters
    ----------
    spec
        The stream file; its topics are those of the cell, slashes at the ends do not count.

    Raises
    ------
    SpecError
        Two streams read one topic, or a stream expects another type than the cell publishes.
    """

    def __init__(self, spec: RobotSpec) -> None:
        streams: dict[str, str] = {}
        for name, stream in spec.streams.items():
            topic = "/" + (stream.topic or "").strip("/")
            if topic in streams:
                raise SpecError(f"streams '{streams[topic]}' and '{name}' both read '{topic}'")
            streams[topic] = name
        self._samplings: dict[str, _Sampling] = {}
        for kind, form in FORMS.items():
            name = streams.get(form.topic, "")
            if name:
                self._samplings[kind] = _sampling(name, spec.streams[name], form)

    def sample(self, reading: Reading) -> Sample | None:
        """The sample of a reading, None where no stream reads such ones.

        Raises
        ------
        DataError
            The message lacks a field, a joint or a level that the stream file names.
        """
        sampling = self._samplings.get(reading.kind)
        return None if sampling is None else sampling(reading)


def _sampling(name: str, stream: StreamSpec, form: Form) -> _Sampling:
    expected = full_type(stream.type or "")
    if expected != form.msgtype:
        raise SpecError(
            f"stream '{name}': '{form.topic}' is of type {form.msgtype}, not {expected}"
        )
    decoder = Decoder(name, stream)
    sources = _sources(stream, form)
    if sources is None:
        return _through_bytes(form, decoder)
    return _direct(decoder, sources, form)


def _sources(stream: StreamSpec, form: Form) -> list[int] | None:
    """Which value is read by each source value of the stream; None where it is not one of them."""
    if stream.image is not None or (stream.clock == "header" and form.frame is None):
        return None
    found: list[int] = []
    for feature in stream.features:
        for path in _paths(feature):
            if feature.levels or path not in form.paths:
                return None
            found.append(form.paths.index(path))
    return found


def _paths(feature: FeatureSpec) -> list[str]:
    keys: tuple[str | int, ...] = feature.names or feature.index
    return [f"{feature.field}.{key}" for key in keys] or [str(feature.field)]


def _through_bytes(form: Form, decoder: Decoder) -> _Sampling:
    """What is out of the ordinary takes the way of a message."""
    encode = Encoder().encode
    read = live_reader(form.msgtype, typestore(), decoder)

    def sampling(reading: Reading) -> Sample:
        return read(encode(reading), reading.receipt_ns)

    return sampling


def _direct(decoder: Decoder, sources: list[int], form: Form) -> _Sampling:
    name, convert, identity = decoder.name, decoder.converter.convert, decoder.converter.identity
    by_receipt = decoder.spec.clock == "receipt"
    cast = _AS_PUBLISHED.get(form.msgtype)
    pick: Callable[[Any], Any] | None = None
    if sources != list(range(len(form.paths))):
        # With one position itemgetter gives the value itself, with several a tuple.
        first = sources[0]
        pick = itemgetter(*sources) if sources[1:] else itemgetter(slice(first, first + 1))
    array, float64 = np.array, np.float64

    def sampling(reading: Reading) -> Sample:
        _, stamp_ns, receipt_ns, values = reading
        read: Any = values if pick is None else pick(values)
        source = array([cast(v) for v in read] if cast else read, float64)
        total = sum(read)
        # A sum is finite only if all its terms are: the look for infinity is rarely needed.
        plain = identity and total - total == 0.0
        return Sample(
            name,
            receipt_ns,
            receipt_ns if by_receipt else stamp_ns,
            source if plain else convert(source),
        )

    return sampling
