"""Small models with real configurations, one for each shape a GGUF has to get right; their weights never change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests import gguf_vocabularies

if TYPE_CHECKING:
    from workbench.exports.tensors import Merged

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "mlp_bias": False}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
QWEN = {"hidden_act": "silu", "use_sliding_window": False, "max_window_layers": 28, "rope_theta": 1_000_000.0}
PHI3 = {
    "model_type": "phi3",
    "architectures": ["Phi3ForCausalLM"],
    "hidden_act": "silu",
    "original_max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 32_000,
    "pad_token_id": 32_000,
}
GEMMA = {"hidden_activation": "gelu_pytorch_tanh", "head_dim": 256, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6}
SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}


@dataclass(frozen=True)
class Case:
    """One model: its configuration as its makers published it, but for the sizes."""

    name: str
    config: dict[str, Any]
    vocabulary: str
    """Which vocabulary it has: the name of a file of llama.cpp's, or `small`."""
    pre: str = ""
    """llama.cpp's name of the pre-tokenizer, for an oracle that knows vocabularies by a hash only."""
    dtype: str = "bfloat16"
    shards: int = 1
    generation: dict[str, Any] = field(default_factory=dict)

    @property
    def full_config(self) -> dict[str, Any]:
        return {**SMALL, **self.config, "torch_dtype": self.dtype}


