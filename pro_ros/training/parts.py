"""Dividing a data set into train, validation, calibration and test, whole episodes at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Sequence as Seq

import numpy as np

from pro_ros.episodes.manifest import Episode
from pro_ros.episodes.splits import unit
from pro_ros.errors import TooFewEpisodesError
from pro_ros.training.config import SplitConfig

PARTS = ("train", "validation", "calibration", "test")


def assign(episodes: Seq[Episode], config: SplitConfig, seed: int) -> dict[str, str]:
    """The part of each episode, by id.

    Units that must stay together (group, site, day, or a single attempt) are drawn in random
    order and failures are dealt out evenly; ``time`` takes contiguous blocks instead: train
    first, then validation, calibration and test, as a deployed operator would meet them.

    Raises
    ------
    TooFewEpisodesError
        There are fewer units than parts to fill.
    """
    shares = {
        "validation": config.validation,
        "calibration": config.calibration,
        "test": config.test,
    }
    wanted = [p for p in PARTS[1:] if shares[p] > 0]
    units: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        units[unit(episode, config.by)].append(episode)
    if len(units) <= len(wanted):
        what = "episode" if config.by == "time" else config.by
        raise TooFewEpisodesError(
            f"a split by {config.by} into train, {', '.join(wanted)} needs at least "
            f"{len(wanted) + 1} different {what}s, there {'is' if len(units) == 1 else 'are'} "
            f"{len(units)}"
        )
    if config.by == "time":
        order = sorted(units, key=lambda u: units[u][0].start_ns)
        return _blocks(order, units, wanted, shares)
    return _dealt(units, wanted, shares, seed)


def _blocks(
    order: list[str],
    units: Mapping[str, list[Episode]],
    wanted: list[str],
    shares: Mapping[str, float],
) -> dict[str, str]:
    """Contiguous blocks from the end backwards: test last, then calibration, then validation."""
    assignment: dict[str, str] = {}
    end = len(order)
    for part in reversed(wanted):
        size = max(1, round(shares[part] * len(order)))
        size = min(size, end - 1)
        for name in order[end - size : end]:
            assignment.update({e.id: part for e in units[name]})
        end -= size
    for name in order[:end]:
        assignment.update({e.id: "train" for e in units[name]})
    return assignment


def _dealt(
    units: Mapping[str, list[Episode]],
    wanted: list[str],
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, str]:
    """Units in random order, those with failures first, each to the part that lacks most."""
    names = sorted(units)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    order.sort(key=lambda u: -sum(e.outcome == "failure" for e in units[u]))
    total = sum(len(members) for members in units.values())
    target = {p: shares[p] * total for p in wanted}
    target["train"] = total - sum(target.values())
    filled = dict.fromkeys(target, 0.0)
    assignment: dict[str, str] = {}
    for name in order:
        # Relative lack keeps failures spread in proportion to the shares.
        part = max(target, key=lambda p: (1.0 - (filled[p] + 0.5) / target[p], p))
        filled[part] += len(units[name])
        assignment.update({e.id: part for e in units[name]})
    for part in wanted:
        if not filled[part]:
            raise TooFewEpisodesError(
                f"no episodes left for {part}: the units of the split are too large"
            )
    return assignment


def members(assignment: Mapping[str, str], part: str) -> list[str]:
    """Ids of the episodes of one part, sorted."""
    return sorted(episode for episode, assigned in assignment.items() if assigned == part)
