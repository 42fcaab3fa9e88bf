"""Lines as dots of a braille grid: the columns of `workbench.charts.columns`, limits, ticks and end labels.

A cell of the terminal holds 2 × 4 dots, so a plot of `width` × `height` cells has 2·width columns and 4·height rows.
This module never draws: `screens/widgets/chart.py` turns its `Picture` into a widget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from workbench.charts.columns import Columns, Floats, connect, decimate, smoothed
from workbench.charts.ticks import nice_ticks, number, numbers

MAX_LINES = 4
"""More lines than this cannot be told apart in one chart."""

PERCENTILES = (1.0, 99.0)
"""Limits of the y axis: one wild step must not flatten the rest. `full` shows everything."""

PERCENTILES_FROM = 50
"""Fewer points than this are all shown: a percentile of them would cut real ones off."""

LEAST_SPAN = 0.002
"""Of the values' size. Labels have four digits: on a finer axis 0.69312 and 0.69315 stood side by side as 0.6931."""

LIMIT_SAMPLE = 20_000
"""Points looked at to choose the limits; a stride over the rest changes them by less than a dot."""

MARKED_UP_TO = 24
"""A line of so few points (measurements, not steps) gets a mark on each."""

BRAILLE = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], dtype=np.uint8)
BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, eq=False)
class Line:
    """One series: x ascending, y with NaN where a value was not finite. `smooth` draws its average over a dim band."""

    name: str
    x: Floats
    y: Floats
    smooth: bool = False


@dataclass(frozen=True)
class View:
    """What of the lines is shown and how: cells, scale, limits, and the share of x kept at the right end."""

    width: int
    height: int
    log: bool = False
    full: bool = False
    window: float = 1.0


@dataclass(frozen=True)
class Tick:
    """A number on an axis, at a cell of it."""

    cell: int
    text: str


@dataclass(frozen=True)
class Mark:
    """A single point worth a glyph of its own."""

    row: int
    column: int
    line: int


@dataclass(frozen=True)
class End:
    """Where a line ends and at which value: its label goes beside this row."""

    row: int
    text: str
    line: int


