"""Compare: a file and its run heard blind, votes counted for what was heard, and kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from screens.app import BenchApp
from screens.compare import CompareScreen
from tests.ui.conftest import drawn, settle, until
from tests.ui.test_export import exported, trained
from workbench import session
from workbench.bench import Bench
from workbench.runs import Run

__all__ = ["trained"]

CHILD = """
import json, sys
DIFFERENT = 2
asked = 0
def say(**row):
    print(json.dumps(row), flush=True)
for text in sys.stdin:
    row = json.loads(text)
    if row["op"] == "load":
        kind = row["kind"]
        say(type="loaded", device="cpu", dtype="float32")
    elif row["op"] == "ask":
        same = asked >= DIFFERENT
        asked += 1
        say(type="delta", id=row["id"], text="the same" if same else "said by the " + kind)
        say(type="done", id=row["id"], tokens=2, seconds=0.05, finish="stop")
"""
"""A child that speaks the real protocol: both models agree on all questions but the first DIFFERENT."""


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(CHILD)

    def spawn(_command: object) -> Any:
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, str(script)], stdin=pipe, stdout=pipe, stderr=pipe)

    monkeypatch.setattr(session, "_spawn", spawn)


async def test_votes_are_counted_for_what_was_heard_and_nothing_says_which_is_which(
    bench: Bench, trained: Run, answering: None
) -> None:
    """Only answers that differ are shown, without names; who always prefers the file's words prefers the file."""
    exported(bench, trained)
    same = len(bench.store.prompts("held_out") or bench.store.prompts("train")) - 2
    app = BenchApp(bench, "export")
    async with app.run_test(size=(160, 30)) as pilot:
        await settle(pilot)
        await pilot.press("b")
        await until(pilot, "1 of 2 that differ")
        assert isinstance(app.screen, CompareScreen)
        assert "Q8_0" not in drawn(app)
        for place in ("1 of 2", "2 of 2"):
            await until(pilot, f"{place} that differ")
            left = str(app.screen.query_one("#compare-left Static").render())
            await pilot.press("1" if "gguf" in left else "2")
        await until(pilot, "the file better 2, the run better 0")
        assert f"{same} the same word for word" in drawn(app)
        assert "Press  esc  to go back to the exports" in drawn(app)
        assert not app.screen.query_one("#compare-sides").display
        await pilot.press("u")
        await until(pilot, "2 of 2 that differ")
        await pilot.press("3")
        await until(pilot, "1 alike to you, the file better 1, the run better 0")
        await pilot.press("q")
        await until(pilot, "by ear")

    stored = json.loads(bench.store.get(f"heard {trained.id}-polite/model-Q8_0.gguf 2"))
    assert stored == {"same": same, "alike": 1, "file_better": 1, "run_better": 0}


async def test_answers_that_are_all_the_same_are_said_in_a_sentence(
    bench: Bench, trained: Run, answering: None, tmp_path: Path
) -> None:
    """With nothing to judge the screen says that file and run answer alike, shows no empty panels, and how to leave."""
    (tmp_path / "child.py").write_text(CHILD.replace("DIFFERENT = 2", "DIFFERENT = 0"))
    exported(bench, trained)
    app = BenchApp(bench, "export")
    async with app.run_test(size=(160, 30)) as pilot:
        await settle(pilot)
        await pilot.press("b")
        await until(pilot, f"model-Q8_0.gguf answers like run {trained.id}: all 3 answers are the same word for word")

        assert "Press  esc  to go back to the exports" in drawn(app)
        assert not app.screen.query_one("#compare-sides").display
        await pilot.press("escape")
        await until(pilot, "by ear")


async def test_only_a_verified_file_can_be_compared(bench: Bench, trained: Run) -> None:
    """With nothing exported the key is greyed and says that there is nothing to hear."""
    app = BenchApp(bench, "export")
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("b")
        await settle(pilot)

        assert "Nothing is exported yet that could be heard" in drawn(app)
