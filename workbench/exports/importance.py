"""Which inputs of each layer matter: the mean square of every input over some text, which llama.cpp's types below three
bits need (its "importance matrix"). Gathered while the merged model is in memory anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.exports.tensors import Merged


def measure(model: Any, merged: Merged, texts: Sequence[list[int]], target: Path, look: Callable[[], None]) -> None:
    """Lets the model read the texts and saves, by llama.cpp's tensor names, the mean squares as .npz."""
    import numpy as np
    import torch

    from workbench.exports.gguf import writing

    names = {source.removesuffix(".weight"): name for source, name in writing.names(merged).items()}
    sums: dict[str, Any] = {}
    counts: dict[str, int] = {}

    def watch(name: str) -> Callable[..., None]:
        def seen(module: Any, inputs: tuple[Any, ...]) -> None:
            squares = inputs[0].detach().reshape(-1, inputs[0].shape[-1]).float().square()  # (tokens, in)
            sums[name] = sums.get(name, 0) + squares.sum(dim=0).cpu()
            counts[name] = counts.get(name, 0) + len(squares)

        return seen

    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)}
    hooks = [layer.register_forward_pre_hook(watch(names[name])) for name, layer in layers.items() if name in names]
    try:
        for ids in texts:
            look()
            with torch.inference_mode():
                model(input_ids=torch.tensor([ids], device=model.device), logits_to_keep=1)
    finally:
        for hook in hooks:
            hook.remove()
    with target.open("wb") as file:
        np.savez(file, **{name: (total / counts[name]).numpy().astype(np.float32) for name, total in sums.items()})
