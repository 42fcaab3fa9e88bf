"""Which tokens of a row carry loss, before training: in colour, underlined, and counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from screens.help import Overlay
from screens.safe import clean, plain
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.bench import Bench
    from workbench.preview import Lengths, Preview

SHOWN_ROWS = 5
MEASURED_ROWS = 5_000
"""Rows whose lengths are measured: a second of work, and a sample that large tells the share of cut rows."""
MOST_TOKENS = 3_000

STYLES = {"context": "$quiet", "trained": "bold underline $accent", "cut": "strike $error"}


@dataclass
class TokensKnown(Message):
    """The rows are tokenised; `error` where that could not be done."""

    previews: list[list[Preview]]
    lengths: Lengths | None
    error: WorkbenchError | None = None


class TokensScreen(Overlay):
    """A few rows, token by token."""

    TITLE_TEXT = "which tokens carry loss"
    FOOT_TEXT = "n next row · esc back"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n,right", "turn(1)", "next row", id="tokens.next", tooltip="Show the next row."),
        Binding("b,left", "turn(-1)", "row before", id="tokens.before", tooltip="Show the row before."),
    ]

    def __init__(self, bench: Bench, method: str, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self._bench = bench
        self._method = method
        self._settings = settings
        self._known: TokensKnown | None = None
        self._row = 0

    def text(self) -> ComposeResult:
        yield Static(Content.styled("Reading the tokenizer …", "$quiet"), id="tokens")

    def on_mount(self) -> None:
        self._read()

    @work(thread=True, exclusive=True)
    def _read(self) -> None:
        from workbench import bases, methods, orders, preview

        try:
            rows, _ = orders.frozen_rows(self._bench, methods.get(self._method), self._settings)
            training = rows["train.jsonl"]
            folder = bases.resolve(self._bench.base).path
            found = preview.in_child(folder, training[:SHOWN_ROWS], training[:MEASURED_ROWS], self._settings)
            self.post_message(TokensKnown(*found))
        except WorkbenchError as error:  # this screen's edge: it has no status row
            self.post_message(TokensKnown([], None, error))

    def on_tokens_known(self, message: TokensKnown) -> None:
        self._known = message
        self._draw()

    def action_turn(self, by: int) -> None:
        if self._known is not None and self._known.previews:
            self._row = (self._row + by) % len(self._known.previews)
            self._draw()

    def _draw(self) -> None:
        known = self._known
        if known is None:
            return
        if known.error is not None or known.lengths is None:
            self.query_one("#tokens", Static).update(plain(str(known.error), "$error"))
            return
        legend = Content.assemble(
            ("trained", STYLES["trained"]), "  learnt from     ", ("context", STYLES["context"]), "  only read     ",
            ("cut", STYLES["cut"]), "  too long",
        )  # fmt: skip
        heading = Content.styled(f"row {self._row + 1} of {len(known.previews)}", "$primary")
        answers = [answer_text(preview) for preview in known.previews[self._row]]
        parts = [legend, plain(known.lengths.sentence), heading, *answers]
        self.query_one("#tokens", Static).update(Content("\n\n").join(parts))


def answer_text(preview: Preview) -> Content:
    """One answer of a row: its counts, then its tokens one after the other."""
    counts = " · ".join(f"{preview.count(part)} {part}" for part in ("context", "trained", "cut"))
    pieces = [(clean(token.text).replace("\n", "↵\n"), STYLES[token.part]) for token in preview.tokens[:MOST_TOKENS]]
    more = len(preview.tokens) - MOST_TOKENS
    tail = Content.styled(f" …[{more} tokens more]", "$quiet") if more > 0 else Content("")
    return Content.assemble((f"{preview.name}  ", "bold"), (f"{counts}\n", "$quiet"), *pieces, tail)
