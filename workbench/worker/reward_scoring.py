"""A scoring run: a reward model reads completions and says what it thinks of each."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from workbench import events
from workbench.bases import ancestry
from workbench.errors import MemoryFullError
from workbench.events import Metrics, Planned, Scored, Step
from workbench.judges.reward_model import read_card
from workbench.paths import RunPaths
from workbench.tokens import ChatTokens
from workbench.worker import data, endings, model, reward_model
from workbench.worker.context import RunContext
from workbench.worker.log import quiet_libraries
from workbench.worker.reward_model import TOKENS_AT_ONCE, RewardModel

AT_ONCE = 256
"""Completions between two looks at the wish to stop, sorted by length among themselves."""


@dataclass
class Tally:
    """What a run has scored so far."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    too_long: int = 0
    broken: int = 0

    def add(self, scores: Sequence[float]) -> None:
        self.count += len(scores)
        self.total += math.fsum(scores)
        self.squares += math.fsum(score * score for score in scores)

    @property
    def metrics(self) -> Metrics:
        if not self.count:
            return {}
        mean = self.total / self.count
        return {"reward_mean": mean, "reward_spread": math.sqrt(max(0.0, self.squares / self.count - mean * mean))}


def run(context: RunContext) -> Metrics:
    """Scores the completions that the run's events do not hold yet."""
    quiet_libraries()
    context.started(str(model.device()), str(model.working_dtype()).removeprefix("torch."))
    context.phase("loading the reward model")
    folder = reward_folder(context.paths, context.job.parent or "")
    base = model.base_of(context.job)
    judge = reward_model.load(folder, base, four_bit=read_card(folder).four_bit)
    held = set(_scored(context.paths.events))
    rows = data.read_rows(context.paths.data / "completions.jsonl")
    waiting = [(row, answer) for row in rows for answer in row["completions"] if answer[0] not in held]
    context.emit(Planned(total_steps=-(-len(waiting) // AT_ONCE), examples=sum(len(r["completions"]) for r in rows)))
    context.phase("scoring")
    scoring = _Scoring(context, judge, ChatTokens(base.path), base.context)
    began = time.monotonic()
    for step, start in enumerate(range(0, len(waiting), AT_ONCE), 1):
        context.check_stop()
        scoring.batch(step, waiting[start : start + AT_ONCE])
    scoring.tell_what_is_missing()
    tally = scoring.tally
    seconds = max(time.monotonic() - began, 1e-9)
    return {"scored": float(tally.count), "completions_per_second": tally.count / seconds, **tally.metrics}


def reward_folder(paths: RunPaths, parent: str) -> Path:
    """Where the reward model lies: the run's own copy of its adapter, or whole weights in the run that trained them."""
    return paths.start if ancestry.is_adapter(paths.start) else RunPaths(paths.root.parent / parent).model


class _Scoring:
    """The batches of a scoring run."""

    def __init__(self, context: RunContext, judge: RewardModel, tokens: ChatTokens, longest: int) -> None:
        self.context = context
        self.judge = judge
        self.tokens = tokens
        self.longest = longest
        self.tokens_at_once = TOKENS_AT_ONCE
        self.tally = Tally()

    def batch(self, step: int, wanted: Sequence[tuple[data.Row, Sequence[int | str]]]) -> None:
        """Scores some completions, and reports them."""
        began = time.monotonic()
        read: list[tuple[int, list[int]]] = []
        for row, (completion, text) in wanted:
            ids = self.tokens.row(row["turns"], [{"role": "assistant", "content": str(text)}]).ids
            if self.longest and len(ids) > self.longest:
                self.tally.too_long += 1
            else:
                read.append((int(completion), ids))
        scores = self._scores([ids for _, ids in read])
        found = [(number, score) for (number, _), score in zip(read, scores, strict=True) if math.isfinite(score)]
        self.tally.broken += len(read) - len(found)
        self.tally.add([score for _, score in found])
        seconds = time.monotonic() - began
        self.context.emit(Scored(scores=[[number, score] for number, score in found]))
        metrics: Metrics = {**self.tally.metrics, "completions_per_second": len(wanted) / seconds}
        self.context.emit(Step(step=step, metrics=metrics, seconds=seconds, tokens=sum(len(ids) for _, ids in read)))

    def _scores(self, rows: list[list[int]]) -> list[float]:
        """The rewards; fewer tokens at once where the memory is too short."""
        while True:
            try:
                found: list[float] = self.judge.score(rows, self.tokens_at_once).tolist()
                return found
            except (RuntimeError, MemoryError) as error:
                if not endings.is_out_of_memory(error):
                    raise
            if self.tokens_at_once < 1024:
                raise MemoryFullError("The reward model does not fit into memory.", "Close what else uses the card.")
            self.tokens_at_once //= 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.context.note(f"Out of memory; going on with {self.tokens_at_once:,} tokens at once.", "warning")

    def tell_what_is_missing(self) -> None:
        """Says which completions have no score, and why."""
        if self.tally.too_long:
            self.context.note(
                f"{self.tally.too_long} completions are longer than the {self.longest} tokens that the base was made "
                "to read, and have no score.",
                "warning",
            )
        if self.tally.broken:
            self.context.note(f"{self.tally.broken} scores were no finite numbers and are left out.", "warning")


def _scored(path: Path) -> Iterator[int]:
    """The completions whose scores an event log holds, whose last line may be torn."""
    if not path.is_file():
        return
    with path.open("rb") as lines:
        for line in lines:
            event = events.decode(line)
            if isinstance(event, Scored):
                yield from (int(score[0]) for score in event.scores if score)
