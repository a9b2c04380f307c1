"""A film changes nothing of what it films, and shows what happened."""

from __future__ import annotations

import base64
import io
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from pro_ros.cell import film as film_module
from pro_ros.cell.captions import caption, events, phases
from pro_ros.cell.catalogue import load_catalogue
from pro_ros.cell.film import PICTURE_NS, FilmCamera, film
from pro_ros.cell.loop import INTERVENTION, TaskRun
from pro_ros.cell.movie import open_movie
from pro_ros.cell.rows import AttemptRow, FailureRow, Film, TaskRow, task_row
from pro_ros.cell.sensors import NS, Reading
from pro_ros.cell.tape import BEGINS_NS
from pro_ros.cell.tasks import draw_task
from pro_ros.cell.watchers import Threshold
from pro_ros.episodes.marks import BEGIN, END, EventMark, Mark
from pro_ros.errors import SpecError
from pro_ros.gate.config import load_gate_config
from pro_ros.paths import share_file

pytest.importorskip("mujoco", reason="the cell needs mujoco")

DEPTH = 80000.0
"""Deeper than any pump: it alarms half a second after each grip."""


def once() -> Any:
    """A gate with one attempt, to be quick."""
    gate = load_gate_config(share_file("config/cell/gate.yaml"))
    return gate.model_copy(update={"limits": gate.limits.model_copy(update={"max_attempts": 1})})


def task() -> Any:
    return draw_task(load_catalogue(), "ash", 5)


@pytest.fixture(scope="module")
def lens() -> None:
    try:
        FilmCamera().close()
    except SpecError as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="module")
def filmed(lens: None) -> Film:
    return film(load_catalogue(), task(), once(), Threshold(DEPTH), "threshold", title="a film",
                vacuum_threshold=DEPTH)  # fmt: skip


