"""Exports hold a block of a tensor at a time, whatever the model's size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.export_fixtures import train_tokenizer
from workbench.paths import PACKAGE_ROOT

pytestmark = pytest.mark.torch

ALLOWED_BESIDE = 300_000_000
"""Python, torch, numpy and gguf take 250 MB before anything is read."""

WRITES = """
import json, re, sys
from pathlib import Path
from workbench.exports.adapter import Adapter
from workbench.exports.tensors import Merged, Weights, ordered, write_safetensors

kind, base, adapter, out = sys.argv[1], *map(Path, sys.argv[2:])
merged = Merged(Weights(base), Adapter(adapter))
if kind == "merged":
    for path in merged.model.files:
        infos = ordered(merged.model, merged.model.names_in(path))
        write_safetensors(out, infos, merged.blocks, lambda size: None)
else:
    from workbench.exports.gguf import writing

    tokenizer = json.loads((base / "tokenizer.json").read_text())
    facts = writing.TokenFacts(tokenizer, {"bos": 1, "eos": 2})
    writing.write(out, kind, merged, merged.config, facts, writing.Description("big"), lambda size: None)
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base of 300 MB whose largest tensor is 150 MB, and a LoRA adapter on it that changes the head too."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("big")
    rows, hidden = 73_242, 1024
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(folder / "base")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": 1024,
        "num_hidden_layers": 1,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "vocab_size": rows,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    }
    (folder / "base" / "config.json").write_text(json.dumps(config))
    layer = "model.layers.0"
    shapes = {"model.embed_tokens": (rows, hidden), "lm_head": (rows, hidden)}
    shapes |= {f"{layer}.self_attn.{letter}_proj": (hidden, hidden) for letter in "qkvo"}
    shapes |= {f"{layer}.mlp.{name}_proj": (hidden, hidden) for name in ("gate", "up", "down")}
    tensors = {f"{name}.weight": torch.full(shape, 0.01, dtype=torch.bfloat16) for name, shape in shapes.items()}
    norms = (f"{layer}.input_layernorm", f"{layer}.post_attention_layernorm", "model.norm")
    tensors |= {f"{name}.weight": torch.ones(hidden, dtype=torch.bfloat16) for name in norms}
    save_file(tensors, folder / "base" / "model.safetensors")
    low = {"lm_head.lora_A.weight": torch.ones(8, hidden), "lm_head.lora_B.weight": torch.ones(rows, 8)}
    (folder / "adapter").mkdir()
    save_file(
        {f"base_model.model.{name}": tensor for name, tensor in low.items()},
        folder / "adapter" / "adapter_model.safetensors",
    )
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 8}))
    return folder / "base", folder / "adapter"


@pytest.mark.parametrize("kind", ["merged", "f16"])
def test_the_peak_is_under_twice_the_largest_tensor(big: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    """A fresh process that merges and writes peaks below 2 · 150 MB + 300 MB; what it wrote is all there."""
    out = tmp_path / "out"
    command = [sys.executable, "-c", WRITES, kind, *map(str, big), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE_ROOT, timeout=120)

    assert done.returncode == 0, done.stderr
    assert out.stat().st_size > 300_000_000
    assert int(done.stdout) * 1024 < 2 * 150_000_000 + ALLOWED_BESIDE
