"""What moves the robot by order of the gate: one thing at a time, until its end is confirmed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pro_ros.gate.outputs import Output, StopPolicy, StopRecovery, StopSafeAction

Kind = Literal["policy", "recovery", "safe_action"]


@dataclass(frozen=True)
class Mover:
    """What was started and has not confirmed its end."""

    kind: Kind
    run: int


class Body:
    """Gives out runs, each number once.

    Attributes
    ----------
    live
        What was started and has not confirmed its end; None: nothing moves.
    accepted
        The live one said that it began.
    """

    def __init__(self) -> None:
        self.live: Mover | None = None
        self.accepted = False
        self._runs = 0

    def start(self, kind: Kind) -> int:
        """Give out the next run.

        Raises
        ------
        RuntimeError
            Something else is live: a defect of the caller, and the last barrier against two
            things that move.
        """
        if self.live is not None:
            raise RuntimeError(f"{kind} was to start while {self.live} has not ended")
        self._runs += 1
        self.live = Mover(kind, self._runs)
        self.accepted = False
        return self._runs

    def is_live(self, kind: Kind, run: int) -> bool:
        """Whether a word is about what is live; others are late."""
        return self.live == Mover(kind, run)

    def stop_order(self) -> Output | None:
        """The order to stop what is live."""
        if self.live is None:
            return None
        orders: dict[Kind, Output] = {
            "policy": StopPolicy(self.live.run),
            "recovery": StopRecovery(self.live.run),
            "safe_action": StopSafeAction(self.live.run),
        }
        return orders[self.live.kind]

    def over(self) -> None:
        """Its end is confirmed."""
        self.live = None
