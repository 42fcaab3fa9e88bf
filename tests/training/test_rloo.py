"""RLOO and GRPO: the arithmetic by hand, the known start, and exact resumes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import MakeRun, Recorder, Rows
from tests.training.losses import quick_arguments
from tests.training.test_runs import weights_hash
from workbench.errors import RunError, SettingError, StartingPointError
from workbench.events import Evaluated, Note, Saved, Started, Step, Watched
from workbench.methods import group
from workbench.worker.context import StopRequested

pytestmark = pytest.mark.torch

QUICK: dict[str, Any] = {"reward": "rule:brevity", "group": 4, "max_tokens": 8, "max_steps": 3, "learning_rate": 0.01}
"""A step is one prompt with four answers, worth more the shorter they are: a random model has something to learn."""


def trainer_of(kind: str, base: Path, folder: Path, rewards: list[float], **more: Any) -> Any:
    """A trainer with a group of three answers to one prompt, whose rewards are given."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, RLOOConfig

    from tests.training.conftest import said
    from workbench.tokens import ChatTokens
    from workbench.worker import groups
    from workbench.worker.decoding import Rule

    tokens = ChatTokens(base)
    turns = said("user", "What is 2 + 3?")
    row = {"prompt": turns, "prompt_ids": tokens.prompt_ids(turns), "answer": "", "kind": ""}
    config, trainer = (RLOOConfig, groups.LeaveOneOutTrainer) if kind == "rloo" else (GRPOConfig, groups.GroupTrainer)
    arguments = quick_arguments(folder, 3) | {"num_generations": 3, "max_completion_length": 6}
    del arguments["max_length"]
    made = trainer(
        model=AutoModelForCausalLM.from_pretrained(base),
        processing_class=AutoTokenizer.from_pretrained(base),
        reward_funcs=lambda **_: list(rewards),
        train_dataset=Dataset.from_list([row]),
        args=config(**arguments, **more),
    )
    made.rollout = groups.Rollout(Recorder.__new__(Recorder), tokens, Rule(1.0, 1.0, 6, tuple(tokens.end_ids)), 0)
    made.rollout.context.progress = lambda step: None
    made.rollout.context.step = 0
    made.model.train()
    return made


def test_leave_one_out_by_hand(tiny_base: Path, tmp_path: Path) -> None:
    """Rewards 1, 0, 3: 1 - (0 + 3)/2 = -0.5, 0 - (1 + 3)/2 = -2, 3 - (1 + 0)/2 = 2.5. With ratios 1 the loss is 0.

    With ratios 1.1, 0.5 and 1.5 and a clip of 0.2: min(1.1 * -0.5, 1.1 * -0.5) = -0.55, min(0.5 * -2, 0.8 * -2) =
    -1.6, min(1.5 * 2.5, 1.2 * 2.5) = 3, so the loss is -(3 - 1.6 - 0.55) / 3 = -0.28333.
    """
    import torch

    trainer = trainer_of("rloo", tiny_base, tmp_path, [1.0, 0.0, 3.0], beta=0.0)
    inputs = trainer._generate_and_score_completions([trainer.train_dataset[0]] * 3)

    assert inputs["advantages"].tolist() == pytest.approx([-0.5, -2.0, 2.5])
    assert trainer.compute_loss(trainer.model, inputs).item() == pytest.approx(0, abs=1e-6)
    assert trainer._metrics["train"]["clip_ratio/region_mean"][-1] == 0

    inputs["old_logps"] = inputs["old_logps"] - torch.tensor([1.1, 0.5, 1.5]).log()
    assert trainer.compute_loss(trainer.model, inputs).item() == pytest.approx(-0.28333, abs=1e-4)
    assert trainer._metrics["train"]["clip_ratio/region_mean"][-1] == pytest.approx(2 / 3)


