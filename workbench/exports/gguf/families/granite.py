"""Granite 3: a Llama whose embeddings, scores, residuals and logits are each scaled by a number of their own."""

from __future__ import annotations

from workbench.exports.gguf import layout, rotary
from workbench.exports.gguf.families import llama
from workbench.exports.gguf.family import Config, Family, Keys

SCALES = {
    "attention_multiplier": "attention.scale",
    "embedding_multiplier": "embedding_scale",
    "residual_multiplier": "residual_scale",
    "logits_scaling": "logit_scale",
}


def unsupported(config: Config) -> str:
    """Why a Granite with these settings would not be the same model in llama.cpp; "" if it would."""
    zero = [name for name in SCALES if not config[name]]
    return layout.first(
        llama.unsupported(config),
        layout.square_heads(config),
        f"Its {zero[0]} is nothing, which llama.cpp would leave out." if zero else "",
    )


def metadata(config: Config) -> Keys:
    """llama.cpp's keys."""
    row = llama.metadata({name: value for name, value in config.items() if name != "head_dim"})
    return {**row, **{theirs: float(config[ours]) for ours, theirs in SCALES.items()}}


FAMILY = Family(
    name="Granite",
    architecture="granite",
    classes=("GraniteForCausalLM",),
    defaults={
        "vocab_size": 32_000,
        "intermediate_size": 11_008,
        "num_key_value_heads": None,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        **dict.fromkeys(SCALES, 1.0),
    },
    unsupported=unsupported,
    metadata=metadata,
    transform=layout.interleaved,
    rows_together=layout.whole_heads,
    extra_tensors=rotary.llama3_factors,
    biases=layout.EVERYWHERE,
)
