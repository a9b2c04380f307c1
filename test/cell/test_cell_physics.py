"""The lip, the pump and the sensors behave as those of a real gripper."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pro_ros.cell import arm
from pro_ros.cell.catalogue import load_catalogue
from pro_ros.cell.cell import REST, Cell
from pro_ros.cell.sensors import NS, STEP_NS, Delay, Reading, Switch
from pro_ros.cell.tasks import FLOOR, SOURCE, TARGET, TOTE, draw_task
from pro_ros.cell.vacuum import BLOW, HOLD, SUCK, Pump, Vacuum
from pro_ros.errors import SpecError

PUMP = Pump(flow=8e-4, deepest=75000.0)
AREAS = st.floats(0.0, 2e-5)
POROSITIES = st.floats(0.0, 2e-8)


@given(x=st.floats(0.3, 0.7), y=st.floats(-0.5, 0.5), z=st.floats(0.03, 0.4),
       yaw=st.floats(-1.5, 1.5))  # fmt: skip
def test_joints_lead_back_to_the_pose_they_were_found_for(
    x: float, y: float, z: float, yaw: float
) -> None:
    assert arm.forward(arm.inverse(x, y, z, yaw)) == pytest.approx((x, y, z, yaw), abs=1e-9)


# The pump


@given(area=AREAS, porosity=POROSITIES)
def test_the_vacuum_settles_where_the_pump_and_the_leaks_are_equal(
    area: float, porosity: float
) -> None:
    vacuum = Vacuum(PUMP)
    for _ in range(3000):
        vacuum.step(0.002, SUCK, area, porosity)
    sucked = PUMP.flow * (1.0 - vacuum.depth / PUMP.deepest)
    assert sucked == pytest.approx(vacuum.leak(area, porosity), abs=2e-3 * PUMP.flow)
    assert vacuum.depth == pytest.approx(vacuum.steady(area, porosity), rel=0.02, abs=50.0)


@given(area=AREAS, porosity=POROSITIES, more=st.floats(1e-7, 1e-5))
def test_a_larger_leak_costs_vacuum(area: float, porosity: float, more: float) -> None:
    vacuum = Vacuum(PUMP)
    assert vacuum.steady(area + more, porosity) <= vacuum.steady(area, porosity)


def test_a_sealed_cup_loses_its_vacuum_slowly_when_held_and_at_once_when_blown() -> None:
    held, blown = Vacuum(PUMP), Vacuum(PUMP)
    for vacuum in (held, blown):
        for _ in range(1000):
            vacuum.step(0.002, SUCK, 0.0, 0.0)
    for _ in range(50):
        held.step(0.002, HOLD, 0.0, 0.0)
        blown.step(0.002, BLOW, 0.0, 0.0)
    assert 0.3 * PUMP.deepest < held.depth < 0.6 * PUMP.deepest
    assert blown.depth < 0.0
    assert blown.pressure > PUMP.ambient


# The cell


def run(cell: Cell, seconds: float, velocity: Any = REST, valve: int = HOLD) -> list[Reading]:
    cell.command(velocity, valve)
    begun = cell.now_ns
    said: list[Reading] = []
    while cell.now_ns < begun + seconds * NS:
        said += cell.advance()
    return said


@pytest.fixture
def cell() -> Cell:
    pytest.importorskip("mujoco", reason="the cell needs mujoco")
    catalogue = load_catalogue()
    return Cell(catalogue, draw_task(catalogue, "ash", 4, ("tissue_box",)))


def newest(said: list[Reading], kind: str) -> Any:
    return [r for r in said if r.kind == kind][-1].values


def over_the_item(cell: Cell) -> tuple[float, float, float]:
    """Move the tool above the ordered item; its place as vision says."""
    assert cell.look()
    said = run(cell, 0.4)
    x, y, z, _ = newest(said, "item_pose")
    at = arm.forward(newest(said, "joints")[:5])
    run(cell, 1.0, (x - at.x, y - at.y, 0.0, 0.0))
    said = run(cell, 0.3)
    at = arm.forward(newest(said, "joints")[:5])
    run(cell, 1.0, (0.0, 0.0, z + 0.015 - at.z, 0.0), SUCK)
    return x, y, z


def test_a_pick_shows_in_vacuum_wrench_switch_and_scales(cell: Cell) -> None:
    said = run(cell, 0.4)
    full, empty = newest(said, "scale_source")[0], newest(said, "vacuum")[0]
    assert newest(said, "part_present") == (0.0,)
    over_the_item(cell)
    run(cell, 0.4, (0.0, 0.0, -0.08, 0.0), SUCK)
    said = run(cell, 0.4, REST, SUCK)
    assert newest(said, "part_present") == (1.0,)
    unseated = newest(said, "vacuum")[0]
    said = run(cell, 0.6, REST, SUCK)
    # Pressing on seats the lip.
    assert newest(said, "vacuum")[0] < min(unseated - 5000.0, empty - 30000.0)
    pressing = np.mean([r.values[2] for r in said if r.kind == "wrench"])
    run(cell, 0.7, (0.0, 0.0, 0.25, 0.0), SUCK)
    said = run(cell, 0.6, REST, SUCK)
    hanging = np.mean([r.values[2] for r in said if r.kind == "wrench"])
    weight = 9.81 * cell.task.things[0].mass
    # The item presses on the tool before it is lifted, and hangs on it after.
    assert pressing > 3.0
    assert hanging == pytest.approx(-weight, abs=1.5)
    assert full - newest(said, "scale_source")[0] == pytest.approx(weight / 9.81, abs=0.02)


def test_a_cup_over_nothing_gathers_no_vacuum(cell: Cell) -> None:
    said = run(cell, 1.0, REST, SUCK)
    assert newest(said, "part_present") == (0.0,)
    assert newest(said, "vacuum")[0] > cell.site.ambient - 3000.0


def test_pressing_on_does_not_force_the_robot_to_stop(cell: Cell) -> None:
    over_the_item(cell)
    run(cell, 2.0, (0.0, 0.0, -0.06, 0.0), SUCK)
    assert cell.stopped == ""


def test_driving_into_the_rim_stops_the_robot(cell: Cell) -> None:
    rim = SOURCE[1] + TOTE[1] / 2
    run(cell, 1.0, (0.08, (rim - 0.06), 0.0, 0.0))
    run(cell, 1.0, (0.0, 0.0, -0.25, 0.0))
    said = run(cell, 1.0, (0.0, 0.8, 0.0, 0.0))
    assert cell.stopped
    assert newest(said, "protective_stop") == (1.0,)
    cell.release_stop()
    assert newest(run(cell, 0.1), "protective_stop") == (0.0,)


def test_readings_come_in_order_of_receipt_and_not_before_they_were_measured(cell: Cell) -> None:
    said = run(cell, 1.0, (0.0, -0.2, 0.0, 0.0), SUCK)
    receipts = [r.receipt_ns for r in said]
    assert receipts == sorted(receipts)
    assert all(r.stamp_ns <= r.receipt_ns for r in said)
    stamps = [r.stamp_ns for r in said if r.kind == "wrench"]
    assert set(np.diff(stamps)) == {STEP_NS}


# Sensors


def test_a_switch_closes_and_opens_at_two_levels() -> None:
    site = load_catalogue().site("ash")
    switch = Switch(site)
    between = 0.5 * (site.switch_on + site.switch_off)
    levels = (between, site.switch_on + 1, between, site.switch_off - 1, between)
    assert [switch.read(level) for level in levels] == [False, True, True, False, False]


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_messages_never_overtake(seed: int, blocks: int) -> None:
    delay = Delay(np.random.default_rng(seed), 1e-3, 5e-3)
    received: list[int] = []
    for block in range(blocks):
        stamps = np.arange(block * 10, block * 10 + 10, dtype=np.int64) * STEP_NS
        received += delay.receipts(stamps).tolist()
    assert received == sorted(received)


# Tasks


@given(seed=st.integers(0, 10**6), site=st.sampled_from(sorted(load_catalogue().sites)))
def test_every_item_of_a_task_lies_in_the_source_tote(seed: int, site: str) -> None:
    catalogue = load_catalogue()
    task = draw_task(catalogue, site, seed, catalogue.site(site).items)
    assert task == draw_task(catalogue, site, seed, catalogue.site(site).items)
    assert task.things[0].sku == task.sku
    for thing in task.things:
        assert abs(thing.x - SOURCE[0]) < TOTE[0] / 2
        assert abs(thing.y - SOURCE[1]) < TOTE[1] / 2
        assert thing.z > FLOOR
        assert thing.mass == pytest.approx(thing.item.mass, rel=0.151)


def test_training_tasks_order_no_item_that_is_held_out() -> None:
    catalogue = load_catalogue()
    for site in catalogue.training_sites():
        drawn = {draw_task(catalogue, site, seed).sku for seed in range(60)}
        assert drawn.isdisjoint(catalogue.held_out.items)
        assert drawn == set(catalogue.training_items(site))


@pytest.mark.parametrize(
    ("site", "items", "line"),
    [
        ("asch", None, "unknown site 'asch': did you mean 'ash'?"),
        ("ash", ("tee_box",), "unknown item 'tee_box': did you mean 'tea_box'?"),
        ("ash", ("toner",), "site 'ash' has no item 'toner'"),
    ],
)
def test_an_unknown_site_or_item_is_one_line(
    site: str, items: tuple[str, ...] | None, line: str
) -> None:
    with pytest.raises(SpecError) as error:
        draw_task(load_catalogue(), site, 0, items)
    said = str(error.value)
    assert "\n" not in said
    assert said.startswith(line.split(":")[0])


def test_the_totes_are_within_reach() -> None:
    for centre in (SOURCE, TARGET):
        for sx in (-1, 1):
            for sy in (-1, 1):
                corner = (centre[0] + sx * TOTE[0] / 2, centre[1] + sy * TOTE[1] / 2)
                joints = arm.inverse(*corner, FLOOR, 0.0)
                assert math.dist(arm.forward(joints)[:2], corner) < 1e-6
