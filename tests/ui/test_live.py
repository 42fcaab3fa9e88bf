"""A run's screen, over recorded logs: figures, words, endings with their next keys, and a log that grows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import pytest
from textual.pilot import Pilot

from screens.app import BenchApp
from screens.live import LiveScreen
from screens.messages import OpenRun
from screens.widgets.chart import LineChart
from tests.fake_worker import FakeWorker, make_job
from tests.ui.conftest import HOSTILE, drawn, settle, until
from workbench.bench import Bench
from workbench.events import (
    Alive,
    Evaluated,
    Event,
    Exported,
    Failed,
    Finished,
    Note,
    Planned,
    Saved,
    Started,
    Step,
    Verified,
    Watched,
)
from workbench.runs import Run


def recorded(steps: int, total: int, method: str = "sft") -> Iterable[Event]:
    """A log without chance in it, written just now."""
    began = time.time() - steps
    yield Started(device="cpu", dtype="float32", t=began)
    yield Planned(total_steps=total, examples=640, trainable_parameters=420_000, total_parameters=3_400_000, t=began)
    yield Note(text="12 rows are longer than 256 tokens and were cut.", t=began)
    for n in range(1, steps + 1):
        wave = math.sin(n) / 20
        metrics: dict[str, float | None] = {"learning_rate": 1e-3 * (1 - n / total), "grad_norm": 1 + wave}
        if method == "dpo":
            metrics |= {"loss": 0.693 - 0.3 * (1 - math.exp(-n / 40)) + wave, "reward_margin": n / 100 + wave}
            metrics |= {"reward_accuracy": min(1.0, 0.5 + n / 300), "chosen_logp": -30.0, "rejected_logp": -30 - n / 20}
        else:
            metrics |= {"loss": 0.5 + 2 * math.exp(-n / 40) + wave, "mean_token_accuracy": 0.9 - math.exp(-n / 40) / 2}
        yield Step(step=n, metrics=metrics, seconds=1.0, tokens=1_000, t=began + n)
        if n % 50 == 0:
            yield Evaluated(step=n, metrics={"loss": 0.6 + 2 * math.exp(-n / 40)}, t=began + n)
            yield Watched(step=n, samples=[["Say the opposite of tall.", f"answer of step {n}"]], t=began + n)
            yield Saved(step=n, path=f"step-{n}", size_bytes=1_700_000, seconds=0.2, t=began + n)
            yield Alive(step=n, memory_bytes=1 << 30, t=began + n)


def made(bench: Bench, method: str = "sft") -> tuple[Run, FakeWorker]:
    run = bench.runs.create(make_job(action=method, created=time.time()), {"train": [{"n": 1}]})
    return run, FakeWorker(run).sign_in()


async def opened(pilot: Pilot[Any], run: Run) -> LiveScreen:
    pilot.app.post_message(OpenRun(run.id))
    await settle(pilot)
    screen = pilot.app.screen
    assert isinstance(screen, LiveScreen)
    return screen


async def test_a_running_run_grows_on_screen_and_its_death_is_told(bench: Bench) -> None:
    """Figures and verdict come from the log; steps written later appear; a dead worker is called dead, r resumes."""
    run, worker = made(bench)
    worker.write(*recorded(60, 200))
    async with BenchApp(bench).run_test(size=(80, 24)) as pilot:
        await opened(pilot, run)
        text = drawn(pilot.app)
        for expected in ("▶ running", "60/200", "Learning: training loss", "Loss", "● training", "◆ held out"):
            assert expected in text
        worker.write(Step(step=61, metrics={"loss": 0.5}, seconds=1.0, tokens=1_000))
        await until(pilot, "61/200")
        assert drawn(pilot.app).splitlines()[-2].count("61/200") == 1  # the status row is not behind
        worker.die()
        await until(pilot, "† died")
        assert "r resume" in drawn(pilot.app)


async def test_one_chart_at_a_time_where_it_is_narrow_and_six_where_it_is_wide(bench: Bench) -> None:
    """tab goes through the charts at 80 columns; at 200 six are beside each other, and z shows one of them."""
    run, worker = made(bench, "dpo")
    worker.write(*recorded(60, 200, "dpo"))
    async with BenchApp(bench).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, run)
        await pilot.press("tab")
        await until(pilot, "Reward margin")
        assert "2 of 8" in drawn(pilot.app)
        assert [chart.display for chart in screen.query(LineChart)].count(True) == 1
        await pilot.resize_terminal(200, 50)
        await until(pilot, "samples through time")
        text = drawn(pilot.app)
        for title in ("Loss", "Reward margin", "Reward accuracy", "Log-probability", "Learning rate", "Gradient norm"):
            assert title in text
        assert [chart.display for chart in screen.query(LineChart)].count(True) == 6
        await pilot.press("z", "y", "A", "left_square_bracket")
        await until(pilot, "log · full range · last 50%")
        assert [chart.display for chart in screen.query(LineChart)].count(True) == 1


async def test_keys_of_charts_are_offered_while_charts_are_seen(bench: Bench) -> None:
    """Beside the log or the samples nothing says that tab shows another chart, and it does not turn one unseen."""
    run, worker = made(bench, "dpo")
    worker.write(*recorded(60, 200, "dpo"))
    async with BenchApp(bench).run_test(size=(200, 50)) as pilot:
        await opened(pilot, run)
        assert "charts 1-6 of 8" in drawn(pilot.app)
        assert "tab next chart" in drawn(pilot.app)
        await pilot.press("w", "tab")
        await pilot.pause()
        assert "charts 1-6 of 8" not in drawn(pilot.app)
        assert "tab next chart" not in drawn(pilot.app)
        await pilot.press("w", "z")
        await until(pilot, "chart 1 of 8")


async def test_a_run_that_learns_from_a_reward_tells_it_in_the_status_row(bench: Bench) -> None:
    """Its loss says nothing, so it is the reward that every screen shows."""
    _, worker = made(bench, "ppo")
    worker.write(Started(), Planned(total_steps=9))
    worker.write(Step(step=1, metrics={"loss": 0.0289, "reward": -0.478}, seconds=1.0))
    async with BenchApp(bench).run_test(size=(80, 24)) as pilot:
        await until(pilot, "reward -0.478")
        assert "loss" not in drawn(pilot.app)


async def test_an_export_tells_its_checks_in_sentences(bench: Bench) -> None:
    """Sizes are those of the list of exports; figures stand alone only where no sentence has them."""
    run = bench.runs.create(make_job(kind="export", action="gguf"), {})
    worker = FakeWorker(run).sign_in().write(Started(), Planned(total_steps=2))
    worker.write(Exported(target="merged", path="/x/merged", size_bytes=6_900_000))
    figures = {"greedy_agreement": 1.0, "mean_kl": 4e-9}
    worker.write(Verified("merged", "answers", True, figures, "all of 182 greedy tokens agree"))
    worker.write(Verified("merged", "tokens", True, {"left_out": 0}))
    async with BenchApp(bench).run_test(size=(80, 24)) as pilot:
        await opened(pilot, run)
        text = drawn(pilot.app)

    for expected in ("/x/merged  6.9 MB", "merged answers  all of 182 greedy tokens agree", "left out 0"):
        assert expected in text
    assert "mean" not in text


async def test_endings_say_what_happened_and_what_to_press(bench: Bench) -> None:
    """Finished names s, e and c, which then work; failed gives sentence and hint; log and samples are a key away."""
    good, worker = made(bench)
    worker.write(*recorded(100, 100))
    good.paths.model.mkdir()
    good.paths.log.write_text("loading\n\x1b[31mred [/] words\nbars \r at 0%\rbars at 100%\n")
    worker.leave(Finished(step=100))
    bad, worker = made(bench)
    worker.write(*recorded(30, 100))
    hint = "Use micro-batch 1." + " Or less." * 20
    worker.leave(Failed(kind="out_of_memory", message="The card is full.", hint=hint))
    async with BenchApp(bench).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, good)
        assert "s sample from it  e export it  c chat with it" in drawn(pilot.app)
        assert screen.check_action("sample", ()) is True
        assert screen.check_action("stop", ()) is None
        await pilot.press("l")
        await until(pilot, "red [/] words")
        assert "\x1b" not in drawn(pilot.app)
        assert "bars at 100%" in drawn(pilot.app)
        assert "at 0%" not in drawn(pilot.app)
        await pilot.press("w")
        await until(pilot, "answer of step 100")
        assert "answer of step 50" in drawn(pilot.app)
        await pilot.press("escape")
        await until(pilot, "Loss")
        await pilot.press("escape")
        screen = await opened(pilot, bad)
        assert "The card is full. Use micro-batch 1." in drawn(pilot.app)
        assert "  r resume  l log" in drawn(pilot.app)
        assert screen.check_action("resume", ()) is True
        assert screen.check_action("chat", ()) is None


async def test_diverged_and_hostile_logs_are_shown_as_text(bench: Bench) -> None:
    """Null losses, unreadable lines, and notes full of escapes: words on screen, nothing more."""
    run, worker = made(bench)
    worker.write(*recorded(30, 100), *(Step(step=n, metrics={"loss": None}, seconds=1.0) for n in range(31, 40)))
    worker.write(Note(text=HOSTILE[0]), Note(text=HOSTILE[1]), Watched(step=39, samples=[[HOSTILE[1], HOSTILE[0]], []]))
    worker.write_bytes(b"not an event\n")
    async with BenchApp(bench).run_test(size=(200, 50)) as pilot:
        await opened(pilot, run)
        text = drawn(pilot.app)
        assert "not a number since step 31" in text
        assert "1 lines of its log cannot be read" in text
        assert "[@click=app.quit]click me[/]" in text
        assert "\x1b" not in text


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_a_finished_run_looks_as_it_should(snap_compare: Any, bench: Bench, size: tuple[int, int]) -> None:
    """One chart with its words at 80 columns; six, with notes and samples below, at 200."""
    run, worker = made(bench, "dpo")
    worker.write(*recorded(200, 200, "dpo"))
    run.paths.model.mkdir()
    worker.leave(Finished(step=200))

    async def show(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        await opened(pilot, run)

    assert snap_compare(BenchApp(bench), terminal_size=size, run_before=show)


async def test_a_sampling_run_is_called_so_and_offers_no_fixed_prompts(bench: Bench) -> None:
    """Its name says what it does, not which library does it; w is for runs that train."""
    run = bench.runs.create(make_job(kind="sample", action="transformers"), {"prompts": []})
    FakeWorker(run).sign_in().write(Started(), Planned(total_steps=2), Step(step=1, seconds=1.0)).leave(
        Finished(step=2)
    )
    async with BenchApp(bench).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, run)
        assert "0001 sampling" in drawn(pilot.app)
        assert "5 rank its answers" in drawn(pilot.app)
        assert screen.check_action("show", ("watched",)) is False
        assert screen.check_action("show", ("log",)) is True
