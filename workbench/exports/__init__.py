"""Export targets: one file (or package) = one target, and this folder is the list.

A target holds `EXPORT` and `export(context)`, which imports its libraries itself, because it runs in the worker.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.fields import Field
from workbench.registry import Registry

__all__ = ["Export", "all_exports", "get", "module"]


@dataclass(frozen=True)
class Export:
    """A target of an export, as the screen and the command line need to know it."""

    name: str
    label: str
    summary: str
    fields: tuple[Field, ...] = ()


REGISTRY: Registry[Export] = Registry(__name__, "EXPORT", "export target")
get = REGISTRY.get
all_exports = REGISTRY.all
module = REGISTRY.module
