"""Too little memory and losses that are no number, for the trainers on pairs and rankings."""

from __future__ import annotations

from typing import Any

import pytest

from tests.training.conftest import MakeRun
from workbench.errors import MemoryFullError, RunError
from workbench.events import Note, Saved, Step

pytestmark = pytest.mark.torch

METHODS = ("dpo", "reward", "orpo", "simpo")


def trainer_of(action: str) -> Any:
    """The class that trains a method."""
    from workbench.worker.reference_free import MarginTrainer, OddsTrainer
    from workbench.worker.reward_training import RankingTrainer
    from workbench.worker.trainers import PreferenceTrainer

    return {"dpo": PreferenceTrainer, "reward": RankingTrainer, "orpo": OddsTrainer, "simpo": MarginTrainer}[action]


def holding(rows: int, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    """Makes of this machine one whose memory holds so many rows at once."""
    import torch

    step = trainer_of(action).training_step

    def small(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.args.per_device_train_batch_size > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return step(self, *args, **kwargs)

    monkeypatch.setattr(trainer_of(action), "training_step", small)


@pytest.mark.parametrize("action", METHODS)
def test_the_micro_batch_shrinks_and_the_batch_stays(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """With room for two rows, 4 at once become 2 added up twice: one note, and the first step's loss is the same."""
    settings: dict[str, Any] = {"how": "lora", "micro_batch": 4, "accumulation": 1, "max_steps": 1, "watch_every": 0}
    whole = make_run(action, "0001", **settings).train()
    holding(2, monkeypatch, action)
    shrunk = make_run(action, "0002", **settings).train()

    told = [note.text for note in shrunk.of(Note) if "Trying" in note.text]
    assert told == ["Out of memory with 4 rows at once. Trying 2, added up over 2: a step still sees 4 rows."]
    assert [event.step for event in shrunk.of(Step)] == [1]
    assert shrunk.metric("loss")[1] == pytest.approx(whole.metric("loss")[1], rel=1e-4)


@pytest.mark.parametrize("action", METHODS)
def test_what_never_fits_ends_after_four_tries_with_a_hint(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """Memory for no row at all: 8, 4, 2 and 1 rows are tried, and the hint names settings that lower the need."""
    holding(0, monkeypatch, action)
    run = make_run(action, how="lora", micro_batch=8, accumulation=1, max_steps=1, watch_every=0)

    with pytest.raises(MemoryFullError, match="does not fit") as caught:
        run.train()
    tries = [note.text.split("Trying ")[1].split(",")[0] for note in run.of(Note) if "Trying" in note.text]
    assert tries == ["4", "2", "1"]
    assert "max_length" in caught.value.hint


@pytest.mark.parametrize("action", METHODS)
def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """From step 2 on the loss is NaN: the checkpoint of step 1 is the last, and the third such step ends the run."""
    trainer = trainer_of(action)
    compute = trainer.compute_loss

    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = compute(self, *args, **kwargs)
        return loss * float("nan") if self.model.training and self.state.global_step >= 1 else loss

    monkeypatch.setattr(trainer, "compute_loss", broken)
    run = make_run(action, how="lora", max_steps=9, save_every=1, eval_every=0, watch_every=0)

    with pytest.raises(RunError, match="diverged"):
        run.train()
    assert [event.step for event in run.of(Saved)] == [1]
    assert list(run.metric("loss")) == [1, 2, 3, 4]
    assert run.metric("loss")[2] is None
    assert not run.paths.model.exists()
