"""Ways of tuning: what each trains, how much that is, and that it resumes, answers and has its reference."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import MakeRun, Recorder
from workbench import bases, fit, presets
from workbench.bases import ancestry
from workbench.events import Evaluated, Planned
from workbench.paths import BUNDLED_BASE, RunPaths
from workbench.worker.context import StopRequested

pytestmark = pytest.mark.torch

NEW = [{"how": "prefix", "bits": "4"}, {"how": "prompt", "bits": "16"}, {"how": "head_only"}]
COUNTED: list[dict[str, Any]] = [
    {"how": "qlora", "rank": 8},
    {"how": "qlora", "rank": 8, "dora": True},
    {"how": "lora", "rank": 3, "targets": "q_proj, v_proj"},
    {"how": "lora", "rank": 64, "rslora": True},
    {"how": "prefix", "virtual_tokens": 7},
    {"how": "prompt", "virtual_tokens": 7, "bits": "16"},
    {"how": "head_only"},
    {"how": "last_layers", "last_layers": 2},
    {"how": "full"},
]


def weights_hash(folder: Path) -> str:
    """SHA-256 of a folder's weights."""
    found = sorted(folder.glob("*.safetensors"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in found)).hexdigest()


@pytest.mark.parametrize("changes", COUNTED, ids=lambda changes: "-".join(map(str, changes.values())))
def test_the_count_shown_before_is_torch_s_own(make_run: MakeRun, changes: dict[str, Any]) -> None:
    """What config.json's numbers say is tuned of the bundled base equals what torch then counts, to the last weight."""
    from peft import get_peft_model

    from workbench.worker import model

    run = make_run(base=BUNDLED_BASE, **changes)
    start = model.load_start(run.paths, run.job)
    ready = get_peft_model(start.model, start.peft_config) if start.peft_config is not None else start.model

    shown = fit.trained_parameters(bases.resolve("bundled"), run.job.settings)
    assert shown == model.count_parameters(ready)[0]


@pytest.mark.parametrize("changes", NEW, ids=lambda changes: changes["how"])
def test_every_new_way_learns_and_resumes_bit_for_bit(make_run: MakeRun, changes: dict[str, Any]) -> None:
    """The loss on held-out rows falls; stopped at 3 of 6 and taken up again, losses and weights are the same bits."""
    whole = make_run("sft", "0001", max_steps=6, **changes).train()
    stopped = make_run("sft", "0002", max_steps=6, stop_at=3, **changes)
    with pytest.raises(StopRequested):
        stopped.train()
    resumed = stopped.again().train()

    losses = [event.metrics["loss"] for event in whole.of(Evaluated)]
    assert losses[-1] < losses[0]
    assert whole.metric("loss") == {**stopped.metric("loss"), **resumed.metric("loss")}
    assert weights_hash(whole.paths.model) == weights_hash(resumed.paths.model)


def test_head_only_moves_the_head_and_nothing_else(make_run: MakeRun) -> None:
    """The bundled base's head is tied to its embeddings: it becomes a matrix of its own, and only that one moves."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    run = make_run(how="head_only", base=BUNDLED_BASE, max_steps=2, warmup=0).train()
    before, after = load_file(BUNDLED_BASE / "model.safetensors"), load_file(run.paths.model / "model.safetensors")

    moved = {name for name in after if name not in before or not torch.equal(before[name].float(), after[name].float())}
    assert moved == {"lm_head.weight"}
    assert not AutoModelForCausalLM.from_pretrained(run.paths.model).config.tie_word_embeddings


@pytest.mark.parametrize("how", ["prefix", "prompt"])
def test_a_soft_prompt_answers_as_peft_computes_it(make_run: MakeRun, how: str) -> None:
    """Greedy answers of a left-padded batch are those of PEFT's own forward, row by row and without a cache."""
    import torch

    from workbench.worker import sampling
    from workbench.worker.decoding import Rule, answer_all

    run = make_run("sft", "0001", how=how, bits="16", learning_rate=0.3).train()
    asked = _sampling(make_run, run)
    model, tokens = sampling.load_for_answering(asked.paths, asked.job)
    prompts = [tokens.prompt_ids([{"role": "user", "content": text}]) for text in ("Hello", "Count to three, slowly.")]
    answers = answer_all(model, prompts, Rule(0, 1, 6, ()))

    for prompt, answer in zip(prompts, answers, strict=True):
        ids = list(prompt)
        for _ in range(6):
            with torch.no_grad():
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        assert ids[len(prompt) :] == answer.ids


