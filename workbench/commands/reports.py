"""Following a run on the terminal, and what is said of it at the end: the same facts in words and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from workbench.commands.checks import show_checks
from workbench.commands.options import take_in
from workbench.output import Output, seconds_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.bench import Bench
    from workbench.live import Follower
    from workbench.runs import Run

INTERRUPTED = 130
"""What a shell expects after Ctrl-C: 128 + SIGINT."""


def start(bench: Bench, run: Run, output: Output, *, detach: bool) -> Follower | None:
    """Launches the run and follows it to its end, or with `detach` only says how to follow it."""
    bench.runs.launch(run)
    output.say(f"Run {run.id} started.")
    if detach:
        _say_how_to_return(run, output)
        output.document(facts(run))
        return None
    return follow(bench, run, output)


def follow(bench: Bench, run: Run, output: Output) -> Follower:
    """Follows the run with a progress bar. A bad ending is raised as its error; Ctrl-C leaves it running."""
    from workbench.runs.following import Narrator, at_a_glance, ending_error, wait

    narrator = Narrator()
    try:
        with output.bar(run.title) as bar:

            def look(follower: Follower) -> None:
                for sentence in narrator.news(follower):
                    bar.say(sentence)
                bar.advance(follower.status.step, follower.status.total_steps, at_a_glance(follower.live))

            follower = wait(run, look)
    except KeyboardInterrupt:
        _say_how_to_return(run, output)
        output.document({**facts(run), "detached": True})
        raise typer.Exit(INTERRUPTED) from None
    take_in(bench)
    error = ending_error(run, follower)
    if error is not None:
        raise error
    return follower


def _say_how_to_return(run: Run, output: Output) -> None:
    what = {"train": "training", "sample": "sampling", "score": "judging", "export": "the export"}[run.job.kind]
    output.say(f"{what} continues: workbench watch {run.id}; workbench stop {run.id}")


def facts(run: Run) -> dict[str, Any]:
    """What `runs` says of one run."""
    status = run.status()
    return {
        "run": run.id,
        "title": run.title,
        "kind": run.job.kind,
        "action": run.job.action,
        "name": run.job.name,
        "state": status.state,
        "sentence": status.sentence,
        "hint": status.hint,
        "step": status.step,
        "total_steps": status.total_steps,
        "base": run.job.base.name,
        "parent": run.job.parent,
        "preset": run.job.preset,
        "counts": run.job.counts,
        "created": run.job.created,
        "folder": run.paths.root,
    }


def outcome(run: Run, follower: Follower) -> dict[str, Any]:
    """What a followed run came to."""
    from workbench.events import Finished
    from workbench.runs.following import last_values

    live = follower.live
    ending = live.ending
    return {
        **facts(run),
        "metrics": last_values(live.metrics),
        "held_out": last_values(live.evaluations),
        "summary": ending.summary if isinstance(ending, Finished) else {},
        "seconds": seconds_of(run, follower),
        "model": run.paths.model if run.paths.model.is_dir() else None,
        "files": {exported.target: exported.path for exported in live.exported},
        "checks": [
            {"target": v.target, "check": v.check, "passed": v.passed, "figures": v.figures, "detail": v.detail}
            for v in live.verified
        ],
        "unreadable_lines": live.unreadable,
    }


def seconds_of(run: Run, follower: Follower) -> float:
    """From the order to the last thing the worker wrote, waiting for the card included."""
    last = follower.live.last_event_t
    return round(max(0.0, last - run.job.created), 1) if last else 0.0


def tell(run: Run, follower: Follower, output: Output, *next_steps: str, more: Mapping[str, Any] | None = None) -> None:
    """The run's end in words and as the document, `more` facts added to the latter."""
    from workbench.runs.following import in_words

    told = outcome(run, follower)
    output.show(f"Run {run.id} {told['state']} after {seconds_in_words(told['seconds'])}.")
    for label, figures in (("last step", told["metrics"]), ("held out", told["held_out"]), ("result", told["summary"])):
        if figures and run.job.kind != "export":
            output.show(f"  {label}: {in_words(figures)}")
    if run.job.kind == "export":
        show_checks(follower.live, output)
    for step in next_steps:
        output.show(f"  {step}")
    output.document({**told, **(more or {})})
