"""Gemma 3, text only: five layers with a window to one without, two rotary bases, norms on queries and keys."""

from __future__ import annotations

from typing import Any

from workbench.exports.gguf import layout, rotary
from workbench.exports.gguf.families import gemma2
from workbench.exports.gguf.family import Config, Family, Keys

LAYERS_OF_27B = 62
TURN = 6
"""Every sixth layer attends to everything: llama.cpp's graph has this number in it."""


def unsupported(config: Config) -> str:
    """Why a Gemma 3 with these settings would not be the same model in llama.cpp; "" if it would."""
    layers = int(config["num_hidden_layers"])
    usual = ["sliding_attention" if (n + 1) % TURN else "full_attention" for n in range(layers)]
    turn = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or TURN
    return layout.first(
        layout.activation(config, "hidden_activation", "gelu_pytorch_tanh"),
        layout.no_attention_bias(config),
        gemma2.score_scale(config, LAYERS_OF_27B),
        gemma2.one_direction(config),
        "It caps its scores, which llama.cpp does not do for Gemma 3." if config.get("attn_logit_softcapping") else "",
        "Its layers do not take turns by six." if (config.get("layer_types") or usual) != usual or turn != TURN else "",
        rotary.unsupported(full(config), scalings=("linear",)),
        "Its layers with a window have a rotary scaling." if sliding(config)["rope_type"] != "default" else "",
    )


def full(config: Config) -> dict[str, Any]:
    """The settings with the rotary base that Gemma 3 assumes."""
    return {"rope_theta": 1_000_000.0, **config}


def sliding(config: Config) -> dict[str, Any]:
    """The rotary settings of the layers with a window."""
    given = (config.get("rope_parameters") or {}).get("sliding_attention")
    base = {"rope_type": "default", "rope_theta": float(config.get("rope_local_base_freq") or 10_000.0)}
    return {**base, **(given or {})}


def metadata(config: Config) -> Keys:
    """llama.cpp's keys."""
    row: Keys = {
        **layout.ordinary(full(config)),
        "rope.freq_base_swa": float(sliding(config)["rope_theta"]),
        "attention.sliding_window": int(config["sliding_window"]),
    }
    if config.get("final_logit_softcapping"):
        row["final_logit_softcapping"] = float(config["final_logit_softcapping"])
    return row


FAMILY = Family(
    name="Gemma 3",
    architecture="gemma3",
    classes=("Gemma3ForCausalLM",),
    defaults={
        "vocab_size": 262_208,
        "intermediate_size": 9216,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-6,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "tie_word_embeddings": True,
    },
    unsupported=unsupported,
    metadata=metadata,
    transform=gemma2.with_one_added,
)
