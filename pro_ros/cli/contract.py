"""``pro-ros contract``: a rosetta contract -> a stream file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml

from pro_ros.cli.console import note, say


def command(
    contract: Annotated[Path, typer.Argument(help="A rosetta contract (YAML).")],
    output: Annotated[Path, typer.Option("--out", "-o", help="Stream file to be made.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file.")
    ] = False,
) -> None:
    """Turn a rosetta contract into a stream file; what cannot be carried over is listed."""
    from pro_ros.errors import StorageError
    from pro_ros.files import atomic_file
    from pro_ros.streams.rosetta import convert

    if output.exists() and not overwrite:
        raise StorageError(f"{output}: exists; give --overwrite to replace it")
    document, notes = convert(contract)
    with atomic_file(output) as temporary:
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        temporary.write_text(text, encoding="utf-8")
    for line in notes:
        note(line)
    say(f"{output}: {len(document['streams'])} streams")
