"""The shell: routes, errors, quitting, signals, and what the app must not import."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from textual.app import ScreenStackError
from textual.widgets import Static

from screens.app import PLACES, BenchApp
from screens.base import BenchScreen
from screens.help import ErrorScreen, QuitScreen
from screens.messages import GoTo
from screens.widgets.filtered import Filtered
from screens.widgets.keys import shown_bindings
from screens.widgets.title import TitleRow
from tests.fake_worker import FakeWorker, make_job
from tests.ui.conftest import drawn, settle, until
from tests.ui.terminal import terminal
from workbench import preferences
from workbench.bench import Bench
from workbench.errors import InputError
from workbench.events import Finished, Planned, Started, Step

ROOT = Path(__file__).resolve().parents[2]


class BrokenScreen(BenchScreen):
    """A screen whose key, handler and worker all fail with a sentence."""

    BINDINGS = [("f", "fail", "fail"), ("m", "message", "message"), ("w", "work", "work"), ("b", "bug", "bug")]  # noqa: RUF012

    def action_fail(self) -> None:
        raise InputError("That cannot be done.", "Do the other thing.")

    def action_message(self) -> None:
        self.post_message(GoTo("home"))

    def on_go_to(self, message: GoTo) -> None:
        message.stop()
        self.action_fail()

    def action_work(self) -> None:
        self.run_worker(self.action_fail, thread=True)

    def action_bug(self) -> None:
        secret = "hf_" + "secret" * 4
        raise ValueError(f"a bug {len(secret)}")


async def test_every_digit_opens_its_screen_and_marks_its_tab(bench: Bench) -> None:
    """Digits switch screens, the tab of the one shown is marked, and q comes back to Home."""
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        for place in PLACES:
            if place.mode in ("rank", "chat"):  # there digits vote, or are typed
                continue
            await pilot.press(place.key)
            await pilot.pause()

            assert app.current_mode == place.mode
            assert app.screen.query_one(TitleRow).current == place.mode
        await pilot.press("9", "q")
        await pilot.pause()

        assert app.current_mode == "home"


async def test_a_workbench_error_is_a_sentence_wherever_it_is_raised(bench: Bench) -> None:
    """Raised by a key, a message handler or a worker, it is shown, `e` opens it in full, and the app lives."""
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await app.push_screen(BrokenScreen())
        for key in ("f", "m", "w"):
            await pilot.press(key)
            await until(pilot, "✗ That cannot be done.")
            await pilot.press("e")
            await pilot.pause()

            assert isinstance(app.screen, ErrorScreen)
            assert "Do the other thing." in drawn(app)
            await pilot.press("escape")
            await pilot.pause()

            assert "That cannot be done." not in drawn(app)


async def test_a_bug_ends_the_app_without_showing_locals(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """A bug crashes loudly; the traceback has its message and none of the values around it."""
    app = BenchApp(bench)

    async def meet_the_bug() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            await app.push_screen(BrokenScreen())
            await pilot.press("b")
            await pilot.pause()

    with pytest.raises(ValueError, match="a bug"):
        await meet_the_bug()
    shown = capsys.readouterr().err

    assert app.return_code == 1
    assert "a bug 27" in shown
    assert "secretsecret" not in shown


async def test_quitting_while_a_run_works_says_that_it_goes_on(bench: Bench) -> None:
    """ctrl+q tells of the run and how to come back; esc stays, enter leaves, and the worker is not touched."""
    run = bench.runs.create(make_job(name="first"), {"train": []})
    FakeWorker(run).sign_in().write(
        Started(), Planned(total_steps=40), Step(step=4, metrics={"loss": 1.5}, seconds=1.0)
    )
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)

        assert "running 0001 sft" in drawn(app)
        assert "4/40" in drawn(app)
        assert "loss 1.5" in drawn(app)
        await pilot.press("ctrl+q")
        await pilot.pause()

        assert isinstance(app.screen, QuitScreen)
        assert "Training continues" in drawn(app)
        assert "workbench watch 0001" in drawn(app)
        await pilot.press("escape")
        await pilot.pause()

        assert isinstance(app.screen, BenchScreen)
        await pilot.press("ctrl+q", "enter")
    assert app.return_code == 0
    assert run.status().alive


async def test_quitting_with_nothing_at_work_just_quits(bench: Bench) -> None:
    """q on Home ends the app when no run is active."""
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("q")
    assert app.return_code == 0


async def test_a_greyed_key_says_why(bench: Bench) -> None:
    """A key that cannot be used now is greyed in the footer and, pressed, gives its reason."""
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        greyed = {a.binding.action for a in shown_bindings(app.screen) if not a.enabled}
        await pilot.press("l")
        await pilot.pause()

        assert greyed == {"last_run"}
        assert "There is no run yet" in drawn(app)


async def test_a_terminal_that_is_too_small_says_so(bench: Bench) -> None:
    """Below 60×15 there is one sentence with both sizes and nothing else."""
    app = BenchApp(bench)
    async with app.run_test(size=(40, 10)) as pilot:
        await settle(pilot)

        assert drawn(app).split() == ["needs", "60×15,", "have", "40×10"]


async def test_all_themes_draw_every_word(bench: Bench) -> None:
    """The dark, the light and the terminal's own theme show the same text: no state is told by colour alone."""
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        pictures = set()
        for name in ("workbench-dark", "workbench-light", "terminal", "nord"):
            app.theme = name
            await pilot.pause()
            pictures.add(drawn(app))

        assert len(pictures) == 1
        assert isinstance(app.screen.query_one("#project"), Static)


