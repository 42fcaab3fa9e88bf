"""A reward model's losses: against arithmetic by hand, and steps on pairs against TRL's own trainer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import MakeRun, Recorder, Rows
from workbench.methods.reward import choices

pytestmark = pytest.mark.torch

LOSSES = ("plackett_luce", "kwise", "bradley_terry")


def loss_of(rewards: list[float], tiers: list[list[int]], loss_type: str, margin: float = 0.0) -> float:
    """The loss of one row with these rewards, as the trainer computes it."""
    import torch

    from workbench.worker.reward_loss import ranking_loss

    found = choices([tiers], loss_type)
    most = max(len(choice.members) for choice in found)
    members = torch.tensor([[*c.members, *[0] * (most - len(c.members))] for c in found])
    present = torch.tensor([[at < len(c.members) for at in range(most)] for c in found])
    weights = torch.tensor([choice.weight for choice in found])
    return float(ranking_loss(torch.tensor(rewards), members, present, weights, 1, margin))


# -- losses


def test_kwise_on_three_answers_is_the_arithmetic_by_hand() -> None:
    """Rewards 1, 2, 3 and the second chosen: e^2 / (e^1 + e^2 + e^3) = 7.389 / 30.193 = 0.24473, -log of it 1.40761."""
    assert loss_of([1.0, 2.0, 3.0], [[1], [0, 2]], "kwise") == pytest.approx(1.40761, abs=1e-5)


def test_plackett_luce_on_a_full_ranking_is_the_arithmetic_by_hand() -> None:
    """Rewards 1, 2, 3 ranked 3rd > 1st > 2nd: 0.66524 * e^1 / (e^1 + e^2) = 0.66524 * 0.26894, -log 1.72087."""
    by_hand = -math.log(math.exp(3) / (math.exp(1) + math.exp(2) + math.exp(3))) - math.log(
        math.exp(1) / (math.exp(1) + math.exp(2))
    )

    assert by_hand == pytest.approx(1.72087, abs=1e-5)
    assert loss_of([1.0, 2.0, 3.0], [[2], [0], [1]], "plackett_luce") == pytest.approx(by_hand, abs=1e-6)


def test_plackett_luce_is_a_distribution_over_orders() -> None:
    """The probabilities of all six orders of three answers add up to one."""
    from itertools import permutations

    total = sum(
        math.exp(-loss_of([0.3, -1.2, 2.0], [[i] for i in order], "plackett_luce")) for order in permutations(range(3))
    )

    assert total == pytest.approx(1, abs=1e-6)


def test_ties_are_left_out_of_each_other() -> None:
    """Rewards 1, 2, 3, 1st = 2nd > 3rd: -log sigmoid(1 - 3) - log sigmoid(2 - 3) = 2.12693 + 1.31326, no more terms."""
    assert loss_of([1.0, 2.0, 3.0], [[0, 1], [2]], "plackett_luce") == pytest.approx(3.44019, abs=1e-5)
    assert loss_of([1.0, 2.0, 3.0], [[0, 1], [2]], "kwise") == pytest.approx(3.44019 / 2, abs=1e-5)


@pytest.mark.parametrize("loss_type", LOSSES)
@pytest.mark.parametrize(("better", "worse"), [(0.3, -0.4), (-50.0, 60.0), (700.0, -700.0)])
def test_with_two_answers_every_loss_is_bradley_terrys(loss_type: str, better: float, worse: float) -> None:
    """-log sigmoid(r_w - r_l) to 1e-6, also where an exponential would overflow."""
    lead = better - worse
    expected = math.log1p(math.exp(-lead)) if lead > 0 else -lead + math.log1p(math.exp(lead))

    assert loss_of([worse, better], [[1], [0]], loss_type) == pytest.approx(expected, abs=1e-6)


def test_the_margin_is_what_the_lead_must_exceed() -> None:
    """-log sigmoid(0.7 - 0.5) = log(1 + e^-0.2) = 0.59814."""
    assert loss_of([0.7, 0.0], [[0], [1]], "bradley_terry", margin=0.5) == pytest.approx(0.59814, abs=1e-5)


def test_centring_of_a_pair_is_trls() -> None:
    """Rewards 3, -1 and 2, 2: the mean of (3 - 1)^2 and (2 + 2)^2 is 10; a row of three counts by its mean."""
    import torch

    from workbench.worker.reward_loss import centring_loss

    assert float(centring_loss(torch.tensor([3.0, -1, 2, 2]), torch.tensor([2, 2]))) == 10
    assert float(centring_loss(torch.tensor([1.0, 2, 3]), torch.tensor([3]))) == 16


@pytest.mark.parametrize("loss_type", LOSSES)
def test_steps_on_pairs_are_those_of_trls_reward_trainer(
    make_run: MakeRun, pairs: Rows, monkeypatch: pytest.MonkeyPatch, loss_type: str
) -> None:
    """With K = 2, margin or not, centring on: after three steps losses and weights are TRL's to 1e-6."""
    import torch

    from workbench.worker import arguments

    # Adam divides by the gradient's size, so where that is nothing but rounding it would compare the rounding's signs.
    monkeypatch.setitem(arguments.OPTIMIZERS, "adamw_torch", "sgd")
    margin = 0.5 if loss_type == "bradley_terry" else 0.0
    changes = {"how": "lora", "max_steps": 3, "eval_every": 0, "save_every": 0, "watch_every": 0, "learning_rate": 0.5}
    run = make_run("reward", rows=as_rankings(pairs[:12]), loss_type=loss_type, margin=margin, **changes).train()
    theirs, losses = trl_on_pairs(run, pairs[:12], margin)

    assert list(run.metric("loss").values()) == pytest.approx(losses, abs=1e-6)
    assert losses[-1] < losses[0] - 1e-3
    ours = tensors_by_end(run.paths.model)
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        assert torch.allclose(value, theirs[name], atol=1e-6, rtol=0), name


def as_rankings(pairs: Rows) -> Rows:
    return [{"prompt": p["prompt"], "answers": [p["chosen"], p["rejected"]], "rankings": [[[0], [1]]]} for p in pairs]


def tensors_by_end(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def trl_on_pairs(run: Recorder, pairs: Rows, margin: float) -> tuple[dict[str, Any], list[float]]:
    """TRL's own trainer on the same rows from the same start: its adapter's tensors and its losses."""
    from datasets import Dataset
    from peft import get_peft_model_state_dict
    from trl import RewardConfig, RewardTrainer

    from workbench.worker import reward_start
    from workbench.worker.arguments import Batch, trainer_arguments

    settings = run.job.settings
    start = reward_start.load_start(run.paths, run.job)
    rows = [
        {side + "_ids": start.tokens.row(pair["prompt"], pair[side]).ids for side in ("chosen", "rejected")}
        | {"margin": margin}
        for pair in pairs
    ]
    batch = Batch(int(settings["micro_batch"]), int(settings["accumulation"]))
    arguments = trainer_arguments(settings, batch, run.paths.root / "theirs")
    coefficient = float(settings["centring"])
    trainer = RewardTrainer(
        model=start.model,
        processing_class=start.tokenizer,
        train_dataset=Dataset.from_list(rows),
        args=RewardConfig(**arguments, center_rewards_coefficient=coefficient, max_length=None),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return get_peft_model_state_dict(trainer.model), losses
