"""A warm model and the card: it waits for the run that has it, and makes way for one that wants it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.workers import until
from workbench.errors import RunError
from workbench.paths import ProjectPaths
from workbench.records import Turn
from workbench.runs import lease
from workbench.session import ModelRef, Session

CHILD = """
import os
from workbench.worker import serve
class Echo:
    device, dtype, context, template, note = "cuda", "float16", 64, "plain", ""
    def prompt(self, turns):
        return [1]
    def answer(self, prompt, rule):
        rule.finish = "stop"
        yield "hello"
def load(request, turn):
    turn.take()
    return Echo()
serve.load, serve.GIVE_WAY_SECONDS = load, 0.05
os._exit(serve.serve())
"""
"""The real child, with a model that says one word and believes to be on a card."""

QUESTION = (Turn("user", "Hello?"),)
MakeSession = Callable[..., Session]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeSession]:
    """Makes sessions that are closed afterwards."""
    made: list[Session] = []

    def one(name: str = "0001", on_wait: Callable[[str], None] = lambda title: None) -> Session:
        session = Session(
            ModelRef("run", name), ProjectPaths(tmp_path / "demo"), (sys.executable, "-c", CHILD), on_wait=on_wait
        )
        made.append(session)
        return session

    yield one
    for session in made:
        session.close()


def test_a_model_waits_for_the_run_on_the_card(make: MakeSession) -> None:
    """Loading waits while a run has the card, says for which, and goes on when it is done; then the queue shows it."""
    heard: list[str] = []
    session = make(on_wait=heard.append)
    loading = threading.Thread(target=session.start)
    with lease.hold("demo: 0003 sft"):
        loading.start()
        until(lambda: heard)
    loading.join()

    assert heard == ["demo: 0003 sft", ""]
    assert [ticket.title for ticket in lease.queue()] == ["demo: chat with run 0001"]
    assert "".join(session.ask(QUESTION)) == "hello"


def test_an_idle_model_makes_way_and_comes_back(make: MakeSession) -> None:
    """A run that waits gets the card of a model nobody asks; asking says so, and starting loads the model again."""
    session = make()
    session.start()
    with lease.hold("demo: 0004 dpo"):
        until(lambda: not session.alive)
        with pytest.raises(RunError, match=r"made way for demo: 0004 dpo.*Ask again"):
            session.ask(QUESTION)
    session.start()

    assert "".join(session.ask(QUESTION)) == "hello"


def test_models_side_by_side_share_the_card(make: MakeSession) -> None:
    """Two models of one app are on the card at once and both answer."""
    pair = [make("0001"), make("0002")]
    for session in pair:
        session.start()

    assert len(lease.queue()) == 2
    assert ["".join(session.ask(QUESTION)) for session in pair] == ["hello", "hello"]


def test_waiting_for_the_card_can_be_given_up(make: MakeSession) -> None:
    """A cancel while a run has the card ends the waiting with a sentence, and leaves no place in the queue."""
    session = make(on_wait=lambda title: threading.Thread(target=session.cancel).start())
    with lease.hold("demo: 0003 sft"):
        with pytest.raises(RunError, match="demo: 0003 sft holds the card"):
            session.start()

        assert [ticket.title for ticket in lease.queue()] == ["demo: 0003 sft"]
