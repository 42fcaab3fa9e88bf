"""Frames, and what stands in one while it is empty."""

from __future__ import annotations

from textual.containers import Container
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static


class Panel(Container):
    """A titled frame. Its border lights up while something in it has the focus; in short terminals it has no frame."""

    def __init__(self, *children: Widget, title: str = "", id: str | None = None, classes: str | None = None) -> None:
        super().__init__(*children, id=id, classes=classes)
        self._title = title
        if title:
            self.border_title = Content(title)

    def note(self, note: str) -> None:
        """A few quiet words behind the title. All of it is ours, never outside text."""
        self.border_title = Content(self._title) + Content.styled(f" · {note}" if note else "", "$quiet")


class Empty(Static):
    """What a list shows while it holds nothing: a sentence, and the key that changes that."""

    def __init__(self, sentence: str, key: str = "", does: str = "", *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.say(sentence, key, does)

    def say(self, sentence: str, key: str = "", does: str = "") -> None:
        """Another sentence. All three are ours, never outside text."""
        lines = [Content.styled(sentence, "$quiet")]
        if key:
            lines.append(Content.assemble("Press ", (f" {key} ", "bold $accent on $panel"), f" {does}"))
        self.update(Content("\n\n").join(lines))
