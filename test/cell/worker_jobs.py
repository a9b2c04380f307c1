"""Work for processes, in a module that is quick to import."""

from __future__ import annotations

import os
import signal

from pro_ros.errors import SpecError


def behave(job: str) -> str:
    """Go wrong as told."""
    if job == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "refused":
        raise SpecError("refused: give another")
    if job == "broken":
        raise ZeroDivisionError("seven by nought")
    return f"{job} by {os.environ['OMP_NUM_THREADS']}"
