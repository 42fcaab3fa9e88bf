"""The `workbench` command: `workbench [PROJECT]` opens the app, every other command works without a screen.

The edge where errors become words and exit codes. Commands live in `workbench/commands/`; this file knows their names
and is the only one that may open the app.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import workbench
from workbench.commands import data, exporting, judging, models, project, sampling, training
from workbench.commands.options import Project, opened
from workbench.commands.reports import INTERRUPTED
from workbench.commands.word_lists import ImportCommand, TrainCommand
from workbench.errors import InputError, OutputError, WorkbenchError
from workbench.output import Output, ReaderLeft, with_streams

if TYPE_CHECKING:
    from workbench.bench import Bench

USAGE_ERROR = 2
BEFORE_A_COMMAND = ("-C", "--project", "--json", "--ascii", "--no-ascii")

EPILOG = """\b
The loop, without a screen:
  workbench new demo --demo && cd demo
  workbench train sft --preset cpu
  workbench sample --from last -n 4
  workbench rank
  workbench train dpo --from 0001
  workbench export last --to gguf
  workbench chat last

\b
Exit codes:
  0 done                    5 a run cannot start or ended badly
  2 wrong command or value  6 an export failed or was not verified
  3 no project, bad store   7 disk or memory too small, doctor found a problem
  4 base model not usable   130 interrupted; runs go on by themselves

