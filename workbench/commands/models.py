"""The command around base models: models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.commands.options import AsJson, Project, find_project, opened
from workbench.errors import BaseModelError, ProjectError
from workbench.hardware import human_bytes
from workbench.output import Output

if TYPE_CHECKING:
    from workbench.bases import Base
    from workbench.bench import Bench


def models(
    get: Annotated[
        str | None, typer.Option("--get", metavar="HUB_ID", help="Download a model from the Hugging Face hub first.")
    ] = None,
    add: Annotated[
        Path | None,
        typer.Option("--add", metavar="FOLDER", help="List this folder (a model, or models in it) in the project."),
    ] = None,
    use: Annotated[
        str | None,
        typer.Option("--use", metavar="SPEC", help="Make it the project's base: bundled, a folder, or a hub id."),
    ] = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """List, get, add and choose base models. Listing and getting work without a project too."""
    from workbench import bases

    output = Output(as_json)
    if get is not None:
        _download(get, output)
    if not _has_project(project) and add is None and use is None:
        _list(bases.installed(), "", output)
        return
    with opened(project) as bench:
        if add is not None:
            _add(bench, add)
        if use is not None:
            bench.base = bases.resolve(use).spec
        own = [] if bench.base == bases.BUNDLED else [Path(bench.base)]  # listed even where nobody added its folder
        _list(bases.installed([*bases.remembered_folders(bench.store), *own]), bench.base, output)


def _has_project(project: Path | None) -> bool:
    if project is not None:
        return True
    try:
        find_project(None)
    except ProjectError:
        return False
    return True


def _download(hub_id: str, output: Output) -> None:
    from workbench import bases

    with output.bar(f"getting {hub_id}") as bar:
        base = bases.download(
            hub_id, lambda done, total: bar.advance(done, total, f"{human_bytes(done)} of {human_bytes(total)}")
        )
    output.say(f"{base.name} is in the hub's cache: {human_bytes(base.size_bytes)}.")


def _add(bench: Bench, folder: Path) -> None:
    from workbench import bases

    if not bases.installed([folder])[len(bases.installed()) :]:
        raise BaseModelError(
            f"There is no model in {folder}.", "A model is a folder with config.json and safetensors weights."
        )
    bases.remember_folder(bench.store, folder)


def _list(found: list[Base], chosen: str, output: Output) -> None:
    from workbench import exported

    rows = [
        (
            "*" if base.spec == chosen else "",
            base.name,
            f"{base.parameters / 1e6:,.{1 if base.parameters < 1e6 else 0}f} M" if base.parameters else "",
            human_bytes(base.size_bytes) if base.size_bytes else "",
            base.architecture,
            "yes" if base.usable else "no",
            base.problems[0] if base.problems else f"exportable: {exported.outlook(base)}",
        )
        for base in found
    ]
    output.table(("", "name", "parameters", "size", "architecture", "usable", "remark"), rows)
    if any(base.spec == chosen for base in found):
        output.show("* is the project's base. Choose another with --use.")
    elif chosen:
        output.show(f"The project's base, {chosen}, is not on this machine. Choose another with --use.")
    output.document({"base": chosen or None, "models": [_facts(base) for base in found]})


def _facts(base: Base) -> dict[str, Any]:
    from workbench import exported

    return {**asdict(base), "usable": base.usable, "export_bytes": exported.usual_plan(base).needed}
