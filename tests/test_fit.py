"""`workbench.fit` against the table in the performance notes: shapes of public models, worked out there by hand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from workbench import fit, presets
from workbench.hardware import Hardware

GIB = 2**30


@dataclass(frozen=True)
class Shape:
    """A public model's shape."""

    vocab: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool

    @property
    def parameters(self) -> int:
        return fit.linear_parameters(self) + fit.embedding_parameters(self)


MODELS = {
    "Llama-3.2-1B": Shape(128_256, 16, 2048, 8192, 32, 8, 64, True),
    "Qwen3-1.7B": Shape(151_936, 28, 2048, 6144, 16, 8, 128, True),
    "Llama-3.2-3B": Shape(128_256, 28, 3072, 8192, 24, 8, 128, True),
    "Qwen3-4B": Shape(151_936, 36, 2560, 9728, 32, 8, 128, True),
    "Llama-3.1-8B": Shape(128_256, 32, 4096, 14_336, 32, 8, 128, False),
    "Qwen3-14B": Shape(151_936, 40, 5120, 17_408, 40, 8, 128, False),
}

TABLE = [
    # linear parameters (1e9), NF4 GiB, embedding and head GiB, LoRA r 16 (1e6), checkpoints GiB, logits GiB, KV KiB
    ("Llama-3.2-1B", 0.97, 0.47, 0.49, 11.3, 0.06, 1.22, 32),
    ("Qwen3-1.7B", 1.41, 0.68, 0.58, 17.4, 0.11, 1.45, 112),
    ("Llama-3.2-3B", 2.82, 1.35, 0.73, 24.3, 0.16, 1.22, 112),
    ("Qwen3-4B", 3.63, 1.75, 0.72, 33.0, 0.18, 1.45, 144),
    ("Llama-3.1-8B", 6.98, 3.35, 1.96, 41.9, 0.25, 1.22, 128),
    ("Qwen3-14B", 13.21, 6.35, 2.90, 64.2, 0.39, 1.45, 160),
]


def machine(vram_gib: float | None, ram_gib: float = 64) -> Hardware:
    return Hardware("card", None if vram_gib is None else int(vram_gib * GIB), None, int(ram_gib * GIB), 8)


@pytest.mark.parametrize(("name", "linear", "nf4", "embedding", "lora", "checkpoints", "logits", "cache"), TABLE)
def test_the_parts_are_those_of_the_table(
    name: str, linear: float, nf4: float, embedding: float, lora: float, checkpoints: float, logits: float, cache: int
) -> None:
    """Linear weights, their NF4 size, embeddings, adapter, checkpoints, naive logits, cache: to the table's digits."""
    shape = MODELS[name]

    assert fit.linear_parameters(shape) / 1e9 == pytest.approx(linear, abs=0.006)
    assert fit.NF4_BYTES * fit.linear_parameters(shape) / GIB == pytest.approx(nf4, abs=0.006)
    assert fit.FROZEN_BYTES * fit.embedding_parameters(shape) / GIB == pytest.approx(embedding, abs=0.006)
    assert fit.lora_parameters(shape, 16) / 1e6 == pytest.approx(lora, abs=0.06)
    assert shape.layers * 1024 * shape.hidden * 2 / GIB == pytest.approx(checkpoints, abs=0.006)
    assert fit.LOGIT_BYTES * 1024 * shape.vocab / GIB == pytest.approx(logits, abs=0.006)
    assert fit.cache_bytes_per_token(shape) / 1024 == cache


@pytest.mark.parametrize(
    ("preset", "method", "model"),
    [
        ("8gb", "sft", "Qwen3-4B"),
        ("8gb", "dpo", "Llama-3.2-3B"),
        ("8gb", "kto", "Llama-3.2-3B"),
        ("8gb", "rloo", "Llama-3.2-3B"),
        ("8gb", "ppo", "Qwen3-1.7B"),
        ("12gb", "ppo", "Llama-3.2-3B"),
        ("16gb", "ppo", "Qwen3-4B"),
        ("24gb", "ppo", "Llama-3.1-8B"),
        ("12gb", "orpo", "Qwen3-4B"),
        ("24gb", "grpo", "Llama-3.1-8B"),
        ("12gb", "sft", "Llama-3.1-8B"),
        ("12gb", "dpo", "Qwen3-4B"),
        ("16gb", "sft", "Llama-3.1-8B"),
        ("16gb", "dpo", "Llama-3.1-8B"),
        ("24gb", "sft", "Llama-3.1-8B"),
        ("24gb", "dpo", "Llama-3.1-8B"),
    ],
)
def test_a_preset_keeps_its_promise_by_the_estimate(preset: str, method: str, model: str) -> None:
    """What a preset's `costs` says fits its card is not called too large for it."""
    chosen = presets.get(preset)
    found = fit.estimate(MODELS[model], chosen.settings(method), method, machine(chosen.card_gb))

    assert found.verdict in ("fits", "tight"), found.sentence


