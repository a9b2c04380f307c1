"""Labels against a plain per-step reading of what they mean."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pro_ros.episodes.labels import RewardConfig, knowledge, label
from pro_ros.episodes.manifest import Episode, Event
from pro_ros.episodes.sequence import Sequence

S = 1_000_000_000
MODES = ("drop", "human")
KINDS = {"drop": "drop", "human": "intervention", "retry": "retry"}
CONFIG = RewardConfig()


def make_sequence(times, episodes=(), events=(), known=None):
    t_ns = np.array(times, dtype=np.int64)
    index = np.full(len(t_ns), -1, dtype=np.int32)
    for number, episode in enumerate(episodes):
        index[(t_ns >= episode.start_ns) & (t_ns < episode.end_ns)] = number
    return Sequence(
        id="r#0",
        t_ns=t_ns,
        values={},
        mask={},
        episode=index,
        episodes=tuple(episodes),
        events=tuple(sorted(events, key=lambda e: e.start_ns)),
        known_until_ns=int(t_ns[-1]) if known is None else known,
    )


def make_event(name, start, end=None):
    return Event(recording="r", name=name, kind=KINDS[name], start_ns=start, end_ns=end or start)


def make_episode(start, end, outcome="success", **fields):
    return Episode(
        id=f"r/{start}", recording="r", start_ns=start, end_ns=end, outcome=outcome, **fields
    )


def labels_of(seq, modes=("drop",), horizons=(1.0, 2.0, 5.0), within=1.0):
    return label(seq, modes, horizons, within, CONFIG)


# A naive reading, one step at a time, with Python integers only.


def naive_dark(seq, t):
    for event in seq.events:
        if event.kind == "intervention" and event.start_ns <= t:
            begun = [e.start_ns for e in seq.episodes if e.start_ns > event.end_ns]
            if not any(b <= t for b in begun):
                return True
    return False


def naive_known(seq, t, ignore=None):
    cuts = [
        e.start_ns
        for e in seq.events
        if e.kind == "intervention" and e.name != ignore and e.start_ns > t
    ]
    return min([seq.known_until_ns, *cuts])


def naive_risk(seq, t, mode, low, high):
    """(hazard, known, within, known) of the bin (t + low, t + high]."""
    events = [e for e in seq.events if e.name == mode]
    if naive_dark(seq, t) or any(e.start_ns <= t <= e.end_ns for e in events):
        return 0, False, 0, False
    if t + high > naive_known(seq, t, ignore=mode):
        return 0, False, 0, False
    onsets = [e.start_ns for e in events if e.start_ns > t]
    within = int(any(o <= t + high for o in onsets))
    if any(o <= t + low for o in onsets):
        return 0, False, within, True
    return within, True, within, True


def naive_any(seq, t, modes, high):
    events = [e for e in seq.events if e.name in modes]
    if naive_dark(seq, t) or any(e.start_ns <= t <= e.end_ns for e in events):
        return 0, False
    hit = any(t < e.start_ns <= t + high for e in events)
    if t + high <= naive_known(seq, t):
        return int(hit), True
    for mode in modes:
        seen = KINDS[mode] == "intervention" and t + high <= naive_known(seq, t, ignore=mode)
        if seen and any(t < e.start_ns <= t + high for e in events if e.name == mode):
            return 1, True
    return 0, False


def naive_end(seq, episode):
    """(end, last instant, seen, outcome)."""
    helped = [
        e.start_ns
        for e in seq.events
        if e.kind == "intervention" and episode.start_ns <= e.start_ns < episode.end_ns
    ]
    if helped and episode.outcome == "failure":
        return min(helped), min(helped), min(helped) <= seq.known_until_ns, "failure"
    if helped:
        return episode.end_ns, episode.end_ns - 1, False, "unknown"
    seen = episode.end_seen and episode.end_ns - 1 <= seq.known_until_ns
    return episode.end_ns, episode.end_ns - 1, seen, episode.outcome


def naive_return(seq, i):
    """(reward, value, known) of step i, by walking to the end of its episode."""
    total, weight, first = 0.0, 1.0, None
    t = int(seq.t_ns[i])
    if seq.episode[i] < 0 or naive_dark(seq, t):
        return 0.0, 0.0, False
    episode = seq.episodes[seq.episode[i]]
    end, last, seen, outcome = naive_end(seq, episode)
    known = seen and outcome != "unknown"
    while True:
        t = int(seq.t_ns[i])
        more = (
            i + 1 < len(seq)
            and seq.episode[i + 1] == seq.episode[i]
            and not naive_dark(seq, int(seq.t_ns[i + 1]))
        )
        until = int(seq.t_ns[i + 1]) if more else end
        reward = CONFIG.time_per_s * (until - t) / S
        for event in seq.events:
            if t < event.start_ns <= (until if more else last):
                reward += CONFIG.of_event(event.kind)
        if not more and known:
            reward += CONFIG.success if outcome == "success" else CONFIG.failure
        if not more and not seen:
            reward = 0.0
        first = reward if first is None else first
        total += weight * reward
        weight *= CONFIG.discount_per_s ** ((until - t) / S)
        if not more:
            return first, total if known else 0.0, known
        i += 1


@st.composite
def sequences(draw):
    half = S // 2
    gaps = draw(st.lists(st.integers(1, 3), min_size=1, max_size=14))
    start = draw(st.integers(0, 3))
    times = (np.cumsum([start, *gaps]) * half).tolist()
    span = int(times[-1]) // half + 6
    borders = sorted(draw(st.sets(st.integers(0, span), max_size=7)))
    episodes = []
    for low, high in itertools.pairwise(borders):
        if draw(st.booleans()):
            outcome = draw(st.sampled_from(["success", "failure", "unknown"]))
            seen = draw(st.booleans())
            episodes.append(make_episode(low * half, high * half, outcome, end_seen=seen))
    events = []
    for _ in range(draw(st.integers(0, 6))):
        begin = draw(st.integers(0, span))
        length = draw(st.integers(0, 4))
        name = draw(st.sampled_from(list(KINDS)))
        events.append(make_event(name, begin * half, (begin + length) * half))
    known = draw(st.integers(int(times[-1]) // half, span)) * half - draw(st.integers(0, 1))
    known = max(known, int(times[-1]))
    episodes = [e for e in episodes if any(e.start_ns <= t < e.end_ns for t in times)]
    return make_sequence(times, episodes, events, known)


@given(sequences(), st.sampled_from([(0.5,), (1.0, 2.0), (0.5, 1.0, 2.5)]))
@settings(max_examples=150, deadline=None)
def test_risk_labels_say_what_a_plain_reading_of_the_events_says(seq, horizons):
    found = labels_of(seq, MODES, horizons)
    edges = [0, *(round(h * S) for h in horizons)]
    for i, t in enumerate(seq.t_ns.tolist()):
        for k in range(len(horizons)):
            for m, mode in enumerate(MODES):
                hazard, hazard_known, within, known = naive_risk(
                    seq, t, mode, edges[k], edges[k + 1]
                )
                assert bool(found.hazard_known[i, m, k]) == hazard_known
                assert found.hazard[i, m, k] == hazard
                assert bool(found.within_known[i, m, k]) == known
                assert found.within[i, m, k] == within
            value, known = naive_any(seq, t, MODES, edges[k + 1])
            assert bool(found.any_within_known[i, k]) == known
            assert found.any_within[i, k] == value


@given(sequences(), st.sampled_from([0.5, 1.0, 3.0]))
@settings(max_examples=150, deadline=None)
def test_termination_success_and_return_say_what_a_plain_reading_says(seq, within_s):
    found = labels_of(seq, MODES, within=within_s)
    within = round(within_s * S)
    for i, t in enumerate(seq.t_ns.tolist()):
        number = int(seq.episode[i])
        reward, value, value_known = naive_return(seq, i)
        assert found.reward[i] == pytest.approx(reward, abs=1e-6)
        assert found.value[i] == pytest.approx(value, abs=1e-6)
        assert bool(found.value_known[i]) == value_known
        if number < 0 or naive_dark(seq, t):
            assert not found.termination_known[i]
            assert not found.success_known[i]
            assert not found.final[i]
            continue
        end, _, seen, outcome = naive_end(seq, seq.episodes[number])
        known = seen or t + within <= min(naive_known(seq, t), end - 1)
        assert bool(found.termination_known[i]) == known
        assert found.termination[i] == float(seen and end - t <= within)
        assert bool(found.final[i]) == (seen and end - t <= within)
        assert bool(found.success_known[i]) == (outcome != "unknown")
        assert found.success[i] == float(outcome == "success")


@given(sequences())
@settings(max_examples=100, deadline=None)
def test_hazards_and_windows_agree(seq):
    found = labels_of(seq, MODES, (0.5, 1.0, 2.5))
    # Survival to a horizon is the product of survivals in its bins, wherever all are known.
    hit = np.cumsum(found.hazard, axis=2) > 0
    assert (hit[found.within_known] == (found.within[found.within_known] > 0)).all()
    assert (found.hazard_known <= found.within_known).all()


def test_an_onset_on_a_border_belongs_to_the_bin_that_ends_there():
    seq = make_sequence([0, 10 * S], events=[make_event("drop", 2 * S)])
    found = labels_of(seq)
    assert found.hazard[0, 0].tolist() == [0, 1, 0]
    assert found.hazard_known[0, 0].tolist() == [True, True, False]
    assert found.within[0, 0].tolist() == [0, 1, 1]


def test_one_nanosecond_decides():
    early = make_sequence([0, 10 * S], events=[make_event("drop", 2 * S)])
    late = make_sequence([0, 10 * S], events=[make_event("drop", 2 * S + 1)])
    assert labels_of(early).within[0, 0, 1] == 1
    assert labels_of(late).within[0, 0, 1] == 0


def test_a_window_past_what_is_known_has_no_label_even_where_the_event_is_seen():
    seq = make_sequence([0, 1 * S], events=[make_event("drop", 1 * S)], known=1 * S)
    found = labels_of(seq)
    assert found.within_known[0, 0].tolist() == [True, False, False]
    assert found.hazard_known[0, 0].tolist() == [True, False, False]


def test_steps_inside_an_event_have_no_risk_label_of_its_mode():
    seq = make_sequence([0, S, 2 * S, 9 * S], events=[make_event("drop", S, 2 * S)])
    found = labels_of(seq, ("drop", "human"))
    assert found.within_known[:, 0, 0].tolist() == [True, False, False, False]
    assert found.within_known[:, 1, 0].tolist() == [True, True, True, False]
    assert found.any_within_known[:, 0].tolist() == [True, False, False, False]


def test_what_follows_an_intervention_is_unknown_until_the_next_episode():
    episodes = [make_episode(0, 6 * S), make_episode(6 * S, 12 * S, "success")]
    seq = make_sequence(
        [s * S for s in range(12)], episodes, [make_event("human", 3 * S)], known=20 * S
    )
    found = labels_of(seq, ("drop",), (1.0,))
    expected = [s < 3 or s >= 6 for s in range(12)]
    assert found.within_known[:, 0, 0].tolist() == expected
    # It succeeded with help: that is not the robot's success.
    assert found.success_known.tolist() == [s >= 6 for s in range(12)]
    assert found.value_known.tolist() == [s >= 6 for s in range(12)]


def test_the_risk_of_an_intervention_itself_is_known_across_it():
    seq = make_sequence([0, 10 * S], events=[make_event("human", 2 * S)])
    found = labels_of(seq, ("human",))
    assert found.within[0, 0].tolist() == [0, 1, 1]
    assert found.any_within[0].tolist() == [0, 1, 1]
    assert found.any_within_known[0].tolist() == [True, True, True]


def test_a_failure_that_ended_in_an_intervention_ended_there():
    seq = make_sequence(
        [0, S, 2 * S, 3 * S], [make_episode(0, 9 * S, "failure")], [make_event("human", 2 * S)],
        known=20 * S,
    )  # fmt: skip
    found = labels_of(seq)
    assert found.termination.tolist() == [0, 1, 0, 0]
    assert found.termination_known.tolist() == [True, True, False, False]
    assert found.value[1] == pytest.approx(CONFIG.intervention + CONFIG.time_per_s)


def test_the_end_of_a_cut_episode_is_not_an_end():
    episode = make_episode(0, 4 * S + 1, "unknown", end_seen=False)
    seq = make_sequence([s * S for s in range(5)], [episode])
    found = labels_of(seq)
    assert not found.termination.any()
    assert found.termination_known.tolist() == [True, True, True, True, False]
    assert not found.final.any()
    assert not found.value_known.any()


def test_the_return_of_a_success_is_discounted_in_real_time():
    seq = make_sequence([0, S, 3 * S], [make_episode(0, 4 * S)], known=9 * S)
    found = labels_of(seq)
    g, c = CONFIG.discount_per_s, CONFIG.time_per_s
    last = c + CONFIG.success
    middle = 2 * c + g**2 * last
    np.testing.assert_allclose(found.value, [c + g * middle, middle, last], rtol=1e-6)
    np.testing.assert_allclose(found.reward, [c, 2 * c, last], rtol=1e-6)


def test_each_event_is_paid_for_once():
    events = [make_event("retry", S // 2), make_event("drop", S), make_event("drop", 2 * S)]
    seq = make_sequence([0, S, 3 * S], [make_episode(0, 4 * S)], events, known=9 * S)
    total = labels_of(seq).reward.sum()
    expected = CONFIG.retry + 2 * CONFIG.drop + 4 * CONFIG.time_per_s + CONFIG.success
    assert total == pytest.approx(expected)


def test_a_sequence_without_modes_or_episodes_has_labels_of_that_shape():
    found = labels_of(make_sequence([0, S]), modes=(), horizons=(1.0, 2.0))
    assert found.hazard.shape == (2, 0, 2)
    assert found.any_within_known.tolist() == [[True, False], [False, False]]
    assert not found.any_within.any()
    assert not found.value_known.any()


def test_knowledge_ends_at_the_next_intervention():
    seq = make_sequence([0, 5 * S], [make_episode(4 * S, 9 * S)], [make_event("human", 2 * S)])
    known, dark = knowledge(seq)
    assert known.tolist() == [2 * S, 5 * S]
    assert dark.tolist() == [False, False]


def test_dtypes_are_float32_and_bool():
    found = labels_of(make_sequence([0, S], [make_episode(0, 2 * S)]))
    for name, array in vars(found).items():
        boolean = name.endswith("_known") or name == "final"
        assert array.dtype == (np.bool_ if boolean else np.float32), name


def test_the_end_of_an_episode_at_the_last_sample_is_seen():
    seq = make_sequence([0, S, 2 * S], [make_episode(0, 2 * S + 1)], known=2 * S)
    found = labels_of(seq)
    assert found.value_known.all()
    assert found.termination.tolist() == [0, 0, 1]
    assert found.termination_known.all()
    unseen = labels_of(make_sequence([0, S, 2 * S], [make_episode(0, 2 * S + 2)], known=2 * S))
    assert not unseen.value_known.any()


def test_that_an_episode_does_not_end_soon_is_known_up_to_the_last_moment():
    for known, expected in ((3 * S, True), (3 * S - 1, False)):
        episode = make_episode(0, 9 * S, "unknown", end_seen=False)
        found = labels_of(make_sequence([2 * S], [episode], known=known), within=1.0)
        assert found.termination_known.tolist() == [expected]
