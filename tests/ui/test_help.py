"""Keys: the footer, the help and the palette are all made from the live bindings, so they cannot disagree."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from screens.app import PLACES, BenchApp
from screens.help import HelpScreen, grouped
from screens.widgets.keys import MOST_KEYS, KeyRow, shown_bindings
from tests.ui.conftest import drawn, fill, settle
from workbench.bench import Bench

WALK = ("1", "2", "3", "4", "9", "1", "t")


@dataclass(frozen=True)
class Seen:
    """What one screen said of its keys."""

    key: str
    live: set[str]
    helped: set[str]
    footer: str
    shown: list[str]
    """Descriptions of the keys that the footer drew."""
    wanted: list[str]
    first: str
    palette: set[str]
    offered: set[str]
    """What of the footer can be used now, as the palette should call it."""
    untold: list[str]
    """Bindings of ours with an id whose tooltip is no sentence."""


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    """One walk through the screens, written down; the app is started once for all the tests of this file."""
    seen: list[Seen] = []

    async def go() -> None:
        bench = fill(Bench.create(tmp_path_factory.mktemp("walk") / "demo"))
        app = BenchApp(bench)
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            for key in WALK:
                await pilot.press(key)
                await settle(pilot)
                seen.append(look(app, key))
        bench.close()

    asyncio.run(go())
    return seen


def look(app: BenchApp, key: str) -> Seen:
    """Writes down what the present screen says of its keys."""
    active = list(app.screen.active_bindings.values())
    shown = app.screen.query_one(KeyRow).shown()
    wanted = shown_bindings(app.screen)
    ours = [a.binding for a in active if type(a.node).__module__.startswith("screens") and a.binding.id]
    return Seen(
        key=key,
        live={app.get_key_display(a.binding) for a in active},
        helped={one for _, rows in grouped(app.screen) for keys, _, _ in rows for one in keys.split(" ")},
        footer=drawn(app).splitlines()[-1],
        shown=[a.binding.description for a in shown],
        wanted=[a.binding.description for a in wanted],
        first=shown[0].binding.action,
        palette={command.title for command in app.get_system_commands(app.screen)},
        offered={a.binding.description.capitalize() for a in wanted if a.enabled},
        untold=[b.id or "" for b in ours if not b.tooltip.endswith(".")],
    )


def test_help_lists_exactly_the_live_bindings(walk: list[Seen]) -> None:
    """On every screen the help has every key that works there and no other."""
    assert [seen.helped for seen in walk] == [seen.live for seen in walk]


def test_footers_are_short_and_start_with_help(walk: list[Seen]) -> None:
    """At 80 columns the footer has at most seven keys, help first, none of them cut."""
    for seen in walk:
        assert seen.first == "help"
        assert len(seen.wanted) <= MOST_KEYS
        assert seen.shown == seen.wanted
        assert all(description in seen.footer for description in seen.shown)


def test_palette_has_every_screen_and_every_footer_action(walk: list[Seen]) -> None:
    """The command palette offers each screen and whatever the footer offers and can be used now."""
    for seen in walk:
        assert {f"{place.key} {place.label}" for place in PLACES} <= seen.palette
        assert seen.offered <= seen.palette


def test_every_binding_has_a_tooltip_that_is_a_sentence(walk: list[Seen]) -> None:
    """Each key of ours says in a sentence what it does."""
    assert [seen.untold for seen in walk] == [[] for _ in walk]


async def test_help_opens_over_a_screen_and_closes(bench: Bench) -> None:
    """`?` shows the keys of the screen below, esc goes back to it."""
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("question_mark")
        await pilot.pause()

        assert isinstance(app.screen, HelpScreen)
        assert "This screen" in drawn(app)
        await pilot.press("escape")
        await pilot.pause()

        assert not isinstance(app.screen, HelpScreen)
