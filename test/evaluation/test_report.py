"""The report opens from disk, shows what the evaluation says, and never touches a network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest

from pro_ros.errors import StorageError
from pro_ros.evaluation import timelines as timelines_module
from pro_ros.evaluation.evaluate import evaluate
from pro_ros.evaluation.plots_timeline import shared_axis, timeline_figure
from pro_ros.evaluation.report import render, write_report
from pro_ros.evaluation.results import Evaluation, Settings
from pro_ros.evaluation.table import EvaluationItem
from pro_ros.evaluation.timelines import Timelines, timelines

MODES = ("drop", "jam")
HORIZONS = (1.0, 3.0)


class Page(HTMLParser):
    """Elements with their attributes, and the texts of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: dict[str, str] = {}
        self._script: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {k: v or "" for k, v in attrs}
        self.elements.append((tag, known))
        self._script = known.get("id") if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data


@pytest.fixture(scope="module")
def evaluation(items: list[EvaluationItem]) -> Evaluation:
    return evaluate(
        items, MODES, HORIZONS, settings=Settings(resamples=50), model="operator-1",
        dataset="two sites", command="pro-ros evaluate checkpoint data",
    )  # fmt: skip


@pytest.fixture(scope="module")
def drawn(items: list[EvaluationItem], evaluation: Evaluation) -> Timelines:
    return timelines(items, evaluation)


@pytest.fixture(scope="module")
def text(evaluation: Evaluation, drawn: Timelines) -> str:
    return render(evaluation, drawn)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert "src" not in attributes
        assert "srcset" not in attributes
        if tag == "a":
            assert attributes["href"].startswith("#")
    policy = next(a["content"] for _, a in page.elements if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_plotly_is_embedded_once(text: str) -> None:
    assert text.count("plotly.js v") == 1


def test_every_link_leads_somewhere(page: Page) -> None:
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for tag, a in page.elements if tag == "a"}
    assert links <= set(ids)
    assert {"summary", "timelines", "modes", "alarms", "worst", "parts"} <= links


def test_every_figure_is_valid_and_has_its_place(page: Page) -> None:
    places = [a["data-figure"] for _, a in page.elements if "data-figure" in a]
    assert len(places) > 20
    for place in places:
        figure = shared_axis(json.loads(page.scripts[f"{place}-data"]))
        go.Figure(data=figure["data"], layout=figure["layout"])
        assert figure["data"]


def test_numbers_stand_beside_their_intervals_and_rivals(
    text: str, evaluation: Evaluation
) -> None:
    metric = evaluation.find("risk_auroc", "any", 3.0)
    assert metric is not None
    for score in metric.scores:
        n = score.number
        assert n.value is not None
        assert f"{n.value:.3f}" in text
        assert f"[{n.low:.3f}, {n.high:.3f}]" in text
    for line in evaluation.caveats:
        assert line.replace("'", "&#39;") in text
    assert "pro-ros evaluate checkpoint data" in text


def test_a_clear_difference_is_marked_and_none_is_not(page: Page, text: str) -> None:
    row = re.search(r"<tr><th[^>]*>AUROC ↑.*?</tr>", text, re.DOTALL)
    assert row is not None
    cells = re.findall(r"<td.*?</td>", row.group(), re.DOTALL)
    assert "▲" not in cells[0]
    assert "▲" in cells[1]
    assert "▲" not in cells[2]
    assert "▼" not in cells[2]


def test_the_same_input_gives_the_same_bytes(
    items: list[EvaluationItem], evaluation: Evaluation, text: str
) -> None:
    assert render(evaluation, timelines(items, evaluation)) == text


def test_text_from_the_data_cannot_become_markup(
    evaluation: Evaluation, items: list[EvaluationItem]
) -> None:
    evil = "</script><script>alert(1)</script>"
    first = items[0].sequence
    episodes = tuple(e.model_copy(update={"id": evil}) for e in first.episodes)
    sequence = replace(first, id=evil, episodes=episodes)
    changed = evaluation.model_copy(update={"model": evil, "mistakes": ()})
    found = render(changed, timelines([replace(items[0], sequence=sequence)], changed))
    assert evil not in found
    assert "alert(1)" in found


def test_writing_is_all_or_nothing(
    evaluation: Evaluation, drawn: Timelines, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    write_report(evaluation, drawn, path)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    folder = tmp_path / "folder.html"
    folder.mkdir()
    with pytest.raises(StorageError, match=r"folder\.html"):
        write_report(evaluation, drawn, folder)
    assert not list(folder.iterdir())


def test_an_evaluation_without_failure_modes_or_rivals_has_a_report(
    make_case: Callable, make_judgement: Callable
) -> None:
    case = make_case(0, 8, modes=())
    item = EvaluationItem(case.sequence, case.labels, make_judgement(case, modes=()))
    found = evaluate([item], (), HORIZONS, settings=Settings(resamples=20))
    page = Page(render(found, timelines([item], found)))
    ids = {a.get("id") for _, a in page.elements}
    assert {"summary", "timelines", "episodes"} <= ids
    assert "modes" not in ids


def test_a_long_recording_is_thinned_but_keeps_peaks_and_alarms(
    make_case: Callable, make_judgement: Callable
) -> None:
    case = make_case(0, 500)
    said = make_judgement(case)
    item = EvaluationItem(case.sequence, case.labels, said)
    found = evaluate([item], MODES, HORIZONS, settings=Settings(resamples=20))
    drawn = timelines([item], found)
    line = drawn.whole[0]
    assert line.steps == len(case.sequence) == 20_000
    assert len(line.t_s) < 1.5 * timelines_module.MOST_STEPS + len(line.alarms)
    assert line.risk["any"].max() == said.risk[:, 1].max()
    assert line.value.min() == said.value.min()
    assert line.value.max() == said.value.max()
    assert line.alarms
    assert {a.at_s for a in line.alarms} <= set(line.t_s)
    text = render(found, drawn)
    assert len(text.encode()) < 10_000_000
    assert "20,000 steps are drawn" in text


def test_alarms_are_drawn_as_true_or_false(items: list[EvaluationItem], drawn: Timelines) -> None:
    item, line = items[0], drawn.whole[0]
    seconds = (item.sequence.t_ns - item.sequence.t_ns[0]) / 1e9
    for alarm in line.alarms:
        row = int(np.searchsorted(seconds, alarm.at_s))
        assert alarm.true == bool(item.labels.any_within[row, 1])
    names = [t["name"] for t in timeline_figure(line)["data"]]
    assert names[0].startswith(("alarm", "false alarm"))


def test_there_is_a_close_up_of_every_mistake(evaluation: Evaluation, drawn: Timelines) -> None:
    assert evaluation.mistakes
    for mistake, close in zip(evaluation.mistakes, drawn.close, strict=True):
        assert close.focus_s == mistake.at_s
        assert close.t_s[0] <= mistake.at_s <= close.t_s[-1] + 1.0
        assert len(close.t_s) < 200
