"""Plain ASCII: no sign of ours is drawn that a plain terminal lacks, and such a terminal is recognised."""

from __future__ import annotations

import asyncio
import re

import pytest
from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color

from screens.app import BenchApp
from screens.ascii import TABLE, AsciiOnly, is_plain
from screens.personal import wants_ascii
from tests.fake_worker import FakeWorker, make_job
from tests.ui.conftest import drawn, fill, settle
from workbench import cli, paths
from workbench.bench import Bench
from workbench.events import Finished, Note, Planned, Started, Step

WALK = ("home", "models", "data", "sample", "runs", "export", "chat", "doctor", "rank")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What every screen draws at 80×24 in ASCII, on a project with runs; one walk for all the tests here."""
    found: dict[str, str] = {}

    async def go() -> None:
        bench = fill(Bench.create(tmp_path_factory.mktemp("plain") / "demo"))
        worker = FakeWorker(bench.runs.create(make_job(), {"train": []})).sign_in()
        worker.write(Started(device="cpu", t=1.0), Planned(total_steps=40, t=1.0), Note(text="hm", level="warning"))
        worker.write(*(Step(step=n, metrics={"loss": 2 - n / 40}, seconds=1.0, t=1.0 + n) for n in range(1, 41)))
        worker.leave(Finished(step=40, t=50.0))
        app = BenchApp(bench, ascii_only=True)
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(pilot)

            async def see(name: str, *keys: str) -> None:
                await pilot.press(*keys)
                await settle(pilot)
                found[name] = drawn(app)

            for mode in WALK:
                app.action_go(mode)
                await see(mode)
            await see("rank, looked at", "v", "d", "m")
            await see("rank, voted", "1")
            app.action_go("runs")
            await settle(pilot)
            await see("live", "enter")
            await see("live, notes", "w")
            app.action_go("home")
            await see("training form", "t")
            await see("help", "question_mark")
            await see("palette", "escape", "ctrl+p")
        bench.close()

    asyncio.run(go())
    return found


def test_every_screen_is_plain(pictures: dict[str, str]) -> None:
    """No screen, help or palette at 80×24 has a letter beyond ASCII."""
    assert {name: sign for name, text in pictures.items() for sign in text if not sign.isascii()} == {}


def test_states_charts_and_keys_stay_legible(pictures: dict[str, str]) -> None:
    """A finished run has its sign and word, the chart its dots and axis, the footer names the enter key."""
    assert "+ finished" in pictures["live"]
    assert re.search(r"[0-9]\+.*\.:", pictures["live"])
    assert "enter open" in pictures["home"]


def test_each_sign_is_as_wide_as_what_it_stands_for() -> None:
    """Nothing moves when signs are exchanged."""
    assert [chr(code) for code, plain in TABLE.items() if cell_len(chr(code)) != cell_len(plain)] == []
    assert all(plain.isascii() for plain in TABLE.values())


def test_letters_of_texts_stay_where_the_terminal_has_them() -> None:
    """é is é in UTF-8 and Latin-1; what an encoding lacks is as many question marks as it is wide."""
    black = Color.parse("black")

    def shown(encoding: str) -> str:
        [segment] = AsciiOnly(encoding).apply([Segment("✓ é 宽")], black)
        return segment.text

    assert (shown("utf-8"), shown("iso8859-1"), shown("ascii")) == ("+ é 宽", "+ é ??", "+ ? ??")


@pytest.mark.parametrize(
    ("term", "encoding", "plain"),
    [
        ("xterm-256color", "utf-8", False),
        ("screen", "UTF8", False),
        ("", "utf-8", False),
        ("linux", "utf-8", True),
        ("vt100", "utf-8", True),
        ("xterm", "iso8859-1", True),
        ("xterm", "ansi_x3.4-1968", True),
        ("xterm", "no such", True),
    ],
)
def test_plain_terminals_are_known_by_name_or_encoding(term: str, encoding: str, plain: bool) -> None:
    """The Linux console and a terminal that is not UTF-8 are drawn plainly without being told."""
    assert is_plain({"TERM": term}, encoding) is plain


def test_asking_goes_before_the_config_and_the_config_before_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """--ascii and --no-ascii are obeyed; then `ascii` in config.toml; then the terminal decides."""
    monkeypatch.setenv("TERM", "linux")
    assert wants_ascii(None)
    paths.home().mkdir(parents=True)
    paths.config_file().write_text("ascii = false\n")

    assert not wants_ascii(None)
    assert wants_ascii(True)


def test_the_option_stands_before_a_project_or_a_command() -> None:
    """`workbench --ascii`, `--ascii DIR` and `--ascii rank` reach the commands that open the app."""
    commands = ("open", "rank")

    assert cli.with_command(["--ascii"], commands) == ["open", "--ascii"]
    assert cli.with_command(["--ascii", "some/dir"], commands) == ["open", "--ascii", "some/dir"]
    assert cli.with_command(["--no-ascii", "rank"], commands) == ["rank", "--no-ascii"]
