"""The fold of events into what the screens show."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from tests.fake_worker import FakeWorker, make_run
from workbench.blocks import decode_all
from workbench.events import (
    Alive,
    Completed,
    Evaluated,
    Event,
    Failed,
    Finished,
    Note,
    Planned,
    Queued,
    Saved,
    Started,
    Step,
    Stopped,
    Watched,
    encode,
)
from workbench.live import Follower, Live


def steps(first: int, last: int, loss: float = 1.0) -> list[Event]:
    return [
        Step(step=step, metrics={"loss": loss}, seconds=0.5, tokens=100, t=float(step))
        for step in range(first, last + 1)
    ]


def folded(*events: Event) -> Live:
    live = Live()
    live.feed(events)
    return live


def test_a_run_is_folded_into_its_figures() -> None:
    """Plan, steps, measurements and heartbeat end up where the screen looks."""
    live = folded(
        Started(device="cpu", dtype="float32"),
        Planned(total_steps=100, examples=640, trainable_parameters=5, total_parameters=50),
        *steps(1, 40),
        Evaluated(step=40, metrics={"loss": 0.9}),
        Alive(step=40, memory_bytes=1_000, t=41.0),
    )

    assert (live.device, live.dtype, live.step, live.total_steps, live.examples) == ("cpu", "float32", 40, 100, 640)
    assert (live.trainable_parameters, live.total_parameters, live.memory_bytes) == (5, 50, 1_000)
    assert (len(live.metrics["loss"]), live.evaluations["loss"].last) == (40, 0.9)
    assert (live.step_seconds, live.tokens_per_second, live.eta_seconds) == (0.5, 200.0, 30.0)


def test_a_resumed_run_shows_every_step_once() -> None:
    """A killed worker's steps beyond the checkpoint give way to the ones done again."""
    live = folded(*steps(1, 57), Started(resumed_from=50), *steps(51, 60, loss=2.0))

    assert live.metrics["loss"].x.tolist() == list(range(1, 61))
    assert live.metrics["loss"].y.tolist() == [1.0] * 50 + [2.0] * 10


def test_resumed_but_not_as_far_the_lost_steps_are_not_shown() -> None:
    """Right after a resume the run is where its checkpoint is."""
    live = folded(*steps(1, 57), Started(resumed_from=50), *steps(51, 52))

    assert live.metrics["loss"].x[-1] == 52
    assert live.step == 52


def test_a_run_that_begins_again_shows_nothing_of_its_first_life() -> None:
    """Without a checkpoint a resume starts at step 0: neither curve nor samples of the dead worker are left."""
    lost = [Evaluated(step=0, metrics={"loss": 9.0}), *steps(1, 57), Watched(step=50, samples=[["q", "a"]])]
    live = folded(Started(), *lost, Started(), *steps(1, 3, loss=2.0))

    assert live.step == 3
    assert live.metrics["loss"].y.tolist() == [2.0] * 3
    assert (len(live.evaluations["loss"]), live.watched) == (0, [])
    assert folded(Started(), *lost, Started()).step == 0


def test_the_same_log_again_changes_nothing() -> None:
    """Feeding all events three times gives the same points, notes, samples and counts as once."""
    log = [
        Started(),
        *steps(1, 20),
        Watched(step=10, samples=[["q", "a"]]),
        Saved(step=10, path="step-10"),
        Note(text="hm", t=1.0),
        Completed(prompt_id=3, n=0, text="x"),
        Completed(prompt_id=3, n=1, text="y"),
        Finished(step=20),
    ]
    once, thrice = folded(*log), folded(*log, *log, *log)

    for live in (once, thrice):
        assert len(live.metrics["loss"]) == 20
        assert (len(live.watched), len(live.saved), len(live.notes), live.completed) == (1, 1, 1, 2)
    assert once.ending == thrice.ending


