from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pro_ros.runtime.alarms import Alarm, alarm_onsets

SECOND = 1_000_000_000


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([SECOND // 10, SECOND, 2 * SECOND, 10 * SECOND]),
            st.sampled_from([0.1, 0.5, 0.9, math.nan]),
        ),
        max_size=60,
    ),
    refractory_s=st.sampled_from([0.0, 1.0, 3.0]),
)
def test_an_alarm_begins_at_the_same_steps_one_by_one_and_at_once(steps, refractory_s):
    t_ns = np.cumsum([gap for gap, _ in steps], dtype=np.int64)
    score = np.array([s for _, s in steps])
    alarm = Alarm(0.5, refractory_s)
    begins = []
    for n, (t, s) in enumerate(zip(t_ns.tolist(), score.tolist(), strict=True)):
        on = alarm.update(t, s)
        if alarm.begins:
            begins.append(n)
            assert on
    assert begins == alarm_onsets(t_ns, score, 0.5, refractory_s).tolist()


def test_an_alarm_lasts_until_the_score_has_been_below_for_longer_than_the_refractory_time():
    alarm = Alarm(0.5, 1.0)
    said = [alarm.update(n * SECOND // 2, s) for n, s in enumerate([0.1, 0.5, 0.2, 0.2, 0.2, 0.7])]
    assert said == [False, True, True, True, False, True]


def test_a_missing_score_neither_begins_nor_prolongs_an_alarm():
    alarm = Alarm(0.5, 1.0)
    assert not alarm.update(0, math.nan)
    assert alarm.update(SECOND, 0.6)
    assert not alarm.update(3 * SECOND, math.nan)


def test_after_a_reset_the_next_crossing_begins_a_new_alarm():
    alarm = Alarm(0.5, 10.0)
    alarm.update(0, 0.9)
    alarm.reset()
    assert not alarm.begins
    assert alarm.update(1, 0.9)
    assert alarm.begins
