"""SimPO and ORPO: their losses by hand, and exact resumes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import MakeRun, Rows
from tests.training.losses import answer_logps, quick_arguments
from tests.training.test_runs import weights_hash
from workbench.events import Evaluated, Planned, Started, Step
from workbench.worker.context import StopRequested

pytestmark = pytest.mark.torch


def trainer_of(kind: str, base: Path, pairs: Rows, folder: Path) -> tuple[Any, Any]:
    """A trainer on two pairs, and its batch of them."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from workbench.tokens import ChatTokens
    from workbench.worker import data, reference_free

    tokens = ChatTokens(base)
    arguments = quick_arguments(folder, 2) | {"max_length": 256, "remove_unused_columns": False}
    if kind == "simpo":
        from trl.experimental.cpo import CPOConfig

        made: Any = reference_free.MarginTrainer
        config: Any = CPOConfig(**arguments, loss_type="simpo", beta=2.0, simpo_gamma=1.0, cpo_alpha=0.0)
    else:
        from trl.experimental.orpo import ORPOConfig

        made, config = reference_free.OddsTrainer, ORPOConfig(**arguments, beta=0.1)
    trainer = made(
        model=AutoModelForCausalLM.from_pretrained(base),
        processing_class=AutoTokenizer.from_pretrained(base),
        train_dataset=Dataset.from_list([data.dpo_row(tokens, row, 256) for row in pairs[:2]]),
        args=config,
    )
    trainer.model.eval()
    return trainer, trainer.data_collator([trainer.train_dataset[i] for i in range(2)])


def means(trainer: Any, batch: Any, name: str) -> list[float]:
    """The mean log-probability of each answer's tokens."""
    ids, attention = batch[f"{name}_input_ids"], batch[f"{name}_attention_mask"]
    answers = (batch[f"{name}_labels"] != -100).long()
    return (answer_logps(trainer.model, ids, attention, answers) / answers.sum(1)).tolist()


def test_simpo_by_hand(tiny_base: Path, pairs: Rows, tmp_path: Path) -> None:
    """-log sigmoid(2 * (mean of chosen - mean of rejected) - 1), averaged over the pairs."""
    trainer, batch = trainer_of("simpo", tiny_base, pairs, tmp_path)
    chosen, rejected = means(trainer, batch, "chosen"), means(trainer, batch, "rejected")
    expected = [math.log1p(math.exp(-(2 * (c - r) - 1))) for c, r in zip(chosen, rejected, strict=True)]

    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(sum(expected) / 2, rel=1e-5)


def test_orpo_by_hand(tiny_base: Path, pairs: Rows, tmp_path: Path) -> None:
    """Mean NLL of the chosen rows' tokens + 0.1 * -log sigmoid(log odds of chosen - log odds of rejected)."""
    trainer, batch = trainer_of("orpo", tiny_base, pairs, tmp_path)

    def log_odds(p: float) -> float:
        return p - math.log1p(-math.exp(p))

    ids, attention = batch["chosen_input_ids"], batch["chosen_attention_mask"]
    whole = attention.clone()  # the first token has no one before it to be predicted from
    likelihood = answer_logps(trainer.model, ids, attention, whole).sum().item() / attention[:, 1:].sum().item()
    both = zip(means(trainer, batch, "chosen"), means(trainer, batch, "rejected"), strict=True)
    odds = [math.log1p(math.exp(-(log_odds(c) - log_odds(r)))) for c, r in both]

    loss = trainer.compute_loss(trainer.model, batch).item()

    assert loss == pytest.approx(-likelihood + 0.1 * sum(odds) / 2, rel=1e-5)


@pytest.mark.parametrize(("action", "how"), [("simpo", "qlora"), ("orpo", "qlora"), ("orpo", "full")])
def test_a_run_learns_and_resumes_bit_for_bit(make_run: MakeRun, action: str, how: str) -> None:
    """The held-out loss falls, and stopping at step 3 of 5 changes no loss and no weight."""
    settings = {"how": how, "max_steps": 5, "learning_rate": 0.01, "watch_every": 0}
    whole = make_run(action, "0001", **settings).train()
    stopped = make_run(action, "0002", stop_at=3, **settings)
    with pytest.raises(StopRequested):
        stopped.train()
    resumed = stopped.again().train()

    evaluated = [event.metrics["loss"] for event in whole.of(Evaluated)]
    assert evaluated[-1] < evaluated[0]
    assert {"loss", "reward_margin", "reward_accuracy", "chosen_logp"} <= set(whole.of(Step)[0].metrics)
    assert resumed.of(Started)[0].resumed_from == 3
    for name in ("loss", "grad_norm"):
        assert whole.metric(name) == {**stopped.metric(name), **resumed.metric(name)}
    assert weights_hash(whole.paths.model) == weights_hash(resumed.paths.model)


def test_a_child_of_a_run_tunes_its_adapter_on(make_run: MakeRun) -> None:
    """SimPO from an SFT run goes on with that run's adapter: as many weights are trained as there."""
    parent = make_run("sft", "0001", how="qlora", watch_every=0, max_steps=2).train()
    child = make_run("simpo", "0002", how="qlora", parent=parent, watch_every=0, max_steps=2).train()

    trained = [run.of(Planned)[0].trainable_parameters for run in (parent, child)]
    assert trained[0] == trained[1] > 0
    assert weights_hash(parent.paths.model) != weights_hash(child.paths.model)
