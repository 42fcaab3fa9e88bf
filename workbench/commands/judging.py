"""The command that lets a reward model judge: judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.commands import reports, setting_list
from workbench.commands.options import AsJson, Detach, Project, opened
from workbench.errors import InputError
from workbench.output import Output

if TYPE_CHECKING:
    from workbench.bench import Bench
    from workbench.calibration import Calibration


def judge(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The reward model's run, or `last` for the newest one.")],
    sampled: Annotated[
        str | None, typer.Option("--of", metavar="RUN", help="Only what this sampling run wrote. Default: all.")
    ] = None,
    label: Annotated[
        bool, typer.Option("--label", help="Also store its rankings, as judge reward:RUN, apart from yours.")
    ] = False,
    queue: Annotated[
        bool, typer.Option("--queue", help="Rank next what it is least sure of: sets the order of workbench rank.")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting of the judge; `list` tells them."),
    ] = None,
    detach: Detach = False,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Let a reward model score completions, and rank them if asked to.

    What it says trains nothing unless you name it: --set judges=reward:RUN.
    """
    from workbench import judging
    from workbench.fields import parse_assignments
    from workbench.judges.reward_model import JUDGE, judge_name

    output = Output(as_json)
    if setting_list.asked_for(changes):
        setting_list.show(JUDGE.fields, output)
        return
    if queue and detach:
        raise InputError(
            "--queue does not go with --detach: the scores have to be there first.",
            "Leave out --detach, or ask again with --queue when the run is done.",
        )
    with opened(project) as bench:
        scorer = judging.reward_run(bench, run)
        name = judge_name(scorer.id)
        wish = judging.JudgeOrder(scorer.id, sampled, {**parse_assignments(changes or []), "label": label})
        made = judging.order(bench, wish)
        follower = None
        if made is not None:
            output.say(f"{made.title}: run {scorer.id} scores {made.job.counts['completions']} completions.")
            follower = reports.start(bench, made, output, detach=detach)
            if follower is None:
                return
        elif label:
            judging.label(bench.store, name, float(judging.settings(wish)["margin"]))
        if queue:
            bench.store.queue_by(name)
        lines, told = _results(bench, name, label, queue)
        if made is not None and follower is not None:
            reports.tell(made, follower, output, *lines, more=told)
            return
        output.show(f"Every completion has its score by run {scorer.id}.")
        for line in lines:
            output.show(f"  {line}")
        output.document(told)


def _results(bench: Bench, name: str, label: bool, queue: bool) -> tuple[list[str], dict[str, Any]]:
    """What the judge's scores amount to, in lines and as facts."""
    agreed = _agreement(bench, name)
    lines = [f"Where you have ranked too, {_in_words(agreed)}"] if agreed else []
    if queue:
        lines.append("The ranking queue begins with what it is least sure of: workbench rank")
    if label:
        lines.append(f"Its pairs: workbench pairs --judge {name}; train on them: --set judges={name}")
    facts = {"judge": name, "agreement": agreed.accuracy if agreed else None, "compared": agreed.pairs if agreed else 0}
    return lines, facts


def _agreement(bench: Bench, name: str) -> Calibration | None:
    """How the judge agrees with all that people and rules have ranked; it may have been trained on some of it."""
    from workbench import examples, judging

    rankings = [ranking for _, ranking, _ in examples.counted(bench.store)]
    return judging.measured(bench.store, name, rankings)


def _in_words(agreed: Calibration) -> str:
    return f"it says the same of {agreed.accuracy:.0%} of {agreed.pairs:,} pairs (it may have learnt from them)."
