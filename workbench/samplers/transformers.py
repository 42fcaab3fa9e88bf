"""Completions from a base, a run or a checkpoint through transformers, many at a time.

The model that answers is the one an export would write: an adapter is merged into the 16-bit base (fp32 on a CPU), not
run on the 4-bit base that QLoRA trained on. The two differ slightly; what is ranked here is what is exported.

The n-th completion of a prompt has a seed of its own made of (seed, prompt id, n), so it does not depend on which
completions share its batch, nor on where a stopped run went on (but for rounding, which can turn a near-tie).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.fields import Field
from workbench.samplers import Sampler

if TYPE_CHECKING:
    from workbench.events import Metrics
    from workbench.worker.context import RunContext

SAMPLER = Sampler(
    name="transformers",
    label="This machine",
    summary="Samples with the run's own weights on this machine's card, or on its CPU.",
    fields=(
        Field(
            "n",
            4,
            "Completions a prompt",
            "How many answers to each prompt. Ranking needs two or more.",
            low=1,
            high=64,
            group="sampling",
        ),
        Field(
            "temperature",
            1.0,
            "Temperature",
            "0 always takes the likeliest word; 1 is the model's own variety.",
            low=0.0,
            high=5.0,
            group="sampling",
        ),
        Field(
            "top_p",
            1.0,
            "Top-p",
            "Draws from the likeliest words that together have this probability. 1: from all.",
            low=0.0,
            high=1.0,
            group="sampling",
        ),
        Field(
            "max_tokens",
            128,
            "Longest answer",
            "Answers are cut here. Time and memory grow with it.",
            low=1,
            high=32_768,
            unit="tokens",
            group="sampling",
        ),
        Field(
            "tags",
            "",
            "Tags",
            "What the answers shall be like, for a run that was trained with tags: quality=high, topic=birds.",
            group="sampling",
            advanced=True,
        ),
        Field("seed", 0, "Seed", "The same seed gives the same answers.", low=0, high=2**31 - 1, group="sampling"),
        Field(
            "batch",
            0,
            "Batch",
            "Answers written at once. auto: 64 on a CPU, what the card's memory holds otherwise.",
            low=0,
            high=4096,
            zero="auto",
            group="sampling",
            advanced=True,
        ),
    ),
)


def sample(context: RunContext) -> Metrics:
    """Does the sampling job of `context`: every completion that its events do not hold yet."""
    from workbench.worker.sampling import run

    return run(context)