def test_the_group_s_own_spread_by_hand(tiny_base: Path, tmp_path: Path) -> None:
    """Rewards 1, 0, 3: mean 4/3, spread sqrt(7/3) = 1.52753, so -0.21822, -0.87287, 1.09109 (and 1e-4 below).

    With every token's ratio 1.5, no KL and a mean over answers: the first two count 1.5 times, the last is clipped at
    1.2: -(1.5 * -0.21822 + 1.5 * -0.87287 + 1.2 * 1.09109) / 3 = 0.10910. With beta 0.1 and a reference half as likely
    at each token, k3 is exp(-ln 2) + ln 2 - 1 = 0.19315, weighed by the ratio 1.5: 0.10910 + 0.1 * 1.5 * 0.19315.
    """
    import torch

    trainer = trainer_of("grpo", tiny_base, tmp_path, [1.0, 0.0, 3.0], beta=0.0, loss_type="grpo")
    inputs = trainer._generate_and_score_completions([trainer.train_dataset[0]] * 3)
    trainer.current_gradient_accumulation_steps = 1
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    length = inputs["completion_ids"].shape[1]
    with torch.no_grad():
        logps = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, length)[0]

    assert inputs["advantages"].tolist() == pytest.approx([-0.21822, -0.87287, 1.09109], abs=1e-3)
    assert trainer.compute_loss(trainer.model, inputs).item() == pytest.approx(0, abs=1e-6)

    inputs["old_per_token_logps"] = logps - math.log(1.5)
    assert trainer.compute_loss(trainer.model, inputs).item() == pytest.approx(0.10910, abs=1e-3)
    trainer.beta = 0.1
    inputs["ref_per_token_logps"] = logps - math.log(2)
    assert trainer.compute_loss(trainer.model, inputs).item() == pytest.approx(0.10910 + 0.15 * 0.19315, abs=1e-3)


@pytest.mark.parametrize("action", ["rloo", "grpo"])
def test_a_run_starts_at_kl_0_and_reports_what_it_does(make_run: MakeRun, action: str) -> None:
    """Before it has learnt anything it is its own reference: KL and clipped share are 0; then it moves."""
    run = make_run(action, how="qlora", **QUICK).train()

    first = run.of(Step)[0].metrics
    assert {"reward", "reward_std", "kl", "length", "stopped", "entropy", "clip_fraction", "even_groups"} <= set(first)
    assert first["kl"] == pytest.approx(0, abs=1e-6)
    assert first["clip_fraction"] == 0
    assert 0 < first["length"] <= 8
    assert run.metric("kl")[3] != 0
    assert [event.step for event in run.of(Evaluated)] == [0, 2, 3]
    assert {"reward", "kl", "length"} <= set(run.of(Evaluated)[0].metrics)
    assert "loss" not in run.of(Evaluated)[0].metrics
    watched = run.of(Watched)[-1]
    assert watched.rewards == [pytest.approx(-len(text.split()) / 100) for _, text in watched.samples]
    assert [step.tokens > 0 for step in run.of(Step)] == [True] * 3


@pytest.mark.parametrize(
    ("action", "how", "iterations", "stop"),
    [("rloo", "qlora", 1, 6), ("grpo", "lora", 2, 5), ("grpo", "last_layers", 1, 3)],
)
def test_a_stopped_and_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    make_run: MakeRun, asked: Rows, action: str, how: str, iterations: int, stop: int
) -> None:
    """Stopped in the second pass over four prompts, or between two steps on the same answers: nothing changes."""
    settings = {**QUICK, "how": how, "iterations": iterations, "max_steps": 7, "rows": asked[:4], "last_layers": 1}
    whole = make_run(action, "0001", **settings).train()
    stopped = make_run(action, "0002", **settings, stop_at=stop)
    with pytest.raises(StopRequested):
        stopped.train()
    resumed = stopped.again().train()

    assert resumed.of(Started)[0].resumed_from == stop
    for name in ("loss", "grad_norm", "reward", "kl", "length"):
        assert whole.metric(name) == {**stopped.metric(name), **resumed.metric(name)}
    assert weights_hash(whole.paths.model) == weights_hash(resumed.paths.model)
    assert whole.of(Step)[stop].tokens == resumed.of(Step)[0].tokens


