"""The two rows over a run's charts: its figures, and what they say in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Static

from screens.active import run_title
from screens.safe import line, one_line
from screens.sources import makes_rewards
from screens.widgets.lineage import STATE_STYLE
from screens.widgets.status import bar, duration
from workbench.charts.ticks import number
from workbench.charts.verdict import Verdict
from workbench.hardware import human_bytes
from workbench.job import Job
from workbench.live import Live
from workbench.runs import Run
from workbench.runs.status import Status

NEXT = {
    "sample": (("5", "rank its answers"),),
    "score": (("5", "rank: i there begins with what it doubts"),),
    "export": (("7", "exports"), ("8", "chat: m there picks the file")),
}
"""The keys that go on from a finished run that trains nothing."""

BAR_CELLS = 16
NARROW_COLUMNS = 100
"""Below it the row has a short bar, and no room for which charts are shown."""
MOST_SPOKEN = 3


@dataclass(frozen=True)
class Stats:
    """A run's figures of the moment."""

    title: str = ""
    status: Status | None = None
    figures: tuple[tuple[str, str], ...] = ()
    """(name, value), the most important first: those that do not fit are left out."""

    @classmethod
    def of(cls, run: Run, live: Live, status: Status) -> Stats:
        """The figures of a followed run."""
        found: list[tuple[str, str]] = []
        aim = "reward" if "reward" in live.metrics else "loss"  # where there is a reward, the loss says nothing
        now, held_out, kl = live.metrics.get(aim), live.evaluations.get(aim), live.metrics.get("kl")
        if now is not None and len(now):
            found.append((aim, number(now.last) if now.last is not None else "not finite"))
        if held_out is not None and held_out.last is not None:
            found.append(("held out", number(held_out.last)))
        if kl is not None and kl.last is not None:
            found.append(("KL", number(kl.last)))
        if live.completed:
            found.append(("completions", f"{live.completed:,}"))
        if status.alive and live.eta_seconds is not None:
            found.append(("left", duration(live.eta_seconds)))
        writing = live.metrics.get("bytes_per_second")
        if status.alive and writing is not None and writing.last:
            found.append(("writes", f"{human_bytes(round(writing.last))}/s"))
        if live.tokens_per_second:
            found.append(("tok/s", number(live.tokens_per_second)))
        if live.memory_bytes:
            found.append(("memory", f"{live.memory_bytes / 2**30:.1f} GiB"))
        if live.device:
            found.append(("on", f"{live.device} {live.dtype}".strip()))
        if live.trainable_parameters:
            found.append(("trains", f"{number(live.trainable_parameters)} of {number(live.total_parameters)}"))
        return cls(run_title(run.job), status, tuple(found))


class RunStats(Widget, can_focus=False):
    """One row: state, name, progress, figures."""

    stats: reactive[Stats] = reactive(Stats())
    charts: reactive[tuple[int, int, int]] = reactive((0, 0, 0))
    """The first and the last chart on screen, and how many there are."""

    def render(self) -> Content:
        stats, width = self.stats, self.size.width
        status = stats.status
        if status is None:
            return Content.styled(" reading the run's log…", "$quiet")
        style = STATE_STYLE.get(status.state, "$quiet")
        row = Content.assemble(
            (f" {status.glyph} {status.state}  ", f"bold {style}"), line(one_line(stats.title, 30), "bold $strong")
        )
        if status.total_steps:
            share = status.step / status.total_steps
            steps = f" {status.step:,}/{status.total_steps:,}"
            row = Content.assemble(
                row,
                "  ",
                (bar(share, BAR_CELLS if width >= NARROW_COLUMNS else BAR_CELLS // 2), "$primary"),
                (steps, "$strong"),
            )
        first, last, count = self.charts
        if count > last - first + 1 and width >= NARROW_COLUMNS:
            shown = f"{first}" if first == last else f"{first}-{last}"
            more = Content.assemble(
                (f"chart{'' if first == last else 's'} {shown} of {count} ", "$quiet"), ("tab", "bold $accent"), " "
            )
            width -= more.cell_length + 2
        else:
            more = Content("")
        for name, value in stats.figures:
            piece = Content.assemble("  ", (f"{name} ", "$quiet"), (one_line(value, 24), "$strong"))
            if row.cell_length + piece.cell_length > width:
                break
            row = row + piece
        row = row.truncate(width, ellipsis=True)
        return (
            row if not more.cell_length else row.pad_right(self.size.width - row.cell_length - more.cell_length) + more
        )


GLYPHS = {"warning": ("! ", "bold $accent"), "good": ("✓ ", "$success"), "info": ("· ", "$quiet")}


class Spoken(Static):
    """What the run's curves and its ending say, in sentences, and the keys that make sense now."""

    def say(self, status: Status, verdicts: Sequence[Verdict], job: Job) -> None:
        """The state's own sentence where it matters, else the verdicts."""
        rows = []
        if status.state != "running":
            rows += ending(status, job)
        for verdict in verdicts[: MOST_SPOKEN - len(rows)]:
            glyph, style = GLYPHS[verdict.level]
            rows.append(
                Content.assemble(
                    (glyph, style), line(verdict.text, limit=400, style="" if verdict.level == "warning" else "$quiet")
                )
            )
        if not rows:
            rows.append(Content.assemble(("· ", "$quiet"), line(status.sentence, "$quiet")))
        self.update(Content("\n").join(rows))


def ending(status: Status, job: Job) -> list[Content]:
    """How a run stands or ended, and the keys to go on with, in a row of their own."""
    style = STATE_STYLE.get(status.state, "$quiet")
    told = Content.assemble((f"{status.glyph} ", f"bold {style}"), line(status.sentence, "$strong", limit=400))
    if status.state == "finished" and makes_rewards(job):
        return [told, _keys(("p", "PPO with it"), ("5", "rank: i there begins with what it doubts"))]
    if status.state == "finished" and job.kind == "train":
        return [told, _keys(("s", "sample from it"), ("e", "export it"), ("c", "chat with it"))]
    if status.state == "finished":
        return [told, _keys(*NEXT[job.kind])]
    if status.state in ("stopped", "died", "failed"):
        hint = Content.assemble(" ", line(status.hint, "$quiet")) if status.state == "failed" else Content("")
        return [told + hint, _keys(("r", "resume"), ("l", "log"))]
    return [told]


def _keys(*keys: tuple[str, str]) -> Content:
    parts = [Content.assemble((f"  {key}", "bold $accent"), (f" {word}", "$quiet")) for key, word in keys]
    return Content("").join(parts)
