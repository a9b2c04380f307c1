"""The public messages: readable by anyone, denying by default, the same to the byte."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from pro_ros.interfaces import (
    ASSESSMENT,
    EPISODE_EVENT,
    NAMES,
    TASK_CONTEXT,
    Alarm,
    Source,
    StepInfo,
    assessment_message,
    constants,
    context_message,
    definition,
    event_message,
    message_text,
    typestore,
)
from pro_ros.model.outputs import Assessment
from pro_ros.streams.spec import EventKind

STEP = Assessment(
    t_ns=1_700_000_000_123_456_789,
    value=0.5,
    progress=-0.25,
    termination=0.125,
    success=0.75,
    risk=np.array([0.25, 0.5]),
    mode_risk=np.array([[0.0, 0.125], [0.25, 0.375]]),
    mode_distribution=np.array([0.125, 0.25, 0.625]),
    spread=0.0625,
)
SOURCE = Source("demo@0123", horizons=(1.0, 5.0), modes=("drop", "jam"), calibrated=True)


def info(*validity: str) -> StepInfo:
    return StepInfo(7, validity, {"joints": 0.5, "camera": math.inf}, ("camera",), 10**18)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_says_what_it_holds(name: str) -> None:
    for block in message_text(name).split("\n\n"):
        lines = block.splitlines()
        explained = any(line.startswith("#") for line in lines)
        for line in lines:
            assert "#" in line or explained, line


@pytest.mark.parametrize("name", ["Assessment", "Risk", "Reward"])
def test_numbers_have_a_unit_or_a_range(name: str) -> None:
    text = message_text(name)
    for match in re.finditer(r"^float32(?:\[\])? (\w+)(.*(?:\n +#.*)*)", text, re.MULTILINE):
        assert re.search(r"\[.*\]|[<>]|\(0, 1\]", match[2]), match[1]


def test_event_kinds_are_those_of_the_stream_file() -> None:
    kinds = {n[5:].lower() for n in constants("EpisodeEvent") if n.startswith("KIND_")}
    assert kinds == {*get_args(EventKind), "unknown", "episode_begin", "episode_end"}


def test_validity_bits_are_the_same_everywhere_and_single() -> None:
    bits = {n: v for n, v in constants("Assessment").items() if n.startswith("VALIDITY_")}
    assert bits == {n: v for n, v in constants("Risk").items() if n.startswith("VALIDITY_")}
    assert sorted(bits.values()) == [1 << i for i in range(len(bits))]


def test_assessment_survives_serialisation() -> None:
    store = typestore()
    alarm = Alarm(True, "MISS_RATE", 0.1, 0.375, 0.5, 5.0, "jam")
    message = assessment_message(store, STEP, SOURCE, info("VALID", "STALE_INPUT"), alarm)
    back = store.deserialize_cdr(store.serialize_cdr(message, ASSESSMENT), ASSESSMENT)
    assert (back.header.stamp.sec, back.header.stamp.nanosec) == (1_700_000_000, 123_456_789)
    assert back.window_end == back.header.stamp == back.risk.header.stamp
    assert (back.sequence, back.validity, back.model_id) == (7, 3, "demo@0123")
    assert (back.value, back.progress, back.termination, back.success) == (0.5, -0.25, 0.125, 0.75)
    assert back.stream_names == ["joints", "camera"]
    assert back.ages.tolist() == [0.5, math.inf]
    assert back.stale_streams == ["camera"]
    risk = back.risk
    assert risk.mode_risk.tolist() == [0.0, 0.125, 0.25, 0.375]
    horizon, mode = 1, risk.modes.index("jam")
    assert risk.mode_risk[mode * len(risk.horizons) + horizon] == 0.375
    assert len(risk.mode_distribution) == len(risk.modes) + 1
    assert (risk.alarm, risk.alarm_basis, risk.alarm_mode) == (True, 1, "jam")


def test_without_the_valid_bit_no_number_can_be_used() -> None:
    message = assessment_message(typestore(), STEP, SOURCE, info("NO_INPUT"), Alarm())
    numbers = [message.value, message.progress, message.termination, message.success]
    assert all(math.isnan(n) for n in numbers)
    assert np.isnan(message.risk.risk).all()
    assert np.isnan(message.risk.mode_risk).all()
    assert not message.validity & constants("Assessment")["VALIDITY_VALID"]


def test_unknown_validity_name_is_refused() -> None:
    with pytest.raises(KeyError):
        assessment_message(typestore(), STEP, SOURCE, info("FINE"), Alarm())


def test_event_and_context_survive_serialisation() -> None:
    store = typestore()
    event = event_message(store, 5, "episode_end", outcome="failure", episode_id="a#1")
    back = store.deserialize_cdr(store.serialize_cdr(event, EPISODE_EVENT), EPISODE_EVENT)
    assert (back.kind, back.outcome, back.phase, back.episode_id) == (2, 2, 0, "a#1")
    context = {"sku": "4711", "site": "north", "line": "3"}
    task = context_message(store, 5, prompt="pick", context=context, attempt=2, retry_of="a#0")
    back = store.deserialize_cdr(store.serialize_cdr(task, TASK_CONTEXT), TASK_CONTEXT)
    assert (back.sku, back.site, back.robot, back.attempt) == ("4711", "north", "", 2)
    assert dict(zip(back.keys, back.values, strict=True)) == {"line": "3"}


@pytest.mark.parametrize("name", NAMES)
def test_embedded_definition_is_enough_to_read_and_keeps_comments(name: str) -> None:
    text, digest = definition(f"pro_ros/msg/{name}")
    assert message_text(name) in text
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(text, f"pro_ros/msg/{name}"))
    assert store.hash_rihs01(f"pro_ros/msg/{name}") == digest


def test_reading_bags_does_not_import_torch() -> None:
    code = "import sys, pro_ros.episodes.bags, pro_ros.interfaces; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == "False"
