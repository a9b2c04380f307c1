"""Processes that work on jobs side by side, and of which none can take the others with it.

A pool of the standard library does not say which job a killed process was at, and hangs or leaves
processes behind when it is interrupted in the midst.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any, Generic, TypeVar

from pro_ros.errors import DataError, ProError

Job = TypeVar("Job")
Done = TypeVar("Done")

GRACE = 15.0
"""What a process is given to clean up when it is ended [s]."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Set to 1 for the processes: with one of them on each core more threads only wait."""


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Let libraries use one thread each: sums then are the same as in processes side by side."""
    from threadpoolctl import threadpool_limits

    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else 1
    if torch is not None:
        torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        if torch is not None:
            torch.set_num_threads(before)


@dataclass
class _Worker(Generic[Job]):
    process: SpawnProcess
    pipe: Connection
    job: Job | None = None


def work_on(
    jobs: Sequence[Job], work: Callable[[Job], Done], processes: int
) -> Generator[tuple[Job, Done], None, None]:
    """Jobs with what ``work`` made of them, each as soon as it is done.

    With one process the work is done in this one. Closing the iterator early, or an exception out
    of it, ends the processes after they cleaned up what they were at.

    Parameters
    ----------
    jobs
        Handed out in this order.
    work
        A function of a module, or an object that can be pickled.
    processes
        How many.

    Raises
    ------
    ProError
        What ``work`` raised first.
    DataError
        A process was killed.
    RuntimeError
        Work failed by a defect; the text has its traceback.
    """
    if processes <= 1 or len(jobs) <= 1:
        with one_thread():
            for job in jobs:
                yield job, work(job)
        return
    waiting = deque(jobs)
    workers: list[_Worker[Job]] = []
    try:
        for _ in range(min(processes, len(jobs))):
            workers.append(_start(work))
        for worker in workers:
            _hand_out(worker, waiting)
        while busy := {w.pipe: w for w in workers if w.job is not None}:
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                worker = busy[ready]
                job, done = _take(worker)
                # First the next job: the process need not wait for who takes this one.
                _hand_out(worker, waiting)
                yield job, done
    finally:
        _end(workers)


def _start(work: Callable[[Any], Any]) -> _Worker[Any]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        process.start()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    # With no copy of the other end here, the end of the process ends the pipe.
    theirs.close()
    return _Worker(process, ours)


def _hand_out(worker: _Worker[Job], waiting: deque[Job]) -> None:
    worker.job = waiting.popleft() if waiting else None
    if worker.job is None:
        return
    try:
        worker.pipe.send(worker.job)
    except OSError as exc:
        raise _killed(worker) from exc


def _take(worker: _Worker[Job]) -> tuple[Job, Any]:
    """What a process answers."""
    assert worker.job is not None
    try:
        done, error, trace = worker.pipe.recv()
    except (EOFError, OSError) as exc:
        raise _killed(worker) from exc
    if error is not None:
        raise error
    if trace:
        raise RuntimeError(f"in the process of '{worker.job}':\n{trace}")
    return worker.job, done


def _killed(worker: _Worker[Job]) -> DataError:
    worker.process.join(GRACE)
    code = worker.process.exitcode
    how = f"ended with code {code}"
    if code is not None and code < 0:
        how = f"was killed by signal {-code} ({signal.Signals(-code).name})"
        if code == -signal.SIGKILL:
            how += ", as it happens when memory runs out"
    return DataError(f"the process at '{worker.job}' {how}")


def _end(workers: Sequence[_Worker[Any]]) -> None:
    for worker in workers:
        if worker.job is not None:
            worker.process.terminate()
        worker.pipe.close()
    for worker in workers:
        worker.process.join(GRACE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


# In the process


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """Work on one job after another until the other side closes the pipe."""
    # Ctrl-C goes to all processes of a terminal: the first one decides and ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    while _serve_one(pipe, work):
        pass


def _serve_one(pipe: Connection, work: Callable[[Any], Any]) -> bool:
    """One job; false: the other side is gone."""
    answer: tuple[Any, ProError | None, str]
    try:
        job = pipe.recv()
    except (EOFError, OSError):
        return False
    try:
        answer = work(job), None, ""
    except ProError as error:
        answer = None, error, ""
    except Exception:
        answer = None, None, traceback.format_exc()
    try:
        pipe.send(answer)
    except OSError:
        return False
    return True


def _leave(number: int, frame: FrameType | None) -> None:
    """End by way of an exception, so that nothing half-written is left."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)
