"""What is said of a recording's stamps is what the operator's window does with them."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pro_ros.episodes.remarks import Watch
from pro_ros.streams.sample import Sample
from pro_ros.streams.spec import parse_spec
from pro_ros.streams.stepper import Stepper

S = 1_000_000_000
FEATURE = [{"name": "x", "columns": ["x"]}]
SPEC = parse_spec(
    {
        "format": "pro_ros/streams/1", "robot": "r", "step": {"rate": 5}, "gap": 2.0,
        "streams": {
            "a": {"modality": "state", "rate": 10, "features": FEATURE},
            "b": {"modality": "telemetry", "rate": 2, "features": FEATURE},
        },
    },
    "test",
)  # fmt: skip

LOG = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from([0, 0.1, 0.5, 1.9, 2.0, 2.1, 5.0]),
        st.sampled_from([0, 0, 0, 0.1, -0.05, -0.2, -0.6, -1.9, -2.0, -2.1, -40, 1.9, 2.1, 40]),
    ),
    max_size=30,
)


def samples(log: list[tuple[str, float, float]]) -> list[Sample]:
    now, found = 1000 * S, []
    for stream, wait, delay in log:
        now += round(wait * S)
        found.append(Sample(stream, now, now - round(delay * S), np.zeros(1)))
    return found


@given(LOG)
def test_the_counts_are_those_of_the_window(log: list[tuple[str, float, float]]) -> None:
    watch, stepper = Watch(SPEC), Stepper(SPEC)
    for sample in watch.over(samples(log)):
        stepper.feed(sample)
    builder = stepper.builder
    assert watch.gaps == stepper.gaps
    for counted, expected in (
        (watch.older, builder.refused), (watch.same, builder.duplicates),
        (watch.ahead, builder.ahead), (watch.jumps, builder.jumps),
    ):  # fmt: skip
        assert +counted == +Counter(expected)


def test_a_clock_that_was_set_back_counts_once() -> None:
    watch = Watch(SPEC)
    log = [("a", 0.1, 0.0)] * 5 + [("a", 0.1, 3600.0)] * 5
    list(watch.over(samples(log)))
    assert watch.jumps == {"a": 1}
    assert watch.late == {"a": 5}
    assert not +watch.older