def test_importing_the_app_loads_neither_torch_nor_numpy() -> None:
    """First paint must be quick: it takes no library that trains or counts, and nothing of runs, which come later."""
    code = (
        "import sys; sys.modules['torch'] = None; import screens.app, screens.home, workbench.bench;"
        "print([name for name in ('numpy', 'workbench.runs', 'workbench.events') if name in sys.modules])"
    )
    child = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (child.stdout.strip(), child.stderr) == ("[]", "")


SIGNALLED = """
import sys
from pathlib import Path
from screens.app import run_app
from workbench.bench import Bench
sys.exit(run_app(Bench.open(Path(sys.argv[1]))))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_restore_the_terminal_and_exit_with_their_number(bench: Bench, number: signal.Signals) -> None:
    """SIGTERM and SIGHUP leave the alternate screen, turn the mouse off, show the cursor, and exit 128 + n."""
    with terminal(SIGNALLED, bench.paths.root) as app:
        app.until(b"no run active")
        app.kill(number)

        assert app.wait() == 128 + number
    shown = app.shown

    assert shown.rindex(b"?1049l") > shown.rindex(b"?1049h")
    assert b"?1003l" in shown
    assert b"?25h" in shown


STUCK = "from screens.app import BenchApp; import time; BenchApp._leave_on_signal = lambda *_: time.sleep(60)\n"


@pytest.mark.parametrize("stuck", ["", STUCK], ids=["leaves", "is stuck"])
def test_a_terminal_that_goes_without_a_signal_takes_the_app_along(bench: Bench, stuck: str) -> None:
    """Where the terminal controls no session its end sends no SIGHUP: the app leaves by itself, or is ended."""
    ours, theirs = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", stuck + SIGNALLED, bench.paths.root],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
    )
    os.close(theirs)
    try:
        shown = b""
        while b"no run active" not in shown:
            shown += os.read(ours, 65_536)
        os.close(ours)

        assert child.wait(timeout=20) == 128 + signal.SIGHUP
    finally:
        child.kill()
        child.wait()


async def test_the_chosen_theme_is_there_the_next_time(bench: Bench) -> None:
    """A theme chosen once is the theme of the next start; one that is gone is the usual one."""
    app = BenchApp(bench)
    async with app.run_test() as pilot:
        app.theme = "workbench-light"
        await settle(pilot)

    assert BenchApp(bench).theme == "workbench-light"
    preferences.put("theme", "gone")
    assert BenchApp(bench).theme == "workbench-dark"


async def test_what_is_said_goes_before_where_one_is(bench: Bench) -> None:
    """A sentence as long as the row takes the place of project and base; an error's key is there however long it is."""
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.show_notice("a sentence that needs nearly all of the eighty columns that there are here")
        await pilot.pause()
        row = drawn(app).splitlines()[-2]
        assert "columns that there are here" in row
        assert "demo" not in row
        app.show_notice("short")
        await pilot.pause()
        assert "demo · bundled" in drawn(app).splitlines()[-2]
        app.show_error(
            InputError("What went wrong takes more words than the row of eighty columns has room for.", "Hm.")
        )
        await pilot.pause()
        assert drawn(app).splitlines()[-2].rstrip().endswith("e details")


