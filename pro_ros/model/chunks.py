"""Chunks of actions: which features they have, and how they are brought to the scorer's instants.

A chunk ``[T, D]`` is a plan: row k is the command that holds (k + 1) ``dt`` after now. The scorer
reads it at C instants, spread evenly over its length, by linear interpolation; before the first
row stands the newest command that was executed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pro_ros.errors import DataError, SpecError
from pro_ros.streams.sample import FloatArray
from pro_ros.streams.spec import RobotSpec

TOLERANCE = 1e-6
"""A chunk that is shorter by so small a share is long enough: times are rounded."""


def action_features(spec: RobotSpec) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """The features of a command, in order, and their columns in the action modality.

    They are the values themselves of all action streams, in file order: without norms, which
    follow from them, summaries and ages.

    Raises
    ------
    SpecError
        No stream of modality ``action`` gives the operator its values.
    """
    columns = spec.layout.get("action", ())
    names = tuple(
        f"{name}.{channel}"
        for name, stream in spec.input_streams.items()
        if stream.modality == "action" and stream.last
        for channel in stream.raw_channels
    )
    if not names:
        raise SpecError(
            "scoring: the stream file has no action to score: it needs a stream of modality "
            "'action' with 'last: true'"
        )
    return names, np.array([columns.index(name) for name in names], dtype=np.int64)


def instants(chunk: float, points: int) -> npt.NDArray[np.float64]:
    """Times after now at which a chunk is read, ``[C]`` [s]; the last is its end."""
    return chunk * np.arange(1, points + 1) / points


@lru_cache(maxsize=64)
def interpolation(
    rows: int, dt: float, chunk: float, points: int
) -> tuple[FloatArray, npt.NDArray[np.float64]]:
    """How instants follow from rows and the newest command: ``[C, T]`` and ``[C]``."""
    at = instants(chunk, points) / dt
    at = np.minimum(at, rows)
    below = np.minimum(np.floor(at).astype(np.int64), rows - 1)
    share = at - below
    matrix = np.zeros((points, rows + 1))
    each = np.arange(points)
    matrix[each, below] += 1.0 - share
    matrix[each, below + 1] += share
    return matrix[:, 1:].astype(np.float32), matrix[:, 0].copy()


def resample(
    chunks: FloatArray, dt: float, newest: FloatArray | None, chunk: float, points: int
) -> FloatArray:
    """Bring chunks ``[N, T, D]`` to the scorer's instants, ``[N, C, D]``.

    Parameters
    ----------
    dt
        Time between rows [s].
    newest
        The command that holds now, ``[D]``; None: none was executed yet, and the first row
        counts from now on.

    Raises
    ------
    DataError
        They are shorter than the scorer's chunk. What lies beyond it is not read.
    """
    rows = chunks.shape[1]
    if rows * dt < chunk * (1.0 - TOLERANCE):
        needed = int(np.ceil(chunk / dt * (1.0 - TOLERANCE)))
        raise DataError(
            f"chunks cover {rows * dt:g} s ({rows} rows of {dt:g} s), the scorer reads "
            f"{chunk:g} s: give at least {needed} rows"
        )
    weights, first = interpolation(rows, dt, chunk, points)
    path: FloatArray = np.matmul(weights, chunks)
    start = chunks[:, :1] if newest is None else newest
    return path + first[:, None].astype(np.float32) * start


def check_chunks(chunks: npt.ArrayLike, dt: float, features: tuple[str, ...]) -> FloatArray:
    """Candidates as float32 ``[N, T, D]``.

    Raises
    ------
    DataError
        One line: another shape, none at all, numbers that are not finite, no time between rows.
    """
    try:
        given = np.asarray(chunks, dtype=np.float32)
    except (TypeError, ValueError) as exc:
        raise DataError(f"candidates are not an array of numbers [N, T, {len(features)}]") from exc
    if given.ndim != 3:
        raise DataError(
            f"candidates have {given.ndim} dimensions, expected 3: [N, T, {len(features)}]"
        )
    if given.shape[2] != len(features):
        raise DataError(
            f"candidates have {given.shape[2]} numbers per action, expected {len(features)}: "
            + ", ".join(features)
        )
    if not len(given):
        raise DataError("no candidates: N is 0")
    if not given.shape[1]:
        raise DataError("the candidates have no rows: T is 0")
    if not (np.isfinite(dt) and dt > 0):
        raise DataError(f"dt is {dt:g}, expected the time between rows, above 0 [s]")
    finite = np.isfinite(given)
    if not finite.all():
        n, t, d = (int(i) for i in np.argwhere(~finite)[0])
        raise DataError(
            f"candidate {n}, row {t}, '{features[d]}' is {given[n, t, d]:g}, expected a number"
        )
    return given
