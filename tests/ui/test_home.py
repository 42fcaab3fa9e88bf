"""Home: the loop with counts, the next step, and the ways from there."""

from __future__ import annotations

import time
from typing import Any

import pytest

from screens.app import BenchApp
from screens.home import StageRow
from screens.live import LiveScreen
from tests.fake_worker import FakeWorker, make_job
from tests.ui.conftest import SIZES, asked, drawn, settle
from workbench.bench import Bench
from workbench.events import Completed, Failed, Finished, Planned, Started, Step, Stopped
from workbench.job import BaseRef
from workbench.records import NewPrompt, Origin


def add_runs(bench: Bench) -> None:
    """An SFT run, a DPO run on it that failed, and a sampling run, two hours old."""
    created = time.time() - 7_230
    base = BaseRef("bundled", "bundled")
    jobs = (
        make_job(name="manners", base=base, created=created),
        make_job(action="dpo", base=base, parent="0001", created=created),
        make_job(kind="sample", action="transformers", base=base, parent="0001", created=created),
    )
    endings = (Finished(step=40), Failed(message="It diverged."), Finished(step=6))
    for job, ending in zip(jobs, endings, strict=True):
        worker = FakeWorker(bench.runs.create(job, {"train": []})).sign_in()
        worker.write(Started(), Planned(total_steps=40), Step(step=6, seconds=1.0)).leave(ending)


@pytest.mark.parametrize("size", SIZES)
def test_home_looks_right(tiny_bench: Bench, size: tuple[int, int], snap_compare: Any) -> None:
    """The loop is legible at 80×24; at 200×50 lineage and recent runs stand beside it."""
    add_runs(tiny_bench)
    assert snap_compare(BenchApp(tiny_bench), terminal_size=size, run_before=settle)


async def test_home_counts_the_loop_and_stands_on_the_next_step(bench: Bench) -> None:
    """Each row has its count, the sentence names a key, and the cursor waits on the row to do next."""
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        counts = {row.id: row.state.count for row in app.screen.query(StageRow)}

        assert counts == {
            "stage-prompts": 12, "stage-completions": 12, "stage-rankings": 0, "stage-runs": 0, "stage-exports": 0,
        }  # fmt: skip
        assert "press t to train on 8 demonstrations" in drawn(app)
        assert app.focused is not None
        assert app.focused.id == "stage-runs"


async def test_home_keys_go_round_the_loop(bench: Bench) -> None:
    """j, k, g and G move, enter goes where the row says, t opens the form for the method that is due."""
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("g", "j", "enter")
        await settle(pilot)

        assert app.current_mode == "sample"
        await pilot.press("q")
        await pilot.press("t")
        await settle(pilot)

        assert "‹ sft ›" in drawn(app)
        await pilot.press("escape")
        await pilot.pause()

        assert app.current_mode == "home"


async def test_an_empty_project_names_the_key_that_fills_it(empty_bench: Bench) -> None:
    """Without data Home and Data both say how to bring some in."""
    app = BenchApp(empty_bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)

        assert "bring in data: press 3, then i" in drawn(app)
        await pilot.press("3")
        await settle(pilot)

        assert "Press  i  to import a file." in drawn(app)


async def test_l_shows_the_run_at_work_before_a_newer_one(bench: Bench) -> None:
    """Run 0002 was stopped while 0001 trains: l opens 0001."""
    FakeWorker(bench.runs.create(make_job(), {"train": []})).sign_in().write(Started(), Planned(total_steps=40))
    FakeWorker(bench.runs.create(make_job(), {"train": []})).sign_in().leave(Stopped(step=0))
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("l")
        await settle(pilot)

        assert isinstance(app.screen, LiveScreen)
        assert app.screen.run_id == "0001"


async def test_home_says_when_there_is_nothing_to_choose(empty_bench: Bench) -> None:
    """Where all answers to a prompt are one text no prompt waits, and Home says why."""
    [prompt] = empty_bench.store.add_prompts([NewPrompt(asked("hello"))])
    rows = [Completed(prompt_id=prompt, n=n, text="the same") for n in range(2)]
    empty_bench.store.add_completions("0001", Origin("bundled"), rows)
    app = BenchApp(empty_bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)

        assert "1 prompt has identical answers" in drawn(app)
        assert "wait" not in drawn(app)