Any other code is a fault of the workbench itself."""


class _Interrupted(Exception):  # noqa: N818  # the person did it on purpose
    """Ctrl-C, where no command made more of it."""


class WorkbenchGroup(TyperGroup):
    """Lets `workbench PROJECT` stand beside the commands, and `-C DIR` and `--json` stand before one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_command(args, self.commands))

    def invoke(self, ctx: Any) -> Any:
        """Keeps Ctrl-C apart from a command that ends with its exit code by itself, which typer does not."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Interrupted from None


def with_command(args: list[str], commands: Container[str]) -> list[str]:
    """The arguments with the command first: `-C dir runs` becomes `runs -C dir`, and a folder is opened."""
    shared: list[str] = []
    rest = list(args)
    while rest and (rest[0] in BEFORE_A_COMMAND or rest[0].startswith("--project=")):
        shared += [rest.pop(0)]
        if shared[-1] in ("-C", "--project") and rest:
            shared += [rest.pop(0)]
    if not rest:
        return ["open", *shared]
    if rest[0] in commands:
        return [rest[0], *shared, *rest[1:]]
    if not rest[0].startswith("-") and (os.sep in rest[0] or Path(rest[0]).exists()):
        return ["open", *shared, *rest]
    return rest if not shared else [*rest, *shared]


app = typer.Typer(
    cls=WorkbenchGroup,
    name="workbench",
    help="Fine-tune a language model on one card, in one terminal. Without a command it opens the app.",
    epilog=EPILOG,
    subcommand_metavar="[PROJECT | COMMAND [ARGS]...]",
    rich_markup_mode=None,  # plain help: quick to print, and no escape sequences in a pipe
    pretty_exceptions_enable=False,  # they would print local variables
    add_completion=False,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        Output().show(f"workbench {workbench.__version__}")
        raise typer.Exit


@app.callback()
def _front(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    pass


Ascii = Annotated[
    bool | None,
    typer.Option("--ascii/--no-ascii", help="Draw with plain letters only; found out from the terminal if not given."),
]


@app.command("open", epilog="Example: workbench my-project")
def open_(
    folder: Annotated[Path | None, typer.Argument(metavar="[PROJECT]", help="The project's folder.")] = None,
    project: Project = None,
    ascii_only: Ascii = None,
) -> int:
    """Open the app on a project (the same as: workbench [PROJECT])."""
    return _open_app(folder or project, "home", ascii_only)


def rank(project: Project = None, ascii_only: Ascii = None) -> int:
    """Open the app where completions are ranked, with single keys."""
    return _open_app(project, "rank", ascii_only)


def _open_app(folder: Path | None, screen: str, ascii_only: bool | None) -> int:
    """The app on a project until the person quits; its return code."""
    with opened(folder) as bench:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise InputError("The app needs a terminal.", "Without one, use the commands: workbench --help")
        from screens.app import run_app

        code = run_app(bench, screen, ascii_only)
        _say_what_goes_on(bench)
        return code


def _say_what_goes_on(bench: Bench) -> None:
    """Closing the app stops nothing, so it says what still works and how to return."""
    output = Output()
    found = Path.cwd().is_relative_to(bench.paths.root.resolve())
    command = "workbench" if found else f"workbench -C {shlex.quote(str(bench.paths.root))}"
    for run in bench.runs.all():
        if run.status().alive:
            output.say(f"Run {run.title} continues: {command} watch {run.id}; {command} stop {run.id}")


def _add(command: Any, name: str, example: str, kind: type[TyperCommand] = TyperCommand) -> None:
    app.command(name, cls=kind, epilog=f"\b\nExamples:\n{example}")(command)


_add(project.new, "new", "  workbench new my-project\n  workbench new try-it --demo")
_add(
    models.models,
    "models",
    "  workbench models\n  workbench models --get HuggingFaceTB/SmolLM2-135M\n"
    "  workbench models --add ./my-model --use ./my-model",
)
_add(
    data.import_,
    "import",
    "  workbench import questions.jsonl\n  workbench import chats.json --as sharegpt\n"
    "  workbench import test.csv --held-out",
    ImportCommand,
)
_add(
    training.train,
    "train",
    "  workbench train sft --preset 8gb\n  workbench train dpo --from 0003 --set beta=0.2 --name politer\n"
    "  workbench train rloo --from 0003 --set reward='run:0004 + 0.3*rule:brevity' --detach\n"
    "  workbench train kto --set list",
    TrainCommand,
)
_add(
    sampling.sample,
    "sample",
    "  workbench sample -n 4\n  workbench sample --from 0003 -n 2 --prompts 50 --temperature 0.8",
)
_add(rank, "rank", "  workbench rank")
_add(
    judging.judge,
    "judge",
    "  workbench judge last\n  workbench judge 0004 --of 0005 --label\n  workbench judge 0004 --queue",
)
_add(sampling.pairs, "pairs", "  workbench pairs --out pairs.jsonl\n  workbench pairs | head -3")
_add(training.runs, "runs", "  workbench runs\n  workbench runs --json")
_add(training.watch, "watch", "  workbench watch last\n  workbench watch 3")
_add(training.stop, "stop", "  workbench stop 3")
_add(training.resume, "resume", "  workbench resume 3")
_add(
    exporting.export,
    "export",
    "  workbench export 0003 --to merged\n  workbench export last --to gguf --quant Q8_0 --quant Q4_K_M\n"
    "  workbench export 0003 --to gguf --out ./to-share",
)
_add(
    exporting.chat,
    "chat",
    '  workbench chat last\n  workbench chat 0003 --prompt "Name the opposite of tall."\n'
    "  workbench chat exports/0003/model-Q8_0.gguf",
)
_add(project.doctor, "doctor", "  workbench doctor")
_add(project.demo, "demo", "  workbench demo\n  workbench demo --json --keep ./demo")


def _command_of(error: typer.TyperException) -> str:
    """The command that was typed wrongly, whose help has the right words."""
    context = getattr(error, "ctx", None)
    return context.command_path if context is not None else "workbench"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; its exit code. Errors become a sentence and a hint here, and nowhere else."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows ? instead of ending the command
    try:
        return _answer(given, Output("--json" in given))
    except ReaderLeft:
        return 0


def _answer(given: list[str], output: Output) -> int:
    """The command's exit code, its errors told."""
    try:
        code = app(args=given, prog_name="workbench", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except OutputError as error:
        return Output().refuse(error)  # in words, also with --json: the document would go where nothing can be written
    except WorkbenchError as error:
        return output.refuse(error)
    except typer.TyperException as error:
        output.error(error.format_message(), f"See: {_command_of(error)} --help", "UsageError")
        return USAGE_ERROR
    except (_Interrupted, typer.Abort):
        if output.as_json:  # a program that reads the document learns of it too
            output.error("It was interrupted.", "Runs that were started go on: workbench runs", "Interrupted")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
