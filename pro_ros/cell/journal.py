"""Results of tasks as lines of JSON: a file that grows while a fleet works, and can be read again.

A line is written when its task is done, so that whatever ends the work loses none; in the end the
lines are put in the order of tasks, which does not depend on who was done first.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pro_ros.cell.loop import Attempt, TaskResult
from pro_ros.errors import DataError
from pro_ros.files import atomic_file, storage_error

Key = tuple[str, int]
"""Site and seed: what tells tasks apart."""


def key_of(result: TaskResult) -> Key:
    """What tells the task of a result from others."""
    return result.site, result.seed


def to_line(result: TaskResult) -> str:
    """A result as one line of JSON, without the end of the line."""
    return json.dumps(asdict(result), allow_nan=False)


def from_line(line: str) -> TaskResult:
    """A result from its line.

    Raises
    ------
    ValueError
        It is not one.
    """
    try:
        fields: dict[str, Any] = json.loads(line)
        fields["attempts"] = tuple(_attempt(a) for a in fields["attempts"])
        return TaskResult(**fields)
    except (TypeError, KeyError, AttributeError) as exc:
        raise ValueError(f"not the result of a task ({exc})") from exc


def _attempt(fields: dict[str, Any]) -> Attempt:
    fields["failures"] = tuple((str(mode), float(at)) for mode, at in fields["failures"])
    return Attempt(**fields)


def read_results(path: Path | str) -> list[TaskResult]:
    """All results of a file; a last line that a kill cut short is left out.

    Raises
    ------
    DataError
        The file cannot be read, or another line is damaged: its number is named.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not a text file"
        raise DataError(f"{path}: cannot be read: {reason}") from exc
    lines = text.split("\n")
    lines.pop()
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(from_line(line))
        except ValueError as exc:
            raise DataError(f"{path}: line {number}: not the result of a task") from exc
    return found


class Journal:
    """The growing file.

    Parameters
    ----------
    path
        Read first where it exists.

    Attributes
    ----------
    found
        All results by site and seed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        read = read_results(path) if path.exists() else []
        self.found: dict[Key, TaskResult] = {key_of(result): result for result in read}

    def add(self, result: TaskResult) -> None:
        """Write a line.

        Raises
        ------
        StorageError
            The disk is full, or the file cannot be written.
        """
        try:
            with self._path.open("ab") as file:
                file.write(to_line(result).encode() + b"\n")
        except OSError as exc:
            raise storage_error(self._path, exc) from exc
        self.found[key_of(result)] = result

    def arrange(self, order: Callable[[Key], Any]) -> None:
        """Put the lines in order; what is no longer in :attr:`found` goes.

        Raises
        ------
        StorageError
            As of :meth:`add`; then the file is as it was.
        """
        text = "".join(f"{to_line(self.found[key])}\n" for key in sorted(self.found, key=order))
        if self._path.exists() and self._path.read_bytes() == text.encode():
            return
        with atomic_file(self._path) as staged:
            staged.write_bytes(text.encode())
