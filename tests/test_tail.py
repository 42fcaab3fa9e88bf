"""Following a log: every line once, whatever happens to the file."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from workbench import blocks, events
from workbench.blocks import StepBlock
from workbench.events import Alive, Event, Note, Started, Step, Unreadable
from workbench.tail import PIECE_BYTES, Tail


def step_lines(count: int, first: int = 1) -> bytes:
    """Step events of one shape with awkward numbers: exponents, negative, many digits."""
    return b"".join(
        events.encode(
            Step(
                step=step,
                metrics={"loss": 1 / step, "learning_rate": 2e-5 / step, "grad_norm5": -1e22 * step},
                seconds=0.1,
                tokens=step % 9,
                t=1.7e9 + step,
            )
        )
        for step in range(first, first + count)
    )


def plain(data: bytes) -> list[Event]:
    """What the slow path makes of the same bytes."""
    return [events.decode(line) for line in data[:-1].split(b"\n")]


def without_t(found: list[Event]) -> list[str]:
    return [repr(event) for event in found]


def test_each_event_is_read_once(tmp_path: Path) -> None:
    """A second read returns only what was added since."""
    log = tmp_path / "events.jsonl"
    tail = Tail(log)
    assert tail.read() == []
    assert tail.missing

    log.write_bytes(events.encode(Note(text="one")))
    first = tail.read()
    with log.open("ab") as file:
        file.write(events.encode(Note(text="two")))
    second = tail.read()

    assert [event.text for event in (*first, *second) if isinstance(event, Note)] == ["one", "two"]
    assert tail.read() == []


def test_a_torn_line_waits_for_its_rest(tmp_path: Path) -> None:
    """A line cut anywhere, in the middle of a character too, is read once it is whole."""
    log = tmp_path / "events.jsonl"
    line = events.encode(Note(text="größer 🙂"))
    for cut in range(1, len(line)):
        tail = Tail(log)
        log.write_bytes(line[:cut])
        assert tail.read() == []
        with log.open("ab") as file:
            file.write(line[cut:])
        found = tail.read()

        assert [event.text for event in found if isinstance(event, Note)] == ["größer 🙂"]


BAD_LINES = {
    "unknown type": b'{"type": "fireworks", "t": 1.0}',
    "not JSON": b"Traceback (most recent call last):",
    "wrong kind": b'{"type": "step", "step": "seven", "t": 1.0}',
    "NaN": b'{"type": "step", "step": 7, "metrics": {"loss": NaN}, "t": 1.0}',
    "NUL bytes": b"\0" * 40,
    "blank": b"",
    "not UTF-8": b'{"type": "note", "text": "\xff\xfe", "t": 1.0}',
    "array": b"[1, 2]",
    "10 MB": b'{"type": "note", "text": "' + b"x" * 10_000_000 + b'"}',
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_counted_and_its_neighbours_live(name: str, tmp_path: Path) -> None:
    """What cannot be read becomes one Unreadable; the lines around it are intact."""
    log = tmp_path / "events.jsonl"
    log.write_bytes(events.encode(Note(text="before")) + BAD_LINES[name] + b"\n" + events.encode(Note(text="after")))

    assert [type(event) for event in Tail(log).read()] == [Note, Unreadable, Note]


def test_an_unknown_field_is_a_newer_workers(tmp_path: Path) -> None:
    """A field that this version does not know is passed over."""
    log = tmp_path / "events.jsonl"
    log.write_bytes(b'{"type": "note", "text": "hi", "colour": "red", "t": 1.0}\n')

    assert Tail(log).read() == [Note(text="hi", t=1.0)]


@pytest.mark.parametrize("how", ["cut", "deleted", "replaced", "rewritten longer"])
def test_a_log_that_is_not_the_same_any_more_is_noticed(how: str, tmp_path: Path) -> None:
    """Cutting, deleting, replacing or rewriting the log makes the reader begin again, and say so."""
    log = tmp_path / "events.jsonl"
    log.write_bytes(events.encode(Note(text="old")) * 3)
    tail = Tail(log)
    assert len(tail.read()) == 3
    new = events.encode(Note(text="new"))
    if how == "cut":
        log.write_bytes(new)
    elif how == "rewritten longer":
        log.write_bytes(new * 9)
    else:
        log.unlink()
    if how == "replaced":
        log.write_bytes(new)
    found = tail.read()

    assert tail.restarted
    assert {event.text for event in found if isinstance(event, Note)} == (set() if how == "deleted" else {"new"})
    assert tail.missing == (how == "deleted")
    assert tail.read() == []
    assert not tail.restarted


def test_a_limited_read_says_that_more_is_there(tmp_path: Path) -> None:
    """A reader that takes a little at a time ends with everything, once."""
    log = tmp_path / "events.jsonl"
    log.write_bytes(step_lines(300))
    tail = Tail(log)
    found: list[Event] = []
    while True:
        for item in tail.read_blocks(limit_bytes=1000):
            found += item.events() if isinstance(item, StepBlock) else [item]
        if not tail.behind:
            break

    assert found == plain(step_lines(300))


def test_a_block_of_steps_says_what_the_lines_say() -> None:
    """The quick path and the slow one read the same numbers to the last digit."""
    data = step_lines(1500)
    (block,) = blocks.decode_all(data)

    assert isinstance(block, StepBlock)
    assert block.events() == plain(data)


def test_other_events_between_the_steps_are_all_there() -> None:
    """Heartbeats and notes among the steps are read; a start keeps its place before the steps that follow it."""
    note, alive = events.encode(Note(text="hm", t=1.0)), events.encode(Alive(step=3, t=2.0))
    start = events.encode(Started(resumed_from=600, t=3.0))
    data = step_lines(800) + note + alive + alive + note + start + step_lines(700, first=601) + b"junk\n"
    found = blocks.decode_all(data)

    assert [type(item) for item in found] == [StepBlock, Note, Alive, Note, Started, StepBlock, Unreadable]


@pytest.mark.parametrize(
    "odd",
    [
        b'{"type": "step", "t": 1.0, "step": 5, "metrics": {"loss": null}, "seconds": 0.1, "tokens": 1}\n',
        b'{"type": "step", "t": 1.0, "step": 5, "metrics": {"loss": NaN}, "seconds": 0.1, "tokens": 1}\n',
        b'{"type": "step", "t": 1.0, "step": 5.5, "metrics": {"loss": 1.0}, "seconds": 0.1, "tokens": 1}\n',
        b'{"type": "step", "t": 1.0, "step": 5, "metrics": {"loss": 1e999}, "seconds": 0.1, "tokens": 1}\n',
        b'{"type": "step", "t": 1.0, "step": 5, "metrics": {"loss": 1..5}, "seconds": 0.1, "tokens": 1}\n',
        b'{"type": "step", "t": 1.0, "step": 5, "metrics": {"other": 1.0}, "seconds": 0.1, "tokens": 1}\n',
        b'{"type": "step", "t": 1.0, "step": 5, "metr\n',
    ],
)
def test_one_odd_line_among_thousands_is_read_as_alone(odd: bytes) -> None:
    """A gap, a wrong number or a torn line in a long stretch of steps gives what the slow path gives."""
    usual = b'{"type": "step", "t": 1.0, "step": 5, "metrics": {"loss": 1.0}, "seconds": 0.1, "tokens": 1}\n'
    data = usual * 700 + odd + usual * 700
    found: list[Event] = []
    for item in blocks.decode_all(data):
        found += item.events() if isinstance(item, StepBlock) else [item]

    assert without_t(found) == without_t(plain(data))


MEASURE = """
import sys
from pathlib import Path
from workbench.live import Live
from workbench.tail import Tail
tail, live = Tail(Path(sys.argv[1])), Live()
live.feed(tail.read_blocks())
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 1024, len(live.metrics["loss"]), live.unreadable)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory of this process alone: Linux only")
def test_a_huge_log_is_read_in_little_memory(tmp_path: Path) -> None:
    """100,000 events, several times what is read at once, are folded whole in less than 200 MB."""
    log = tmp_path / "events.jsonl"
    with log.open("wb") as file:
        for first in range(0, 100_000, 50_000):
            file.write(_cheap_lines(first, 50_000))
    done = subprocess.run([sys.executable, "-c", MEASURE, str(log)], capture_output=True, text=True, check=True)
    megabytes, points, unreadable = (float(word) for word in done.stdout.split())

    assert log.stat().st_size > 10 * PIECE_BYTES
    assert (points, unreadable) == (100_000, 0)
    assert megabytes < 200


def _cheap_lines(first: int, count: int) -> bytes:
    line = (
        '{"type": "step", "t": %d.5, "step": %d, "metrics": {"loss": 0.%d, "learning_rate": 1.%de-05, '
        '"grad_norm": 0.6931471805599453}, "seconds": 0.1, "tokens": 812}\n'
    )
    return "".join(line % (first + i, first + i + 1, first + i, i) for i in range(count)).encode()


def test_following_costs_next_to_nothing(tmp_path: Path) -> None:
    """A thousand looks at a log that does not grow, or is gone, take half a millisecond each at most."""
    log = tmp_path / "events.jsonl"
    log.write_bytes(step_lines(5))
    for _ in range(2):
        tail = Tail(log)
        before = time.process_time()
        for _ in range(1000):
            tail.read()

        assert time.process_time() - before < 0.5
        log.unlink(missing_ok=True)
