"""Commands around preferences: sample, pairs. Ranking itself is a screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.commands import reports, setting_list
from workbench.commands.options import AsJson, Detach, Project, opened, trained_run
from workbench.errors import DiskFullError, InputError
from workbench.output import Output

if TYPE_CHECKING:
    from workbench.records import Pair


def sample(
    source: Annotated[
        str | None, typer.Option("--from", metavar="RUN", help="A run's number, or base. Default: base.")
    ] = None,
    checkpoint: Annotated[
        int | None, typer.Option("--checkpoint", metavar="STEP", help="With --from: its checkpoint at this step.")
    ] = None,
    count: Annotated[int | None, typer.Option("-n", metavar="N", help="Completions a prompt.", min=1)] = None,
    prompts: Annotated[
        int,
        typer.Option(
            "--prompts", metavar="K", help="At most so many prompts. Default: all.", min=0, show_default=False
        ),
    ] = 0,
    held_out: Annotated[bool, typer.Option("--held-out", help="Sample the held-out prompts instead.")] = False,
    temperature: Annotated[
        float | None, typer.Option("--temperature", metavar="T", help="0 takes the likeliest token each time.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", metavar="P", help="Keep only the likeliest tokens of this share.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", metavar="N", help="Longest completion, in tokens.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="The same seed gives the same completions.")
    ] = None,
    tags: Annotated[
        list[str] | None,
        typer.Option(
            "--tag", metavar="NAME=VALUE", help="Ask a run trained with tags for such answers; several times."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting of the sampler; `list` tells them."),
    ] = None,
    detach: Detach = False,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Let a model answer prompts several times, to be ranked."""
    from workbench import orders, samplers
    from workbench.fields import parse_assignments

    named: dict[str, Any] = {
        "n": count,
        "temperature": temperature,
        "top_p": top_p,
        "max_tokens": max_tokens,
        "seed": seed,
    }
    named["tags"] = ", ".join(tags) if tags else None
    settled: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    output = Output(as_json)
    if setting_list.asked_for(changes):
        setting_list.show(samplers.get("transformers").fields, output)
        return
    with opened(project) as bench:
        order = orders.SampleOrder(
            source=None if source in (None, "base") else trained_run(bench, source),
            checkpoint=checkpoint,
            split="held_out" if held_out else "train",
            prompts=prompts,
            changes={**parse_assignments(changes or []), **settled},
        )
        run = orders.sample(bench, order)
        output.say(f"{run.title}: {run.job.counts['prompts']} prompts, {run.job.counts['completions']} completions.")
        follower = reports.start(bench, run, output, detach=detach)
        if follower is not None:
            reports.tell(run, follower, output, "Next, rank them: workbench rank")


def pairs(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write here. Default: stdout.")
    ] = None,
    judges: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            metavar="NAME",
            help="Only pairs by person, import, rule or reward:RUN. Default: all but the last.",
        ),
    ] = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Write the preference pairs as JSONL.

    Each line has prompt, chosen and rejected, as TRL's trainers read them.
    """
    from workbench import examples, orders

    output = Output(as_json)
    with opened(project) as bench:
        found: list[Pair] = orders.pairs(bench, ", ".join(judges or []))
        if not found:
            raise _no_pairs(judges or [], {ranking.judge for ranking in bench.store.rankings()})
    rows = examples.dpo_rows(found)
    if out is None:
        output.document({"count": len(rows), "pairs": rows})
        for row in rows:
            output.raw_line(json.dumps(row))
        return
    _write_rows(out, rows)
    output.show(f"{len(rows)} pairs written to {out}.")
    output.document({"count": len(rows), "file": out.resolve()})


def _no_pairs(named: list[str], judges: set[str]) -> InputError:
    """Why there are none: nothing was ranked, or by others than those named."""
    by = f" by {', '.join(named)}" if named else ""
    hint = "Rank some completions first: workbench rank"
    if named and judges:
        hint = f"Judges here: {', '.join(sorted(judges))}."
    return InputError(f"There are no preference pairs{by} yet.", hint)


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """One JSON object a line, under its name only when it is whole."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        if error.errno == 28:
            raise DiskFullError(
                f"{path} was not written: the disk is full.", "Free some space and try again."
            ) from None
        raise InputError(f"{path} cannot be written ({error.strerror}).", "Choose another place with --out.") from None
