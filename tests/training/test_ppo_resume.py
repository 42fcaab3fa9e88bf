"""A PPO run that is stopped, or that runs out of memory, goes on as if nothing had been."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from tests.training.conftest import MakeRun, Recorder
from tests.training.test_runs import tensors, weights_hash
from workbench.errors import MemoryFullError
from workbench.events import Evaluated, Note, Saved, Started, Step, Watched
from workbench.worker.context import StopRequested

pytestmark = pytest.mark.torch

SETTINGS: dict[str, Any] = {
    "reward": "rule:brevity",
    "max_tokens": 12,
    "mini_batches": 2,
    "passes": 2,
    "learning_rate": 5e-3,
    "epochs": 4,
    "max_steps": 6,
    "eval_every": 3,
    "kl_control": "adaptive",
    "target_kl": 0.5,
    "kl_horizon": 40,
    "scale_rewards": True,
}

TIMES = {"rollout_seconds", "score_seconds", "update_seconds", "episodes_per_second"}


def figures(run: Recorder) -> dict[int, dict[str, float | None]]:
    """All metrics of all steps, but for those that a clock gave."""
    return {
        event.step: {name: value for name, value in event.metrics.items() if name not in TIMES}
        for event in run.of(Step)
    }


def said(run: Recorder) -> dict[int, Any]:
    """The texts and rewards of the watched prompts, and what held-out ones came to, by step."""
    shown = {event.step: (event.samples, event.rewards) for event in run.of(Watched)}
    return {**shown, **{-event.step: event.metrics for event in run.of(Evaluated)}}


@pytest.mark.parametrize(("how", "value"), [("qlora", "adapter"), ("lora", "adapter"), ("lora", "head")])
def test_a_stopped_and_resumed_ppo_run_equals_the_uninterrupted_one(make_run: MakeRun, how: str, value: str) -> None:
    """Stopped at step 3 of 6: every metric, answer, beta, running score and weight is that of never stopping."""
    changes = {**SETTINGS, "how": how, "value": value}
    whole = make_run("ppo", "0001", **changes).train()
    stopped = make_run(
        "ppo", "0002", **changes, stop_at=4
    )  # while the fourth rollout is written: nothing of it is kept

    with pytest.raises(StopRequested):
        stopped.train()
    state = json.loads((stopped.paths.checkpoint(stopped.of(Saved)[-1].step) / "ppo.json").read_text())
    resumed = stopped.again().train()

    assert resumed.of(Started)[0].resumed_from == state["step"] == 3
    assert [event.step for event in resumed.of(Step)] == [4, 5, 6]
    assert figures(whole) == {**figures(stopped), **figures(resumed)}
    assert said(whole) == {**said(stopped), **said(resumed)}
    betas = [event.metrics["beta"] for event in whole.of(Step)]
    assert len(set(betas)) == 6  # it moved at every step, so that a forgotten one would show
    assert state["scores"]["count"] == 3 * 8
    assert weights_hash(whole.paths.model) == weights_hash(resumed.paths.model)


def test_too_little_memory_for_an_update_halves_the_micro_batch_and_keeps_the_mini_batch(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for 2 rows where 4 were asked: 2 x 2 rows, one note, and the gradients of a run that asked for 2 x 2."""
    import torch

    from workbench.worker.ppo.roles import Roles

    small = make_run("ppo", "0001", how="lora", **{**SETTINGS, "max_steps": 2, "micro_batch": 2, "accumulation": 2})
    small.train()
    hidden = Roles.hidden

    def tight(self: Any, rows: Any) -> Any:
        if torch.is_grad_enabled() and len(rows.ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return hidden(self, rows)

    monkeypatch.setattr(Roles, "hidden", tight)
    run = make_run("ppo", "0002", how="lora", **{**SETTINGS, "max_steps": 2, "micro_batch": 4, "accumulation": 1})
    run.train()

    (note,) = run.of(Note)
    assert note.level == "warning"
    assert "Out of memory with 4 rows at once. Trying 2, added up over 2: a step still sees 4 rows." in note.text
    assert [event.step for event in run.of(Step)] == [1, 2]
    assert figures(run) == figures(small)
    ours, theirs = tensors(run.paths.model), tensors(small.paths.model)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_too_little_memory_to_write_answers_halves_how_many_are_written_at_once(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for 5 answers at once, which the 4 held-out ones fit in, where 8 are asked: a note, and the same answers.

    Memory ends when the batch's random numbers are drawn already.
    """
    from workbench.worker import batches
    from workbench.worker.decoding import answer_all

    changes = {**SETTINGS, "max_steps": 1, "watch_every": 0, "how": "lora"}
    roomy = make_run("ppo", "0001", **changes).train()

    def tight(model: Any, ids: Any, rule: Any, draws: Any, *rest: Any, **named: Any) -> Any:
        if len(ids) > 5:
            for draw in draws:
                draw.random(rule.max_tokens)
            raise MemoryError("out of memory")
        return answer_all(model, ids, rule, draws, *rest, **named)

    monkeypatch.setattr(batches, "answer_all", tight)
    monkeypatch.setattr("workbench.worker.ppo.loop.batch_size", lambda *_: 8)
    run = make_run("ppo", "0002", **changes).train()

    (note,) = run.of(Note)
    assert note.text == "Out of memory with 8 answers at once; going on with 4."
    for name in ("reward", "length", "stopped"):
        assert run.metric(name) == roomy.metric(name)


def test_no_memory_for_a_single_answer_is_a_sentence(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one answer at once: a MemoryFullError that names what to lower, after halving down to one."""
    from workbench.worker import batches

    def full(*_: Any, **__: Any) -> Any:
        raise MemoryError("out of memory")

    monkeypatch.setattr(batches, "answer_all", full)
    run = make_run("ppo", how="lora", **{**SETTINGS, "max_steps": 1})

    with pytest.raises(MemoryFullError, match="Not even one answer"):
        run.train()
    halved = [int(note.text.split("with ")[1].split(" answers")[0]) for note in run.of(Note)]
    assert all(a // 2 == b for a, b in itertools.pairwise(halved))