def _sampling(make_run: MakeRun, parent: Recorder) -> Recorder:
    """A run that starts from another, to be loaded and not trained."""
    return make_run("sft", "0009", parent=parent)


@pytest.mark.parametrize("how", ["prefix", "prompt"])
def test_the_first_dpo_loss_of_a_soft_prompt_is_ln_2(make_run: MakeRun, how: str) -> None:
    """The reference is a frozen copy of the soft prompt that the run starts with; it is not counted as trained."""
    parent = make_run("sft", "0001", how=how, learning_rate=0.3).train()
    child = make_run("dpo", "0002", how=how, parent=parent, max_steps=2, virtual_tokens=99).train()

    assert child.of(Evaluated)[0].metrics["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert child.metric("loss")[1] == pytest.approx(math.log(2), abs=1e-6)
    assert child.of(Planned)[0].trainable_parameters == parent.of(Planned)[0].trainable_parameters


def test_a_prefix_stands_on_the_adapter_it_started_from(make_run: MakeRun) -> None:
    """Trained on top of a LoRA run, it takes a copy of that along; its child and its samples need neither parent."""
    import shutil

    from workbench.worker import sampling

    lora = make_run("sft", "0001", how="lora", learning_rate=0.02).train()
    prefix = make_run("sft", "0002", how="prefix", parent=lora).train()
    bare = make_run("sft", "0003", how="prefix").train()
    child = make_run("sft", "0004", how="prefix", parent=prefix, max_steps=2).train()
    before, after = ([e.metrics["loss"] for e in run.of(Evaluated)] for run in (prefix, child))

    assert prefix.of(Evaluated)[0].metrics["loss"] < bare.of(Evaluated)[0].metrics["loss"] - 0.1
    assert before[-1] == pytest.approx(after[0], abs=1e-6)
    assert weights_hash(lora.paths.model) == weights_hash(child.paths.model / ancestry.BELOW)
    shutil.rmtree(lora.paths.root)
    asked = _sampling(make_run, prefix)
    model, _ = sampling.load_for_answering(asked.paths, asked.job)
    assert not any("lora" in name for name, _ in model.named_parameters())  # merged under the prefix


@pytest.mark.parametrize("switch", ["dora", "rslora"])
def test_dora_and_rslora_train_on_nf4(make_run: MakeRun, switch: str) -> None:
    """Both hold up on a quantised base: the loss falls and the adapter says what it is."""
    run = make_run(how="qlora", learning_rate=0.01, **{switch: True}).train()
    losses = [event.metrics["loss"] for event in run.of(Evaluated)]

    assert losses[-1] < losses[0]
    assert ancestry.config_of(run.paths.model)[f"use_{switch}"]


def test_a_soft_prompt_gets_a_rate_of_its_own() -> None:
    """The preset's rate is for adapters: a prefix that the person chooses takes 100 times that, or the rate given."""
    cpu = presets.get("cpu")
    rates = [cpu.settings("sft", changes)["learning_rate"] for changes in ({}, {"how": "prefix"})]

    assert rates[1] == pytest.approx(100 * float(rates[0]))
    assert cpu.settings("sft", {"how": "prefix", "learning_rate": 0.5})["learning_rate"] == 0.5


def test_first_words_are_those_of_the_data(make_run: MakeRun) -> None:
    """A soft prompt begins with tokens of the training rows, repeated where those are few."""
    from workbench.tokens import ChatTokens
    from workbench.worker.model import first_words

    rows = [{"prompt": [{"role": "user", "content": "Hi"}], "completion": []}]
    run = make_run(rows=rows)
    tokens = ChatTokens(BUNDLED_BASE)
    ids = tokens.prompt_ids(rows[0]["prompt"])

    assert first_words(RunPaths(run.paths.root), tokens, len(ids) + 2) == [*ids, *ids[:2]]
