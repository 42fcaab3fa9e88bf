"""PPO runs as the worker does them: the first step's identities, events, ways to tune, the roles on one base."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import MakeRun, Recorder, said
from tests.training.test_runs import tensors, weights_hash
from workbench.errors import RunError, SettingError, StartingPointError
from workbench.events import Evaluated, Note, Planned, Saved, Step, Watched
from workbench.paths import BUNDLED_BASE
from workbench.worker.context import RunContext

pytestmark = pytest.mark.torch

QUICK = {
    "reward": "rule:brevity",
    "max_tokens": 12,
    "mini_batches": 2,
    "passes": 2,
    "epochs": 2,
    "learning_rate": 1e-2,
    "scale_rewards": True,
}

METRICS = {
    *("reward", "length", "stopped", "kl", "objective", "entropy", "loss", "policy_loss", "value_loss"),
    *("clip_fraction", "explained_variance", "grad_norm", "value_grad_norm", "beta", "learning_rate"),
    *("rollout_seconds", "score_seconds", "update_seconds", "episodes_per_second"),
}


def prepared(run: RunContext) -> Any:
    """A run's models and prompts, as before its first step."""
    from workbench.worker.arguments import Batch
    from workbench.worker.ppo import loop

    settings = run.job.settings
    return loop.prepare(run, Batch(int(settings["micro_batch"]), int(settings["accumulation"])))


def rolled(whole: Any, count: int) -> tuple[Any, Any]:
    """A rollout of so many answers, with what every role says of it."""
    from workbench.worker import batches
    from workbench.worker.ppo import passes

    found = whole.writer.rollout(whole.asked.of_step(1, count, 0), batches.generator_of(0, 1), with_logps=True)
    return found, passes.score(whole.state.roles, found, whole.learner.plans(found, 0, 1)[0], 1.0)


