"""Chat: asking, streaming, two sides, and a model that dies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from screens.app import BenchApp
from screens.chat import ChatLine
from screens.messages import OpenChat
from tests.ui.conftest import HOSTILE, SIZES, drawn, settle, until
from workbench import session
from workbench.bench import Bench

CHILD = """
import json, sys
def say(**row):
    print(json.dumps(row), flush=True)
for text in sys.stdin:
    row = json.loads(text)
    if row["op"] == "load":
        say(type="loaded", device="cpu", dtype="float32")
    elif row["op"] == "ask":
        question = row["turns"][-1]["content"]
        if question == "die":
            sys.exit(3)
        if question != "wait":
            for word in json.loads(ANSWER):
                say(type="delta", id=row["id"], text=word)
            say(type="done", id=row["id"], tokens=2, seconds=0.05, finish="stop")
    elif row["op"] == "cancel":
        say(type="done", id=row["id"], tokens=0, seconds=0.05, finish="cancelled")
"""
"""A child that speaks the real protocol and answers at once."""


def answering(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: list[str]) -> None:
    """Puts the scripted child where the model's process would be: at the edge, not inside the app."""
    import json

    script = tmp_path / "child.py"
    script.write_text(f"ANSWER = {json.dumps(json.dumps(answer))}\n" + CHILD)

    def spawn(_command: object) -> Any:
        import subprocess

        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, str(script)], stdin=pipe, stdout=pipe, stderr=pipe)

    monkeypatch.setattr(session, "_spawn", spawn)


async def ask(pilot: Pilot[Any], question: str) -> None:
    """Types a question and sends it."""
    line = pilot.app.screen.query_one("#chat-line", Input)
    line.focus()
    line.value = question
    await pilot.press("enter")


@pytest.mark.parametrize("size", SIZES)
def test_chat_looks_right(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], snap_compare: Any
) -> None:
    """A question, its answer and the answer's figures, above the line to write in."""
    answering(monkeypatch, tmp_path, ["The opposite of hot ", "is cold."])

    async def talk(pilot: Pilot[Any]) -> None:
        await pilot.press("8")
        await settle(pilot)
        await ask(pilot, "What is the opposite of hot?")
        await until(pilot, "stopped by itself")
        await settle(pilot)

    assert snap_compare(BenchApp(bench), terminal_size=size, run_before=talk)


async def test_an_answer_is_shown_as_plain_text(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Escape sequences and markup in an answer are shown, never obeyed; a megabyte does not freeze the screen."""
    answering(monkeypatch, tmp_path, list(HOSTILE))
    app = BenchApp(bench, "chat")
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        await ask(pilot, "Misbehave.")
        await until(pilot, "stopped by itself")

        assert app.is_running
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in drawn(app).replace("\n", ""))


async def test_a_model_that_dies_is_said_and_started_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the model's process dies the chat says so and gives the question back; the next one starts it anew."""
    answering(monkeypatch, tmp_path, ["Here again."])
    app = BenchApp(bench, "chat")
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        await ask(pilot, "die")
        await until(pilot, "ended unexpectedly")
        assert app.screen.query_one(ChatLine).value == "die"
        await ask(pilot, "Are you there?")
        await until(pilot, "Here again.")
        assert "e details" not in drawn(app)


async def test_an_answer_can_be_ended(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """x ends the answer under way; while there is none the key is greyed and says why."""
    answering(monkeypatch, tmp_path, [])
    app = BenchApp(bench, "chat")
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        await pilot.press("escape", "x")
        await until(pilot, "Nothing is being answered")
        await ask(pilot, "wait")
        await until(pilot, "answering")
        await pilot.press("escape", "x")
        await until(pilot, "stopped by you")
        await pilot.press("t")
        await until(pilot, "temperature 1")


async def test_all_lines_of_a_pasted_text_are_asked(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Line breaks are seen as a sign in the one row to write in, and are line breaks in the question."""
    answering(monkeypatch, tmp_path, ["Yes."])
    app = BenchApp(bench, "chat")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press(*"Say: ")
        app.post_message(events.Paste("one\r\ntwo\n\n[/] three\n"))
        await until(pilot, "Say: one⏎two⏎⏎[/] three")
        await pilot.press("enter")
        await until(pilot, "stopped by itself")
        assert app.screen._talks[0].turns[0].content == "Say: one\ntwo\n\n[/] three"  # type: ignore[attr-defined]  # Chat is a screen of ours
        rows = drawn(app).splitlines()
        first, second = (next(row for row in rows if word in row) for word in ("Say: one", "two"))
        assert first.index("Say") == second.index("two")  # below each other, beside the mark of a question


async def test_whoever_comes_to_talk_with_a_model_can_type_at_once(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after esc has put the keys to work: a word's letters would open lists and turn the temperature."""
    answering(monkeypatch, tmp_path, ["Yes."])
    app = BenchApp(bench, "chat")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("escape", "1")
        app.post_message(OpenChat(str(tmp_path / "model-Q8_0.gguf")))
        await until(pilot, "model-Q8_0.gguf")
        await pilot.press("t", "m")
        await until(pilot, "tm")
        assert "temperature 0.7" in drawn(app)


async def test_two_models_answer_side_by_side(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """b puts a second model beside the first, and both answer the same question."""
    answering(monkeypatch, tmp_path, ["Yes."])
    app = BenchApp(bench, "chat")
    async with app.run_test(size=(120, 30)) as pilot:
        await settle(pilot)
        await pilot.press("escape", "b")
        await until(pilot, "talk with")
        await pilot.press("enter")
        await settle(pilot)
        await ask(pilot, "Both?")
        while drawn(app).count("Yes.") < 2:
            await pilot.pause(0.02)
