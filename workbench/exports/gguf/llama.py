"""The Llama family: names, metadata and the one layout that differs between transformers and llama.cpp.

Hugging Face's files hold q and k with each head's two rotary halves one after the other; llama.cpp's rotary embedding
for `llama` expects them interleaved, so their rows are permuted (llama.cpp, conversion of LlamaModel).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch

Config = Mapping[str, Any]

NAME = "llama"
ARCHITECTURES = ("LlamaForCausalLM",)

_OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_INNER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")


def unsupported(config: Config) -> str:
    """Why a Llama with this config would not be the same model in llama.cpp; "" if it would."""
    if config.get("hidden_act", "silu") != "silu":
        return f"Its activation is {config['hidden_act']}; llama.cpp's llama has silu only."
    kind = rope(config)["rope_type"]
    if kind not in ("default", "linear", "llama3"):
        return f"Its rotary scaling {kind!r} is not written yet (default, linear and llama3 are)."
    if rope(config).get("partial_rotary_factor", 1.0) != 1.0:
        return "It rotates only a part of each head, which is not written yet."
    missing = [name for name in ("hidden_size", "num_hidden_layers", "num_attention_heads") if not config.get(name)]
    return f"Its config.json lacks {', '.join(missing)}." if missing else ""


def rope(config: Config) -> dict[str, Any]:
    """The rotary settings, from `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (before)."""
    settings = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    settings.setdefault("rope_type", settings.get("type") or "default")
    settings.setdefault("rope_theta", config.get("rope_theta") or 10_000.0)
    return settings


def head_dim(config: Config) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def metadata(config: Config) -> dict[str, int | float | str]:
    """llama.cpp's keys, without the architecture's prefix."""
    settings, size = rope(config), head_dim(config)
    heads = int(config["num_attention_heads"])
    keys: dict[str, int | float | str] = {
        "vocab_size": int(config["vocab_size"]),
        "context_length": int(config["max_position_embeddings"]),
        "embedding_length": int(config["hidden_size"]),
        "block_count": int(config["num_hidden_layers"]),
        "feed_forward_length": int(config["intermediate_size"]),
        "attention.head_count": heads,
        "attention.head_count_kv": int(config.get("num_key_value_heads") or heads),
        "attention.key_length": size,
        "attention.value_length": size,
        "attention.layer_norm_rms_epsilon": float(config.get("rms_norm_eps", 1e-6)),
        "rope.dimension_count": size,
        "rope.freq_base": float(settings["rope_theta"]),
    }
    if settings["rope_type"] == "linear":
        keys |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(settings["factor"])}
    return keys


def tensor_name(name: str) -> str | None:
    """llama.cpp's name of a tensor; None for one that llama.cpp has no use for or does not know."""
    stem, _, kind = name.rpartition(".")
    if stem in _OUTER:
        return f"{_OUTER[stem]}.{kind}"
    layer = _LAYER.fullmatch(name)
    if layer is None or layer[2] not in _INNER:
        return None
    return f"blk.{layer[1]}.{_INNER[layer[2]]}.{layer[3]}"


def ignored(name: str) -> bool:
    """Whether a tensor may be left out: older files hold the rotary frequencies, which the metadata gives."""
    return name.endswith("rotary_emb.inv_freq")


def transform(name: str, tensor: torch.Tensor, config: Config) -> torch.Tensor:
    """The tensor as llama.cpp lays it out; rows of q and k are permuted, others stay."""
    heads = int(config["num_attention_heads"])
    if ".q_proj." in name:
        return permute(tensor, heads)
    if ".k_proj." in name:
        return permute(tensor, int(config.get("num_key_value_heads") or heads))
    return tensor


def permute(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """(heads · 2 · half, …) -> (heads · half · 2, …): the two rotary halves of each head interleaved."""
    half = tensor.shape[0] // heads // 2
    return tensor.reshape(heads, 2, half, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


def extra_tensors(config: Config) -> dict[str, np.ndarray[Any, Any]]:
    """Tensors that the metadata cannot express: the per-frequency factors of Llama 3.1's rotary scaling, float32."""
    import numpy as np

    settings = rope(config)
    if settings["rope_type"] != "llama3":
        return {}
    size, factor = head_dim(config), float(settings["factor"])
    low, high = float(settings["low_freq_factor"]), float(settings["high_freq_factor"])
    context = float(settings["original_max_position_embeddings"])
    factors = []
    for n in range(0, size, 2):
        wavelength = 2 * math.pi * float(settings["rope_theta"]) ** (n / size)
        smooth = (context / wavelength - low) / (high - low)
        factors.append(1 / ((1 - smooth) / factor + smooth) if 0 < smooth < 1 else 1.0 if smooth >= 1 else factor)
    return {"rope_freqs.weight": np.array(factors, dtype=np.float32)}  # (head_dim / 2,)
