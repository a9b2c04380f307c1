from __future__ import annotations

import pytest

from pro_ros.config import load_model
from pro_ros.errors import SpecError
from pro_ros.streams.spec import RobotSpec, load_spec

GOOD = """
format: pro_ros/streams/1
robot: arm
step: {on: force}
gap: 1.0
streams:
  force:
    modality: telemetry
    topic: /wrench
    type: geometry_msgs/msg/WrenchStamped
    rate: 500
    features:
      - {name: force, field: wrench.force, names: [x, y, z], unit: N}
"""


def write(tmp_path, text):
    path = tmp_path / "streams.yaml"
    path.write_text(text)
    return path


def test_a_key_named_on_is_not_read_as_true(tmp_path):
    assert load_spec(write(tmp_path, GOOD)).step.on == "force"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("robot: arm", "robott: arm", ["unknown key 'robott'", "did you mean 'robot'"]),
        ("rate: 500", "raet: 500", ["streams.force.raet", "did you mean 'rate'"]),
        ("unit: N", "unitt: N", ["streams.force.features[0].unitt", "did you mean 'unit'"]),
        ("rate: 500", "rate: -1", ["streams.force.rate", "greater than 0", "got -1"]),
        ("on: force", "on: forse", ["unknown stream 'forse'", "did you mean 'force'"]),
        ("gap: 1.0", "", ["missing key 'gap'"]),
        ("streams/1", "streams/9", ["format", "pro_ros/streams/1", "got 'pro_ros/streams/9'"]),
        ("gap: 1.0", "gap: .nan", ["gap"]),
        ("gap: 1.0", "gap: [", [":7: not valid yaml"]),
    ],
)
def test_a_faulty_file_gives_one_line_that_names_the_place(tmp_path, old, new, words):
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    for word in words:
        assert word in line


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"nowhere.yaml: cannot be read: No such file"):
        load_model(tmp_path / "nowhere.yaml", RobotSpec)


def test_a_file_that_is_no_mapping_is_refused(tmp_path):
    with pytest.raises(SpecError, match="expected a mapping"):
        load_spec(write(tmp_path, "- a\n- b\n"))
