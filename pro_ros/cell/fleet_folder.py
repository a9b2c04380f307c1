"""The folder of a fleet, held by one process at a time and filled with tasks of one kind only."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pro_ros.cell.journal import Journal
from pro_ros.cell.request import Job, Order
from pro_ros.errors import DataError, SpecError, StorageError
from pro_ros.files import atomic_file, storage_error

SETTINGS: Final = "fleet.json"
TASKS: Final = "tasks.jsonl"
GROUPS: Final = "groups.csv"


@contextmanager
def held_folder(out: Path, settings: dict[str, Any]) -> Iterator[Path]:
    """The fleet's folder, held against other processes."""
    path = out / SETTINGS
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out, os.O_RDONLY)
    except OSError as exc:
        raise storage_error(out, exc) from exc
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise StorageError(f"{out}: another process fills this folder") from exc
        if path.exists():
            _compare(path, settings)
        elif any(out.iterdir()):
            raise StorageError(f"{out}: exists and is no fleet ('{SETTINGS}'): give another name")
        else:
            with atomic_file(path) as staged:
                staged.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        # What killed processes left behind.
        for hidden in out.glob("*/.*.tmp"):
            shutil.rmtree(hidden, ignore_errors=True)
        yield out
    finally:
        os.close(handle)


def _compare(path: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder whose tasks were run with other settings."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        other = [key for key, value in settings.items() if before[key] != value]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise DataError(f"{path}: damaged: give another folder") from exc
    if other:
        key = other[0]
        raise SpecError(
            f"{path.parent}: was made with another '{key}' ({_short(before[key])}, now "
            f"{_short(settings[key])}): give another folder"
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def conclude(out: Path, journal: Journal, order: Order, record: bool) -> None:
    """Put the files in order, whoever was done first."""
    journal.arrange(order)
    if not record:
        return
    keys = sorted(journal.found, key=order)
    names = [str(Job(*key)) for key in keys]
    with atomic_file(out / GROUPS) as staged:
        staged.write_text(
            "".join(["file,group\n", *(f"{name},{name}\n" for name in names)]), encoding="utf-8"
        )
