"""Options that several commands share, and opening the project that they name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench import paths
from workbench.errors import DiskFullError, InputError, ProjectError, RunError
from workbench.output import Output

if TYPE_CHECKING:
    from workbench.bench import Bench

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout; words go to stderr.")]


Project = Annotated[
    Path | None,
    typer.Option(
        "--project",
        "-C",
        metavar="DIR",
        help="The project's folder. Default: the current folder, or the nearest one above it that is a project.",
    ),
]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="The run's number as `workbench runs` lists it, or `last`.")
]
Detach = Annotated[bool, typer.Option("--detach", help="Return at once; the run goes on by itself.")]


def named_folder(text: str) -> Path:
    """A folder as a person names it. An empty name, as an unset shell variable leaves it, is not the current folder."""
    if not text.strip():
        raise InputError("The folder has no name.", "Give it one, or . for the current folder.")
    return Path(text)


def find_project(folder: Path | None) -> Path:
    """The project in `folder`, or without one in the current folder or above it; a ProjectError where there is none."""
    if folder is not None:
        return folder
    here = Path.cwd()
    for candidate in (here, *here.parents):
        if (candidate / paths.STORE_NAME).is_file():
            return candidate
    raise ProjectError(
        f"There is no workbench project in {here} or above it.",
        "Make one: workbench new my-project --demo. Or name one: -C DIR.",
    )


def trained_run(bench: Bench, name: str) -> str:
    """The run that a person means by the name of a model: `last` is the newest training run, whatever ran since."""
    if name != "last":
        return name
    training = bench.runs.all("train")
    if not training:
        raise RunError("Nothing has been trained in this project yet.", "Start with: workbench train sft")
    return training[-1].id


@contextlib.contextmanager
def opened(folder: Path | None) -> Iterator[Bench]:
    """The project, open, with all that its sampling runs have produced in its store."""
    from workbench.bench import Bench

    bench = Bench.open(find_project(folder))
    try:
        take_in(bench)
        yield bench
    finally:
        bench.close()


def take_in(bench: Bench) -> None:
    """Stores what sampling runs have produced. A full disk is a warning: runs must be seen and stopped all the same."""
    try:
        bench.ingest()
    except DiskFullError as error:
        Output().say(f"Warning: new completions were left in their runs. {error}")
