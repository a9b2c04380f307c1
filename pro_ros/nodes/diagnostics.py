"""Health of the monitor as ``diagnostic_msgs`` (REP 107)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from pro_ros.runtime.health import Health, StreamHealth
from pro_ros.streams.spec import StreamSpec

SLOW = 0.8
"""Share of the declared rate below which a stream is reported slow."""


def status(name: str, level: bytes, message: str, values: Mapping[str, Any]) -> DiagnosticStatus:
    """One status; numbers are written with four digits."""
    shown = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, values=shown)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def stream_status(
    name: str,
    stream: StreamSpec,
    health: StreamHealth,
    rate: float,
    unheard: Sequence[str],
) -> DiagnosticStatus:
    """Status of one stream.

    Parameters
    ----------
    rate
        Messages per second since the status before [Hz].
    unheard
        Lines about publishers that cannot be heard.
    """
    level, message = DiagnosticStatus.OK, "ok"
    if unheard:
        level, message = DiagnosticStatus.ERROR, unheard[0]
    elif "stale" in health.faults:
        level, message = DiagnosticStatus.STALE, "no fresh sample"
    elif health.faults:
        level, message = DiagnosticStatus.ERROR, ", ".join(sorted(health.faults))
    elif rate < SLOW * stream.rate:
        level, message = DiagnosticStatus.WARN, "slower than declared"
    if health.last_error and not unheard:
        message = health.last_error
    return status(
        name,
        level,
        message,
        {
            "topic": stream.topic or "",
            "rate [Hz]": rate,
            "declared rate [Hz]": stream.rate,
            "age [s]": health.age,
            "received": health.received,
            "not decoded": health.errors,
            "dropped, too fast": health.dropped,
            "refused, older than the newest": health.refused,
            "refused, same stamp": health.duplicates,
            "stamps off by more than the gap": health.jumps,
        },
    )


def operator_status(
    name: str, health: Health, before: Health, seconds: float, period: float
) -> DiagnosticStatus:
    """Status of the operator: assessments, latency, what was dropped.

    Parameters
    ----------
    before, seconds
        The snapshot before, and how long ago it was taken [s].
    period
        Expected time between two assessments [s].
    """
    rate = (health.assessed - before.assessed) / seconds if seconds > 0 else 0.0
    level, message = DiagnosticStatus.OK, "ok"
    if health.failures > before.failures:
        level, message = DiagnosticStatus.ERROR, "the operator failed: see the log"
    elif health.assessed == before.assessed:
        level, message = DiagnosticStatus.STALE, "nothing to assess"
    elif health.late > before.late:
        level, message = DiagnosticStatus.WARN, "assessments were dropped because they were late"
    elif "VALID" not in health.validity:
        level, message = DiagnosticStatus.WARN, "assessments are not valid"
    return status(
        name,
        level,
        message,
        {
            "assessments [Hz]": rate,
            "expected [Hz]": 1.0 / period,
            "latency p50 [ms]": 1e3 * health.latency_p50,
            "latency p99 [ms]": 1e3 * health.latency_p99,
            "assessed": health.assessed,
            "valid": health.valid,
            "dropped, late": health.late,
            "restarts": health.restarts,
            "failures": health.failures,
            "validity": " ".join(health.validity),
        },
    )


def model_status(name: str, facts: Mapping[str, Any], problem: str) -> DiagnosticStatus:
    """Status of the checkpoint: which one, where it computes, whether it is calibrated."""
    if problem:
        return status(name, DiagnosticStatus.ERROR, problem, facts)
    if not facts:
        return status(name, DiagnosticStatus.WARN, "no checkpoint is loaded", {})
    if not facts["calibrated"]:
        return status(name, DiagnosticStatus.WARN, "probabilities are not calibrated", facts)
    return status(name, DiagnosticStatus.OK, "ok", facts)
