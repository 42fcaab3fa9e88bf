"""KTO: the loss worked out by hand, the known start, and stopping and resuming."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import MakeRun, Rows, said
from tests.training.losses import answer_logps, quick_arguments
from tests.training.test_runs import weights_hash
from workbench.errors import MemoryFullError, SettingError, StartingPointError
from workbench.events import Evaluated, Note, Saved, Started, Step
from workbench.worker.context import StopRequested

pytestmark = pytest.mark.torch


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.fixture(scope="module")
def trainer(tiny_base: Path, thumbs: Rows, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A trainer on four thumbs (good, bad, good, good) whose reference is read from the batch."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import KTOConfig

    from workbench.tokens import ChatTokens
    from workbench.worker import data
    from workbench.worker.trainers import ThumbsTrainer

    tokens = ChatTokens(tiny_base)
    made = [data.thumb_row(tokens, row, 256) for row in (thumbs[1], thumbs[2], thumbs[3], thumbs[4])]
    return ThumbsTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_base),
        processing_class=AutoTokenizer.from_pretrained(tiny_base),
        train_dataset=data.shuffled_thumbs(Dataset.from_list(made), seed=0),
        args=KTOConfig(**quick_arguments(tmp_path_factory.mktemp("kto"), 4), precompute_ref_log_probs=True, beta=0.1),
    )


@pytest.mark.parametrize(
    ("others", "z"),
    [((2.0, 4.0, 1.0, 1.0), 2.0), ((-5.0, 1.0, 0.0, 0.0), 0.0)],  # the mean of the second is -1: z is at least 0
)
def test_the_loss_is_the_paper_s(trainer: Any, others: tuple[float, ...], z: float) -> None:
    """Log-ratios 3 and -1 and beta 0.1: good answers 1 - s(0.1 (h - z)), bad ones 1 - s(0.1 (z - h)), weighted, mean.

    For z = 2: s(0.1) = 0.52498, so a good answer at h = 3 costs 0.47502; a bad one at -1 costs 1 - s(0.3) = 0.42556.
    """
    import torch

    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])
    labels = batch["label"].tolist()
    h = [3.0 if up else -1.0 for up in labels]
    model = trainer.model.eval()
    logps = answer_logps(model, batch["input_ids"], batch["attention_mask"], batch["completion_mask"])
    other_logps = answer_logps(model, batch["KL_input_ids"], batch["KL_attention_mask"], batch["KL_completion_mask"])
    batch["ref_logps"] = logps - torch.tensor(h)
    batch["ref_KL_logps"] = other_logps - torch.tensor(others)
    trainer.desirable_weight, trainer.undesirable_weight = 1.0, 3.0
    good, bad = 1 - sigmoid(0.1 * (3 - z)), 1 - sigmoid(0.1 * (z + 1))

    loss = trainer.compute_loss(model, batch).item()

    assert labels.count(True) == 3
    assert loss == pytest.approx((3 * 1.0 * good + 1 * 3.0 * bad) / 4, abs=1e-5)
    assert trainer._metrics["eval"]["kl"].pop() == pytest.approx(z, abs=1e-5)


def test_the_answer_that_stands_in_for_z_is_one_to_another_prompt(thumbs: Rows, tiny_base: Path) -> None:
    """No row is held against an answer to its own prompt, and the same seed gives the same order."""
    from datasets import Dataset

    from workbench.tokens import ChatTokens
    from workbench.worker import data

    tokens = ChatTokens(tiny_base)
    rows = Dataset.from_list([data.thumb_row(tokens, row, 256) for row in thumbs[:24]])
    made = data.shuffled_thumbs(rows, seed=3)
    answers = {tuple(row["completion_ids"]): set() for row in made}
    for row in made:
        answers[tuple(row["completion_ids"])].add(tuple(row["prompt_ids"]))

    assert all(answers[tuple(row["KL_completion_ids"])] != {tuple(row["prompt_ids"])} for row in made)
    assert made.to_list() == data.shuffled_thumbs(rows, seed=3).to_list()
    assert made.to_list() != data.shuffled_thumbs(rows, seed=4).to_list()


@pytest.mark.parametrize("how", ["qlora", "full"])
def test_the_first_loss_is_half_the_weights_and_training_lowers_it(make_run: MakeRun, how: str) -> None:
    """16 good and 8 bad answers weigh 1 and 2; policy and reference agree, so every row's loss is half its weight."""
    run = make_run("kto", how=how, max_steps=3, learning_rate=0.01).train()

    assert "16 good and 8 bad answers; they count 1 and 2." in [note.text for note in run.of(Note)]
    first, last = run.of(Evaluated)[0].metrics, run.of(Evaluated)[-1].metrics
    assert first["kl"] == pytest.approx(0, abs=1e-5)
    assert first["chosen_reward"] == pytest.approx(0, abs=1e-6)
    assert first["rejected_reward"] == pytest.approx(0, abs=1e-6)
    assert last["loss"] < first["loss"]
    assert {"loss", "kl", "entropy"} <= set(run.of(Step)[0].metrics)


