"""Which adapter of a model in memory is active. PEFT's own switch would change the gradient flags too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper


@contextlib.contextmanager
def only(model: Any, name: str | None) -> Iterator[None]:
    """Only the adapter `name` is active, or none; afterwards as it was."""
    layers = [m for m in model.modules() if isinstance(m, BaseTunerLayer)]
    others = [m for m in model.modules() if isinstance(m, AuxiliaryTrainingWrapper)]  # copies that an adapter trains
    before = [(module, module._active_adapter, module._disable_adapters) for module in (*layers, *others)]
    try:
        for module in layers:
            module._active_adapter, module._disable_adapters = [name], name is None
        for module in others:
            module._disable_adapters = True
        yield
    finally:
        for module, active, disabled in before:
            module._active_adapter, module._disable_adapters = active, disabled
