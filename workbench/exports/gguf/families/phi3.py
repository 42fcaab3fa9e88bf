"""Phi-3, Phi-3.5: queries, keys and values in one matrix, gate and up in another, and two sets of rotary factors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from workbench.exports.gguf import layout, rotary
from workbench.exports.gguf.family import Config, Family, Keys

if TYPE_CHECKING:
    import torch


def unsupported(config: Config) -> str:
    """Why a Phi-3 with these settings would not be the same model in llama.cpp; "" if it would."""
    return layout.first(
        layout.activation(config),
        layout.square_heads(config),
        rotary.unsupported(config, scalings=("longrope",), partial=True),
        _unfit_factors(config),
    )


def _unfit_factors(config: Config) -> str:
    found = rotary.rope(config)
    if found["rope_type"] != "longrope":
        return ""
    lengths = {len(found.get(name) or ()) for name in ("long_factor", "short_factor")}
    if lengths != {rotated(config) // 2}:
        return f"Its rotary factors are {sorted(lengths)} long and not {rotated(config) // 2}."
    if found.get("attention_factor") is not None or found.get("factor") is not None:
        return "Its rotary scaling states factors that llama.cpp works out from its contexts."
    return ""


def rotated(config: Config) -> int:
    """How many numbers of each head turn with the position."""
    share = float(rotary.rope(config)["partial_rotary_factor"])
    return int(share * int(config["hidden_size"])) // int(config["num_attention_heads"])


def metadata(config: Config) -> Keys:
    """llama.cpp's keys."""
    found = rotary.rope(config)
    row: Keys = {
        **layout.sizes(config),
        "rope.scaling.original_context_length": int(found["original_max_position_embeddings"]),
        "rope.dimension_count": rotated(config),
        "rope.freq_base": float(found["rope_theta"]),
        "attention.sliding_window": int(config.get("sliding_window") or 0),
    }
    if found["rope_type"] == "longrope":
        stretch = int(config["max_position_embeddings"]) / int(found["original_max_position_embeddings"])
        row["rope.scaling.attn_factor"] = (
            math.sqrt(1 + math.log(stretch) / math.log(found["original_max_position_embeddings"]))
            if stretch > 1
            else 1.0
        )
    return row


def rotary_factors(config: Config) -> dict[str, torch.Tensor]:
    """A factor for each frequency within the context it was first trained on, and for what is beyond."""
    import torch

    found = rotary.rope(config)
    if found["rope_type"] != "longrope":
        return {}
    return {f"rope_factors_{name}.weight": torch.tensor(found[f"{name}_factor"]) for name in ("long", "short")}


def context(config: Config) -> int:
    """The context that was first trained on: set to a larger one, llama.cpp takes the factors for long texts always."""
    found = rotary.rope(config)
    stated = int(config["max_position_embeddings"])
    return min(stated, int(found["original_max_position_embeddings"])) if found["rope_type"] == "longrope" else stated


def caveats(config: Config) -> tuple[str, ...]:
    """Phi-3 mini has a window a token short of half its context, which llama.cpp has switched off."""
    found = []
    stated, short = int(config["max_position_embeddings"]), context(config)
    window = int(config.get("sliding_window") or 0)
    if window and window < stated:
        found.append(
            f"llama.cpp has no sliding window for Phi-3: beyond {window:,} tokens it attends to more than it should."
        )
    if short < stated:
        found.append(
            f"Run with a context beyond {short:,} tokens, llama.cpp turns short texts too by the factors for long "
            "ones: it answers a little otherwise."
        )
    return tuple(found)


FAMILY = Family(
    name="Phi-3",
    architecture="phi3",
    classes=("Phi3ForCausalLM",),
    defaults={
        "vocab_size": 32_064,
        "intermediate_size": 8192,
        "num_key_value_heads": None,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
    },
    unsupported=unsupported,
    metadata=metadata,
    extra_tensors=rotary_factors,
    caveats=caveats,
    context=context,
)
