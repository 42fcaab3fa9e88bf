"""What most families share: their ordinary keys, the limits of llama.cpp's graphs, and the layout of rotated rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.exports.gguf import rotary
from workbench.exports.gguf.family import Config, Keys, head_dim

if TYPE_CHECKING:
    import torch


def sizes(config: Config) -> Keys:
    """The keys that every family has."""
    row: Keys = {
        "block_count": int(config["num_hidden_layers"]),
        "context_length": int(config["max_position_embeddings"]),
        "embedding_length": int(config["hidden_size"]),
        "feed_forward_length": int(config["intermediate_size"]),
        "attention.head_count": int(config["num_attention_heads"]),
        "attention.head_count_kv": int(config["num_key_value_heads"]),
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
    }
    return row


def head_sizes(config: Config) -> Keys:
    """The head's size, for families whose config.json states it."""
    return {"attention.key_length": head_dim(config), "attention.value_length": head_dim(config)}


def ordinary(config: Config) -> Keys:
    """What llama.cpp's converter writes for a family that it has nothing special to say of."""
    stated = head_sizes(config) if "head_dim" in config else {}
    return {**sizes(config), **rotary.keys(config), **stated}


def activation(config: Config, name: str = "hidden_act", wanted: str = "silu") -> str:
    """Why its activation is another than the one in llama.cpp's graph; "" if it is not."""
    has = config.get(name) or wanted
    return "" if has == wanted else f"Its activation is {has}; llama.cpp has {wanted} only for this family."


def square_heads(config: Config) -> str:
    """Why a graph that takes the heads together to be as wide as the model would be wrong; "" if it would not."""
    wide = head_dim(config) * int(config["num_attention_heads"])
    if wide == int(config["hidden_size"]):
        return ""
    return f"Its heads are {wide} wide together and the model {config['hidden_size']}; llama.cpp wants them equal here."


def no_sliding_window(config: Config) -> str:
    """Why a graph that attends to everything would be wrong; "" if it would not."""
    if config.get("use_sliding_window"):
        return "Some of its layers see a window of tokens only, which llama.cpp does not do for this family."
    return ""


def no_attention_bias(config: Config) -> str:
    """Why a graph without a bias after attention would be wrong; "" if it would not."""
    if config.get("attention_bias"):
        return "Its attention has biases that llama.cpp has no place for in this family."
    return ""


def first(*reasons: str) -> str:
    """The first of some reasons that is one."""
    return next((reason for reason in reasons if reason), "")


def is_rotated(name: str) -> bool:
    """Whether a tensor makes queries or keys."""
    return ".q_proj." in name or ".k_proj." in name


def interleaved(name: str, block: torch.Tensor, config: Config) -> torch.Tensor:
    """The rows of q and k with each head's two rotary halves interleaved, as llama.cpp's `llama` turns them.

    transformers' files hold the halves one after the other: (heads · 2 · half, …) -> (heads · half · 2, …).
    """
    if not is_rotated(name):
        return block
    half = head_dim(config) // 2
    return block.reshape(-1, 2, half, *block.shape[1:]).swapaxes(1, 2).reshape(block.shape)


def whole_heads(name: str, config: Config) -> int:
    """`interleaved` needs the rows of a head together."""
    return head_dim(config) if is_rotated(name) else 1


ATTENTION_INPUTS = ("attn_q", "attn_k", "attn_v")
EVERYWHERE = (*ATTENTION_INPUTS, "attn_output", "ffn_gate", "ffn_up", "ffn_down")
"""Where llama.cpp's graphs take a bias if a file has one."""
