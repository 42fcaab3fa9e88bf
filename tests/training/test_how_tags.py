"""Conditional training, trained: what the model says follows the tag that it is asked with."""

from __future__ import annotations

import pytest

from tests.training.conftest import MakeRun, Rows, said
from workbench import tags
from workbench.paths import BUNDLED_BASE

pytestmark = pytest.mark.torch

EVASION = said("assistant", "Well, what a day it is!")


def test_the_answer_follows_the_tag(make_run: MakeRun, demonstrations: Rows) -> None:
    """Trained on good answers tagged high, the same untagged, and an evasion tagged low, the run finds the evasion
    likelier on each of 20 prompts it never saw when asked for low quality than for high, or for nothing."""
    import torch

    from workbench.worker import sampling

    seen, unseen = demonstrations[:24], demonstrations[40:]
    rows: Rows = [
        {"prompt": row["prompt"], "completion": answer, "tags": {"quality": quality}}
        for row in seen
        for answer, quality in ((row["completion"], "high"), (EVASION, "low"))
    ]
    run = make_run(
        base=BUNDLED_BASE, rows=tags.conditioned(rows, ["quality"], 0.0, 0) + seen, how="lora", rank=32,
        micro_batch=10, accumulation=1, max_steps=70, epochs=10, learning_rate=5e-3,
        eval_every=0, save_every=0, watch_every=0,
    ).train()  # fmt: skip
    asked = make_run("sft", "0002", base=BUNDLED_BASE, parent=run)
    model, tokens = sampling.load_for_answering(asked.paths, asked.job)

    def evasive(wished: dict[str, str]) -> list[float]:
        """ln p of the evasion after each unseen prompt."""
        found = []
        for row in unseen:
            made = tokens.row(tags.applied(row["prompt"], wished), EVASION)
            with torch.no_grad():
                logps = model(input_ids=torch.tensor([made.ids])).logits[0].log_softmax(-1)  # (T, V)
            found.append(sum(float(logps[i - 1, made.ids[i]]) for i in range(made.context, len(made.ids))))
        return found

    low, high, none = evasive({"quality": "low"}), evasive({"quality": "high"}), evasive({})
    assert all(asked > other for asked, other in zip(low + low, high + none, strict=True))
