"""The training form: suggestions, changes with their bounds, what it says before starting, and the order it makes."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
from textual.pilot import Pilot

from screens.app import BenchApp
from screens.messages import ProjectChanged
from screens.train import TrainScreen
from screens.widgets.form import shown
from tests.ui.conftest import SIZES, asked, drawn, settle, until
from workbench import orders
from workbench.bench import Bench
from workbench.errors import SettingError
from workbench.presets import Preset
from workbench.records import ImportReport, NewPrompt
from workbench.runs import Run


async def open_form(pilot: Pilot[Any]) -> None:
    """The form, read and estimated."""
    await settle(pilot)
    await pilot.press("t")
    await settle(pilot)


@pytest.mark.parametrize("size", SIZES)
def test_the_form_looks_right(tiny_bench: Bench, size: tuple[int, int], snap_compare: Any) -> None:
    """Grouped settings, help for the one highlighted, a changed one marked, and what comes of it."""

    async def change_one(pilot: Pilot[Any]) -> None:
        await open_form(pilot)
        await pilot.press("j", "j", "j", "j", "j", "j", "enter", "3", "2", "enter")
        await settle(pilot)

    assert snap_compare(BenchApp(tiny_bench), terminal_size=size, run_before=change_one)


async def test_a_wrong_value_is_a_sentence_at_once_and_is_not_taken(bench: Bench) -> None:
    """While 9999 is typed the bound is told; enter does not take it, esc leaves it, u undoes a change, a shows all."""
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_form(pilot)
        await pilot.press("j", "j", "j", "j", "j", "j", "enter", "9", "9", "9", "9", "enter")
        await settle(pilot)

        assert "rank = 9,999 is above its greatest value 512." in drawn(app)
        await pilot.press("escape")
        await settle(pilot)

        assert "is above" not in drawn(app)
        await pilot.press("enter", "8", "enter")
        await settle(pilot)

        assert "* was 16" in drawn(app)
        await pilot.press("u")
        await settle(pilot)

        assert "* was 16" not in drawn(app)
        assert re.search(r"· [1-9][0-9]* more with a", drawn(app))
        await pilot.press("a")
        await settle(pilot)

        assert "more with a" not in drawn(app)


async def test_choices_turn_and_are_picked_from_a_list(bench: Bench) -> None:
    """Right takes the next choice, enter opens the list of them, and a method without data cannot be started.

    What is written freely can be picked as well where the project has something that suits, such as its tags.
    """
    tagged = [(0, answer, (("quality", answer),)) for answer in ("low", "high")]
    bench.store.add_import(ImportReport("tagged.jsonl", "prompts"), [NewPrompt(asked("Which?"))], tagged)
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_form(pilot)
        await pilot.press("j", "j", "j", "j", "enter")
        await settle(pilot)

        assert "quality    high, low" in drawn(app)
        await pilot.press("j", "enter")
        await settle(pilot)

        assert "‹ quality ›               * was empty" in drawn(app)
        await pilot.press("right", "g")
        await settle(pilot)

        assert "‹ none ›" in drawn(app)

        assert "‹ sft ›" in drawn(app)
        assert "✓ Fits" in drawn(app)
        await pilot.press("right")
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        await pilot.press("slash", "d", "p", "o", "enter")
        await settle(pilot)

        assert "‹ dpo ›" in drawn(app)
        assert "no pairs to train on" in drawn(app)
        await pilot.press("s")
        await settle(pilot)

        assert "There are no pairs to train on." in drawn(app)
        assert bench.runs.ids() == []


async def test_keys_before_the_form_is_read_wait_for_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enter, moves and digits typed while the project is still being read act in their order once the form is there."""
    read, choices = threading.Event(), orders.suggested_preset

    def slow(bench: Bench) -> Preset:
        read.wait(30)
        return choices(bench)

    monkeypatch.setattr(orders, "suggested_preset", slow)
    async with BenchApp(bench).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("t", "j", "j", "j", "j", "j", "j", "enter", "3", "2", "enter")

        assert "‹ sft ›" not in drawn(pilot.app)
        read.set()
        await until(pilot, "* was 16")


async def test_s_before_the_form_is_read_starts_once_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """t and s in one go start what the form suggests."""
    launched: list[Run] = []
    monkeypatch.setattr(bench.runs, "launch", launched.append)
    monkeypatch.setattr(BenchApp, "on_open_run", lambda self, message: None)
    async with BenchApp(bench).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("t")
        pilot.app.simulate_key("s")
        while not launched:
            await pilot.pause(0.02)

    assert [run.job.action for run in launched] == ["sft"]


async def test_enter_picks_what_the_filter_leaves(bench: Bench) -> None:
    """In a list to pick from enter picks at once, also while the filter is written; with nothing left it picks none."""
    async with BenchApp(bench).run_test(size=(80, 24)) as pilot:
        await open_form(pilot)
        await pilot.press("enter", "slash", *"rewxx", "enter")
        await settle(pilot)
        assert "enter picks" in drawn(pilot.app)
        await pilot.press("backspace", "backspace", "enter")
        await until(pilot, "‹ reward ›")
        assert "enter picks" not in drawn(pilot.app)


async def test_an_editor_stays_open_whatever_is_told_late(bench: Bench) -> None:
    """Moves and enter that come in one go leave the editor open, and so does a project that changes meanwhile."""
    async with BenchApp(bench).run_test(size=(80, 24)) as pilot:
        await open_form(pilot)
        for key in ("j", "j", "j", "j", "j", "j", "enter"):
            pilot.app.simulate_key(key)
        await settle(pilot)
        await pilot.press("3")
        pilot.app.post_message(ProjectChanged("a run has ended"))
        await settle(pilot)
        await pilot.press("2", "enter")
        await settle(pilot)

        assert isinstance(pilot.app.screen, TrainScreen)
        assert "‹" in drawn(pilot.app)
        assert "* was 16" in drawn(pilot.app)
        assert " 32 " in drawn(pilot.app)


async def test_starting_orders_exactly_what_the_form_says(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """s makes the run with the changed settings and the name, launches it, and the app opens it.

    Why it did not start before is not said any longer.
    """
    opened: list[str] = []
    monkeypatch.setattr(
        type(bench.runs), "launch", lambda self, run: None
    )  # the process's edge: no worker in this test
    monkeypatch.setattr(BenchApp, "on_open_run", lambda self, message: opened.append(message.run_id))
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_form(pilot)
        await pilot.press("j", "j", "j", "enter", "m", "i", "n", "e", "enter")
        await settle(pilot)
        await pilot.press("j", "j", "j", "enter", "8", "enter")
        await settle(pilot)
        app.show_error(SettingError("It did not start.", "Then change this."))
        await pilot.pause()

        assert "e details  Then change this." in drawn(app)
        await pilot.press("s")
        await settle(pilot)

        assert not isinstance(app.screen, TrainScreen)
        assert app.error is None
    job = bench.runs.get("last").job

    assert opened == [job.run]
    assert (job.action, job.name, job.settings["rank"], job.preset, job.parent) == ("sft", "mine", 8, "12gb", None)


def test_values_are_shown_as_a_person_writes_them() -> None:
    """No 0.00020000000000000001, no True."""
    assert [shown(value) for value in (2e-4, 1.0, True, 16, "auto")] == ["0.0002", "1", "yes", "16", "auto"]
