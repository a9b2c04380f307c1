"""Commands run in this process."""

from __future__ import annotations

from typing import NamedTuple

from typer.testing import CliRunner

from pro_ros.cli.main import app


class Ran(NamedTuple):
    code: int
    stdout: str
    stderr: str


def invoke(*words: object) -> Ran:
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Ran(done.exit_code, done.stdout, done.stderr)


def one_line(done: Ran, code: int) -> str:
    """The one line of a command that must be refused."""
    assert done.code == code, done.stderr
    assert done.stdout == ""
    line = done.stderr.removesuffix("\n")
    assert line.startswith("error: ")
    assert "\n" not in line
    return line
