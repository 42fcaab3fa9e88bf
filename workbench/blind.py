"""An exported file heard blind beside the run it was made from: the same held-out prompts, sides drawn by lot, votes.

Both answer greedily, one model in memory after the other. Answers that are the same word for word need no vote.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from workbench.session import ModelRef, Session

if TYPE_CHECKING:
    from workbench.bench import Bench
    from workbench.exported import Part
    from workbench.records import Conversation

PROMPTS = 8
"""Enough to hear a difference, few enough to be voted on in a minute."""

LONGEST = 128
"""Tokens of an answer."""

Vote = Literal["left", "right", "alike"]


@dataclass(frozen=True)
class Heard:
    """How a person's votes came out; counts of prompts."""

    same: int = 0
    """Answered alike word for word."""
    alike: int = 0
    """Voted no better, no worse."""
    file_better: int = 0
    run_better: int = 0

    @property
    def count(self) -> int:
        return self.same + self.alike + self.file_better + self.run_better

    @property
    def sentence(self) -> str:
        """`of 8: 5 the same word for word, 1 alike to you, the file better 1, the run better 1`."""
        return (
            f"of {self.count}: {self.same} the same word for word, {self.alike} alike to you, the file better "
            f"{self.file_better}, the run better {self.run_better}"
        )


@dataclass
class Question:
    """A prompt and both answers: the file's first, the run's second."""

    turns: Conversation
    answers: list[str] = field(default_factory=list)
    file_is_left: bool = True
    vote: Vote | None = None

    @property
    def differs(self) -> bool:
        return self.answers[0] != self.answers[1]

    @property
    def sides(self) -> tuple[str, str]:
        """The answers as they are shown, left and right."""
        file, run = self.answers
        return (file, run) if self.file_is_left else (run, file)


class Comparison:
    """One blind comparison. `answers` blocks, so it is called from a thread; voting is for the app's own."""

    def __init__(self, bench: Bench, part: Part, seed: int | None = None) -> None:
        self.part = part
        self._bench = bench
        found = bench.store.prompts("held_out") or bench.store.prompts("train")
        chosen = found[:: max(1, len(found) // PROMPTS)][:PROMPTS]
        lot = random.Random(seed)
        self.questions = [Question(prompt.turns, file_is_left=lot.random() < 0.5) for prompt in chosen]
        self._session: Session | None = None

    @property
    def models(self) -> tuple[ModelRef, ModelRef]:
        return ModelRef("gguf", str(self.part.path)), ModelRef("run", self.part.run)

    def answers(self) -> Iterator[str]:
        """Lets both models answer everything, and says after each answer how far it is."""
        for ref in self.models:
            yield f"loading {'the file' if ref.kind == 'gguf' else 'the run'}"
            self._session = session = Session(ref, self._bench.paths)
            try:
                session.start()
                for number, question in enumerate(self.questions, 1):
                    settings = {"temperature": 0.0, "max_tokens": LONGEST}
                    question.answers.append("".join(session.ask(question.turns, **settings)))  # type: ignore[arg-type]  # each is of its parameter's type
                    told = number + len(self.questions) * (ref.kind == "run")
                    yield f"{told} of {2 * len(self.questions)} answers"
            finally:
                session.close()

    def close(self) -> None:
        """Ends the model that is at work."""
        if self._session is not None:
            self._session.close()

    @property
    def to_judge(self) -> list[Question]:
        """The questions whose answers differ."""
        return [question for question in self.questions if question.differs]

    @property
    def next(self) -> Question | None:
        """The first question without a vote; None when all have one."""
        return next((question for question in self.to_judge if question.vote is None), None)

    def vote(self, vote: Vote) -> None:
        """Judges the next question; the last vote is stored with all the others."""
        question = self.next
        if question is None:
            return
        question.vote = vote
        if self.next is None:
            self.store()

    def undo(self) -> bool:
        """Takes the last vote back; whether there was one."""
        voted = [question for question in self.to_judge if question.vote is not None]
        if voted:
            voted[-1].vote = None
        return bool(voted)

    @property
    def heard(self) -> Heard:
        """The votes so far, the sides known again."""
        votes = [question for question in self.to_judge if question.vote is not None]
        file = sum(question.vote == ("left" if question.file_is_left else "right") for question in votes)
        alike = sum(question.vote == "alike" for question in votes)
        same = len(self.questions) - len(self.to_judge)
        return Heard(same, alike, file, len(votes) - file - alike)

    def store(self) -> None:
        """Keeps the outcome with the project."""
        self._bench.store.put(_key(self.part), json.dumps(vars(self.heard)))


def last_heard(bench: Bench, part: Part) -> Heard | None:
    """What came of the last comparison of a part; None where there was none."""
    try:
        return Heard(**json.loads(bench.store.get(_key(part))))
    except (ValueError, TypeError):
        return None


def _key(part: Part) -> str:
    return f"heard {part.name} {part.created:.0f}"
