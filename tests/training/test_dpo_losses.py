"""Every DPO loss against its published formula, on log-ratios that the test chooses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import MakeRun, Rows
from tests.training.losses import answer_logps, quick_arguments
from tests.training.test_runs import weights_hash
from workbench.errors import SettingError
from workbench.events import Evaluated, Started
from workbench.methods import dpo
from workbench.worker.context import StopRequested

pytestmark = pytest.mark.torch

BETA = 0.1
WON, LOST = (4.0, -3.0), (1.0, -2.0)
"""Log-ratios of model and reference of two pairs' chosen and rejected answers."""


def ln_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def sigmoid(x: float) -> float:
    return math.exp(ln_sigmoid(x))


FORMULAS: dict[str, Any] = {  # of a chosen and a rejected log-ratio, and their answers' lengths
    # Rafailov et al. 2023, eq. 7
    "sigmoid": lambda c, r, nc, nr: -ln_sigmoid(BETA * (c - r)),
    # the same on means over tokens
    "sigmoid_norm": lambda c, r, nc, nr: -ln_sigmoid(BETA * (c / nc - r / nr)),
    # Chowdhury et al. 2024, eq. 12, one ranking in five the wrong way round
    "robust": lambda c, r, nc, nr: (-0.8 * ln_sigmoid(BETA * (c - r)) + 0.2 * ln_sigmoid(-BETA * (c - r))) / 0.6,
    # Azar et al. 2023, eq. 17, on means over tokens
    "ipo": lambda c, r, nc, nr: (c / nc - r / nr - 1 / (2 * BETA)) ** 2,
    # Zhao et al. 2023 (SLiC), with the log-ratio as the score
    "hinge": lambda c, r, nc, nr: max(0.0, 1 - BETA * (c - r)),
    # D'Oosterlinck et al. 2024, eq. 7 and 8
    "apo_zero": lambda c, r, nc, nr: 1 - sigmoid(BETA * c) + sigmoid(BETA * r),
    "apo_down": lambda c, r, nc, nr: sigmoid(BETA * c) + 1 - sigmoid(BETA * (c - r)),
    # Chen et al. 2024 (NCA), eq. 13 for two answers
    "nca_pair": lambda c, r, nc, nr: -ln_sigmoid(BETA * c) - 0.5 * (ln_sigmoid(-BETA * c) + ln_sigmoid(-BETA * r)),
    # Wu et al. 2024 (SPPO), eq. 4.7 with a win for certain
    "sppo_hard": lambda c, r, nc, nr: (c - 0.5 / BETA) ** 2 + (r + 0.5 / BETA) ** 2,
}


@pytest.fixture(scope="module")
def trainer(tiny_base: Path, pairs: Rows, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A trainer on two pairs whose reference is read from the batch."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig

    from workbench.tokens import ChatTokens
    from workbench.worker import data
    from workbench.worker.trainers import PreferenceTrainer

    tokens = ChatTokens(tiny_base)
    return PreferenceTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_base),
        processing_class=AutoTokenizer.from_pretrained(tiny_base),
        train_dataset=Dataset.from_list([data.dpo_row(tokens, row, 256) for row in pairs[:2]]),
        args=DPOConfig(**quick_arguments(tmp_path_factory.mktemp("dpo"), 2), precompute_ref_log_probs=True, beta=BETA),
    )


def batch_with(trainer: Any, won: tuple[float, float], lost: tuple[float, float]) -> tuple[Any, list[float]]:
    """The two pairs with a reference that gives these log-ratios, and the lengths of the four answers."""
    import torch

    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(2)])
    model = trainer.model.eval()
    logps = answer_logps(model, batch["input_ids"], batch["attention_mask"], batch["completion_mask"])
    batch["ref_chosen_logps"] = logps[:2] - torch.tensor([won[0], lost[0]])
    batch["ref_rejected_logps"] = logps[2:] - torch.tensor([won[1], lost[1]])
    return batch, batch["completion_mask"].sum(1).tolist()


@pytest.mark.parametrize("loss_type", dpo.LOSSES)
def test_a_loss_is_that_of_its_paper(trainer: Any, loss_type: str) -> None:
    """Log-ratios (4, -3) and (1, -2) at beta 0.1: the mean of the formula over the two pairs.

    The sigmoid by hand: -ln s(0.7) = 0.40319 and -ln s(0.3) = 0.55436, so 0.47877.
    """
    batch, (won_chosen, lost_chosen, won_rejected, lost_rejected) = batch_with(trainer, WON, LOST)
    trainer.loss_types, trainer.loss_weights, trainer.ld_alpha = [loss_type], [1.0], None
    trainer.label_smoothing = 0.2 if loss_type == "robust" else 0.0
    of = FORMULAS[loss_type]

    loss = trainer.compute_loss(trainer.model, batch).item()

    expected = (of(*WON, won_chosen, won_rejected) + of(*LOST, lost_chosen, lost_rejected)) / 2
    assert loss == pytest.approx(expected, rel=1e-4)
    if loss_type == "sigmoid":
        assert loss == pytest.approx(0.47877, abs=1e-4)


