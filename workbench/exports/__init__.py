"""Export targets: one file = one target, and this folder is the list.

A target's file holds `EXPORT` (what it is and which fields it has) and `export(context)`, which imports torch, gguf
and llama.cpp itself, because it runs in the worker. Nothing in here gets its final name before it was verified.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.fields import Field
from workbench.registry import Registry

__all__ = ["ADAPTER", "BASE16", "COMMON", "OUT", "Export", "all_exports", "exportable", "get", "module", "modules"]


@dataclass(frozen=True)
class Export:
    """What an export target is, as the screen and the command line need to know it."""

    name: str
    label: str
    summary: str
    fields: tuple[Field, ...] = ()


OUT = Field(
    "out",
    "",
    "Folder",
    "Where the export is written. Empty: the project's exports folder, under the run's number and name.",
    group="export",
)
BASE16 = Field(
    "base16",
    "",
    "16-bit base",
    "The unquantised base to merge into, a folder or an id, where the model was tuned on a quantised one and its "
    "original is not found by its name. Empty: found by itself.",
    group="export",
)
ADAPTER = Field(
    "adapter",
    "",
    "Adapter",
    "The folder of a LoRA adapter that no run here made, to be merged into the base. Empty for a run or a whole model.",
    group="export",
)
COMMON = (OUT, BASE16, ADAPTER)
"""The fields that every target has."""

REGISTRY: Registry[Export] = Registry(__name__, "EXPORT", "export target")
get = REGISTRY.get
all_exports = REGISTRY.all
module = REGISTRY.module
modules = REGISTRY.modules


def exportable(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> str:
    """Why a model cannot become a GGUF, in a sentence; "" if it can. Reads config.json and tokenizer.json only."""
    from workbench.exports.gguf import family, vocabulary

    return family.unsupported(config) or vocabulary.unsupported(tokenizer, family.vocabulary_size(config))
