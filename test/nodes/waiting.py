"""Waiting for what other threads and processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

SOON = 15.0


def wait_for(what: Callable[[], Any], why: str, seconds: float = SOON) -> Any:
    """The first true value of ``what``; fails with ``why`` if there is none in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.002)
    raise AssertionError(f"not within {seconds} s: {why}")
