"""Reads thousands of equal `Step` and `Alive` lines at once: a log of a million events opens in about a second.

One line through `events.decode` costs about ten microseconds, so a million take ten seconds. Lines of one shape
(same keys, other numbers) are a table: the numbers are cut out with two `translate` calls and parsed as CSV. What does
not have the expected shape falls back, line by line, to `events.decode`, which alone decides what is readable.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from workbench import events
from workbench.events import Event, Step
from workbench.series import Floats

WORTHWHILE = 500
"""Fewer step lines than this are decoded one by one (5 ms), which is quicker than loading the CSV reader (0.2 s)."""
SHORTEST_STEP_BYTES = 80
TYPE_AT = len(b'{"type": "')

_NUMBER = b"0123456789.-+e"
_TO_COMMA = bytes(44 if byte == 58 else byte for byte in range(256))
_NOT_TABLE = bytes(byte for byte in range(256) if byte not in _NUMBER + b",:\n")


@dataclass(frozen=True)
class StepBlock:
    """Many `Step` events of one shape as columns, each (N,), in the order of the log."""

    t: Floats
    step: Floats
    seconds: Floats
    tokens: Floats
    metrics: dict[str, Floats]

    def __len__(self) -> int:
        return int(self.step.size)

    def events(self) -> list[Event]:
        """The same as single events."""
        return [
            Step(
                step=int(self.step[i]),
                metrics={name: events.finite({"": column[i]})[""] for name, column in self.metrics.items()},
                seconds=float(self.seconds[i]),
                tokens=int(self.tokens[i]),
                t=float(self.t[i]),
            )
            for i in range(len(self))
        ]


def decode_all(data: bytes) -> list[Event | StepBlock]:
    """Every event of whole lines (`data` ends with a newline). Steps between two `Started` may move before the rest."""
    if len(data) < WORTHWHILE * SHORTEST_STEP_BYTES:
        return [events.decode(line) for line in data[:-1].split(b"\n")]
    starts, ends = _lines(data)
    is_step, is_started = _kinds(data, starts)
    begins = np.flatnonzero(is_started)
    cuts = [0, *begins[begins > 0].tolist(), len(starts)]
    found: list[Event | StepBlock] = []
    for first, last in pairwise(cuts):
        window = slice(first, last)
        found += _segment(data, starts[window], ends[window], is_step[window])
    return found


Places = NDArray[np.int64]
Mask = NDArray[np.bool_]


def _segment(data: bytes, starts: Places, ends: Places, is_step: Mask) -> list[Event | StepBlock]:
    """One stretch between two starts: its `Started` first, then the steps, then everything else in order."""
    others = np.flatnonzero(~is_step).tolist()
    lines = [data[starts[i] : ends[i]] for i in others]
    rest: list[Event | StepBlock] = []
    if others and others[0] == 0:
        rest.append(events.decode(lines.pop(0)))
    rest += _steps(_cut(data, starts, ends, is_step), int(is_step.sum()))
    rest += [events.decode(line) for line in _without_older_heartbeats(lines)]
    return rest


def _without_older_heartbeats(lines: list[bytes]) -> list[bytes]:
    """`lines` with only the last of many equal-shaped heartbeats: nothing is read from the earlier ones."""
    beats = [place for place, line in enumerate(lines) if line.startswith(b'{"type": "alive"')]
    if len(beats) < 2 or len({lines[place].translate(None, _NUMBER) for place in beats}) > 1:
        return lines
    dropped = set(beats[:-1])
    return [line for place, line in enumerate(lines) if place not in dropped]


def _steps(data: bytes, lines: int) -> list[Event | StepBlock]:
    """The `lines` step lines of `data` as one block where they have one shape, else one by one."""
    if not data:
        return []
    first = data[: data.index(b"\n")]
    block = _table(data, lines, first) if lines >= WORTHWHILE else None
    return [block] if block is not None else [events.decode(line) for line in data[:-1].split(b"\n")]


def _table(data: bytes, lines: int, first: bytes) -> StepBlock | None:
    """The block, or None where the lines are not all of the first one's shape."""
    example = events.decode(first)
    shape = first.translate(None, _NUMBER)
    if not isinstance(example, Step) or events.encode(example)[:-1].translate(None, _NUMBER) != shape:
        return None
    keys = list(json.loads(first)["metrics"])
    if any(sign in key for key in keys for sign in ',:"\\'):
        return None
    if b"null" in first or data.translate(None, _NUMBER) != (shape + b"\n") * lines:
        return None
    columns = _parse(data.translate(_TO_COMMA, _NOT_TABLE), lines, len(keys))
    if columns is None:
        return None
    t, step, *metrics, seconds, tokens = columns
    whole = np.all(step == np.floor(step)) and np.all(tokens == np.floor(tokens))
    if not whole or not all(np.all(np.isfinite(column)) for column in columns):
        return None
    return StepBlock(t, step, seconds, tokens, dict(zip(keys, metrics, strict=True)))


def _parse(table: bytes, lines: int, metrics: int) -> list[Floats] | None:
    """The columns of numbers of a table whose keys are left as junk columns between them.

    type, step | t, # | step, # | metrics | (a metric, #) ... | seconds, # | tokens, #
    """
    import pyarrow as pa
    from pyarrow import csv

    width = 11 + 2 * metrics
    numbers = [str(place) for place in (3, 5, *range(8, width, 2))]
    try:
        read = csv.read_csv(
            pa.BufferReader(table),
            read_options=csv.ReadOptions(
                use_threads=False, column_names=[str(i) for i in range(width)], block_size=len(table) + 1
            ),
            convert_options=csv.ConvertOptions(
                include_columns=numbers, column_types={name: pa.float64() for name in numbers}
            ),
        ).combine_chunks()
    except pa.ArrowInvalid:
        return None
    if read.num_rows != lines or any(column.null_count for column in read.columns):
        return None
    # The raw buffers, because pyarrow's own to_numpy imports pandas first (0.2 s, 30 MB).
    return [np.frombuffer(column.chunk(0).buffers()[1], dtype=np.float64, count=lines) for column in read.columns]


def _lines(data: bytes) -> tuple[Places, Places]:
    """Where each line starts and ends (newline left out)."""
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == 10)
    return np.concatenate([[0], ends[:-1] + 1]), ends


def _kinds(data: bytes, starts: Places) -> tuple[Mask, Mask]:
    """Which lines look like a `Step` and which like a `Started`: by four letters where an event's type stands."""
    octets = np.frombuffer(data + b"\n" * (TYPE_AT + 4), dtype=np.uint8)
    word = [octets[starts + (TYPE_AT + place)] for place in range(4)]
    begins = (word[0] == ord("s")) & (word[1] == ord("t"))
    return begins & (word[2] == ord("e")) & (word[3] == ord("p")), begins & (word[2] == ord("a")) & (
        word[3] == ord("r")
    )


def _cut(data: bytes, starts: Places, ends: Places, wanted: Mask) -> bytes:
    """The wanted lines, joined; neighbours are cut out together."""
    if wanted.all():
        return data[starts[0] : ends[-1] + 1]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
    return b"".join(data[starts[a] : ends[b - 1] + 1] for a, b in zip(edges[::2], edges[1::2], strict=True))
