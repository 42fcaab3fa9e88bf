"""Themes: a calm dark one of our own, its light sister, and one that takes the terminal's own colours.

Accents are Okabe and Ito's blue and orange, which people with any kind of colour vision tell apart; a state is always
a word or a glyph as well.
"""

from __future__ import annotations

from textual.theme import BUILTIN_THEMES, Theme

DARK = Theme(
    name="workbench-dark",
    primary="#56b4e9",
    secondary="#7d9fc0",
    accent="#e69f00",
    warning="#e69f00",
    error="#e8743b",
    success="#3dbb94",
    foreground="#cdd5df",
    background="#11151b",
    surface="#161b22",
    panel="#1e252f",
    dark=True,
    variables={
        "rule": "#2b3440",
        "quiet": "#7f8b9a",
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
    accent="#a85f00",
    warning="#a85f00",
    error="#b33f00",
    success="#00714f",
    foreground="#28313b",
    background="#f4f6f8",
    surface="#fbfcfd",
    panel="#e8ecf0",
    dark=False,
    variables={
        "rule": "#cbd3db",
        "quiet": "#5f6b78",
        "strong": "#0d1319",
        "cursor-line": "#d3e6f4",
        "cursor-line-blurred": "#e8edf1",
        "border": "#cbd3db",
        "border-blurred": "#cbd3db",
        "input-cursor-background": "#a85f00",
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
            "cursor-line-blurred": "ansi_bright_black",
            "border": "ansi_bright_black",
            "border-blurred": "ansi_bright_black",
        },
    )


THEMES = (DARK, LIGHT, _terminal())


def extra_names(generated: dict[str, str]) -> dict[str, str]:
    """Our own colour names for a theme that lacks them, so that any of Textual's themes can be chosen."""
    return {
        "rule": generated["panel-lighten-2"],
        "quiet": generated["text-muted"],
        "strong": generated["foreground"],
        "cursor-line": generated["primary-muted"],
        "cursor-line-blurred": generated["panel"],
    }
