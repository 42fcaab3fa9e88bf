"""Rotary position settings: read from config.json of any age, and as llama.cpp's keys and tensors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from workbench.exports.gguf.family import Config, Keys, head_dim

if TYPE_CHECKING:
    import torch


def rope(config: Config) -> dict[str, Any]:
    """The settings of layers that attend to everything, from `rope_parameters` (transformers 5) or what came before."""
    given: dict[str, Any] = config.get("rope_parameters") or {}
    found = {**(config.get("rope_scaling") or {}), **(given.get("full_attention") or given)}
    found["rope_type"] = found.get("rope_type") or found.get("type") or "default"
    if found["rope_type"] == "su":
        found["rope_type"] = "longrope"
    found.setdefault("rope_theta", config.get("rope_theta") or 10_000.0)
    found.setdefault("partial_rotary_factor", config.get("partial_rotary_factor") or 1.0)
    if "original_max_position_embeddings" in config:
        found.setdefault("original_max_position_embeddings", config["original_max_position_embeddings"])
    return found


def unsupported(config: Config, *, scalings: tuple[str, ...] = ("linear", "yarn"), partial: bool = False) -> str:
    """Why llama.cpp would turn positions otherwise than transformers; "" if it would not."""
    found = rope(config)
    kind = found["rope_type"]
    if kind != "default" and kind not in scalings:
        return (
            f"Its rotary scaling {kind!r} is not one that llama.cpp has for it ({', '.join(('default', *scalings))})."
        )
    if kind == "yarn" and not found.get("original_max_position_embeddings"):
        return "Its yarn scaling does not say which context it stretches (original_max_position_embeddings)."
    if kind == "yarn" and (found.get("mscale") or found.get("mscale_all_dim") or found.get("truncate") is False):
        return "Its yarn scaling has settings (mscale, truncate) that llama.cpp reads otherwise."
    if kind in ("linear", "yarn", "llama3") and not found.get("factor"):
        return f"Its {kind} scaling has no factor."
    if not partial and float(found["partial_rotary_factor"]) != 1.0:
        return "It rotates only a part of each head, which llama.cpp does not do for it."
    return ""


def keys(config: Config) -> Keys:
    """llama.cpp's keys of the scaling and the base frequency."""
    found = rope(config)
    kind = found["rope_type"]
    row: Keys = {}
    if kind in ("linear", "yarn"):
        row |= {"rope.scaling.type": kind, "rope.scaling.factor": float(found["factor"])}
    if kind == "yarn":
        row["rope.scaling.original_context_length"] = int(found["original_max_position_embeddings"])
        if found.get("attention_factor") is not None:
            row["rope.scaling.yarn_attn_factor"] = float(found["attention_factor"])
        for name in ("beta_fast", "beta_slow"):
            if found.get(name) is not None:
                row[f"rope.scaling.yarn_{name}"] = float(found[name])
    if kind == "longrope":
        row["rope.scaling.type"] = kind
    row["rope.freq_base"] = float(found["rope_theta"])
    return row


def llama3_factors(config: Config) -> dict[str, torch.Tensor]:
    """Llama 3.1's factor of each frequency, (head_dim / 2,): 1 for short waves, `factor` for long, smooth between.

    Worked out in float32 as llama.cpp's converter does it, so that the bits are the same.
    """
    import torch

    found = rope(config)
    if found["rope_type"] != "llama3":
        return {}
    size, factor = head_dim(config), float(found["factor"])
    low, high = float(found.get("low_freq_factor", 1.0)), float(found.get("high_freq_factor", 4.0))
    context = found.get("original_max_position_embeddings", 8192)
    frequencies = 1.0 / (found["rope_theta"] ** (torch.arange(0, size, 2, dtype=torch.float32) / size))
    factors = []
    for frequency in frequencies:
        wave = 2 * math.pi / frequency
        smooth = (context / wave - low) / (high - low)
        between = 1 / ((1 - smooth) / factor + smooth)
        factors.append(1.0 if wave < context / high else factor if wave > context / low else between)
    return {"rope_freqs.weight": torch.tensor(factors, dtype=torch.float32)}
