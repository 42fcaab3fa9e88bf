"""What is said of a run, from who works on it and what it wrote."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fake_worker import FakeWorker, make_job, make_run
from workbench.events import (
    Alive,
    Completed,
    Event,
    Failed,
    Finished,
    Phase,
    Planned,
    Queued,
    Saved,
    Started,
    Step,
    Stopped,
)
from workbench.runs import Run, claim, glance, process


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path)


def steps(count: int, ago: float = 0.0) -> list[Event]:
    now = time.time()
    return [Step(step=step, seconds=2.1, t=now - ago) for step in range(1, count + 1)]


def test_a_new_run_has_not_started(run: Run) -> None:
    """A created run that nobody launched says so."""
    assert (run.status().state, run.status().sentence) == ("stopped", "Not started yet.")


@pytest.mark.parametrize(
    ("log", "state", "words"),
    [
        ([], "starting", "Starting"),
        ([Phase(name="starting"), Queued(behind="demo: 0001 sft")], "queued", "demo: 0001 sft"),
        ([Queued(behind="demo: 0001 sft"), Phase(name="loading the libraries")], "starting", "Loading the libraries…"),
        ([Queued(behind="demo: 0001 sft"), Started(), Phase(name="loading the base")], "running", "Loading the base…"),
        ([Phase(name="starting"), Phase(name="loading"), Alive(step=0)], "starting", "Loading…"),
        ([Started(), Planned(total_steps=90), *steps(40)], "running", "Step 40 of 90"),
        ([Started(), *steps(40), Finished(step=40)], "finished", "Finished at step 40"),
        ([Started(), *steps(40), Stopped(step=40)], "stopped", "Stopped at step 40"),
        ([Started(), Failed(kind="RunError", message="No.", hint="Do.")], "failed", "No."),
    ],
)
def test_the_state_of_a_living_run(run: Run, log: list[Event], state: str, words: str) -> None:
    """While its process lives the end of the log says what it does."""
    now = time.time()  # the cases are made long before they run
    FakeWorker(run).sign_in().write(*(dataclasses.replace(event, t=now) for event in log))

    assert run.status().state == state
    assert words in run.status().sentence


def test_a_run_that_begins_again_is_at_its_first_step(run: Run) -> None:
    """The steps of a worker that died before its first checkpoint are not the present one's."""
    FakeWorker(run).sign_in().write(Started(), Planned(total_steps=90), *steps(40)).die()
    FakeWorker(run).sign_in().write(Started(), Phase(name="loading the base"))

    assert run.status().sentence == "Loading the base…"
    assert run.status().step == 0


def test_a_late_step_is_said_and_is_not_death(run: Run) -> None:
    """No step for 40 s where 2.1 s is usual is said so, and the run counts as running."""
    FakeWorker(run).sign_in().write(Started(), *steps(9, ago=40.4))

    assert run.status().state == "running"
    assert run.status().sentence == "No step for 40 s (usually 2.1 s)."


def test_a_clock_set_back_says_nothing_odd(run: Run) -> None:
    """Steps from the future are no silence."""
    FakeWorker(run).sign_in().write(Started(), *steps(9, ago=-3600))

    assert run.status().sentence == "Step 9."


def test_a_paused_process_is_said_to_be_paused(run: Run) -> None:
    """SIGSTOP is told apart from a slow step."""
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    try:
        FakeWorker(run).sign_in().write(Started(), *steps(9, ago=60))
        found = process.identify(child.pid)
        assert found is not None
        FakeWorker(run)._change(**found.to_row())
        os.kill(child.pid, signal.SIGSTOP)
        while not process.is_paused(found):
            time.sleep(0.005)

        assert run.status().state == "running"
        assert run.status().sentence == "Paused by a signal: no step for 60 s (usually 2.1 s)."
    finally:
        child.kill()
        child.wait()


def test_a_run_without_ending_has_died(run: Run) -> None:
    """A dead process without a last word is called dead, with the likely cause and what resuming would do."""
    worker = FakeWorker(run).sign_in()
    worker.write(Started(), Planned(total_steps=90), *steps(40), Alive(step=40, memory_bytes=3 * 2**30)).die()
    worker._change(oom_kills=None)

    status = run.status()
    assert status.state == "died"
    assert "step 40 of 90" in status.sentence
    assert "probably out of memory (it last used 3.0 GiB)" in status.sentence
    assert "begins again: no checkpoint" in status.hint
    run.paths.checkpoint(30).mkdir(parents=True)
    assert "goes on from the last checkpoint" in run.status().hint


