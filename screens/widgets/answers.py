"""The answers of the rank screen: up to six panes side by side, stacked, or one of them zoomed.

The screen sets one `Shown`; the panes scroll together unless one is locked. Text is drawn through `screens.safe` only.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.markdown import Markdown
from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive

from screens.safe import clean, one_line
from screens.widgets.text_pane import Body, TextPane
from workbench.ranking.word_diff import Spans

MOST_PANES = 6
MOST_BLOCKS = 200
"""Paragraphs, rows and headings that are drawn as Markdown; more take seconds, so they are shown plain."""

SIDE_BY_SIDE_FROM = 78
"""Columns from which two answers stand side by side: 80 less the scroll bars, as a page of 36 letters each."""

ZOOMED = Content.assemble((" tab", "bold $accent"), (" next  ", "$quiet"), ("z", "bold $accent"), (" all ", "$quiet"))
"""In the frame of an answer that has the screen to itself."""


@dataclass(frozen=True)
class View:
    """How every answer is shown."""

    markdown: bool = False
    invisible: bool = False
    only_differences: bool = False
    stacked: bool = False
    zoomed: bool = False
    lengths: bool = False
    """Whether each title says how many words the answer has."""


@dataclass(frozen=True)
class Answer:
    """One answer as it is shown."""

    key: str
    """What chooses it: '1', '2', or its letter."""
    label: str
    text: str
    verdict: str = ""
    """Its place in the vote so far, in words; never its origin before the vote."""
    origin: str = ""
    bad: bool = False
    spans: Spans | None = None
    """Words that differ from the other answer; None where they are not asked for."""


@dataclass(frozen=True)
class Shown:
    """All answers, and the one that is locked (None: all scroll together)."""

    answers: tuple[Answer, ...] = ()
    locked: int | None = None
    view: View = View()


class AnswerPane(TextPane):
    """One answer in a frame whose title is the key that chooses it. Clicking it locks it."""

    class Clicked(Message):
        """The person wants this answer: a click on its title chooses it, a click on its text locks the pane."""

        def __init__(self, index: int, on_title: bool) -> None:
            super().__init__()
            self.index = index
            self.on_title = on_title

    def __init__(self, index: int) -> None:
        super().__init__(classes="answer")
        self.index = index
        self._drawn: tuple[Answer, View] | None = None
        self._titled = Content("")

    def draw(self, answer: Answer, view: View, locked: bool, dimmed: bool) -> None:
        """Shows the answer; the text is wrapped again only where it or the view has changed."""
        self.set_class(locked, "-locked")
        self.set_class(dimmed, "-dimmed")
        title = _title(answer, locked, view)
        if title != self._titled:  # setting it draws the whole pane
            self._titled = title
            self.border_title = title
        drawn = self._drawn
        if drawn is None or (drawn[0].text, drawn[0].spans, drawn[1]) != (answer.text, answer.spans, view):
            self.show(_body(answer, view), keep_place=drawn is not None and drawn[0].text == answer.text)
        self._drawn = (answer, view)

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Clicked(self.index, event.y == 0))


def _title(answer: Answer, locked: bool, view: View) -> Content:
    key = Content.styled(f" {answer.key} ", "bold $background on $accent" if locked else "bold $accent")
    parts = [key, Content.styled(f"{answer.label} " if answer.label else "", "$strong")]
    if view.lengths:
        count = len(answer.text.split())
        parts.append(Content.styled(f"{count:,} {'word' if count == 1 else 'words'} ", "$quiet"))
    if answer.verdict:
        parts.append(Content.styled(f"{answer.verdict} ", "bold $primary"))
    if answer.bad:
        parts.append(Content.styled("✗ unacceptable ", "bold $error"))
    if answer.origin:
        parts.append(Content.styled(f"· {one_line(answer.origin, 60)} ", "$success"))
    if view.zoomed:
        parts.append(ZOOMED)
    return Content("").join(parts)


def _body(answer: Answer, view: View) -> Body:
    text = clean(answer.text)
    if view.markdown and text.count("\n") <= MOST_BLOCKS:
        return Markdown(text, hyperlinks=False)
    if answer.spans is not None and (answer.spans or view.only_differences):
        return _marked(text, answer.spans, view.only_differences)
    content = Content(_visible(text) if view.invisible else text)
    return content if text else Content.styled("(an empty answer)", "$quiet italic")


def _marked(text: str, spans: Spans, only: bool) -> Content:
    """The text with the words that differ underlined; with `only`, long stretches without any are left out."""
    if not spans:
        return Content.styled("(nothing that the other has not)", "$quiet italic")
    parts: list[Content] = []
    at = 0
    for start, end in [*spans, (len(text), len(text))]:
        between = text[at:start]
        if only and len(between) > 24:
            before, after = between[:12].rpartition(" ")[0], between[-12:].partition(" ")[2]
            between = f"{before if at else ''} … {after if start < len(text) else ''}"
        parts.append(Content.styled(between, "$quiet") if only else Content(between))
        parts.append(Content.styled(text[start:end], "bold underline $accent"))
        at = end
    return Content("").join(parts)


def _visible(text: str) -> str:
    """Spaces, tabs and line ends as signs; what is invisible otherwise `clean` has spelt out already."""
    return text.replace(" ", "·").replace("\t", "→   ").replace("\n", "↵\n")


class Answers(Container):
    """The panes. `shown` is the one thing to set."""

    shown: reactive[Shown] = reactive(Shown(), always_update=True)

    def compose(self) -> ComposeResult:
        for index in range(MOST_PANES):
            yield AnswerPane(index)

    @property
    def panes(self) -> list[AnswerPane]:
        return list(self.query(AnswerPane))

    def watch_shown(self, shown: Shown) -> None:
        zoomed = shown.view.zoomed
        focus = shown.locked or 0
        for pane, answer in zip(self.panes, shown.answers, strict=False):
            pane.draw(answer, shown.view, shown.locked == pane.index, shown.locked not in (None, pane.index))
        for pane in self.panes:
            pane.display = pane.index < len(shown.answers) and (not zoomed or pane.index == focus)
        self._arrange()

    def on_resize(self) -> None:
        self._arrange()

    def _arrange(self) -> None:
        count = 1 if self.shown.view.zoomed else max(1, len(self.shown.answers))
        columns = 1 if self.shown.view.stacked else columns_for(count, self.size.width)
        self.styles.grid_size_columns = columns
        self.styles.grid_size_rows = -(-count // columns)

    def move(self, lines: int, *, pages: bool = False, to: str = "") -> None:
        """Scrolls the locked pane, or all of them together."""
        for pane in self.panes:
            if not pane.display or self.shown.locked not in (None, pane.index):
                continue
            if to:
                pane.top = 0 if to == "top" else pane.max_top
            else:
                pane.top += lines * max(1, pane.size.height // 2) if pages else lines


def columns_for(count: int, width: int) -> int:
    """Panes in a row: two answers side by side from 80 columns, three from about 110."""
    if width < SIDE_BY_SIDE_FROM or count == 1:
        return 1
    if count == 3:
        return 3 if width >= 105 else 1
    return 3 if count > 4 and width >= 105 else 2