def test_a_run_reports_every_step_with_all_it_is_judged_by(make_run: MakeRun) -> None:
    """Each rollout with its passes is a step; held-out prompts and watched ones are answered at 0, every 2, the end."""
    run = make_run("ppo", **QUICK).train()

    assert [event.step for event in run.of(Step)] == [1, 2, 3, 4]
    assert set(run.of(Step)[0].metrics) == METRICS
    assert [event.step for event in run.of(Evaluated)] == [0, 2, 4]
    assert {"reward", "length", "stopped"} == set(run.of(Evaluated)[0].metrics)
    assert [event.step for event in run.of(Watched)] == [0, 2, 4]
    assert len(run.of(Watched)[0].samples) == len(run.of(Watched)[0].rewards)
    assert [(event.step, event.final) for event in run.of(Saved)] == [(2, False), (4, True)]
    assert (run.of(Planned)[0].total_steps, run.of(Planned)[0].examples) == (4, 24)
    names = {file.name for file in run.paths.model.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert not any(".value." in name for name in tensors(run.paths.model))


@pytest.mark.parametrize(
    ("how", "value"),
    [("qlora", "head"), ("lora", "adapter"), ("last_layers", "head"), ("head_only", "head"), ("full", "head")],
)
def test_before_anything_is_learnt_the_ratio_is_1_and_the_kl_0(make_run: MakeRun, how: str, value: str) -> None:
    """One pass over one mini-batch: the policy is its own past and its own reference."""
    changes = {**QUICK, "passes": 1, "mini_batches": 1, "max_steps": 1, "watch_every": 0}
    run = make_run("ppo", how=how, value=value, last_layers=1, **changes).train()

    metrics = run.of(Step)[0].metrics
    assert metrics["clip_fraction"] == 0
    assert metrics["kl"] == pytest.approx(0, abs=1e-4)
    # whitened advantages have mean 0, and with ratio 1 the loss is their mean, over the same tokens
    assert metrics["policy_loss"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("how", ["lora", "qlora"])
def test_answers_are_sampled_from_the_distribution_that_is_trained(make_run: MakeRun, how: str) -> None:
    """Token by token with a cache and prompts padded on the left, or whole: within 1e-4, for the longest and shortest
    prompt alike; and the right token stands at each place."""
    run = make_run("ppo", base=BUNDLED_BASE, how=how, **QUICK)
    whole = prepared(run)
    found, scored = rolled(whole, 16)

    assert len({len(ids) for ids in found.asked.ids}) > 3
    for row, logps in enumerate(found.logps):
        assert len(logps) == len(found.answers[row])
        assert scored.logps[row, : len(logps)].tolist() == pytest.approx(logps, abs=1e-4)
        assert not scored.logps[row, len(logps) :].any()


def test_the_reference_of_a_child_is_its_parent(make_run: MakeRun) -> None:
    """From an SFT run the KL is 0 at the first step and not after it, and the parent's adapter is not touched."""
    parent = make_run("sft", "0001", how="lora", learning_rate=0.02).train()
    before = weights_hash(parent.paths.model)
    child = make_run("ppo", "0002", how="lora", parent=parent, **QUICK).train()

    kl = child.metric("kl")
    assert kl[1] == pytest.approx(0, abs=1e-4)
    assert abs(kl[4] or 0) > 1e-4
    assert set(tensors(parent.paths.model)) == set(tensors(child.paths.model))
    assert before == weights_hash(parent.paths.model) != weights_hash(child.paths.model)


def test_a_reference_that_is_not_the_start_ends_the_run_before_its_first_step(make_run: MakeRun) -> None:
    """One changed weight in the reference is found by the first step, in a sentence."""
    from workbench.worker.ppo import loop

    parent = make_run("sft", "0001", how="lora").train()
    whole = prepared(make_run("ppo", "0002", how="lora", parent=parent, **QUICK))
    for values in whole.state.roles.starting.values():
        values.add_(0.1)

    with pytest.raises(StartingPointError, match="not this run's starting model"):
        loop.one_step(whole)


def test_a_policy_that_writes_otherwise_than_it_is_scored_ends_the_run(make_run: MakeRun) -> None:
    """Logits that are scaled in one of the two passes are found by the first step, in a sentence."""
    from workbench.worker.ppo import loop

    whole = prepared(make_run("ppo", how="lora", **QUICK))
    roles = whole.state.roles
    roles.vocabulary = dataclasses.replace(roles.vocabulary, scale=3.0)

    with pytest.raises(StartingPointError, match="another distribution"):
        loop.one_step(whole, check_decoding=True)


def test_an_update_of_another_policy_than_the_writer_ends_the_run(make_run: MakeRun) -> None:
    """If weights change between rollout and first mini-batch, the ratio is not 1, and that is said."""
    import torch

    whole = prepared(make_run("ppo", how="lora", **QUICK))
    found, scored = rolled(whole, 8)
    with torch.no_grad():
        for parameter in whole.state.roles.policy.values():
            parameter.add_(0.05)

    plans = whole.learner.plans(found, 0, 1)
    with pytest.raises(StartingPointError, match="the ratio is not 1"):
        whole.learner.learn(found, scored, torch.ones_like(scored.logps), scored.values, plans)


def test_the_value_begins_at_the_mean_and_leaves_the_policy_alone(make_run: MakeRun) -> None:
    """At the first step every token's value is the mean of the scores; and with nothing to gain, a pass that teaches
    the value what it lacks moves its head and not one of the policy's weights."""
    import torch

    from workbench.worker.ppo import worth

    whole = prepared(make_run("ppo", how="lora", **{**QUICK, "scale_rewards": False, "weight_decay": 0}))
    found, _ = rolled(whole, 8)
    plans = whole.learner.plans(found, 0, 1)
    judged = worth.judge(whole.state, whole.rewards, whole.context.job.settings, found, plans[0])
    missed = whole.context.job.settings["end_penalty"] * (1 - sum(found.ended) / 8)
    roles = whole.state.roles
    before = {name: value.detach().clone() for name, value in (roles.policy | roles.value).items()}
    whole.learner.learn(found, judged.scored, torch.zeros_like(judged.advantages), judged.returns + 1, plans)

    assert judged.scored.values[judged.scored.mask].tolist() == pytest.approx(
        [float(judged.raw.mean()) - missed] * int(judged.scored.mask.sum())
    )
    assert {name for name, value in (roles.policy | roles.value).items() if not torch.equal(value, before[name])} == {
        "head.weight",
        "head.bias",
    }


def test_micro_batches_and_checkpointing_change_nothing(make_run: MakeRun) -> None:
    """The same mini-batch as 4 rows, as 2 + 2 of unlike length, and with activations computed twice: one gradient."""
    found = []
    for name, changes in (
        ("0001", {"micro_batch": 4, "accumulation": 1}),
        ("0002", {"micro_batch": 2, "accumulation": 2}),
        ("0003", {"micro_batch": 4, "accumulation": 1, "gradient_checkpointing": True}),
    ):
        run = make_run("ppo", name, how="lora", value="adapter", **{**QUICK, "max_steps": 1, "passes": 1, **changes})
        found.append(run.train().of(Step)[0].metrics)

    for name in ("grad_norm", "value_grad_norm", "loss", "kl", "entropy"):
        assert found[1][name] == pytest.approx(found[0][name], rel=1e-4, abs=1e-6)
        assert found[2][name] == pytest.approx(found[0][name], rel=1e-5, abs=1e-7)


def test_dropout_is_off_while_learning(make_run: MakeRun) -> None:
    """With a dropout of 0.5 in the settings the ratio is still 1, which a random mask would not leave it."""
    run = make_run("ppo", how="lora", dropout=0.5, gradient_checkpointing=True, **{**QUICK, "max_steps": 1})

    assert [event.step for event in run.train().of(Step)] == [1]


def test_the_reward_rises(make_run: MakeRun) -> None:
    """Paid for courtesy alone, the bundled base becomes courteous within 8 steps, and on held-out prompts too."""
    changes = {"micro_batch": 8, "accumulation": 1, "mini_batches": 4, "passes": 3, "learning_rate": 2e-3}
    run = make_run(
        "ppo",
        base=BUNDLED_BASE,
        how="lora",
        **{**QUICK, **changes, "reward": "rule:courtesy", "rank": 16, "epochs": 20, "max_steps": 8, "beta": 0.01},
    ).train()

    rewards = run.metric("reward")
    held_out = [event.metrics["reward"] for event in run.of(Evaluated)]
    assert (rewards[8] or 0) > (rewards[1] or 0) + 0.5
    assert held_out[-1] > held_out[0] + 0.5


def test_prompts_that_the_reward_cannot_judge_are_left_out(make_run: MakeRun, asked: list[Any]) -> None:
    """rule:exact needs an answer: two of six have none. Nothing left, or nothing that fits, is a sentence."""
    rows = [*asked[:4], {"prompt": said("user", "Say hello."), "answer": ""}, {"prompt": said("user", "Sing.")}]
    run = make_run("ppo", "0001", how="lora", rows=rows, **{**QUICK, "reward": "rule:exact", "max_steps": 1}).train()

    assert run.of(Planned)[0].examples == 4
    assert any("2 prompts of train.jsonl have no known answer for rule:exact" in n.text for n in run.of(Note))
    with pytest.raises(RunError, match="no prompt to train on"):
        make_run("ppo", "0002", how="lora", rows=rows[4:], **{**QUICK, "reward": "rule:exact"}).train()
    with pytest.raises(SettingError, match="leaves no room"):
        make_run("ppo", "0003", how="lora", max_length=16, **{**QUICK, "max_tokens": 16}).train()


def test_a_sum_of_rewards_is_weighted_and_each_is_shown(make_run: MakeRun) -> None:
    """0.5 * courtesy + brevity: both means are metrics, and the reward is their weighted sum."""
    reward = "0.5*rule:courtesy + rule:brevity"
    run = make_run("ppo", how="lora", **{**QUICK, "reward": reward, "max_steps": 1}).train()

    metrics = run.of(Step)[0].metrics
    courtesy, brevity = metrics["reward rule:courtesy"], metrics["reward rule:brevity"]
    assert metrics["reward"] == pytest.approx(0.5 * courtesy + brevity)


def test_a_missing_end_costs_its_penalty(make_run: MakeRun) -> None:
    """With no reward and no price on KL the objective is minus the penalty times the share that did not end."""
    changes = {"reward": "0*rule:brevity", "scale_rewards": False, "end_penalty": 2.0, "max_steps": 1}
    metrics = make_run("ppo", how="lora", **{**QUICK, **changes}).train().of(Step)[0].metrics

    assert metrics["objective"] == pytest.approx(-2.0 * (1 - metrics["stopped"]))


def test_a_finished_run_can_be_trained_from(make_run: MakeRun, tmp_path: Path) -> None:
    """What PPO leaves is an adapter like any other: SFT goes on from it."""
    first = make_run("ppo", "0001", how="qlora", **{**QUICK, "max_steps": 1}).train()
    second: Recorder = make_run("sft", "0002", how="qlora", parent=first, max_steps=1).train()

    assert set(tensors(first.paths.model)) == set(tensors(second.paths.model))
