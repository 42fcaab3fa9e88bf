"""Commands that use what was trained: export, chat."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.commands import reports
from workbench.commands.options import AsJson, Detach, Project, find_project, named_folder, opened, trained_run
from workbench.errors import InputError, ProjectError, RunError, SettingError
from workbench.output import Output
from workbench.paths import ProjectPaths

if TYPE_CHECKING:
    from workbench.bench import Bench
    from workbench.records import Conversation
    from workbench.session import ModelRef, Session


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN|MODEL_FOLDER",
            help="A training run, or `last`; or a folder with a model, or with a LoRA adapter made elsewhere.",
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="TARGET",
            help="merged: whole weights. gguf: for llama.cpp. ollama: the same with a checked Modelfile. gguf-lora: "
            "the adapter alone.",
        ),
    ],
    quants: Annotated[
        list[str] | None,
        typer.Option(
            "--quant",
            metavar="TYPE",
            help="gguf and ollama only, several times: f16, Q8_0, Q4_K_M… `list` tells all of them.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Where to. Default: the project's exports folder; outside a project, a folder NAME-export here.",
            parser=named_folder,
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting: base16=MODEL names the unquantised base."),
    ] = None,
    detach: Detach = False,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Export a model, and check it.

    --quant list tells every type, its size for this model, and what it loses. An export that does not answer like the
    model that was trained is a failure (exit code 6); `workbench --help` has the other codes.
    """
    from workbench import exports, orders
    from workbench.exports.plan import parse_quants
    from workbench.fields import parse_assignments

    output = Output(as_json)
    if os.sep in model and not Path(model).expanduser().is_dir():
        raise InputError(f"There is no folder {model}.", "Give a run's number, `last`, or a folder with a model.")
    settled: dict[str, Any] = {**parse_assignments(changes or [])}
    if quants and "list" in quants:
        with _bench_for(model, project, {}, detach=False) as bench:
            _list_types(bench, model, output)
        return
    if quants:
        if all(field.name != "quants" for field in exports.get(to).fields):
            raise SettingError(f"--quant does not go with --to {to}.", "Only GGUF files are quantised: --to gguf")
        settled["quants"] = ",".join(parse_quants(",".join(quants)))  # refused now, not by a run that fails
    if out is not None:
        settled["out"] = str(out.absolute())
    with _bench_for(model, project, settled, detach=detach) as bench:
        exported = orders.export(bench, trained_run(bench, model), to, changes=settled)
        follower = reports.start(bench, exported, output, detach=detach)
        if follower is not None:
            reports.tell(exported, follower, output)


def _list_types(bench: Bench, model: str, output: Output) -> None:
    """Everything a model can be exported as, with sizes."""
    from workbench import bases, exported
    from workbench.exports import original
    from workbench.hardware import human_bytes

    if original.is_folder(model):
        base = original.in_folder(model)[1]
    else:
        base = bases.resolve(bench.runs.get(trained_run(bench, model)).job.base.path)
    choices = exported.choices(base)
    if base.exportable:
        output.show(f"No GGUF: {base.exportable}")
    for choice in choices:
        output.show(f"{choice.name:<9} {human_bytes(choice.size_bytes):>8}  {choice.about}")
    output.document({"exportable": base.exportable, "choices": [vars(choice) for choice in choices]})


@contextlib.contextmanager
def _bench_for(model: str, project: Path | None, settled: dict[str, Any], *, detach: bool) -> Iterator[Bench]:
    """The project; for a model in a folder also none, in whose stead one stands that is gone afterwards."""
    from workbench.bench import Bench
    from workbench.exports import original

    try:
        find_project(project)
        inside = True
    except ProjectError:
        inside = False
    if inside or not original.is_folder(model):
        with opened(project) as bench:
            yield bench
        return
    if detach:
        raise InputError("Outside a project nothing is left behind that could go on.", "Leave out --detach.")
    settled.setdefault("out", str(Path.cwd() / f"{Path(model).expanduser().resolve().name}-export"))
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        bench = Bench.create(Path(folder) / "project")
        try:
            yield bench
        finally:
            bench.close()


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
    tags: Annotated[
        list[str] | None,
        typer.Option(
            "--tag", metavar="NAME=VALUE", help="Ask a run trained with tags for such answers; several times."
        ),
    ] = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Talk with a run, the base or a GGUF file. An empty line or Ctrl-D ends it; /use RUN goes on with another run."""
    from workbench.conversation import tagged
    from workbench.records import Turn
    from workbench.session import Session

    output = Output(as_json)
    talking = prompt is None and sys.stdin.isatty()
    if talking and as_json:
        raise InputError("--json needs a question.", "Give it with --prompt, or through a pipe.")
    ref, paths = _model(model, project)
    waits = "waiting for the card, which {} holds…"
    session = Session(ref, paths, on_wait=lambda title: output.say(waits.format(title) if title else "its turn now…"))
    try:
        output.say(f"loading {model}…")
        if note := session.start().note:
            output.say(note)
        settings = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}
        turns: list[Turn] = []
        for question in _questions(prompt, output, talking=talking):
            if talking and question.startswith("/use "):
                session.ref = _model(question.removeprefix("/use ").strip(), project)[0]
                session.start()
                output.say(f"{session.ref.label}, {'the same base' if session.loaded.kept else 'loaded anew'}")
                continue
            turns.append(Turn("user", question))
            session.start()  # it may have made way for a run while the person was typing
            answer = _ask(session, tagged(turns, ", ".join(tags or [])), settings, output)
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


def _ask(session: Session, turns: Conversation, settings: dict[str, Any], output: Output) -> str:
    """The answer, shown as it comes."""
    parts: list[str] = []
    for delta in session.ask(turns, **settings):
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
            raise RunError(
                f"Run {run.id} has no finished model yet.",
                f"See workbench watch {run.id}; a stopped run goes on with workbench resume {run.id}.",
            )
        return ModelRef("run", run.id), bench.paths
