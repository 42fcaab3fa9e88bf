"""What carries loss: the preview, our rows, TRL's trainers and transformers' templates agree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import MakeRun, Rows, said
from workbench.paths import BUNDLED_BASE
from workbench.preview import token_preview
from workbench.tokens import ChatTokens

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def sft_parts(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, dict[str, Any]]:
    """A model, its tokenizer and quick arguments for TRL's SFTConfig."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    arguments = {
        "output_dir": str(tmp_path_factory.mktemp("trl")),
        "per_device_train_batch_size": 4,
        "bf16": False,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "train_sampling_strategy": "sequential",
    }
    return AutoModelForCausalLM.from_pretrained(tiny_base), AutoTokenizer.from_pretrained(tiny_base), arguments


def test_the_preview_is_what_the_trainer_s_batch_masks(
    sft_parts: tuple[Any, Any, dict[str, Any]], tiny_base: Path, demonstrations: Rows
) -> None:
    """Token by token: 'trained' in the preview is a label in the collated batch, 'context' is -100, 'cut' is absent."""
    from datasets import Dataset
    from trl import SFTConfig

    from workbench.worker import data
    from workbench.worker.trainers import SupervisedTrainer

    model, tokenizer, arguments = sft_parts
    tokens, limit, rows = ChatTokens(tiny_base), 24, demonstrations[:4]
    trainer = SupervisedTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([data.sft_row(tokens, row, limit) for row in rows]),
        args=SFTConfig(**arguments, dataset_kwargs={"skip_prepare_dataset": True}, max_length=None),
    )
    batch = next(iter(trainer.get_train_dataloader()))

    for index, row in enumerate(rows):
        shown = token_preview(tiny_base, row, {"max_length": limit})[0].tokens
        kept = [token for token in shown if token.part != "cut"]
        labels, mask = batch["labels"][index].tolist(), batch["attention_mask"][index].tolist()
        assert [token.part == "trained" for token in kept] == [label != -100 for label in labels[: len(kept)]]
        assert sum(mask) == len(kept)
        assert set(labels[len(kept) :]) <= {-100}
    assert any(
        token.part == "cut" for row in rows for token in token_preview(tiny_base, row, {"max_length": 24})[0].tokens
    )


def test_our_rows_are_those_that_trl_makes_of_the_conversations(
    sft_parts: tuple[Any, Any, dict[str, Any]], tiny_base: Path, demonstrations: Rows
) -> None:
    """TRL's own preparation of prompt-completion conversations gives the same ids and the same labels."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from workbench.worker import data

    model, tokenizer, arguments = sft_parts
    rows = demonstrations[:8]
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows),
        args=SFTConfig(**arguments, max_length=24),
    )
    tokens = ChatTokens(tiny_base)

    for made, row in zip(trainer.train_dataset, rows, strict=True):
        ours = data.sft_row(tokens, row, 24)
        assert ours == {"input_ids": made["input_ids"], "labels": made["labels"]}


def test_our_pairs_are_those_that_trl_makes(tiny_base: Path, pairs: Rows, tmp_path: Path) -> None:
    """TRL's DPO preparation gives the same prompt, chosen and rejected ids."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    from workbench.worker import data

    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_base),
        ref_model=AutoModelForCausalLM.from_pretrained(tiny_base),
        processing_class=AutoTokenizer.from_pretrained(tiny_base),
        train_dataset=Dataset.from_list(pairs[:6]),
        args=DPOConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True, report_to="none"),
    )
    tokens = ChatTokens(tiny_base)

    for made, row in zip(trainer.train_dataset, pairs[:6], strict=True):
        ours = data.dpo_row(tokens, row, 256)
        assert ours == {name: made[name] for name in ("prompt_ids", "chosen_ids", "rejected_ids")}


def test_our_rendering_is_that_of_transformers() -> None:
    """The bundled template gives the same ids through transformers, hostile content and several turns included."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_BASE)
    tokens = ChatTokens(BUNDLED_BASE)
    turns = [*said("user", "Hi there <|end|>"), *said("assistant", "Yes?"), *said("user", "  What is\n2 + 3? é 漢")]

    expected = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_dict=False, sanitize_control_tokens=True
    )

    assert expected == tokens.prompt_ids(turns)


def test_a_base_without_a_template_gets_ours_and_keeps_it(make_run: MakeRun, tiny_base: Path, tmp_path: Path) -> None:
    """The template saved with the model renders through transformers what was trained."""
    from transformers import AutoTokenizer

    bare = tmp_path / "bare"
    shutil.copytree(tiny_base, bare)
    (bare / "chat_template.jinja").unlink()
    run = make_run(base=bare, how="lora", max_steps=1, watch_every=0).train()
    saved = AutoTokenizer.from_pretrained(run.paths.model)
    turns = said("user", "What is 2 + 3?")

    expected = ChatTokens(bare).prompt_ids(turns)

    assert expected == saved.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert "### Assistant:" in saved.decode(expected)
    config = json.loads((run.paths.model / "generation_config.json").read_text())
    assert config["eos_token_id"] == [2]
