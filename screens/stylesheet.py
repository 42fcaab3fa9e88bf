"""The app's style sheet: each source is parsed once for each set of colours.

Textual forgets what it has parsed whenever it looks for changes, which is five times before the first paint and twice
for every screen opened.
"""

from __future__ import annotations

from textual.css.stylesheet import Stylesheet

MOST_SOURCES = 1_024
"""Style sheets of files and widgets together, with room: Textual's 64 are fewer than our screens have between them."""


class OnceParsed(Stylesheet):
    """A style sheet that parses anew only what is new, or everything when a colour has changed."""

    def __init__(self, variables: dict[str, str]) -> None:
        super().__init__(variables=variables)
        self._parse_cache.grow(MOST_SOURCES)

    def set_variables(self, variables: dict[str, str]) -> None:
        if variables != self._variables:
            super().set_variables(variables)

    def reparse(self) -> None:
        self.parse()