def pictures(video: bytes) -> list[Any]:
    av = pytest.importorskip("av", reason="videos need the package av")
    with av.open(io.BytesIO(video)) as container:
        return [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def test_what_happens_is_the_same_without_the_film(filmed: Film) -> None:
    told: list[Reading | Mark] = []
    result = TaskRun(
        load_catalogue(), task(), once(), Threshold(DEPTH), listener=told.append
    ).run()
    assert filmed.task == task_row(result)
    readings = sum(isinstance(t, Reading) and t.kind == "wrench" for t in told)
    assert readings > 500
    # The camera of the film publishes nothing.
    assert not any(isinstance(t, Reading) and t.kind == "camera" for t in told)


def test_the_video_is_small_and_as_long_as_the_traces(filmed: Film) -> None:
    assert filmed.video_type == "video/webm"
    video = base64.b64decode(filmed.video)
    assert len(video) < 300_000
    shown = pictures(video)
    length = len(filmed.traces["vacuum"]) * filmed.step
    assert len(shown) * PICTURE_NS / NS == pytest.approx(length, abs=0.15)
    times = [t for t, _ in shown]
    assert np.diff(times) == pytest.approx(PICTURE_NS / NS, abs=2e-3)
    # Something moves.
    change = np.abs(shown[0][1].astype(int) - shown[len(shown) // 2][1].astype(int))
    assert change.mean() > 1.0


def test_traces_show_the_grip_and_the_alarm(filmed: Film) -> None:
    vacuum = np.array([np.nan if v is None else v for v in filmed.traces["vacuum"]])
    t = filmed.begins + filmed.step * np.arange(len(vacuum))
    assert filmed.begins == BEGINS_NS / NS
    assert abs(np.nanmean(vacuum[t < 0.5])) < 2.0
    assert np.nanmax(vacuum) > 15.0
    first = filmed.task.first
    assert first is not None
    assert first.alarm is not None
    score = filmed.traces["score"]
    begins = next(k for k, v in enumerate(score) if v)
    assert t[begins] == pytest.approx(first.alarm, abs=0.07)
    assert {len(row) for row in filmed.traces.values()} == {len(vacuum)}
    # A threshold on the vacuum has no risk, and none is made up.
    assert filmed.modes == {}
    assert set(filmed.traces["value"]) == {None}
    assert filmed.threshold is None
    assert filmed.vacuum_threshold == 80.0


def test_the_stop_is_an_event_a_phase_and_a_sentence(filmed: Film) -> None:
    first = filmed.task.first
    assert first is not None
    alarm = next(e for e in filmed.events if e.kind == "alarm")
    assert alarm.at == first.alarm
    assert [p.kind for p in filmed.phases] == ["attempt", "stopping"]
    assert filmed.phases[0].end == pytest.approx(first.alarm, abs=0.05)
    assert "the vacuum has been below 80 kPa" in filmed.caption[0]
    assert filmed.caption[-1].startswith("The task is given up")


def test_the_cells_own_camera_works_as_before(lens: None) -> None:
    """Frames that PRO may read are the same with a film."""

    def frames(camera: film_module.Camera) -> list[bytes]:
        found: list[bytes] = []

        def listen(told: Reading | Mark) -> None:
            if isinstance(told, Reading) and isinstance(told.values, bytes):
                found.append(told.values)

        cell = film_module.TaskRun(load_catalogue(), task(), once(), Threshold(DEPTH),
                                   listener=listen, camera=camera)  # fmt: skip
        for _ in range(20):
            cell._pass_block()
        camera.close()
        return found

    own = film_module.Camera(64, 48)
    alone = frames(film_module.Camera(64, 48))
    assert len(alone) > 5
    assert frames(FilmCamera(64, 48, own)) == alone


def test_without_a_renderer_there_are_traces_and_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise SpecError("no renderer on this machine")

    monkeypatch.setattr(film_module, "FilmCamera", refuse)
    blind = film(load_catalogue(), task(), once(), Threshold(DEPTH), "threshold")
    assert (blind.video, blind.video_type) == ("", "")
    assert "can render" in blind.note
    assert len(blind.traces["vacuum"]) > 60


def noise(count: int) -> list[Any]:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (count, 6, 8, 3)).astype(np.uint8)
    return [p.repeat(8, axis=0).repeat(8, axis=1) for p in small]


def movie(period: Fraction = Fraction(3, 50)) -> bytes:
    opened = open_movie(period, 64, 48)
    for picture in noise(12):
        opened.add(picture)
    return opened.finish()


def test_the_same_pictures_give_the_same_bytes() -> None:
    assert movie() == movie()


def test_pictures_come_back_in_order_and_in_time() -> None:
    shown = pictures(movie())
    assert [t for t, _ in shown] == pytest.approx([0.06 * k for k in range(12)], abs=2e-3)
    for (_, found), given in zip(shown, noise(12), strict=True):
        assert np.corrcoef(found.ravel(), given.ravel())[0, 1] > 0.8


def test_without_av_it_is_an_animated_webp(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.setitem(sys.modules, "av", None)
    opened = open_movie(Fraction(3, 50), 64, 48)
    assert opened.video_type == "image/webp"
    with Image.open(io.BytesIO(movie())) as image:
        assert (image.size, image.n_frames) == ((32, 24), 6)  # type: ignore[attr-defined]


def stopped_then_done() -> TaskRow:
    return TaskRow(
        site="larch", sku="can", seed=1, success=True, reason="success", duration=12.0,
        attempts=(
            AttemptRow(number=1, begin=0.2, end=3.4, outcome="interrupted", cause="risk_alarm",
                       stopped=True, mode="drop", alarm=3.0,
                       failures=(FailureRow(mode="drop", at=3.3),)),
            AttemptRow(number=2, begin=6.0, end=12.0, outcome="success", cause="success",
                       stopped=False),
        ),
    )  # fmt: skip


def test_sentences_say_what_was_seen_and_what_came_of_it() -> None:
    said = caption(stopped_then_done(), 0.35)
    assert said == (
        "First attempt: at 3.0 s the risk passes its alarm threshold of 0.35, most likely a "
        "drop, and the gate stops the arm, yet the item falls at 3.3 s.",
        "Second attempt: done 6.0 s after it began.",
        "The task ends in success after 12.0 s.",
    )


def test_marks_become_phases_and_events() -> None:
    marks = [
        EventMark(t_ns=round(t * NS), kind=kind)
        for t, kind in ((0.2, BEGIN), (3.0, INTERVENTION), (3.4, END), (6.0, BEGIN), (12.0, END))
    ]
    assert [(p.kind, p.begin, p.end) for p in phases(marks, 0)] == [
        ("attempt", 0.2, 3.0), ("stopping", 3.0, 3.4), ("recovery", 3.4, 6.0),
        ("attempt", 6.0, 12.0),
    ]  # fmt: skip
    found = events(stopped_then_done(), marks, 0)
    assert [(e.kind, e.at) for e in found] == [
        ("begin", 0.2), ("alarm", 3.0), ("failure", 3.3), ("begin", 6.0), ("success", 12.0),
    ]  # fmt: skip
