"""A verdict on a run's curves, and how its start and its latest stretch are read off them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workbench.series import Series

Level = Literal["warning", "good", "info"]
Floats = NDArray[np.float64]

LEAST_STEPS = 20
"""Fewer steps are noise."""
LEAST_END = 5
"""Values that the mean at either end is of, at least."""
SURELY = 3.0
"""A rise of so many standard errors is not chance."""


@dataclass(frozen=True)
class Verdict:
    """One sentence about a run, and how much it matters."""

    text: str
    level: Level = "info"


def finite_values(series: Series) -> Floats:
    """The values that are numbers, in their order."""
    return series.y[np.isfinite(series.y)]


def end_size(values: int, least: int = LEAST_END) -> int:
    """How many values the mean at either end is of: a tenth of them."""
    return max(least, values // 10)


def latest(series: Series, least_steps: int = LEAST_STEPS, least_end: int = LEAST_END) -> float | None:
    """The mean of the last tenth, None while there are too few steps."""
    values = finite_values(series)
    return float(values[-end_size(values.size, least_end) :].mean()) if values.size >= least_steps else None


def start_and_now(
    series: Series, least_steps: int = LEAST_STEPS, least_end: int = LEAST_END
) -> tuple[float, float] | None:
    """(mean of the first tenth, mean of the last tenth), None while there are too few steps."""
    values = finite_values(series)
    if values.size < least_steps:
        return None
    count = end_size(values.size, least_end)
    return float(values[:count].mean()), float(values[-count:].mean())


def standard_error(series: Series, least_end: int = LEAST_END) -> float:
    """The standard error of the difference of the two ends, from the values' spread from step to step.

    Differences of neighbours have twice the variance of the noise and hardly any of a trend (von Neumann, 1941).
    """
    values = finite_values(series)
    return float(np.diff(values).std() / np.sqrt(end_size(values.size, least_end)))
