"""Reward models on the screens: what they are for, what PPO is worth through time, and whose doubts come first."""

from __future__ import annotations

import re
import time

import pytest

from screens.app import BenchApp
from screens.rank import RankScreen
from screens.sources import rewards, sources
from screens.train import TrainScreen
from tests.fake_worker import FakeWorker, make_job
from tests.ui.conftest import drawn, settle, until
from tests.ui.ranking import Time, ranking
from tests.ui.test_live import opened
from workbench.bench import Bench
from workbench.conversation import models
from workbench.events import Finished, Planned, Started, Step, Watched
from workbench.runs import Run

REWARD, KL = 0.5, 3.25


def trained(bench: Bench, method: str, parent: str | None = None) -> Run:
    """A finished run of a method, with a model folder."""
    lineage = (parent,) if parent else ()
    settings = {"how": "lora", "micro_batch": 1, "max_length": 64}
    job = make_job(action=method, created=time.time(), parent=parent, lineage=lineage, settings=settings)
    run = bench.runs.create(job, {"train": [{"n": 1}]})
    worker = FakeWorker(run).sign_in()
    worker.write(Started(device="cpu", t=1.0), Planned(total_steps=2, t=1.0))
    for n in (1, 2):
        worker.write(Step(step=n, metrics={"loss": 1.0, "reward": REWARD * n, "kl": KL}, seconds=1.0, t=1.0 + n))
        samples = [["Say the opposite of tall.", f"answer of step {n}"]]
        worker.write(Watched(step=n, samples=samples, rewards=[REWARD * n] if method == "ppo" else [], t=1.0 + n))
    run.paths.model.mkdir()
    worker.leave(Finished(step=2))
    return run


async def test_a_reward_model_leads_to_ppo_and_is_no_model_to_sample_or_talk_with(bench: Bench) -> None:
    """Its ending names p, which opens the form of PPO from its parent with the reward set; s, e, c are not there."""
    parent = trained(bench, "sft")
    judge = trained(bench, "reward", parent.id)
    assert [source.run for source in sources(bench)] == [None, parent.id]
    assert [ref.name for ref in models(bench) if ref.kind == "run"] == [parent.id]
    assert next(iter(rewards(bench))) == f"run:{judge.id}"
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, judge)
        assert "p PPO with it" in drawn(app)
        assert "chat with it" not in drawn(app)
        assert [screen.check_action(key, ()) for key in ("sample", "export", "chat")] == [False] * 3
        await pilot.press("p")
        await settle(pilot)
        form = app.screen
        assert isinstance(form, TrainScreen)
        assert (form._what["method"], form._what["source"]) == ("ppo", f"{parent.id} sft")
        assert form._changes == {"reward": f"run:{judge.id}"}
        await pilot.press("escape", "6")
        await settle(pilot)
        assert app.screen.why_not("chat") == f"Run {judge.id} is a reward model: it scores answers and writes none."  # type: ignore[attr-defined]  # Runs is a screen of ours


async def test_answers_through_time_say_what_each_is_worth(bench: Bench) -> None:
    """PPO's figures are its reward and KL, no loss; every answer to a fixed prompt stands beside its reward."""
    run = trained(bench, "ppo")
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, run)
        assert "reward 1  KL 3.25" in drawn(app)
        assert "loss" not in drawn(app)
        assert "1 of 15" in drawn(app)
        await pilot.press("w")
        await until(pilot, "answer of step 2")
        assert "2  +1.00  answer of step 2" in drawn(app)
        assert "1  +0.50  answer of step 1" in drawn(app)


async def test_walking_past_the_sixth_chart_shows_the_next_six(bench: Bench) -> None:
    """PPO has more charts than a screen: how many is said, and tab reaches every one of them."""
    run = trained(bench, "ppo")
    app = BenchApp(bench)
    async with app.run_test(size=(200, 50)) as pilot:
        await opened(pilot, run)
        assert "charts 1-6 of 15" in drawn(app)
        assert "Explained variance" not in drawn(app)
        await pilot.press(*["tab"] * 6)
        await until(pilot, "charts 7-12 of 15")
        for title in ("Clipped tokens", "Value loss", "Explained variance", "Beta", "Seconds"):
            assert title in drawn(app)
        await pilot.press("z")
        await until(pilot, "chart 7 of 15")


async def test_the_list_of_methods_says_what_each_is_and_a_reward_names_what_there_is(bench: Bench) -> None:
    """Both have their words beside them; a reward can be picked, turned or written, and is read while it is written.

    The start follows the method: the newest run where a run is usual, the base where the base is.
    """
    parent = trained(bench, "sft")
    judge = trained(bench, "reward", parent.id)
    app = BenchApp(bench)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("t")
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        assert "Reinforcement learning (PPO)" in drawn(app)
        await pilot.press("slash", *"(ppo)", "enter")
        await settle(pilot)
        assert "‹ ppo ›" in drawn(app)
        assert f"‹ {parent.id} sft ›" in drawn(app)
        while "▌   Reward  " not in drawn(app):
            await pilot.press("j")
            await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        assert re.search(f"run:{judge.id} +reward model", drawn(app))
        assert "1 where the known answer occurs." in drawn(app)
        await pilot.press("G", "enter")
        await settle(pilot)
        await pilot.press("ctrl+u", *"rule:exakt", "enter")
        await settle(pilot)
        assert "There is no rule called 'exakt'." in drawn(app)
        await pilot.press("backspace", "backspace", *"ct", "enter", "right")
        await settle(pilot)
        assert "‹ rule:right ›" in drawn(app)
        await pilot.press("g", "enter")
        await settle(pilot)
        await pilot.press("slash", *"orpo", "enter")
        await settle(pilot)
        assert "‹ base: " in drawn(app)


@pytest.mark.parametrize("scored", [False, True])
async def test_i_puts_what_a_reward_model_doubts_first(bench: Bench, clock: Time, scored: bool) -> None:
    """Without a reward model it says how to get one; with its scores the prompt it doubts most comes first."""
    if scored:
        judge = f"reward:{trained(bench, 'reward').id}"
        prompts = [prompt for prompt in bench.store.prompts() if len(bench.store.completions(prompt.id)) > 1]
        doubted = prompts[3].id
        for prompt in prompts:
            apart = 0.0 if prompt.id == doubted else 3.0
            ids = [completion.id for completion in bench.store.completions(prompt.id)]
            bench.store.add_scores(judge, [(one, place * apart) for place, one in enumerate(ids)])
    async with ranking(bench, clock) as (pilot, screen, press):
        assert isinstance(screen, RankScreen)
        await press("i")
        await settle(pilot)
        if not scored:
            assert "There is no reward model yet" in drawn(pilot.app)
            return
        await pilot.press("j", "enter")
        await until(pilot, "is least sure of comes first")
        assert screen.item is not None
        assert screen.item.prompt.id == doubted
        assert bench.store.queued_by == judge
        await press("i")
        await settle(pilot)
        await pilot.press("g", "enter")
        await until(pilot, "Every prompt alike.")
        assert bench.store.queued_by == ""
