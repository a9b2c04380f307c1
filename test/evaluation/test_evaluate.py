"""An evaluation as a whole: what it compares, what it refuses, what it says of itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pro_ros.errors import DataError
from pro_ros.evaluation import metrics, results
from pro_ros.evaluation.definitions import DEFINITIONS
from pro_ros.evaluation.evaluate import evaluate
from pro_ros.evaluation.results import Evaluation, Settings
from pro_ros.evaluation.table import EvaluationItem, Table
from pro_ros.model.calibration import AlarmThreshold

MODES = ("drop", "jam")
HORIZONS = (1.0, 3.0)
QUICK = Settings(resamples=100)
EVENTS_S = {f"run#{i}": [k * 60 + 12.25 for k in range(8)] for i in range(2)}
STORED = AlarmThreshold(
    target="any", horizon=3.0, criterion="false_alarms_per_hour", requested=6.0, threshold=0.6,
    episodes=40, events=12, hours=0.5, refractory_s=2.0, method="conformal risk control",
)  # fmt: skip


@pytest.fixture(scope="module")
def evaluation(items: list[EvaluationItem]) -> Evaluation:
    return evaluate(
        items, MODES, HORIZONS, thresholds=(STORED,), settings=QUICK, model="m-1", dataset="d"
    )


def test_every_metric_of_every_model_is_there_with_an_interval(evaluation: Evaluation) -> None:
    keys = {m.key for m in evaluation.metrics}
    # Of a scorer of actions there are metrics only where the checkpoint has one.
    assert keys == {key for key, d in DEFINITIONS.items() if d.family != "scoring"}
    for key in ("risk_auroc", "risk_auprc", "event_recall_6", "risk_ece"):
        for target in ("any", *MODES):
            metric = evaluation.find(key, target, 3.0)
            assert metric is not None
            assert [s.model for s in metric.scores] == ["PRO", "guess", "twin"]
            for score in metric.scores:
                n = score.number
                assert n.value is not None
                assert n.low is not None
                assert n.high is not None
                assert n.low <= n.high


def test_numbers_are_those_of_the_plain_functions(
    evaluation: Evaluation, items: list[EvaluationItem]
) -> None:
    known = np.concatenate([i.labels.within_known[:, 1, 1] for i in items])
    label = np.concatenate([i.labels.within[:, 1, 1] for i in items])[known] > 0.5
    risk = np.concatenate([i.assessments.mode_risk[:, 1, 1] for i in items])[known]
    metric = evaluation.find("risk_auroc", "jam", 3.0)
    assert metric is not None
    assert metric.count == known.sum()
    assert metric.positives == label.sum()
    assert metric.number("PRO").value == pytest.approx(metrics.auroc(risk, label).value, abs=1e-6)


def test_differences_are_paired(evaluation: Evaluation) -> None:
    metric = evaluation.find("risk_auroc", "any", 3.0)
    assert metric is not None
    guess, twin = metric.scores[1], metric.scores[2]
    assert twin.difference is not None
    assert (twin.difference.value, twin.difference.low, twin.difference.high) == (0, 0, 0)
    assert guess.difference is not None
    assert guess.difference.low is not None
    assert guess.difference.low > 0.2
    assert metric.scores[0].difference is None


def test_calibrated_thresholds_are_held_to_their_promise(evaluation: Evaluation) -> None:
    metric = evaluation.find("calibrated_false_alarms", "any", 3.0)
    assert metric is not None
    assert "6 false alarms per hour" in metric.note
    assert [s.model for s in metric.scores] == ["PRO"]
    shown = next(s for s in evaluation.shown_thresholds if s.target == "any")
    assert shown.threshold == STORED.threshold
    assert shown.refractory_s == STORED.refractory_s


def test_sites_are_broken_down_and_add_up(evaluation: Evaluation) -> None:
    sites = [b for b in evaluation.breakdowns if b.dimension == "site"]
    assert [b.name for b in sites] == ["north", "south"]
    assert sum(b.counts.steps for b in sites) == evaluation.counts.steps
    assert sum(b.counts.episodes for b in sites) == evaluation.counts.episodes
    whole = evaluation.find("risk_auroc", "any", 3.0)
    parts = [b.find("risk_auroc", "any") for b in sites]
    assert whole is not None
    assert sum(p.positives or 0 for p in parts if p is not None) == whole.positives
    assert all(p is not None and p.number("PRO") != whole.number("PRO") for p in parts)
    for mode in MODES:
        assert sum(b.counts.events[mode] for b in sites) == evaluation.counts.events[mode]


def test_without_resampling_there_are_numbers_and_no_intervals(
    items: list[EvaluationItem],
) -> None:
    found = evaluate(items, MODES, HORIZONS, thresholds=(STORED,), settings=Settings(resamples=0))
    for metric in found.metrics:
        n = metric.number("PRO")
        assert n.low is n.high is None
        assert n.reason


def test_a_dimension_with_too_many_parts_is_named_instead(
    items: list[EvaluationItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pro_ros.evaluation.evaluate.MOST_PARTS", 10)
    found = evaluate(items, MODES, HORIZONS, settings=QUICK)
    assert {b.dimension for b in found.breakdowns} == {"site"}
    assert found.not_broken_down == {"group": 24}


def test_json_is_strict_and_comes_back_the_same(evaluation: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    results.write_json(evaluation, path)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    raw = json.loads(path.read_text(), parse_constant=refuse)
    assert raw["format"] == "pro_ros/evaluation/1"
    assert results.read(path) == evaluation


def test_the_same_input_gives_the_same_text(
    evaluation: Evaluation, items: list[EvaluationItem]
) -> None:
    again = evaluate(
        items, MODES, HORIZONS, thresholds=(STORED,), settings=QUICK, model="m-1", dataset="d"
    )
    assert again.to_json() == evaluation.to_json()


def test_a_file_of_another_format_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text('{"format": "pro_ros/evaluation/9"}')
    with pytest.raises(DataError, match=r"evaluation\.json") as caught:
        results.read(path)
    assert "\n" not in str(caught.value)


def test_no_failures_give_reasons_and_no_numbers(
    make_case: Callable, make_judgement: Callable
) -> None:
    calm = make_case(0, 4, fail_every=0)
    item = EvaluationItem(calm.sequence, calm.labels, make_judgement(calm))
    found = evaluate([item], MODES, HORIZONS, settings=QUICK)
    for key in ("risk_auroc", "event_recall_1", "detection_auroc", "value_pairwise"):
        metric = next(m for m in found.metrics if m.key == key)
        assert metric.number("PRO").value is None
        assert metric.number("PRO").reason
    assert not found.mistakes
    said = " ".join(found.caveats)
    for part in ("0 events of 'drop'", "0 failed", "No rivals", "one site", "no alarm threshold"):
        assert part in said


def test_without_failure_modes_outcome_and_value_are_measured(
    make_case: Callable, make_judgement: Callable
) -> None:
    case = make_case(0, 12, modes=())
    item = EvaluationItem(case.sequence, case.labels, make_judgement(case, modes=()))
    found = evaluate([item], (), HORIZONS, settings=QUICK)
    assert found.find("success_auroc") is not None
    assert not [m for m in found.metrics if m.key.startswith("risk")]
    assert not found.curves


def test_one_mode_uses_a_threshold_stored_for_any(
    make_case: Callable, make_judgement: Callable
) -> None:
    case = make_case(0, 12, modes=("drop",))
    item = EvaluationItem(case.sequence, case.labels, make_judgement(case, modes=("drop",)))
    found = evaluate([item], ("drop",), HORIZONS, thresholds=(STORED,), settings=QUICK)
    assert {s.threshold for s in found.shown_thresholds} == {STORED.threshold}


def test_the_worst_mistakes_are_where_they_were_made(
    make_case: Callable, make_judgement: Callable
) -> None:
    case = make_case(0, 12)
    said = make_judgement(case)
    quiet = said.mode_risk.copy()
    onset = case.sequence.events[2].start_ns
    start = int(case.sequence.t_ns[0])
    near = (case.sequence.t_ns < onset) & (case.sequence.t_ns >= onset - 3_000_000_000)
    quiet[near] = 0.0
    loud = slice(70, 76)
    quiet[loud] = 0.99
    said = replace(said, mode_risk=quiet, risk=1 - np.prod(1 - quiet, axis=1))
    item = EvaluationItem(case.sequence, case.labels, said)
    thresholds = tuple(STORED.model_copy(update={"target": t}) for t in ("any", *MODES))
    found = evaluate([item], MODES, HORIZONS, thresholds=thresholds, settings=QUICK)
    missed = [m for m in found.mistakes if m.kind == "missed"]
    assert missed[0].at_s == pytest.approx((onset - start) / 1e9, abs=1e-3)
    assert missed[0].episode == case.sequence.events[2].episode
    longest = next(m for m in found.mistakes if m.kind == "false_alarm")
    assert longest.at_s == pytest.approx(35.0)
    assert longest.duration_s == pytest.approx(2.5)
    for kind in ("drop", "jam"):
        scores = [m.score for m in missed if m.target == kind]
        assert scores == sorted(scores, key=float)  # type: ignore[arg-type]


def test_an_alarm_that_an_event_follows_is_no_mistake(items: list[EvaluationItem]) -> None:
    low = STORED.model_copy(update={"threshold": 0.2})
    evaluation = evaluate(items, MODES, HORIZONS, thresholds=(low,), settings=QUICK)
    found = [m for m in evaluation.mistakes if m.kind == "false_alarm"]
    assert found
    for mistake in found:
        events = EVENTS_S[mistake.sequence]
        assert not [e for e in events if mistake.at_s < e <= mistake.at_s + 3.0]


def test_curves_begin_with_the_first_hit_and_end_with_the_last(evaluation: Evaluation) -> None:
    assert len(evaluation.curves) == 9
    for curve in evaluation.curves:
        assert curve.recall[0] > 0
        assert curve.recall[-1] == 1.0
        assert list(curve.recall) == sorted(curve.recall)
        assert curve.rate[0] == curve.event_recall[0] == 0.0
        assert len(curve.lead_s) <= curve.lead_events
        assert all(0 < lead <= 3.0 for lead in curve.lead_s)
        for point in curve.reliability:
            assert point.low is not None
            assert point.high is not None
            assert point.low <= point.observed <= point.high


def test_events_are_counted_with_the_episode_that_could_have_warned(
    items: list[EvaluationItem],
) -> None:
    table = Table(items, MODES, HORIZONS)
    monitored = table.monitored("any", 1)
    unit, count = table.units()
    assert count == len(table.episodes) == 48
    for k in np.flatnonzero(monitored.counted):
        row = int(np.flatnonzero(monitored.event == k)[-1])
        assert monitored.event_unit[k] == unit[row]
        lead = monitored.onset_ns[k] - table.clock_ns[row]
        assert 0 < lead <= 3_000_000_000


@pytest.mark.parametrize(("unit", "count"), [("episode", 48), ("group", 24), ("sequence", 2)])
def test_units_are_what_was_asked_for(items: list[EvaluationItem], unit: str, count: int) -> None:
    assert Table(items, MODES, HORIZONS).units(unit)[1] == count  # type: ignore[arg-type]


def test_sequences_never_touch_on_the_common_clock(items: list[EvaluationItem]) -> None:
    table = Table(items, MODES, HORIZONS)
    assert (np.diff(table.clock_ns) > 0).all()
    seam = int(table.starts[1])
    assert table.clock_ns[seam] - table.clock_ns[seam - 1] > 3_600_000_000_000


def test_arrays_that_do_not_belong_together_are_named(items: list[EvaluationItem]) -> None:
    said = items[0].assessments
    short = replace(said, value=said.value[:-1])  # type: ignore[type-var]
    with pytest.raises(DataError, match=r"run#0.*value of PRO"):
        Table([replace(items[0], assessments=short)], MODES, HORIZONS)
    with pytest.raises(DataError, match=r"run#1.*rivals guess, twin"):
        Table([items[0], replace(items[1], rivals={})], MODES, HORIZONS)
    with pytest.raises(DataError, match="no sequence has any step"):
        Table([], MODES, HORIZONS)
    with pytest.raises(DataError, match="headline horizon 2 s: the model has 1, 3"):
        evaluate(items, MODES, HORIZONS, headline_horizon=2.0)
