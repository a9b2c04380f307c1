from __future__ import annotations

import numpy as np

from pro_ros.model.support import Support


def moons(rng: np.random.Generator, count: int) -> np.ndarray:
    """Two clusters in two of six numbers, little noise in two, and two that never move."""
    side = np.where(rng.random(count) < 0.5, -1.0, 1.0)
    rows = np.zeros((count, 6))
    rows[:, 0] = 4 * side + rng.normal(size=count)
    rows[:, 1] = -4 * side + rng.normal(size=count)
    rows[:, 2:4] = 0.2 * rng.normal(size=(count, 2))
    return rows


def fitted() -> tuple[Support, np.ndarray]:
    rng = np.random.default_rng(0)
    support = Support.fit(moons(rng, 2000), 256, 0.99, rng)
    held_out = moons(rng, 1000)
    return support.with_threshold(float(np.quantile(support.distance(held_out), 0.99))), held_out


def test_most_of_what_is_alike_is_within_and_what_is_far_is_not() -> None:
    support, _ = fitted()
    fresh = moons(np.random.default_rng(5), 1000)
    assert 0.96 < (support.distance(fresh) <= support.threshold).mean() <= 1.0
    assert (support.distance(fresh + np.array([0, 0, 2, 0, 0, 0])) > support.threshold).all()


def test_what_lies_between_two_clusters_is_far() -> None:
    support, _ = fitted()
    assert support.distance(np.zeros((1, 6)))[0] > support.threshold


def test_a_number_that_never_moved_counts() -> None:
    support, held_out = fitted()
    moved = held_out[:50].copy()
    moved[:, 5] = 0.5
    assert (support.distance(moved) > support.threshold).all()


def test_distances_of_a_batch_are_those_of_each_alone() -> None:
    support, held_out = fitted()
    batch = support.distance(held_out)
    alone = np.concatenate([support.distance(row[None]) for row in held_out])
    np.testing.assert_allclose(batch, alone, atol=1e-6)


def test_fewer_chunks_than_are_kept_are_enough() -> None:
    rng = np.random.default_rng(0)
    support = Support.fit(moons(rng, 40), 256, 0.99, rng)
    assert len(support.arrays["kept"]) == 40
    assert np.isfinite(support.distance(moons(rng, 10))).all()
