from __future__ import annotations

import numpy as np
import pytest
from scoring_toy import PERIOD, toy_sequence, toy_spec

from pro_ros.episodes.sequence import Sequence
from pro_ros.errors import DataError, SpecError
from pro_ros.model.chunks import action_features, check_chunks, resample
from pro_ros.training.chunks import _Paths

NAMES = ("command.u.0", "command.u.1")


def test_a_command_has_the_values_of_all_action_streams_in_order() -> None:
    names, columns = action_features(toy_spec())
    assert names == NAMES
    # Neither the norm nor the age behind them.
    assert columns.tolist() == [0, 1]


def test_streams_without_actions_are_refused_in_one_line() -> None:
    command = {
        "modality": "action", "topic": "/c", "type": "std_msgs/msg/Float64", "rate": 10,
        "clock": "receipt", "last": False, "summaries": [{"over": 1}],
        "features": [{"name": "u", "field": "data"}],
    }  # fmt: skip
    for spec in (toy_spec(command=command), toy_spec(command={**command, "modality": "state"})):
        with pytest.raises(SpecError, match="modality 'action' with 'last: true'") as error:
            action_features(spec)
        assert "\n" not in str(error.value)


def test_rows_hold_one_dt_after_another_with_the_newest_command_before_them() -> None:
    chunk = np.array([[[1.0], [3.0]]], dtype=np.float32)
    read = resample(chunk, 0.2, np.array([-1.0], dtype=np.float32), 0.4, 4)
    # At 0.1 s between the newest and row 0, at 0.2 s row 0, at 0.3 s between, at 0.4 s row 1.
    assert read[0, :, 0].tolist() == pytest.approx([0.0, 1.0, 2.0, 3.0])


def test_before_the_first_command_the_first_row_counts_from_now_on() -> None:
    chunk = np.array([[[1.0], [3.0]]], dtype=np.float32)
    read = resample(chunk, 0.2, None, 0.4, 4)
    assert read[0, :, 0].tolist() == pytest.approx([1.0, 1.0, 2.0, 3.0])


def test_resampling_is_that_of_numpy() -> None:
    rng = np.random.default_rng(0)
    chunk = rng.normal(size=(3, 16, 2)).astype(np.float32)
    newest = rng.normal(size=2).astype(np.float32)
    read = resample(chunk, 1 / 30, newest, 0.5, 8)
    at = np.arange(1, 9) / 8 * 0.5
    knots = np.arange(17) / 30
    for n in range(3):
        for d in range(2):
            column = np.append(newest[d], chunk[n, :, d])
            assert read[n, :, d] == pytest.approx(np.interp(at, knots, column), abs=1e-5)


def test_of_longer_chunks_the_first_part_is_read() -> None:
    rng = np.random.default_rng(0)
    chunk = rng.normal(size=(1, 40, 2)).astype(np.float32)
    newest = np.zeros(2, dtype=np.float32)
    whole = resample(chunk, 0.05, newest, 0.5, 8)
    first = resample(chunk[:, :10], 0.05, newest, 0.5, 8)
    np.testing.assert_allclose(whole, first, atol=1e-6)


def test_shorter_chunks_are_refused_with_the_rows_that_are_needed() -> None:
    chunk = np.zeros((1, 9, 2), dtype=np.float32)
    with pytest.raises(DataError, match=r"cover 0.45 s .*reads 0.5 s: give at least 10 rows"):
        resample(chunk, 0.05, None, 0.5, 8)
    # A length that is only rounded is none.
    assert resample(np.zeros((1, 15, 2), dtype=np.float32), 1 / 30, None, 0.5, 8).shape[1] == 8


@pytest.mark.parametrize(
    ("chunks", "dt", "said"),
    [
        (np.zeros((2, 5, 3)), 0.1, "3 numbers per action, expected 2: command.u.0, command.u.1"),
        (np.zeros((5, 2)), 0.1, r"2 dimensions, expected 3: \[N, T, 2\]"),
        (np.zeros((0, 5, 2)), 0.1, "no candidates: N is 0"),
        (np.zeros((1, 0, 2)), 0.1, "no rows: T is 0"),
        (np.zeros((1, 5, 2)), 0.0, "dt is 0"),
        (np.zeros((1, 5, 2)), float("nan"), "dt is nan"),
        ([[["a", "b"]]], 0.1, "not an array of numbers"),
        ([[[1.0, 2.0], [3.0]]], 0.1, "not an array of numbers"),
    ],
)
def test_what_is_no_batch_of_chunks_is_refused(chunks: object, dt: float, said: str) -> None:
    with pytest.raises(DataError, match=said) as error:
        check_chunks(chunks, dt, NAMES)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_none_is_named_with_its_place(value: float) -> None:
    chunks = np.zeros((3, 5, 2))
    chunks[2, 4, 1] = value
    with pytest.raises(DataError, match=r"candidate 2, row 4, 'command\.u\.1'"):
        check_chunks(chunks, 0.1, NAMES)


def slipping(**options: bool) -> Sequence:
    return next(s for n in range(99) if (s := toy_sequence(n, **options)).events)


def calm() -> Sequence:
    return next(s for n in range(99) if not (s := toy_sequence(n)).events)


def paths(sequence: Sequence) -> _Paths:
    return _Paths(sequence, np.array([0, 1]), 0.5, 5)


def test_an_executed_chunk_is_what_was_commanded_after_the_step() -> None:
    sequence = toy_sequence(0)
    found = paths(sequence)
    u = sequence.values["action"]
    assert found.read[3] == 5
    assert found.path[3] == pytest.approx(u[4:9, :2], abs=1e-5)
    assert found.newest[3] == pytest.approx(u[3, :2])


def test_nothing_after_an_event_or_the_end_is_read() -> None:
    sequence = slipping()
    found = paths(sequence)
    onset = int(np.searchsorted(sequence.t_ns, sequence.events[0].start_ns))
    for step in range(onset - 5, onset):
        read = onset - 1 - step
        assert found.read[step] == read
        assert np.isnan(found.path[step, read:]).all()
        assert found.usable[step]
    # Behind the event, up to the end of the episode.
    assert found.read[-1] == 0
    assert found.usable[-1]


def test_what_follows_an_event_changes_nothing_of_a_chunk() -> None:
    sequence = slipping()
    onset = int(np.searchsorted(sequence.t_ns, sequence.events[0].start_ns))
    before = paths(sequence).path
    sequence.values["action"][onset:] = 1e6
    after = paths(sequence).path
    assert np.array_equal(before[:onset], after[:onset], equal_nan=True)


def test_a_chunk_with_a_missing_command_is_not_used() -> None:
    sequence = calm()
    sequence.mask["action"][20, 1] = False
    found = paths(sequence)
    assert not found.usable[15:20].any()
    assert found.usable[:15].all()
    # Without a newest command a chunk may still be known.
    assert not found.known[20]


def test_a_log_that_ends_early_leaves_chunks_unused() -> None:
    sequence = calm()
    length = len(sequence)
    end = sequence.episodes[0].model_copy(update={"end_ns": int(sequence.t_ns[-1]) + 99 * PERIOD})
    found = paths(
        Sequence(
            **{**vars(sequence), "episodes": (end,), "known_until_ns": int(sequence.t_ns[-1])}
        )
    )
    assert found.usable[: length - 5].all()
    assert not found.usable[length - 5 :].any()
