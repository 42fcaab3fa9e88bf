"""Commands that train: train, runs, watch, stop, resume."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from workbench.commands import reports, setting_list
from workbench.commands.options import AsJson, Detach, Project, RunName, opened, trained_run
from workbench.methods.shared import SOFT
from workbench.output import Output, seconds_in_words
from workbench.runs.lineage import tree

MethodName = Annotated[str, typer.Argument(metavar="METHOD", help="How to train; below is what each is for.")]


def train(
    method: MethodName,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "-p",
            metavar="P",
            help="A preset's name (cpu, 8gb, 12gb, 16gb, 24gb) or a TOML file. Default: the one for your card.",
        ),
    ] = None,
    from_run: Annotated[
        str | None, typer.Option("--from", metavar="RUN", help="Start from what this run trained. Default: the base.")
    ] = None,
    checkpoint: Annotated[
        int | None, typer.Option("--checkpoint", metavar="STEP", help="With --from: its checkpoint at this step.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; several times. `list` tells them all."),
    ] = None,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="A name of your own for the run.")] = "",
    detach: Detach = False,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Train the base or go on from a run, and follow it.

    Ctrl-C stops following, never the training.
    """
    from workbench import methods, orders, presets, tuning
    from workbench.fields import parse_assignments

    output = Output(as_json)
    with opened(project) as bench:
        if setting_list.asked_for(changes):
            chosen = presets.get(preset) if preset else orders.suggested_preset(bench)
            setting_list.show(methods.get(method).all_fields, output, chosen.settings(method))
            return
        run = orders.train(
            bench,
            method,
            preset=preset,
            changes=parse_assignments(changes or []),
            parent=trained_run(bench, from_run) if from_run else None,
            checkpoint=checkpoint,
            name=name,
        )
        held = ", ".join(f"{count} {what}" for what, count in run.job.counts.items())
        output.say(f"{run.title}: preset {run.job.preset}, base {run.job.base.name}, {held}.")
        counted = orders.trained(bench, method, run.job.settings, run.job.parent, run.job.checkpoint)
        output.say(f"{run.job.settings['how']}: {tuning.in_words(*counted)}.")
        output.say(orders.memory(bench, run.job.base.path, method, run.job.settings).sentence)
        follower = reports.start(bench, run, output, detach=detach)
        if follower is not None:
            reports.tell(
                run,
                follower,
                output,
                f"Try it: workbench chat {run.id}",
                *([] if run.job.settings["how"] in SOFT else [f"Keep it: workbench export {run.id} --to gguf"]),
            )


def runs(
    as_tree: Annotated[bool, typer.Option("--tree", help="Show each under the run that it started from.")] = False,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """List the project's runs: training, sampling and exports."""
    output = Output(as_json)
    with opened(project) as bench:
        ids = bench.runs.ids()
        found = bench.runs.all()
        for run_id in sorted(set(ids) - {run.id for run in found}, key=int):
            output.say(f"Run {run_id} is not listed: its order cannot be read. Why: workbench watch {run_id}")
        output.document({"runs": [reports.facts(run) for run in found]})
        if not found and not ids:
            output.show("No runs yet. Start one: workbench train sft")
            return
        branches = {run.id: "" for run in found}
        if as_tree:
            branches = {node.job.run: node.branch for node in tree([run.job for run in found])}
        by_id = {run.id: run for run in found}
        rows = [
            (
                branches[run.id] + run.id,
                run.job.does,
                f"{status.glyph} {status.state}",
                f"{status.step}/{status.total_steps}" if status.total_steps else str(status.step),
                run.job.parent or run.job.base.name,
                seconds_in_words(time.time() - run.job.created) + " ago",
                run.job.name,
            )
            for run in map(by_id.__getitem__, branches)
            for status in [run.status()]
        ]
        output.table(("run", "what", "state", "step", "from", "ordered", "name"), rows)


def watch(run: RunName, project: Project = None, as_json: AsJson = False) -> None:
    """Follow a run to its end. Ctrl-C stops watching, never the run."""
    output = Output(as_json)
    with opened(project) as bench:
        found = bench.runs.get(run)
        reports.tell(found, reports.follow(bench, found, output), output)


def stop(
    run: RunName,
    now: Annotated[
        bool, typer.Option("--now", help="Do not wait for the step to end; the work since the last checkpoint is lost.")
    ] = False,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Ask a run to stop after its step and save. It can be resumed."""
    output = Output(as_json)
    with opened(project) as bench:
        found = bench.runs.get(run)
        bench.runs.stop(found, now=now)
        output.show(f"Run {found.id} was asked to stop. Go on later: workbench resume {found.id}")
        output.document(reports.facts(found))


def resume(run: RunName, detach: Detach = False, project: Project = None, as_json: AsJson = False) -> None:
    """Go on with a run that was stopped or died.

    It starts from the newest checkpoint that is whole; which one is found by itself.
    """
    output = Output(as_json)
    with opened(project) as bench:
        found = bench.runs.get(run)
        bench.runs.resume(found)
        output.say(f"Run {found.id} goes on.")
        if detach:
            output.document(reports.facts(found))
            return
        reports.tell(found, reports.follow(bench, found, output), output)
