"""Training runs of reward models: what they report and leave behind, exact resumes, starting points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import MakeRun, Recorder, Rows, said
from tests.training.test_runs import tensors, weights_hash
from workbench import bases
from workbench.errors import StartingPointError
from workbench.events import Evaluated, Note, Saved, Started, Step, Watched
from workbench.judges.reward_model import read_card
from workbench.methods.reward import choices, starting_loss
from workbench.worker.context import StopRequested

pytestmark = pytest.mark.torch


def test_a_reward_run_reports_accuracy_calibration_mean_and_spread(trained_reward: Recorder) -> None:
    """Before the first step all rewards are 0 and the loss is known; then held-out pairs and rewards are told."""
    evaluated = trained_reward.of(Evaluated)
    rows = [json.loads(line) for line in (trained_reward.paths.data / "held_out.jsonl").read_text().splitlines()]
    expected = starting_loss([choices(row["rankings"], "plackett_luce") for row in rows], 0.0)

    assert [event.step for event in evaluated] == [0, 2, 4, 6]
    assert evaluated[0].metrics["loss"] == pytest.approx(expected, abs=1e-6)
    assert (evaluated[0].metrics["pair_accuracy"], evaluated[0].metrics["reward_spread"]) == (0.5, 0.0)
    assert set(evaluated[-1].metrics) == {
        "loss",
        "pair_accuracy",
        "reward_mean",
        "reward_spread",
        "reward_margin",
        "calibration_error",
    }
    assert evaluated[-1].metrics["pair_accuracy"] > 0.5
    assert {"loss", "pair_accuracy", "reward_mean", "reward_spread", "reward_margin"} <= set(
        trained_reward.of(Step)[-1].metrics
    )
    assert trained_reward.of(Step)[-1].tokens > 0
    notes = [note.text for note in trained_reward.of(Note)]
    assert any("the better answer scores higher in" in text for text in notes)
    assert any(text.startswith("Calibration on held-out pairs: says") for text in notes)
    question, answers = trained_reward.of(Watched)[-1].samples[0]
    assert question == rows[0]["prompt"][-1]["content"]
    assert len(answers.splitlines()) == len(rows[0]["answers"])


def test_a_reward_model_is_an_adapter_with_its_head_and_a_card(trained_reward: Recorder, tiny_base: Path) -> None:
    """LoRA and an fp32 head of one row in PEFT's names, the tokenizer, and what the held-out pairs said; no path."""
    import torch

    found = tensors(trained_reward.paths.model)
    head = found["base_model.model.score.weight"]
    config = json.loads((trained_reward.paths.model / "adapter_config.json").read_text())
    card = read_card(trained_reward.paths.model)

    assert (tuple(head.shape), head.dtype) == ((1, 64), torch.float32)
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert (config["task_type"], config["base_model_name_or_path"]) == ("SEQ_CLS", str(tiny_base))
    assert (card.base, card.four_bit) == (trained_reward.job.base, True)
    assert card.accuracy == trained_reward.of(Evaluated)[-1].metrics["pair_accuracy"]
    assert card.spread == pytest.approx(trained_reward.of(Evaluated)[-1].metrics["reward_spread"], abs=1e-6)
    assert card.pairs == sum(line[2] for line in card.reliability)
    assert (trained_reward.paths.model / "chat_template.jinja").is_file()
    assert trained_reward.of(Saved)[-1].final


@pytest.mark.parametrize(
    ("how", "loss_type"), [("qlora", "plackett_luce"), ("lora", "bradley_terry"), ("last_layers", "kwise")]
)
def test_a_stopped_and_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    make_run: MakeRun, how: str, loss_type: str
) -> None:
    """Stopping at step 3 of 6 and going on gives the same losses, figures, rewards and weights as never stopping."""
    more = {"how": how, "loss_type": loss_type, "max_steps": 6, "last_layers": 1, "dropout": 0.1 * (how == "lora")}
    whole = make_run("reward", "0001", **more).train()
    stopped = make_run("reward", "0002", **more, stop_at=3)

    with pytest.raises(StopRequested):
        stopped.train()
    resumed = stopped.again().train()

    assert resumed.of(Started)[0].resumed_from == 3
    for name in ("loss", "grad_norm", "reward_mean", "pair_accuracy"):
        assert whole.metric(name) == {**stopped.metric(name), **resumed.metric(name)}
    assert whole.of(Evaluated)[-1].metrics == resumed.of(Evaluated)[-1].metrics
    assert weights_hash(whole.paths.model) == weights_hash(resumed.paths.model)


