"""Real worker processes, doing work that needs no torch: their life and their endings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_worker import make_job
from tests.rehearsal import chain
from tests.workers import done, endings, launched, make, reached, rehearsing, told, until
from workbench.errors import RunError
from workbench.events import Alive, Completed, Failed, Note, Queued, Started, Step, Stopped
from workbench.live import Live
from workbench.paths import ProjectPaths
from workbench.runs import Runs, claim, process
from workbench.worker import endings as endings_of
from workbench.worker import journal


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    with rehearsing(tmp_path / "project") as made:
        yield made


def test_a_run_goes_from_launch_to_its_end(runs: Runs) -> None:
    """A launched worker does the work, shows every step once and ends with one ending and a summary."""
    run = launched(runs)
    assert run.status().alive or run.status().state == "finished"
    done(run)
    live = Live()
    live.feed(told(run))

    assert (run.status().state, run.status().step, run.status().total_steps) == ("finished", 40, 40)
    assert [type(event).__name__ for event in endings(run)] == ["Finished"]
    assert endings(run)[0].summary == {"loss": 1 / 40}  # type: ignore[attr-defined]
    assert live.metrics["loss"].x.tolist() == list(range(1, 41))
    assert live.versions["torch"]
    assert (run.paths.root / "result").read_text() == chain(40)
    with pytest.raises(RunError, match="nothing left to do"):
        runs.resume(run)


def test_what_a_worker_has_around_it(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own session, no terminal, its folder, named variables, no token, no torch, no module replaced."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("CUDA_API_KEY", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    run = make(runs, act="surroundings")
    (run.paths.root / "random.py").write_text("hijacked = True\n")
    runs.launch(run)
    done(run)
    notes = {event.text.split(" ", 1)[0]: event.text.split(" ", 1)[1] for event in told(run) if isinstance(event, Note)}

    names = set(notes.pop("ENV").split())
    assert {"HOME", "PATH", "PYTHONPATH", "HF_HUB_OFFLINE", "WORKBENCH_HOME"} <= names
    assert not [name for name in names if "TOKEN" in name.replace("TOKENIZERS", "") or "KEY" in name or "AWS" in name]
    assert notes == {"CWD": "True", "SID": "True", "STDIN": "/dev/null", "TORCH": "False", "RANDOM": "False"}
    for path in run.paths.root.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0 or path.name == "random.py", path


@pytest.mark.parametrize("how", ["request", "SIGTERM", "SIGINT"])
def test_a_stop_ends_between_steps_with_a_checkpoint(how: str, runs: Runs) -> None:
    """However it is asked, the run ends once, as Stopped, saved where it stopped, and resumes to the same end."""
    run = launched(runs, steps=100, seconds=0.03, save_every=0)
    until(reached(run, 3))
    worker = claim.worker(run.paths)
    assert worker is not None
    if how == "request":
        runs.stop(run)
    else:
        process.send(worker, signal.Signals[how])
    done(run)

    assert [type(event) for event in endings(run)] == [Stopped]
    stopped_at = run.status().step
    assert (run.status().state, run.paths.checkpoint(stopped_at).is_dir()) == ("stopped", True)
    assert not run.paths.stop_request.exists()
    runs.resume(run)
    done(run)
    assert [event.resumed_from for event in told(run) if isinstance(event, Started)] == [None, stopped_at]
    assert (run.paths.root / "result").read_text() == chain(100)


def test_a_second_signal_ends_it_at_once(runs: Runs) -> None:
    """In the middle of a long C call the first SIGTERM waits and the second does not, and it is still one ending."""
    run = launched(runs, act="stuck")
    until(reached(run, 1))
    worker = claim.worker(run.paths)
    assert worker is not None
    process.send(worker, signal.SIGTERM)
    time.sleep(0.05)
    assert process.is_alive(worker)
    process.send(worker, signal.SIGTERM)
    done(run)

    assert [type(event) for event in endings(run)] == [Stopped]


def test_stop_now_ends_even_a_paused_worker(runs: Runs) -> None:
    """A worker that is stopped by SIGSTOP is ended when asked for, and is called stopped, not dead."""
    run = launched(runs, act="stuck")
    until(reached(run, 1))
    worker = claim.worker(run.paths)
    assert worker is not None
    os.kill(worker.pid, signal.SIGSTOP)
    until(lambda: process.is_paused(worker))
    assert run.status().state == "running"
    runs.stop(run, now=True)
    done(run)

    assert run.status().state == "stopped"


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"micro_batch": 4, "accumulation": 2}, "micro_batch=2 and accumulation=4"),
        ({"micro_batch": 3, "accumulation": 4}, "micro_batch=1 and accumulation=12"),
        ({"micro_batch": 5, "accumulation": 4}, "micro_batch=2 and accumulation=10"),
        ({"micro_batch": 2, "accumulation": 8, "loss_type": "kto", "how": "lora"}, "how=qlora"),
    ],
)
def test_the_hint_after_a_lack_of_memory_asks_for_the_same_training(settings: dict[str, int], wanted: str) -> None:
    """A smaller micro-batch adds up to the same rows a step; KTO needs two rows at once and is not told to use one."""
    job = make_job(settings=settings)

    assert wanted in endings_of.failure(MemoryError(), ProjectPaths(Path()).run("0001"), job, 0).hint


@pytest.mark.parametrize(
    ("error", "kind", "message", "hint"),
    [
        ("known", "BaseModelError", "There is no such base.", "workbench models lists them."),
        ("bug", "ValueError", "ValueError: a bug", "worker.log"),
        ("memory", "out_of_memory", "ran out of memory", "micro_batch=2"),
        ("card", "out_of_memory", "Tried to allocate 2.00 GiB", "micro_batch=2"),
        ("disk", "disk_full", "step-000003/optimizer.pt", "workbench resume 0001"),
        ("exit", "SystemExit", "SystemExit: 3", "worker.log"),
    ],
)
def test_every_error_becomes_one_ending(error: str, kind: str, message: str, hint: str, runs: Runs) -> None:
    """A known error keeps its words, a full disk and full memory get theirs, a bug leaves a traceback."""
    run = launched(runs, act="fail", error=error, micro_batch=4)
    done(run)
    (ending,) = endings(run)

    assert isinstance(ending, Failed)
    assert ending.kind == kind
    assert message in ending.message
    assert hint in ending.hint
    until(lambda: ending.message in run.paths.log.read_text())
    assert ("Traceback" in run.paths.log.read_text()) == (error != "known")
    assert (run.status().state, run.status().sentence) == ("failed", ending.message)


def test_the_second_run_queues_and_says_so(runs: Runs) -> None:
    """Two runs never work at once; the second says for whom it waits, can be stopped in the queue, and works after."""
    first, second, third = make(runs, act="stuck"), make(runs, steps=3), make(runs, steps=3)
    for run in (first, second, third):
        runs.launch(run)
        until(lambda run=run: told(run)[1:])  # type: ignore[misc]
    assert (first.status().state, second.status().state, third.status().state) == ("running", "queued", "queued")
    assert "0001 sft" in second.status().sentence
    assert not [event for event in told(second) if isinstance(event, Started | Step | Alive)]

    runs.stop(third)
    done(third)
    assert third.status().state == "stopped"
    worker = claim.worker(first.paths)
    assert worker is not None
    process.kill_group(worker)
    done(second)
    assert second.status().state == "finished"
    assert [type(event) for event in told(second)][1:3] == [Queued, Started]


APP = """
import sys
from pathlib import Path
from workbench.paths import ProjectPaths
from workbench.runs import Runs
runs = Runs(ProjectPaths(Path(sys.argv[1])), worker="tests.rehearsal")
runs.launch(runs.get("last"))
print("launched", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("death", ["SIGKILL", "SIGHUP", "SIGINT"])
def test_the_worker_outlives_the_app(death: str, runs: Runs) -> None:
    """The app killed, its terminal closed or Ctrl-C pressed in it: the run goes on, and every step is there once."""
    run = make(runs, steps=50, seconds=0.005)
    app = subprocess.Popen(
        [sys.executable, "-c", APP, str(runs.project.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
        start_new_session=True,
    )
    assert app.stdout is not None
    assert app.stdout.readline() == b"launched\n"
    os.killpg(app.pid, signal.Signals[death])
    app.communicate()
    done(run)

    steps = [event.step for event in told(run) if isinstance(event, Step)]
    assert steps == list(range(1, 51))
    assert run.status().state == "finished"


def test_two_workers_never_share_a_run(runs: Runs) -> None:
    """A second worker on the same folder leaves at once and writes no event."""
    run = launched(runs, act="stuck")
    until(reached(run, 1))
    second = subprocess.run(
        [sys.executable, "-m", "tests.rehearsal", str(run.paths.root)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert second.returncode == RunError.exit_code
    assert "worked on already" in second.stderr
    assert endings(run) == []


def test_a_flood_of_output_is_capped_and_blocks_nothing(runs: Runs) -> None:
    """200 MB written to stderr leave a log of a few MB with its first and last words, and the run finishes."""
    run = done(launched(runs, act="shout"))
    until(lambda: b"the last words" in run.paths.log.read_bytes())
    log = run.paths.log.read_bytes()

    assert run.status().state == "finished"
    assert len(log) <= 8 << 20
    assert log.startswith(b"the first words\n")
    assert b"bytes left out" in log


def test_a_full_disk_for_events_is_said_elsewhere(runs: Runs) -> None:
    """When the log of events cannot grow its lines stay whole, and the ending is found in process.json and the log."""
    run = done(launched(runs, act="crowded", relief=False))
    steps = [event.step for event in told(run) if isinstance(event, Step)]

    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) < 20
    assert endings(run) == []
    assert run.status().state == "failed"
    assert "The disk is full at" in run.status().sentence
    until(lambda: "events.jsonl cannot be written: File too large" in run.paths.log.read_text())


def test_a_full_disk_ends_sampling_at_once_and_resume_goes_on(runs: Runs) -> None:
    """The first completion that cannot be written is the last one tried; with room again the missing are written."""
    run = done(launched(runs, act="answer"))
    kept = [event.prompt_id for event in told(run) if isinstance(event, Completed)]

    assert 0 < len(kept) < 10
    assert kept == list(range(len(kept)))
    assert len(list(run.paths.root.glob("answered-*"))) == len(kept)
    assert run.status().state == "failed"
    assert "The disk is full at" in run.status().sentence
    assert "workbench resume 0001" in run.status().hint
    runs.resume(run)
    done(run)

    assert [event.prompt_id for event in told(run) if isinstance(event, Completed)] == list(range(10))
    assert run.status().state == "finished"


def test_events_kept_while_the_disk_was_full_are_written_later(runs: Runs) -> None:
    """When there is room again nothing is missing and nothing is there twice."""
    run = done(launched(runs, act="crowded", relief=True))

    assert [event.step for event in told(run) if isinstance(event, Step)] == list(range(1, 22))
    assert run.status().state == "finished"
    assert claim.read(run.paths).trouble == ""


def test_an_event_waits_for_a_slow_one_before_it(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk holds up another thread's event none is lost; only the end at once does not wait for ever."""
    monkeypatch.setattr(journal, "LOCK_SECONDS", 0.02)
    run = make(runs)
    log = journal.Journal(run.paths)
    held = threading.Event()

    def write_slowly() -> None:
        with log._lock:
            held.set()
            time.sleep(0.2)

    slow = threading.Thread(target=write_slowly)
    slow.start()
    held.wait()

    assert not log.append(Stopped(step=1), at_once=True)
    assert log.append(Completed(prompt_id=1, text="an answer"))
    slow.join()
    assert [type(event) for event in told(run)] == [Completed]


def test_a_torn_line_of_a_killed_worker_is_ended(runs: Runs) -> None:
    """The next worker does not write into the line that the last one left half written."""
    run = make(runs, steps=3)
    run.paths.events.write_bytes(b'{"type": "note", "te')
    runs.launch(run)
    done(run)
    live = Live()
    live.feed(told(run))

    assert live.unreadable == 1
    assert run.status().state == "finished"


def test_a_worker_that_cannot_start_says_why(runs: Runs) -> None:
    """A broken installation is a sentence with the last line of the log, not a wait for ever."""
    broken = Runs(runs.project, worker="tests.no_such_worker")
    run = make(runs)

    with pytest.raises(RunError, match=r"did not start.*No module named tests\.no_such_worker"):
        broken.launch(run)


def test_a_damaged_order_is_an_ending(runs: Runs) -> None:
    """A worker that finds its order changed fails with a sentence, whoever launched it."""
    run = make(runs)
    run.paths.job.write_text(run.paths.job.read_text().replace('"steps": 40', '"steps": 41'))
    runs.launch(run)
    done(run)

    assert run.status().state == "failed"
    assert "was changed after it was made" in run.status().sentence


@pytest.mark.torch
def test_the_real_worker_names_an_unknown_method(tmp_path: Path) -> None:
    """The product's own worker, given a method that does not exist, fails with a sentence."""
    runs = Runs(ProjectPaths(tmp_path))
    run = runs.create(make_job(action="sftt"), {})
    runs.launch(run)
    done(run)

    assert run.status().state == "failed"
    assert "sftt" in run.status().sentence


def test_only_errors_of_the_libraries_are_logged() -> None:
    """bitsandbytes' advice on its import is not what a person opens the log for."""
    seen = subprocess.run(
        [sys.executable, "-c", "import logging; from workbench.worker.log import quiet_loggers; quiet_loggers()\n"
         "log = logging.getLogger('bitsandbytes.backends'); log.warning('advice'); log.error('broken')"],
        capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip
    assert seen == "broken\n"
