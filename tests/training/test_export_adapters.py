"""Every kind of LoRA adapter that we merge, against peft's own unmerged arithmetic in float32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.export_fixtures import Exporting, reference, save_base
from workbench.events import Verified
from workbench.exports import answers, gguf_lora, streaming
from workbench.exports.adapter import Adapter
from workbench.exports.tensors import Merged, Weights
from workbench.job import Job
from workbench.paths import RunPaths

pytestmark = pytest.mark.torch

IDS = list(range(6, 46))

ADAPTERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True},
    "ranks and alphas by layer": {
        "rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 6},
        "alpha_pattern": {"down_proj": 3, "layers.0.*v_proj": 32},
    },
    "dora": {"use_dora": True},
    "head trained whole": {"modules_to_save": ["lm_head"]},
    "norms and embedding trained whole": {"modules_to_save": ["embed_tokens", "input_layernorm"]},
    "embedding and head": {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    "dora on the embedding": {"target_modules": ["v_proj", "embed_tokens"], "use_dora": True},
    "tied on purpose": {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True},
    "whole and tied on purpose": {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    "biases": {"bias": "all"},
}
BIASED = {"attention_bias": True, "mlp_bias": True}


@pytest.fixture(scope="session")
def adapter_bases(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Two tiny bases with biases: one whose head is its embedding, one whose is not."""
    folder = tmp_path_factory.mktemp("adapted")
    return {tied: save_base(folder / str(tied), tie_word_embeddings=tied, **BIASED) for tied in (True, False)}


def adapted(base: Path, folder: Path, **config: Any) -> Any:
    """peft's model with an adapter all of whose parts matter, saved in `folder`."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **config}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), LoraConfig(**settings))
    torch.manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return model.eval()


def logits(model: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.tensor([IDS])).logits[0]


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.filterwarnings("ignore")
def test_a_merge_says_what_peft_s_unmerged_adapter_says(
    adapter_bases: dict[bool, Path], tmp_path: Path, kind: str, tied: bool
) -> None:
    """The merged model, in memory and read layer by layer, gives the adapter's logits, and the base's are others."""
    import torch

    base = adapter_bases[tied]
    expected = logits(adapted(base, tmp_path / "adapter", **ADAPTERS[kind]))
    place = answers.Place("cpu", torch.float32)

    merged = Merged(Weights(base), Adapter(tmp_path / "adapter"))
    with answers.whole(base, "cpu", torch.float32) as bare:
        plain = logits(bare)
    with answers.merged_in_memory(merged, place) as model:
        in_memory = logits(model)
    with streaming.merged(merged, torch.float32) as model:
        layer_by_layer = logits(model)
    with streaming.adapted(merged, tmp_path / "adapter", torch.float32) as model:
        unmerged = logits(model)

    assert (expected - plain).abs().max() > 0.05
    for got in (in_memory, layer_by_layer, unmerged):
        torch.testing.assert_close(got, expected, atol=2e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_a_trained_head_of_a_tied_base_is_exported_as_its_own_tensor(tmp_path: Path, exporting: Exporting) -> None:
    """Merged and GGUF both hold the head that was trained, beside the embedding that was not."""
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = save_base(tmp_path / "base", shard="100KB", learnt=True, initializer_range=0.05)
    run = RunPaths(exporting.project / "runs" / "0001")
    run.root.mkdir(parents=True)
    expected = logits(adapted(base, run.model, modules_to_save=["lm_head"]))
    AutoTokenizer.from_pretrained(base).save_pretrained(run.model)
    run.job.write_text(Job("0001", "train", "sft", reference(base), {"how": "lora"}).to_json())

    exporting.export("merged")
    exporting.export("gguf", quants="f32")

    folder = exporting.project / "exports" / "0001-sft"
    model = AutoModelForCausalLM.from_pretrained(folder / "merged").eval()
    names = [tensor.name for tensor in GGUFReader(folder / "model-f32.gguf").tensors]
    index = json.loads((folder / "merged" / "model.safetensors.index.json").read_text())
    torch.testing.assert_close(logits(model), expected, atol=2e-4, rtol=1e-4)
    assert model.config.tie_word_embeddings is False
    assert {"output.weight", "token_embd.weight"} <= set(names)
    assert set(index["weight_map"].values()) == {file.name for file in (folder / "merged").glob("*.safetensors")}
    assert all(check.passed for check in exporting.of(Verified))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["plain", "rank-stabilised", "ranks and alphas by layer"])
def test_an_adapter_alone_upon_the_base_says_what_the_trained_one_says(
    tmp_path: Path, exporting: Exporting, kind: str
) -> None:
    """llama.cpp with the base's GGUF and the adapter's agrees with the merged model, whatever sets the scale."""
    from transformers import AutoTokenizer

    base = save_base(tmp_path / "base", learnt=True, initializer_range=0.05)
    run = RunPaths(exporting.project / "runs" / "0001")
    run.root.mkdir(parents=True)
    adapted(base, run.model, **ADAPTERS[kind])
    AutoTokenizer.from_pretrained(base).save_pretrained(run.model)
    run.job.write_text(Job("0001", "train", "sft", reference(base), {"how": "lora"}).to_json())

    summary = exporting.export("gguf-lora")

    folder = exporting.project / "exports" / "0001-sft"
    assert {file.name for file in folder.iterdir()} == {gguf_lora.FILE, "README.md", "export.json"}
    assert summary["mean_kl_gguf-lora"] < 1e-4
    assert summary["greedy_agreement_gguf-lora"] > 0.99
