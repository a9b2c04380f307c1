"""Splits keep what belongs together on one side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pro_ros.episodes.attempts import PART_OF
from pro_ros.episodes.manifest import Episode, Event
from pro_ros.episodes.sequence import Sequence
from pro_ros.episodes.splits import cut, cut_time, select, split, unit
from pro_ros.errors import DataError, TooFewEpisodesError

S = 1_000_000_000
DAY = 86_400 * S


def make_episode(number, outcome="success", start=None, **fields):
    begin = number * 10 * S if start is None else start
    return Episode(
        id=f"r/{number}", recording="r", start_ns=begin, end_ns=begin + 10 * S, outcome=outcome,
        **fields,
    )  # fmt: skip


def mixed(count, **fields):
    outcomes = ("success", "failure", "success")
    return [make_episode(i, outcomes[i % 3], **fields) for i in range(count)]


@st.composite
def datasets(draw):
    count = draw(st.integers(4, 40))
    groups = draw(st.integers(4, 12))
    return [
        make_episode(
            i,
            draw(st.sampled_from(["success", "failure", "unknown"])),
            group=f"g{draw(st.integers(0, groups))}",
            context={"site": f"s{i % 5}"},
            attributes={PART_OF: f"r/{i - 1}"} if i and draw(st.integers(0, 4)) == 0 else {},
        )
        for i in range(count)
    ]


@given(datasets(), st.sampled_from(["episode", "group", "site", "time"]), st.integers(2, 5),
       st.integers(0, 3))  # fmt: skip
@settings(max_examples=120, deadline=None)
def test_every_episode_is_tested_once_and_units_stay_together(episodes, by, folds, seed):
    count = len({unit(e, by) for e in episodes})
    if count < folds:
        with pytest.raises(TooFewEpisodesError):
            split(episodes, by, folds, seed, both_classes=False)
        return
    found = split(episodes, by, folds, seed, both_classes=False)
    assert sorted(i for f in found for i in f.test) == sorted(e.id for e in episodes)
    units = {e.id: unit(e, by) for e in episodes}
    for fold in found:
        assert fold.test
        assert fold.train
        assert sorted((*fold.train, *fold.test)) == sorted(units)
        assert not {units[i] for i in fold.train} & {units[i] for i in fold.test}
    assert found == split(episodes, by, folds, seed, both_classes=False)


def test_time_gives_contiguous_blocks_in_order():
    episodes = mixed(10)
    found = split(episodes[::-1], "time", 5)
    assert [f.test for f in found] == [(f"r/{i}", f"r/{i + 1}") for i in range(0, 10, 2)]


def test_days_are_utc_days():
    episodes = [
        make_episode(i, ("success", "failure")[i % 2], start=i // 4 * DAY + (i % 4) * 20 * S)
        for i in range(12)
    ]
    found = split(episodes, "day", 3)
    assert sorted(len(f.test) for f in found) == [4, 4, 4]


def test_failures_are_spread_over_the_folds():
    episodes = [make_episode(i, "failure" if i < 10 else "success") for i in range(50)]
    failed = {f"r/{i}" for i in range(10)}
    for fold in split(episodes, "episode", 5, seed=3):
        assert len(failed & set(fold.test)) == 2


def test_another_seed_is_another_split():
    assert split(mixed(30), "episode", 3, 0) != split(mixed(30), "episode", 3, 1)


def test_fewer_units_than_folds_says_how_many_are_needed():
    with pytest.raises(TooFewEpisodesError, match=r"5 folds needs at least 5 .*there are 3$"):
        split(mixed(3), "episode", 5)
    with pytest.raises(TooFewEpisodesError, match=r"2 different groups, there is 1$"):
        split(mixed(9, group="a"), "group", 2)


def test_one_class_only_names_the_class_and_the_split():
    with pytest.raises(DataError, match=r"all 6 episodes .* 'success'; a split by episode"):
        split([make_episode(i) for i in range(6)], "episode", 2)
    blocks = [make_episode(i, "failure" if i < 3 else "success") for i in range(6)]
    with pytest.raises(DataError, match="fold 1 of 2 by time holds 'success' only"):
        split(blocks, "time", 2)


def test_episodes_without_outcomes_can_be_split():
    assert len(split([make_episode(i, "unknown") for i in range(4)], "episode", 2)) == 2


def test_a_split_by_site_needs_sites():
    with pytest.raises(DataError, match="'r/0' has no 'site'"):
        split(mixed(4), "site", 2)


def make_sequence(episodes, events=(), per=10, known=None):
    t_ns = np.arange(per * len(episodes), dtype=np.int64) * S
    index = (t_ns // (10 * S)).astype(np.int32)
    values = {"state": np.arange(len(t_ns), dtype=np.float32)[:, None]}
    return Sequence(
        id="r#0",
        t_ns=t_ns,
        values=values,
        mask={"state": np.ones((len(t_ns), 1), bool)},
        episode=index,
        episodes=tuple(episodes),
        events=tuple(events),
        known_until_ns=int(t_ns[-1]) if known is None else known,
        frames={"cam": np.zeros((len(t_ns), 3, 2, 2), np.uint8)},
        frame_mask={"cam": np.ones(len(t_ns), bool)},
    )


def event(start, end=None, kind="drop"):
    return Event(recording="r", name=kind, kind=kind, start_ns=start * S,
                 end_ns=(end or start) * S)  # fmt: skip


def test_a_cut_takes_its_steps_episodes_and_events_and_knows_nothing_beyond():
    seq = make_sequence(mixed(4), [event(5), event(18, 22), event(25), event(30)])
    part = cut(seq, 20, 30)
    assert part.t_ns.tolist() == [s * S for s in range(20, 30)]
    assert part.values["state"][:, 0].tolist() == list(range(20, 30))
    assert len(part.mask["state"]) == len(part.frames["cam"]) == len(part.frame_mask["cam"]) == 10
    assert [e.id for e in part.episodes] == ["r/2"]
    assert set(part.episode.tolist()) == {0}
    assert part.known_until_ns == 30 * S - 1
    assert [e.start_ns // S for e in part.events] == [18, 25]


def test_without_clipping_a_cut_knows_what_follows():
    part = cut(make_sequence(mixed(4), [event(30)]), 20, 30, clip=False)
    assert part.known_until_ns == 39 * S
    assert len(part.events) == 1


def test_the_last_cut_knows_as_much_as_the_whole():
    seq = make_sequence(mixed(2), known=25 * S)
    assert cut(seq, 10, 20).known_until_ns == 25 * S


def test_an_intervention_still_counts_for_a_cut_behind_it_in_the_same_episode():
    seq = make_sequence(mixed(3), [event(12, kind="intervention")])
    assert len(cut(seq, 15, 20).events) == 1
    assert cut(seq, 20, 30).events == ()


def test_an_empty_cut_is_refused():
    seq = make_sequence(mixed(2))
    for lo, hi in ((3, 3), (-1, 2), (0, 21)):
        with pytest.raises(ValueError, match="no steps"):
            cut(seq, lo, hi)


def test_cutting_by_time():
    seq = make_sequence(mixed(2))
    part = cut_time(seq, 3 * S, 6 * S)
    assert part is not None
    assert part.t_ns.tolist() == [3 * S, 4 * S, 5 * S]
    assert cut_time(seq, 500 * S, 600 * S) is None


def test_selecting_episodes_gives_their_stretches_and_all_steps_go_somewhere():
    seq = make_sequence(mixed(4))
    outside = seq.episode.copy()
    outside[:3], outside[17:20] = -1, -1
    seq = Sequence(**{**vars(seq), "episode": outside})
    test = select([seq], ["r/0", "r/1", "r/3"])
    train = select([seq], ["r/2"])
    assert [(int(s.t_ns[0] // S), len(s)) for s in test] == [(0, 20), (30, 10)]
    assert [(int(s.t_ns[0] // S), len(s)) for s in train] == [(20, 10)]
