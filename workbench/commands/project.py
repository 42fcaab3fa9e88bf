"""Commands around a project and the machine: new, doctor, demo."""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.commands.options import AsJson, named_folder
from workbench.errors import ProjectError, ResourceError
from workbench.output import Output, seconds_in_words


def new(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A folder that does not exist yet, or is empty.", parser=named_folder),
    ],
    demo: Annotated[
        bool, typer.Option("--demo", help="Bring the demo's data along, to try everything at once.")
    ] = False,
    base: Annotated[
        str, typer.Option("--base", metavar="SPEC", help="bundled, a folder, or a hub id such as org/name.")
    ] = "bundled",
    as_json: AsJson = False,
) -> None:
    """Make a project: a folder for data, runs and exports."""
    from workbench import bases
    from workbench.bench import Bench

    output = Output(as_json)
    spec = bases.resolve(base).spec  # before anything is made, so that a wrong name leaves nothing behind
    bench = Bench.create(folder, demo=demo)
    with contextlib.closing(bench):
        bench.base = spec
        counts = bench.store.counts()
        output.show(
            f"Project {bench.paths.root} made: {counts.demonstrations} demonstrations, {counts.prompts} prompts, "
            f"{counts.held_out} held-out prompts. Open it: {_opening(folder)}"
        )
        output.document({"project": bench.paths.root, "base": spec, "counts": asdict(counts)})


def doctor(
    project: Annotated[
        Path | None, typer.Option("--project", "-C", metavar="DIR", help="The folder whose disk is looked at.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Check the machine, and say how to mend it. Exit code 7 if something is missing or unsafe."""
    from workbench.doctor import examine, healthy

    output = Output(as_json)
    checks = examine(project)
    output.table(("", "what", "found"), [(check.glyph, check.name, check.found) for check in checks])
    for check in checks:
        if check.fix:
            output.show(f"{check.glyph} {check.name}: {check.fix}")
    output.document({"healthy": healthy(checks), "checks": [asdict(check) for check in checks]})
    return 0 if healthy(checks) else ResourceError.exit_code


def demo(
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Keep the demo's project in this new folder.", parser=named_folder),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the whole loop on the bundled base by itself.

    SFT, sample, rank, DPO, a reward model, PPO, export, each stage measured. A rule judges in your place, and the
    report says so.

    Takes some minutes on two cores and leaves nothing behind unless you say --keep.
    """
    from workbench.commands.showing import Stages
    from workbench.demo import run_demo

    output = Output(as_json)
    with _demo_folder(keep) as folder, Stages(output) as stages:
        report = run_demo(folder, stages)
    output.show(f"The loop took {seconds_in_words(report['seconds'])}.")
    for line in demo_in_words(report["stages"]):
        output.show(line)
    if keep is not None:
        output.show(f"Kept in {keep}. Open it: {_opening(keep)}")
    output.document(report)


def demo_in_words(stages: dict[str, dict[str, Any]]) -> list[str]:
    """The demo's report, a line a stage."""
    sft, sample, rank, dpo, reward, ppo, export = (
        stages[name] for name in ("sft", "sample", "rank", "dpo", "reward", "ppo", "export")
    )
    checks = [
        f"  {kind}: {agreement:.2%} of greedy tokens agree, mean KL {export['mean_kl'][kind]:.2g} nats, "
        f"{export['files'][kind]}"
        for kind, agreement in export["greedy_agreement"].items()
    ]
    return [
        f"sft     {sft['exact_match_before']:.0%} exact before, {sft['exact_match_after']:.0%} after "
        f"({sft['seconds']:.0f} s)",
        f"sample  {sample['completions']} completions ({sample['seconds']:.0f} s)",
        f"rank    {rank['pairs']} pairs, judged by {rank['judge']}: a rule stood in a person's place",
        f"dpo     better than sft on {dpo['win_rate']:.0%} of held-out prompts, by that rule ({dpo['seconds']:.0f} s)",
        f"reward  tells {reward['pair_accuracy']:.0%} of held-out pairs apart ({reward['seconds']:.0f} s)",
        f"ppo     the rule's score {ppo['score_before']:.2f} before, {ppo['score_after']:.2f} after, "
        f"KL {ppo['kl']:.1f} nats, {ppo['episodes_per_second']:.1f} answers a second ({ppo['seconds']:.0f} s)",
        f"export  {', '.join(export['files'])} ({export['seconds']:.0f} s)",
        *checks,
    ]


def _opening(folder: Path) -> str:
    """The command that opens a project; `demo` alone would be read as the command of that name."""
    path = str(folder)
    if os.sep not in path or path.startswith("-"):
        path = f"{os.curdir}{os.sep}{path}"
    return f"workbench {shlex.quote(path)}"


@contextlib.contextmanager
def _demo_folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise ProjectError(f"{keep} is there already and not empty.", "Choose a new folder; nothing was changed.")
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="workbench-demo-") as folder:
        yield Path(folder) / "demo"