def test_a_child_takes_its_parent_as_the_reference_and_resumes_exactly(make_run: MakeRun) -> None:
    """From an SFT run, stopped at step 3 of 5: the losses and the weights are those of the run that never stopped."""
    parent = make_run("sft", "0001", how="qlora", learning_rate=0.02, watch_every=0).train()
    whole = make_run("kto", "0002", how="qlora", parent=parent, max_steps=5).train()
    stopped = make_run("kto", "0003", how="qlora", parent=parent, max_steps=5, stop_at=3)
    with pytest.raises(StopRequested):
        stopped.train()
    resumed = stopped.again().train()

    assert whole.of(Evaluated)[0].metrics["kl"] == pytest.approx(0, abs=1e-5)
    assert resumed.of(Started)[0].resumed_from == 3
    for name in ("loss", "grad_norm", "kl"):
        assert whole.metric(name) == {**stopped.metric(name), **resumed.metric(name)}
    assert weights_hash(whole.paths.model) == weights_hash(resumed.paths.model)


def test_short_memory_never_goes_below_two_rows(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """With memory for one row, 8 rows at once become 4, then 2, and then the run says that it does not fit."""
    import torch

    from workbench.worker.trainers import ThumbsTrainer

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(ThumbsTrainer, "training_step", full)
    run = make_run("kto", how="lora", micro_batch=8, accumulation=1, max_steps=1, watch_every=0)

    with pytest.raises(MemoryFullError):
        run.train()
    shrunk = [note.text for note in run.of(Note) if "Trying" in note.text]
    assert [int(text.split("Trying ")[1].split(",")[0]) for text in shrunk] == [4, 2]
    with pytest.raises(SettingError, match="two rows at once"):
        make_run("kto", "0002", micro_batch=1).train()


def test_a_loss_that_is_no_number_ends_the_run_in_words(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """From step 3 on the loss is NaN: the checkpoint of step 2 is the last, and the third such step ends the run."""
    from workbench.errors import RunError
    from workbench.worker.trainers import ThumbsTrainer

    compute = ThumbsTrainer.compute_loss

    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = compute(self, *args, **kwargs)
        return loss * float("nan") if self.model.training and self.state.global_step >= 2 else loss

    monkeypatch.setattr(ThumbsTrainer, "compute_loss", broken)
    run = make_run("kto", how="lora", max_steps=9, save_every=1, watch_every=0)

    with pytest.raises(RunError, match="diverged"):
        run.train()
    assert [event.step for event in run.of(Saved)] == [1, 2]
    assert list(run.metric("loss")) == [1, 2, 3, 4, 5]


def test_weights_balance_the_two_kinds(make_run: MakeRun) -> None:
    """16 good, 8 bad: auto counts the bad twice; a bad weight of 1 halves the good; both given are taken as given."""
    from workbench.methods.kto import balanced, check_starting_point, starting_loss

    assert balanced(16, 8, 0, 0) == (1.0, 2.0)
    assert balanced(8, 16, 0, 0) == (2.0, 1.0)
    assert balanced(16, 8, 0, 1) == (0.5, 1)
    assert balanced(16, 8, 3, 0) == (3, 6)
    assert balanced(16, 8, 1, 1) == (1, 1)
    assert starting_loss([True, False, True], 1.0, 2.0) == pytest.approx(4 / 6)
    with pytest.raises(StartingPointError):
        check_starting_point(0.7, 0.5)


def test_a_prompt_that_fills_the_row_is_left_out(make_run: MakeRun, thumbs: Rows) -> None:
    """A thumb whose prompt alone has more tokens than a row may have is not trained on, and counted in a note."""
    long = {"prompt": said("user", "word " * 100), "completion": said("assistant", "yes"), "label": True}
    run = make_run("kto", how="lora", rows=[*thumbs[:6], long], max_length=40, max_steps=1, watch_every=0).train()

    assert any("1 rows lose their whole answer" in note.text for note in run.of(Note))
