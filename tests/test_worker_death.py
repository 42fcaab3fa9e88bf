"""Real worker processes, killed: they are called dead, and what they saved is gone on with."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rehearsal import chain
from tests.workers import done, launched, rehearsing, told, until
from workbench.events import Saved, Started
from workbench.paths import ProjectPaths
from workbench.runs import Run, Runs, claim, lease, process


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    with rehearsing(tmp_path / "project") as made:
        yield made


def test_a_killed_worker_is_called_dead_and_resumed(runs: Runs) -> None:
    """After SIGKILL the status says so at once with the signal, and resuming needs no path."""
    run = launched(runs, steps=100, seconds=0.03)
    until(lambda: any(isinstance(event, Saved) for event in told(run)))
    worker = claim.worker(run.paths)
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)
    began = time.monotonic()
    until(lambda: run.status().state == "died")

    assert time.monotonic() - began < 15
    assert "killed (signal 9)" in run.status().sentence
    assert "goes on from the last checkpoint" in run.status().hint
    assert lease.holder() is None
    runs.resume(run)
    done(run)
    assert (run.status().state, (run.paths.root / "result").read_text()) == ("finished", chain(100))


def test_a_crash_in_c_code_is_named(runs: Runs) -> None:
    """A segmentation fault is told apart from a kill, and its traceback is in the log."""
    run = done(launched(runs, act="crash"))

    assert run.status().state == "died"
    assert "SIGSEGV" in run.status().sentence
    until(lambda: "Segmentation fault" in run.paths.log.read_text())


def test_twenty_kills_around_saving_lose_nothing(runs: Runs) -> None:
    """Killed at twenty random moments while it saves at every step, the run resumes twenty times and ends right."""
    chance = random.Random(0)
    run = launched(runs, steps=10**6, seconds=0.0, save_every=1)
    furthest = 0
    for _ in range(20):
        saved = furthest + 1
        until(lambda saved=saved: _newest_saved(run) >= saved)  # type: ignore[misc]
        time.sleep(chance.random() * 0.02)
        worker = claim.worker(run.paths)
        assert worker is not None
        process.kill_group(worker)
        done(run)
        furthest = _newest_saved(run)
        runs.resume(run)
        assert run.status().state != "failed"
    runs.stop(run)
    done(run)
    resumed = [event.resumed_from or 0 for event in told(run) if isinstance(event, Started)]

    assert run.status().state == "stopped"
    assert len(resumed) == 21
    assert resumed == sorted(resumed)
    state = (run.paths.checkpoint(run.status().step) / "state").read_text()
    assert state == chain(run.status().step)
    assert not list(run.paths.checkpoints.glob("*.partial"))


def _newest_saved(run: Run) -> int:
    names = [path.name for path in run.paths.checkpoints.glob("step-*")] if run.paths.checkpoints.is_dir() else []
    return max((int(name[5:]) for name in names if name[5:].isdecimal()), default=0)


def test_a_damaged_checkpoint_costs_one_interval(runs: Runs) -> None:
    """When the newest checkpoint is damaged the one before it is resumed, and the end is the same."""
    run = launched(runs, steps=100, seconds=0.03)
    until(lambda: _newest_saved(run) >= 12)
    runs.stop(run, now=True)
    done(run)
    newest = _newest_saved(run)
    (run.paths.checkpoint(newest) / "state").write_text("damaged")
    runs.resume(run)
    done(run)

    started = [event for event in told(run) if isinstance(event, Started)]
    assert started[-1].resumed_from is not None
    assert started[-1].resumed_from < newest
    assert (run.paths.root / "result").read_text() == chain(100)


def test_a_copied_run_folder_can_be_resumed(runs: Runs) -> None:
    """A run moved to another place goes on there: nothing in it names the old one."""
    run = launched(runs, steps=100, seconds=0.03)
    until(lambda: _newest_saved(run) >= 4)
    runs.stop(run)
    done(run)
    other = Runs(ProjectPaths(runs.project.root.parent / "elsewhere"), worker="tests.rehearsal")
    shutil.copytree(run.paths.root, other.project.run("0001").root)
    moved = other.get("1")
    other.resume(moved)
    done(moved)

    assert (moved.paths.root / "result").read_text() == chain(100)
    for file in (moved.paths.job, moved.paths.process, moved.paths.events):
        assert str(runs.project.root) not in file.read_text()
