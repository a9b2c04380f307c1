"""The thread that turns journals into bags of the data set, and removes the oldest."""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path

from pro_ros.errors import ProError, StorageError
from pro_ros.recorder.binding import bind
from pro_ros.recorder.growing import GrowingDataset
from pro_ros.recorder.journal import Journal

Log = Callable[[str, str], None]
"""Takes a level (``info``, ``warn``, ``error``) and one line."""


class Binder:
    """Works through closed journals in the background, in the order in which they were closed.

    A journal that cannot be bound because the disk is full waits, and is tried again. Only this
    thread writes the manifest.

    Parameters
    ----------
    budget
        Bytes that finished recordings may take at present; None: no limit, nothing is removed.
        Called in the thread.
    retry_s
        How long to wait after a failed write [s].

    Attributes
    ----------
    waiting_bytes
        Of journals that are closed and not yet bound.
    bound, removed
        How many recordings were added and removed since the start.
    exhausted
        Nothing is left to be removed and the budget is exceeded all the same.
    fault, last_fault
        Line of the latest failed write; ``fault`` is empty once writing works again.
    """

    def __init__(
        self,
        dataset: GrowingDataset,
        log: Log,
        *,
        compress: bool = True,
        budget: Callable[[], int | None] = lambda: None,
        retry_s: float = 5.0,
    ) -> None:
        self.dataset = dataset
        self.waiting_bytes = 0
        self.bound = self.removed = 0
        self.exhausted = False
        self.fault = self.last_fault = ""
        self._log = log
        self._compress = compress
        self._budget = budget
        self._retry_s = retry_s
        self._queue: deque[tuple[Path, int]] = deque()
        self._wake = threading.Condition()
        self._busy = False
        self._wanted = False
        self._ending = self._stopping = False
        self._thread = threading.Thread(target=self._work, name="recorder-binder", daemon=True)
        self._thread.start()

    def submit(self, journal: Path, size: int) -> None:
        """Have a closed journal of ``size`` bytes bound."""
        with self._wake:
            self._queue.append((journal, size))
            self.waiting_bytes += size
            self._wake.notify_all()

    def make_room(self) -> None:
        """Have the budget looked at."""
        with self._wake:
            self._wanted = True
            self._wake.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until nothing is left to be done [s]; False where it took longer."""
        with self._wake:
            return self._wake.wait_for(
                lambda: not (self._queue or self._busy or self._wanted), timeout
            )

    @property
    def waiting(self) -> int:
        """Journals that are not yet bound."""
        return len(self._queue)

    def close(self, timeout: float) -> bool:
        """Finish what can be finished in ``timeout`` [s]; the rest waits for the next start.

        Returns whether the thread has ended.
        """
        with self._wake:
            self._ending = True
            self._wake.notify_all()
        self._thread.join(timeout)
        self._stopping = True
        return not self._thread.is_alive()

    def _work(self) -> None:
        last_try = False
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                if self._stopping or (self._ending and (last_try or not self._queue)):
                    return
                if self.fault:
                    self._wake.wait_for(lambda: self._ending, self._retry_s)
                else:
                    self._wake.wait_for(lambda: self._ending or self._queue or self._wanted)
                ending = self._ending
                job = self._queue[0] if self._queue else None
                self._busy, self._wanted = True, False
            self._once(job)
            # What fails now is not tried again before the next start.
            last_try = ending and bool(self.fault)

    def _once(self, job: tuple[Path, int] | None) -> None:
        try:
            if job is not None:
                self._bind(job[0])
                self._done(job)
                job = None
            self._remove()
            if self.fault:
                self._log("info", "writing works again")
                self.fault = ""
        except StorageError as exc:
            # The journal, if it is one, stays at the head of the queue.
            self._fail(str(exc))
        except Exception:
            # A defect must not end the thread: what was recorded stays in its journal.
            self._done(job)
            for line in traceback.format_exc().splitlines():
                self._log("error", line)

    def _bind(self, path: Path) -> None:
        """Bind one journal; only a failed write is a reason to try again."""
        try:
            bound = bind(self.dataset, Journal(path), self._compress)
        except StorageError:
            raise
        except ProError as exc:
            self._log("error", str(exc))
            return
        if bound is not None:
            self.bound += 1
            outcomes = ", ".join(bound.outcomes) or "none"
            found = f"{bound.path}: {bound.messages} messages, outcome: {outcomes}"
            if bound.killed:
                self._log("warn", f"{found} (left behind by a process that was killed)")
            else:
                self._log("info", found)
            for line in bound.lines:
                self._log("warn", line)

    def _done(self, job: tuple[Path, int] | None) -> None:
        if job is not None:
            with self._wake:
                self._queue.popleft()
                self.waiting_bytes -= job[1]

    def _fail(self, line: str) -> None:
        """Say a failed write once, until writing works again."""
        if not self.fault:
            self._log("error", line)
        self.fault = self.last_fault = line

    def _remove(self) -> None:
        """Remove the oldest until the budget is kept."""
        while True:
            budget = self._budget()
            if budget is None or self.dataset.bytes <= budget:
                self.exhausted = False
                return
            gone = self.dataset.remove_oldest()
            if not gone:
                self.exhausted = True
                return
            self.removed += 1
            self._log("info", f"{gone}: removed to keep 'max_total_bytes'")
