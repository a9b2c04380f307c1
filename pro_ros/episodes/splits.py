"""Splits for evaluation: by episode at least, by group, site, day or time where the data has them.

Rows of one run never stand on both sides: all parts of an attempt go together.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from pro_ros.episodes.attempts import PART_OF
from pro_ros.episodes.manifest import Episode
from pro_ros.episodes.sequence import Sequence, events_of
from pro_ros.errors import DataError, TooFewEpisodesError

By = Literal["episode", "group", "site", "day", "time"]


@dataclass(frozen=True)
class Fold:
    """Ids of the episodes on both sides of one split, in order of time."""

    train: tuple[str, ...]
    test: tuple[str, ...]


def unit(episode: Episode, by: By) -> str:
    """What must stay on one side: the attempt, or its group, site or day (UTC).

    An episode without a group is a unit of its own.

    Raises
    ------
    DataError
        With ``by: site``, the episode's context names no site.
    """
    attempt = episode.attributes.get(PART_OF, episode.id)
    if by == "group":
        return f"group {episode.group}" if episode.group else attempt
    if by == "site":
        if not episode.context.get("site"):
            raise DataError(f"episode '{episode.id}' has no 'site' in its context to split by")
        return episode.context["site"]
    if by == "day":
        return str(np.datetime64(episode.start_ns, "ns").astype("datetime64[D]"))
    return attempt


def split(
    episodes: Seq[Episode], by: By, folds: int, seed: int = 0, both_classes: bool = True
) -> list[Fold]:
    """Divide episodes into folds, each of which is the test side once.

    Whole units (:func:`unit`) are drawn at random so that failures are spread evenly
    (``StratifiedGroupKFold``), or ``by: time`` as contiguous blocks in order of start.
    Deterministic for a seed.

    Parameters
    ----------
    both_classes
        Refuse a split of which a training side holds successes or failures only.

    Raises
    ------
    TooFewEpisodesError
        There are fewer units than folds.
    DataError
        One class only, see ``both_classes``.
    """
    if folds < 2:
        raise ValueError("folds must be at least 2")
    ordered = sorted(episodes, key=lambda e: (e.start_ns, e.id))
    units = [unit(e, by) for e in ordered]
    count = len(set(units))
    if count < folds:
        what = "episode" if by == "time" else by
        raise TooFewEpisodesError(
            f"a split by {by} into {folds} folds needs at least {folds} different {what}s, "
            f"there {'is' if count == 1 else 'are'} {count}"
        )
    if by == "time":
        number = _blocks(units, folds)
    else:
        number = _drawn(units, [e.outcome == "failure" for e in ordered], folds, seed)
    found = []
    for fold in range(folds):
        train = tuple(e.id for e, n in zip(ordered, number, strict=True) if n != fold)
        test = tuple(e.id for e, n in zip(ordered, number, strict=True) if n == fold)
        found.append(Fold(train, test))
    if both_classes:
        _check_classes(ordered, found, by)
    return found


def _blocks(units: list[str], folds: int) -> list[int]:
    """Fold of each episode: contiguous blocks of about the same number of units."""
    order = {name: i for i, name in enumerate(dict.fromkeys(units))}
    block = np.concatenate(
        [
            np.full(len(part), i)
            for i, part in enumerate(np.array_split(np.arange(len(order)), folds))
        ]
    )
    return [int(block[order[name]]) for name in units]


def _drawn(units: list[str], failed: list[bool], folds: int, seed: int) -> list[int]:
    """Fold of each episode: whole units, failures spread evenly where there are enough."""
    failures = sum(failed)
    if min(failures, len(failed) - failures) < folds:
        failed = [False] * len(failed)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    number = np.zeros(len(units), dtype=int)
    for fold, (_, test) in enumerate(splitter.split(np.zeros(len(units)), failed, units)):
        number[test] = fold
    empty = sorted(set(range(folds)) - set(number.tolist()))
    if empty:
        # Few units of very different size: deal them out instead, the largest first.
        sizes = {name: units.count(name) for name in dict.fromkeys(units)}
        filled = [0] * folds
        place: dict[str, int] = {}
        for name in sorted(sizes, key=lambda n: (-sizes[n], n)):
            place[name] = filled.index(min(filled))
            filled[place[name]] += sizes[name]
        return [place[name] for name in units]
    return [int(n) for n in number]


def _check_classes(episodes: Seq[Episode], folds: Seq[Fold], by: str) -> None:
    """Refuse training sides of one class, where outcomes are known at all."""
    outcome = {e.id: e.outcome for e in episodes if e.outcome != "unknown"}
    if not outcome:
        return
    if len(set(outcome.values())) == 1:
        raise DataError(
            f"one class only: all {len(outcome)} episodes with a known outcome are "
            f"'{next(iter(outcome.values()))}'; a split by {by} needs both"
        )
    for number, fold in enumerate(folds, start=1):
        classes = {outcome[i] for i in fold.train if i in outcome}
        if len(classes) < 2:
            found = f"'{classes.pop()}' only" if classes else "no known outcome"
            raise DataError(
                f"one class only: the training side of fold {number} of {len(folds)} by {by} "
                f"holds {found}; use fewer folds or another split"
            )


def cut(seq: Sequence, lo: int, hi: int, clip: bool = True) -> Sequence:
    """Steps ``[lo, hi)`` of a sequence.

    Parameters
    ----------
    clip
        End what is known just before step ``hi``, so that no label depends on the other side.

    Raises
    ------
    ValueError
        The range is empty or outside the sequence.
    """
    if not 0 <= lo < hi <= len(seq):
        raise ValueError(f"no steps [{lo}, {hi}) in a sequence of {len(seq)}")
    known = seq.known_until_ns
    if clip and hi < len(seq):
        known = min(known, int(seq.t_ns[hi]) - 1)
    index = seq.episode[lo:hi]
    present = np.unique(index[index >= 0])
    number = np.full(len(seq.episodes) + 1, -1, dtype=np.int32)
    number[present] = np.arange(len(present), dtype=np.int32)
    return replace(
        seq,
        id=f"{seq.id}[{lo}:{hi}]",
        t_ns=seq.t_ns[lo:hi],
        values={m: v[lo:hi] for m, v in seq.values.items()},
        mask={m: v[lo:hi] for m, v in seq.mask.items()},
        episode=number[index],
        episodes=tuple(seq.episodes[i] for i in present),
        events=events_of(seq.events, seq.episodes, int(seq.t_ns[lo]), known),
        known_until_ns=known,
        frames={c: f[lo:hi] for c, f in seq.frames.items()},
        frame_mask={c: m[lo:hi] for c, m in seq.frame_mask.items()},
    )


def cut_time(seq: Sequence, start_ns: int, end_ns: int, clip: bool = True) -> Sequence | None:
    """Steps of a sequence in ``[start_ns, end_ns)``, or None if there is none."""
    lo, hi = (int(i) for i in np.searchsorted(seq.t_ns, [start_ns, end_ns]))
    return cut(seq, lo, hi, clip) if lo < hi else None


def select(sequences: Seq[Sequence], ids: Collection[str], clip: bool = True) -> list[Sequence]:
    """The stretches of sequences that belong to the given episodes.

    Steps outside any episode go with the episode before, or, at the beginning, with the first.
    """
    wanted = set(ids)
    found: list[Sequence] = []
    for seq in sequences:
        if not seq.episodes:
            continue
        carried = np.maximum.accumulate(np.where(seq.episode >= 0, seq.episode, 0))
        mine = np.array([e.id in wanted for e in seq.episodes])[carried]
        borders = np.flatnonzero(np.diff(mine)) + 1
        for lo, hi in zip([0, *borders], [*borders, len(seq)], strict=True):
            if mine[lo]:
                found.append(cut(seq, int(lo), int(hi), clip))
    return found
