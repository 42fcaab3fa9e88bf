"""A trained reward model as a judge: its scores of completions, the rankings they amount to, and what stands beside it.

It judges under its own name, `reward:0004`, so that nothing it says is ever mistaken for a person's word. The scoring
itself runs in the worker; nothing here touches a model.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import RunError
from workbench.fields import Field
from workbench.job import BaseRef
from workbench.judges import Judge
from workbench.records import REWARD_MODEL, Ranking

if TYPE_CHECKING:
    from workbench.events import Metrics
    from workbench.worker.context import RunContext

CARD = "reward.json"
"""What a reward model says of itself, beside its weights."""


JUDGE = Judge(
    name="reward_model",
    label="Reward model",
    summary="Scores completions with a reward model that this project trained.",
    fields=(
        Field(
            "label",
            False,
            "Make rankings",
            "Stores the order of the scores as rankings of the judge reward:RUN. They train only where they are named.",
            group="judging",
        ),
        Field(
            "margin",
            0.0,
            "Least difference",
            "Answers whose scores differ by less share a tier: 1 is won 73 times in 100 where margins can be trusted.",
            low=0.0,
            high=100.0,
            group="judging",
            advanced=True,
        ),
    ),
)


@dataclass(frozen=True)
class Card:
    """On which base a reward model stands, and how its rewards are spread on answers that it has not seen."""

    base: BaseRef
    four_bit: bool
    """Whether it was trained on the NF4 base: on another precision its scores shift a little."""
    mean: float = 0.0
    spread: float = 1.0
    """Standard deviation of the rewards; with `mean` it turns them into z-scores."""
    pairs: int = 0
    """Held-out pairs it was measured on."""
    accuracy: float | None = None
    calibration_error: float | None = None
    reliability: tuple[tuple[float, float, int, float, float], ...] = ()
    """Bins of the claimed probability: from, to, pairs, claimed on average, right."""


def write_card(folder: Path, card: Card) -> None:
    text = json.dumps(dataclasses.asdict(card), indent=1, sort_keys=True)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def read_card(folder: Path) -> Card:
    """What the reward model in a folder says of itself; a RunError where it cannot be read."""
    try:
        row = json.loads((folder / CARD).read_text(encoding="utf-8"))
        row["base"] = BaseRef(**row["base"])
        row["reliability"] = tuple(tuple(line) for line in row["reliability"])
        return Card(**row)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(
            f"The reward model in {folder.parent.name} cannot be read ({error}).",
            f"{CARD} in its folder is missing or damaged; train it again.",
        ) from None


def judge_name(run_id: str) -> str:
    """The name under which a reward run judges."""
    return REWARD_MODEL + run_id


def ranking(prompt_id: int, scores: Mapping[int, float], judge: str, margin: float = 0.0) -> Ranking:
    """The order that scores (by completion id) put a prompt's completions in.

    One that is less than `margin` below the best of a tier, or equal to it, belongs to that tier.
    """
    tiers: list[list[int]] = []
    for completion in sorted(scores, key=lambda completion: (-scores[completion], completion)):
        below = scores[tiers[-1][0]] - scores[completion] if tiers else math.inf
        if below < margin or below == 0:
            tiers[-1].append(completion)
        else:
            tiers.append([completion])
    return Ranking(
        id=0,
        prompt_id=prompt_id,
        shown=tuple(sorted(scores)),
        tiers=tuple(map(tuple, tiers)),
        verdict="ranked" if len(tiers) > 1 else "tie",
        judge=judge,
    )


def judge(context: RunContext) -> Metrics:
    """Does the scoring job of `context`: every completion that its events do not hold a score of yet."""
    from workbench.worker import reward_scoring

    return reward_scoring.run(context)
