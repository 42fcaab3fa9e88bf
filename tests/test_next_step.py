"""What comes next in a project, decided from its counts alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.next_step import ENOUGH_PAIRS, Progress, next_step
from workbench.records import Counts

FULL = Counts(prompts=100, held_out=10, demonstrations=50, completions=400, rankings=0, rankable=100, waiting=60)
RANKED = replace(FULL, waiting=0)


@pytest.mark.parametrize(
    ("progress", "stage", "key"),
    [
        (Progress(), "prompts", "3"),
        (Progress(Counts(prompts=100, demonstrations=50)), "runs", "t"),
        (Progress(Counts(prompts=100)), "completions", "4"),
        (Progress(Counts(prompts=100, demonstrations=50), training=("sft",), newest="0001"), "completions", "4"),
        (Progress(FULL, training=("sft",), newest="0001", samples_from=("0001",)), "rankings", "5"),
        (
            Progress(FULL, judged=40, pairs=60, new_pairs=ENOUGH_PAIRS, training=("sft",), newest="0001"),
            "runs",
            "t",
        ),
        (Progress(RANKED, judged=40, pairs=60, training=("sft", "dpo"), newest="0003"), "exports", "7"),
        (Progress(FULL, pairs=60, training=("sft", "dpo"), newest="0003", samples_from=("0003",)), "rankings", "5"),
        (
            Progress(FULL, judged=40, pairs=60, training=("sft", "dpo"), newest="0003", exported=("0003",)),
            "completions",
            "4",
        ),
        (Progress(FULL, working="0002"), "runs", "6"),
    ],
)
def test_the_first_missing_part_of_the_loop_is_next(progress: Progress, stage: str, key: str) -> None:
    """Data, then SFT, then sampling, ranking, DPO, export, and round again; a run at work comes before all but data."""
    step = next_step(progress)

    assert (step.stage, step.key) == (stage, key)
    assert key in step.sentence


def test_a_screen_is_not_told_to_press_its_own_key() -> None:
    """On Sample the step names s, the key that does it there; on every other screen 4, the way there."""
    step = next_step(Progress(Counts(prompts=100)))

    assert step.told_on("sample") == "let the model answer 100 prompts: press s"
    assert step.told_on("home") == "let the model answer 100 prompts: press 4"
