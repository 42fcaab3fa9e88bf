"""What a screen does before it is first drawn, so that it is drawn once and right."""

from __future__ import annotations

import pytest
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Static

from screens.app import BenchApp
from screens.base import BenchScreen
from tests.ui.conftest import settle
from tests.ui.quick import paint_at_once
from workbench.bench import Bench


class Seeing(BenchScreen):
    """A screen that keeps the classes it had when it was put together, and counts how often its text is drawn."""

    seen: frozenset[str] = frozenset()

    def content(self) -> ComposeResult:
        self.seen = frozenset(self.classes)
        yield Counted("drawn")


class Counted(Static):
    """Text that counts its drawings."""

    drawn = 0

    def render(self) -> str:
        self.drawn += 1
        return "drawn"


async def test_a_screen_knows_its_size_before_it_is_drawn(bench: Bench) -> None:
    """At 80×24 a screen is narrow and compact when its widgets are made, so the first picture is the final one."""
    screen = Seeing()
    async with BenchApp(bench).run_test(size=(80, 24)) as pilot:
        await pilot.app.push_screen(screen)

        assert screen.seen >= {"-narrow", "-compact"}


async def test_nothing_is_drawn_while_drawing_is_held_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a batch no picture is made; after it, one with everything that changed."""
    monkeypatch.setattr(Screen, "_compositor_refresh", paint_at_once)
    screen = Seeing()
    async with BenchApp(bench).run_test(size=(80, 24)) as pilot:
        await pilot.app.push_screen(screen)
        await pilot.pause()
        text = screen.query_one(Counted)
        before = text.drawn
        with pilot.app.batch_update():
            text.refresh()
            screen._compositor.update_widgets({text})
            screen._compositor_refresh()

            assert text.drawn == before
        screen._compositor_refresh()

        assert text.drawn == before + 1


async def test_an_app_begins_on_the_place_it_was_asked_for(bench: Bench) -> None:
    """Home is not made on the way to Runs, and is where esc leads from there."""
    app = BenchApp(bench, "runs")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)

        assert app.current_mode == "runs"
        assert list(app._screen_stacks) == ["runs"]
        await pilot.press("escape")
        await settle(pilot)
        assert app.current_mode == "home"
