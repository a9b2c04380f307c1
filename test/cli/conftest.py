"""The small robot on disk, imported and trained once; the command line in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cli_toy import STREAMS, TRAINING, Ran, Run, Toy, call, toy_rows, write_csv, write_yaml

from pro_ros.cli import main
from pro_ros.errors import ProError

FILES = ("manifest.json", "checkpoint.json", "metrics.json", "metadata.yaml")
"""By which the outputs of the commands are known: only such may be overwritten."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in this process; an exception that it lets through fails the test."""
    errors: list[ProError] = []
    report = main.fail
    monkeypatch.setattr(main, "fail", lambda error: (errors.append(error), report(error)))

    def do(*words: object) -> Ran:
        errors.clear()
        return call(words, errors)

    return do


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """The small robot, imported and trained through the command line."""
    folder = tmp_path_factory.mktemp("toy")
    robot = Toy(
        write_csv(folder / "log.csv", toy_rows()),
        write_yaml(folder / "streams.yaml", STREAMS),
        write_yaml(folder / "training.yaml", TRAINING),
        folder / "dataset",
        folder / "checkpoint",
    )
    done = call(["import", robot.table, "-s", robot.streams, "-o", robot.dataset])
    assert done.code == 0, done.stderr
    done = call(["train", robot.dataset, "-c", robot.training, "-o", robot.checkpoint])
    assert done.code == 0, done.stderr
    return robot


@pytest.fixture
def refused(run: Run, tmp_path: Path) -> Callable[..., str]:
    """Run a command that must be refused, into an output that exists and may be replaced.

    Checks exit code, the single line with all that it must name, and that nothing changed on
    disk. Returns the line.
    """

    def check(code: int, names: Sequence[object], *words: object) -> str:
        out = tmp_path / "existing"
        out.mkdir(exist_ok=True)
        for name in FILES:
            (out / name).write_text("what was there before")
        before = sorted(p.name for p in tmp_path.iterdir())
        done = run(*words, "--out", out, "--overwrite")
        assert done.code == code, done.stderr
        assert done.stdout == ""
        line = done.stderr.removesuffix("\n")
        assert "\n" not in line
        assert line.startswith("error: ")
        assert ["\n" in str(e) for e in done.errors] == [False]
        for name in names:
            assert str(name) in line
        assert sorted(p.name for p in tmp_path.iterdir()) == before
        assert {p.name: p.read_text() for p in out.iterdir()} == dict.fromkeys(
            FILES, "what was there before"
        )
        return line

    return check