def test_two_steps_on_the_same_answers_move_the_ratio(make_run: MakeRun) -> None:
    """With iterations=2 the second step has the first one's rewards, and answers whose likelihood has moved.

    Their KL was measured when they were written: the second step reports none, which is not the same as 0.
    """
    run = make_run("rloo", how="lora", **{**QUICK, "iterations": 2, "max_steps": 2, "ratio_clip": 0.01}).train()

    assert run.metric("loss")[1] == pytest.approx(0, abs=1e-6)
    assert run.metric("loss")[2] != pytest.approx(0, abs=1e-6)
    assert run.metric("clip_fraction")[2] > 0
    assert ["kl" in step.metrics for step in run.of(Step)] == [True, False]


def test_without_a_reference_no_kl_is_reported(make_run: MakeRun) -> None:
    """With beta = 0 nobody knows how far the answers have moved: a KL of 0 would be invented."""
    run = make_run("grpo", how="lora", **{**QUICK, "beta": 0.0, "max_steps": 1, "eval_every": 0}).train()

    assert "kl" not in run.of(Step)[0].metrics


def test_measuring_and_watching_do_not_change_what_is_learnt(make_run: MakeRun) -> None:
    """Held-out prompts and watched ones are answered without a random number of the training's."""
    silent = make_run("rloo", "0001", how="lora", eval_every=0, watch_every=0, **QUICK).train()
    measured = make_run("rloo", "0002", how="lora", eval_every=1, watch_every=1, **QUICK).train()

    assert silent.metric("reward") == measured.metric("reward")
    assert weights_hash(silent.paths.model) == weights_hash(measured.paths.model)


@pytest.mark.parametrize(("action", "how"), [("rloo", "qlora"), ("grpo", "full")])
def test_a_child_takes_its_parent_as_the_reference(make_run: MakeRun, action: str, how: str) -> None:
    """From an SFT run the first KL is 0: to the parent, not to the base, which answers otherwise by now."""
    parent = make_run("sft", "0001", how="qlora", learning_rate=0.02, watch_every=0).train()
    child = make_run(action, "0002", how=how, parent=parent, watch_every=0, **QUICK).train()

    assert child.of(Evaluated)[0].metrics["kl"] == pytest.approx(0, abs=1e-6)
    assert child.metric("kl")[1] == pytest.approx(0, abs=1e-6)


def test_a_wrong_reference_ends_the_run_before_its_first_step(make_run: MakeRun) -> None:
    """If the frozen copy of the parent's adapter is not the parent's, the run fails in a sentence."""
    from trl import RLOOConfig

    from workbench.worker.groups import LeaveOneOutTrainer

    def make(arguments: dict[str, Any], **parts: Any) -> Any:
        trainer = LeaveOneOutTrainer(args=RLOOConfig(**arguments), **parts)
        for name, parameter in trainer.model.named_parameters():
            if ".ref." in name:
                parameter.data += 0.1
        return trainer

    parent = make_run("sft", "0001", how="lora", learning_rate=0.02, watch_every=0).train()
    child = make_run("rloo", "0002", how="lora", parent=parent, **QUICK)

    with pytest.raises(StartingPointError, match="the reference is not this run's starting model"):
        group.train(child, make)
    assert not child.of(Step)


