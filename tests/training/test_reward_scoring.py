"""Reward models at work: the same scores from files, in memory and in a scoring run; and on real data."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import MakeRun, Recorder, Rows, said
from tests.votes import ORIGIN, answered
from workbench import bases, importing, judges, judging, orders
from workbench.bench import Bench
from workbench.errors import StartingPointError
from workbench.events import Completed, Evaluated, Finished, Note, Scored, Step
from workbench.judges.reward_model import read_card
from workbench.paths import PACKAGE_ROOT
from workbench.tokens import ChatTokens
from workbench.worker.context import StopRequested

pytestmark = pytest.mark.torch


SCORE = """
import json, sys, torch
from pathlib import Path
from workbench import bases
from workbench.worker import reward_model
torch.set_num_threads(1)
order = json.load(sys.stdin)
scorer = reward_model.load(Path(order["folder"]), bases.resolve(order["base"]), four_bit=order["four_bit"])
print(json.dumps(scorer.score(order["ids"]).tolist()))
"""


def in_a_fresh_process(folder: Path, base: Path, ids: list[list[int]], four_bit: bool) -> list[float]:
    """The scores that another process gives, which has nothing but the files."""
    order = {"folder": str(folder), "base": str(base), "ids": ids, "four_bit": four_bit}
    done = subprocess.run(
        [sys.executable, "-c", SCORE], input=json.dumps(order), capture_output=True, text=True, cwd=PACKAGE_ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[float] = json.loads(done.stdout)
    return found


def conversations(base: Path, rows: Rows) -> list[list[int]]:
    tokens = ChatTokens(base)
    return [tokens.row(row["prompt"], answer).ids for row in rows for answer in row["answers"]]


@pytest.mark.parametrize("how", ["qlora", "full"])
def test_saved_and_reloaded_it_scores_the_same(
    make_run: MakeRun, tiny_base: Path, rankings: Rows, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A fresh process gives the scores that the trainer's own model gave in its last batch, to 1e-5."""
    from workbench.worker.reward_training import RankingTrainer

    seen: dict[str, Any] = {}
    log = RankingTrainer.log

    def keep(self: Any, logs: dict[str, float], start_time: float | None = None) -> None:
        log(self, logs, start_time)
        seen["held out"] = list(self.held_out.rewards)

    monkeypatch.setattr(RankingTrainer, "log", keep)
    run = make_run("reward", how=how, max_steps=3, learning_rate=1e-2).train()
    ids = conversations(tiny_base, rankings[24:28])
    found = in_a_fresh_process(run.paths.model, tiny_base, ids, four_bit=how == "qlora")

    assert len(found) == len(seen["held out"])
    assert found == pytest.approx(seen["held out"], abs=1e-5)
    assert max(found) - min(found) > 0.1, "the scores differ, so that equality says something"


def test_attached_to_a_policy_it_scores_as_loaded_and_leaves_the_policy_as_it_was(
    trained_reward: Recorder, make_run: MakeRun, tiny_base: Path, rankings: Rows
) -> None:
    """On a policy with an adapter of its own: the scores of `load` to 1e-5; answers, flags, modes, luck unchanged."""
    import torch

    from workbench.worker import model, reward_model

    policy = make_run("sft", "0005", how="lora", max_steps=2).train()
    whole = model.load_weights(tiny_base, torch.float32)
    from peft import PeftModel

    peft = PeftModel.from_pretrained(whole, policy.paths.model, is_trainable=True)
    peft.train()
    ids = conversations(tiny_base, rankings[:5])
    before, flags = state(peft, ids[0])
    loaded = reward_model.load(trained_reward.paths.model, bases.resolve(str(tiny_base)), four_bit=False)
    scorer = reward_model.attach(peft, trained_reward.paths.model, "reward-0004")
    luck = torch.get_rng_state()
    found = scorer.score(ids)

    assert torch.allclose(found, loaded.score(ids), atol=1e-5, rtol=0)
    assert found.dtype == torch.float32
    assert torch.equal(luck, torch.get_rng_state())
    assert found.std() > 0.1
    after, later = state(peft, ids[0])
    assert torch.equal(before, after)
    assert flags == {name: flag for name, flag in later.items() if name in flags}
    assert not any(flag for name, flag in later.items() if name not in flags)
    assert peft.active_adapters == ["default"]
    assert all(module.training for module in peft.modules())
    assert scorer.score(ids, tokens_at_once=1).tolist() == pytest.approx(found.tolist(), abs=1e-5)


def test_beside_a_policy_it_is_loaded_as_it_was_trained(make_run: MakeRun, tiny_base: Path, rankings: Rows) -> None:
    """One that was trained on 16 bits is not put on 4, also where the run that made it is not beside the policy's."""
    from workbench.worker import reward_model
    from workbench.worker.rewards import Rewards

    made = make_run("reward", "0004", how="lora", max_steps=2, learning_rate=1e-2).train()
    policy = make_run("rloo", "0005", how="full", reward="run:0004")
    shutil.copytree(made.paths.model, policy.paths.reward("0004"))
    made.paths.job.unlink()
    ids = conversations(tiny_base, rankings[:5])
    rewards = Rewards(policy, None, ChatTokens(tiny_base))
    loaded = reward_model.load(made.paths.model, bases.resolve(str(tiny_base)), four_bit=False)

    assert rewards.attached == {}
    assert rewards.of([{}] * len(ids), ids, [""] * len(ids))[0].tolist() == pytest.approx(loaded.score(ids).tolist())


