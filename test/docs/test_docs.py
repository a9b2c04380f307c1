"""The documentation says what the code does: keys, defaults, options, fields, links."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pro_ros.cell import catalogue as cell_catalogue
from pro_ros.cli.main import app
from pro_ros.config import StrictModel, load_model
from pro_ros.episodes import labels, manifest
from pro_ros.errors import ProError
from pro_ros.evaluation.definitions import DEFINITIONS
from pro_ros.gate import config as gate_config
from pro_ros.interfaces import NAMES, message_text
from pro_ros.model import calibration, checkpoint, scorer, scorer_config
from pro_ros.model import config as model_config
from pro_ros.nodes.parameters import Parameter
from pro_ros.streams import spec
from pro_ros.training import config as training_config

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [ROOT / "README.md", *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md")],
    key=lambda p: p.relative_to(ROOT).as_posix(),
)
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]

FILES = {
    "streams.md": {
        "Top level": spec.RobotSpec,
        "`step`": spec.StepSpec,
        "`streams.<name>`": spec.StreamSpec,
        "`features`": spec.FeatureSpec,
        "`vacuum`": spec.VacuumSpec,
        "`summaries`": spec.SummarySpec,
        "`image`": spec.ImageSpec,
        "`events.<name>`": spec.EventSpec,
        "`episodes`": spec.EpisodesSpec,
        "`episodes.outcome`": spec.OutcomeSpec,
        "`table`": spec.TableSpec,
    },
    "training.md": {
        "Top level": training_config.TrainingConfig,
        "`split`": training_config.SplitConfig,
        "`reward`": labels.RewardConfig,
        "`loss`": training_config.LossConfig,
        "`comparison`": training_config.ComparisonConfig,
        "`optimiser`": training_config.OptimiserConfig,
        "`model`": model_config.OperatorConfig,
        "`model.numeric`": model_config.NumericEncoderConfig,
        "`model.visual`": model_config.VisualEncoderConfig,
        "`model.text`": model_config.TextEncoderConfig,
        "`model.temporal`": model_config.TemporalConfig,
        "`calibration`": training_config.CalibrationConfig,
        "`calibration.alarms[]`": training_config.AlarmRequest,
        "`scoring`": scorer_config.ScoringConfig,
    },
    "gate.md": {
        "Top level": gate_config.GateConfig,
        "`limits`": gate_config.LimitsConfig,
        "`freshness`": gate_config.FreshnessConfig,
        "`alarm`": gate_config.AlarmConfig,
        "`ending`": gate_config.EndingConfig,
        "`verification`": gate_config.VerificationConfig,
        "`causes`": gate_config.CausesConfig,
    },
    "cell.md": {
        "Top level": cell_catalogue.Catalogue,
        "`held_out`": cell_catalogue.HeldOut,
        "`sites.<name>`": cell_catalogue.Site,
        "`items.<name>`": cell_catalogue.Item,
    },
}
"""Sections with a table of keys and defaults, and the model behind each."""

DOCUMENTS = {
    "episodes.md": {
        "`manifest.json`": manifest.Manifest,
        "`recordings[]`": manifest.RecordingEntry,
        "`episodes[]`": manifest.Episode,
        "`events[]`": manifest.Event,
    },
    "checkpoint.md": {
        "`checkpoint.json`": checkpoint.CheckpointDocument,
        "`calibration`": calibration.Calibration,
        "`calibration.alarms[]`": calibration.AlarmThreshold,
        "`scorer.json`": scorer.ScorerDocument,
        "`evidence.<output>`": scorer.Evidence,
        "`support`": scorer.SupportFacts,
    },
}
"""Sections with a table of keys alone."""


def cases(files: dict[str, dict[str, type[BaseModel]]]) -> list[Any]:
    return [
        pytest.param(page, section, model, id=f"{page}:{section}")
        for page, sections in files.items()
        for section, model in sections.items()
    ]


def section_of(page: str, title: str) -> str:
    """Text below a heading, up to the next one of any level."""
    text = without_code((DOCS / page).read_text(encoding="utf-8"))
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", text, re.M | re.S)
    assert found, f"{page} has no section '{title}'"
    return found[1]


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def rows_of(text: str, header: str) -> list[list[str]]:
    """Cells of the first table whose header line begins with ``| <header>``."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(f"| {header} "):
            break
    else:
        raise AssertionError(f"no table '{header}' in: {text[:80]}")
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip().strip("|").split(" | ")])
    return rows


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def default_of(field: FieldInfo) -> str:
    """A default as the pages write it."""
    value = field.get_default(call_default_factory=True)
    if field.is_required():
        return "required"
    if value is None:
        return "none"
    if isinstance(value, BaseModel) or value == gate_config.MODES:
        return "below"
    return shown(value)


