"""What a run is about, beside the list: how it stands, its order, its place among the models, its notes."""

from __future__ import annotations

import time
from collections.abc import Sequence

from textual.content import Content

from screens.active import run_title
from screens.safe import line
from screens.widgets.lineage import STATE_STYLE, lineage
from screens.widgets.status import duration
from workbench import methods
from workbench.charts.ticks import number
from workbench.errors import SettingError
from workbench.fields import Value
from workbench.job import Job
from workbench.runs.table import RunRow, differences

ALWAYS = ("how", "rank", "learning_rate", "epochs", "micro_batch", "accumulation", "max_length", "beta")
"""Settings worth a line whatever their value."""


def details(row: RunRow, rows: Sequence[RunRow], base_name: str) -> Content:
    """Everything about one run."""
    parts = [_state(row), _order(row.job), _settings(row.job)]
    if row.figures.notes:
        notes = [Content.assemble(("· ", "$quiet"), line(note, limit=300)) for note in reversed(row.figures.notes)]
        parts.append(_block("notes", Content("\n").join(notes)))
    if row.job.kind == "train":
        tree = lineage([(found.job, found.status) for found in reversed(rows)], base_name)
        parts.append(_block("lineage", tree))
    return Content("\n\n").join(parts)


def _block(title: str, body: Content) -> Content:
    return Content.assemble((f"{title}\n", "$quiet"), body)


def _state(row: RunRow) -> Content:
    status = row.status
    style = STATE_STYLE.get(status.state, "$quiet")
    told = Content.assemble(
        (f"{status.glyph} {status.state} ", f"bold {style}"),
        line(run_title(row.job), "bold $strong"),
        "\n",
        line(status.sentence),
    )
    if status.hint:
        told += Content.assemble("\n", line(status.hint, "$quiet", limit=300))
    if status.state in ("stopped", "died", "failed"):
        told += Content.assemble("\n", ("r", "bold $accent"), (" resumes it", "$quiet"))
    return told


def _order(job: Job) -> Content:
    age = duration(max(0.0, time.time() - job.created))
    at = f" @{job.checkpoint}" if job.checkpoint is not None else ""
    rows = [
        ("from", f"run {job.parent}{at}" if job.parent else job.base.name),
        ("base", job.base.name if job.parent else ""),
        ("preset", job.preset),
        ("data", " · ".join(f"{count:,} {what}" for what, count in job.counts.items())),
        ("ordered", f"{age} ago"),
    ]
    return _table([(name, value) for name, value in rows if value])


def _settings(job: Job) -> Content:
    """The settings that matter or differ from their defaults: all of them would hide these."""
    usual = _defaults(job)
    shown = {n: v for n, v in job.settings.items() if n in ALWAYS or (v != usual[n] if n in usual else v != "")}
    return _block("settings", _table([(name.replace("_", " "), _value(value)) for name, value in shown.items()]))


def _defaults(job: Job) -> dict[str, Value]:
    if job.kind != "train":
        return {}
    try:
        method = methods.get(job.action)
    except SettingError:  # a method this version does not know: every setting is shown
        return {}
    return {field.name: method.defaults.get(field.name, field.default) for field in method.all_fields}


def _value(value: Value) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _table(rows: Sequence[tuple[str, str]]) -> Content:
    width = max((len(name) for name, _ in rows), default=0) + 2
    lines = [Content.assemble((name.ljust(width), "$quiet"), line(value, "$strong", limit=120)) for name, value in rows]
    return Content("\n").join(lines)


def comparison(one: RunRow, other: RunRow) -> Content:
    """In what two runs differ: their orders first, then what came of them."""
    outcome = [
        ("state", one.status.state, other.status.state),
        ("loss", _figure(one.figures.loss), _figure(other.figures.loss)),
        ("held out", _figure(one.figures.held_out), _figure(other.figures.held_out)),
    ]
    ordered = differences(one.job, other.job)
    head = Content.assemble((f"{'':<16}", ""), (f"{one.id:<14}", "bold $primary"), (other.id, "bold $accent"))
    rows = [_compared(*row) for row in outcome]
    rows.append(Content.styled("\nordered differently" if ordered else "\nThe orders are the same.", "$quiet"))
    rows += [_compared(*row) for row in ordered]
    return Content("\n").join([head, *rows])


def _compared(name: str, here: str, there: str) -> Content:
    style = "$strong" if here != there else "$quiet"
    first = line(here, style).truncate(13, ellipsis=True)
    return Content.assemble(
        (f"{name.replace('_', ' ')[:15]:<16}", "$quiet"),
        first.pad_right(14 - first.cell_length),
        line(there, style).truncate(20, ellipsis=True),
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else number(value)
