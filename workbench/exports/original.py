"""The 16-bit original of a quantised base: a merge goes into that, never into 4-bit weights. Found, or asked for.

A candidate has to have the quantised model's shape, and the weights that quantising leaves alone (norms) have to be the
same: the 16-bit version of another model of that size is not taken for it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from workbench import bases
from workbench.bases import Base, ancestry
from workbench.errors import BaseModelError
from workbench.exports.source import read_json

SHAPE = (
    "architectures",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)

_ENDING = re.compile(
    r"[-_.](unsloth[-_])?(bnb[-_]?)?(4bit|8bit|int4|int8|nf4|gptq|awq|exl2|hqq|fp8)([-_.](4bit|8bit|int4|int8|g\d+))*$",
    re.IGNORECASE,
)
"""How the names of quantised copies end."""

COMPARED = 4
"""Norms compared: read in a moment, and two models have none of them in common."""


def of(named: str, given: str = "") -> Base:
    """The unquantised base of a model tuned on `named`: the `given` one, `named` itself, or the one it was made from.

    A BaseModelError that asks for it where none is found or where it is not the original.
    """
    if given:
        return _agreeing(bases.resolve(given), found(named))
    base = bases.find(named)
    if not is_quantised(base):
        return bases.resolve(named)
    for candidate in _candidates(base):
        other = found(candidate)
        if other is not None and other.usable:
            return _agreeing(other, base)
    likely = next(iter(_candidates(base)), "")
    raise BaseModelError(
        f"{base.name} is quantised, and merging into quantised weights loses the tuning; its 16-bit original is not on "
        "this machine.",
        f"Get it{f', probably {likely},' if likely else ''} and name it: --set base16=FOLDER_OR_ID",
    )


def is_quantised(base: Base) -> bool:
    return any("quantised" in problem or "8-bit floats" in problem for problem in base.problems)


def found(spec: str) -> Base | None:
    """The model of that name, whatever is wrong with it; None where there is none."""
    try:
        return bases.find(spec)
    except BaseModelError:
        return None


def _candidates(base: Base) -> list[str]:
    """Names that the original may have, the surest first: what the model's files say, its own without the ending."""
    said: list[str] = []
    try:
        card = (base.path / "README.md").read_text(encoding="utf-8", errors="replace")[:20_000]
        said += re.findall(r"^base_model:\s*(?:\n\s*-\s*)?['\"]?([\w./-]+)", card, re.MULTILINE)
    except OSError:
        pass
    said.append(str(read_json(base.path / "config.json").get("_name_or_path") or ""))
    bare = _ENDING.sub("", base.spec)
    said += [bare, bare.rpartition("/")[2]] if bare != base.spec else []
    names = [name for name in said if name and name != base.spec]
    beside = [str(base.path.parent / Path(name).name) for name in names]  # folders of models lie together
    return list(dict.fromkeys([*names, *(place for place in beside if Path(place).is_dir())]))


def _agreeing(original: Base, quantised: Base | None) -> Base:
    """The original, once it is seen to be one."""
    if quantised is None or quantised.path == original.path:
        return original
    mine, theirs = (read_json(base.path / "config.json") for base in (original, quantised))
    for name in SHAPE:
        if mine.get(name) != theirs.get(name):
            raise _another(
                original, quantised, f"{name} is {mine.get(name)} in one and {theirs.get(name)} in the other"
            )
    _compare_norms(original, quantised)
    return original


def _compare_norms(original: Base, quantised: Base) -> None:
    """A BaseModelError where weights that quantising leaves alone differ."""
    from workbench.bases.weights import FLOATING
    from workbench.exports.tensors import Weights

    mine, theirs = Weights(original.path), Weights(quantised.path)
    names = [
        name
        for name, info in theirs.infos.items()
        if name.endswith("norm.weight") and name in mine.infos and info.dtype in FLOATING
    ]
    for name in names[:: max(1, len(names) // COMPARED)]:
        one, two = mine.tensor(name).float(), theirs.tensor(name).float()
        if one.shape != two.shape or float((one - two).abs().max()) > 1e-2 * float(one.abs().max()):
            raise _another(original, quantised, f"their {name} differ")


def _another(original: Base, quantised: Base, why: str) -> BaseModelError:
    return BaseModelError(
        f"{original.name} is not the 16-bit original of {quantised.name}: {why}.",
        "Name the one that it was made from: --set base16=FOLDER_OR_ID",
    )


def is_folder(model: str) -> bool:
    """Whether a person names a folder, and not a run."""
    return not model.isdecimal() and model != "last" and Path(model).expanduser().is_dir()


def in_folder(model: str, base16: str = "") -> tuple[Path | None, Base]:
    """What a model's folder is for an export: the adapter in it, if it is one, and the whole model it belongs to."""
    folder = Path(model).expanduser().resolve()
    if not ancestry.is_adapter(folder):
        return None, of(str(folder), base16)
    named = _base_of_adapter(folder)
    if not named and not base16:
        raise BaseModelError(
            f"The adapter in {folder.name} does not say which base it belongs to.", "Name it: --set base16=FOLDER_OR_ID"
        )
    return folder, of(named or base16, base16)


def _base_of_adapter(folder: Path) -> str:
    """The base that an adapter's own settings name, as far as it is on this machine or has a name of the hub's."""
    try:
        config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(config.get("base_model_name_or_path") or "") if isinstance(config, dict) else ""
