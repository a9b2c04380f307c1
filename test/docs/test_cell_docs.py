"""docs/cell.md says what the cell is: its topics, what PRO reads of them, its numbers."""

from __future__ import annotations

import re
from pathlib import Path

from pro_ros.cell import policy, sensors, vacuum, world
from pro_ros.cell.bags import EVENT_TOPIC, TASK_TOPIC
from pro_ros.cell.judge import MODES, TOO_MUCH
from pro_ros.cell.loop import KINDS
from pro_ros.cell.messages import TOPICS
from pro_ros.episodes.marks import EVENT_TYPE, TASK_TYPE
from pro_ros.interfaces import message_text
from pro_ros.paths import share_file
from pro_ros.streams.spec import load_spec

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cell.md").read_text(encoding="utf-8")


def rows(header: str) -> list[list[str]]:
    """Cells of the table whose header line begins so."""
    table = PAGE.partition(f"| {header} |")[2].partition("\n\n")[0]
    lines = [line for line in table.splitlines()[2:] if line.startswith("|")]
    assert lines
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_topic_stands_in_the_table_with_whether_pro_reads_it() -> None:
    spec = load_spec(share_file("config/cell/streams.yaml"))
    read = {stream.topic for stream in spec.streams.values()}
    said = {}
    for topics, kind, _, answer, *_ in rows("Topic"):
        for topic in re.findall(r"`([^`]+)`", topics):
            said[topic] = (kind.strip("`"), answer)
    assert {topic: kind for topic, (kind, _) in said.items()} == {
        **dict(TOPICS.values()), EVENT_TOPIC: EVENT_TYPE, TASK_TOPIC: TASK_TYPE,
    }  # fmt: skip
    marks = {EVENT_TOPIC: "for learning", TASK_TOPIC: "yes"}
    camera = {TOPICS[sensors.CAMERA][0]: "on request"}
    for topic, (_, answer) in said.items():
        expected = {**marks, **camera}.get(topic, "yes" if topic in read else "no")
        assert answer == expected, topic


def test_every_failure_stands_with_its_kind_of_event() -> None:
    said = {row[0].strip("`"): row[1].strip("`") for row in rows("Failure | Kind of EpisodeEvent")}
    assert tuple(said) == MODES
    message = message_text("EpisodeEvent")
    for mode, kind in said.items():
        number = re.search(rf"^uint8 {kind}=(\d+)", message, re.M)
        assert number, kind
        assert int(number[1]) == KINDS[mode]


def test_numbers_on_the_page_are_those_of_the_code() -> None:
    text = " ".join(PAGE.split())
    for said in (
        f"{round(1 / world.TIMESTEP)} steps a second",
        f"C_d = {vacuum.DISCHARGE:g}, ρ = {vacuum.AIR_DENSITY:g} kg/m³",
        f"0: vents with {vacuum.Vacuum.VENT_TIME:g} s",
        f"with {vacuum.Vacuum.BLOW_TIME:g} s",
        f"chunks of {policy.CHUNK} actions at {1 / policy.PERIOD:g} Hz",
        f"of which {policy.EXECUTED} are carried out",
        f"says {TOO_MUCH:g} times the item's nominal mass",
        f"{sensors.WrenchSensor.TORQUE:g} m times that",
        f"takes {sensors.Vision.TAKES_NS / sensors.NS:g} s",
    ):
        assert said in text, said
    assert {8: "eight"}[world.PADS] in text
