"""What a person's own settings make of the app: its theme, its keys, and plain ASCII for terminals without more."""

from __future__ import annotations

import os
from typing import Any

from textual import work
from textual.binding import Binding
from textual.dom import DOMNode
from textual.filter import LineFilter
from textual.message import Message
from textual.widget import Widget

from screens import theme
from screens.safe import ControlGuard
from screens.typing_order import TypingOrderApp
from workbench import paths, preferences
from workbench.errors import SettingError

ASCII_KEYS = {"enter": "enter", "backspace": "bksp", "up": "up", "down": "down", "left": "left", "right": "right"}
"""Keys that are shown as signs where there are any."""


class Misread(Message):
    """What of the person's config.toml means nothing."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__()
        self.problems = problems


class PersonalApp(TypingOrderApp):
    """An app drawn and steered as the person likes it. Problems with their file are told once the app is up."""

    def __init__(self, *, ascii_only: bool = False) -> None:
        super().__init__()
        self.config = preferences.config()
        self._keys: dict[str, tuple[str, ...]] = {}
        self._wrong_keys: list[str] = []
        if self.config.keys:
            self._take_keys()
        self._guards: list[LineFilter] = [ControlGuard()]  # beside Textual's own filters, of which NO_COLOR is one
        self.ascii_only = ascii_only
        if ascii_only:
            from screens.ascii import AsciiOnly, terminal_encoding

            self._guards.append(AsciiOnly(terminal_encoding()))
        for known in theme.THEMES:
            self.register_theme(known)
        kept = preferences.get("theme", theme.DARK.name)
        self.theme = kept if kept in self.available_themes else theme.DARK.name

    def get_theme_variable_defaults(self) -> dict[str, str]:
        if self.current_theme in theme.THEMES:
            return {}  # they name them themselves
        return theme.extra_names(self.current_theme.to_color_system().generate())

    def get_css_variables(self) -> dict[str, str]:
        """The theme's colours; those of a theme that is not ours made readable, and its frames quiet.

        Textual draws every frame in the primary colour, in which ours light up where the keys are.
        """
        variables = super().get_css_variables()
        if self.current_theme not in theme.THEMES:
            frame = {} if self.current_theme.ansi else {"border": variables["rule"]}
            variables = self.theme_variables = theme.legible({**variables, **frame})
        return variables

    def remember_theme(self) -> None:
        """From here on a theme chosen is the theme of the next start."""
        self.theme_changed_signal.subscribe(self, lambda chosen: preferences.put("theme", chosen.name))

    def get_line_filters(self) -> list[LineFilter]:
        return [*super().get_line_filters(), *self._guards]

    # -- keys: what a person has none of is not imported either, for the first paint's sake

    def _take_keys(self) -> None:
        from screens import keymap

        self._keys, self._wrong_keys = keymap.understood(self.config.keys)
        keymap.rebind(self._bindings, self._keys)

    def _register_child(self, parent: DOMNode, child: Widget, *where: Any) -> None:
        """Every widget and screen passes here once, before its keys are asked for; tests/ui/test_keymap.py pins it."""
        if self._keys:
            from screens import keymap

            keymap.rebind(child._bindings, self._keys)
        super()._register_child(parent, child, *where)

    def key_for(self, binding_id: str, usual: str) -> str:
        """How the key that a binding has now is shown: the person's, or the usual one."""
        chosen = self._keys.get(binding_id)
        return self.get_key_display(Binding(chosen[0], "")) if chosen else usual

    def get_key_display(self, binding: Binding) -> str:
        if self.ascii_only and not binding.key_display and binding.key in ASCII_KEYS:
            return ASCII_KEYS[binding.key]
        return super().get_key_display(binding)

    def check_config(self) -> None:
        """Looks for what means nothing in the person's config.toml. Once the app is up: it may import all screens."""
        if self.config.keys or self.config.problems:
            self._check_config()

    @work(thread=True, group="config")
    def _check_config(self) -> None:
        problems = [*self.config.problems, *self._wrong_keys]
        if self._keys:
            from screens import keymap

            problems += keymap.unknown(self._keys, keymap.known_ids())
        if problems:
            self.post_message(Misread(problems))


def misread_error(problems: list[str]) -> SettingError:
    """The problems as one error: the first in its sentence, the others in its hint."""
    more = f" And: {' '.join(problems[1:])}" if len(problems) > 1 else ""
    where = f"The rest of it is in use. Mend {paths.config_file()}; ? and then n shows the names."
    return SettingError(f"config.toml: {problems[0]}", where + more)


def wants_ascii(asked: bool | None) -> bool:
    """Whether to draw plainly: as asked on the command line, else as config.toml has it, else as the terminal needs."""
    from screens.ascii import is_plain, terminal_encoding

    written = preferences.config().ascii
    given = asked if asked is not None else written
    return given if given is not None else is_plain(os.environ, terminal_encoding())