def shown(value: Any) -> str:
    """A plain value as the pages write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}" if abs(value) < 1e5 else f"{value:.12g}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(f'{v:g}' if isinstance(v, float) else str(v) for v in value)}]"
    return str(value) or '""'


@pytest.mark.parametrize(("page", "section", "model"), cases(FILES))
def test_every_key_stands_on_its_page_with_its_default(
    page: str, section: str, model: type[StrictModel]
) -> None:
    rows = rows_of(section_of(page, section), "Key")
    said = {names(row[0])[0]: row[1].strip("`") for row in rows}
    assert said == {name: default_of(field) for name, field in model.model_fields.items()}


@pytest.mark.parametrize(("page", "section", "model"), cases(DOCUMENTS))
def test_every_key_of_a_written_document_stands_on_its_page(
    page: str, section: str, model: type[StrictModel]
) -> None:
    rows = rows_of(section_of(page, section), "Key")
    assert [n for row in rows for n in names(row[0])] == list(
        dict.fromkeys(n for row in rows for n in names(row[0]))
    )
    assert {n for row in rows for n in names(row[0])} == set(model.model_fields)


def choices(annotation: Any) -> Iterator[str]:
    """All texts that a type annotation allows by name."""
    for part in get_args(annotation):
        if isinstance(part, str):
            yield part
        else:
            yield from choices(part)


@pytest.mark.parametrize(("page", "section", "model"), cases(FILES))
def test_every_choice_of_a_key_stands_in_its_section(
    page: str, section: str, model: type[StrictModel]
) -> None:
    text = section_of(page, section)
    for name, field in model.model_fields.items():
        for choice in choices(field.annotation):
            assert re.search(rf"(?<![\w-]){re.escape(choice)}(?![\w-])", text), f"{name}: {choice}"


def parameters_of(command: Any) -> list[Any]:
    """Parameters of a command and, where it has any, of its sub-commands."""
    inner = getattr(command, "commands", {}).values()
    return [*command.params, *(p for sub in inner for p in parameters_of(sub))]


def options(command: Any) -> set[str]:
    return {
        option
        for parameter in parameters_of(command)
        if parameter.param_type_name == "option"
        for option in (*parameter.opts, *parameter.secondary_opts)
    } - {"--help", "-h"}


def test_every_command_has_a_page_and_every_page_a_command() -> None:
    assert {p.stem for p in (DOCS / "commands").glob("*.md")} == set(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_stands_on_the_page_of_its_command(name: str) -> None:
    text = (DOCS / "commands" / f"{name}.md").read_text(encoding="utf-8")
    rows = rows_of(text, "Option")
    assert {option for row in rows for option in names(row[0])} == options(COMMANDS[name])


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_defaults_of_options_are_those_of_the_command(name: str) -> None:
    text = (DOCS / "commands" / f"{name}.md").read_text(encoding="utf-8")
    said = {names(row[0])[0]: row[1].strip("`") for row in rows_of(text, "Option")}
    for parameter in parameters_of(COMMANDS[name]):
        if parameter.param_type_name != "option" or parameter.opts[0] not in said:
            continue
        shown = said[parameter.opts[0]]
        if parameter.required:
            assert shown == "required", parameter.opts[0]
        elif isinstance(parameter.default, bool) and not parameter.secondary_opts:
            assert shown == {False: "off", True: "on"}[parameter.default], parameter.opts[0]
        elif parameter.default and not isinstance(parameter.default, bool):
            default = getattr(parameter.default, "value", parameter.default)
            assert shown == str(default), parameter.opts[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_commands_in_examples_exist_with_their_options(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"^(?: {4,}|\t).*\bpro-ros\b.*$", text, re.M):
        for name, rest in re.findall(r"\bpro-ros (\w+)([^&|#]*)", line):
            assert name in COMMANDS, line
            for option in re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", rest):
                assert option in options(COMMANDS[name]), f"{option} in: {line}"


def message(name: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Fields as (name, type) and constants as (name, value), in order."""
    fields, constants = interface(message_text(name))
    assert fields
    return fields, constants


