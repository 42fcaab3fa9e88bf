"""Where base models are: the bundled one, the hub's cache, folders. Finds them and names them; loads none.

What a model folder holds is read by `workbench/bases/model_folder.py`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from workbench import paths
from workbench.bases.model_folder import Base, lacks_weights, read_base
from workbench.bases.weights import fingerprint
from workbench.errors import BaseModelError
from workbench.store import Store

__all__ = ["Base", "download", "find", "fingerprint", "installed", "remember_folder", "remembered_folders", "resolve"]

BUNDLED = "bundled"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9_][\w.-]{0,95})?")
FOLDERS_KEY = "base folders"


def installed(folders: Iterable[Path] = ()) -> list[Base]:
    """The bundled base, what is in the hub's cache, and these folders (models, or folders of models), in this order.

    Bases with problems are among them, so that a person sees why one cannot be chosen.
    """
    found = [read_base(paths.BUNDLED_BASE, BUNDLED, BUNDLED)] if paths.BUNDLED_BASE.is_dir() else []
    found += [
        _cached_base(folder) for folder in sorted(paths.hub_cache().glob("models--*")) if _looks_like_text(folder)
    ]
    models = {model.resolve(): model for folder in folders for model in _models_in(folder)}
    found += [read_base(model, str(model), model.name) for model in models.values()]
    return found


def _models_in(folder: Path) -> Iterator[Path]:
    if (folder / "config.json").is_file():
        yield folder
    elif folder.is_dir():
        yield from sorted(config.parent for config in folder.glob("*/config.json"))


def _looks_like_text(folder: Path) -> bool:
    """Whether a model in the cache is one to tune: it has a config, or its download is not finished."""
    return bool(next(folder.glob("snapshots/*/config.json"), None) or next(folder.glob("blobs/*.incomplete"), None))


def resolve(spec: str) -> Base:
    """The base that a person named: 'bundled', a folder, or a hub id in the cache. A BaseModelError where there is
    none or it cannot be used."""
    base = find(spec)
    if base.problems:
        raise BaseModelError(
            f"{base.name} cannot be used as a base: {base.problems[0]}", "Choose another: workbench models."
        )
    return base


def find(spec: str) -> Base:
    """The same with whatever is wrong with it; a BaseModelError where there is none."""
    return read_base(paths.BUNDLED_BASE, BUNDLED, BUNDLED) if spec == BUNDLED else _folder_or_cached(spec)


def _folder_or_cached(spec: str) -> Base:
    folder = Path(spec).expanduser()
    if folder.is_dir():
        return read_base(folder.resolve(), str(folder.resolve()), folder.resolve().name)
    if folder.is_file() or spec.lower().endswith(".gguf"):
        raise BaseModelError(
            f"{spec} is a file: a base model is a folder with config.json and safetensors weights.",
            "A GGUF can be chatted with (workbench chat FILE) and not trained; get the model it was made from.",
        )
    cached = paths.hub_cache() / f"models--{spec.replace('/', '--')}"
    if HUB_ID.fullmatch(spec) and cached.is_dir():
        return _cached_base(cached)
    if HUB_ID.fullmatch(spec):
        raise BaseModelError(
            f"{spec} is neither a folder nor in the hub's cache.", f"Get it with: workbench models --get {spec}"
        )
    raise BaseModelError(f"There is no folder {spec}.", "See what there is: workbench models.")


def _cached_base(folder: Path) -> Base:
    """A model in the hub's cache, at the revision that `main` names there, else the newest."""
    spec = folder.name.removeprefix("models--").replace("--", "/", 1)
    snapshot = _snapshot(folder)
    if snapshot is None:
        return Base(spec, folder, spec, problems=(_unfinished(spec),))
    base = read_base(snapshot, spec, spec)
    torn = any(path.is_symlink() and not path.exists() for path in snapshot.iterdir())
    if base.problems and (torn or lacks_weights(snapshot) or any(folder.glob("blobs/*.incomplete"))):
        return dataclasses.replace(base, problems=(_unfinished(spec), *base.problems))
    return base


def _snapshot(folder: Path) -> Path | None:
    try:
        named = folder / "snapshots" / (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        named = folder / "snapshots" / "?"
    if named.parent.is_dir() and named.is_dir():
        return named
    present = [path for path in folder.glob("snapshots/*") if path.is_dir()]
    return max(present, key=lambda path: path.stat().st_mtime, default=None)


def _unfinished(spec: str) -> str:
    return f"Its download was not finished; go on with: workbench models --get {spec}"


# -- what a project remembers, and what the hub has


def remembered_folders(store: Store) -> list[Path]:
    """Folders of models that the person added to the project."""
    try:
        rows = json.loads(store.get(FOLDERS_KEY, "[]"))
    except ValueError:
        return []
    return [Path(row) for row in rows if isinstance(row, str)]


def remember_folder(store: Store, folder: Path) -> None:
    """Adds a folder to those that `remembered_folders` lists."""
    known = [str(path) for path in remembered_folders(store)]
    if str(folder.resolve()) not in known:
        store.put(FOLDERS_KEY, json.dumps([*known, str(folder.resolve())]))


def download(spec: str, progress: Callable[[int, int], None] | None = None) -> Base:
    """Gets a model from the hub into its cache; `progress` hears (bytes done, bytes in all)."""
    from workbench.bases import hub

    hub.download(spec, progress)
    return resolve(spec)