@dataclass(frozen=True, eq=False)
class Picture:
    """A plot in cells: dot patterns, whose they are, and everything written around them."""

    dots: NDArray[np.uint8]
    """(height, width): braille dots, 0 where a cell is empty."""
    owner: NDArray[np.int8]
    """(height, width): 2·line for a bright cell, 2·line + 1 for a dim one, -1 for an empty one."""
    marks: tuple[Mark, ...] = ()
    y_ticks: tuple[Tick, ...] = ()
    x_ticks: tuple[Tick, ...] = ()
    ends: tuple[End, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.dots.any() and not self.marks


def limits(lines: Sequence[Floats], full: bool) -> tuple[float, float]:
    """(bottom, top) of the y axis for these values, with a little air; (0, 1) where nothing is finite."""
    samples = [y[:: max(1, y.size // LIMIT_SAMPLE)] if not full else y for y in lines if y.size]
    values = np.concatenate(samples) if samples else np.zeros(0)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    if full or values.size < PERCENTILES_FROM:
        bottom, top = float(values.min()), float(values.max())
    else:
        ordered = np.sort(values)  # a third of what np.percentile takes
        bottom, top = (_quantile(ordered, percent / 100) for percent in PERCENTILES)
    size = max(abs(top), abs(bottom))
    if top - bottom <= 1e-12 * max(size, 1e-300):
        air = size * 0.05 or 0.5
    else:
        air = max((top - bottom) * 0.04, (LEAST_SPAN * size - (top - bottom)) / 2)
    return bottom - air, top + air


def _quantile(ordered: Floats, share: float) -> float:
    place = share * (ordered.size - 1)
    low, high = ordered[int(place)], ordered[min(int(place) + 1, ordered.size - 1)]
    return float(low + (place - int(place)) * (high - low))


def picture(lines: Sequence[Line], view: View) -> Picture:
    """The lines as dots and labels. An empty picture where there is nothing finite to draw."""
    width, height = max(view.width, 1), max(view.height, 1)
    dots = np.zeros((height, width), dtype=np.uint8)
    owner = np.full((height, width), -1, dtype=np.int8)
    scaled = {index: _scaled(line, view.log) for index, line in enumerate(lines[:MAX_LINES]) if line.x.size}
    span = _span(list(scaled.values()), view.window)
    shown = {index: _within(line, *span) for index, line in scaled.items()}
    if not any(np.isfinite(line.y).any() for line in shown.values()):
        return Picture(dots, owner)
    bottom, top = limits([line.y for line in shown.values()], view.full)
    scale = _Scale(bottom, top, height, view.log)
    marks: list[Mark] = []
    ends: list[End] = []
    for index, line in reversed(shown.items()):
        _draw(line, index, span, scale, dots, owner)
        marks += _marks(line, index, span, scale, width)
        ends += _end(line, index, scale)
    return Picture(
        dots,
        owner,
        tuple(marks),
        scale.ticks(),
        _x_ticks(*span, width),
        tuple(sorted(_apart(ends, height), key=lambda end: end.line)),
    )


@dataclass(frozen=True)
class _Scale:
    """From values (already logarithms when `log`) to rows of dots and of cells."""

    bottom: float
    top: float
    height: int
    log: bool

    def dot_rows(self, values: Floats) -> NDArray[np.int64]:
        """Rows of dots from the top, values beyond the limits on the edge; the caller leaves NaN out."""
        share = (self.top - values) / (self.top - self.bottom)
        return np.clip(np.rint(share * (4 * self.height - 1)), 0, 4 * self.height - 1).astype(np.int64)

    def cell(self, value: float) -> int:
        return int(self.dot_rows(np.array([value]))[0]) // 4

    def ticks(self) -> tuple[Tick, ...]:
        values = nice_ticks(self.bottom, self.top, max(2, min(4, self.height // 2)))
        texts = [number(10**v) for v in values] if self.log else numbers(values)
        found: dict[int, str] = {}
        for value, text in zip(values, texts, strict=True):
            found.setdefault(self.cell(value), text)
        return tuple(Tick(cell, text) for cell, text in sorted(found.items()))


def _scaled(line: Line, log: bool) -> Line:
    if not log:
        return line
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.log10(line.y)
    return Line(line.name, line.x, np.where(np.isfinite(y), y, np.nan), line.smooth)


def _span(lines: Sequence[Line], window: float) -> tuple[float, float]:
    if not lines:
        return 0.0, 1.0
    x0, x1 = min(float(line.x[0]) for line in lines), max(float(line.x[-1]) for line in lines)
    if x1 <= x0:
        return x0, x0 + 1.0
    return x1 - (x1 - x0) * window, x1


def _within(line: Line, x0: float, x1: float) -> Line:
    start = int(np.searchsorted(line.x, x0, side="left"))
    return Line(line.name, line.x[start:], line.y[start:], line.smooth) if start else line


def _draw(
    line: Line,
    index: int,
    span: tuple[float, float],
    scale: _Scale,
    dots: NDArray[np.uint8],
    owner: NDArray[np.int8],
) -> None:
    """Draws the line over what is there: first its dim band if it is smoothed, then its bright line."""
    columns = decimate(line.x, line.y, *span, 2 * dots.shape[1])
    if line.smooth and columns.filled.size > 8:
        _paint(*connect(columns), 2 * index + 1, scale, dots, owner)
        average = smoothed(columns.mean)
        columns = Columns(average, average.copy(), average.copy(), average.copy(), average, columns.filled)
    _paint(*connect(columns), 2 * index, scale, dots, owner)


def _paint(
    low: Floats,
    high: Floats,
    code: int,
    scale: _Scale,
    dots: NDArray[np.uint8],
    owner: NDArray[np.int8],
) -> None:
    """Sets the dots between low and high in every column; a cell belongs to whoever painted it last."""
    height, width = dots.shape
    seen = np.isfinite(low)
    upper = np.full(low.shape, 4 * height, dtype=np.int16)
    lower = np.full(low.shape, -1, dtype=np.int16)
    upper[seen], lower[seen] = scale.dot_rows(high[seen]), scale.dot_rows(low[seen])
    rows = np.arange(4 * height, dtype=np.int16)[:, None]
    mask = (rows >= upper) & (rows <= lower)  # (4·height, 2·width)
    cells = mask.view(np.uint8).reshape(height, 4, width, 2)
    painted = np.zeros_like(dots)
    for row, column in np.ndindex(4, 2):
        painted |= cells[:, row, :, column] * BRAILLE[row, column]
    where = painted > 0
    dots[where] = painted[where]
    owner[where] = code


def _marks(line: Line, index: int, span: tuple[float, float], scale: _Scale, width: int) -> list[Mark]:
    if line.smooth:
        return []
    seen = np.isfinite(line.y)
    if not 0 < int(seen.sum()) <= MARKED_UP_TO:
        return []
    share = (line.x[seen] - span[0]) / (span[1] - span[0])
    columns = np.clip((share * width).astype(int), 0, width - 1)
    return [
        Mark(int(row) // 4, int(column), index)
        for row, column in zip(scale.dot_rows(line.y[seen]), columns, strict=True)
    ]


def _end(line: Line, index: int, scale: _Scale) -> list[End]:
    last = line.y[-1:] if np.isfinite(line.y[-1:]).all() else line.y[np.isfinite(line.y)][-1:]
    if not last.size:
        return []
    value = float(last[0])
    return [End(scale.cell(value), number(10**value if scale.log else value), index)]


def _apart(ends: Sequence[End], height: int) -> list[End]:
    """End labels moved so that no two share a row: downwards, then up from the bottom where they ran out of rows."""
    ordered = sorted(ends, key=lambda end: (end.row, end.line))
    rows: list[int] = []
    for end in ordered:
        rows.append(max(end.row, rows[-1] + 1) if rows else end.row)
    for place in range(len(rows) - 1, -1, -1):
        rows[place] = min(rows[place], height - len(rows) + place)
    return [End(row, end.text, end.line) for row, end in zip(rows, ordered, strict=True) if row >= 0]


def _x_ticks(x0: float, x1: float, width: int) -> tuple[Tick, ...]:
    """Round numbers of steps under the plot; a label that would touch its neighbour is left out."""
    values = [v for v in nice_ticks(x0, x1, max(2, min(5, width // 12))) if x0 <= v <= x1 and v.is_integer()]
    ticks: list[Tick] = []
    for value, text in zip(values, [number(v) for v in values], strict=True):
        cell = min(int((value - x0) / (x1 - x0) * (width - 1)), width - len(text))
        if cell >= 0 and (not ticks or cell > ticks[-1].cell + len(ticks[-1].text) + 1):
            ticks.append(Tick(cell, text))
    return tuple(ticks)


def runs(drawn: Picture, glyphs: str) -> list[list[tuple[str, int]]]:
    """Rows of (text, owner): neighbours of one owner together, `glyphs` for marks by line, braille for the rest.

    An empty cell counts to the one on its left: fewer changes of colour to write.
    """
    codes = np.where(drawn.dots > 0, drawn.dots.astype(np.uint32) + 0x2800, 0x20).astype("<u4")
    places = np.where(drawn.owner >= 0, np.arange(drawn.owner.shape[1]), 0)
    owner = np.take_along_axis(drawn.owner, np.maximum.accumulate(places, axis=1), axis=1)
    for mark in drawn.marks:
        codes[mark.row, mark.column], owner[mark.row, mark.column] = ord(glyphs[mark.line]), 2 * mark.line
    return [_row(row.tobytes().decode("utf-32-le"), of) for row, of in zip(codes, owner, strict=True)]


def _row(text: str, owner: NDArray[np.int8]) -> list[tuple[str, int]]:
    starts = [0, *(np.flatnonzero(owner[1:] != owner[:-1]) + 1).tolist()]
    return [(text[a:b], int(owner[a])) for a, b in pairwise([*starts, len(text)])]


def sparkline(values: Floats, width: int) -> str:
    """A series in one row of block characters: the mean of each column between the least and the greatest."""
    if not values.size or not np.isfinite(values).any():
        return ""
    width = min(width, values.size)
    means = decimate(np.arange(values.size, dtype=float), values, 0, values.size - 1 or 1, width).mean
    low, high = np.nanmin(means), np.nanmax(means)
    share = (means - low) / (high - low) if high > low else np.zeros(width)
    return "".join(" " if np.isnan(s) else BLOCKS[int(s * 7.999)] for s in share)
