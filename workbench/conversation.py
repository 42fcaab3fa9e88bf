"""A conversation with one model: its turns, kept whatever happens to the process that answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench import tags
from workbench.exported import exportable_runs, parts
from workbench.records import Conversation, Turn, turns_from_json, turns_to_json
from workbench.session import Answered, ModelRef, Session

if TYPE_CHECKING:
    from workbench.bench import Bench


@dataclass(frozen=True)
class Manner:
    """How answers are drawn. Temperature 0 takes the likeliest token."""

    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 256
    seed: int = 0
    tags: str = ""
    """The tags that the last question is asked with: quality=high."""


class Talk:
    """One model and what was said to it. `say` blocks, so call it from a thread; `cancel` may come from another."""

    def __init__(self, ref: ModelRef, session: Session) -> None:
        self.ref = ref
        self.turns: list[Turn] = []
        self._session = session
        self._cancelled = False

    @classmethod
    def with_model(cls, bench: Bench, ref: ModelRef, on_wait: Callable[[str], None] = lambda title: None) -> Talk:
        """A talk with a model that is loaded when it is first asked; `on_wait` hears for whom it waits until then."""
        return cls(ref, Session(ref, bench.paths, on_wait=on_wait))

    @property
    def answered(self) -> Answered | None:
        """Figures of the last complete answer."""
        return self._session.answered

    @property
    def loaded(self) -> bool:
        return self._session.alive

    @property
    def in_four_bits(self) -> bool:
        """Whether the loaded model answers in NF4, because the card has no room for 16 bits."""
        return self._session.loaded.dtype == "nf4"

    def say(self, question: str, manner: Manner) -> Iterator[str]:
        """Adds the question, then gives the answer piece by piece and adds it as far as it came.

        When the model cannot be loaded or dies, the question is taken back so that it can be asked again; what it had
        answered by then is kept.
        """
        self.turns.append(Turn("user", question))
        pieces: list[str] = []
        asked = False
        try:
            self._session.start()
            settings = {name: value for name, value in vars(manner).items() if name != "tags"}
            answer = self._session.ask(tagged(self.turns, manner.tags), **settings)
            asked = True  # only now: `answered` was the last question's until then
            if self._cancelled:  # while the model was being loaded
                self._session.cancel()
            for piece in answer:
                pieces.append(piece)
                yield piece
        finally:
            if pieces:
                self.turns.append(Turn("assistant", "".join(pieces)))
            elif asked and self.answered is not None:
                self.turns.append(Turn("assistant", ""))
            else:
                self.turns.pop()

    def cancel(self) -> None:
        """Ends the answer under way, also one whose model is still being loaded; what has come of it stays."""
        self._cancelled = True
        self._session.cancel()

    def begin(self) -> None:
        """Called before a question is asked: what was cancelled until now does not end its answer."""
        self._cancelled = False

    def become(self, ref: ModelRef) -> None:
        """A new conversation with another model; an adapter of the same base is put on when it is first asked."""
        self.ref = self._session.ref = ref
        self.turns.clear()

    def forget(self) -> None:
        """A new conversation with the same, still warm model."""
        self.turns.clear()

    def close(self) -> None:
        self._session.close()


def tagged(turns: Sequence[Turn], wished: str) -> Conversation:
    """The turns as a model is asked them: with the control prefix of the wished tags before the last question."""
    return turns_from_json(tags.applied(turns_to_json(tuple(turns)), tags.parse(wished)))


def models(bench: Bench) -> list[ModelRef]:
    """Everything in a project that can be talked to: runs, newest first, verified GGUF files, the base."""
    runs = [ModelRef("run", run.id) for run in exportable_runs(bench)]
    files = [ModelRef("gguf", str(part.path)) for part in parts(bench) if part.is_gguf and part.verified]
    return [*runs, *files, ModelRef("base", bench.base)]


def described(bench: Bench, ref: ModelRef) -> str:
    """A model in a line, for picking it from a list."""
    if ref.kind == "run":
        return bench.runs.get(ref.name).title
    if ref.kind == "gguf":
        path = Path(ref.name)
        return f"{path.parent.name}/{path.name}"
    return f"base: {ref.name}"
