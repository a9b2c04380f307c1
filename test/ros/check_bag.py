"""A bag that ``replay`` wrote is read, described, played and echoed by ROS 2's own tools.

    python3 test/ros/check_bag.py FOLDER

Run it with the built package sourced. FOLDER is made by ``make_samples.py``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import rosbag2_py
from pro_ros.msg import Assessment, Reward, Risk
from rclpy.serialization import deserialize_message, serialize_message

TYPES = {"/pro/assessment": Assessment, "/pro/risk": Risk, "/pro/reward": Reward}
LIMIT_S = 60


def main() -> None:
    """Check everything; the first difference ends with an AssertionError."""
    folder = Path(sys.argv[1])
    counts = json.loads((folder / "replayed.json").read_text(encoding="utf-8"))
    bag, before = folder / "replayed", folder / "recording"
    said = read(bag)
    assert said.pop("/wrench") == read(before)["/wrench"], "the input was changed"
    assessments, risks, rewards = (said[topic] for topic in TYPES)
    assert len(assessments) == len(risks) == counts["assessments"], "assessments are missing"
    assert len(rewards) == counts["assessments"] - 1, "rewards are missing"
    for (at, assessment), (_, risk) in zip(assessments, risks, strict=True):
        # As bytes: a threshold that is not set is NaN, which equals nothing.
        nested = serialize_message(assessment.risk)
        assert nested == serialize_message(risk), "Risk differs from the one in the Assessment"
        stamp = assessment.header.stamp
        assert stamp.sec * 10**9 + stamp.nanosec == at, "not on the recording's clock"
        assert assessment.validity & Assessment.VALIDITY_VALID, "not valid"
    check_info(bag, counts)
    check_play(bag)
    print(f"{bag.name}: {counts['assessments']} assessments read, described, played and echoed")


def read(bag: Path) -> dict[str, list[tuple[int, Any]]]:
    """Time [ns] and message (bytes, where the type is not ours) of each topic."""
    reader = rosbag2_py.SequentialReader()
    reader.open(
        rosbag2_py.StorageOptions(uri=str(bag), storage_id="mcap"),
        rosbag2_py.ConverterOptions("cdr", "cdr"),
    )
    found: dict[str, list[tuple[int, Any]]] = {}
    while reader.has_next():
        topic, raw, t_ns = reader.read_next()
        message = deserialize_message(raw, TYPES[topic]) if topic in TYPES else raw
        found.setdefault(topic, []).append((t_ns, message))
    return found


def check_info(bag: Path, counts: dict[str, int]) -> None:
    """``ros2 bag info`` names the topics with their types and counts."""
    text = ros2("bag", "info", str(bag)).stdout
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for topic, number in (("/wrench", counts["messages"]), ("/pro/risk", counts["assessments"])):
        line = next((n for n in lines if f"Topic: {topic} |" in n), "")
        assert f"Count: {number} " in line, f"ros2 bag info says of {topic}: '{line}'"


def check_play(bag: Path) -> None:
    """``ros2 topic echo`` hears what ``ros2 bag play`` plays."""
    echo = subprocess.Popen(
        ["ros2", "topic", "echo", "--no-daemon", "--once", "/pro/risk", "pro_ros/msg/Risk"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + LIMIT_S
        # A subscriber that is slow to start misses a run of two seconds: play it again.
        while echo.poll() is None and time.monotonic() < until:
            ros2("bag", "play", str(bag), "--delay", "1")
        out, err = echo.communicate(timeout=10)
    finally:
        echo.kill()
    for line in ("sequence: ", "alarm_threshold: ", "- hit"):
        assert line in out, f"ros2 topic echo gave no Risk: {out or err}"


def ros2(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a ``ros2`` command to its end."""
    done = subprocess.run(
        ["ros2", *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert not done.returncode, f"ros2 {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done


if __name__ == "__main__":
    main()
