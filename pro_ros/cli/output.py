"""Where a command may write: nowhere else, and over nothing but what such a command made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pro_ros.errors import StorageError

DATASET = ("data set", "manifest.json")
CHECKPOINT = ("checkpoint", "checkpoint.json")
RESULTS = ("folder of results", "metrics.json")
BAG = ("bag", "metadata.yaml")


def check_output(
    output: Path, overwrite: bool, kind: tuple[str, str], inputs: Sequence[Path] = ()
) -> None:
    """Refuse an output before any work is done for it.

    Parameters
    ----------
    kind
        What the command makes, and the file by which it is known.
    inputs
        What the command reads: replacing the output must not remove it.

    Raises
    ------
    StorageError
        The output exists and ``overwrite`` is false, it is something else, or an input lies in
        it.
    """
    if not output.exists():
        return
    if not overwrite:
        raise StorageError(f"{output}: exists; give --overwrite to replace it")
    what, file = kind
    if not output.is_dir() or (not (output / file).is_file() and any(output.iterdir())):
        raise StorageError(f"{output}: exists and is no {what} ('{file}'): give another name")
    whole = output.resolve()
    for path in inputs:
        if whole in (path.resolve(), *path.resolve().parents):
            raise StorageError(f"{output}: would replace {path}, which is read: give another name")
