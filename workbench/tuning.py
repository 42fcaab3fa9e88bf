"""What a run may tune, given what it starts from, and how much that is: decided before it is launched. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench import fit
from workbench.bases import ancestry, weights
from workbench.bases.model_folder import Base, read_base
from workbench.errors import SettingError
from workbench.fields import Value
from workbench.methods.shared import ADAPTERS

SOFT_PROMPTS = {"PREFIX_TUNING": "prefix", "PROMPT_TUNING": "prompt"}
SHAPE = {"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout", "rslora": "use_rslora", "dora": "use_dora"}
"""Settings that shape a new adapter, and their names in an adapter's own file."""


def settled(
    settings: Mapping[str, Value], changes: Mapping[str, Any], start: Path | None, run: str | None
) -> dict[str, Value]:
    """The settings as they hold for a run from the adapter in `start`; a SettingError where they cannot hold."""
    kind = ancestry.kind_of(start) if start is not None else ""
    known = ancestry.config_of(start) if start is not None else {}
    if kind in SOFT_PROMPTS:
        if settings["how"] != SOFT_PROMPTS[kind]:
            raise SettingError(
                f"Run {run} is a {SOFT_PROMPTS[kind]}, which can become part of no weight: it goes on only as one.",
                f"Set how={SOFT_PROMPTS[kind]}, or start from another run.",
            )
        return _as_in(settings, changes, {"virtual_tokens": known.get("num_virtual_tokens")}, run)
    if kind == "LORA" and settings["how"] in ADAPTERS:
        shape = {name: known.get(theirs) for name, theirs in SHAPE.items()}
        targets = known.get("target_modules")
        shape["targets"] = ",".join(sorted(targets)) if isinstance(targets, list) else targets
        return _as_in(settings, changes, shape, run)
    return dict(settings)


def _as_in(
    settings: Mapping[str, Value], changes: Mapping[str, Any], shape: Mapping[str, Any], run: str | None
) -> dict[str, Value]:
    """The settings with the starting adapter's shape, which a run that goes on with it keeps."""
    there = {name: type(settings[name])(value) for name, value in shape.items() if value is not None}
    for name, value in there.items():
        if name in changes and name != "targets" and settings[name] != value:
            raise SettingError(
                f"Run {run}'s adapter has {name} = {value}, and a run that goes on with it keeps that.",
                f"Leave {name} out, or start from the base.",
            )
    return {**settings, **there}


def trained(
    base: Base,
    settings: Mapping[str, Any],
    start: Path | None = None,
    whole: Path | None = None,
    *,
    scalar_head: bool = False,
) -> int:
    """How many weights a run tunes: counted in the adapter that it goes on with, else worked out.

    `whole` is the folder of whole weights that it starts from where those are not the base's own.
    """
    kind = ancestry.kind_of(start) if start is not None else ""
    if start is not None and (kind in SOFT_PROMPTS or (kind == "LORA" and settings["how"] in ADAPTERS)):
        tensors = weights.read_header(start / "adapter_model.safetensors")
        return sum(tensor.count for tensor in tensors.values()) + base.hidden * scalar_head
    shape = base if whole is None else read_base(whole, base.spec, base.name)
    return fit.trained_parameters(shape, settings, scalar_head=scalar_head)


def in_words(count: int, total: int) -> str:
    """A count of tuned weights for people: `tunes 327,680 weights (9.6 % of 3,426,304)`."""
    share = 100 * count / total if total else 0.0
    return f"tunes {count:,} weights ({share:.{0 if share >= 10 else 2}f} % of {total:,})"
