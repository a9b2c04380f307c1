"""The closed-loop report opens from disk, says what the results say, and touches no network."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pro_ros.cell.report import render, write_report
from pro_ros.cell.results import (
    GATE_BARS,
    ClosedLoop,
    Comparison,
    RiskBar,
    RiskCurve,
    RiskPoint,
    Setup,
    Variant,
)
from pro_ros.cell.rows import AttemptRow, FailureRow, Film, FilmEvent, Phase, TaskRow
from pro_ros.errors import StorageError
from pro_ros.evaluation.results import Number

SCRIPT = "</script><script>alert(1)</script>"


class Page(HTMLParser):
    """Elements with their attributes, texts of scripts, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._script: str | None = None
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {k: v or "" for k, v in attrs}
        self.elements.append((tag, known))
        self._open = tag
        self._script = known.get("id") if tag == "script" else None

    def handle_endtag(self, tag: str) -> None:
        self._open, self._script = "", None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        elif self._open not in ("script", "style"):
            self.text += data


def attempt(outcome: str, alarm: float | None = None, drop: float | None = None) -> AttemptRow:
    return AttemptRow(
        number=1, begin=0.0, end=5.0, outcome=outcome, cause="risk_alarm" if alarm else "success",
        stopped=alarm is not None, mode="drop" if alarm else "", alarm=alarm,
        failures=() if drop is None else (FailureRow(mode="drop", at=drop),),
    )  # fmt: skip


def task(seed: int, first: AttemptRow, success: bool, attempts: int = 1) -> TaskRow:
    rows = [first.model_copy(update={"number": k + 1}) for k in range(attempts)]
    return TaskRow(site="larch" if seed < 3 else "maple", sku="can", seed=seed, success=success,
                   reason="success", duration=6.0 * attempts, attempts=tuple(rows))  # fmt: skip


DONE, DROPPED = attempt("success"), attempt("failure", drop=4.0)
STOPPED = attempt("interrupted", alarm=2.5)


def film(seed: int = 3, video: bytes = b"pictures", **more: object) -> Film:
    rows = (0.1, None, 0.9)
    return Film(
        variant="gate", task=task(seed, STOPPED, True, 2), prompt=f"pick the can {SCRIPT}",
        video=base64.b64encode(video).decode(), video_type="video/webm" if video else "",
        begins=-0.4, step=1 / 30,
        traces=dict.fromkeys(("vacuum", "force", "torque", "score", "value", "success",
                               "termination"), rows),
        modes={"drop": rows}, horizon=2.0, threshold=0.4,
        events=(FilmEvent(at=2.5, kind="alarm", text="alarm: drop"),),
        phases=(Phase(begin=0.0, end=2.5, kind="attempt", text="attempt 1"),),
        caption=("First attempt: the gate stops the arm.",), **more,
    )  # type: ignore[arg-type]  # fmt: skip


def loop(**more: object) -> ClosedLoop:
    plain = (task(1, DONE, True), task(2, DONE, True), task(3, DROPPED, False),
             task(4, DROPPED, False))  # fmt: skip
    outcome = (*plain[:2], task(3, DROPPED, True, 3), task(4, DROPPED, False, 3))
    gate = (*plain[:2], task(3, STOPPED, True, 2), task(4, STOPPED, True, 2))
    number = Number(value=0.7, low=0.6, high=0.8)
    curve = RiskCurve(
        name="PRO", target="drop", horizon=2.0, hours=0.5, events=9, rates=(0.0, 2.0, 8.0),
        recalls=(0.0, 0.5, 0.9), note="swept on these data",
        points=(RiskPoint(asked=6.0, threshold=0.3, rate=2.0, recall=number, lead_median=number,
                          lead_p10=Number(value=None, reason="none"), lead_s=(0.4, 1.2)),),
    )  # fmt: skip
    fields: dict[str, object] = {
        "setup": Setup(sites=("larch", "maple"), held_out_items=("felt_pouch",), seeds=(1, 4),
                       model_id="model-7", trained_on="900 attempts", command="run it",
                       resamples=50, simulated_hours=1.5, wall_s=120, cores=2,
                       notes=(f"a note {SCRIPT}",)),
        "variants": (
            Variant(key="plain", letter="a", name="plain policy", tasks=plain),
            Variant(key="outcome", letter="b", name="outcome only", tasks=outcome),
            Variant(key="gate", letter="d", name="PRO gate", ours=True, tasks=gate),
        ),
        "comparisons": (Comparison(new="gate", old="outcome", bars=GATE_BARS),),
        "risk": (curve,),
        "risk_bars": (RiskBar(name="PRO", target="drop", horizon=2.0, asked=6.0, recall=0.8),
                      RiskBar(name="PRO", target="jam", horizon=2.0, asked=6.0, recall=0.8)),
        "films": (film(), film(1)),
        **more,
    }  # fmt: skip
    return ClosedLoop.model_validate(fields)


