"""How long rows are in tokens, as columns of blocks, with the longest rows that presets use marked on the axis."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from screens.safe import plain
from workbench.charts.ticks import nice_ticks, number
from workbench.lengths import MARKS, Spread

EIGHTHS = " ▁▂▃▄▅▆▇█"
WORDS_ROWS = 3
"""Rows that are not the chart's: a sentence above it, its axis, and what the marks cut."""


class LengthChart(Widget, can_focus=False):
    """Set `spread`, or `said` where there is none: a sentence of why, or that it is on its way."""

    DEFAULT_CSS = "LengthChart { height: 1fr; width: 1fr; }"
    spread: reactive[Spread | None] = reactive(None)
    said: reactive[str] = reactive("")

    def render(self) -> Content:
        spread = self.spread
        if spread is None or not spread.sizes:
            return plain(self.said or "There are no rows to measure.", "$quiet")
        width, height = self.size.width, max(1, self.size.height - WORDS_ROWS)
        columns = spread.columns(max(1, width))
        across = max(1, width // len(columns))
        tall = [count for count in columns for _ in range(across)]
        marks = {place: mark for mark in MARKS if (place := _place(spread, mark, len(tall))) is not None}
        rows = [_row(tall, max(columns), row, height, marks) for row in range(height)]
        words = _sentence(spread, width), *rows, _axis(spread, len(tall), marks), _cuts(spread)
        return Content("\n").join(line.truncate(width, ellipsis=True) for line in words)


def _place(spread: Spread, tokens: int, width: int) -> int | None:
    """The cell of a number of tokens; None beyond the axis."""
    return int(tokens / (spread.axis_end + 1) * width) if tokens <= spread.axis_end else None


def _sentence(spread: Spread, width: int) -> Content:
    """Median, longest, and as many words on what was measured as there is room for."""
    of = "prompt" if spread.kind in ("prompts", "held out") else "prompt and answer"
    part = f"  ({len(spread.sizes):,} of {spread.rows:,} measured)" if len(spread.sizes) < spread.rows else ""
    figures = Content.assemble(
        ("median ", "$quiet"), (f"{spread.median:,}", "$strong"),
        ("  longest ", "$quiet"), (f"{spread.longest:,}", "$strong"),
    )  # fmt: skip
    said = [figures + Content.styled(f"{what}{part}", "$quiet") for what in (f"  tokens of {of}", "  tokens", "")]
    return next((sentence for sentence in said if sentence.cell_length <= width), said[-1])


def _row(columns: list[int], most: int, row: int, height: int, marks: dict[int, int]) -> Content:
    """One row of the chart, the topmost first; marks stand behind the columns."""
    cells = []
    for place, count in enumerate(columns):
        eighths = max(round(count / most * height * 8), 1 if count else 0) - (height - 1 - row) * 8
        block = EIGHTHS[max(0, min(8, eighths))]
        past = any(place >= mark for mark in marks)
        if block == " " and place in marks:
            cells.append(("│", "$accent"))
        else:
            cells.append((block, "$accent" if past else "$primary"))
    return Content.assemble(*cells)


def _axis(spread: Spread, width: int, marks: dict[int, int]) -> Content:
    """Round numbers below the chart, and how many rows are beyond its end; the marks go before them."""
    cells, taken = [" "] * width, [False] * width
    numbers = [(place, str(mark)) for place, mark in marks.items()]
    if beyond := spread.longer_than(spread.axis_end):
        numbers.append((width, f"{beyond:,} longer →"))
    for tick in nice_ticks(0, spread.axis_end, max(2, width // 14)):
        place = _place(spread, int(tick), width)
        numbers += [(place, number(tick))] if place is not None else []
    for place, text in numbers:
        start = min(place, width - len(text))
        if start < 0 or any(taken[max(0, start - 1) : start + len(text) + 1]):
            continue
        cells[start : start + len(text)] = text
        taken[start : start + len(text)] = [True] * len(text)
    return Content.styled("".join(cells), "$quiet")


def _cuts(spread: Spread) -> Content:
    """How many rows each of the usual longest rows would cut."""
    parts = []
    for mark in MARKS:
        count = spread.longer_than(mark)
        share = count / len(spread.sizes)
        told = "none" if not count else f"{count:,}" if len(spread.sizes) == spread.rows else f"~{share:.1%}"
        parts.append(Content.assemble((f"{mark:,}: ", "$strong"), (told, "$accent" if count else "$quiet")))
    return Content.styled("cut at  ", "$quiet") + Content("  ").join(parts)
