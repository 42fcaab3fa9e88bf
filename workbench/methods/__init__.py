"""Training methods: one file = one method, and this folder is the list.

A method file holds `METHOD` (what it is and which fields it adds) and `train(session)`, which imports the training
libraries itself, because it runs in the worker. Importing a method file does nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from workbench.fields import Field, Value
from workbench.methods.shared import ADAPTERS, SHARED, WHOLE
from workbench.registry import Registry

if TYPE_CHECKING:
    from workbench.job import Job

__all__ = ["SHARED", "Method", "Panel", "all_methods", "get", "known", "made_by", "module"]

Needs = Literal["demonstrations", "pairs", "rankings", "thumbs", "prompts"]
"""What a method trains on; `workbench.rows` makes it of a project."""

Makes = Literal["policy", "reward model"]


@dataclass(frozen=True)
class Panel:
    """One chart of the live screen: metric names drawn together, by their names in `Step` and `Evaluated`."""

    title: str
    metrics: tuple[str, ...]
    log: bool = False


@dataclass(frozen=True)
class Method:
    """What a training method is, as the form, the command line and the live screen need to know it."""

    name: str
    label: str
    summary: str
    """One sentence for the person: when to choose it."""
    needs: Needs
    fields: tuple[Field, ...] = ()
    panels: tuple[Panel, ...] = ()
    defaults: dict[str, Value] = field(default_factory=dict)
    """Shared fields whose default differs for this method (DPO wants a smaller rate than SFT)."""
    makes: Makes = "policy"
    """A policy writes answers; a reward model scores them, and can be neither sampled nor exported."""
    from_base: bool = False
    """Whether it is meant for the base itself: the form then begins with that, else with the newest run."""
    hows: tuple[str, ...] = ADAPTERS + WHOLE
    """The ways of tuning that are sound for it; another is refused when a run is ordered."""
    why_hows: str = "Its steps need an adapter, or the base's own weights; SFT, DPO and KTO tune prefixes and prompts."
    """The hint of that refusal."""

    @property
    def all_fields(self) -> tuple[Field, ...]:
        """The shared fields, those ways of tuning left out that are not sound, then the method's own."""
        shared = (
            replace(f, choices=tuple(how for how in f.choices if how in self.hows), why_fewer=self.why_hows)
            if f.name == "how"
            else f
            for f in SHARED
        )
        return (*shared, *self.fields)


REGISTRY: Registry[Method] = Registry(__name__, "METHOD", "training method")
get = REGISTRY.get
all_methods = REGISTRY.all
module = REGISTRY.module


def known(name: str) -> Method | None:
    """The method of that name; None for one of another version, whose runs are in the list all the same."""
    return REGISTRY.get(name) if name in REGISTRY.modules() else None


def made_by(job: Job) -> Makes | None:
    """What a training run makes; None for another job, and for a method that is not known."""
    method = known(job.action) if job.kind == "train" else None
    return method.makes if method is not None else None
