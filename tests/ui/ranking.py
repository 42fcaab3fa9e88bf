"""Rank under a test's hands: its clock, the app with an item painted, and the votes it stored."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from screens.app import BenchApp
from screens.rank import RankScreen
from screens.rank_board import Clocks, RankBoard
from tests.ui.conftest import settle
from workbench.bench import Bench
from workbench.records import Ranking

NOON = 1_780_000_000.0


class Time:
    """A clock that the test moves; every `press` moves it by a second, so that the guards let it through.

    It moves only while what was turned to is painted: a paint that comes late would start the guard's time anew.
    """

    def __init__(self) -> None:
        self.now = 100.0
        self.turned = 0
        self.painted = 0

    def __call__(self) -> float:
        return self.now


def moved_by_hand(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Rank goes by the returned clock, which knows what is painted."""
    found = Time()
    turn, paint = RankBoard._turn_to_item, RankBoard._painted

    def turned(board: RankBoard) -> None:
        found.turned += 1
        turn(board)

    def painted(board: RankBoard) -> None:
        paint(board)
        found.painted += 1

    monkeypatch.setattr(RankBoard, "_turn_to_item", turned)
    monkeypatch.setattr(RankBoard, "_painted", painted)
    monkeypatch.setattr(RankBoard, "clocks", Clocks(found, lambda: NOON))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    return found


Press = Callable[..., Awaitable[None]]


async def still(pilot: Pilot[Any], clock: Time) -> None:
    """Waits until the session is open and every item turned to is painted."""
    for _ in range(1_000):
        await settle(pilot)
        if clock.turned and clock.painted >= clock.turned:
            return
        await pilot.pause(0.01)
    pytest.fail("the item was never painted")


@asynccontextmanager
async def ranking(bench: Bench, clock: Time, size: tuple[int, int] = (80, 24)) -> Any:
    """The app on Rank with a pair drawn; yields (pilot, screen, press)."""
    app = BenchApp(bench, "rank")
    clock.turned = clock.painted = 0
    async with app.run_test(size=size) as pilot:
        await still(pilot, clock)
        screen = app.screen
        assert isinstance(screen, RankScreen)

        async def press(*keys: str) -> None:
            for key in keys:
                clock.now += 1.0
                await pilot.press(key)
                while clock.painted < clock.turned:
                    await pilot.pause(0.01)
            await pilot.pause()

        yield pilot, screen, press


def votes(bench: Bench) -> list[Ranking]:
    return bench.store.rankings(judge="person")