def test_the_kernels_count_tells_who_killed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel counts its killings, the cause is said as known."""
    worker = FakeWorker(run).sign_in().write(Started(), *steps(2)).die()
    monkeypatch.setattr(process, "PROC", run.paths.root)
    (run.paths.root / "vmstat").write_text("oom_kill 7\n")
    worker._change(oom_kills=6)
    assert "because memory ran out" in run.status().sentence

    worker._change(oom_kills=7)
    assert "has not reported" in run.status().sentence


def test_a_restarted_machine_is_the_cause(run: Run) -> None:
    """A worker of an earlier boot went with the machine."""
    FakeWorker(run).sign_in().write(Started(), *steps(2))._change(boot="an earlier boot")

    assert run.status().state == "died"
    assert "the machine was restarted" in run.status().sentence


def test_an_earlier_lifes_ending_does_not_count(run: Run) -> None:
    """After a resume the old Stopped is history, whether the new worker lives or died."""
    worker = FakeWorker(run).sign_in().write(Started(), *steps(5), Stopped(step=5)).die()
    assert run.status().state == "stopped"

    worker.sign_in()
    assert run.status().state == "starting"
    assert run.status().step == 5
    worker.die()
    assert run.status().state == "died"


def test_a_copied_folder_is_nobodys(run: Run, tmp_path: Path) -> None:
    """The worker of a run does not work on a copy of its folder."""
    import shutil

    FakeWorker(run).sign_in().write(Started(), *steps(2))
    copy = Run(type(run.paths)(tmp_path / "copy" / "0001"))
    shutil.copytree(run.paths.root, copy.paths.root)

    assert run.status().state == "running"
    assert copy.status().state == "died"


def test_last_words_come_from_the_process_file(run: Run) -> None:
    """What a full disk kept out of the log is still said."""
    FakeWorker(run).sign_in().write(Started(), *steps(2))
    assert claim.add(run.paths, trouble="No space left on device.")
    assert "its events are not being written: No space left" in run.status().sentence

    assert claim.add(run.paths, ending_kind="disk_full", ending="The disk is full at x.")
    FakeWorker(run).die()
    assert (run.status().state, run.status().sentence) == ("failed", "The disk is full at x.")
    assert run.paths.process.stat().st_size == claim.FILE_BYTES


@pytest.mark.parametrize(("kind", "hint"), [("sample", "completions that are missing"), ("export", "exports again")])
def test_the_hint_fits_the_job(kind: str, hint: str, tmp_path: Path) -> None:
    """Only training goes on from checkpoints; what resuming another job does is said."""
    run = make_run(tmp_path, make_job(kind=kind))
    FakeWorker(run).sign_in().write(Started(), *steps(2)).die()

    assert hint in run.status().hint


def test_a_new_log_is_the_present_workers(run: Run) -> None:
    """A log that was removed and begun anew is shorter than it was, and says what the run does all the same."""
    worker = FakeWorker(run).sign_in().write(Started(), *steps(50), Stopped(step=50)).sign_in()
    run.paths.events.unlink()
    worker.write(*steps(3))

    assert (run.status().state, run.status().step) == ("running", 3)


def test_the_plan_is_found_in_a_long_log(run: Run) -> None:
    """The number of steps, said once at the start, is known after megabytes of other events."""
    worker = FakeWorker(run).sign_in().write(Started(), Planned(total_steps=500))
    worker.write(*(Completed(prompt_id=n, text="x" * 10_000) for n in range(200)), Saved(step=7))

    assert run.paths.events.stat().st_size > glance.LONGEST_LOOK_BYTES
    assert run.status().total_steps == 500


def test_a_damaged_process_file_is_no_crash(run: Run) -> None:
    """Noise, another program's JSON or nothing at all in process.json counts as nobody."""
    for content in (b"", b"\0" * 4096, b"[1]", b'{"pid": "x", "started": [], "offset": "far", "lives": true}'):
        run.paths.process.write_bytes(content)

        assert run.status().state == "stopped"
