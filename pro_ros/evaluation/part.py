"""A part of the evaluated steps (all of them, one site ...) with its own resampling."""

from __future__ import annotations

import numpy as np

from pro_ros.evaluation.alarmrates import Monitored
from pro_ros.evaluation.intervals import Bootstrap
from pro_ros.evaluation.results import Counts, Settings
from pro_ros.evaluation.table import BoolVector, EpisodeRow, IntVector, Table


class Part:
    """Steps of a table chosen by a mask.

    Attributes
    ----------
    mask
        bool ``[N]``: the steps that belong to the part.
    unit
        int ``[N]``: unit of resampling of each step, 0 outside the part.
    bootstrap
        Draws over the units of the part.
    episodes
        The episodes whose first step is in the part.
    """

    def __init__(self, table: Table, settings: Settings, mask: BoolVector | None = None) -> None:
        self.table = table
        self.mask = np.ones(len(table), dtype=bool) if mask is None else mask
        self.unit, units = table.units(settings.unit, self.mask)
        self.bootstrap = Bootstrap(units, settings.resamples, settings.seed, settings.level)
        self.episodes: tuple[EpisodeRow, ...] = tuple(
            e for e in table.episodes if self.mask[e.rows.start]
        )

    @property
    def episode_unit(self) -> IntVector:
        """Unit of each of ``episodes``."""
        return self.unit[[e.rows.start for e in self.episodes]]

    def monitored(self, target: str, horizon: int) -> Monitored:
        """The part as :mod:`pro_ros.evaluation.alarmrates` reads it."""
        units = (self.unit, self.bootstrap.units)
        return self.table.monitored(target, horizon, self.mask, units)

    def counts(self) -> Counts:
        """What numbers on this part rest on."""
        table = self.table
        outcomes = [e.episode.outcome for e in self.episodes]
        events = {
            mode: int(self.mask[table.row_before(table.onsets(mode))].sum())
            for mode in table.modes
        }
        return Counts(
            sequences=len(np.unique(table.sequence[self.mask])),
            steps=int(self.mask.sum()),
            hours=round(float(table.hours[self.mask].sum()), 6),
            episodes=len(outcomes),
            successes=outcomes.count("success"),
            failures=outcomes.count("failure"),
            unknown=outcomes.count("unknown"),
            events=events,
            units=self.bootstrap.units,
        )
