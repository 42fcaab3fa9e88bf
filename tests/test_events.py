"""The protocol: what a worker writes is what everybody reads, for years."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from workbench import events
from workbench.events import (
    Alive,
    Completed,
    Evaluated,
    Event,
    Exported,
    Failed,
    Finished,
    Note,
    Phase,
    Planned,
    Queued,
    Saved,
    Scored,
    Started,
    Step,
    Stopped,
    Unreadable,
    Verified,
    Watched,
)

ONE_OF_EACH: list[Event] = [
    Queued(behind="demo: 0001 sft"),
    Started(device="cuda:0", dtype="bfloat16", versions={"torch": "2.13.0"}, resumed_from=40),
    Started(),
    Phase(name="loading the base"),
    Planned(total_steps=90, examples=640, held_out=32, trainable_parameters=5, total_parameters=50),
    Step(step=3, metrics={"loss": 0.5, "grad_norm": None}, seconds=0.25, tokens=812),
    Evaluated(step=3, metrics={"loss": 0.75}),
    Watched(step=3, samples=[["Say hi.", "hi"], ["", ""]]),
    Completed(prompt_id=7, n=2, text="größer 🙂\x1b[2J", tokens=3, finish="length"),
    Scored(scores=[[12.0, -0.75], [13.0, 2.5]]),
    Alive(step=3, since_last_step_seconds=0.5, memory_bytes=2**40),
    Saved(step=3, path="checkpoints/step-000003", size_bytes=99, seconds=0.5, final=True),
    Note(text="two\nlines", level="warning"),
    Exported(target="gguf", path="x.gguf", size_bytes=5),
    Verified(target="gguf", check="greedy", passed=True, figures={"agreement": 0.99}, detail="of 512"),
    Finished(step=90, summary={"loss": 0.25}),
    Stopped(step=12),
    Failed(kind="disk_full", message="The disk is full.", hint="Free some room."),
]


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda event: type(event).__name__)
def test_an_event_is_read_as_it_was_written(event: Event) -> None:
    """Every kind survives writing and reading, on one line."""
    line = events.encode(event)

    assert line.count(b"\n") == 1
    assert events.decode(line[:-1]) == event


def test_every_kind_is_covered() -> None:
    """The list above holds every kind that can be written."""
    assert {type(event) for event in ONE_OF_EACH} == set(events._KINDS.values())


def test_the_names_on_disk_are_fixed() -> None:
    """A line written by the first version is read by every later one: these names are never changed."""
    line = (
        b'{"type": "step", "t": 5.0, "step": 3, "metrics": {"loss": 0.5, "x": null}, "seconds": 0.25, "tokens": 812}\n'
    )

    assert events.encode(Step(t=5.0, step=3, metrics={"loss": 0.5, "x": None}, seconds=0.25, tokens=812)) == line


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "text", None])
def test_a_metric_that_is_not_finite_is_null(value: object) -> None:
    """NaN and infinity are null on disk, so that any JSON reader can read the line."""
    line = events.encode(Step(step=1, metrics={"loss": value}))  # type: ignore[dict-item]

    assert json.loads(line)["metrics"] == {"loss": None}


def test_a_lone_surrogate_is_kept() -> None:
    """Text that is not valid Unicode does not stop a run, and comes back the same."""
    found = events.decode(events.encode(Completed(prompt_id=1, text="a\ud800b"))[:-1])

    assert isinstance(found, Completed)
    assert found.text == "a\ud800b"


def test_a_missing_field_has_its_default() -> None:
    """A line of an older worker, which did not know a field yet, is read."""
    assert events.decode(b'{"type": "saved", "step": 3, "t": 1.0}') == Saved(step=3, t=1.0)


def test_what_cannot_be_read_keeps_its_beginning() -> None:
    """An unreadable line is shown by its first characters and the reason."""
    found = events.decode(b"Traceback " + b"x" * 1000)

    assert isinstance(found, Unreadable)
    assert found.line.startswith("Traceback xxx")
    assert len(found.line) <= 200
    assert found.why


@pytest.mark.parametrize(
    "line",
    [b'{"type": "scored", "scores": [[1, "x"]]}', b'{"type": "scored", "scores": [[1, NaN]]}',
     b'{"type": "watched", "samples": [["q", 1]]}'],
)  # fmt: skip
def test_a_list_with_the_wrong_things_in_it_is_not_read(line: bytes) -> None:
    """A garbled score does not get as far as the store, which would refuse it at every look."""
    assert isinstance(events.decode(line), Unreadable)


def test_every_field_has_a_default() -> None:
    """Fields are only ever added with a default: that is what lets old lines be read."""
    for kind in events._KINDS.values():
        for field in dataclasses.fields(kind):
            has_default = field.default is not dataclasses.MISSING
            assert has_default or field.default_factory is not dataclasses.MISSING, (kind, field.name)
