"""Mistral 7B and what is built like it: a Llama to llama.cpp, with fewer key than query heads."""

from __future__ import annotations

from workbench.exports.gguf import layout, rotary
from workbench.exports.gguf.families import llama
from workbench.exports.gguf.family import Config, Family


def caveats(config: Config) -> tuple[str, ...]:
    """Only the first Mistral has a window, and 4,096 tokens of it."""
    window = int(config.get("sliding_window") or 0)
    if not window or window >= int(config["max_position_embeddings"]):
        return ()
    return (
        f"llama.cpp has no sliding window for Mistral: beyond {window:,} tokens it attends to more than it should.",
    )


FAMILY = Family(
    name="Mistral",
    architecture="llama",
    classes=("MistralForCausalLM",),
    defaults={
        "vocab_size": 32_000,
        "intermediate_size": 14_336,
        "num_key_value_heads": 8,
        "head_dim": None,
        "hidden_act": "silu",
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-6,
        "sliding_window": 4096,
        "tie_word_embeddings": False,
    },
    unsupported=llama.unsupported,
    metadata=llama.metadata,
    transform=layout.interleaved,
    rows_together=layout.whole_heads,
    extra_tensors=rotary.llama3_factors,
    biases=layout.EVERYWHERE,
    caveats=caveats,
)
