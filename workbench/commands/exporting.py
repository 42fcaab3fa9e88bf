"""Commands that use what was trained: export, chat."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.commands import reports
from workbench.commands.options import AsJson, Detach, Project, opened, trained_run
from workbench.errors import InputError, RunError, SettingError
from workbench.output import Output
from workbench.paths import ProjectPaths

if TYPE_CHECKING:
    from workbench.records import Turn
    from workbench.session import ModelRef, Session


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The training run whose model is exported, or `last`.")],
    to: Annotated[
        str, typer.Option("--to", metavar="TARGET", help="merged: whole weights. gguf: for llama.cpp and Ollama.")
    ],
    quants: Annotated[
        list[str] | None,
        typer.Option("--quant", metavar="TYPE", help="gguf only, several times: f32, f16, Q8_0, Q6_K, Q5_K_M, Q4_K_M."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where to. Default: the project's exports folder.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other setting of the target.")
    ] = None,
    detach: Detach = False,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Export a run's model, and check it.

    An export that does not answer like the model that was trained is a failure (exit code 6).
    """
    from workbench import exports, orders
    from workbench.exports.plan import parse_quants
    from workbench.fields import parse_assignments

    output = Output(as_json)
    settled: dict[str, Any] = {**parse_assignments(changes or [])}
    if quants:
        if all(field.name != "quants" for field in exports.get(to).fields):
            raise SettingError(f"--quant does not go with --to {to}.", "Only GGUF files are quantised: --to gguf")
        settled["quants"] = ",".join(parse_quants(",".join(quants)))  # refused now, not by a run that fails
    if out is not None:
        settled["out"] = str(out.absolute())
    with opened(project) as bench:
        exported = orders.export(bench, trained_run(bench, run), to, changes=settled)
        follower = reports.start(bench, exported, output, detach=detach)
        if follower is not None:
            reports.tell(exported, follower, output, *reports.export_lines(follower))


def chat(
    model: Annotated[
        str, typer.Argument(metavar="RUN|FILE", help="A training run, `last`, `base`, a base model, or a .gguf file.")
    ],
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="Ask this and leave. Default: talk, or read stdin in a pipe.")
    ] = None,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, help="0 takes the likeliest token.")] = 0.7,
    top_p: Annotated[
        float, typer.Option("--top-p", min=0.0, max=1.0, help="Keep the likeliest tokens of this share.")
    ] = 0.95,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")] = 512,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same answer.")] = 0,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Talk with a run, the base or a GGUF file. An empty line or Ctrl-D ends it."""
    from workbench.records import Turn
    from workbench.session import Session

    output = Output(as_json)
    talking = prompt is None and sys.stdin.isatty()
    if talking and as_json:
        raise InputError("--json needs a question.", "Give it with --prompt, or through a pipe.")
    ref, paths = _model(model, project)
    session = Session(ref, paths)
    try:
        output.say(f"loading {model}…")
        session.start()
        settings = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}
        turns: list[Turn] = []
        for question in _questions(prompt, output, talking=talking):
            turns.append(Turn("user", question))
            answer = _ask(session, turns, settings, output)
            turns.append(Turn("assistant", answer))
            output.document({"model": model, "prompt": question, "answer": answer})
    finally:
        session.close()


def _questions(prompt: str | None, output: Output, *, talking: bool) -> Iterator[str]:
    """What the person asks: one prompt, all of a pipe, or line after line."""
    if not talking:
        question = prompt if prompt is not None else sys.stdin.read()
        if not question.strip():
            raise InputError("There is nothing to ask.", "Give a question with --prompt, or through a pipe.")
        yield question
        return
    while True:
        output.say("you:")
        line = sys.stdin.readline().strip()
        if not line:
            return
        yield line


def _ask(session: Session, turns: list[Turn], settings: dict[str, Any], output: Output) -> str:
    """The answer, shown as it comes."""
    parts: list[str] = []
    for delta in session.ask(tuple(turns), **settings):
        parts.append(delta)
        output.show(delta, end="")
    output.show("")
    return "".join(parts)


def _model(name: str, project: Path | None) -> tuple[ModelRef, ProjectPaths]:
    """The model that a person names, and the project it belongs to. A file needs no project."""
    from workbench import bases
    from workbench.session import ModelRef

    if name.lower().endswith(".gguf"):
        if not Path(name).is_file():
            raise InputError(f"There is no file {name}.", "Exports are in the project's exports folder.")
        return ModelRef("gguf", str(Path(name).absolute())), ProjectPaths(Path.cwd())
    if name != "last" and not name.isdecimal() and name != "base":
        return ModelRef("base", bases.resolve(name).spec), ProjectPaths(Path.cwd())
    with opened(project) as bench:
        if name == "base":
            return ModelRef("base", bases.resolve(bench.base).spec), bench.paths
        run = bench.runs.get(trained_run(bench, name))
        if run.job.kind != "train":
            raise RunError(f"Run {run.id} is not a training run, so it has no model.", "See: workbench runs")
        if not run.paths.model.is_dir():
            raise RunError(f"Run {run.id} has no finished model yet.", f"Follow it: workbench watch {run.id}")
        return ModelRef("run", run.id), bench.paths
