"""Every family answers in llama.cpp as in transformers: the proof of rotary settings, caps, windows, norms, layouts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.gguf_comparing import of_llama_cpp, of_transformers, random_ids, readings, told_of
from tests.gguf_models import CASES, LLAMA3_ROPE, Case, write_ours, write_small

pytestmark = pytest.mark.torch

BY_NAME = {case.name: case for case in CASES}
TOKENS = 97

EXACT, TABLE = 1e-4, 1e-2
"""Nats. float32 in both differs by the order of additions; for Gemma's GELU llama.cpp looks up a float16 table."""

FREQUENCIES = {"long_factor": [1.0 + 4.0 * n for n in range(8)], "short_factor": [1.0 + 0.25 * n for n in range(8)]}
LONGROPE = {"original_max_position_embeddings": 256, "rope_scaling": {"type": "longrope", **FREQUENCIES}}

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama3 rope": ("Llama 3.1", {"rope_scaling": {**LLAMA3_ROPE, "original_max_position_embeddings": 64}}),
    "linear rope": ("Llama 2", {"rope_scaling": {"type": "linear", "factor": 4.0}}),
    "yarn": ("Qwen2.5", {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}}),
    "rotary base": ("Mistral", {"rope_theta": 1_000_000.0}),
    "longrope": ("Phi-3.5", LONGROPE),
    "Gemma 2's window": ("Gemma 2", {"sliding_window": 16}),
    "Gemma 2's cap on logits": ("Gemma 2", {"final_logit_softcapping": 3.0}),
    "Gemma 2's cap on scores": ("Gemma 2", {"attn_logit_softcapping": 0.5}),
    "Gemma 3's window": ("Gemma 3", {"sliding_window": 16}),
    "Gemma 3's two bases": ("Gemma 3", {"rope_local_base_freq": 100.0, "rope_theta": 500.0}),
    "Gemma 3's linear rope": ("Gemma 3", {"rope_theta": 100.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
    "Granite's scales": ("Granite 3", {"attention_multiplier": 0.5, "residual_multiplier": 0.5, "logits_scaling": 2.0}),
    "epsilon": ("Qwen3", {"rms_norm_eps": 0.1}),
}
"""(case, changed settings): each changes what the model says over 97 tokens, or it would prove nothing."""

SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "one key head, tied": ("Llama 2", {"num_key_value_heads": 1, "tie_word_embeddings": True}),
    "heads wider together than the model": ("Mistral", {"head_dim": 32}),
    "heads narrower together than the model": ("Llama 3.1", {"head_dim": 8}),
    "Qwen3, untied": ("Qwen3", {"tie_word_embeddings": False, "head_dim": 32}),
    "Granite, untied, biases": ("Granite 3", {"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True}),
    "OLMo 2, grouped": ("OLMo 2", {"num_key_value_heads": 2}),
    "Phi-3, grouped": ("Phi-3", {"num_key_value_heads": 2}),
}


def changed(name: str, settings: dict[str, Any]) -> Case:
    case = BY_NAME[name]
    return replace(case, config={**case.config, **settings})


def tolerance(case: Case) -> float:
    return TABLE if case.vocabulary == "gemma" else EXACT


def assert_same_answers(model: Path, path: Path, within: float, context: int = 128, tokens: int = TOKENS) -> None:
    """Log-probabilities within a tolerance, a tiny KL, and the same likeliest token at every position."""
    ids = random_ids(model, tokens)
    expected, got = of_transformers(model, ids), of_llama_cpp(path, ids, context)

    assert expected.shape == got.shape
    assert expected.std() > 0.05
    assert np.abs(expected - got).max() < within
    assert (
        float((np.exp(expected) * (expected - got)).sum(axis=-1).mean()) < within / 100
    )  # nats a token; the noise is 1e-8
    assert (expected.argmax(axis=-1) == got.argmax(axis=-1)).mean() >= (1.0 if within == EXACT else 0.98)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_family_cuts_and_answers_alike_in_both_programs(case: Case, tmp_path: Path) -> None:
    """All battery texts become the same tokens, but those told of; and 97 random ones get the same distributions."""
    model = write_small(case, tmp_path / "model")
    path = write_ours(model, tmp_path / "model.gguf", "f32")

    wrong = [reading for reading in readings(model, path) if reading.expected != reading.got]

    assert [reading for reading in wrong if not told_of(model, reading)] == []
    assert_same_answers(model, path, tolerance(case))


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_does_in_llama_cpp_what_it_does_in_transformers(name: str, tmp_path: Path) -> None:
    """A changed setting changes what transformers says, and llama.cpp says the same as it."""
    of, settings = SETTINGS[name]
    case = changed(of, settings)
    model, plain = write_small(case, tmp_path / "model"), write_small(BY_NAME[of], tmp_path / "plain")
    ids = random_ids(model, TOKENS)

    assert np.abs(of_transformers(model, ids) - of_transformers(plain, ids)).max() > 10 * tolerance(case)
    assert_same_answers(model, write_ours(model, tmp_path / "model.gguf", "f32"), tolerance(case))


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_comes_out_right(name: str, tmp_path: Path) -> None:
    """Grouped and wide heads, biases, tied and untied heads give the same distributions in both programs."""
    case = changed(*SHAPES[name])
    model = write_small(case, tmp_path / "model")

    assert_same_answers(model, write_ours(model, tmp_path / "model.gguf", "f32"), tolerance(case))


def test_longrope_has_factors_for_short_and_for_long_contexts(tmp_path: Path) -> None:
    """Beyond the context it was first trained on, both programs turn to the long factors, which differ."""
    model = write_small(changed("Phi-3.5", LONGROPE), tmp_path / "model")
    path = write_ours(model, tmp_path / "model.gguf", "f32")
    ids = random_ids(model, TOKENS)

    assert np.abs(of_llama_cpp(path, ids, 256) - of_llama_cpp(path, ids, 512)).max() > 0.01
    assert_same_answers(model, path, EXACT, 256)
    assert_same_answers(model, path, EXACT, 512, tokens=300)


@pytest.mark.parametrize(("name", "room"), [("Phi-3.5", 256), ("Phi-3", 512)])
def test_a_chat_with_a_longrope_file_keeps_to_the_short_factors(name: str, room: int, tmp_path: Path) -> None:
    """Opened to chat, a file with factors for long texts gets no more context than the short ones are for."""
    from workbench.worker import gguf_file

    case = changed(name, LONGROPE if name == "Phi-3.5" else {})
    path = write_ours(write_small(case, tmp_path / "model"), tmp_path / "model.gguf", "f32")

    with gguf_file.opened_to_chat(path, 512, n_gpu_layers=0) as llama:
        assert llama.n_ctx() == room
