"""Which models of each family become a GGUF, and why the others do not: from config.json alone, before any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.gguf_models import CASES, Case
from workbench import exported
from workbench.bases import Base
from workbench.exports.gguf import family, rotary
from workbench.exports.gguf.families import mistral, phi3

BY_NAME = {case.name: case.full_config for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_models_that_people_tune_are_exportable(case: Case) -> None:
    """Every published configuration of the families that we write is said to be exportable."""
    assert family.unsupported(case.full_config) == ""


def test_the_folder_is_the_list_of_families() -> None:
    """Every file in families/ with a FAMILY is one, and no class of models belongs to two."""
    records = family.REGISTRY.all()
    classes = [name for record in records for name in record.classes]

    assert {record.name for record in records} == {
        *("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma 2", "Gemma 3", "Phi-3", "Granite", "OLMo 2")
    }
    assert len(set(classes)) == len(classes)


@pytest.mark.parametrize(
    ("name", "change", "word"),
    [
        ("Llama 2", {"architectures": ["Gemma3ForConditionalGeneration"]}, "Gemma3ForConditionalGeneration"),
        ("Llama 2", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "'dynamic'"),
        ("Llama 2", {"rope_scaling": {"type": "yarn", "factor": 2.0}}, "original_max_position_embeddings"),
        ("Llama 3.1", {"rope_parameters": {"rope_type": "llama3", "partial_rotary_factor": 0.5}}, "part of each head"),
        ("Llama 2", {"num_hidden_layers": 0}, "num_hidden_layers"),
        ("Qwen2.5", {"use_sliding_window": True}, "window"),
        ("Qwen2.5", {"head_dim": 32}, "128 wide together"),
        ("Qwen2.5", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "'llama3'"),
        ("Qwen3", {"attention_bias": True}, "biases"),
        ("Gemma 2", {"query_pre_attn_scalar": 144}, "1/√144"),
        ("Gemma 2", {"layer_types": ["full_attention"] * 2}, "take turns"),
        ("Gemma 2", {"tie_word_embeddings": False}, "not its embedding"),
        ("Gemma 2", {"rope_theta": 500_000.0}, "rotary base"),
        ("Gemma 2", {"final_logit_softcapping": None}, "soft caps"),
        ("Gemma 3", {"sliding_window_pattern": 2}, "turns by six"),
        ("Gemma 3", {"use_bidirectional_attention": True}, "both directions"),
        ("Gemma 3", {"hidden_activation": "gelu"}, "gelu_pytorch_tanh"),
        ("Phi-3.5", {"rope_scaling": {"type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}}, "not 8"),
        ("Phi-3", {"rope_scaling": {"type": "yarn", "factor": 2.0}}, "'yarn'"),
        ("Granite 3", {"attention_multiplier": 0.0}, "attention_multiplier"),
        ("OLMo 2", {"tie_word_embeddings": True}, "one of its own"),
    ],
)
def test_what_llama_cpp_would_run_otherwise_is_refused(name: str, change: dict[str, Any], word: str) -> None:
    """A setting that llama.cpp's graph of the family has no place for yields a sentence that names it."""
    assert word in family.unsupported({**BY_NAME[name], **change})


def test_a_window_that_llama_cpp_lacks_is_told_of() -> None:
    """The first Mistral and Phi-3 mini see a window; llama.cpp attends to everything, which is said with the number."""
    settings = {
        name: family.settings(family.of(BY_NAME[name]), BY_NAME[name]) for name in ("Mistral", "Phi-3", "Phi-3.5")
    }

    assert "4,096 tokens" in mistral.caveats(settings["Mistral"])[0]
    assert mistral.caveats({**settings["Mistral"], "sliding_window": None}) == ()
    assert "2,047 tokens" in phi3.caveats(settings["Phi-3"])[0]
    assert not any("window" in caveat for caveat in phi3.caveats(settings["Phi-3.5"]))


def test_longrope_is_run_with_the_context_it_was_first_trained_on() -> None:
    """Beyond 4,096 tokens of context llama.cpp would turn short texts by the factors for long ones: that is said, and
    the Modelfile keeps below; other models get all of theirs."""
    long = BY_NAME["Phi-3.5"]

    assert (family.context(long), family.context(BY_NAME["Phi-3"])) == (4096, 4096)
    assert family.context(BY_NAME["Llama 3.1"]) == 131_072
    assert "4,096 tokens" in phi3.caveats(family.settings(family.of(long), long))[0]
    assert phi3.caveats({**family.settings(family.of(BY_NAME["Phi-3"]), BY_NAME["Phi-3"]), "sliding_window": 0}) == ()


@pytest.mark.parametrize(
    "config",
    [
        {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 2.0}},
        {"rope_parameters": {"full_attention": {"rope_theta": 5e5, "rope_type": "linear", "factor": 2.0}}},
    ],
    ids=["transformers 4", "transformers 5", "by kinds of layers"],
)
def test_rotary_settings_of_any_age_are_read_alike(config: dict[str, Any]) -> None:
    """However config.json spells the rotary settings, the same keys come of them."""
    expected = {"rope.scaling.type": "linear", "rope.scaling.factor": 2.0, "rope.freq_base": 5e5}

    assert rotary.keys(config) == expected


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("", "yes, with 2.5 GB of disk for merged and Q8_0"),
        ("Its head is odd.", "no, because its head is odd. Merged weights need 1.0 GB of disk."),
    ],
    ids=["exportable", "not exportable"],
)
def test_what_a_base_can_become_is_said_before_training(reason: str, said: str) -> None:
    """The model picker says yes or no and why, and the disk: merged, Q8_0, and the f16 that it is made from."""
    base = Base(
        "a", Path(), "a", parameters=500_000_000, size_bytes=1_000_000_000, hidden=1024, vocab=1, exportable=reason
    )

    assert exported.outlook(base) == said


@pytest.mark.torch
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gaps_are_filled_as_transformers_fills_them(case: Case) -> None:
    """What a family assumes where config.json is silent is what transformers' own class of it assumes."""
    from transformers import CONFIG_MAPPING

    sizes = ("model_type", "architectures", "hidden_size", "num_hidden_layers", "num_attention_heads")
    bare = {name: case.full_config[name] for name in sizes}
    theirs = CONFIG_MAPPING[case.config["model_type"]].from_dict(bare).to_dict()

    found = family.of(bare)
    ours = {name: value for name, value in family.settings(found, bare).items() if name in found.defaults}

    assert {name: theirs[name] for name in ours} == ours
