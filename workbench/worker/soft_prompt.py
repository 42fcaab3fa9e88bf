"""Soft prompts: numbers put before the text, tuned while every weight stands still.

`prompt` tunes the embeddings of some virtual words (Lester et al. 2021), `prefix` their keys and values in every layer
(Li and Liang 2021). Both train through PEFT. When a model answers, either is a cache that is filled before the first
token: that needs no PEFT, and is the same arithmetic, because no virtual token sees a real one.

A soft prompt may stand on a LoRA adapter, which stays frozen underneath; a copy of it travels in the same folder.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file
from transformers import DynamicCache

from workbench.bases import ancestry
from workbench.errors import StartingPointError

WEIGHTS = "adapter_model.safetensors"
VALUES = "prompt_embeddings"
"""PEFT's name of the numbers in that file: (n, hidden) of a prompt, (n, 2 * layers * key heads * width) of a prefix."""

KINDS = {"prefix": "PREFIX_TUNING", "prompt": "PROMPT_TUNING"}

Filled = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of every layer, (1, heads, n, width) each."""


def tuned(model: Any, settings: Mapping[str, Any], start: Path | None, words: Sequence[int]) -> Any:
    """The model with a soft prompt to be trained: the one in `start`, or one that begins as what the model makes of
    `words`; on top of the LoRA adapter that `start` is or holds."""
    how = str(settings["how"])
    kind = ancestry.kind_of(start) if start is not None else ""
    if kind in KINDS.values() and kind != KINDS[how]:
        raise StartingPointError(f"The run starts from a soft prompt of the kind {kind}, not from a {how}.")
    lora = start if kind == "LORA" else start and ancestry.below(start)
    if lora:
        model = PeftModel.from_pretrained(model, lora).get_base_model()
    values = _values(start, model) if start is not None and kind in KINDS.values() else _of_words(model, how, words)
    config = PrefixTuningConfig if how == "prefix" else PromptTuningConfig
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT sees the LoRA underneath and takes it for a mistake
        soft = get_peft_model(model, config(task_type="CAUSAL_LM", num_virtual_tokens=len(values)))
    set_values(soft, values)
    return soft


def _of_words(model: Any, how: str, words: Sequence[int]) -> torch.Tensor:
    """What the model makes of real words: random numbers are far from anything it has ever seen."""
    ids = torch.tensor([words], device=model.device)  # (1, n)
    with torch.no_grad():
        if how == "prompt":
            return model.get_input_embeddings()(ids)[0].float()
        cache = model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
        both = [part[0] for layer in cache.layers for part in (layer.keys, layer.values)]  # 2L of (H, n, D)
        return torch.stack(both).permute(2, 0, 1, 3).flatten(1).float()


def set_values(model: Any, values: torch.Tensor) -> None:
    """Gives the soft prompt in training these numbers."""
    encoder = model.prompt_encoder["default"]
    encoder.embedding.weight.data = values.to(encoder.embedding.weight.device, torch.float32).clone()


def load_values(model: Any, folder: Path) -> None:
    """Gives the soft prompt in training the numbers of a checkpoint; PEFT itself refuses to go on with one."""
    set_values(model, _values(folder, model))


def is_soft(model: Any) -> bool:
    """Whether a model is one with a soft prompt."""
    return isinstance(model, PeftModel) and bool(model.active_peft_config.is_prompt_learning)


def _values(folder: Path, model: Any) -> torch.Tensor:
    return load_file(folder / WEIGHTS)[VALUES].to(next(model.parameters()).device)


def settle(model: Any) -> None:
    """Freezes what a trainer has copied of a soft prompt as its reference, in fp32 as the original is."""
    for name, encoder in model.prompt_encoder.items():
        if name != "default":
            original = model.prompt_encoder["default"].embedding.weight
            encoder.embedding.weight.data = original.detach().clone()
            encoder.requires_grad_(False)


def read(model: Any, folder: Path) -> Filled:
    """The soft prompt in a folder as keys and values for a model in memory."""
    kind = str(json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["peft_type"])
    return _filled(model, kind, _values(folder, model))


def taken_off(model: Any) -> tuple[Any, Filled | None]:
    """A model without its soft prompt, and that as keys and values; another model as it is."""
    if not is_soft(model) or model._adapters_disabled:
        return model, None
    values = model.prompt_encoder[model.active_adapter].embedding.weight
    inner = model.get_base_model()
    return inner, _filled(inner, str(model.active_peft_config.peft_type.value), values)


@torch.no_grad()
def _filled(model: Any, kind: str, values: torch.Tensor) -> Filled:
    dtype = model.get_input_embeddings().weight.dtype
    values = values.to(dtype)
    if kind == KINDS["prompt"]:
        cache = model(inputs_embeds=values[None], use_cache=True, logits_to_keep=1).past_key_values
        return [(layer.keys, layer.values) for layer in cache.layers]
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    both = values.view(len(values), 2 * config.num_hidden_layers, heads, -1).permute(1, 2, 0, 3)  # (2L, H, n, D)
    return [(both[2 * i][None], both[2 * i + 1][None]) for i in range(config.num_hidden_layers)]


def cache_of(model: Any, filled: Filled | None, rows: int) -> tuple[DynamicCache, int]:
    """A cache for so many rows, filled with the soft prompt if there is one, and how many tokens that takes."""
    cache = DynamicCache(config=model.config)
    if filled is None:
        return cache, 0
    for layer, (keys, values) in enumerate(filled):
        cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), layer)
    return cache, filled[0][0].shape[2]
