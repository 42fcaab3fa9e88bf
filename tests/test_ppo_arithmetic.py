"""PPO's arithmetic against numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytestmark = pytest.mark.torch


def tensor(*rows: Any) -> Any:
    import torch

    return torch.tensor(rows if len(rows) > 1 else rows[0], dtype=torch.float64)


def mask(*rows: list[int]) -> Any:
    import torch

    return torch.tensor(rows, dtype=torch.bool)


def test_gae_on_three_steps() -> None:
    """r = (0, 0, 1), V = (0.5, 0.6, 0.7), gamma 0.9, lambda 0.8.

    delta = (0.9*0.6 - 0.5, 0.9*0.7 - 0.6, 1 - 0.7) = (0.04, 0.03, 0.3)
    A3 = 0.3; A2 = 0.03 + 0.72*0.3 = 0.246; A1 = 0.04 + 0.72*0.246 = 0.21712; returns A + V.
    """
    from workbench.worker.ppo.advantages import gae

    found, returns = gae(tensor([[0.0, 0, 1]]), tensor([[0.5, 0.6, 0.7]]), mask([1, 1, 1]), 0.9, 0.8)

    assert found[0].tolist() == pytest.approx([0.21712, 0.246, 0.3])
    assert returns[0].tolist() == pytest.approx([0.71712, 0.846, 1.0])


def test_gae_ends_where_the_answer_does() -> None:
    """A shorter answer beside it has the same advantages as alone, and 0 behind its end, whatever stands there."""
    from workbench.worker.ppo.advantages import gae

    rewards, values = tensor([0.0, 1, 0], [0, 0, 2]), tensor([0.5, 0.25, 9.0], [0.1, 0.2, 0.3])
    found, returns = gae(rewards, values, mask([1, 1, 0], [1, 1, 1]), 1.0, 0.95)
    alone, _ = gae(rewards[:1, :2], values[:1, :2], mask([1, 1]), 1.0, 0.95)

    assert found[0].tolist() == [*alone[0].tolist(), 0.0]
    assert returns[0, 2] == 0
    # lambda = 1 and gamma = 1 make the return the score itself
    _, whole = gae(rewards, values, mask([1, 1, 0], [1, 1, 1]), 1.0, 1.0)
    assert whole[1].tolist() == pytest.approx([2, 2, 2])


def test_the_clipped_objective() -> None:
    """clip 0.2. Ratio 1.5 and A = 2: min(3, 1.2*2) = 2.4, clipped. Ratio 1.5 and A = -2: min(-3, -2.4) = -3, free.
    Ratio 0.5 and A = 1: min(0.5, 0.8) = 0.5, free. Ratio 0.5 and A = -1: min(-0.5, -0.8) = -0.8, clipped.
    Ratio 1 and A = 3: 3. Sum 2.4 - 3 + 0.5 - 0.8 + 3 = 2.1, so the loss is -2.1, and two are clipped."""
    from workbench.worker.ppo.objective import policy_loss

    ratios, gains = tensor([1.5, 1.5, 0.5, 0.5, 1.0]), tensor([2.0, -2, 1, -1, 3])
    loss, clipped = policy_loss(ratios.log(), ratios.log() * 0, gains, 0.2)

    assert float(loss) == pytest.approx(-2.1)
    assert int(clipped) == 2


def test_a_clipped_token_has_no_gradient() -> None:
    """Where the clipped term is the smaller one, pushing the probability further changes nothing."""
    import torch

    from workbench.worker.ppo.objective import policy_loss

    logps = torch.tensor([math.log(1.5), 0.0], requires_grad=True)
    policy_loss(logps, torch.zeros(2), torch.ones(2), 0.2)[0].backward()

    assert logps.grad is not None
    assert logps.grad.tolist() == [0.0, -1.0]


def test_the_clipped_value_loss() -> None:
    """clip 0.2. V = 1, old 0.5, R = 0: kept 0.7, max(1, 0.49) = 1. V = 1, old 0.5, R = 1: max(0, 0.09) = 0.09.
    V = 0.6, old 0.5, R = 1: within the clip, 0.16. Half the sum: 0.625."""
    from workbench.worker.ppo.objective import value_loss

    found = value_loss(tensor([1.0, 1.0, 0.6]), tensor([0.5, 0.5, 0.5]), tensor([0.0, 1.0, 1.0]), 0.2)

    assert float(found) == pytest.approx((1 + 0.09 + 0.16) / 2)


def test_whitening_counts_valid_tokens_only() -> None:
    """1, 2, 3 have mean 2 and unbiased variance 1: they become -1, 0, 1; the 100 behind an end counts for nothing."""
    from workbench.worker.ppo.advantages import whiten

    found = whiten(tensor([1.0, 2.0], [3.0, 100.0]), mask([1, 1], [1, 0]))

    assert found.tolist() == [[pytest.approx(-1), pytest.approx(0)], [pytest.approx(1), 0]]


def test_k1_and_k3_of_a_token() -> None:
    """log p = -1, log q = -2: k1 = 1, k3 = e^-1 - 1 + 1 = 0.3679. Swapped: k1 = -1, k3 = e - 1 - 1 = 0.7183.
    Over p = (0.7, 0.3) and q = (0.5, 0.5) both have the true KL as their mean: 0.7 ln 1.4 + 0.3 ln 0.6 = 0.0823."""
    from workbench.worker.ppo.advantages import kl_estimate

    p, q = tensor([-1.0, -2.0]), tensor([-2.0, -1.0])

    assert kl_estimate(p, q, "k1").tolist() == [1.0, -1.0]
    assert kl_estimate(p, q, "k3").tolist() == pytest.approx([math.exp(-1), math.e - 2])
    p, q = tensor([0.7, 0.3]), tensor([0.5, 0.5])
    true = 0.7 * math.log(1.4) + 0.3 * math.log(0.6)
    for estimator in ("k1", "k3"):
        assert float((p * kl_estimate(p.log(), q.log(), estimator)).sum()) == pytest.approx(true)


def test_the_reward_is_a_price_on_every_token_and_the_score_on_the_last() -> None:
    """beta 0.1, KL (1, 2, 3) and (4, 5, -): -0.1, -0.2, -0.3 + 7 and -0.4, -0.5 + 9, nothing behind the end."""
    from workbench.worker.ppo.advantages import token_rewards

    kl, valid = tensor([1.0, 2, 3], [4, 5, 6]), mask([1, 1, 1], [1, 1, 0])
    found = token_rewards(tensor([7.0, 9.0]), kl, valid, 0.1)

    assert found[0].tolist() == pytest.approx([-0.1, -0.2, 6.7])
    assert found[1].tolist() == pytest.approx([-0.4, 8.5, 0.0])


def test_adaptive_beta_moves_by_at_most_a_fifth_of_the_share_of_the_horizon() -> None:
    """Target 6, 100 answers, horizon 1000. KL 6.6: error 0.1, beta * 1.01. KL 60: held to 0.2, 1.02. KL 0: 0.98."""
    from workbench.worker.ppo.advantages import next_beta

    assert next_beta(0.1, 6.6, 6.0, 100, 1000) == pytest.approx(0.101)
    assert next_beta(0.1, 60.0, 6.0, 100, 1000) == pytest.approx(0.102)
    assert next_beta(0.1, 0.0, 6.0, 100, 1000) == pytest.approx(0.098)
    assert next_beta(0.1, 6.0, 6.0, 100, 1000) == pytest.approx(0.1)


def test_running_moments_are_those_of_all_scores() -> None:
    """1, 2, 3 and then 6 in two batches: mean 3, squared distances 4 + 1 + 0 + 9 = 14, deviation sqrt(14/3)."""
    from workbench.worker.ppo.advantages import Moments

    moments = Moments()
    moments.add(tensor([1.0, 2.0, 3.0]))
    moments.add(tensor([6.0]))

    assert (moments.count, moments.mean) == (4, pytest.approx(3))
    assert moments.deviation == pytest.approx(math.sqrt(14 / 3))
    assert moments.normalised(tensor([3.0, 1e9])).tolist() == [pytest.approx(0), 10.0]


def test_a_score_that_is_no_number_does_not_stay() -> None:
    """Running moments pass over NaN and infinity: they would never leave a mean again, and no step could be learnt."""
    from workbench.worker.ppo.advantages import Moments

    moments = Moments()
    moments.add(tensor(math.nan, math.inf))
    moments.add(tensor(1.0, math.nan, 3.0))

    assert (moments.count, moments.mean, moments.squares) == (2, 2.0, 2.0)


def test_equal_scores_are_not_divided_by_zero() -> None:
    """A reward that is the same for every answer normalises to 0 and not to a number that is none."""
    from workbench.worker.ppo.advantages import Moments

    moments = Moments()
    moments.add(tensor([2.0, 2.0]))

    assert moments.normalised(tensor([2.0])).tolist() == [0.0]


def test_explained_variance() -> None:
    """Returns 1, 2, 3: values equal to them explain all, a constant nothing, their opposite less than nothing."""
    from workbench.worker.ppo.advantages import explained_variance

    returns, valid = tensor([[1.0, 2, 3]]), mask([1, 1, 1])

    assert explained_variance(returns, returns, valid) == pytest.approx(1)
    assert explained_variance(returns * 0 + 5, returns, valid) == pytest.approx(0)
    assert explained_variance(-returns, returns, valid) == pytest.approx(-3)
    assert math.isnan(explained_variance(returns, returns * 0, valid))


def test_the_rate_rises_and_falls_to_its_floor() -> None:
    """10 updates, a warm-up of 2, height 1, floor 0.1, cosine: 0.5, 1, then (1 + cos(pi/8 * k))/2 of what is above
    the floor; linear falls evenly; a constant rate stays."""
    from workbench.worker.ppo.optimiser import rate

    settings = {"learning_rate": 1.0, "final_rate": 0.1, "warmup": 0.2, "schedule": "cosine"}
    found = [rate(update, 10, settings) for update in range(10)]

    assert found[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert found[6] == pytest.approx(0.55)
    assert rate(10, 10, settings) == pytest.approx(0.1)
    assert rate(6, 10, {**settings, "schedule": "linear"}) == pytest.approx(0.55)
    assert rate(9, 10, {**settings, "schedule": "constant"}) == 1.0
    assert rate(0, 10, {**settings, "schedule": "constant_with_warmup"}) == 0.5


def test_log_probabilities_in_chunks_are_those_of_whole_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of two tokens give the same log-probabilities, entropies and gradients as all logits at once."""
    import torch

    from workbench.worker.ppo import logprobs

    torch.manual_seed(0)
    head = torch.nn.Linear(4, 6, bias=False)
    hidden, targets = torch.randn(5, 4, requires_grad=True), torch.tensor([0, 5, 2, 2, 1])
    whole = torch.log_softmax(torch.tanh(head(hidden) / 3) * 3 / 0.7, dim=1)
    expected = whole.gather(1, targets[:, None]).squeeze(1)
    gradient = torch.autograd.grad(expected.sum(), [hidden, head.weight])

    monkeypatch.setitem(logprobs.CHUNK_LOGITS, "cpu", 12)
    vocabulary = logprobs.Vocabulary(head, 6, cap=3.0)
    found = vocabulary.logps(hidden, targets, 0.7)
    same, entropy = vocabulary.logps_and_entropy(hidden, targets, 0.7)

    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(same, expected)
    torch.testing.assert_close(entropy, -(whole.exp() * whole).sum(1))
    torch.testing.assert_close(torch.autograd.grad(found.sum(), [hidden, head.weight]), gradient)


