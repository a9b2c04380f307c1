"""A cell that runs by itself: on a thread of its own, at the pace of a real one.

Whoever asks it for something is answered on that thread, between two blocks of physics.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

from pro_ros.cell.camera import Camera
from pro_ros.cell.catalogue import Catalogue
from pro_ros.cell.cell import BLOCK_NS, EPOCH_NS, REST, Cell, Command, DivergedError
from pro_ros.cell.sensors import NS, Reading
from pro_ros.cell.tasks import Task
from pro_ros.cell.vacuum import HOLD
from pro_ros.errors import ProError

WARM_UP_NS: Final = round(0.6 * NS)
"""From the begin of a task's simulated time to when it lies ready."""

COMMAND_NS: Final = round(0.25 * NS)
"""Without a command for so long, the arm stands still; the valve stays as it is."""

LATE: Final = 0.2
"""So far behind its pace, the cell does not try to catch up any more [s]."""

PARTS: Final = 2
"""Into which a block's readings are divided, so that they are heard when they are received."""

Answer = Callable[[str], None]
"""Takes why something could not be done; an empty text: it was."""


class LiveCell:
    """Runs a cell, task after task; simulated time never goes back.

    Parameters
    ----------
    catalogue
        Where sites and items come from.
    hear
        Takes what devices say, in order of receipt.
    tick
        Takes the simulated time [ns], each 10 ms and before what was received until then.
    say
        Takes a line where something went wrong.
    factor
        Simulated seconds per second; 0: as many as there can be.
    camera
        Renders frames; None: none.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        hear: Callable[[Reading], None],
        tick: Callable[[int], None],
        say: Callable[[str], None],
        factor: float = 1.0,
        camera: Camera | None = None,
    ) -> None:
        self._catalogue, self._camera = catalogue, camera
        self._hear, self._tick, self._say = hear, tick, say
        self._pace = BLOCK_NS / PARTS / NS / factor if factor else 0.0
        self.now_ns = EPOCH_NS
        self.task: Task | None = None
        self.fault = ""
        self.late = 0
        self._cell: Cell | None = None
        self._asked: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._ready: tuple[int, Answer] | None = None
        self._command: tuple[Command, int] = (REST, HOLD)
        self._obeyed: tuple[Command, int] | None = None
        self._commanded_ns = 0
        self._due = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cell", daemon=True)

    def start(self) -> None:
        """Let time pass."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and wait until it has."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    # What others ask for; all of it may be called from any thread

    def command(self, velocity: Command, valve: int) -> None:
        """What the tool and the valve do from now on."""
        self._command = (velocity, valve)

    def order(self, task: Task, answer: Answer) -> None:
        """Exchange what lies in the cell; answered when its sensors have spoken for a while."""
        self._asked.put(lambda: self._exchange(task, answer))

    def look(self, answer: Answer) -> None:
        """Have the vision system estimate where the ordered item lies."""

        def look() -> None:
            if self._cell is None:
                answer(self.fault or "there is no task")
            else:
                answer("" if self._cell.look() else "the item is not seen in the source tote")

        self._asked.put(look)

    def release_stop(self, answer: Answer) -> None:
        """Leave a protective stop."""

        def release() -> None:
            if self._cell is not None:
                self._cell.release_stop()
            answer("" if self._cell is not None else self.fault or "there is no task")

        self._asked.put(release)

    # The thread

    def _run(self) -> None:
        self._due = time.monotonic()
        while not self._end.is_set():
            try:
                self._obey()
                self._pass_block()
            except Exception:
                # A defect must not let time stand still for everybody else without a word.
                for line in traceback.format_exc().splitlines():
                    self._say(line)
                self._give_up("a defect of the cell")

    def _wait(self) -> None:
        """Until the next part of a block is due."""
        self._due += self._pace
        left = self._due - time.monotonic()
        if left < -LATE:
            self.late += bool(self._pace)
            self._due = time.monotonic()
        if left > 0.0 or not self._pace:
            self._end.wait(max(left, 0.0))

    def _obey(self) -> None:
        while True:
            try:
                asked = self._asked.get_nowait()
            except Empty:
                return
            asked()

    def _exchange(self, task: Task, answer: Answer) -> None:
        self._answer("a newer task took its place")
        self.task, self.fault, self._cell = task, "", None
        self._command = self._obeyed = (REST, HOLD)
        self._ready = (self.now_ns + WARM_UP_NS, answer)
        try:
            self._cell = Cell(self._catalogue, task, self.now_ns, self._camera)
        except ProError as exc:
            self._give_up(str(exc))

    def _pass_block(self) -> None:
        readings: list[Reading] = []
        if self._cell is not None:
            self._pass_on_command(self._cell)
            try:
                readings = self._cell.advance()
            except DivergedError as exc:
                self._give_up(str(exc))
        # Time goes on without a cell: its devices fell silent, the others' clocks did not.
        waiting = deque(readings)
        for _ in range(PARTS):
            self._wait()
            self.now_ns += BLOCK_NS // PARTS
            self._tick(self.now_ns)
            while waiting and waiting[0].receipt_ns <= self.now_ns:
                self._hear(waiting.popleft())
        if self._ready is not None and self.now_ns >= self._ready[0]:
            self._answer("")

    def _pass_on_command(self, cell: Cell) -> None:
        command = self._command
        if command is not self._obeyed:
            self._obeyed, self._commanded_ns = command, self.now_ns
            cell.command(*command, tell=False)
        elif command[0] != REST and self.now_ns - self._commanded_ns > COMMAND_NS:
            self.command(REST, command[1])

    def _give_up(self, fault: str) -> None:
        """The devices fall silent until the next task."""
        self._cell, self.fault = None, fault
        self._say(f"{fault}: no device says anything until the next task")
        self._answer(fault)

    def _answer(self, why: str) -> None:
        """Answer who waits for a task to lie ready, if anybody does."""
        if self._ready is not None:
            (_, answer), self._ready = self._ready, None
            answer(why)