def _sized(**changes: Any) -> dict[str, Any]:
    return {"bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False, "rms_norm_eps": 1e-5, **changes}


CASES = (
    Case(
        "Llama 2",
        {**LLAMA, **_sized(max_position_embeddings=4096, num_key_value_heads=4, vocab_size=32_000)},
        "llama-spm",
        dtype="float16",
        generation={"temperature": 0.6, "top_p": 0.9},
    ),
    Case(
        "Llama 3.1",
        {
            **LLAMA,
            **_sized(max_position_embeddings=131_072, num_key_value_heads=2, vocab_size=128_256),
            "bos_token_id": 128_000,
            "eos_token_id": [128_001, 128_008, 128_009],
            "rope_theta": 500_000.0,
            "rope_scaling": LLAMA3_ROPE,
        },
        "llama-bpe",
        "llama-bpe",
        shards=3,
    ),
    Case(
        "Llama 3.2",
        {
            **LLAMA,
            **_sized(max_position_embeddings=131_072, num_key_value_heads=2, vocab_size=128_256),
            "bos_token_id": 128_000,
            "eos_token_id": 128_001,
            "head_dim": 32,
            "rope_theta": 500_000.0,
            "rope_scaling": {**LLAMA3_ROPE, "factor": 32.0},
            "tie_word_embeddings": True,
        },
        "llama-bpe",
        "llama-bpe",
    ),
    Case(
        "Llama, biases, yarn",
        {
            **LLAMA,
            **_sized(max_position_embeddings=8192, num_key_value_heads=1, vocab_size=50_257),
            "attention_bias": True,
            "bos_token_id": 50_256,
            "eos_token_id": 50_256,
            "mlp_bias": True,
            "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048},
        },
        "gpt-2",
        "gpt-2",
        dtype="float32",
    ),
    Case(
        "TinyLlama",
        {**LLAMA, **_sized(max_position_embeddings=2048, num_key_value_heads=2, vocab_size=32_000)},
        "llama-spm",
    ),
    Case(
        "SmolLM2",
        {
            **LLAMA,
            **_sized(max_position_embeddings=8192, num_key_value_heads=3, vocab_size=50_257),
            "bos_token_id": 50_256,
            "eos_token_id": 50_256,
            "hidden_size": 72,
            "num_attention_heads": 9,
            "rope_theta": 100_000,
            "tie_word_embeddings": True,
        },
        "gpt-2",
        "smollm",
    ),
    Case(
        "Mistral",
        {
            **_sized(max_position_embeddings=32_768, num_key_value_heads=2, vocab_size=32_000),
            "model_type": "mistral",
            "architectures": ["MistralForCausalLM"],
            "hidden_act": "silu",
            "rope_theta": 10_000.0,
            "sliding_window": 4096,
        },
        "llama-spm",
    ),
    Case(
        "Qwen2.5",
        {
            **QWEN,
            **_sized(max_position_embeddings=32_768, num_key_value_heads=2, vocab_size=151_936, rms_norm_eps=1e-6),
            "model_type": "qwen2",
            "architectures": ["Qwen2ForCausalLM"],
            "bos_token_id": 151_643,
            "eos_token_id": 151_645,
            "tie_word_embeddings": True,
            "sliding_window": 32_768,
        },
        "qwen2",
        "qwen2",
        generation={"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.1},
    ),
    Case(
        "Qwen2.5, untied, padded",
        {
            **QWEN,
            **_sized(max_position_embeddings=131_072, num_key_value_heads=4, vocab_size=152_064, rms_norm_eps=1e-6),
            "model_type": "qwen2",
            "architectures": ["Qwen2ForCausalLM"],
            "bos_token_id": 151_643,
            "eos_token_id": 151_643,
            "sliding_window": 131_072,
        },
        "qwen2",
        "qwen2",
    ),
    Case(
        "Qwen3",
        {
            **QWEN,
            **_sized(max_position_embeddings=40_960, num_key_value_heads=2, vocab_size=151_936, rms_norm_eps=1e-6),
            "model_type": "qwen3",
            "architectures": ["Qwen3ForCausalLM"],
            "attention_bias": False,
            "bos_token_id": 151_643,
            "eos_token_id": 151_645,
            "head_dim": 128,
            "rope_scaling": None,
            "sliding_window": None,
            "tie_word_embeddings": True,
        },
        "qwen2",
        "qwen2",
    ),
    Case(
        "Gemma 2",
        {
            **GEMMA,
            "model_type": "gemma2",
            "architectures": ["Gemma2ForCausalLM"],
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            "bos_token_id": 2,
            "eos_token_id": 1,
            "pad_token_id": 0,
            "max_position_embeddings": 8192,
            "num_key_value_heads": 2,
            "rope_theta": 10_000.0,
            "sliding_window": 4096,
            "vocab_size": 256_000,
        },
        "gemma",
    ),
    Case(
        "Gemma 3",
        {
            **GEMMA,
            "model_type": "gemma3_text",
            "architectures": ["Gemma3ForCausalLM"],
            "bos_token_id": 2,
            "eos_token_id": [1, 106],
            "pad_token_id": 0,
            "max_position_embeddings": 32_768,
            "num_hidden_layers": 7,
            "num_key_value_heads": 1,
            "rope_local_base_freq": 10_000,
            "rope_theta": 1_000_000,
            "sliding_window": 512,
            "sliding_window_pattern": 6,
            "vocab_size": 262_144,
        },
        "gemma",
        generation={"top_k": 64, "top_p": 0.95},
    ),
    Case("Phi-3", {**PHI3, "max_position_embeddings": 4096, "sliding_window": 2047, "vocab_size": 32_064}, "phi-3"),
    Case(
        "Phi-3.5",
        {
            **PHI3,
            "max_position_embeddings": 131_072,
            "sliding_window": 262_144,
            "vocab_size": 32_064,
            "rope_scaling": {
                "type": "longrope",
                "long_factor": [1.0 + 0.75 * n for n in range(8)],
                "short_factor": [1.0 + 0.0125 * n for n in range(8)],
            },
        },
        "phi-3",
    ),
    Case(
        "Granite 3",
        {
            **_sized(max_position_embeddings=131_072, num_key_value_heads=2, vocab_size=49_159),
            "model_type": "granite",
            "architectures": ["GraniteForCausalLM"],
            "attention_bias": False,
            "attention_multiplier": 0.015625,
            "bos_token_id": 0,
            "embedding_multiplier": 12.0,
            "eos_token_id": 0,
            "logits_scaling": 8.0,
            "mlp_bias": False,
            "pad_token_id": 0,
            "residual_multiplier": 0.22,
            "rope_theta": 10_000_000.0,
            "tie_word_embeddings": True,
        },
        "refact",
        "refact",
    ),
    Case(
        "OLMo 2",
        {
            **_sized(max_position_embeddings=4096, num_key_value_heads=4, vocab_size=50_304, rms_norm_eps=1e-6),
            "model_type": "olmo2",
            "architectures": ["Olmo2ForCausalLM"],
            "attention_bias": False,
            "bos_token_id": 50_256,
            "eos_token_id": 50_256,
            "pad_token_id": 50_257,
            "rope_theta": 500_000,
        },
        "gpt-2",
        "dbrx",
    ),
)


def shapes_of(case: Case) -> dict[str, tuple[int, ...]]:
    """The tensors of a model of that configuration, from transformers itself."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    config = CONFIG_MAPPING[case.config["model_type"]].from_dict(case.full_config)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name not in tied}


def write_weights(case: Case, folder: Path, shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> None:
    """Weights of numpy's frozen generator, so that they are the same with every version of everything."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    draw = np.random.RandomState(seed)
    tensors = {}
    for name, shape in shapes.items():
        centre = 1.0 if name.endswith("norm.weight") and "gemma" not in case.config["model_type"] else 0.0
        numbers = draw.standard_normal(shape).astype(np.float32) * 0.1 + np.float32(centre)
        tensors[name] = torch.from_numpy(numbers).to(getattr(torch, case.dtype))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(case.full_config))
    if case.generation:
        (folder / "generation_config.json").write_text(json.dumps(case.generation))
    if case.shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    weight_map = {}
    for shard in range(case.shards):
        name = f"model-{shard + 1:05}-of-{case.shards:05}.safetensors"
        part = dict(list(tensors.items())[shard :: case.shards])
        save_file(part, folder / name, {"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def small(case: Case) -> Case:
    """The same case with a vocabulary of some three hundred tokens, padded by three rows."""
    fields = small_fields(case)
    named = {"vocab_size": len(fields["tokens"]) + 3}
    if case.pre:
        named |= {"bos_token_id": fields["bos_token_id"], "eos_token_id": fields["eos_token_id"], "pad_token_id": None}
    elif case.vocabulary == "phi-3":
        named |= {"eos_token_id": fields["own"], "pad_token_id": fields["own"]}
    elif case.vocabulary == "gemma":
        named |= {"eos_token_id": [1, 7]}
    return replace(case, config={**case.config, **named})


def small_fields(case: Case) -> dict[str, Any]:
    """What a GGUF would say of the small case's tokens."""
    if case.pre:
        return gguf_vocabularies.small_byte_level()
    if case.vocabulary == "gemma":
        return gguf_vocabularies.small_gemma()
    added = ("<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>") if case.vocabulary == "phi-3" else ()
    return gguf_vocabularies.small_pieces(*added)


def write_small(case: Case, folder: Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Path:
    """The small case as a model folder; `shapes`: where they are known, transformers need not be asked."""
    made, fields = small(case), small_fields(case)
    write_weights(made, folder, shapes or shapes_of(made))
    size = len(fields["tokens"])
    if case.pre:
        gguf_vocabularies.write_byte_level(folder, fields, case.pre, size)
    elif case.vocabulary == "gemma":
        gguf_vocabularies.write_gemma(folder, fields, size)
    else:
        gguf_vocabularies.write_pieces(folder, fields, size, own=fields["own"])
    return folder


def write_ours(model: Path, path: Path, kind: str, merged: Merged | None = None) -> Path:
    """Our file of a model folder, or of `merged`, which is that folder with an adapter."""
    from workbench.exports.gguf import token_files, writing
    from workbench.exports.source import read_json
    from workbench.exports.tensors import Merged, Weights
    from workbench.tokens import ChatTokens

    tokens = token_files.read(ChatTokens(model), read_json(model / "tokenizer.json"), [model])
    merged = merged or Merged(Weights(model))
    about = writing.Description("model", sampling=token_files.sampling([model]))
    writing.write(path, kind, merged, merged.config, tokens, about, lambda size: None)
    return path


NAME_KEYS = ("general.name", "general.basename", "general.finetune", "general.version", "general.organization")
"""What llama.cpp's converter guesses from the folder's name, and what we know better."""


def said(keys: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """A file's keys but for names, versions and what only we write, each with its type; long ones by their digest."""
    kept = {name: value for name, value in keys.items() if not name.startswith(("finetune_workbench.", *NAME_KEYS))}
    return {
        name: [kind if isinstance(kind, int) else list(kind), _brief(value)] for name, (kind, value) in kept.items()
    }


def _brief(value: Any) -> Any:
    if isinstance(value, list) and len(value) > 8:
        return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
    return value
