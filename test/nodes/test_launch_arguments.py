"""What the launch files make of their arguments; nothing is started."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pro_ros.paths import share_file

SHARE = share_file("config").parent


def module_of(name: str) -> ModuleType:
    """A launch file as a module."""
    spec = importlib.util.spec_from_file_location(
        name.replace(".", "_"), share_file(f"launch/{name}.launch.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pro() -> Any:
    return module_of("pro")


def chosen(pro: Any, **given: str) -> dict[str, str]:
    arguments = {name: default for name, default, *_ in pro.ARGUMENTS}
    assert set(given) <= set(arguments)
    return dict(pro.choose(arguments | given, SHARE))


@pytest.fixture
def checkpoint() -> str:
    return str(SHARE / "examples/ur3_cobotops/checkpoint")


def test_the_shipped_example_needs_nothing_but_its_name(pro: Any, checkpoint: str) -> None:
    files = chosen(pro, robot="ur3_cobotops")
    assert files["checkpoint"] == checkpoint
    assert files["parameters"].endswith("ur3_cobotops/pro.yaml")


def test_the_monitor_reads_the_streams_of_the_checkpoint_unless_others_are_given(
    pro: Any, checkpoint: str, tmp_path: Path
) -> None:
    own = tmp_path / "streams.yaml"
    own.write_text("format: pro_ros/streams/1\n", encoding="utf-8")
    assert chosen(pro, robot="ur5e", checkpoint=checkpoint)["streams"] == ""
    assert chosen(pro, robot="ur5e", checkpoint=checkpoint, streams=str(own))["streams"] == str(
        own
    )
    preset = chosen(pro, robot="ur5e", checkpoint=checkpoint, streams="preset")["streams"]
    assert preset.endswith("config/robots/ur/streams.yaml")


def test_a_recorder_without_a_checkpoint_records_the_streams_of_the_preset(pro: Any) -> None:
    files = chosen(pro, robot="fr3", monitor="false", record="true")
    assert files["record"].endswith("config/robots/franka/streams.yaml")


def test_a_recorder_beside_a_monitor_records_what_the_checkpoint_reads(
    pro: Any, checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pro_ros.streams.spec import load_spec

    monkeypatch.setattr(pro.launch_config, "_log_dir", str(tmp_path))
    files = chosen(pro, robot="ur5e", checkpoint=checkpoint, record="true")
    assert load_spec(files["record"]) == load_spec(SHARE / "examples/ur3_cobotops/streams.yaml")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"robot": "ur5ee"}, r"unknown robot 'ur5ee'; did you mean 'ur5e'\? \(known: .*ur5e.*\)"),
        ({"robot": "zzz"}, r"unknown robot 'zzz' \(known: "),
        ({"robot": "ur5e"}, r"robot 'ur5e' has no checkpoint .* checkpoint:=/path/to/checkpoint"),
        ({}, r"give robot:=NAME and checkpoint:=/path/to/checkpoint"),
        ({"robot": "ur5e", "checkpoint": "/no"}, r"checkpoint:=/no: no such file or folder"),
        ({"robot": "ur3_cobotops", "streams": "no.yaml"}, r"streams:=no.yaml: no such file"),
        ({"robot": "ur3_cobotops", "params_file": "no.yaml"}, r"params_file:=no.yaml: no such"),
        ({"robot": "ur5e", "monitor": "false"}, r"leave nothing to start"),
        ({"monitor": "false", "record": "true"}, r"record:=true needs streams:=FILE"),
        ({"streams": "preset", "monitor": "false"}, r"streams:=preset needs robot:=NAME"),
    ],
)
def test_a_wrong_argument_is_one_line_that_names_it(
    pro: Any, given: dict[str, str], line: str
) -> None:
    with pytest.raises(RuntimeError, match=line) as caught:
        chosen(pro, **given)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_checkpoint_is_named_when_it_is_to_be_recorded(
    pro: Any, tmp_path: Path
) -> None:
    (tmp_path / "checkpoint.json").write_text(json.dumps({"streams": 1})[:5], encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"checkpoint\.json' cannot be read"):
        chosen(pro, checkpoint=str(tmp_path), record="true")


def documented(section: str) -> dict[str, str]:
    page = Path(__file__).resolve().parents[2] / "docs" / "nodes" / "launch.md"
    text = page.read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert found, section
    rows = re.findall(r"^\| `(\w+)` \| `?([^|`]*)`? \|", found[1], re.M)
    return {name: default.strip() for name, default in rows}


@pytest.mark.parametrize("name", ["pro", "demo", "gate", "gate_demo", "cell"])
def test_every_argument_stands_on_the_page_with_its_default(name: str) -> None:
    module: Any = module_of(name)
    arguments = {argument: default or "none" for argument, default, *_ in module.ARGUMENTS}
    assert documented(f"`{name}.launch.py`") == arguments


@pytest.mark.parametrize(
    ("text", "good"), [("20", True), ("0", False), ("fast", False), ("101", False)]
)
def test_the_rate_of_the_demo_is_a_number_in_its_range(text: str, good: bool) -> None:
    demo: Any = module_of("demo")
    if good:
        assert demo.number("rate", text, 0.01, demo.FASTEST) == float(text)
        return
    with pytest.raises(RuntimeError, match=f"rate:={text}: expected a number from 0.01 to 100"):
        demo.number("rate", text, 0.01, demo.FASTEST)
