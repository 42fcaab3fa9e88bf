"""Nothing from outside reaches the terminal as a control character, as markup, or as a megabyte to lay out."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from rich.segment import Segment
from textual.app import App
from textual.color import Color

from screens.active import ActiveRun
from screens.app import PLACES, BenchApp
from screens.help import ErrorScreen, QuitScreen
from screens.safe import ControlGuard, line, plain, rich_plain
from screens.widgets.picker import Picker
from tests.fake_worker import FakeWorker, make_job
from tests.ui.conftest import HOSTILE, asked, drawn, settle
from workbench.bench import Bench
from workbench.errors import InputError
from workbench.events import Completed, Note, Planned, Started, Step
from workbench.job import BaseRef
from workbench.records import ImportReport, NewPrompt, Origin

CONTROLS = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))} - {"\n"}


@pytest.fixture
def hostile_bench(tmp_path: Path) -> Bench:
    """A project in which every text is one that would do harm."""
    opened = Bench.create(tmp_path / "[red]evil[/]")
    prompts = [NewPrompt(asked(text), text, text[:200], "train") for text in HOSTILE]
    prompts += [NewPrompt(asked(f"held {text}"), text, split="held_out") for text in HOSTILE]
    report = ImportReport(
        HOSTILE[0] + HOSTILE[1], HOSTILE[1], {HOSTILE[0]: 3}, 3, ((1, HOSTILE[0]),), HOSTILE[1], "b" * 64
    )
    opened.store.add_import(
        report, prompts, [(i, text) for i, text in enumerate(HOSTILE)], [(0, HOSTILE[0], HOSTILE[3])]
    )
    found = opened.store.prompts()
    job = make_job(
        kind="sample", action="transformers", name=HOSTILE[0] + HOSTILE[1], base=BaseRef("bundled", HOSTILE[1]),
        counts={"completions": 8}, settings={},
    )  # fmt: skip
    rows = [Completed(prompt_id=p.id, n=n, text=text) for p in found for n, text in enumerate(HOSTILE)]
    opened.store.add_completions("0001", Origin(HOSTILE[0]), rows)
    run = opened.runs.create(job, {"prompts": []})
    FakeWorker(run).sign_in().write(Started(), Planned(total_steps=8), *rows[:8], Step(step=1), Note(text=HOSTILE[0]))
    trained = opened.runs.create(make_job(name=HOSTILE[0] + HOSTILE[1]), {"train": []})
    trained.paths.model.mkdir()
    opened.store.put("base", "/" + HOSTILE[1] + HOSTILE[0])
    return opened


def harmless(app: App[object]) -> None:
    """No drawn cell holds a control character."""
    found = CONTROLS & set(drawn(app))

    assert not found, [hex(ord(character)) for character in found]


async def test_hostile_text_is_harmless_on_every_screen(hostile_bench: Bench) -> None:
    """Every screen draws escape sequences, markup, hidden characters and a megabyte without a control or a crash."""
    app = BenchApp(hostile_bench)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        harmless(app)
        for place in PLACES:
            app.action_go(place.mode)
            await settle(pilot)
            harmless(app)
            began = time.perf_counter()
            await pilot.press("j", "j", "k", "tab", "j", "j")
            await settle(pilot)
            harmless(app)

            assert time.perf_counter() - began < 10.0, f"{place.mode} takes too long over a megabyte"
        app.action_go("home")
        await pilot.press("t")
        await settle(pilot)
        harmless(app)


async def test_hostile_text_is_harmless_in_every_overlay(bench: Bench) -> None:
    """Errors, toasts, notices, the quit question and the picker show it letter for letter."""
    app = BenchApp(bench)
    async with app.run_test(size=(100, 30)) as pilot:
        for text in HOSTILE:
            run = ActiveRun("0001", "train", text, "running", "▶", 1, 2)
            for overlay in (
                ErrorScreen(InputError(text, text)),
                QuitScreen(run, text),
                Picker(text, [text, "a"], text),
            ):
                app.push_screen(overlay)
                await pilot.pause()
                harmless(app)
                app.pop_screen()
            app.show_error(InputError(text, text))
            app.show_notice(text)
            app.notify_plain(text)
            await pilot.pause()
            harmless(app)

        assert app.is_running


def test_safe_text_keeps_brackets_and_shows_controls() -> None:
    """Markup stays letters; escapes and hidden characters become symbols; a row has no line breaks."""
    text = "a[/] [@click=app.quit]L[/]\x1b]52;c;x\x07 \u202e"
    wanted = "a[/] [@click=app.quit]L[/]␛]52;c;x␇ <U+202E>"

    assert (plain(text).plain, rich_plain(text).plain, line("a\nb\tc").plain) == (wanted, wanted, "a b c")
    assert not plain(text).spans


def test_the_guard_replaces_what_a_widget_lets_through() -> None:
    """The last filter before the terminal turns any control left in a segment into a mark."""
    segments = ControlGuard().apply([Segment("ok"), Segment("\x1b]0;t\x07\x9b")], Color(0, 0, 0))

    assert [segment.text for segment in segments] == ["ok", "\ufffd]0;t\ufffd\ufffd"]
