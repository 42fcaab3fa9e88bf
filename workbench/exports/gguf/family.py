"""Model families for GGUF: one file a family, found by the architecture that config.json names. No torch here.

A family's file holds `ARCHITECTURES`, `NAME` (llama.cpp's), `unsupported(config)`, `metadata(config)`,
`tensor_name(name)`, `transform(name, tensor, config)` and `extra_tensors(config)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from workbench.errors import ExportError
from workbench.exports.gguf import llama

FAMILIES: tuple[ModuleType, ...] = (llama,)


def of(config: Mapping[str, Any]) -> ModuleType:
    """The family of a model by its config.json; an ExportError where there is none."""
    reason = unsupported(config)
    if reason:
        raise ExportError(f"This model cannot become a GGUF. {reason}", "Export it as merged instead.")
    return next(family for family in FAMILIES if _architecture(config) in family.ARCHITECTURES)


def unsupported(config: Mapping[str, Any]) -> str:
    """Why this config.json names no model that can become a GGUF; "" if it does."""
    if not config:
        return "It has no config.json."
    if config.get("quantization_config"):
        return "Its own weights are quantised already; an export needs 16- or 32-bit weights."
    for family in FAMILIES:
        if _architecture(config) in family.ARCHITECTURES:
            return str(family.unsupported(config))
    known = ", ".join(name for family in FAMILIES for name in family.ARCHITECTURES)
    return f"Its architecture {_architecture(config) or 'has no name'} is not among those written so far ({known})."


def _architecture(config: Mapping[str, Any]) -> str:
    return str((config.get("architectures") or [""])[0])
