"""Waiting for what other threads and processes do."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from rcl_interfaces.srv import ListParameters
from rclpy.node import Node

SOON = 15.0
START_S = 60.0
"""For a process to start, on a machine that may be busy."""

ANSWER_S = 2.0
"""For an answer; none within it is taken for lost."""


def wait_for(what: Callable[[], Any], why: str, seconds: float = SOON) -> Any:
    """The first true value of ``what``; fails with ``why`` if there is none in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.002)
    raise AssertionError(f"not within {seconds} s: {why}")


def within(node: Node, act: Callable[[], Any]) -> Any:
    """What ``act`` returns, called in the thread of the node's executor.

    Sent from another thread, a question may be answered before rclpy's client has noted it, and
    the answer is dropped.
    """
    assert node.executor is not None
    task = node.executor.create_task(act)
    wait_for(task.done, "the node's executor runs")
    return task.result()


class Pace:
    """How many times longer than by itself the machine takes for some work, while this is open.

    For tests of times that are those of a machine which does nothing else.
    """

    WORK, PAUSE_S = 20_000, 0.02

    def __init__(self) -> None:
        self._found = [1.0]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def slowdown(self) -> float:
        """The median."""
        return statistics.median(self._found)

    def __enter__(self) -> Pace:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self.PAUSE_S):
            wall, own = time.perf_counter(), time.thread_time()
            sum(range(self.WORK))
            wall, own = time.perf_counter() - wall, time.thread_time() - own
            self._found.append(max(1.0, wall / own))


def answered(node: Node, kind: Any, service: str, request: Any, seconds: float = START_S) -> Any:
    """The answer of a service that may be asked as often as one likes.

    It is asked until it answers: who has found a service is not yet found by it, and an answer to
    somebody unknown is lost.
    """
    client = node.create_client(kind, service)
    end = time.monotonic() + seconds
    try:
        while True:
            wait_for(client.service_is_ready, f"{service} is found", end - time.monotonic())
            answer = within(node, lambda: client.call_async(request))
            last = end - time.monotonic() < ANSWER_S
            try:
                wait_for(answer.done, f"{service} answers", ANSWER_S)
            except AssertionError:
                if last:
                    raise
                client.remove_pending_request(answer)
            else:
                return answer.result()
    finally:
        node.destroy_client(client)


def known_to(node: Node, other: str) -> None:
    """Wait until ``other``, a node of another process, has found all that is in this one.

    Processes tell each other of their ends in the order in which they were made: who answers the
    newest has found those before it.
    """
    answered(node, ListParameters, f"{other}/list_parameters", ListParameters.Request())
