"""The command that brings data in: import."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.options import AsJson, Project, opened
from workbench.output import Output

SHOWN_REJECTS = 5
"""Rows left out that are named one by one; `--json` has them all."""


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL, JSON, CSV or parquet, or one of them as .gz.")],
    layout: Annotated[
        str | None,
        typer.Option("--as", metavar="LAYOUT", help="The layout, where the guess is wrong; below is the list."),
    ] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Keep these prompts for measuring: they never train.")
    ] = False,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Import prompts, demonstrations or preferences. The layout is found by itself; nothing is half imported."""
    from workbench import importing

    output = Output(as_json)
    named = layout.replace("-", "_") if layout else None
    with opened(project) as bench:
        report = importing.import_file(bench.store, file, layout=named, split="held_out" if held_out else "train")
    added = ", ".join(_counted(count, what) for what, count in report.added.items() if count) or "nothing new"
    output.show(f"{file.name} read as {report.layout}: {_counted(report.rows_ok, 'rows')}, {added}.")
    known = report.rows_ok - report.added.get("prompts", 0)
    if held_out and known > 0:
        output.say(f"{_counted(known, 'rows')} gave no new prompt: one that trains already goes on training.")
    if report.runner_up:
        output.show(f"It could also be {report.runner_up}: choose with --as, in a new project.")
    for line, why in report.rejected[:SHOWN_REJECTS]:
        output.say(f"left out, {file.name}, line {line}: {why}")
    if len(report.rejected) > SHOWN_REJECTS:
        output.say(f"left out, {len(report.rejected) - SHOWN_REJECTS} more rows: --json names them all")
    output.document(asdict(report))


def _counted(count: int, what: str) -> str:
    """`3 rows`, `1 row`."""
    return f"{count} {what.removesuffix('s') if count == 1 else what}"
