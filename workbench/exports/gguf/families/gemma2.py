"""Gemma 2: soft caps on scores and logits, every other layer with a window, norms stored as their distance from 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.exports.gguf import layout, rotary
from workbench.exports.gguf.family import Config, Family, Keys, head_dim

if TYPE_CHECKING:
    import torch

LAYERS_OF_27B = 46
"""llama.cpp knows the 27B by its layers and scales its scores by hidden / heads instead of the head's size."""


def unsupported(config: Config) -> str:
    """Why a Gemma 2 with these settings would not be the same model in llama.cpp; "" if it would."""
    every_other = ["full_attention" if n % 2 else "sliding_attention" for n in range(int(config["num_hidden_layers"]))]
    theta = float(rotary.rope(config)["rope_theta"])
    return layout.first(
        layout.activation(config, "hidden_activation", "gelu_pytorch_tanh"),
        layout.no_attention_bias(config),
        score_scale(config, LAYERS_OF_27B),
        tied_only(config),
        one_direction(config),
        "Its layers do not take turns with a window." if config.get("layer_types", every_other) != every_other else "",
        "It has no soft caps." if not config["attn_logit_softcapping"] or not config["final_logit_softcapping"] else "",
        rotary.unsupported(config, scalings=()),
        f"Its rotary base is {theta:g}; llama.cpp has 10,000 for Gemma 2." if theta != 10_000 else "",
    )


def score_scale(config: Config, layers_of_27b: int) -> str:
    """Why its attention scores are scaled otherwise than in llama.cpp; "" if they are not."""
    large = int(config["num_hidden_layers"]) == layers_of_27b
    ours = int(config["hidden_size"]) // int(config["num_attention_heads"]) if large else head_dim(config)
    theirs = config.get("query_pre_attn_scalar")
    if theirs is None or float(theirs) == ours:
        return ""
    return f"Its attention scores are scaled by 1/√{theirs}; llama.cpp takes 1/√{ours} for this size."


def tied_only(config: Config) -> str:
    """Why a head of its own would be lost; "" if it has none."""
    return (
        "" if config["tie_word_embeddings"] else "Its output head is not its embedding, which llama.cpp does not read."
    )


def one_direction(config: Config) -> str:
    """Why attention in both directions would be lost; "" if it has none."""
    return (
        "It attends in both directions: it is no language model." if config.get("use_bidirectional_attention") else ""
    )


def metadata(config: Config) -> Keys:
    """llama.cpp's keys."""
    return {
        **layout.sizes(config),
        **layout.head_sizes(config),
        "attn_logit_softcapping": float(config["attn_logit_softcapping"]),
        "final_logit_softcapping": float(config["final_logit_softcapping"]),
        "attention.sliding_window": int(config["sliding_window"]),
    }


def with_one_added(name: str, block: torch.Tensor, config: Config) -> torch.Tensor:
    """Norms as llama.cpp multiplies by them: transformers multiplies by 1 + weight."""
    return block.float() + 1 if name.endswith("norm.weight") else block


FAMILY = Family(
    name="Gemma 2",
    architecture="gemma2",
    classes=("Gemma2ForCausalLM",),
    defaults={
        "vocab_size": 256_000,
        "intermediate_size": 9216,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "tie_word_embeddings": True,
    },
    unsupported=unsupported,
    metadata=metadata,
    transform=with_one_added,
)
