"""OLMo 2: norms after attention and feed-forward instead of before, and over all queries and all keys."""

from __future__ import annotations

from workbench.exports.gguf import layout, rotary
from workbench.exports.gguf.family import Config, Family


def unsupported(config: Config) -> str:
    """Why an OLMo 2 with these settings would not be the same model in llama.cpp; "" if it would."""
    return layout.first(
        layout.activation(config),
        layout.square_heads(config),
        layout.no_attention_bias(config),
        "Its output head is its embedding; llama.cpp wants one of its own." if config["tie_word_embeddings"] else "",
        rotary.unsupported(config),
    )


FAMILY = Family(
    name="OLMo 2",
    architecture="olmo2",
    classes=("Olmo2ForCausalLM",),
    defaults={
        "vocab_size": 50_304,
        "intermediate_size": 11_008,
        "num_key_value_heads": None,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
    },
    unsupported=unsupported,
    metadata=layout.ordinary,
)
