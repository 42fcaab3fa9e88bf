"""How long a project's rows are, in tokens of its base: what a longest row of so many tokens would cut off.

A sample is measured in a child process, because the base's chat template is somebody else's program.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from workbench.bench import Bench
    from workbench.preview import Row

Kind = Literal["prompts", "demonstrations", "pairs", "held out"]

MEASURED_ROWS = 5_000
"""Rows that are measured at most: a second of work, and a sample that tells a share to within a point or two."""

MARKS = (512, 1_024, 2_048)
"""Longest rows (`max_length`) that the presets use, from small cards to large ones."""

NO_LIMIT = 2**31
"""A longest row that cuts nothing."""

USUAL_SHARE, FAR = 0.99, 1.5
"""The axis ends at the longest row, unless that is so many times as long as the usual ones: those would be a hair."""


@dataclass(frozen=True)
class Spread:
    """Lengths of one kind of rows."""

    kind: Kind
    rows: int
    """How many there are."""
    sizes: Sequence[int]
    """Tokens of those that were measured, ascending."""

    @property
    def median(self) -> int:
        return self.sizes[len(self.sizes) // 2] if self.sizes else 0

    @property
    def longest(self) -> int:
        return self.sizes[-1] if self.sizes else 0

    def longer_than(self, mark: int) -> int:
        """How many of the measured rows a longest row of `mark` tokens would cut."""
        return len(self.sizes) - bisect_right(self.sizes, mark)

    @property
    def axis_end(self) -> int:
        """Tokens up to which the lengths are drawn."""
        if not self.sizes:
            return 1
        usual = self.sizes[int((len(self.sizes) - 1) * USUAL_SHARE)]
        return self.longest if self.longest <= usual * FAR else round(usual * FAR)

    def columns(self, most: int) -> list[int]:
        """How many rows each of at most so many columns of equal width has, from 0 to the end of the axis."""
        width = -(-(self.axis_end + 1) // most)
        found = [0] * -(-(self.axis_end + 1) // width)
        for size in self.sizes:
            if size <= self.axis_end:
                found[size // width] += 1
        return found


def measure(bench: Bench, kind: Kind) -> Spread:
    """Measures a sample of the project's rows of that kind. Takes a second and a process: not for a frame."""
    from workbench import bases, preview

    rows, count = _rows(bench, kind)
    if not rows:
        return Spread(kind, count, ())
    folder = bases.resolve(bench.base).path
    _, lengths = preview.in_child(folder, [], rows, {"max_length": NO_LIMIT})
    return Spread(kind, count, tuple(sorted(lengths.sizes)))


def _rows(bench: Bench, kind: Kind) -> tuple[Sequence[Row], int]:
    """Evenly chosen rows as training has them, and how many there are in all."""
    from workbench import examples, orders

    counts = bench.store.counts()
    if kind == "pairs":
        pairs = orders.pairs(bench)
        return examples.dpo_rows(pairs[:: _every(len(pairs))]), len(pairs)
    if kind == "demonstrations":
        some = bench.store.demonstrations(every=_every(counts.demonstrations))
        return examples.sft_rows(some), counts.demonstrations
    count = counts.held_out if kind == "held out" else counts.prompts
    prompts = bench.store.prompts("held_out" if kind == "held out" else "train", every=_every(count))
    return [_asked(prompt.turns) for prompt in prompts], count


def _asked(turns: Any) -> Row:
    from workbench.records import turns_to_json

    return {"prompt": turns_to_json(turns)}


def _every(count: int) -> int:
    return max(1, -(-count // MEASURED_ROWS))