def test_from_a_policys_adapter_the_reward_model_goes_on_on_the_base_itself(
    make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its LoRA starts as the policy's, bit for bit, and is its own afterwards: the result needs only the base."""
    import torch

    from workbench.worker import reward_model, reward_start

    starts: dict[str, Any] = {}
    load = reward_start.load_start

    def keep(*given: Any) -> Any:
        start = load(*given)
        starts.update({name: value.clone() for name, value in start.adapter.items()})
        return start

    monkeypatch.setattr(reward_start, "load_start", keep)
    policy = make_run("sft", "0001", how="qlora", max_steps=2).train()
    run = make_run("reward", "0002", how="qlora", max_steps=3, parent=policy).train()
    learnt = tensors(policy.paths.model)

    for name, value in learnt.items():
        assert torch.equal(value, starts[name.replace(".weight", ".default.weight")]), name
    assert not torch.equal(tensors(run.paths.model)[next(iter(learnt))], learnt[next(iter(learnt))])
    scorer = reward_model.load(run.paths.model, bases.resolve(str(tiny_base)), four_bit=True)
    assert bool(scorer.score([[1, 5, 6, 2]]).isfinite().all())


def test_an_adapter_on_whole_weights_of_a_run_is_refused(make_run: MakeRun) -> None:
    """It would stand on weights that no base has; whole weights can be tuned on."""
    parent = make_run("sft", "0001", how="full", max_steps=1).train()

    with pytest.raises(StartingPointError, match="whole weights of its own"):
        make_run("reward", "0002", how="lora", max_steps=1, parent=parent).train()
    run = make_run("reward", "0003", how="head_only", max_steps=1, parent=parent).train()
    assert run.of(Saved)[-1].final


def test_answers_that_do_not_fit_are_left_out_of_their_rankings(make_run: MakeRun, rankings: Rows) -> None:
    """A long answer goes, the others of its row stay; a row of one answer is no row; both are said."""
    long = said("assistant", "This goes on and on. " * 40)
    rows = [
        {**rankings[1], "answers": [*rankings[1]["answers"], long], "rankings": [[[3], [0], [1], [2]]]},
        {**rankings[0], "answers": [rankings[0]["answers"][0], long], "rankings": [[[0], [1]]]},
        *rankings[2:6],
    ]
    run = make_run("reward", rows=rows, how="lora", max_steps=1).train()
    notes = " ".join(note.text for note in run.of(Note))

    assert "2 answers are longer than max_length" in notes
    assert "1 rows lose" in notes


def test_a_tokenizer_that_pads_with_its_end_token_changes_nothing(
    make_run: MakeRun, tiny_base: Path, tmp_path: Path
) -> None:
    """The reward is read at the end token, which such a base would take for padding: losses are the same."""
    import shutil

    other = tmp_path / "padded"
    shutil.copytree(tiny_base, other)
    for name in ("tokenizer_config.json", "config.json"):
        settings = json.loads((other / name).read_text())
        key, end = ("pad_token", "eos_token") if "eos_token" in settings else ("pad_token_id", "eos_token_id")
        (other / name).write_text(json.dumps({**settings, key: settings[end]}))
    usual = make_run("reward", "0001", how="lora").train()
    padded = make_run("reward", "0002", base=other, how="lora").train()
    held_out = [run.of(Evaluated)[-1].metrics["loss"] for run in (usual, padded)]

    assert padded.metric("loss") == usual.metric("loss")
    assert held_out[0] == held_out[1] != usual.of(Evaluated)[0].metrics["loss"]
