"""The recorder: what is received while an episode runs becomes a recording of a data set.

Messages go to a journal at once (:mod:`pro_ros.recorder.journal`); when the episode is over, a
thread makes a bag of it and extends the manifest (:mod:`pro_ros.recorder.binder`). The bag holds
the EpisodeEvents and the TaskContext, and it is cut into episodes by the same code as any other
bag: what ``pro-ros import`` makes of it is what the manifest says.

A recording begins ``lead_in`` before its episode, where no other recording holds those messages,
and goes on for ``lead_out`` after it, or until the next one begins: what follows an episode tells
that it was over, and whether a failure came. Every message stands in one recording, save for the
first ones after an end that the next episode follows at once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pro_ros.episodes.marks import EVENT_TYPE, TASK_TYPE
from pro_ros.errors import ProError, StorageError
from pro_ros.interfaces import definition, time_message, typestore
from pro_ros.recorder.binder import Binder, Log
from pro_ros.recorder.growing import GrowingDataset
from pro_ros.recorder.journal import MESSAGE, Journal, JournalHead, JournalTopic, frame
from pro_ros.recorder.preroll import PreRoll
from pro_ros.recorder.rules import (
    RecorderSettings,
    RecorderStatus,
    by_events,
    event_topic,
)
from pro_ros.recorder.running import time_name
from pro_ros.recorder.take import Entry, Take
from pro_ros.streams.spec import RobotSpec

NS = 1_000_000_000

CONTEXT_TOPIC = "/pro/task_context"
"""Topic of the TaskContexts in a bag; readers find them by their type."""


class Recorder:
    """Records episodes into the data set ``output``. All methods may be called from any thread.

    Journals that a killed process left behind are finished first, in the background.

    Parameters
    ----------
    output
        Folder of the data set; see :class:`~pro_ros.recorder.growing.GrowingDataset`.
    spec
        The stream file. The data set's says ``episodes.by: events``, because that is how it was
        cut; with ``continuous`` it is the same.
    log
        Takes a level and one line.

    Raises
    ------
    StorageError, DataError
        The folder cannot be used, or is used by another process.
    SpecError
        A stream has no topic.
    """

    def __init__(
        self,
        output: Path | str,
        spec: RobotSpec,
        settings: RecorderSettings,
        log: Log,
        *,
        retry_s: float = 5.0,
    ) -> None:
        self.spec = spec if settings.continuous else by_events(spec)
        self.settings = settings
        self.dataset = GrowingDataset(Path(output), self.spec)
        self._log = log
        self._gap_ns = round(spec.gap * NS)
        self._preroll = PreRoll(round(settings.lead_in * NS), settings.lead_in_bytes)
        self._topics: list[JournalTopic] = []
        self._timing: set[int] = set()
        self._running: Take | None = None
        self._closing: Take | None = None
        self._context: bytes | None = None
        self._last_ns = 0
        self._messages = 0
        self._within = False
        self._try_again_ns = 0
        self._fault = self._last_fault = ""
        self._lock = threading.RLock()
        self._binder = Binder(
            self.dataset, log, compress=settings.compress, budget=self._budget, retry_s=retry_s
        )
        for path in self.dataset.journals():
            self._recover(path)
        self._context_topic = self.declare(
            JournalTopic(CONTEXT_TOPIC, TASK_TYPE, *definition(TASK_TYPE), latched=True)
        )
        self._event_topic = self.declare(
            JournalTopic(event_topic(spec), EVENT_TYPE, *definition(EVENT_TYPE))
        )

    def declare(self, topic: JournalTopic, timing: bool = False) -> int:
        """Make a topic known; returns the handle for :meth:`message`.

        Parameters
        ----------
        timing
            It carries an input stream: a message on it tells that the log goes on.
        """
        with self._lock:
            self._topics.append(topic)
            handle = len(self._topics) - 1
            if timing:
                self._timing.add(handle)
            return handle

    def message(self, handle: int, receipt_ns: int, data: bytes) -> None:
        """Take a message, at the time at which it was received [ns]."""
        with self._lock:
            now = self._on_time(receipt_ns)
            if now:
                self._take_message(handle, now, data)

    def event(self, receipt_ns: int, data: bytes) -> None:
        """Take an EpisodeEvent that neither begins nor ends an episode [CDR]."""
        self.message(self._event_topic, receipt_ns, data)

    def context(self, receipt_ns: int, data: bytes) -> None:
        """Take a TaskContext; it holds until the next one, and is written with every episode."""
        with self._lock:
            self._context = data
            now = self._on_time(receipt_ns)
            if now and self._running is not None:
                self._write(self._running, [(self._context_topic, now, data)])

    def begin(self, receipt_ns: int, key: str, event: bytes, context: bytes | None = None) -> str:
        """An episode begins; one that was running is over, its end not seen.

        Parameters
        ----------
        key
            Its ``episode_id``.
        event
            The EpisodeEvent [CDR].
        context
            Its TaskContext [CDR]; None: the latest one holds.

        Returns
        -------
        Why it is not recorded, or an empty text.
        """
        with self._lock:
            now = self._on_time(receipt_ns)
            self._within = True
            if self.settings.continuous:
                return self._begin_within(now, event, context)
            if self._running is not None:
                self._finish("the next one began")
            if not now:
                return "the clock does not run"
            records = self._lead_in(now, context)
            if context is not None:
                self._context = context
                records.append((self._context_topic, now, context))
            records.append((self._event_topic, now, event))
            reason = self._start(key, now)
            if not reason:
                assert self._running is not None
                self._write(self._running, records)
                reason = self._fault if self._running is None else ""
            if self._closing is not None and self._closing.heard_after:
                self._release()
            return reason

    def end(self, receipt_ns: int, event: bytes) -> Path | None:
        """The running episode ends; where its bag will be, None where it was not recorded."""
        with self._lock:
            now = self._on_time(receipt_ns)
            self._within = False
            take = self._running
            if take is None or not now:
                return None
            self._write(take, [(self._event_topic, now, event)])
            if self._running is take and not self.settings.continuous:
                if self._closing is not None:
                    self._release()
                self._running, self._closing = None, take
                take.ended_ns = now
            return self.dataset.place(take.name)

    def tick(self, now_ns: int) -> None:
        """What is due although nothing was received; call it once a second or so."""
        with self._lock:
            now = self._on_time(now_ns)
            if now:
                self._due(now)
            if self._over_budget():
                self._binder.make_room()

    def close(self, timeout: float = 20.0) -> None:
        """End the running recording, outcome unknown, and finish what is waiting, if in time."""
        with self._lock:
            if self._running is not None:
                self._finish("the recorder was shut down")
            if self._closing is not None:
                self._release()
        if self._binder.close(timeout):
            self.dataset.close()

    def flush(self, timeout: float = 20.0) -> bool:
        """Wait until all that is over stands in the data set; False where it took longer."""
        return self._binder.flush(timeout)

    def status(self) -> RecorderStatus:
        """Where the recorder stands."""
        with self._lock:
            take = self._running
            return RecorderStatus(
                recording=take is not None,
                key=take.key if take is not None else "",
                episode_bytes=take.size if take is not None else 0,
                total_bytes=self.dataset.bytes + self._journal_bytes(),
                messages=self._messages,
                kept=len(self.dataset.sizes),
                bound=self._binder.bound,
                removed=self._binder.removed,
                waiting=self._binder.waiting,
                fault=self._fault or self._binder.fault,
                last_fault=self._last_fault or self._binder.last_fault,
            )

    def _recover(self, path: Path) -> None:
        """Have the journal of a killed process finished."""
        size = path.stat().st_size
        try:
            Journal(path)
        except ProError as exc:
            if size:
                self._log("error", f"{exc}: left as it is")
            else:
                path.unlink()
            return
        self._binder.submit(path, size)

    def _on_time(self, receipt_ns: int) -> int:
        """The time to write down; 0 where the clock does not run yet.

        Small steps back are taken as no progress. Where the clock has jumped back, what was
        received before it does not go together with what comes.
        """
        if receipt_ns <= 0:
            return 0
        back = self._last_ns - receipt_ns
        if back > self._gap_ns:
            self._preroll.clear()
            if self._running is not None:
                key = self._running.key
                self._finish("the clock went back")
                self._log(
                    "warn",
                    f"the clock went back by {back / NS:.3g} s: the rest of episode '{key}' is "
                    "not recorded",
                )
            if self._closing is not None:
                self._release()
        elif back > 0:
            return self._last_ns
        self._last_ns = receipt_ns
        return receipt_ns

    def _take_message(self, handle: int, now: int, data: bytes) -> None:
        self._messages += 1
        if self.settings.continuous and self._running is None:
            self._start_part(now)
        record = frame(MESSAGE, handle, now, data)
        take, closing = self._running, self._closing
        if take is None and closing is None:
            self._preroll.push(handle, now, record)
            return
        if closing is not None and (take is None or not closing.heard_after):
            self._write(closing, [(handle, now, record)])
            closing.heard_after |= handle in self._timing
        if take is not None:
            self._write(take, [(handle, now, record)])
        self._due(now)

    def _due(self, now: int) -> None:
        """End what has become too long, and release what is over."""
        closing = self._closing
        if closing is not None:
            waited = now - closing.ended_ns
            lead_out_ns = round(self.settings.lead_out * NS)
            over = waited >= lead_out_ns or self._running is not None
            if (over and closing.heard_after) or waited > max(lead_out_ns, self._gap_ns):
                self._release()
        take = self._running
        if take is None:
            return
        limit = self._limit(take, now)
        if limit and self.settings.continuous:
            # An episode is not cut in two, unless it goes on for longer than a part.
            if not self._within or self._limit(take, now, 2):
                self._finish(limit)
        elif limit:
            self._finish(limit)
            self._log("warn", f"episode '{take.key}': {limit}: the rest of it is not recorded")
        elif self._over_budget():
            self._make_room(take)

    def _limit(self, take: Take, now: int, times: int = 1) -> str:
        """Which limit, taken so many times, a recording has reached, or an empty text."""
        settings = self.settings
        if now - take.begin_ns > times * settings.max_episode_seconds * NS:
            return f"longer than 'max_episode_seconds' ({settings.max_episode_seconds:g} s)"
        if take.size > times * settings.max_episode_bytes:
            return f"larger than 'max_episode_bytes' ({settings.max_episode_bytes})"
        return ""

    def _make_room(self, take: Take) -> None:
        """The limit of all recordings is reached: remove the oldest, or end this one."""
        helps = 2 * self._journal_bytes() <= self.settings.max_total_bytes
        if helps and self.settings.when_full == "rotate" and not self._binder.exhausted:
            self._binder.make_room()
            return
        self._finish("full")
        self._fail(
            f"episode '{take.key}': 'max_total_bytes' ({self.settings.max_total_bytes}) is "
            "reached: the rest of it is not recorded"
        )

    def _start_part(self, now: int) -> None:
        """Begin a part, with the TaskContext that holds; not in vain for every message."""
        if now < self._try_again_ns:
            return
        if self._start(time_name(now), now):
            self._try_again_ns = now + NS
        elif self._context is not None:
            assert self._running is not None
            context = _restated(self._context, now)
            self._write(self._running, [(self._context_topic, now, context)])

    def _start(self, key: str, now: int) -> str:
        """Begin a journal; why it cannot, or an empty text."""
        if self._over_budget() and self.settings.when_full == "stop":
            return self._fail(
                f"'max_total_bytes' ({self.settings.max_total_bytes}) is reached: not recorded"
            )
        name = self.dataset.free_id(key or time_name(now))
        try:
            take = Take(self.dataset.journal(name), JournalHead(name, key, now), self._topics)
        except StorageError as exc:
            return self._fail(str(exc))
        if self._fault:
            self._log("info", "recording works again")
            self._fault = ""
        self._running = take
        return ""

    def _begin_within(self, now: int, event: bytes, context: bytes | None) -> str:
        """With ``continuous`` a begin is a message like any other."""
        if not now:
            return "the clock does not run"
        if context is not None:
            self._context = context
            self._take_message(self._context_topic, now, context)
        self._take_message(self._event_topic, now, event)
        return self._fault

    def _lead_in(self, now: int, context: bytes | None) -> list[Entry]:
        """What was received before an episode, with the TaskContext that held all the time."""
        kept = self._preroll.take(now)
        first = kept[0].receipt_ns if kept else now
        records: list[Entry] = []
        if context is None and self._context is not None:
            records.append((self._context_topic, first, _restated(self._context, first)))
        return [*records, *((k.topic, k.receipt_ns, k.record) for k in kept)]

    def _write(self, take: Take, records: Sequence[Entry]) -> None:
        """Write records to a journal; the recording ends where that fails."""
        try:
            take.write(records)
        except StorageError as exc:
            self._fail(f"{exc}; the rest of episode '{take.key}' is not recorded")
            if take is self._running:
                self._finish("a write failed")
            else:
                self._release()

    def _finish(self, reason: str) -> None:
        """The running recording is over at once; its end was not seen."""
        take, self._running = self._running, None
        assert take is not None
        take.close(reason)
        self._binder.submit(take.path, take.size)

    def _release(self) -> None:
        """The recording whose episode had ended is over."""
        take, self._closing = self._closing, None
        assert take is not None
        take.close("")
        self._binder.submit(take.path, take.size)

    def _fail(self, line: str) -> str:
        """Say a fault once, until recording works again."""
        if not self._fault:
            self._log("error", line)
        self._fault = self._last_fault = line
        return line

    def _journal_bytes(self) -> int:
        takes = (self._running, self._closing)
        return self._binder.waiting_bytes + sum(t.size for t in takes if t is not None)

    def _budget(self) -> int | None:
        """What finished recordings may take: a journal and its bag stand side by side a while."""
        if not self.settings.max_total_bytes or self.settings.when_full == "stop":
            return None
        return max(0, self.settings.max_total_bytes - 2 * self._journal_bytes())

    def _over_budget(self) -> bool:
        most = self.settings.max_total_bytes
        return bool(most) and self.dataset.bytes + 2 * self._journal_bytes() > most


def _restated(context: bytes, first_ns: int) -> bytes:
    """A TaskContext that holds from the beginning of the recording, if it held before."""
    store = typestore()
    message: Any = store.deserialize_cdr(context, TASK_TYPE)
    stamp = message.header.stamp
    if int(stamp.sec) * NS + int(stamp.nanosec) >= first_ns:
        return context
    message.header.stamp = time_message(store, first_ns)
    return bytes(store.serialize_cdr(message, TASK_TYPE))
