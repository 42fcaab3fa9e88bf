"""A transformers model whose weights are read when a layer needs them and let go after it: for checking on machines
that cannot hold the model. Its peak is one layer's weight in float32; every forward reads the whole model once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.exports.shards import Tensors

if TYPE_CHECKING:
    import torch

    from workbench.exports.tensors import Merged

Read = Callable[[str], "torch.Tensor"]

_WRAPPING = ("base_model.model.", ".base_layer", ".original_module")
"""What peft adds to a parameter's name."""


@contextlib.contextmanager
def merged(model: Merged, dtype: torch.dtype) -> Iterator[Any]:
    """The merged model."""
    empty = _empty(model.model.folder, dtype, tied=not model.untied)
    _attach(empty, _by_name(model.model, model.tensor), dtype)
    yield empty.eval()


@contextlib.contextmanager
def adapted(model: Merged, adapter: Path, dtype: torch.dtype) -> Iterator[Any]:
    """The trained adapter, unmerged, on the base: peft's own arithmetic."""
    from peft import PeftModel

    from workbench.exports.adapter import WEIGHTS

    peft_model = PeftModel.from_pretrained(_empty(model.model.folder, dtype), str(adapter), low_cpu_mem_usage=True)
    _fill(peft_model, Tensors([adapter / WEIGHTS]))
    _attach(peft_model, _by_name(model.model, model.model.tensor), dtype)
    yield peft_model.eval()


def _empty(folder: Path, dtype: torch.dtype, *, tied: bool = True) -> Any:
    """The model without weights; its buffers (rotary frequencies) are worked out as usual."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not tied:
        config.tie_word_embeddings = False
    with init_empty_weights(include_buffers=False):
        return AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)


def _by_name(files: Tensors, read: Read) -> Read:
    """Reads a parameter by transformers' name of it; a head that shares the embedding's tensor is read from there."""
    from workbench.bases.model_folder import EMBEDDINGS

    def found(parameter: str) -> torch.Tensor:
        for word in _WRAPPING:
            parameter = parameter.replace(word, "")
        names = [parameter, parameter.partition(".")[2], *(n for n in files.infos if n.endswith(EMBEDDINGS))]
        return read(next(name for name in names if name in files.infos))

    return found


def _fill(peft_model: Any, files: Tensors) -> None:
    """Gives the adapter's own parameters their values, which peft leaves empty on an empty base."""
    import torch

    for name, parameter in list(peft_model.named_parameters()):
        key = name.replace(".modules_to_save", "").replace(".default", "")
        key = next((k for k in (key, key.removesuffix(".weight")) if k in files.infos), "")
        if parameter.is_meta and key and "original_module" not in name:
            owner, _, last = name.rpartition(".")
            module = peft_model.get_submodule(owner)
            module._parameters[last] = torch.nn.Parameter(files.tensor(key).float(), requires_grad=False)


def _attach(model: Any, read: Read, dtype: torch.dtype) -> None:
    """Lets every module read its own weights before it works, and forget them after."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    done: set[int] = set()
    for module in list(model.modules()):
        if id(module) in done:
            continue
        inner = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
        held = [last for last, parameter in inner.named_parameters(recurse=False) if parameter.is_meta]
        if not held:
            continue
        done.add(id(inner))  # an adapted layer's weight is needed by its wrapper too, for DoRA's norms
        path = next(path for path, other in model.named_modules(remove_duplicate=False) if other is inner)
        _hook(module, inner, {last: f"{path}.{last}" for last in held}, read, dtype)


def _hook(module: Any, inner: Any, names: dict[str, str], read: Read, dtype: torch.dtype) -> None:
    import torch

    empty = {last: inner._parameters[last] for last in names}

    def take(*_: Any) -> None:
        for last, name in names.items():
            inner._parameters[last] = torch.nn.Parameter(read(name).to(dtype), requires_grad=False)

    def drop(*_: Any) -> None:
        inner._parameters.update(empty)

    module.register_forward_pre_hook(take)
    module.register_forward_hook(drop)
