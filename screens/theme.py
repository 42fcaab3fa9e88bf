"""Themes: a calm dark one of our own, its light sister, and one that takes the terminal's own colours.

Accents are Okabe and Ito's blue and orange, which people with any kind of colour vision tell apart; a state is always
a word or a glyph as well. Text is legible in every theme: WCAG's contrast of 4.5 with all that it may lie on.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual.color import BLACK, WHITE, Color, ColorParseError
from textual.theme import BUILTIN_THEMES, Theme

LEAST_CONTRAST = 4.5
"""What WCAG asks for of text."""

GROUNDS = ("background", "surface", "panel", "cursor-line", "cursor-line-blurred")
"""What text lies on."""

WRITTEN = ("primary", "accent", "success", "error", "quiet", "strong", "foreground")
"""What text is written in."""

DARK = Theme(
    name="workbench-dark",
    primary="#56b4e9",
    secondary="#7d9fc0",
    accent="#e69f00",
    warning="#e69f00",
    error="#ec8049",
    success="#3dbb94",
    foreground="#cdd5df",
    background="#11151b",
    surface="#161b22",
    panel="#1e252f",
    dark=True,
    variables={
        "rule": "#2b3440",
        "quiet": "#909bab",
        "strong": "#eef2f7",
        "cursor-line": "#223246",
        "cursor-line-blurred": "#1b222c",
        "border": "#2b3440",
        "border-blurred": "#2b3440",
        "input-cursor-background": "#e69f00",
        "input-cursor-foreground": "#11151b",
        "input-selection-background": "#56b4e9 30%",
        "scrollbar": "#2b3440",
        "scrollbar-hover": "#3d4a5a",
        "scrollbar-active": "#56b4e9",
        "scrollbar-background": "#161b22",
        "scrollbar-background-hover": "#161b22",
        "scrollbar-background-active": "#161b22",
        "scrollbar-corner-color": "#161b22",
    },
)

LIGHT = Theme(
    name="workbench-light",
    primary="#0069a8",
    secondary="#4d6f8f",
    accent="#945300",
    warning="#945300",
    error="#b33f00",
    success="#00714f",
    foreground="#28313b",
    background="#f4f6f8",
    surface="#fbfcfd",
    panel="#e8ecf0",
    dark=False,
    variables={
        "rule": "#cbd3db",
        "quiet": "#5a6673",
        "strong": "#0d1319",
        "cursor-line": "#d3e6f4",
        "cursor-line-blurred": "#e8edf1",
        "border": "#cbd3db",
        "border-blurred": "#cbd3db",
        "input-cursor-background": "#945300",
        "input-cursor-foreground": "#fbfcfd",
        "input-selection-background": "#0069a8 25%",
        "scrollbar": "#cbd3db",
        "scrollbar-hover": "#a9b4c0",
        "scrollbar-active": "#0069a8",
        "scrollbar-background": "#fbfcfd",
        "scrollbar-background-hover": "#fbfcfd",
        "scrollbar-background-active": "#fbfcfd",
        "scrollbar-corner-color": "#fbfcfd",
    },
)


def _terminal() -> Theme:
    """Textual's ANSI theme with our extra names: every colour is one that the person's terminal defines."""
    known = BUILTIN_THEMES["ansi-dark"]
    return Theme(
        name="terminal",
        primary="ansi_blue",
        secondary="ansi_cyan",
        accent="ansi_yellow",
        warning="ansi_yellow",
        error="ansi_red",
        success="ansi_green",
        foreground="ansi_default",
        background="ansi_default",
        surface="ansi_default",
        panel="ansi_default",
        boost="ansi_default",
        ansi=True,
        dark=True,
        variables={
            **known.variables,
            "rule": "ansi_bright_black",
            "quiet": "ansi_bright_black",
            "strong": "ansi_default",
            "cursor-line": "ansi_blue",
            "cursor-line-blurred": "ansi_default",  # a state's colour on grey is unreadable in most palettes
            "border": "ansi_bright_black",
            "border-blurred": "ansi_bright_black",
        },
    )


THEMES = (DARK, LIGHT, _terminal())


def extra_names(generated: dict[str, str]) -> dict[str, str]:
    """Our own colour names for a theme that lacks them, so that any of Textual's themes can be chosen."""
    names = {
        "rule": generated["panel-lighten-2"],
        "quiet": generated["text-muted"],
        "strong": generated["foreground"],
        "cursor-line": generated["primary-muted"],
        "cursor-line-blurred": generated["panel"],
    }
    colours = _parsed(generated)
    if not {"background", "foreground", "primary"} <= colours.keys():
        return names  # the terminal's own colours: nobody knows how they look
    ground, ink = colours["background"], colours["foreground"]
    return names | {
        "rule": ground.blend(ink, 0.3).hex,
        "quiet": ground.blend(ink, 0.7).hex,
        "cursor-line": ground.blend(colours["primary"], 0.15).hex,
    }


def legible(variables: dict[str, str]) -> dict[str, str]:
    """The same colours, those of text moved towards black or white until they can be read on all that they lie on."""
    colours = _parsed(variables)
    grounds = [colours[name] for name in GROUNDS if name in colours]
    if len(grounds) < len(GROUNDS):
        return variables
    ends = sorted((BLACK, WHITE), key=lambda end: min(contrast(end, ground) for ground in grounds))
    moved = {name: _readable(colours[name], grounds, ends[-1]).hex for name in WRITTEN if name in colours}
    return {**variables, **moved}


def _readable(colour: Color, grounds: Sequence[Color], end: Color) -> Color:
    """The colour nearest to this one on its way to `end` that can be read on all the grounds."""
    steps = (colour.blend(end, step / 20) for step in range(20))
    return next((c for c in steps if min(contrast(c, ground) for ground in grounds) >= LEAST_CONTRAST), end)


def contrast(one: Color, other: Color) -> float:
    """WCAG 2's contrast ratio, from 1 to 21."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Color) -> float:
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colour.normalized]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _parsed(variables: dict[str, str]) -> dict[str, Color]:
    """The opaque colours of ours among them; a terminal's own and `auto` have no value here."""
    found = {}
    for name in (*GROUNDS, *WRITTEN):
        try:
            colour = Color.parse(variables.get(name, ""))
        except ColorParseError:
            continue
        if colour.ansi is None and not colour.auto and colour.a == 1:
            found[name] = colour
    return found
