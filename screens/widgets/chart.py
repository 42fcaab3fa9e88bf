"""A line chart in braille: up to four series, told apart by glyph and by colour, each with its last value at its end.

The engine (`workbench.charts.plot`) turns series into dots; this widget colours them and draws the axes. It draws again
when it gets new data, at most four times a second, and then only the rows that have changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.app import RenderResult
from textual.content import Content
from textual.filter import ANSIToTruecolor, LineFilter
from textual.geometry import Region, Size
from textual.reactive import reactive
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from workbench.charts import plot

GUTTER = 7
"""Cells left of the plot, whatever the numbers are, so that nothing jumps when they grow."""

END_LABEL = 8
"""Cells right of the plot: a glyph and a number."""

LEAST_SECONDS = 0.25
GLYPHS = "●◆▲■"
WINDOWS = (1.0, 0.5, 0.25, 0.1)
"""Shares of the steps that `]` and `[` step through, the newest at the right end."""

Styles = Mapping[int | str, Style]
"""By the owner of a cell, and of the axis and its numbers."""


class LineChart(Widget, can_focus=False):
    """Set `lines` through `show()`; `log_scale`, `full` and `window` change the view."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    LineChart {
        height: 1fr;
        width: 1fr;
        min-height: 5;
        border: round $border;
        border-title-color: $strong;
        border-title-style: none;
        border-subtitle-color: $quiet;
    }
    LineChart > .chart--axis { color: $rule; }
    LineChart > .chart--number { color: $quiet; }
    LineChart > .chart--one { color: $primary; }
    LineChart > .chart--one-dim { color: $primary 35%; }
    LineChart > .chart--two { color: $accent; }
    LineChart > .chart--two-dim { color: $accent 35%; }
    LineChart > .chart--three { color: $success; }
    LineChart > .chart--three-dim { color: $success 35%; }
    LineChart > .chart--four { color: #cc79a7; }
    LineChart > .chart--four-dim { color: #cc79a7 35%; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "chart--axis",
        "chart--number",
        *(f"chart--{name}{dim}" for name in ("one", "two", "three", "four") for dim in ("", "-dim")),
    }

    log_scale: reactive[bool] = reactive(False)
    full: reactive[bool] = reactive(False)
    window: reactive[float] = reactive(1.0)

    def __init__(
        self, title: str = "", *, log: bool = False, empty: str = "no data yet", id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self._title = title
        self._empty = empty
        self._lines: tuple[plot.Line, ...] = ()
        self._strips: list[Strip] = []
        self._drawn_for = Size(0, 0)
        self._coloured: tuple[Style, Styles] | None = None
        self._last_drawn = float("-inf")
        self._timer: Timer | None = None
        self._labelled = (Content(""), Content(""))
        self._place = ""
        self.set_reactive(LineChart.log_scale, log)

    # -- what it shows

    def show(
        self, lines: Sequence[plot.Line], *, title: str | None = None, empty: str | None = None, place: str = ""
    ) -> None:
        """Other data. Drawn now, or a little later where it was drawn less than a quarter of a second ago.

        `place` is written in the frame: which chart of how many it is.
        """
        self._place = place
        self._lines = tuple(lines[: plot.MAX_LINES])
        self._title = self._title if title is None else title
        self._empty = self._empty if empty is None else empty
        wait = self._last_drawn + LEAST_SECONDS - self._now()
        if wait <= 0 or title is not None:
            self._redraw()
        elif self._timer is None:
            self._timer = self.set_timer(wait, self._redraw)

    def _now(self) -> float:
        return self.app._loop.time() if self.app._loop is not None else 0.0

    def watch_log_scale(self) -> None:
        self._redraw()

    def watch_full(self) -> None:
        self._redraw()

    def watch_window(self) -> None:
        self._redraw()

    def zoom(self, closer: bool) -> None:
        """Shows a smaller (or larger) share of the newest steps."""
        at = WINDOWS.index(self.window) + (1 if closer else -1)
        self.window = WINDOWS[max(0, min(at, len(WINDOWS) - 1))]

    # -- drawing

    def on_resize(self) -> None:
        self._redraw()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._drawn_for = Size(0, 0)
        self._coloured = None

    def _redraw(self) -> None:
        """Makes the rows anew and asks for those that differ from what is on screen."""
        self._timer = None
        if not self.is_mounted or not self.size.area:
            return
        self._last_drawn = self._now()
        before, self._strips = self._strips, self._make()
        self._label()
        size = self.size
        if len(before) != len(self._strips) or size != self._drawn_for:
            self._drawn_for = size
            self.refresh()
            return
        changed = [y for y, (old, new) in enumerate(zip(before, self._strips, strict=True)) if old != new]
        if changed:  # with the frame at both ends: a row without it would be cut out of the whole one
            self.refresh(*(Region(-1, y, size.width + 2, 1) for y in changed))

    def render_lines(self, crop: Region) -> list[Strip]:
        if (size := self.size) != self._drawn_for:
            self._strips = self._make()
            self._drawn_for = size
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        return self._strips[y] if y < len(self._strips) else Strip.blank(self._drawn_for.width, self.rich_style)

    def render(self) -> RenderResult:
        return ""

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Without the one that translates a terminal's own sixteen colours: a chart has none of them."""
        return [each for each in super().get_line_filters() if not isinstance(each, ANSIToTruecolor)]

    def _label(self) -> None:
        title = self._named()
        if title != self._labelled[0]:  # setting it draws the whole frame
            self.border_title = title
        words = [word for word, on in (("log", self.log_scale), ("full range", self.full)) if on]
        if self.window < 1:
            words.append(f"last {self.window:.0%}")
        words += [self._place] if self._place else []
        subtitle = Content(f" {' · '.join(words)} " if words else "")
        if subtitle != self._labelled[1]:
            self.border_subtitle = subtitle
        self._labelled = (title, subtitle)

    def _named(self) -> Content:
        """The title with the lines' names. Where both do not fit, what is said twice goes first, then the unit."""
        names = [line.name for line in self._lines] if len(self._lines) > 1 else []
        short = _said_once(names)
        unitless = self._title.partition(",")[0]
        room = self.size.width - 4  # corners, and the blanks that Textual puts around a title
        tries = [self._legend(title, parts) for title, parts in (
            (self._title, [((at,), name) for at, name in enumerate(names)]), (self._title, short), (unitless, short),
        )]  # fmt: skip
        return next((title for title in tries if title.cell_length <= room), tries[-1])

    def _legend(self, title: str, parts: Sequence[tuple[tuple[int, ...], str]]) -> Content:
        legend = Content("").join(
            Content("  ")
            + Content("").join(Content.styled(GLYPHS[at], self._colour(at)) for at in lines)
            + Content.styled(f" {name}", self._colour(lines[0]))
            for lines, name in parts
        )
        return Content.assemble(f" {title}", legend, " ")

    def _colour(self, index: int) -> str:
        return ("$primary", "$accent", "$success", "#cc79a7")[index]

    def _make(self) -> list[Strip]:
        size = self.size
        width, height = size.width - GUTTER - END_LABEL, size.height - 1
        if width < 4 or height < 2:
            return [Strip.blank(size.width, self.rich_style)] * size.height
        drawn = plot.picture(self._lines, plot.View(width, height, self.log_scale, self.full, self.window))
        if drawn.empty:
            return self._nothing()
        styles = self._styles()
        ticks, ends = {tick.cell: tick.text for tick in drawn.y_ticks}, {end.row: end for end in reversed(drawn.ends)}
        strips = []
        for y, runs in enumerate(plot.runs(drawn, GLYPHS)):
            cells = [Segment(text, styles[owner]) for text, owner in runs]
            segments = [*_left(ticks.get(y, ""), styles), *cells, _right(ends.get(y), styles)]
            strips.append(Strip(segments, size.width))
        return [*strips, self._x_axis(drawn, width, styles)]

    def _nothing(self) -> list[Strip]:
        text = self._empty.center(self.size.width)[: self.size.width]
        middle = (self.size.height - 1) // 2
        quiet, base = self.get_component_rich_style("chart--number"), self.rich_style
        return [
            Strip([Segment(text, quiet)], self.size.width) if y == middle else Strip.blank(self.size.width, base)
            for y in range(self.size.height)
        ]

    def _styles(self) -> Styles:
        """Worked out anew with other styles, or on another background than the last time."""
        base = self.rich_style
        if self._coloured is None or self._coloured[0] != base:
            self._coloured = base, self._work_out(base)
        return self._coloured[1]

    def _work_out(self, base: Style) -> Styles:
        found: dict[int | str, Style] = {-1: base}
        for index, name in enumerate(("one", "two", "three", "four")):
            found[2 * index] = self.get_component_rich_style(f"chart--{name}")
            found[2 * index + 1] = self.get_component_rich_style(f"chart--{name}-dim")
        found["axis"] = self.get_component_rich_style("chart--axis")
        found["number"] = self.get_component_rich_style("chart--number")
        return found

    def _x_axis(self, drawn: plot.Picture, width: int, styles: Styles) -> Strip:
        cells = [" "] * width
        for tick in drawn.x_ticks:
            cells[tick.cell : tick.cell + len(tick.text)] = tick.text
        text = " " * GUTTER + "".join(cells) + " " * END_LABEL
        return Strip([Segment(text, styles["number"])], self.size.width)


def _left(tick: str, styles: Styles) -> tuple[Segment, Segment]:
    """What stands left of a row: its number, if it has one, and the axis."""
    number = Segment(tick[: GUTTER - 1].rjust(GUTTER - 1), styles["number"])
    return number, Segment("┤" if tick else "│", styles["axis"])


def _right(end: plot.End | None, styles: Styles) -> Segment:
    """What stands right of a row: the last value of a line that ends there."""
    if end is None:
        return Segment(" " * END_LABEL, styles[-1])
    return Segment(f" {GLYPHS[end.line]}{end.text}"[:END_LABEL].ljust(END_LABEL), styles[2 * end.line])


def _said_once(names: Sequence[str]) -> list[tuple[tuple[int, ...], str]]:
    """Names with the lines they stand for: `chosen, held out` and `rejected, held out` share one `held out`."""
    found: dict[str, tuple[int, ...]] = {}
    for at, name in enumerate(names):
        last = name.rpartition(", ")[2]
        found[last] = (*found.get(last, ()), at)
    return [(lines, name) for name, lines in found.items()]
