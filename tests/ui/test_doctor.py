"""Doctor: checks with their state in a word, the troubled ones first, and what to do about them."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from screens.app import BenchApp
from screens.doctor import Examined
from tests.ui.conftest import SIZES, drawn, settle
from workbench.bench import Bench
from workbench.doctor import Check

CHECKS = [
    Check("Python", "ok", "3.12.1"),
    Check("cmake", "problem", "not found", "Install it with your system's packages, then: make run."),
    Check("GPU", "warning", "an old driver", "Update the driver to 570 or newer."),
]


async def open_doctor(pilot: Pilot[Any]) -> None:
    """Doctor with fixed checks in place of this machine's."""
    await settle(pilot)
    await pilot.press("9")
    await settle(pilot)
    pilot.app.screen.post_message(Examined(CHECKS))
    await pilot.pause()
    await pilot.press("g")
    await settle(pilot)


@pytest.mark.parametrize("size", SIZES)
def test_doctor_looks_right(bench: Bench, size: tuple[int, int], snap_compare: Any) -> None:
    """The table, and below it what to do about the highlighted check."""
    assert snap_compare(BenchApp(bench), terminal_size=size, run_before=open_doctor)


async def test_troubles_come_first_with_their_fix(bench: Bench) -> None:
    """The problem is on top, highlighted, and its fix is read at once; a fine check needs nothing."""
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_doctor(pilot)
        lines = drawn(app).splitlines()
        places = [next(i for i, text in enumerate(lines) if name in text) for name in ("cmake", "GPU", "Python")]

        assert places == sorted(places)
        assert "then: make run." in drawn(app)
        await pilot.press("G")
        await settle(pilot)

        assert "Nothing: this is as it should be." in drawn(app)