@pytest.mark.parametrize("loss_type", dpo.LOSSES)
def test_the_starting_loss_is_the_formula_at_0(trainer: Any, loss_type: str) -> None:
    """With model and reference the same, TRL's loss is what `starting_loss` says, and so is the formula."""
    batch, lengths = batch_with(trainer, (0.0, 0.0), (0.0, 0.0))
    trainer.loss_types, trainer.loss_weights, trainer.ld_alpha = [loss_type], [1.0], None
    trainer.label_smoothing = 0.2 if loss_type == "robust" else 0.0
    expected = dpo.starting_loss(loss_type, BETA)

    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected, rel=1e-4)
    assert FORMULAS[loss_type](0.0, 0.0, *lengths[:2]) == pytest.approx(expected)


def test_excess_length_counts_by_its_weight(trainer: Any, tiny_base: Path) -> None:
    """With weight 0.5 the longer answer's log-ratio is its first tokens' and half of the rest's (LD-DPO, eq. 8)."""
    import torch

    batch, _ = batch_with(trainer, (0.0, 0.0), (0.0, 0.0))
    mask = batch["completion_mask"]
    lengths = mask.sum(1)
    shared = torch.minimum(lengths[:2], lengths[2:]).repeat(2)
    place = mask.cumsum(1) * mask
    weight = mask * torch.where(place <= shared[:, None], 1.0, 0.5)
    weighted = answer_logps(trainer.model.eval(), batch["input_ids"], batch["attention_mask"], weight)
    batch["ref_chosen_logps"] = weighted[:2] - torch.tensor([WON[0], LOST[0]])
    batch["ref_rejected_logps"] = weighted[2:] - torch.tensor([WON[1], LOST[1]])
    trainer.loss_types, trainer.loss_weights, trainer.ld_alpha = ["sigmoid"], [1.0], 0.5

    loss = trainer.compute_loss(trainer.model, batch).item()

    assert lengths[:2].tolist() != lengths[2:].tolist()
    assert loss == pytest.approx(0.47877, abs=1e-4)


def test_the_anchor_adds_the_chosen_answers_loss(trainer: Any) -> None:
    """0.5 of it: ln 2 and half the mean negative log-likelihood of the chosen answers' tokens."""
    batch, lengths = batch_with(trainer, (0.0, 0.0), (0.0, 0.0))
    trainer.loss_types, trainer.loss_weights, trainer.ld_alpha = ["sigmoid", "sft"], [1.0, 0.5], None
    chosen = answer_logps(trainer.model, batch["input_ids"], batch["attention_mask"], batch["completion_mask"])[:2]

    loss = trainer.compute_loss(trainer.model, batch).item()

    assert loss == pytest.approx(math.log(2) - 0.5 * chosen.sum().item() / sum(lengths[:2]), rel=1e-4)


def test_a_run_with_anchor_and_length_weight_starts_and_learns(make_run: MakeRun) -> None:
    """Its known part is checked before the first step, and the held-out loss falls."""
    run = make_run("dpo", how="lora", anchor=0.2, length_weight=0.5, max_steps=3, learning_rate=0.01).train()

    assert run.of(Evaluated)[0].metrics["loss"] > math.log(2)
    assert run.of(Evaluated)[-1].metrics["loss"] < run.of(Evaluated)[0].metrics["loss"]


@pytest.mark.parametrize("loss_type", ["robust", "ipo", "hinge", "apo_zero", "nca_pair", "sppo_hard"])
def test_every_family_of_losses_resumes_bit_for_bit(make_run: MakeRun, loss_type: str) -> None:
    """Flipped labels, squares, hinges, anchors and single answers: stopped at 2 of 3, losses and weights are equal."""
    settings = {
        "how": "lora",
        "loss_type": loss_type,
        "label_smoothing": 0.2 * (loss_type == "robust"),
        "max_steps": 3,
        "eval_every": 0,
        "watch_every": 0,
    }
    whole = make_run("dpo", "0001", **settings).train()
    stopped = make_run("dpo", "0002", stop_at=2, **settings)
    with pytest.raises(StopRequested):
        stopped.train()
    resumed = stopped.again().train()

    assert resumed.of(Started)[0].resumed_from == 2
    for name in ("loss", "grad_norm"):
        assert whole.metric(name) == {**stopped.metric(name), **resumed.metric(name)}
    assert weights_hash(whole.paths.model) == weights_hash(resumed.paths.model)


def test_what_would_be_ignored_or_done_twice_is_refused() -> None:
    """Label smoothing without the robust loss, and a length weight for losses that divide by the length."""
    settings = {"label_smoothing": 0.0, "loss_type": "ipo", "length_weight": 0.5}
    with pytest.raises(SettingError, match="correct it twice"):
        dpo.check_settings(settings)
    dpo.check_settings({**settings, "loss_type": "hinge"})
