"""The app killed at any moment, and its terminal closed: no vote is lost and no run stops."""

from __future__ import annotations

import random
import re
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from screens.app import BenchApp
from screens.live import LiveScreen
from screens.messages import OpenRun
from tests.ui.conftest import asked, settle
from tests.ui.conftest import until as shown
from tests.ui.terminal import Terminal, terminal
from tests.workers import done, make, rehearsing, told, until
from workbench.bench import Bench
from workbench.events import Completed, Step
from workbench.records import NewPrompt, Origin

RANKING = """
import itertools, sys
from pathlib import Path
from screens.app import run_app
from screens.rank_board import Clocks, RankBoard
from workbench.bench import Bench
RankBoard.clocks = Clocks(itertools.count().__next__, itertools.count(int(sys.argv[2]), 60).__next__)
sys.exit(run_app(Bench.open(Path(sys.argv[1])), "rank"))
"""
"""The app on Rank, with clocks that go on at every look: no guard has to be waited for, every vote has a minute."""

WATCHING = """
import sys
from pathlib import Path
from screens.app import BenchApp, run_app
from workbench.bench import Bench
from workbench.runs import Runs
bench = Bench.open(Path(sys.argv[1]))
looked, launched = BenchApp.on_looked, []
def launch_and_look_again(app, message):
    looked(app, message)
    if not launched:
        launched.append(bench.runs.get("last"))
        Runs(bench.paths, worker="tests.rehearsal").launch(launched[0])
    app.set_timer(0.02, app.look_at_runs)
BenchApp.on_looked = launch_and_look_again
sys.exit(run_app(bench))
"""
"""The app, which launches the newest run itself as soon as it has looked around."""

LIVES = 4
SAVED = re.compile(rb"saved \xe2\x9c\x93 (?:\x1b\[[\d;]*m)*(\d\d:\d\d):\d\d")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A project of sixty prompts with two answers each."""
    with closing(Bench.create(tmp_path / "many")) as bench:
        ids = bench.store.add_prompts(NewPrompt(asked(f"Question {n:02} of many?")) for n in range(60))
        rows = [Completed(prompt_id=i, n=n, text=f"answer {n} to {i}") for i in ids for n in range(2)]
        bench.store.add_completions("0001", Origin("bundled"), rows)
    return bench.paths.root


def test_every_vote_shown_as_saved_survives_a_kill(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at random moments of voting, the store is whole, has each vote said to be saved, and goes on after it."""
    monkeypatch.setenv("TZ", "UTC")
    chance = random.Random(7)
    said: set[str] = set()
    for life in range(LIVES):
        with closing(Bench.open(many)) as bench:
            following = bench.store.next_to_rank()
        assert following is not None
        with terminal(RANKING, many, (life + 1) * 3_600) as app:
            app.until(b"of many?")
            assert following[0].text.encode() in app.shown, "another pair than the next unranked one"
            said |= votes_until_killed(app, chance)
        with closing(sqlite3.connect(many / "workbench.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with closing(Bench.open(many)) as bench:
            kept = bench.store.rankings()
        stored = {time.strftime("%H:%M", time.gmtime(ranking.created)) for ranking in kept}

        assert len(stored) == len(kept)
        assert said <= stored
    assert len(said) >= LIVES


def votes_until_killed(app: Terminal, chance: random.Random) -> set[str]:
    """Votes until some were said to be saved, and kills the app in the middle of the next ones; the minutes said."""
    enough = chance.randint(2, 6)
    for _ in range(enough):
        before = len(minutes(app))
        app.type(chance.choice("1234"))
        until(lambda before=before: app.read() and len(minutes(app)) > before, "for a mark")
    app.type("".join(chance.choices("1234", k=4)))
    ending = time.monotonic() + chance.random() * 0.04
    while time.monotonic() < ending:
        app.read(max(0.0, ending - time.monotonic()))
    app.kill(signal.SIGKILL)

    assert app.wait() == -signal.SIGKILL
    return minutes(app)


def minutes(app: Terminal) -> set[str]:
    """When the votes were made that have been shown as saved."""
    return {minute.decode() for minute in SAVED.findall(app.shown)}


@pytest.mark.parametrize("death", ["its terminal is closed", "it is killed"])
async def test_a_run_goes_on_without_the_app_that_launched_it(bench: Bench, death: str) -> None:
    """Ctrl-C is only a key; with the app gone its run ends as ordered, and a new app shows every step once."""
    with rehearsing(bench.paths.root) as runs:
        run = make(runs, steps=20, seconds=0.001, hold=10)
        with terminal(WATCHING, bench.paths.root) as app:
            app.until(b"10/20")
            app.type("\x03")
            if death == "it is killed":
                app.kill(signal.SIGKILL)
            else:
                app.hang_up()

            assert app.wait() == (-signal.SIGKILL if death == "it is killed" else 128 + signal.SIGHUP)
        assert run.status().alive
        (run.paths.root / "go").touch()
        done(run)
        new = BenchApp(bench)
        async with new.run_test(size=(120, 40)) as pilot:
            new.post_message(OpenRun(run.id))
            await settle(pilot)
            assert isinstance(new.screen, LiveScreen)
            assert new.screen.follower is not None
            await shown(pilot, "20/20")
            loss = new.screen.follower.live.metrics["loss"]

            assert list(loss.x) == list(range(1, 21))
            assert list(loss.y) == pytest.approx([1 / step for step in range(1, 21)])
    assert [event.step for event in told(run) if isinstance(event, Step)] == list(range(1, 21))
    assert run.status().state == "finished"
