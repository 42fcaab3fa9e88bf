"""A person's own keys: they work, every place that names keys shows them, and mistakes are told, never a crash."""

from __future__ import annotations

import pytest
from textual.binding import Binding, BindingsMap

from screens.app import BenchApp
from screens.keymap import key_named, known_ids, rebind, understood
from screens.widgets.keys import KeyRow
from tests.ui.conftest import drawn, settle
from tests.ui.ranking import Time, ranking, votes
from workbench import paths
from workbench.bench import Bench


def write(text: str) -> None:
    paths.home().mkdir(parents=True, exist_ok=True)
    paths.config_file().write_text(text, encoding="utf-8")


async def test_a_chosen_key_does_it_and_the_old_one_no_more(bench: Bench) -> None:
    """Home's t becomes ctrl+n and app.data f2: both work and are shown in footer, tabs, help; t does nothing."""
    write('[keys]\nhome.train = "ctrl+n"\n"app.data" = ["f2", "D"]\n')
    app = BenchApp(bench)
    async with app.run_test(size=(80, 40)) as pilot:
        await settle(pilot)
        assert "^n train" in drawn(app).splitlines()[-1]
        assert " f2 Data" in drawn(app).splitlines()[0]
        await pilot.press("question_mark")
        await settle(pilot)
        assert "^n " in drawn(app)
        assert "f2 D " in drawn(app)
        await pilot.press("n")
        await settle(pilot)
        assert 'home.train = "ctrl+n"' in drawn(app)
        await pilot.press("escape", "t", "3")
        await settle(pilot)
        assert app.current_mode == "home"
        assert len(app.screen_stack) == 1
        await pilot.press("D")
        await settle(pilot)
        assert app.current_mode == "data"


async def test_voting_keys_can_be_chosen(bench: Bench, kway: Bench, clock: Time) -> None:
    """h and l vote between two; among four h places A, and 1 still looks at it though it is no vote any more."""
    write('[keys]\nrank.left = "h"\nrank.right = ["l", "f"]\nrank.place_a = "h"\n')
    async with ranking(bench, clock) as (pilot, screen, press):
        assert "h left" in drawn(pilot.app).splitlines()[-1]
        left = screen.item.shown[0]
        await press("h", "f")
    first, second = votes(bench)
    assert first.tiers[0] == (left,)
    assert second.verdict == "ranked"
    async with ranking(kway, clock) as (pilot, screen, press):
        await press("1", "h", "b")
        assert screen._locked == 0
        assert "A > B" in drawn(pilot.app)


async def test_mistakes_are_told_with_the_nearest_name(bench: Bench) -> None:
    """An unknown id, an unknown key, a wrong type: a sentence each, the rest is in use, and the app runs."""
    write('themes = 1\n[keys]\nrank.letf = "h"\nhome.train = "spcae"\nhome.last_run = 3\nhome.open = "o"\n')
    app = BenchApp(bench)
    async with app.run_test(size=(200, 50)) as pilot:
        await settle(pilot)
        assert "themes: there is no such setting" in drawn(app)
        await pilot.press("e")
        await settle(pilot)
        told = " ".join(drawn(app).replace("│", " ").split())

        assert "rank.letf: nothing has that name; the nearest is rank.left." in told
        assert "home.train = 'spcae': there is no such key; the nearest is space." in told
        assert "home.last_run: its keys are a text, or a list of texts." in told
        await pilot.press("escape")
        await settle(pilot)
        shown = [active.binding.key for active in app.screen.query_one(KeyRow).shown()]
        assert {"o", "t"} <= set(shown)


@pytest.mark.parametrize("text", ["[keys", "\x00", "keys = 3", "ascii = 'yes'"])
async def test_a_broken_file_is_told_and_changes_nothing(bench: Bench, text: str) -> None:
    """A file that is no TOML, or holds something else, is one sentence in the status row."""
    write(text)
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "✗ config.toml:" in drawn(app)
        await pilot.press("3")
        await settle(pilot)
        assert app.current_mode == "data"


def test_keys_are_read_as_a_person_writes_them() -> None:
    """Letters, signs, names and modifiers are keys; others are not."""
    given = ["h", "H", "?", "+", "/", ",", "ctrl+n", "ctrl+pagedown", "space", "f5", "question_mark", "section_sign"]
    names = [
        "h", "H", "question_mark", "plus", "slash", "comma", "ctrl+n", "ctrl+pagedown", "space", "f5", "question_mark",
        "section_sign",
    ]  # fmt: skip

    assert [key_named(text) for text in given] == names
    assert [key_named(text) for text in ("", "spcae", "strg+n", "ctrl+", "\t", "f99", "hh")] == [None] * 7
    assert understood({"a.b": ("x", "nope")})[0] == {"a.b": ("x",)}


def test_a_chosen_key_comes_first_and_takes_nothing_away() -> None:
    """Of two bindings on `a` the chosen one is tried first; the other stays, and so does the order of the rest."""
    bindings = BindingsMap([Binding("z", "zoom", id="z"), Binding("a", "add", id="a"), Binding("b,c", "back", id="b")])
    rebind(bindings, {"b": ("a", "q"), "gone": ("x",)})

    assert [(key, binding.id) for key, binding in bindings] == [("z", "z"), ("a", "b"), ("a", "a"), ("q", "b")]


def test_ids_are_words_that_need_no_quotes() -> None:
    """Every id can stand in TOML as it is, and none is the beginning of another."""
    ids = known_ids()

    assert {"rank.left", "rank.place_f", "home.train", "app.data", "live.log", "list.filter"} <= ids
    assert [name for name in ids if not name.replace(".", "").replace("_", "").isalnum()] == []
    assert [name for name in ids if any(other.startswith(f"{name}.") for other in ids)] == []
