"""Rank, by what it says: the end of the queue, progress, notices, what training is offered, and its help."""

from __future__ import annotations

from pathlib import Path

import pytest

from screens.app import BenchApp
from screens.help import grouped, shortened
from screens.widgets.writing import BetterAnswer
from tests.fake_worker import FakeWorker, make_job
from tests.ui.conftest import asked, drawn, settle
from tests.ui.ranking import Time, ranking
from workbench import examples
from workbench.bench import Bench
from workbench.events import Completed
from workbench.next_step import progress_of
from workbench.ranking import RankSession
from workbench.records import NewPrompt, Origin, Ranking


async def test_an_empty_project_names_the_next_key(empty_bench: Bench, clock: Time) -> None:
    """Without completions the screen says so, and 4 goes to Sample."""
    async with ranking(empty_bench, clock) as (pilot, _, press):
        assert "4  to sample some" in drawn(pilot.app)
        await press("4")
        assert pilot.app.current_mode == "sample"


async def test_digits_past_the_end_stay_on_rank(bench: Bench, clock: Time) -> None:
    """When all is ranked a quick 1 or 9 leads nowhere; q leaves."""
    async with ranking(bench, clock) as (pilot, screen, press):
        await press(*"111111", *"19")
        assert screen.item is None
        assert pilot.app.screen is screen
        assert "All 6 are ranked" in drawn(pilot.app)
        await press("q")
        assert pilot.app.current_mode == "home"


async def test_identical_answers_are_no_part_of_the_progress(bench: Bench, clock: Time) -> None:
    """With one prompt of identical answers six votes are 6/6, and the page says why the seventh never came."""
    [same] = bench.store.add_prompts([NewPrompt(asked("the same"))])
    rows = [Completed(prompt_id=same, n=n, text="one") for n in range(2)]
    bench.store.add_completions("0009", Origin("bundled"), rows)
    async with ranking(bench, clock) as (pilot, _, press):
        await press(*"111111")
        await settle(pilot)
        assert "6/6" in drawn(pilot.app)
        assert "100%" in drawn(pilot.app)
        assert "1 prompt has identical answers" in drawn(pilot.app)


async def test_a_notice_goes_with_the_next_decision(bench: Bench, clock: Time) -> None:
    """What was said of one decision is gone after the next."""
    async with ranking(bench, clock) as (pilot, screen, press):
        await press("e")
        screen.query_one(BetterAnswer).text = "better"
        await press("ctrl+d")
        assert "Kept: it beats" in drawn(pilot.app)
        await press("1")
        assert "Kept: it beats" not in drawn(pilot.app)


async def test_without_new_pairs_no_training_is_offered(bench: Bench, clock: Time) -> None:
    """Six ties make no pair: neither the header nor the last page names DPO; a vote instead of one does."""
    async with ranking(bench, clock) as (pilot, _, press):
        await press(*"333333")
        await settle(pilot)
        assert "no new pairs" in drawn(pilot.app)
        assert "DPO" not in drawn(pilot.app)
        await press("u", "1")
        assert "Press  t  to train DPO" in drawn(pilot.app)


async def test_the_help_of_a_ballot_is_short_and_starts_with_voting(kway: Bench, clock: Time) -> None:
    """Keys that do the same are one row, letters and digits as ranges, under headings, votes first."""
    async with ranking(kway, clock) as (_, screen, _press):
        groups = grouped(screen)
        sentences = [row[1] for _, rows in groups for row in rows]
        assert len(sentences) == len(set(sentences))
        assert groups[0][0] == "Vote"
        assert groups[-1][0] == "Everywhere"
        shown = [shortened(row[0]) for _, rows in groups for row in rows]
        assert shown[0] == "a–d"
        assert "1–4" in shown


async def test_pairs_of_a_run_at_work_are_not_new(bench: Bench) -> None:
    """Pairs that a living DPO run holds are not new; when it dies they are again."""
    session = RankSession(bench.store)
    session.open()
    for _ in range(4):
        session.choose(0)
    rows = examples.dpo_rows(examples.all_pairs(bench.store))
    run = bench.runs.create(make_job(action="dpo"), {"train.jsonl": rows[:2], "held_out.jsonl": rows[2:3]})
    worker = FakeWorker(run).sign_in()
    assert (progress_of(bench).pairs, progress_of(bench).new_pairs) == (4, 1)
    worker.die()
    assert progress_of(bench).new_pairs == 4


async def test_t_opens_the_training_form_for_dpo(bench: Bench, clock: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    """The header counts the pairs that a vote made, and t asks the app for DPO's form."""
    asked_for = []
    monkeypatch.setattr(BenchApp, "on_open_train", lambda self, message: asked_for.append(message.method))
    async with ranking(bench, clock) as (pilot, _, press):
        await press("1", "2")
        assert "2 new pairs" in drawn(pilot.app)
        await press("t")
    assert asked_for == ["dpo"]


async def test_word_counts_are_hidden_until_asked_for_and_then_remembered(bench: Bench, clock: Time) -> None:
    """w shows how many words each answer has, also on the next prompt and in the next session; w hides them again."""
    async with ranking(bench, clock) as (pilot, _, press):
        assert " words" not in drawn(pilot.app)
        await press("w")
        assert drawn(pilot.app).count("8 words") == 2
        await press("1")
        assert drawn(pilot.app).count("8 words") == 2
    async with ranking(bench, clock) as (pilot, _, press):
        assert drawn(pilot.app).count("8 words") == 2
        await press("w")
        assert " words" not in drawn(pilot.app)


async def test_longer_answers_that_win_too_often_are_told(tmp_path: Path, clock: Time) -> None:
    """Twenty-five votes for the longer answer: a wide screen says so, in words."""
    bench = Bench.create(tmp_path / "long")
    ids = bench.store.add_prompts(NewPrompt(asked(f"question {n}")) for n in range(26))
    rows = [Completed(prompt_id=i, n=n, text=f"answer to {i}" + " indeed" * n) for i in ids for n in range(2)]
    bench.store.add_completions("0001", Origin("bundled"), rows)
    for prompt in ids[:25]:
        short, long = (completion.id for completion in bench.store.completions(prompt))
        bench.store.add_ranking(Ranking(0, prompt, (short, long), ((long,), (short,)), "ranked"))
    async with ranking(bench, clock, (200, 50)) as (pilot, _, _press):
        await settle(pilot)
        assert "the longer one chosen 100% of 25 (±20%)" in drawn(pilot.app)
        assert "longer answers win more than by chance" in drawn(pilot.app)
    bench.close()


async def test_the_footer_offers_what_works_while_one_writes(kway: Bench, clock: Time) -> None:
    """In a better answer enter is a line break and no vote: only its own keys are offered. A note names its own too."""
    async with ranking(kway, clock) as (pilot, _, press):
        assert "rest worse" in drawn(pilot.app).splitlines()[-1]
        await press("e")
        assert drawn(pilot.app).splitlines()[-1].split() == ["f1", "help", "^d", "keep", "esc", "leave"]
        await press("escape", "n")
        assert drawn(pilot.app).splitlines()[-1].split() == ["f1", "help", "⏎", "keep", "esc", "leave"]


async def test_with_nothing_to_rank_nothing_is_offered_to_skip(empty_bench: Bench, clock: Time) -> None:
    """Neither votes nor skip are in the footer of an empty queue."""
    async with ranking(empty_bench, clock) as (pilot, _, _press):
        assert drawn(pilot.app).splitlines()[-1].split() == ["?", "help", "u", "undo"]
