"""Themes: whatever a person chooses, every word can be read."""

from __future__ import annotations

from textual.color import Color

from screens.app import BenchApp
from screens.theme import GROUNDS, LEAST_CONTRAST, WRITTEN, contrast, legible
from tests.ui.conftest import settle
from workbench.bench import Bench

USED = {*GROUNDS, *WRITTEN}


def test_colours_of_text_can_be_read_in_every_theme(bench: Bench) -> None:
    """In all themes that know their colours, ours too, each colour of text has 4.5 with each ground it lies on."""
    app = BenchApp(bench)
    themes = [name for name, theme in app.available_themes.items() if not theme.ansi]
    assert len(themes) > 15

    for name in themes:
        app.set_reactive(BenchApp.theme, name)
        colours = {key: Color.parse(value) for key, value in app.get_css_variables().items() if key in USED}
        assert colours.keys() == USED
        least = min(contrast(colours[ink], colours[ground]) for ink in WRITTEN for ground in GROUNDS)
        assert least >= LEAST_CONTRAST, name


def test_a_frame_that_has_the_keys_stands_out_in_every_theme(bench: Bench) -> None:
    """The colour it lights up in is further from the ground than that of the other frames."""
    app = BenchApp(bench)
    for name in (name for name, theme in app.available_themes.items() if not theme.ansi):
        app.set_reactive(BenchApp.theme, name)
        known = app.get_css_variables()
        lit, other, ground = (Color.parse(known[key]) for key in ("primary", "border", "background"))
        assert contrast(lit, ground) > contrast(other, ground), name


async def test_words_on_screen_can_be_read(bench: Bench) -> None:
    """Every word drawn on Models has that contrast: in our two themes, a pale one and one of middling greys."""
    app = BenchApp(bench, "models")
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        for name in ("workbench-dark", "workbench-light", "solarized-light", "nord"):
            app.theme = name
            await pilot.pause()
            assert faint(app) == [], name


def faint(app: BenchApp) -> list[str]:
    """Words on screen whose colour is too near to what is behind them. Frames and charts are no words."""
    found = []
    for strip in app.screen._compositor.render_strips():
        for text, style, _ in strip:
            if style is None or not any(letter.isalnum() for letter in text):
                continue
            assert style.color is not None
            assert style.bgcolor is not None
            ink, ground = Color.from_rich_color(style.color), Color.from_rich_color(style.bgcolor)
            if contrast(ink, ground) < LEAST_CONTRAST - 0.05:  # mixed colours are rounded
                found.append(f"{text.strip()}: {ink.hex} on {ground.hex}")
    return found


def test_contrast_is_wcags() -> None:
    """Black on white is 21, a colour on itself 1, and #767676 is the lightest grey that may stand on white."""
    white = Color(255, 255, 255)

    assert contrast(Color(0, 0, 0), white) == 21
    assert contrast(white, white) == 1
    assert contrast(Color(0x76, 0x76, 0x76), white) > LEAST_CONTRAST > contrast(Color(0x77, 0x77, 0x77), white)


def test_only_what_cannot_be_read_is_moved() -> None:
    """On white a dark blue stays and a yellow is darkened; the terminal's own colours, which nobody knows, stay."""
    grounds = dict.fromkeys(GROUNDS, "#ffffff")
    moved = legible({**grounds, "primary": "#000080", "accent": "#ffff00", "success": "ansi_green"})

    assert moved["primary"] == "#000080"
    assert contrast(Color.parse(moved["accent"]), Color.parse("#ffffff")) >= LEAST_CONTRAST
    assert moved["success"] == "ansi_green"
    assert legible({**grounds, "panel": "ansi_black"})["panel"] == "ansi_black"
