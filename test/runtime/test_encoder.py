from __future__ import annotations

import math
import struct
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pro_ros.interfaces import (
    ASSESSMENT,
    REWARD,
    RISK,
    Alarm,
    Source,
    StepInfo,
    assessment_message,
    reward_message,
    risk_message,
    typestore,
)
from pro_ros.model.outputs import Assessment
from pro_ros.runtime.encoder import MOST_SHAPES, TOPICS, Encoder
from pro_ros.runtime.monitor import Statement
from pro_ros.runtime.reward import RewardTerms
from pro_ros.runtime.template import Template

NAME = st.text("abé_/", max_size=9)
TIME = st.integers(0, 2**31 * 10**9 - 1)
NUMBER = st.floats(-1e6, 1e6) | st.just(math.inf)
BITS = st.lists(st.sampled_from(["STALE_INPUT", "RESTARTED", "NO_INPUT", "OVERLOAD"]), unique=True)


@st.composite
def sources(draw) -> Source:
    horizons = draw(st.lists(st.floats(0.1, 99), min_size=1, max_size=4))
    modes = tuple(draw(st.lists(NAME, max_size=3)))
    return Source(draw(NAME), tuple(horizons), modes, draw(st.booleans()))


@st.composite
def statements(draw, source: Source, streams: tuple[str, ...]) -> Statement:
    bins, modes = len(source.horizons), len(source.modes)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    numbers = [draw(NUMBER) for _ in range(5)]
    assessment = Assessment(
        t_ns=draw(TIME), value=numbers[0], progress=numbers[1], termination=numbers[2],
        success=numbers[3], spread=numbers[4], risk=rng.random(bins),
        mode_risk=rng.random((modes, bins)), mode_distribution=rng.random(modes + 1),
    )  # fmt: skip
    valid = draw(st.sampled_from([("VALID",), ()]))
    info = StepInfo(
        sequence=draw(st.integers(0, 2**64 - 1)),
        validity=(*valid, *draw(BITS)),
        ages={stream: draw(st.floats(0, 9) | st.just(math.inf)) for stream in streams},
        stale=tuple(draw(st.lists(st.sampled_from(streams), unique=True))) if streams else (),
        faulty=tuple(draw(st.lists(st.sampled_from(streams), unique=True))) if streams else (),
        window_start_ns=draw(TIME),
        latency=draw(st.floats(0, 1)),
        episode_id=draw(NAME),
    )
    alarm = Alarm(
        on=draw(st.booleans()), basis=draw(st.sampled_from(["NOT_SET", "MISS_RATE", "MANUAL"])),
        level=draw(NUMBER | st.just(math.nan)), threshold=draw(st.floats(0, 1)),
        score=draw(st.floats(0, 1)), horizon=draw(st.floats(0, 9)), mode=draw(NAME),
    )  # fmt: skip
    t_ns, next_ns = draw(TIME), draw(TIME)
    terms = RewardTerms(t_ns, next_ns, draw(st.integers(0, 9)), *(draw(NUMBER) for _ in range(6)))
    return Statement(assessment, info, alarm, terms)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_the_bytes_are_those_of_the_message_objects(data):
    source = data.draw(sources())
    streams = tuple(data.draw(st.lists(NAME, max_size=3, unique=True)))
    encoder, store = Encoder(source), typestore()
    for _ in range(3):
        said = data.draw(statements(source, streams))
        parts = (store, said.assessment, source, said.info, said.alarm)
        assessment, risk = encoder.assessment(said)
        assert assessment == store.serialize_cdr(assessment_message(*parts), ASSESSMENT)
        assert risk == store.serialize_cdr(risk_message(*parts), RISK)
        reward = reward_message(store, said.reward, source, said.info)
        assert encoder.reward(said.reward, said.info) == store.serialize_cdr(reward, REWARD)
        messages = encoder.messages(said)
        assert [name for name, _ in messages] == list(TOPICS)
        assert [raw for _, raw in messages[:2]] == [assessment, risk]
        numbers = (said.assessment.progress, said.assessment.value, said.assessment.risk[-1])
        for (name, raw), number in zip(messages[3:], numbers, strict=True):
            shown = number if "VALID" in said.info.validity else math.nan
            plain = store.deserialize_cdr(raw, TOPICS[name])
            np.testing.assert_array_equal(plain.data, np.float32(shown))
        without = encoder.messages(replace(said, reward=None))
        assert [name for name, _ in without] == [name for name in TOPICS if name != "reward"]


def test_ever_new_shapes_do_not_fill_the_memory():
    encoder = Encoder(Source("m", (1.0,), (), False))
    assessment = Assessment(
        5, 0.0, 0.0, 0.0, 0.0, np.zeros(1), np.zeros((0, 1)), np.ones(1), 0.0
    )  # fmt: skip
    for n in range(3 * MOST_SHAPES):
        info = StepInfo(n, ("VALID",), {}, (), 5, episode_id=f"episode {n}")
        raw, _ = encoder.assessment(Statement(assessment, info, Alarm(), None))
        assert typestore().deserialize_cdr(raw, ASSESSMENT).episode_id == f"episode {n}"
    assert len(encoder._assessments) <= MOST_SHAPES


def test_a_template_fills_the_named_numbers_in_their_order():
    store = typestore()
    wrench = store.types["geometry_msgs/msg/Wrench"]
    vector = store.types["geometry_msgs/msg/Vector3"]
    message = wrench(force=vector(x=1.0, y=2.0, z=3.0), torque=vector(x=4.0, y=5.0, z=6.0))
    template = Template(store, "geometry_msgs/msg/Wrench", message, ("torque", "force.y"))
    assert template.paths == ("force.y", "torque.x", "torque.y", "torque.z")
    raw = template.fill([20.0, 40.0, 50.0, 60.0])
    assert struct.unpack_from("<6d", raw, 4) == (1.0, 20.0, 3.0, 40.0, 50.0, 60.0)
