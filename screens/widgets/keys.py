"""The footer: at most seven of the keys that work right now, `? help` first, none of them cut in half."""

from __future__ import annotations

from textual import events
from textual.binding import ActiveBinding
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget

MOST_KEYS = 7
WAYS_OUT = ("leave", "app.quit", "quit")
"""Shown last, where a person looks for the way out."""


class KeyRow(Widget, can_focus=False):
    """One row made of the live bindings that ask to be shown. Clicking a key presses it."""

    ALLOW_SELECT = False

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, _screen: Screen[object]) -> None:
        self.refresh()

    def shown(self) -> list[ActiveBinding]:
        """The bindings that fit, in the order drawn."""
        room = self.size.width
        kept: list[ActiveBinding] = []
        for active in shown_bindings(self.screen):
            room -= len(self._label(active)) + 1
            if room < 0:
                break
            kept.append(active)
        return kept

    def render(self) -> Content:
        return Content(" ").join(self._piece(active) for active in self.shown())

    def _label(self, active: ActiveBinding) -> str:
        return f" {self.app.get_key_display(active.binding)} {active.binding.description}"

    def _piece(self, active: ActiveBinding) -> Content:
        key = self.app.get_key_display(active.binding)
        if not active.enabled:
            return Content.styled(f" {key} {active.binding.description}", "$quiet")
        return Content.assemble((f" {key}", "bold $accent"), (f" {active.binding.description}", "$foreground"))

    def on_click(self, event: events.Click) -> None:
        x = event.x
        for active in self.shown():
            x -= len(self._label(active)) + 1
            if x < 0:
                self.app.simulate_key(active.binding.key)
                return


def shown_bindings(screen: Screen[object]) -> list[ActiveBinding]:
    """The footer's bindings: at most seven, one for each action: help, the screen's in their order, the way out."""
    by_action: dict[str, ActiveBinding] = {}
    for active in screen.active_bindings.values():
        if active.binding.show:
            by_action.setdefault(active.binding.action, active)
    first = [active for active in by_action.values() if active.binding.action == "help"]
    last = [active for active in by_action.values() if active.binding.action in WAYS_OUT]
    middle = [active for active in by_action.values() if active not in first + last]
    return [*first, *middle[: MOST_KEYS - len(first) - len(last)], *last]
