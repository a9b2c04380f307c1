from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pro_ros.training.comparisons import PairSampler, Run, aligned_segments, prefer

RUNS = st.builds(
    Run,
    sequence=st.just(0),
    first=st.just(0),
    last=st.integers(1, 50),
    task=st.sampled_from(["pick", "place"]),
    success=st.booleans(),
    retries=st.integers(0, 2),
    disturbances=st.integers(0, 2),
    duration_s=st.floats(1, 20),
)


def run(**changes) -> Run:
    base = {
        "sequence": 0, "first": 0, "last": 9, "task": "pick", "success": True, "retries": 0,
        "disturbances": 0, "duration_s": 10.0,
    }  # fmt: skip
    return Run(**(base | changes))


@given(RUNS, RUNS)
def test_preference_is_antisymmetric(a, b):
    assert prefer(a, b, 0.1) == -prefer(b, a, 0.1)


@given(RUNS, RUNS)
def test_other_tasks_are_never_compared(a, b):
    if a.task != b.task:
        assert prefer(a, b, 0.1) == 0


def test_success_decides_before_retries_before_stability_before_speed():
    assert prefer(run(retries=2, duration_s=90.0), run(success=False), 0.1) == 1
    assert prefer(run(disturbances=2, duration_s=90.0), run(retries=1), 0.1) == 1
    assert prefer(run(duration_s=90.0), run(disturbances=1), 0.1) == 1
    assert prefer(run(duration_s=8.0), run(), 0.1) == 1
    assert prefer(run(duration_s=9.5), run(), 0.1) == 0


def test_a_quick_failure_is_no_merit():
    assert prefer(run(success=False, duration_s=1.0), run(success=False), 0.1) == 0


@given(st.lists(RUNS, min_size=2, max_size=12), st.integers(0, 9))
def test_every_drawn_pair_is_in_order_and_of_one_task(runs, seed):
    for better, worse in PairSampler(runs, 0.1).draw(np.random.default_rng(seed), 8):
        assert better.task == worse.task
        assert prefer(better, worse, 0.1) == 1


@given(RUNS, RUNS, st.integers(0, 99), st.integers(1, 20))
def test_segments_lie_within_their_runs(a, b, seed, steps):
    segments = aligned_segments(a, b, np.random.default_rng(seed), steps)
    for contender, (first, last) in zip((a, b), segments, strict=True):
        assert contender.first <= first <= last <= contender.last
        assert last - first < steps
