"""Settings of the methods that hold the model against its own starting point. Not a method itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.fields import Field
from workbench.methods.shared import WHOLE


def beta_field(method: str) -> Field:
    """How strongly the start pulls."""
    return Field(
        "beta",
        0.1,
        "Beta",
        "How closely the model keeps to its starting point. 0.01 lets it go far, 0.5 hardly moves it.",
        low=1e-4,
        high=10,
        group=method,
    )


def precompute_field(method: str) -> Field:
    """When the start is asked for its probabilities."""
    return Field(
        "precompute_reference",
        False,
        "Reference beforehand",
        "Works out the reference's probabilities once, before the loop: each step saves a pass, the start takes "
        "longer. Worth it from two epochs on. Always on where whole weights are tuned.",
        group=method,
    )


def precomputes(settings: Mapping[str, Any]) -> bool:
    """Whether the reference is asked before the loop."""
    return bool(settings["precompute_reference"]) or settings["how"] in WHOLE
