"""Samplers: one file = one source of completions, and this folder is the list.

A sampler file holds `SAMPLER` and `sample(context)`, which imports its library itself, because it runs in the worker.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.fields import Field
from workbench.registry import Registry

__all__ = ["Sampler", "all_samplers", "get", "module"]


@dataclass(frozen=True)
class Sampler:
    """A source of completions, as the form and the command line need to know it."""

    name: str
    label: str
    summary: str
    fields: tuple[Field, ...] = ()


REGISTRY: Registry[Sampler] = Registry(__name__, "SAMPLER", "sampler")
get = REGISTRY.get
all_samplers = REGISTRY.all
module = REGISTRY.module