def test_short_memory_shrinks_the_micro_batch_below_a_group(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for two answers in a pass, four at once become 2 × 2; the same answers are written and learnt from."""
    import torch

    from workbench.worker.groups import LeaveOneOutTrainer

    step = LeaveOneOutTrainer.training_step

    def small(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.args.per_device_train_batch_size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return step(self, *args, **kwargs)

    batch = {"micro_batch": 4, "accumulation": 1, "watch_every": 0}
    whole = make_run("rloo", "0001", how="lora", **QUICK, **batch).train()
    monkeypatch.setattr(LeaveOneOutTrainer, "training_step", small)
    shrunk = make_run("rloo", "0002", how="lora", **QUICK, **batch).train()

    assert any("a step still sees 4 rows" in note.text for note in shrunk.of(Note))
    assert whole.metric("reward") == pytest.approx(shrunk.metric("reward"))


def test_answers_are_the_same_when_memory_makes_their_batches_smaller(make_run: MakeRun) -> None:
    """With room for one answer at a time the sampler halves its batch twice, says so, and writes the same answers."""
    import torch
    from trl import RLOOConfig

    from workbench.worker.groups import LeaveOneOutTrainer

    def limited(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if kwargs.get("use_cache") and kwargs["input_ids"].shape[0] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def make(arguments: dict[str, Any], **parts: Any) -> Any:
        trainer = LeaveOneOutTrainer(args=RLOOConfig(**arguments), **parts)
        trainer.model.get_base_model().register_forward_pre_hook(limited, with_kwargs=True)
        return trainer

    settings = {**QUICK, "how": "lora", "eval_every": 0, "watch_every": 0, "save_every": 0, "max_steps": 1}
    whole = make_run("rloo", "0001", **settings).train()
    one_by_one = make_run("rloo", "0002", **settings)
    group.train(one_by_one, make)

    assert any("answers at once; going on with 1" in note.text for note in one_by_one.of(Note))
    assert whole.metric("length") == one_by_one.metric("length")
    assert whole.metric("reward") == pytest.approx(one_by_one.metric("reward"))


@pytest.mark.parametrize("action", ["rloo", "grpo"])
def test_a_loss_that_is_no_number_ends_the_run_in_words(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """From step 2 on the loss is NaN: the checkpoint of step 1 is the last, and the third such step ends the run."""
    from workbench.worker import groups

    trainer = groups.LeaveOneOutTrainer if action == "rloo" else groups.GroupTrainer
    compute = trainer.compute_loss

    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = compute(self, *args, **kwargs)
        return loss * float("nan") if self.model.training and self.state.global_step >= 1 else loss

    monkeypatch.setattr(trainer, "compute_loss", broken)
    run = make_run(action, how="lora", save_every=1, eval_every=0, watch_every=0, **{**QUICK, "max_steps": 9})

    with pytest.raises(RunError, match="diverged"):
        run.train()
    assert [event.step for event in run.of(Saved)] == [1]
    assert not run.paths.model.exists()


def test_prompts_without_an_answer_are_left_out_where_the_reward_needs_one(make_run: MakeRun, asked: Rows) -> None:
    """Two of four prompts have no known answer: a note says so; none with one is a failure with a hint."""
    bare = [{**row, "answer": ""} for row in asked[:2]]
    settings = {**QUICK, "how": "lora", "reward": "rule:exact", "max_steps": 1, "watch_every": 0}
    run = make_run("rloo", "0001", rows=[*asked[2:4], *bare], **settings).train()

    assert any("2 prompts have no known answer" in note.text for note in run.of(Note))
    with pytest.raises(RunError, match="0 prompts that the reward can judge"):
        make_run("rloo", "0002", rows=bare, **settings).train()


def test_a_step_holds_whole_groups_and_an_answer_has_room() -> None:
    """12 answers a step hold no groups of 8: accumulation=4 is named; answers as long as the row leave no prompt."""
    settings = {"micro_batch": 6, "accumulation": 2, "group": 8, "max_tokens": 64, "max_length": 256}
    with pytest.raises(SettingError, match="no whole groups of 8") as caught:
        group.check_settings(settings)
    assert "accumulation=4." in caught.value.hint
    with pytest.raises(SettingError, match="leave no room"):
        group.check_settings({**settings, "group": 4, "max_tokens": 256})


def test_a_weighted_reward_shows_its_parts(make_run: MakeRun) -> None:
    """The reward is the weighted sum of its terms, and each term's own mean is in the events."""
    reward = "rule:brevity + 0.5*rule:fresh"
    run = make_run("rloo", how="lora", **{**QUICK, "reward": reward, "max_steps": 1, "watch_every": 0}).train()
    metrics = run.of(Step)[0].metrics

    parts = {name: value for name, value in metrics.items() if name.startswith("reward ")}
    assert set(parts) == {"reward rule:brevity", "reward rule:fresh"}
    assert metrics["reward"] == pytest.approx(parts["reward rule:brevity"] + 0.5 * parts["reward rule:fresh"], abs=1e-6)
