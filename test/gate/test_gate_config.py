"""The gate file, and the enumerations that it shares with the messages."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path
from typing import get_args

import pytest

from pro_ros.errors import SpecError
from pro_ros.gate import freshness, reasons
from pro_ros.gate.config import Caveat, GateConfig, Latching, load_gate_config
from pro_ros.gate.inputs import likeliest_mode
from pro_ros.interfaces import constants

ROOT = Path(__file__).resolve().parents[2]


def test_defaults_are_a_complete_gate(tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text("format: pro_ros/gate/1\n")
    assert load_gate_config(path) == GateConfig()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits: {max_atempts: 2}", "did you mean 'max_attempts'"),
        ("limits: {max_attempts: 0}", "limits.max_attempts"),
        ("alarm: {threshold: high}", "alarm.threshold"),
        ("alarm: {count: 3, of: 2}", "'count' is larger than 'of'"),
        ("ending: {count: 3, of: 2}", "'count' is larger than 'of'"),
        ("alarm: {max_alarms: 3, in_attempts: 2}", "'max_alarms' is larger"),
        ("freshness: {periods: 3}", "freshness.periods"),
        ("freshness: {needed: 1}", "freshness.needed"),
        ("causes: {modes: {drop: again}}", "causes.modes.drop"),
        ("verification: {hold: 20}", "'hold' is not shorter"),
        ("on_monitor_death: ignore", "on_monitor_death"),
    ],
)
def test_a_fault_is_one_line_that_names_it(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text(text + "\n")
    with pytest.raises(SpecError) as caught:
        load_gate_config(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_the_gate_may_order_is_known_beforehand() -> None:
    assert GateConfig().needs_recovery
    never = {
        "modes": {"drop": "retry"}, "attempt_timeout": "retry",
    }  # fmt: skip
    assert not GateConfig.model_validate({"causes": never}).needs_recovery
    assert not GateConfig().needs_safe_action
    assert GateConfig(on_monitor_death="safe_action").needs_safe_action


def of(enumeration: type[IntEnum], prefix: str) -> dict[str, int]:
    return {f"{prefix}_{member.name}": member.value for member in enumeration}


def test_enumerations_are_those_of_the_messages() -> None:
    record = {**of(reasons.Outcome, "OUTCOME"), **of(reasons.TerminationReason, "REASON")}
    assert record == constants("AttemptRecord")
    assert {
        **of(reasons.State, "STATE"), **of(reasons.Monitor, "MONITOR"),
        **of(reasons.Fault, "FAULT"),
    } == constants("GateState")  # fmt: skip
    text = (ROOT / "action" / "ExecuteTask.action").read_text(encoding="utf-8")
    found = re.findall(r"^uint8 ([A-Z_]+)=(\d+)", text, re.M)
    assert {name: int(value) for name, value in found} == record


def test_outcomes_begin_as_those_of_events() -> None:
    events = {n: v for n, v in constants("EpisodeEvent").items() if n.startswith("OUTCOME_")}
    assert events.items() <= of(reasons.Outcome, "OUTCOME").items()


def test_caveats_are_the_bits_of_the_messages() -> None:
    known = constants("Assessment")
    assert known["VALIDITY_VALID"] == freshness.VALID
    bits = {f"VALIDITY_{name.upper()}": bit for name, bit in freshness.CAVEATS.items()}
    assert {**bits, "VALIDITY_VALID": 1} == known
    assert set(get_args(Caveat)) == set(freshness.CAVEATS)


def test_reasons_that_may_latch_exist() -> None:
    names = {reason.name.lower() for reason in reasons.TerminationReason}
    assert set(get_args(Latching)) <= names


@pytest.mark.parametrize(
    ("alarm_mode", "distribution", "mode"),
    [
        ("jam", [0.5, 0.1, 0.4], "jam"),
        ("", [0.2, 0.1, 0.7], "drop"),
        ("", [0.1, 0.2, 0.7], "jam"),
        ("", [0.2, 0.2, 0.6], "drop"),
        ("", [0.0, 0.0, 1.0], ""),
        ("", [], ""),
        ("", [float("nan"), float("nan"), float("nan")], ""),
    ],
)
def test_a_risk_stands_for_its_likeliest_mode(
    alarm_mode: str, distribution: list[float], mode: str
) -> None:
    assert likeliest_mode(alarm_mode, ["drop", "jam"], distribution) == mode