def state(peft: Any, ids: list[int]) -> tuple[Any, dict[str, bool]]:
    """What the policy says to some tokens, and which weights are trained."""
    import torch

    with torch.no_grad():
        logits = peft(input_ids=torch.tensor([ids])).logits
    return logits, {name: parameter.requires_grad for name, parameter in peft.named_parameters()}


def test_a_policy_that_trains_the_base_itself_cannot_share_it(trained_reward: Recorder, tiny_base: Path) -> None:
    """The reward would drift with the base; a frozen one without an adapter is wrapped and answers as before."""
    import torch

    from workbench.worker import model, reward_model

    whole = model.load_weights(tiny_base, torch.float32)
    with pytest.raises(StartingPointError, match="trains weights of the base itself"):
        reward_model.attach(whole, trained_reward.paths.model, "reward")
    whole.requires_grad_(False)
    with torch.no_grad():
        before = whole(input_ids=torch.tensor([[1, 5, 6]])).logits
        scorer = reward_model.attach(whole, trained_reward.paths.model, "reward")
        scorer.score([[1, 5, 6]])
        after = whole(input_ids=torch.tensor([[1, 5, 6]])).logits
    assert torch.equal(before, after)


# -- judging a project


def test_a_scoring_run_scores_everything_once_and_goes_on_where_it_stopped(
    trained_reward: Recorder, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after a batch and resumed, each completion has one score, that of the model asked directly."""
    import torch

    from workbench.worker import reward_model, reward_scoring

    monkeypatch.setattr(reward_scoring, "AT_ONCE", 4)
    with closing(project(tmp_path, tiny_base, trained_reward)) as bench:
        made = judging.order(bench, judging.JudgeOrder("1", changes={"label": True}))
        assert made is not None
        stopped = Recorder(made.paths, stop_at=2)
        with pytest.raises(StopRequested):
            judges.module(made.job.action).judge(stopped)
        bench.ingest()
        assert 0 < len(scores(bench)) < 9
        again = stopped.again()
        summary = judges.module(made.job.action).judge(again)
        again.emit(Finished(summary=summary))
        bench.ingest()
        stored = scores(bench)
        rankings = bench.store.rankings(judge="reward:0001")
        ids = [
            ChatTokens(tiny_base).row([{"role": "user", "content": prompt}], said("assistant", text)).ids
            for prompt, text in stored
        ]

    named = [score[0] for run in (stopped, again) for event in run.of(Scored) for score in event.scores]
    assert len(named) == len(set(named)) == len(stored) == 9
    direct = reward_model.load(trained_reward.paths.model, bases.resolve(str(tiny_base)), four_bit=True).score(ids)
    assert torch.allclose(torch.tensor(list(stored.values())), direct, atol=1e-5, rtol=0)
    assert {(ranking.verdict, len(ranking.shown)) for ranking in rankings} == {("ranked", 3)}
    assert len(rankings) == 3
    assert set(again.of(Step)[-1].metrics) == {"reward_mean", "reward_spread", "completions_per_second"}


def project(folder: Path, base: Path, reward: Recorder) -> Bench:
    """A project with three prompts of three completions each, and the reward model as its run 0001."""
    bench = Bench.create(folder / "project")
    bench.base = str(base)
    for number in range(3):
        answered(bench.store, f"question {number}", 3)
    run = bench.runs.create(dataclasses.replace(reward.job, run=""), {})
    shutil.copytree(reward.paths.model, run.paths.model)
    return bench


def scores(bench: Bench) -> dict[tuple[str, str], float]:
    """What is stored: the score of each (prompt, completion)."""
    return {
        (prompt.text, completion.text): found[completion.id]
        for prompt in bench.store.prompts()
        for found in [bench.store.scores("reward:0001", prompt.id)]
        for completion in bench.store.completions(prompt.id)
        if completion.id in found
    }


def test_what_is_too_long_to_read_has_no_score(trained_reward: Recorder, tiny_base: Path, tmp_path: Path) -> None:
    """A completion beyond the base's context is left out with a note, never scored as its beginning."""
    with closing(project(tmp_path, tiny_base, trained_reward)) as bench:
        prompt_id = bench.store.prompts()[0].id
        long = Completed(prompt_id=prompt_id, n=7, text="so it goes on and on " * 80)
        bench.store.add_completions("0009", ORIGIN, [long])
        made = judging.order(bench, judging.JudgeOrder("1"))
        assert made is not None
        run = Recorder(made.paths)
        judges.module(made.job.action).judge(run)

    assert any("1 completions are longer than the 256 tokens" in note.text for note in run.of(Note))
    assert sum(len(event.scores) for event in run.of(Scored)) == 9


def test_real_labelled_solutions_train_a_reward_model(tmp_path: Path, shared_data: Path) -> None:
    """Four model solutions a question, each marked right or wrong: imported, frozen and trained like any ranking."""
    with closing(Bench.create(tmp_path / "project")) as bench:
        importing.import_file(bench.store, shared_data / "gsm8k_model_solutions_400.jsonl")
        quick = {"max_length": 512, "max_steps": 2, "micro_batch": 2, "how": "lora", "watch_every": 0, "held_out": 0.05}
        run = orders.train(bench, "reward", preset="cpu", changes=quick)
        recorder = Recorder(run.paths)
        recorder.train()

    evaluated = recorder.of(Evaluated)[-1].metrics
    assert run.job.counts["rankings"] + run.job.counts["held out"] == 208
    assert 0 <= (evaluated["pair_accuracy"] or 0) <= 1
    assert read_card(run.paths.model).pairs > 0
