"""The trial of the longest rows before the first step: it is of the longest, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.training.conftest import MakeRun
from tests.training.test_runs import weights_hash
from workbench.events import Phase, Step

pytestmark = pytest.mark.torch

TRIED = "trying the longest rows"


@pytest.mark.parametrize("action", ["sft", "dpo", "kto", "orpo", "simpo", "reward"])
def test_a_trial_changes_nothing(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    """With dropout, a run with a trial has the losses, gradients and weights of one without, to the last bit."""
    from workbench.worker import trial

    shape: dict[str, Any] = {"how": "lora", "dropout": 0.1, "max_steps": 2, "eval_every": 0, "watch_every": 0}
    without = make_run(action, "0001", **shape).train()
    monkeypatch.setattr(trial, "DEVICES", ("cpu",))
    tried = make_run(action, "0002", **shape).train()
    timing = ("tokens_per_second",)
    figures = [
        [{name: value for name, value in step.metrics.items() if name not in timing} for step in run.of(Step)]
        for run in (without, tried)
    ]

    assert [TRIED in [phase.name for phase in run.of(Phase)] for run in (without, tried)] == [False, True]
    assert figures[0] == figures[1]
    assert [step.tokens for step in without.of(Step)] == [step.tokens for step in tried.of(Step)]
    assert weights_hash(without.paths.model) == weights_hash(tried.paths.model)


def test_the_rows_tried_are_the_longest() -> None:
    """Of rows with 3, 1 + 4 and 2 tokens the second is the longest and then the first, in lists of lists too."""
    from datasets import Dataset

    from workbench.worker.trial import longest

    flat = [
        {"a": [1, 2, 3], "b": [], "c": 9.0},
        {"a": [1], "b": [1, 2, 3, 4], "c": 0.0},
        {"a": [1], "b": [1], "c": 5.0},
    ]
    nested = [{"ids": [[1], [2, 3]]}, {"ids": [[1, 2, 3, 4, 5]]}, {"ids": [[1, 2]]}]

    assert longest(Dataset.from_list(flat), 2) == [1, 0]
    assert longest(Dataset.from_list(flat).select([2, 1, 0]), 2) == [1, 2]
    assert longest(Dataset.from_list(nested), 2) == [1, 0]


def test_a_lack_of_memory_in_the_trial_shrinks_the_batch_before_a_step(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two long rows at once that do not fit are found before step 1; the run goes on with one at a time."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from workbench.events import Note
    from workbench.worker import trial

    monkeypatch.setattr(trial, "DEVICES", ("cpu",))
    collate = DataCollatorForLanguageModeling.torch_call

    def small(self: Any, rows: list[Any]) -> Any:
        if len(rows) > 1:
            raise RuntimeError("CUDA out of memory.")
        return collate(self, rows)

    monkeypatch.setattr(DataCollatorForLanguageModeling, "torch_call", small)
    run = make_run("sft", "0001", how="lora", max_steps=2, eval_every=0, watch_every=0, held_out=0.0).train()
    kinds = [type(event).__name__ for event in run.log if isinstance(event, Note | Step)]

    assert kinds == ["Note", "Step", "Step"]
    assert "Trying 1" in run.of(Note)[0].text
