"""A run in text: its notes and checkpoints, its answers to fixed prompts through time, the checks of an export."""

from __future__ import annotations

from textual.content import Content

from screens.safe import line, plain
from screens.widgets.facts import Fact
from workbench.charts.ticks import number
from workbench.events import Watched
from workbench.hardware import human_bytes
from workbench.live import Follower, Live

NOTES_SHOWN = 40
STEPS_SHOWN = 30
LINES_SHOWN = 4
"""Lines of an answer beside the charts."""


def notes(follower: Follower) -> Content:
    """What the worker said, newest first, and what it has saved."""
    live = follower.live
    rows: list[tuple[float, Content]] = []
    for note in live.notes[-NOTES_SHOWN:]:
        glyph = ("! ", "bold $accent") if note.level == "warning" else ("· ", "$quiet")
        rows.append((note.t, Content.assemble(glyph, line(note.text, limit=400))))
    for saved in live.saved[-NOTES_SHOWN:]:
        what = "the model" if saved.final else f"checkpoint {saved.step:,}"
        size = human_bytes(saved.size_bytes) + (f" in {saved.seconds:.0f} s" if saved.seconds >= 1 else "")
        rows.append((saved.t, Content.assemble(("▪ ", "$success"), f"saved {what}", (f"  {size}", "$quiet"))))
    told = [content for _, content in sorted(rows, key=lambda row: -row[0])]
    if follower.trouble:
        told.insert(0, Content.assemble(("! ", "bold $accent"), line(follower.trouble)))
    if live.unreadable:
        told.insert(0, Content.assemble(("! ", "bold $accent"), f"{live.unreadable:,} lines of its log cannot be read"))
    return Content("\n").join(told) if told else Content.styled("Nothing worth a note so far.", "$quiet")


def samples(live: Live, *, newest_only: bool = False) -> list[Fact]:
    """Every fixed prompt with the model's answers at each step, newest first."""
    if not live.watched:
        none_yet = "No samples yet: the run answers a few fixed prompts every so many steps."
        return [("", Content.styled(none_yet, "$quiet"))]
    newest_first = list(reversed(live.watched[-STEPS_SHOWN:]))
    facts: list[Fact] = []
    for at, (prompt, *_) in enumerate(_pairs(newest_first[0])):
        facts += [("", Content())] if facts else []
        facts.append(("", line(prompt, "bold $primary", limit=160)))
        for event in newest_first[: 3 if newest_only else None]:
            found = _pairs(event)
            if at < len(found):
                answer = found[at][1]
                shown = plain(_begun(answer), limit=240) if newest_only else plain(answer, limit=1_000)
                facts.append((_when(event, at), shown))
    return facts


def _begun(answer: str) -> str:
    """The first lines of an answer, or of the answers that a reward model has put in order."""
    lines = answer.strip().splitlines()
    return "\n".join(lines[:LINES_SHOWN]) + (" …" if len(lines) > LINES_SHOWN else "")


def _when(event: Watched, at: int) -> Content:
    """The step of an answer, and what it is worth where the run has a reward."""
    worth = event.rewards[at] if at < len(event.rewards) else None
    step = Content.styled(f"{event.step:>7,}", "$quiet")
    if worth is None:
        return step
    return Content.assemble(step, (f" {worth:>+6.2f} ", "$accent"))


def _pairs(event: Watched) -> list[tuple[str, str]]:
    """The samples that are a prompt and an answer; a log from elsewhere may hold anything."""
    return [(str(row[0]), str(row[1])) for row in event.samples if len(row) > 1]


def checks(live: Live) -> Content:
    """What an export wrote and whether it answers like the model that was trained."""
    rows = [
        Content.assemble(
            ("▪ ", "$success"), line(event.path, limit=120), (f"  {human_bytes(event.size_bytes)}", "$quiet")
        )
        for event in live.exported
    ]
    for check in live.verified:
        mark = ("✓ ", "bold $success") if check.passed else ("✗ ", "bold $error")
        said = check.detail or "  ".join(
            f"{name.replace('_', ' ')} {number(v) if v is not None else '–'}" for name, v in check.figures.items()
        )
        rows.append(
            Content.assemble(
                mark, line(f"{check.target} {check.check}", "$strong"), "  ", line(said, "$quiet", limit=300)
            )
        )
    return Content("\n").join(rows) if rows else Content.styled("Nothing written yet.", "$quiet")