async def test_an_errors_key_shows_it_where_e_means_something_else(bench: Bench) -> None:
    """On Runs e exports; while an error stands in the status row, which names e, it shows the error, then exports."""
    run = bench.runs.create(make_job(), {"train": []})
    run.paths.model.mkdir()
    FakeWorker(run).sign_in().leave(Finished(step=5))
    app = BenchApp(bench, "runs")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.show_error(InputError("Something went wrong.", "Do this."))
        await pilot.press("e")
        await settle(pilot)
        assert isinstance(app.screen, ErrorScreen)
        await pilot.press("escape", "e")
        await settle(pilot)
        assert app.current_mode == "export"


async def test_an_error_stays_where_it_was_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes along to another screen while it is new; once it could be read it stands on its own screen only."""
    app = BenchApp(bench, "runs")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.show_error(InputError("Something went wrong.", "Do this."))
        await pilot.press("2")
        await settle(pilot)
        assert "Something went wrong." in drawn(app).splitlines()[-2]
        monkeypatch.setattr("screens.app.NOTICE_SECONDS", 0.0)
        await pilot.press("6", "question_mark", "escape")
        await settle(pilot)
        assert "Something went wrong." in drawn(app).splitlines()[-2]
        await pilot.press("2")
        await settle(pilot)
        assert "Something went wrong." not in drawn(app).splitlines()[-2]


async def test_an_errors_key_is_a_letter_where_one_types(bench: Bench) -> None:
    """An error stands in the status row, and e goes into the filter all the same."""
    app = BenchApp(bench, "data")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.show_error(InputError("Something went wrong.", "Do this."))
        await pilot.press("slash", "e")
        await settle(pilot)
        assert not isinstance(app.screen, ErrorScreen)
        assert app.screen.query_one(Filtered).text == "e"


async def test_a_notice_longer_than_its_row_is_told_whole(bench: Bench) -> None:
    """What the row cuts is a toast as well, above the row; what fits is in the row alone."""
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await settle(pilot)
        app.show_notice("short")
        await settle(pilot)
        assert not app._notifications
        app.show_notice(f"{'A sentence that is longer than the row. ' * 2}Its end is told.")
        await until(pilot, "told.")
        lines = drawn(app).splitlines()
        assert "told." not in lines[-2]
        assert lines[-1].rstrip().endswith("q quit")


async def test_a_notice_does_not_wait_on_the_screen_that_was_left(bench: Bench) -> None:
    """One is said on Home, another on Models within its time: back on Home the first is gone."""
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.show_notice("said on Home")
        await pilot.press("2")
        await settle(pilot)
        app.show_notice("said on Models")
        await pilot.press("1")
        await settle(pilot)
        assert "said on Home" not in drawn(app)


async def test_no_color_means_no_colour(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR set the terminal gets greys alone, and without it colours."""
    for wish, coloured in (("", True), ("1", False)):
        monkeypatch.delenv("NO_COLOR", raising=False)
        if wish:
            monkeypatch.setenv("NO_COLOR", wish)
        app = BenchApp(bench)
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            styles = [segment.style for strip in app.screen._compositor.render_strips() for segment in strip]
            shades = {style.color.triplet for style in styles if style is not None and style.color is not None}
            assert any(shade is not None and len(set(shade)) > 1 for shade in shades) is coloured


async def test_what_comes_after_the_screens_are_closed_is_no_crash(bench: Bench) -> None:
    """A timer that draws or looks late, when the app has taken its screens off the stack, does nothing."""
    app = BenchApp(bench, "runs")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        screen = app.screen
        assert isinstance(screen, BenchScreen)
        assert screen.in_front
        stack = app._screen_stacks[app.current_mode]
        kept = stack.copy()
        stack.clear()  # as while it closes
        screen._compositor_refresh()
        assert not screen.in_front
        with pytest.raises(ScreenStackError) as late:
            app.screen  # noqa: B018  # asked for what it raises
        app._handle_exception(late.value)
        stack.extend(kept)
        assert app._exception is None
        assert app.is_running
