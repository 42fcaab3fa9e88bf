"""Proximal policy optimisation (Schulman et al. 2017) against reward models and rules. The loop is ours.

Data: prompts. It maximises E[r(x, y)] - beta KL(pi || pi_ref), with the reward -beta (log pi - log pi_ref) on every
token and r(x, y) on the last (Ziegler et al. 2019, eq. 2; Stiennon et al. 2020), generalised advantages (Schulman et
al. 2016), a clipped ratio and a clipped value loss. The reference is the run's starting weights. One base is in memory:
policy, reference, reward and value are adapters and heads on it (`worker/ppo/roles.py`).

It follows the implementation details that Huang et al. 2024 ("The N+ Implementation Details of RLHF with PPO") list:
the reward read at the end token, no dropout, a missing end penalised, advantages whitened over valid tokens, scores
normalised, Adam's epsilon 1e-5, the value started from the reward model, the rate annealed. Departures from them:

1. Scores are normalised by their running mean and spread and not by those of the reference's answers beforehand.
2. Answers stop where they end instead of being sampled to full length and cut; no token after the end exists.
3. A mini-batch's loss is the mean over its tokens, whatever the micro-batches that memory allows.
4. The value's rate is a multiple of the policy's, and their gradients are clipped apart.
5. The value is a linear head on the policy's states (as in Ziegler et al. 2019), and its loss stops there: through the
   policy's weights it would move the answers for no reward, which counts as KL. A pass takes half the time of one with
   a value of its own weights; `value=adapter` is that, and starts as the reward model where that is on the same base.
6. A value that knows nothing begins at the mean of the first rollout's scores. From zero, the value's clip lets it
   come nearer by little more than 0.2 a rollout, and until it arrives it foresees less than a constant does
   (tests/benchmarks/results/ppo_peer.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.errors import SettingError
from workbench.fields import Field, Value
from workbench.methods import Method, Panel
from workbench.methods.shared import ADAPTERS, WHOLE

if TYPE_CHECKING:
    from workbench.events import Metrics
    from workbench.worker.context import RunContext

METHOD = Method(
    name="ppo",
    label="Reinforcement learning (PPO)",
    summary="Learns from its own answers and what they are worth: choose it when a reward model or a rule can judge "
    "better than you can rank.",
    needs="prompts",
    fields=(
        Field(
            "reward",
            "rule:exact",
            "Reward",
            "What answers are worth: a reward model's run, a rule, or a sum, as in run:0004 + 0.3*rule:brevity.",
            group="ppo",
        ),
        Field(
            "max_tokens",
            64,
            "Longest answer",
            "Tokens an answer may have while learning. Time grows with it.",
            low=1,
            high=8192,
            unit="tokens",
            group="ppo",
        ),
        Field(
            "beta",
            0.05,
            "Beta",
            "What a nat away from the starting model costs. Too low invites reward hacking, too high learns nothing.",
            low=0.0,
            high=10,
            group="ppo",
        ),
        Field(
            "kl_control",
            "adaptive",
            "Beta's control",
            "adaptive: beta moves until the KL is near its target. fixed: beta stays.",
            choices=("adaptive", "fixed"),
            group="ppo",
        ),
        Field(
            "target_kl",
            6.0,
            "KL to aim at",
            "With adaptive beta: how far answers may be from the starting model's, in nats an answer.",
            low=0.01,
            high=1000,
            unit="nats",
            group="ppo",
        ),
        Field(
            "mini_batches",
            4,
            "Mini-batches",
            "Optimiser steps a pass. Micro-batch × accumulation × mini-batches is how many answers a step writes.",
            low=1,
            high=1024,
            group="ppo",
        ),
        Field(
            "passes",
            4,
            "Passes",
            "How often a step learns from the same answers. More learns faster and clips more.",
            low=1,
            high=100,
            group="ppo",
        ),
        Field(
            "value",
            "head",
            "Value",
            "What foresees the reward. head: a head on the policy's own states. adapter: an adapter of its own with a "
            "head, which starts as the reward model where that is on the same base; foresees better, and every pass "
            "takes twice as long.",
            choices=("head", "adapter"),
            group="ppo",
            advanced=True,
        ),
        Field(
            "temperature",
            1.0,
            "Temperature",
            "How boldly answers are drawn while learning.",
            low=0.05,
            high=2.0,
            group="ppo",
            advanced=True,
        ),
        Field(
            "scale_rewards",
            True,
            "Normalise rewards",
            "Counts rewards in standard deviations, so that beta means the same for every reward.",
            group="ppo",
            advanced=True,
        ),
        Field(
            "end_penalty",
            1.0,
            "Missing end",
            "Taken off the reward of an answer that did not end by itself.",
            low=0.0,
            high=100,
            group="ppo",
            advanced=True,
        ),
        Field(
            "kl_estimator",
            "k1",
            "KL estimator",
            "k1: plain log-ratio, no bias. k3: never negative, quieter (Schulman 2020).",
            choices=("k1", "k3"),
            group="ppo",
            advanced=True,
        ),
        Field(
            "kl_horizon",
            1000,
            "Beta's horizon",
            "With adaptive beta: answers after which an error of a fifth has moved beta by a fifth.",
            low=1,
            high=10_000_000,
            unit="answers",
            group="ppo",
            advanced=True,
        ),
        Field(
            "ratio_clip",
            0.2,
            "Ratio clip",
            "How far a pass may move a token's probability, as a share of it.",
            low=0.01,
            high=10,
            group="ppo",
            advanced=True,
        ),
        Field(
            "value_clip",
            0.2,
            "Value clip",
            "How far a pass may move a value, in rewards.",
            low=0.01,
            high=1000,
            group="ppo",
            advanced=True,
        ),
        Field(
            "value_weight",
            0.1,
            "Value's weight",
            "How much the value's loss counts beside the policy's.",
            low=0.0,
            high=100,
            group="ppo",
            advanced=True,
        ),
        Field(
            "value_rate",
            5.0,
            "Value's rate",
            "The value's learning rate, as a multiple of the policy's: it has more to learn, and nothing to forget.",
            low=0.01,
            high=1000,
            group="ppo",
            advanced=True,
        ),
        Field(
            "gamma",
            1.0,
            "Discount",
            "What a reward a token later counts for.",
            low=0.0,
            high=1.0,
            group="ppo",
            advanced=True,
        ),
        Field(
            "lam",
            0.95,
            "Lambda",
            "1 trusts what was scored, 0 what the value foresees (Schulman et al. 2016).",
            low=0.0,
            high=1.0,
            group="ppo",
            advanced=True,
        ),
        Field(
            "final_rate",
            0.1,
            "Last rate",
            "Where the learning rate ends, as a share of its height.",
            low=0.0,
            high=1.0,
            group="ppo",
            advanced=True,
        ),
    ),
    panels=(
        Panel("Reward", ("reward",)),
        Panel("KL from the start, nats an answer", ("kl",)),
        Panel("Objective", ("objective",)),
        Panel("Entropy, nats a token", ("entropy",)),
        Panel("Answer length, tokens", ("length",)),
        Panel("Answers that end", ("stopped",)),
        Panel("Clipped tokens", ("clip_fraction",)),
        Panel("Value loss", ("value_loss",)),
        Panel("Explained variance", ("explained_variance",)),
        Panel("Beta", ("beta",)),
        Panel("Seconds", ("rollout_seconds", "score_seconds", "update_seconds")),
    ),
    defaults={
        "learning_rate": 1e-5,
        "warmup": 0.03,
        "epochs": 2.0,
        "eval_every": 10,
        "save_every": 10,
        "watch_every": 10,
    },
    hows=ADAPTERS + WHOLE,
    why_hows="PPO's roles are adapters on one base, or its own weights; tune a prefix or a prompt with SFT or DPO.",
)


def check_settings(settings: dict[str, Value]) -> None:
    """A SettingError for a combination that would be silently ignored or goes wrong."""
    if settings["kl_control"] == "adaptive" and float(settings["beta"]) == 0:
        raise SettingError("A beta of 0 stays 0, however far the model goes.", "Set beta above 0, or kl_control=fixed.")


def train(context: RunContext) -> Metrics:
    """Runs the job of `context`, and returns the last step's metrics."""
    from workbench.worker.ppo import loop

    check_settings(context.job.settings)
    return loop.run(context)
