"""Names the weights in which an export first differs from what it should hold, for a check that failed.

A GGUF is compared tensor by tensor with the merged model laid out as llama.cpp wants it, a merged folder with peft's
own merge. What the type of a tensor loses by itself is allowed for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.exports.tensors import Merged, Weights

ALLOWED = ((16, 0.01), (8, 0.02), (6, 0.05), (5, 0.1), (4, 0.2), (3, 0.35), (2, 0.6), (1, 0.9))
"""(bits a weight from, largest error relative to the tensor's norm): about three times what llama.cpp's types lose."""


def first_wrong_in_gguf(path: Path, merged: Merged) -> str:
    """The first tensor of a GGUF that differs from the merged model by more than its type explains, in words; or ""."""
    import gguf
    import numpy as np

    from workbench.exports.gguf import writing

    there = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    for name, expected in writing.expected(merged):
        tensor = there.get(name)
        if tensor is None:
            return f"The file lacks the weights {name}."
        got = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(-1)
        want = expected.float().numpy().reshape(-1)
        bits = 8 * tensor.n_bytes / max(1, tensor.n_elements)
        allowed = next(error for least, error in ALLOWED if bits >= least)
        off = float(np.linalg.norm(got - want) / max(1e-12, float(np.linalg.norm(want))))
        if not off <= allowed:
            return f"The first weights that differ are {name}, by {off:.0%} (its type explains {allowed:.0%})."
    return "No weights differ by more than their type explains."


def first_wrong_in_folder(written: Weights, merged_by_peft: Any) -> str:
    """The first tensor of a merged folder that differs from peft's merge by more than rounding, in words; or ""."""
    parameters = dict(merged_by_peft.named_parameters())
    for name in written.infos:
        expected = parameters.get(name)
        if expected is None:
            continue
        got = written.tensor(name).float()
        off = float((got - expected.float().cpu()).norm() / expected.float().norm().cpu().clamp(min=1e-12))
        if not off <= (1e-5 if written.infos[name].dtype == "F32" else 1e-2):
            return f"The first weights that differ from peft's merge are {name}, by {off:.0%}."
    return "No weights differ from peft's merge by more than rounding."
