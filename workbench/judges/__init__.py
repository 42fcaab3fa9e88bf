"""Sources of judgements that are not a person, one file each; no file here imports torch at module scope.

One that works in a worker holds `JUDGE` and `judge(context)`; rules are asked directly.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.fields import Field
from workbench.registry import Registry

__all__ = ["Judge", "all_judges", "get", "module"]


@dataclass(frozen=True)
class Judge:
    """A source of judgements, as the form and the command line need to know it."""

    name: str
    label: str
    summary: str
    fields: tuple[Field, ...] = ()


REGISTRY: Registry[Judge] = Registry(__name__, "JUDGE", "judge")
get = REGISTRY.get
all_judges = REGISTRY.all
module = REGISTRY.module