def test_what_does_not_fit_says_what_would_help() -> None:
    """A full fine-tune of 8 B on 8 GB is too large, and the advice is QLoRA."""
    settings = presets.get("8gb").settings("sft", {"how": "full"})
    found = fit.estimate(MODELS["Llama-3.1-8B"], settings, "sft", machine(8))

    assert found.verdict == "no"
    assert found.sentence.startswith("Too large: needs about ")
    assert "how=qlora" in found.sentence


def test_writing_answers_and_a_second_model_are_counted() -> None:
    """RLOO holds keys and values of 32 answers, 32 KiB a token of Llama-3.2-1B; whole weights need a second model."""
    shape = MODELS["Llama-3.2-1B"]
    settings = presets.get("8gb").settings("rloo", {"max_length": 512})
    adapter = fit.parts_of(shape, settings, "rloo")
    whole = fit.parts_of(shape, {**settings, "how": "full"}, "rloo")
    free = fit.parts_of(shape, {**settings, "how": "full", "beta": 0.0}, "rloo")

    assert adapter["answers in writing"] == 32 * 512 * 32 * 1024
    assert (adapter["reference"], whole["reference"], free["reference"]) == (0, 4 * shape.parameters, 0)


def test_ppo_s_roles_are_counted_on_one_base() -> None:
    """11.3 M adapter weights of Llama-3.2-1B: the value's adapter costs a second optimiser's state, a reward model 4
    bytes each, whole weights a copy of themselves; the base is counted once."""
    shape = MODELS["Llama-3.2-1B"]
    settings = presets.get("8gb").settings("ppo")
    adapter = fit.lora_parameters(shape, 16)
    least = fit.parts_of(shape, settings, "ppo")
    most = fit.parts_of(shape, {**settings, "value": "adapter", "reward": "run:0004"}, "ppo")
    whole = fit.parts_of(shape, {**settings, "how": "full"}, "ppo")

    assert (least["value"], least["reward model"], least["reference"]) == (0, 0, 0)
    assert least["answers in writing"] == 32 * settings["max_length"] * 32 * 1024
    assert (most["value"], most["reward model"]) == (adapter * 10, adapter * 4)
    assert most["weights"] == least["weights"]
    assert whole["reference"] == 4 * shape.parameters


def test_a_reward_model_of_another_base_says_what_it_costs() -> None:
    """Qwen3-4B beside Llama-3.2-1B: 1.75 GiB in 4 bits and 0.72 of embeddings, in the sum and in the sentence."""
    settings = presets.get("12gb").settings("ppo", {"reward": "run:0004"})
    alone = fit.estimate(MODELS["Llama-3.2-1B"], settings, "ppo", machine(12))
    beside = fit.estimate(MODELS["Llama-3.2-1B"], settings, "ppo", machine(12), [MODELS["Qwen3-4B"]])

    assert (beside.low_bytes - alone.low_bytes) / GIB == pytest.approx(1.75 + 0.72, abs=0.02)
    assert "The reward model's own base takes 2.5 of them." in beside.sentence


def test_pairs_count_twice_and_checkpointing_saves_activations() -> None:
    """DPO doubles the activations of SFT; without checkpointing every block's are held."""
    shape = MODELS["Llama-3.2-1B"]
    settings = presets.get("8gb").settings("sft", {"max_length": 512})
    single, pair = fit.parts_of(shape, settings, "sft"), fit.parts_of(shape, settings, "dpo")
    held = fit.parts_of(shape, {**settings, "gradient_checkpointing": False}, "sft")

    assert pair["activations"] == 2 * single["activations"]
    # per token and hidden unit: 16 checkpoints of 2 bytes and one block of 34; without, 16 blocks of 34 more
    assert single["activations"] == 512 * 2048 * (16 * 2 + 34)
    assert held["activations"] == 512 * 2048 * (16 * 2 + 16 * 34)


def test_a_range_has_its_lower_end_below_its_upper() -> None:
    """The estimate is a range around the sum of its parts, and a machine without a card is judged by its memory."""
    found = fit.estimate(MODELS["Llama-3.2-1B"], presets.get("cpu").settings("sft"), "sft", machine(None, 64))

    assert sum(found.parts.values()) < found.low_bytes < found.high_bytes
    assert found.verdict == "fits"
