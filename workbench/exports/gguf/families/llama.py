"""Llama 2, 3, 3.1 and 3.2, and what is built like them: SmolLM2, TinyLlama and many more."""

from __future__ import annotations

from workbench.exports.gguf import layout, rotary
from workbench.exports.gguf.family import Config, Family, Keys, head_dim


def unsupported(config: Config) -> str:
    """Why a Llama with these settings would not be the same model in llama.cpp; "" if it would."""
    return layout.first(layout.activation(config), rotary.unsupported(config, scalings=("linear", "yarn", "llama3")))


def metadata(config: Config) -> Keys:
    """llama.cpp's keys."""
    return {
        **layout.ordinary(config),
        "vocab_size": int(config["vocab_size"]),
        "rope.dimension_count": head_dim(config),
    }


FAMILY = Family(
    name="Llama",
    architecture="llama",
    classes=("LlamaForCausalLM",),
    defaults={
        "vocab_size": 32_000,
        "intermediate_size": 11_008,
        "num_key_value_heads": None,
        "head_dim": None,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    },
    unsupported=unsupported,
    metadata=metadata,
    transform=layout.interleaved,
    rows_together=layout.whole_heads,
    extra_tensors=rotary.llama3_factors,
    biases=layout.EVERYWHERE,
)
