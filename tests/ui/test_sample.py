"""Sample: the form, the order it makes, and a run followed to its end."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from screens.app import BenchApp
from screens.sample import SampleScreen
from tests.fake_worker import FakeWorker, make_job
from tests.ui.conftest import SIZES, asked, drawn, settle, until
from workbench.bench import Bench
from workbench.events import Completed, Finished, Planned, Started, Step, Stopped
from workbench.job import BaseRef
from workbench.next_step import NextStep
from workbench.records import ImportReport, NewPrompt


def sampling(bench: Bench, made: int = 3) -> FakeWorker:
    """A sampling run at work, with three of its eight completions made."""
    job = make_job(
        kind="sample", action="transformers", base=BaseRef("bundled", "bundled"), settings={"n": 2},
        counts={"prompts": 4, "completions": 8},
    )  # fmt: skip
    worker = FakeWorker(bench.runs.create(job, {"prompts": []})).sign_in()
    answers = [Completed(prompt_id=p, n=0, text=f"Answer to prompt {p}.", tokens=5) for p in range(1, made + 1)]
    worker.write(Started(), Planned(total_steps=8), *answers)
    return worker.write(Step(step=made, metrics={"completions_per_second": 2.5})) if made else worker


@pytest.mark.parametrize("size", SIZES)
def test_sample_looks_right(bench: Bench, size: tuple[int, int], snap_compare: Any) -> None:
    """The form with its help, and the run's progress and latest completions."""
    sampling(bench).leave(Stopped(step=3))

    async def open_sample(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        await pilot.press("4")
        await settle(pilot)

    assert snap_compare(BenchApp(bench), terminal_size=size, run_before=open_sample)


async def test_a_run_is_followed_stored_and_can_be_stopped(bench: Bench) -> None:
    """Progress and completions show as they come, they reach the store, x asks for a stop, and then c is offered."""
    worker = sampling(bench)
    before = bench.store.counts().completions
    app = BenchApp(bench, "sample")
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)

        assert "3/8" in drawn(app)
        assert "2.5 completions/s" in drawn(app)
        assert "Answer to prompt 3." in drawn(app)
        assert app.screen.why_not("start")  # type: ignore[attr-defined]
        await pilot.press("x")
        await settle(pilot)

        assert worker.paths.stop_request.exists()
        worker.leave(Stopped(step=3))
        app.look_at_runs()
        app.screen._look()  # type: ignore[attr-defined]  # the timer's look, now
        await settle(pilot)

        assert "stopped" in drawn(app)
        assert not app.screen.why_not("go_on")  # type: ignore[attr-defined]
        assert bench.store.counts().completions == before + 3


@pytest.mark.parametrize(("made", "told"), [(3, "3 completions are here: press 5"), (0, "Nothing was sampled.")])
async def test_the_end_of_a_run_says_what_is_there_to_rank(bench: Bench, made: int, told: str) -> None:
    """Stopped before its first answer it sends nobody to rank nothing."""
    worker = sampling(bench, made)
    app = BenchApp(bench, "sample")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        worker.leave(Stopped(step=made))
        app.screen._look()  # type: ignore[attr-defined]  # the timer's look, now
        await until(pilot, told)


async def test_the_form_makes_the_order(bench: Bench) -> None:
    """What is chosen in the form is what would be sampled: which prompts, how many, with which settings."""
    app = BenchApp(bench, "sample")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)

        assert "24 completions" in drawn(app)  # six prompts without any, four each
        await pilot.press("j", "right", "right")
        await settle(pilot)
        await pilot.press("j", "enter", "2", "enter")
        await settle(pilot)
        screen = app.screen

        assert isinstance(screen, SampleScreen)
        assert screen._choices is not None
        order = screen._order_of(screen._choices)

        assert (order.source, order.split, order.prompts) == (None, "held_out", 2)
        assert "8 completions" in drawn(app)


async def test_without_prompts_starting_says_what_to_do(empty_bench: Bench) -> None:
    """An empty project's s is greyed and gives the reason with the next key."""
    app = BenchApp(empty_bench, "sample")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("s")
        await pilot.pause()

        assert "press 3, then i" in drawn(app)


async def test_the_next_step_and_the_limit_speak_of_this_screen(bench: Bench) -> None:
    """The status row names s and not 4; no limit reads `all`; a wrong limit is told by the field's label.

    Tags that demonstrations have can be picked.
    """
    tagged = [(0, "Low.", (("quality", "low"),))]
    bench.store.add_import(ImportReport("tagged.jsonl", "prompts"), [NewPrompt(asked("Which?"))], tagged)
    app = BenchApp(bench, "sample")
    async with app.run_test(size=(100, 24)) as pilot:
        await settle(pilot)
        app.next_step = NextStep("completions", "4", "answer: press 4", "answer: press s")
        app.dress(app.screen)  # type: ignore[arg-type]  # it is Sample
        await pilot.press("j", "j")
        await pilot.pause()

        assert "answer: press s" in drawn(app)
        assert "all prompts" in drawn(app)
        await pilot.press("enter", "ctrl+u", "9", "9")
        await pilot.pause()

        assert "At most = 99 is above its greatest value" in drawn(app)
        await pilot.press("escape", "a", "G", "k", "k", "right")
        await settle(pilot)

        assert "‹ quality=low ›" in drawn(app)


async def test_a_prompt_is_named_once_over_its_answers(bench: Bench) -> None:
    """Several answers to a prompt stand under it together, and the end of sampling is no talk of steps."""
    more = [Completed(prompt_id=1, n=n, text=f"Another answer, number {n}.", tokens=5) for n in (1, 2)]
    sampling(bench).write(*more).leave(Finished(step=3))
    app = BenchApp(bench, "sample")
    async with app.run_test(size=(200, 50)) as pilot:
        await settle(pilot)
        text = drawn(app)
        assert "Another answer, number 1." in text
        assert text.count(f"› {bench.store.prompt(1).text}") == 2  # the newest two together, and the first by itself
        assert "at step" not in text
