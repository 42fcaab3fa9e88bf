"""Pasted text and keys in one go: what a terminal sends in one piece means what was typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from textual import events
from textual.drivers import linux_driver
from textual.message import Message
from textual.widgets import Input

from screens import pasting
from screens.app import BenchApp
from screens.pasting import BEGIN, END, PasteParser
from tests.ui.conftest import settle, until
from tests.ui.terminal import terminal
from tests.ui.test_train import open_form
from workbench.bench import Bench

HOSTILE = "a\x1b b1234\x1b]0;dcba\x07\x1b[Au\x1b\x1b"


def told(pieces: Iterable[str]) -> list[str]:
    """The keys and pastes that come of what a terminal sends in these pieces."""
    parser = PasteParser()
    found: list[Message] = [message for piece in pieces for message in parser.feed(piece)]
    return [
        f"paste {message.text}" if isinstance(message, events.Paste) else message.key
        for message in found
        if isinstance(message, events.Paste | events.Key)
    ]


def whole(text: str) -> list[str]:
    return [text]


def halves(text: str) -> list[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]]


def letters(text: str) -> list[str]:
    return list(text)


@pytest.mark.parametrize("cut", [whole, halves, letters])
def test_escapes_in_a_paste_make_no_keys(cut: Callable[[str], list[str]]) -> None:
    """However the bytes are cut, keys around two pastes stay keys and each paste is one, without its escapes."""
    sent = f"x{BEGIN}{HOSTILE}{END}y{BEGIN}plain{END}z"

    assert told(cut(sent)) == ["x", "paste a b1234]0;dcba\x07[Au", "y", "paste plain", "z"]


def test_outside_a_paste_escape_sequences_are_the_keys_that_they_were() -> None:
    """Arrows, alt and what merely looks like the beginning of a paste go through as they are."""
    assert told(["\x1b[A", "\x1b[1;5C", "\x1b[20~"]) == ["up", "ctrl+right", "f9"]


OPENED = """
import sys
from pathlib import Path
from screens.app import run_app
from workbench.bench import Bench
sys.exit(run_app(Bench.open(Path(sys.argv[1]))))
"""


def test_a_paste_in_a_real_terminal_presses_nothing(bench: Bench) -> None:
    """Textual reads its terminal with our parser: a paste that holds an escape and then `3` does not open Data."""
    with terminal(OPENED, bench.paths.root) as app:
        app.until(b"no run active")
        app.type(f"{BEGIN}\x1b 3{END}")
        app.type("?")
        app.until(b"Go to the highlighted part of the loop")
        app.type("\x11")

        assert app.wait() == 0
    assert b"/ filter" not in app.shown


async def test_keys_in_one_go_keep_their_order(bench: Bench) -> None:
    """Letters do not overtake a key that is bound: erasing, writing and taking a value come out as typed."""
    async with BenchApp(bench).run_test(size=(80, 24)) as pilot:
        await open_form(pilot)
        await pilot.press("j", "j", "j", "enter")
        for key in ("a", "b", "backspace", "c", "home", "d", "end", "e", "enter", "j"):
            pilot.app.simulate_key(key)
        await until(pilot, "dace")
        await settle(pilot)

        assert not pilot.app.screen.query_one(Input).display


async def test_a_paste_in_one_go_with_keys_keeps_its_place(bench: Bench) -> None:
    """What is pasted between two keys lands between them."""
    async with BenchApp(bench).run_test(size=(80, 24)) as pilot:
        await open_form(pilot)
        await pilot.press("j", "j", "j", "enter", "a")
        pilot.app.simulate_key("backspace")
        pilot.app.post_message(events.Paste("pasted"))
        pilot.app.simulate_key("home")
        pilot.app.simulate_key("b")
        await until(pilot, "bpasted")


async def test_a_key_whose_widget_goes_holds_up_the_others_only_a_moment(bench: Bench) -> None:
    """A widget that never reads what it was sent does not keep the rest of the keys."""
    async with BenchApp(bench).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        pilot.app._working = events.Key("x", "x")  # type: ignore[attr-defined]  # as if it never came up
        pilot.app.simulate_key("3")
        await until(pilot, "prompts 12")


def test_the_driver_still_has_a_parser_to_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Textual's driver for this system names its parser as we think it does."""
    monkeypatch.setattr(linux_driver, "XTermParser", linux_driver.XTermParser)
    pasting.guard(linux_driver.LinuxDriver)

    assert linux_driver.XTermParser is PasteParser  # type: ignore[comparison-overlap]  # put there a line above
