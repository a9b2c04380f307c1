"""Errors that a user can cause and mend.

Every one prints as a single line that names the thing and what to do. The command line turns
them into the exit codes below; anything else that escapes is a defect of pro_ros itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ProError(Exception):
    """Base of all errors that a user can mend. ``str(error)`` is one line."""

    exit_code = 2


class SpecError(ProError):
    """A configuration file is wrong: a misspelt key, a wrong unit, an impossible combination."""

    exit_code = 2


class DataError(ProError):
    """A recording, a table or a dataset is missing, damaged, or not what its spec says."""

    exit_code = 3


class CheckpointError(ProError):
    """A checkpoint is missing, damaged, of another version, or made for other streams."""

    exit_code = 4


class TooFewEpisodesError(ProError):
    """There is too little data for what was asked; the message says how much is needed."""

    exit_code = 5


class StorageError(ProError):
    """Writing failed (disk full, no permission); nothing was left under the final name."""

    exit_code = 6


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``", did you mean 'x'?"`` for the nearest known word, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean '{near[0]}'?" if near else ""
