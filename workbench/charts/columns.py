"""A series cut into the columns of a chart, so that a one-step spike among 100,000 points stays visible."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EMA_WEIGHT = 0.25
"""How much of each new column goes into the smoothed line."""


@dataclass(eq=False)
class Columns:
    """A line cut into columns: extremes, first and last value and mean of each (all (columns,), NaN where none)."""

    low: Floats
    high: Floats
    first: Floats
    last: Floats
    mean: Floats
    filled: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, dtype=np.intp))


def decimate(x: Floats, y: Floats, x0: float, x1: float, count: int) -> Columns:
    """`y` over x0..x1 cut into `count` columns, each with its extremes. A NaN is skipped within a column."""
    nothing = np.full(count, np.nan)
    columns = Columns(nothing, nothing.copy(), nothing.copy(), nothing.copy(), nothing.copy())
    edges = np.linspace(x0, x1, count + 1)[:-1]
    bounds = np.append(np.searchsorted(x, edges, side="left"), np.searchsorted(x, x1, side="right"))
    filled = np.flatnonzero(np.diff(bounds) > 0)
    if not filled.size:
        return columns
    starts, stop = bounds[filled], int(bounds[-1])
    kept = y[:stop]
    columns.filled = filled
    columns.low[filled] = np.fmin.reduceat(kept, starts)
    columns.high[filled] = np.fmax.reduceat(kept, starts)
    columns.first[filled] = kept[starts]
    columns.last[filled] = kept[bounds[filled + 1] - 1]
    columns.mean[filled] = _means(kept, starts, np.diff(bounds)[filled])
    return columns


def _means(values: Floats, starts: NDArray[np.intp], sizes: NDArray[np.intp]) -> Floats:
    """Of each stretch of so many values, without what is not finite; NaN where nothing is."""
    means: Floats = np.add.reduceat(values, starts) / sizes
    if np.isfinite(means).all():
        return means
    finite = np.isfinite(values)
    sums = np.add.reduceat(np.where(finite, values, 0.0), starts)
    counts = np.add.reduceat(finite, starts, dtype=np.int64)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def connect(columns: Columns) -> tuple[Floats, Floats]:
    """(low, high) per column with lines between neighbours: empty columns interpolated, steps joined half-way.

    A NaN beside an empty stretch leaves the stretch empty, so a value that was not finite is a gap.
    """
    low, high = columns.low.copy(), columns.high.copy()
    first, last = columns.first.copy(), columns.last.copy()
    filled = columns.filled
    inside = np.zeros(low.shape, dtype=bool)
    if filled.size:
        inside[filled[0] : filled[-1]] = True
        inside[filled] = False
    between = np.flatnonzero(inside)
    if between.size:
        place = np.searchsorted(filled, between)
        left, right = filled[place - 1], filled[place]
        share = (between - left) / (right - left)
        low[between] = high[between] = last[left] * (1 - share) + first[right] * share
        first[between] = last[between] = low[between]
    middle = (last[:-1] + first[1:]) / 2  # NaN where either side has none
    for side, extreme in ((low, np.fmin), (high, np.fmax)):
        side[:-1] = np.where(np.isnan(middle), side[:-1], extreme(side[:-1], middle))
        side[1:] = np.where(np.isnan(middle), side[1:], extreme(side[1:], middle))
    return low, high


def smoothed(values: Floats, weight: float = EMA_WEIGHT) -> Floats:
    """Exponential moving average of a few hundred columns, NaN staying NaN and starting nothing anew."""
    seen = np.flatnonzero(np.isfinite(values))
    out = np.full(values.shape, np.nan)
    known: list[float] = values[seen].tolist()
    out[seen] = list(accumulate(known, lambda average, value: average + weight * (value - average)))
    return out