def interface(text: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The same of a message, or of half a service."""
    fields, constants = [], []
    for line in text.splitlines():
        parts = line.partition("#")[0].split()
        if len(parts) == 2 and "=" in parts[1]:
            constants.append((parts[1].partition("=")[0], parts[1].partition("=")[2]))
        elif len(parts) == 2:
            fields.append((parts[1], parts[0]))
    return fields, constants


@pytest.mark.parametrize("name", NAMES)
def test_every_field_and_constant_of_a_message_stands_on_its_page(name: str) -> None:
    text = section_of("messages.md", name)
    fields, constants = message(name)
    assert [(names(r[0])[0], r[1]) for r in rows_of(text, "Field")] == fields
    own = [c for c in constants if not c[0].startswith("VALIDITY_")]
    if own:
        assert [(names(r[0])[0], r[1]) for r in rows_of(text, "Constant")] == own
    shared = [c for c in constants if c[0].startswith("VALIDITY_")]
    if shared:
        bits = rows_of(section_of("messages.md", "Validity"), "Constant")
        assert [(names(r[0])[0], r[1]) for r in bits] == shared


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "srv").glob("*.srv")))
def test_every_field_and_constant_of_a_service_stands_on_its_page(name: str) -> None:
    text = section_of("messages.md", name)
    halves = (ROOT / "srv" / f"{name}.srv").read_text(encoding="utf-8").split("\n---\n")
    constants = []
    for header, half in zip(("Request", "Response"), halves, strict=True):
        fields, found = interface(half)
        constants += found
        assert [(names(r[0])[0], r[1]) for r in rows_of(text, header)] == fields
        for line in half.splitlines():
            assert not line.strip() or "#" in line or "=" in line, line
    if constants:
        assert [(names(r[0])[0], r[1]) for r in rows_of(text, "Constant")] == constants


def test_every_field_of_the_action_stands_on_its_page() -> None:
    text = section_of("messages.md", "ExecuteTask")
    parts = (ROOT / "action" / "ExecuteTask.action").read_text(encoding="utf-8").split("\n---\n")
    for header, part in zip(("Goal", "Result", "Feedback"), parts, strict=True):
        fields, _ = interface(part)
        assert [(names(r[0])[0], r[1]) for r in rows_of(text, header)] == fields


def test_the_table_of_causes_is_that_of_the_gate() -> None:
    rows = rows_of(section_of("gate.md", "What follows a cause"), "Cause")
    said = {names(row[1])[0]: names(row[2])[0] for row in rows}
    causes = gate_config.CausesConfig()
    actions = causes.model_dump(exclude={"modes", "suspect"})
    death = gate_config.GateConfig().on_monitor_death
    assert said == {**causes.modes, **actions, "on_monitor_death": death}


def page_of(node: str) -> str:
    """Page of a node, named as its module with or without ``_node``."""
    pages = [f"nodes/{name}.md" for name in (node, node.removesuffix("_node"))]
    return next((p for p in pages if (DOCS / p).exists()), pages[0])


def parameter_tables() -> list[Any]:
    """Every ``*_PARAMETERS`` table of a node, with the page of the node."""
    found = []
    for path in sorted((ROOT / "pro_ros" / "nodes").glob("*_parameters.py")):
        module = importlib.import_module(f"pro_ros.nodes.{path.stem}")
        page = page_of(path.stem.removesuffix("_parameters"))
        for name, table in vars(module).items():
            if name.endswith("_PARAMETERS"):
                found.append(pytest.param(page, table, id=f"{page}:{name}"))
    return found


@pytest.mark.parametrize(
    "path", sorted((ROOT / "pro_ros" / "nodes").glob("*_node.py")), ids=lambda p: p.stem
)
def test_every_topic_and_service_of_a_node_stands_on_its_page(path: Path) -> None:
    """Read from the source: the modules themselves need rclpy."""
    said = set(names(without_code((DOCS / page_of(path.stem)).read_text(encoding="utf-8"))))
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and re.match(r"(~/|/diagnostics)", str(node.value)):
            found.add(str(node.value))
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "OUTPUTS":
            assert isinstance(node.value, ast.Dict)
            found |= {f"~/{ast.literal_eval(key)}" for key in node.value.keys if key}
    assert found - {"~/"} <= said, f"{path.name}: {sorted(found - {'~/'} - said)}"


@pytest.mark.parametrize(("page", "table"), parameter_tables())
def test_every_parameter_of_a_node_stands_on_its_page(
    page: str, table: tuple[Parameter, ...]
) -> None:
    said = {
        names(row[0])[0]: (row[1].strip("`"), row[2], names(row[3]) or row[3], row[4])
        for row in rows_of(section_of(page, "Parameters"), "Parameter")
    }
    assert said == {
        p.name: (shown(p.default), p.unit or "–", range_of(p), p.changes) for p in table
    }


def range_of(parameter: Parameter) -> Any:
    if parameter.choices:
        return [choice for choice in parameter.choices if choice]
    if parameter.low is None or parameter.high is None:
        return "–"
    return f"{parameter.low:.12g} to {parameter.high:.12g}"


def test_replay_says_of_every_validity_bit_when_it_is_set() -> None:
    rows = rows_of(section_of("replay.md", "Validity"), "Bit")
    bits = {c.removeprefix("VALIDITY_") for c, _ in message("Assessment")[1]}
    assert {names(row[0])[0] for row in rows} == bits


def test_metrics_are_defined_as_the_report_defines_them() -> None:
    text = (DOCS / "evaluation.md").read_text(encoding="utf-8")
    arrows = {"higher": "↑", "lower": "↓", "neither": "–"}
    for key, said in DEFINITIONS.items():
        line = (
            f"| `{key}` | {said.label} | {arrows[said.better]} | {said.unit or '–'} "
            f"| {said.meaning} |"
        )
        assert line in text, key


def test_every_exit_code_stands_in_the_index() -> None:
    rows = rows_of(section_of("index.md", "Common to all commands"), "Exit code")
    said = {int(code) for row in rows for code in row[0].split(",")}
    assert {c.exit_code for c in (ProError, *ProError.__subclasses__())} <= said


def yaml_files() -> list[Any]:
    found = [
        pytest.param(path.read_text(encoding="utf-8"), id=path.relative_to(ROOT).as_posix())
        for path in sorted((ROOT / "examples").rglob("*.yaml"))
        if path.name != "metadata.yaml"
    ]
    for page in PAGES:
        blocks = re.findall(r"^```yaml\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
        found += [
            pytest.param(block, id=f"{page.relative_to(ROOT).as_posix()}#{number}")
            for number, block in enumerate(blocks)
            if "format: pro_ros/" in block
        ]
    return found


@pytest.mark.parametrize("text", yaml_files())
def test_every_file_that_is_shown_or_shipped_is_valid(text: str, tmp_path: Path) -> None:
    path = tmp_path / "shown.yaml"
    path.write_text(text, encoding="utf-8")
    models: dict[str, type[StrictModel]] = {
        spec.FORMAT: spec.RobotSpec,
        training_config.FORMAT: training_config.TrainingConfig,
        gate_config.FORMAT: gate_config.GateConfig,
        cell_catalogue.FORMAT: cell_catalogue.Catalogue,
    }
    named = re.search(r"^format: (\S+)$", text, re.M)
    assert named
    load_model(path, models[named[1]])


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as they are made on the web."""
    text = without_code(page.read_text(encoding="utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.M)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_internal_links_lead_somewhere(page: Path) -> None:
    text = without_code(page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", link):
            continue
        target, _, anchor = link.partition("#")
        place = (page.parent / target).resolve() if target else page
        assert place.exists(), link
        if anchor:
            assert anchor in anchors(place), link


def test_every_page_can_be_reached_from_the_index() -> None:
    reached: set[Path] = set()
    waiting = [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        text = without_code(page.read_text(encoding="utf-8"))
        links = re.findall(r"\]\(([^)#\s]+\.md)", text)
        local = [(page.parent / link).resolve() for link in links if "://" not in link]
        waiting += [p for p in local if p.is_relative_to(DOCS)]
    # The index links the folder of the benchmarks.
    pages = {p for p in PAGES if p.is_relative_to(DOCS) and p.parent.name != "benchmarks"}
    assert reached - set((DOCS / "benchmarks").glob("*.md")) == pages


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_pages_name_no_path_of_one_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"(?<![\w.])/(?:home|root|work|opt|Users|mnt)/\S*", text)
