"""Numbers of the closed-loop benchmark, against cases worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pro_ros.cell.chosen import choose
from pro_ros.cell.loop import Attempt, TaskResult
from pro_ros.cell.results import (
    GATE_BARS,
    SCORING_BARS,
    Bar,
    ClosedLoop,
    Comparison,
    Setup,
    Variant,
    read,
    write_json,
)
from pro_ros.cell.rows import AttemptRow, FailureRow, TaskRow, task_row, task_rows
from pro_ros.cell.statistics import METRICS, Statistics, by_novelty, by_site
from pro_ros.errors import DataError


def attempt(
    number: int,
    outcome: str,
    begin: float = 0.0,
    end: float = 5.0,
    alarm: float | None = None,
    failures: tuple[tuple[str, float], ...] = (),
) -> AttemptRow:
    return AttemptRow(
        number=number, begin=begin, end=end, outcome=outcome,
        cause="risk_alarm" if alarm is not None else "policy_failure",
        stopped=alarm is not None, mode="drop" if alarm is not None else "", alarm=alarm,
        failures=tuple(FailureRow(mode=m, at=t) for m, t in failures),
    )  # fmt: skip


def task(
    seed: int, *attempts: AttemptRow, success: bool, duration: float = 10.0, site: str = "larch"
) -> TaskRow:
    return TaskRow(
        site=site, sku="can" if seed % 2 else "felt_pouch", seed=seed, success=success,
        reason="success" if success else "attempts_exhausted", duration=duration,
        attempts=attempts,
    )  # fmt: skip


DROPPED = attempt(1, "failure", failures=(("drop", 4.0),))
DONE = attempt(1, "success")

PLAIN = (
    task(1, DONE, success=True, duration=5.0),
    task(2, DONE, success=True, duration=5.0),
    task(3, DROPPED, success=False, duration=5.0),
    task(4, attempt(1, "failure", failures=(("miss", 2.0),)), success=False, duration=3.0),
)
OUTCOME = (
    task(1, DONE, success=True, duration=5.0),
    task(2, DONE, success=True, duration=5.0),
    # Two retries, a second drop, and success in the end.
    task(3, DROPPED, attempt(2, "failure", 6, 9, failures=(("drop", 8.0),)),
         attempt(3, "success", 11, 15), success=True, duration=15.0),
    task(4, attempt(1, "failure", failures=(("miss", 2.0),)), attempt(2, "failure", 4, 7),
         success=False, duration=7.0),
)  # fmt: skip
GATE = (
    # A false stop, and success at the second attempt.
    task(1, attempt(1, "interrupted", end=3.5, alarm=3.0), attempt(2, "success", 5, 9),
         success=True, duration=9.0),
    task(2, DONE, success=True, duration=5.0),
    # Stopped 1.5 s before it would have dropped; it began 0.2 s later than under plain.
    task(3, attempt(1, "interrupted", begin=0.2, end=3.0, alarm=2.7),
         attempt(2, "success", 5, 9), success=True, duration=9.0),
    # Stopped after the miss: too late.
    task(4, attempt(1, "interrupted", alarm=2.5, failures=(("miss", 2.0),)),
         attempt(2, "success", 4, 9), success=True, duration=9.0),
)  # fmt: skip


def results(
    *variants: Variant, comparisons: tuple[Comparison, ...] = (), resamples: int = 200
) -> ClosedLoop:
    setup = Setup(
        sites=("larch",), held_out_items=("felt_pouch",), seeds=(1, 4), resamples=resamples
    )
    return ClosedLoop(setup=setup, variants=variants, comparisons=comparisons)


def three(**more: object) -> ClosedLoop:
    return results(
        Variant(key="plain", letter="a", name="plain", tasks=PLAIN),
        Variant(key="outcome", letter="b", name="outcome only", tasks=OUTCOME),
        Variant(key="gate", letter="d", name="PRO gate", ours=True, tasks=GATE),
        **more,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def statistics() -> Statistics:
    return Statistics(three())


@pytest.mark.parametrize(
    ("metric", "plain", "outcome", "gate"),
    [
        ("success", 0.5, 0.75, 1.0),
        ("recovery", 0.0, 0.5, 1.0),
        ("recovery_own", 0.0, 0.5, 1.0),
        ("retries", 0.0, 3 / 4, 3 / 4),
        ("time", 18 / 2, 32 / 3, 32 / 4),
        ("drops", 25.0, 50.0, 0.0),
        ("false_stops", 0.0, 0.0, 25.0),
        ("caught", 0.0, 0.0, 0.5),
    ],
)
def test_numbers_are_as_worked_out_by_hand(
    statistics: Statistics, metric: str, plain: float, outcome: float, gate: float
) -> None:
    found = [statistics.number(key, metric).value for key in ("plain", "outcome", "gate")]  # type: ignore[arg-type]
    assert found == pytest.approx([plain, outcome, gate])


def test_recovery_is_compared_on_the_same_tasks_and_own_failures_are_not() -> None:
    """The gate prevents the failure of task 3: it has the credit, and one own failure less."""
    prevented = (*GATE[:2], task(3, DONE, success=True), GATE[3].model_copy(
        update={"success": False}))  # fmt: skip
    statistics = Statistics(results(
        Variant(key="plain", name="plain", tasks=PLAIN),
        Variant(key="gate", name="gate", tasks=prevented),
    ))  # fmt: skip
    assert statistics.number("gate", "recovery").value == pytest.approx(1 / 2)
    assert statistics.number("gate", "recovery_own").value == pytest.approx(1 / 2)
    assert statistics.number("plain", "recovery").value == 0.0


def test_a_reference_says_whether_a_stop_was_false() -> None:
    """Other actions, other first attempts: under them task 3 succeeds when left alone."""
    alone = (*PLAIN[:2], task(3, DONE, success=True), PLAIN[3])
    found = Statistics(results(
        Variant(key="plain", name="plain", tasks=PLAIN),
        Variant(key="alone", name="alone", tasks=alone),
        Variant(key="scored", name="scored", reference="alone", tasks=GATE),
    ))  # fmt: skip
    assert found.number("scored", "false_stops").value == pytest.approx(50.0)
    assert found.number("scored", "caught").value == 0.0
    # Recovery stays on the tasks in which the plain policy fails.
    assert found.number("scored", "recovery").value == 1.0


def test_a_false_stop_may_have_kept_an_item_from_falling() -> None:
    """Left alone, the item of task 3 falls, and lies where it should all the same."""
    fell = attempt(1, "success", failures=(("drop", 4.0),))
    alone = (*PLAIN[:2], task(3, fell, success=True), PLAIN[3])
    found = Statistics(results(
        Variant(key="plain", name="plain", tasks=alone),
        Variant(key="gate", name="gate", tasks=GATE),
    ))  # fmt: skip
    stopped, kept, retries = found.false_stops("gate")
    assert (stopped, kept) == (2, 1)
    assert retries == GATE[2].retries > 0
    assert found.false_stops("plain") == (0, 0, 0)


def test_lead_runs_from_the_alarm_to_where_it_would_have_failed(statistics: Statistics) -> None:
    assert statistics.leads("gate") == pytest.approx([1.5])
    drop = statistics.mode("gate", "drop")
    assert (drop.first, drop.caught.value, drop.lead.value) == (1, 1.0, pytest.approx(1.5))
    miss = statistics.mode("gate", "miss")
    assert (miss.first, miss.caught.value, miss.lead.value) == (1, 0.0, None)
    assert miss.logged.value == pytest.approx(25.0)


def test_bars_are_judged_on_the_number_and_say_how_sure_they_are() -> None:
    loop = three(
        comparisons=(
            Comparison(new="gate", old="outcome", bars=GATE_BARS),
            Comparison(new="gate", old="outcome", bars=SCORING_BARS, need="any"),
        )
    )
    statistics = Statistics(loop)
    gate, either = (statistics.compared(c) for c in loop.comparisons)
    assert [v.met for v in gate.verdicts] == [False, True, True, True]
    assert gate.met is False
    assert [v.met for v in either.verdicts] == [True, False]
    assert either.met is True
    retries = gate.changes["retries"]
    assert retries.relative.value == pytest.approx(0.0)
    # With one task in four to differ, some draws miss it.
    assert not gate.verdicts[2].sure


def test_a_strict_bar_is_not_met_by_its_bound() -> None:
    loop = three(
        comparisons=(
            Comparison(new="gate", old="gate", bars=(
                Bar(metric="success", at_least=0.0, strict=True, words="up"),
                Bar(metric="success", at_least=0.0, words="no worse"),
            )),
        )
    )  # fmt: skip
    verdicts = Statistics(loop).compared(loop.comparisons[0]).verdicts
    assert [v.met for v in verdicts] == [False, True]
    assert all(v.sure for v in verdicts)


def test_differences_are_paired() -> None:
    """Two variants that are alike in every task differ by nothing in every draw."""
    statistics = Statistics(three())
    change = statistics.change("success", "gate", "gate")
    assert (change.difference.low, change.difference.high) == (0.0, 0.0)
    own = statistics.number("outcome", "success")
    assert own.low is not None
    assert own.low < 0.75


def test_tasks_that_a_variant_lacks_count_for_nobody() -> None:
    loop = results(
        Variant(key="plain", name="plain", tasks=PLAIN),
        Variant(key="gate", name="gate", tasks=GATE[:3]),
    )
    statistics = Statistics(loop)
    assert statistics.left_out == 1
    assert statistics.keys == [("larch", 1), ("larch", 2), ("larch", 3)]
    assert statistics.number("plain", "success").value == pytest.approx(2 / 3)


def test_without_a_task_in_common_nothing_is_said() -> None:
    other = tuple(t.model_copy(update={"site": "maple"}) for t in GATE)
    loop = results(
        Variant(key="plain", name="plain", tasks=PLAIN),
        Variant(key="gate", name="gate", tasks=other),
    )
    with pytest.raises(DataError, match="no task in common"):
        Statistics(loop)


def test_what_has_no_denominator_has_no_number() -> None:
    done = (task(1, DONE, success=True), task(2, DONE, success=True))
    lost = tuple(t.model_copy(update={"success": False}) for t in done)
    statistics = Statistics(results(
        Variant(key="plain", name="plain", tasks=done),
        Variant(key="gate", name="gate", tasks=lost),
    ))  # fmt: skip
    assert statistics.number("plain", "recovery").value is None
    assert statistics.number("gate", "time").value is None
    assert statistics.change("retries", "gate", "plain").relative.reason


@given(st.permutations(range(4)), st.permutations(range(4)), st.permutations(range(3)))
@settings(max_examples=15, deadline=None)
def test_no_order_changes_anything(
    first: list[int], second: list[int], variants: list[int]
) -> None:
    straight = three(resamples=50)
    shuffled = list(straight.variants)
    shuffled[0] = shuffled[0].model_copy(update={"tasks": tuple(PLAIN[i] for i in first)})
    shuffled[2] = shuffled[2].model_copy(update={"tasks": tuple(GATE[i] for i in second)})
    other = straight.model_copy(update={"variants": tuple(shuffled[i] for i in variants)})
    a, b = Statistics(straight), Statistics(other)
    for metric in METRICS:
        assert a.number("gate", metric) == b.number("gate", metric)
        assert a.change(metric, "gate", "outcome") == b.change(metric, "gate", "outcome")
    assert a.mode("gate", "drop") == b.mode("gate", "drop")


def test_parts_add_up_to_the_whole() -> None:
    moved = [
        v.model_copy(update={"tasks": tuple(
            t.model_copy(update={"site": "maple" if t.seed > 2 else "larch"}) for t in v.tasks
        )})
        for v in three().variants
    ]  # fmt: skip
    loop = three().model_copy(update={"variants": tuple(moved)})
    sites = by_site(loop)
    assert {name: len(s.keys) for name, s in sites.items()} == {"larch": 2, "maple": 2}
    assert sites["maple"].number("outcome", "success").value == pytest.approx(0.5)
    novelty = by_novelty(loop)
    assert {name: [k[1] for k in s.keys] for name, s in novelty.items()} == {
        "items seen in training": [1, 3], "held-out items": [2, 4],
    }  # fmt: skip


def test_results_come_back_from_the_disk_as_they_were(tmp_path: Path) -> None:
    loop = three(comparisons=(Comparison(new="gate", old="outcome", bars=GATE_BARS),))
    write_json(loop, tmp_path / "closed_loop.json")
    assert read(tmp_path / "closed_loop.json") == loop


def test_faults_of_a_file_are_one_line(tmp_path: Path) -> None:
    document = json.loads(three().to_json())
    document["plain"] = "palin"
    path = tmp_path / "closed_loop.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(DataError, match=r"closed_loop\.json.*no variant has the key 'palin'"):
        read(path)
    document["plain"] = "plain"
    document["variants"][0]["tasks"].append(document["variants"][0]["tasks"][0])
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(DataError, match="seed 1 twice"):
        read(path)


def test_rows_keep_what_the_loop_says() -> None:
    ran = TaskResult(
        "larch", "can", 7, True, "success", 9.12345,
        (
            Attempt(1, 0.0, 3.5, "interrupted", "risk_alarm", True, "drop", 3.0004,
                    (("drop", 3.2),), 0.7),
            Attempt(2, 5.0, 9.0, "success", "success", False, "", None, (), 0.1),
        ),
    )  # fmt: skip
    row = task_row(ran)
    assert (row.retries, row.drops, row.duration) == (ran.retries, 1, 9.123)
    assert row.first is not None
    assert (row.first.alarm, row.first.stopped, row.first.mode) == (3.0, True, "drop")
    assert not row.first_succeeded
    other = TaskResult("ash", "can", 8, True, "success", 1.0, ())
    assert [r.site for r in task_rows([ran, other])] == ["ash", "larch"]


def test_films_are_chosen_of_good_and_bad_alike() -> None:
    found = {c.why: (c.seed, c.variants) for c in choose(three(), "gate", "outcome")}
    assert found["A drop, caught in time"] == (3, ("outcome", "gate"))
    assert found["A false stop"] == (1, ("outcome", "gate"))
    assert found["A task without trouble"] == (2, ("gate",))
    assert len(choose(three(), "gate", "outcome", most=1)) == 1
