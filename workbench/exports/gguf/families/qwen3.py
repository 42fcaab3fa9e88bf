"""Qwen3: heads of their own size, and a norm on each query and key."""

from __future__ import annotations

from workbench.exports.gguf import layout, rotary
from workbench.exports.gguf.family import Config, Family


def unsupported(config: Config) -> str:
    """Why a Qwen3 with these settings would not be the same model in llama.cpp; "" if it would."""
    return layout.first(
        layout.activation(config),
        layout.no_attention_bias(config),
        layout.no_sliding_window(config),
        rotary.unsupported(config),
    )


FAMILY = Family(
    name="Qwen3",
    architecture="qwen3",
    classes=("Qwen3ForCausalLM",),
    defaults={
        "vocab_size": 151_936,
        "intermediate_size": 22_016,
        "num_key_value_heads": 32,
        "head_dim": 128,
        "hidden_act": "silu",
        "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
    },
    unsupported=unsupported,
    metadata=layout.ordinary,
)