def test_answer_tokens_are_predicted_by_the_token_before() -> None:
    """Prompt 7 8 9 with answer 1 2, and prompt 5 with answer 3: what is predicted is 1, 2 and 3, from 9, 1 and 5."""
    import torch

    from workbench.worker.ppo.logprobs import sequences

    found = sequences([[7, 8, 9], [5]], [[1, 2], [3]], 4, torch.device("cpu"))

    assert found.ids.tolist() == [[7, 8, 9, 1, 2], [5, 3, 0, 0, 0]]
    assert found.mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert found.ids[found.before].tolist() == [9, 1, 5]
    assert found.targets.tolist() == [1, 2, 3]
    assert found.spread(torch.tensor([0.1, 0.2, 0.3])).tolist() == [
        pytest.approx([0.1, 0.2, 0, 0]),
        pytest.approx([0.3, 0, 0, 0]),
    ]


def test_every_answer_is_learnt_from_once_a_pass() -> None:
    """10 answers in mini-batches of 4 rows, 2 at once: each place once, rows of a mini-batch by length."""
    import numpy as np

    from workbench.worker.arguments import Batch
    from workbench.worker.ppo.passes import plan

    lengths = [5, 1, 9, 3, 7, 2, 8, 4, 6, 10]
    found = plan(10, lengths, Batch(2, 2), np.random.default_rng(0))

    assert [[len(micro) for micro in mini] for mini in found] == [[2, 2], [2, 2], [2]]
    assert sorted(place for mini in found for micro in mini for place in micro) == list(range(10))
    for mini in found:
        ordered = [lengths[place] for micro in mini for place in micro]
        assert ordered == sorted(ordered, reverse=True)


def test_prompts_go_round_in_a_new_order_each_time() -> None:
    """Five prompts in steps of two: every five in a row are all of them, and the rounds differ."""
    from workbench.worker.ppo.rollout import Asked

    asked = Asked([{"n": n} for n in range(5)], [[n] for n in range(5)])
    told = [row["n"] for step in range(1, 6) for row in asked.of_step(step, 2, seed=3).rows]

    assert sorted(told[:5]) == sorted(told[5:]) == [0, 1, 2, 3, 4]
    assert told[:5] != told[5:]
    assert [row["n"] for row in asked.of_step(1, 7, seed=3).rows] == told[:7]
