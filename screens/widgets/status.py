"""The status row: an error or a notice while it matters, else the active run, else the next step."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from screens.active import ActiveRun
from screens.safe import line, one_line
from screens.widgets.title import WIDE_COLUMNS
from workbench.errors import WorkbenchError

LEAST_HINT = 16
"""Columns below which the beginning of a hint says nothing."""


class StatusRow(Widget, can_focus=False):
    """One row at the foot of every screen. The screen sets the attributes; it decides what wins."""

    error: reactive[WorkbenchError | None] = reactive(None)
    notice: reactive[str] = reactive("")
    active: reactive[ActiveRun | None] = reactive(None)
    next_step: reactive[str] = reactive("")
    where: reactive[str] = reactive("")

    def render(self) -> Content:
        width = self.size.width - 2
        left = self._left() if self.error is None else told(self.error, width)
        right = line(self.where, "$quiet", limit=40) if self.size.width < WIDE_COLUMNS else Content("")
        if left.cell_length + right.cell_length + 2 > width:  # what is said goes before where one is
            right = Content("")
        left = left.truncate(max(0, width - right.cell_length - 1), ellipsis=True)
        gap = " " * max(1, width - left.cell_length - right.cell_length)
        return Content.assemble(" ", left, gap, right)

    def holds(self, notice: str) -> bool:
        """Whether all of a notice can be read in the row."""
        return line(notice).cell_length + 6 <= self.size.width

    def _left(self) -> Content:
        if self.notice:
            return Content.assemble(("› ", "bold $accent"), line(self.notice))
        if self.active is not None:
            return run_line(self.active)
        if self.next_step:
            return Content.assemble(("next  ", "$accent"), line(self.next_step))
        return Content.assemble(("no run active", "$quiet"))


def told(error: WorkbenchError, width: int) -> Content:
    """An error in a row, the key to all of it always among it."""
    key = Content.styled("  e details", "$primary")
    message = Content.assemble(("✗ ", "bold $error"), line(error.message, "bold"))
    row = message.truncate(width - key.cell_length - 1, ellipsis=True) + key
    hint = Content("  ") + line(error.hint, "$quiet")
    return row + hint if row.cell_length + LEAST_HINT < width else row


def run_line(run: ActiveRun) -> Content:
    """A run in a row: state, name, how far, loss, time left. The state is a word, the colour only repeats it."""
    parts = [Content.assemble((f"{run.glyph} {run.state} ", "bold $accent"), (one_line(run.title, 40), "$strong"))]
    if run.total_steps:
        parts.append(
            Content.assemble((bar(run.step / run.total_steps, 10), "$primary"), f" {run.step}/{run.total_steps}")
        )
    if run.figure:
        parts.append(line(run.figure))
    if run.eta_seconds is not None:
        parts.append(Content.styled(f"{duration(run.eta_seconds)} left", "$quiet"))
    if run.waiting:
        parts.append(Content.styled(f"+{run.waiting} queued", "$quiet"))
    return Content("  ").join(parts)


def bar(share: float, width: int) -> str:
    """A bar of `width` cells, readable without colour."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(width, "░")


def duration(seconds: float) -> str:
    """`42 s`, `3 min`, `2 h 05`: as long as a person would say it."""
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    if seconds < 5_400:
        return f"{round(seconds / 60)} min"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d}"