def test_a_metric_that_is_no_number_is_a_gap() -> None:
    """A step whose loss was not finite keeps its place on the axis."""
    live = folded(*steps(1, 1), Step(step=2, metrics={"loss": None}), *steps(3, 3))

    assert live.metrics["loss"].x.tolist() == [1, 2, 3]
    assert math.isnan(live.metrics["loss"].y[1])


def test_a_clock_set_back_makes_no_negative_time_left() -> None:
    """Time left comes from durations: a clock set back changes nothing, and a run past its plan has none left."""
    back = Step(step=3, metrics={"loss": 1.0}, seconds=0.5, tokens=100, t=-3600.0)
    live = folded(Planned(total_steps=10), *steps(1, 2), back)

    assert live.eta_seconds == 3.5
    assert live.metrics["loss"].x.tolist() == [1, 2, 3]
    assert folded(Planned(total_steps=2), *steps(1, 5)).eta_seconds == 0.0


def test_a_new_life_has_no_ending_yet() -> None:
    """After a stop and a resume the old ending no longer counts."""
    live = folded(Started(), *steps(1, 2), Stopped(step=2), Queued(behind="0007 dpo"))

    assert live.ending is None
    assert live.behind == "0007 dpo"


def test_blocks_and_single_events_fold_to_the_same() -> None:
    """The quick path and the slow one show the same run."""
    log = [Started(resumed_from=None), Planned(total_steps=2000), *steps(1, 900), Alive(step=900), *steps(901, 1800)]
    slow, quick = folded(*log), Live()
    quick.feed(decode_all(b"".join(encode(event) for event in log)))

    for name in ("step", "total_steps", "step_seconds", "tokens_per_second", "eta_seconds"):
        assert getattr(slow, name) == getattr(quick, name)
    assert slow.metrics["loss"].x.tolist() == quick.metrics["loss"].x.tolist()
    assert slow.speed.y.tolist() == quick.speed.y.tolist()


def test_memory_stays_bounded() -> None:
    """A run that writes a hundred thousand notes does not fill the app."""
    live = folded(*(Note(text=str(number), t=float(number)) for number in range(10_000)))

    assert len(live.notes) <= 4_000
    assert live.notes[-1].text == "9999"


def until(follower: Follower, wanted: str) -> None:
    deadline = time.monotonic() + 5
    while follower.status.state != wanted and time.monotonic() < deadline:
        follower.poll()
    assert follower.status.state == wanted


def test_a_follower_sees_a_run_from_start_to_end(tmp_path: Path) -> None:
    """Polling tells when something changed, and the status follows the log."""
    run = make_run(tmp_path)
    worker = FakeWorker(run).sign_in()
    follower = Follower(run)
    assert follower.status.state == "starting"

    worker.write(Started(), *steps(1, 3))
    assert follower.poll()
    assert (follower.live.step, follower.status.state) == (3, "running")
    assert not follower.poll()

    worker.leave(Finished(step=3))
    until(follower, "finished")


@pytest.mark.parametrize(("how", "said"), [("delete", "deleted"), ("cut", "cut or replaced")])
def test_a_follower_says_when_the_log_was_tampered_with(how: str, said: str, tmp_path: Path) -> None:
    """A deleted or cut log is said in a sentence; what is there afterwards is shown once."""
    run = make_run(tmp_path)
    worker = FakeWorker(run).sign_in().write(Started(), *steps(1, 30))
    follower = Follower(run)
    follower.poll()
    run.paths.events.unlink()
    if how == "cut":
        worker.write(*steps(1, 2))
    follower.poll()

    assert said in follower.trouble
    assert len(follower.live.metrics.get("loss", [])) == (2 if how == "cut" else 0)  # type: ignore[arg-type]


def test_a_failure_is_the_ending() -> None:
    """The screen finds the failure's words."""
    ending = Failed(kind="disk_full", message="The disk is full.", hint="Free some room.", t=1.0)

    assert folded(Started(), ending).ending == ending
