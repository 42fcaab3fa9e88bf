"""Answers to many prompts in batches that shrink when memory ends: what rollouts are written with. Needs no trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from workbench.errors import MemoryFullError
from workbench.worker import endings
from workbench.worker.context import RunContext
from workbench.worker.decoding import Answer, Rule, answer_all, seed_of


def answers(
    context: RunContext,
    model: Any,
    prompts: Sequence[Sequence[int]],
    rule: Rule,
    generator_of: Callable[[int], np.random.Generator] | None,
    size: int,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    with_logps: bool = False,
) -> tuple[list[Answer], int]:
    """An answer to each prompt, in order, and how many at once fitted: `size`, or what was left of it.

    Longest prompts go first, so that padding is short and a lack of memory shows at once. `generator_of` makes the
    generator of a place anew: what a failed batch drew is drawn again.
    """
    order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place]))
    found: dict[int, Answer] = {}
    while len(found) < len(order):
        places = order[len(found) : len(found) + size]
        ids = [prompts[place] for place in places]
        draws = [generator_of(place) for place in places] if generator_of is not None else None
        written: list[Answer] = []
        try:
            written = answer_all(model, ids, rule, draws, should_stop, with_logps=with_logps)
        except (RuntimeError, MemoryError) as error:
            if not endings.is_out_of_memory(error):
                raise
        if not written:  # not while the error is handled: it holds on to what did not fit
            size = smaller(context, size)
            continue
        found.update(zip(places, written, strict=True))
        context.progress(context.step)
    return [found[place] for place in range(len(prompts))], size


def generator_of(seed: int, step: int) -> Callable[[int], np.random.Generator]:
    """What makes the generator of each answer of a step, by its place."""
    return lambda place: seed_of(seed, step, place)


def smaller(context: RunContext, size: int) -> int:
    """Half the batch, after a lack of memory."""
    if size == 1:
        raise MemoryFullError(
            "Not even one answer at a time fits into memory.", "Lower max_tokens, or choose a smaller base."
        )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    context.note(f"Out of memory with {size} answers at once; going on with {size // 2}.", "warning")
    return size // 2