@pytest.fixture(scope="module")
def text() -> str:
    return render(loop())


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert "srcset" not in attributes
        assert attributes.get("src", "data:").startswith("data:")
        if tag == "a":
            assert attributes["href"].startswith("#")
    policy = next(a["content"] for _, a in page.elements if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert "media-src data:" in policy


def test_every_placeholder_is_filled(text: str) -> None:
    for left in ("{{", "{%", "%}", "Undefined"):
        assert left not in text
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text).lower().split()
    assert "None" not in Page(text).text


def test_every_place_that_is_linked_is_there(page: Page) -> None:
    places = {a["id"] for _, a in page.elements if "id" in a}
    links = {a["href"][1:] for tag, a in page.elements if tag == "a"}
    assert links <= places
    drawn = [a["data-film"] for _, a in page.elements if "data-film" in a]
    assert len(drawn) == len(set(drawn)) == 2
    assert {f"{name}-data" for name in drawn} <= set(page.scripts)


def test_bars_are_said_to_be_met_or_missed_in_plain_words(page: Page) -> None:
    said = " ".join(page.text.split())
    assert "(d) PRO gate against (b) outcome only: all 4 bars are met." in said
    assert "found 0.70 [0.60, 0.80]: MISSED." in said
    jams = "recall of jams within 2 s at 6 false alarms per hour: asked 0.80: not measured."
    assert jams in said
    # Retries: from (2 + 2) / 4 to (1 + 1) / 4.
    assert re.search(r"Retries per task down by 30 % or more\s*1\.00.*?0\.50.*?−50 %", said)


def test_a_missed_comparison_is_called_so() -> None:
    worse = loop(comparisons=(Comparison(new="outcome", old="gate", bars=GATE_BARS),), films=())
    said = " ".join(Page(render(worse)).text.split())
    assert "(b) outcome only against (d) PRO gate: 0 of 4 bars are met." in said
    assert "✗ MISSED" in said


def test_captions_say_what_would_have_happened(page: Page) -> None:
    said = " ".join(page.text.split())
    assert "Left alone, the first attempt goes wrong 1.5 s after that: the item falls." in said
    assert "A false stop: left alone, the first attempt succeeds." in said


def test_no_text_of_the_data_ends_a_script(text: str, page: Page) -> None:
    assert SCRIPT not in text
    assert SCRIPT in page.text.replace("\n", "")
    data = json.loads(page.scripts["film-0-data"])
    assert data["traces"]["vacuum"] == [0.1, None, 0.9]
    assert data["names"] == {"drop": "drop"}


def test_the_video_is_in_the_page(page: Page) -> None:
    videos = [a["src"] for tag, a in page.elements if tag == "video"]
    assert videos == ["data:video/webm;base64," + base64.b64encode(b"pictures").decode()] * 2


def test_without_a_video_the_note_says_why() -> None:
    shown = Page(render(loop(films=(film(video=b"", note="No video: nothing can render."),))))
    assert not [tag for tag, _ in shown.elements if tag == "video"]
    assert "No video: nothing can render." in shown.text


def test_the_same_results_give_the_same_page(text: str) -> None:
    assert render(loop()) == text


def test_results_without_extras_give_a_page() -> None:
    bare = loop(comparisons=(), risk=(), risk_bars=(), films=())
    said = Page(render(bare.model_copy(update={"variants": bare.variants[:1]})))
    assert "plain policy" in said.text
    assert {"foresight", "films", "differences"}.isdisjoint(
        a.get("id", "") for _, a in said.elements
    )


def test_a_page_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    write_report(loop(), tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == render(loop())
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(StorageError, match=r"folder\.html"):
        write_report(loop(films=()), tmp_path / "folder.html")
    assert (tmp_path / "folder.html").is_dir()
