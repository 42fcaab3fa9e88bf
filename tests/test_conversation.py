"""A talk keeps its turns whatever happens to the model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from workbench.conversation import Manner, Talk
from workbench.errors import RunError, SettingError
from workbench.records import Conversation, Turn
from workbench.session import Answered, ModelRef


class ScriptedSession:
    """A model that says its lines; a line that is an error is raised in the middle of an answer."""

    def __init__(self, *lines: str | RunError) -> None:
        self.lines = list(lines)
        self.asked: list[Conversation] = []
        self.answered: Answered | None = None
        self.alive = False

    def start(self) -> None:
        self.alive = True

    def ask(self, turns: Conversation, **_manner: float) -> Iterator[str]:
        self.asked.append(turns)
        self.answered = None
        return self._answer()

    def _answer(self) -> Iterator[str]:
        for line in self.lines:
            if isinstance(line, RunError):
                raise line
            yield line
        self.answered = Answered(tokens=len(self.lines), seconds=1.0)

    def cancel(self) -> None:
        if self.asked:
            self.lines = []

    def close(self) -> None: ...


def talk(*lines: str | RunError) -> Talk:
    return Talk(ModelRef("base", "bundled"), ScriptedSession(*lines))  # type: ignore[arg-type]  # stands in for the child


def test_both_sides_are_kept() -> None:
    """Question and answer become turns, and the next question is asked with all of them."""
    said = talk("It is ", "five.")

    assert "".join(said.say("2 + 3?", Manner())) == "It is five."

    assert said.turns == [Turn("user", "2 + 3?"), Turn("assistant", "It is five.")]


def test_a_dead_model_gives_the_question_back() -> None:
    """Where nothing was answered the question is not left hanging in the conversation."""
    said = talk(RunError("The model died."))

    with pytest.raises(RunError):
        list(said.say("Hello?", Manner()))

    assert said.turns == []


def test_half_an_answer_is_kept() -> None:
    """What had come before the model died stays."""
    said = talk("Half of ", RunError("The model died."))

    with pytest.raises(RunError):
        list(said.say("Hello?", Manner()))

    assert said.turns[-1] == Turn("assistant", "Half of ")


def test_an_answer_is_cancelled_while_its_model_loads() -> None:
    """A cancel before the question has reached the model is not lost, and does not end the answer after it."""
    said = talk("It is ", "five.")
    said.begin()
    said.cancel()

    assert list(said.say("2 + 3?", Manner())) == []
    said._session.lines = ["Six."]  # type: ignore[attr-defined]  # the scripted one
    said.begin()

    assert list(said.say("2 + 4?", Manner())) == ["Six."]


def test_a_question_that_is_never_asked_is_taken_back() -> None:
    """A mistake in the tags after a first answer leaves the conversation as it was, without an empty answer."""
    said = talk("Five.")
    list(said.say("2 + 3?", Manner()))

    with pytest.raises(SettingError, match="is not a tag"):
        list(said.say("2 + 4?", Manner(tags="nonsense")))

    assert said.turns == [Turn("user", "2 + 3?"), Turn("assistant", "Five.")]
