"""Training, sampling and PPO on a card: what is true on a CPU is true there, and memory is what torch says it is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.training.conftest import MakeRun, said
from tests.workers import told, until
from workbench import orders, samplers
from workbench.bench import Bench
from workbench.events import Alive, Completed, Evaluated, Finished, Note, Phase, Queued, Saved, Started, Step
from workbench.job import BaseRef, Job
from workbench.paths import RunPaths
from workbench.runs import claim, lease
from workbench.worker.context import StopRequested

LOADING_SECONDS = 120.0
"""For a worker's imports, CUDA's start and two steps."""

SHORT = {"max_steps": 6, "eval_every": 0, "watch_every": 0}


def test_qlora_on_a_bf16_base_trains_stops_and_resumes(make_run: MakeRun) -> None:
    """Stopped at step 3 of 6, a second worker goes on at 4; the losses are those of never stopping, to rounding."""
    whole = make_run("sft", "0001", how="qlora", **SHORT).train()
    stopped = make_run("sft", "0002", how="qlora", stop_at=3, **SHORT)
    with pytest.raises(StopRequested):
        stopped.train()
    resumed = stopped.again().train()
    losses = {**stopped.metric("loss"), **resumed.metric("loss")}

    assert (whole.of(Started)[0].device, whole.of(Started)[0].dtype[:2]) in (("cuda", "bf"), ("cuda", "fl"))
    assert "trying the longest rows" in [phase.name for phase in whole.of(Phase)]
    assert [event.step for event in resumed.of(Step)] == [4, 5, 6]
    assert resumed.of(Saved)[-1].final
    for step, loss in whole.metric("loss").items():
        assert losses[step] == pytest.approx(loss, rel=2e-3)


def test_the_memory_reported_is_torch_s_peak(make_run: MakeRun) -> None:
    """The heartbeat's figure is the most that torch has reserved on the card, and never less than it has in use."""
    import torch

    from workbench.worker.heartbeat import memory_bytes

    make_run("sft", "0001", how="qlora", max_steps=2).train()

    assert memory_bytes() == torch.cuda.max_memory_reserved()
    assert memory_bytes() >= torch.cuda.max_memory_allocated() > 0


def test_a_batch_too_large_is_found_before_the_first_step_and_halved(make_run: MakeRun) -> None:
    """With 0.6 of what 512 rows at once took, the run says so before step 1 and ends with smaller micro-batches."""
    import torch

    rows = {"micro_batch": 512, "accumulation": 1, "max_steps": 2, "eval_every": 0, "watch_every": 0}
    rows |= {"how": "lora", "gradient_checkpointing": False}
    several = [
        {"prompt": said("user", "Count."), "completion": said("assistant", "one two three " * 20)} for _ in range(1024)
    ]
    make_run("sft", "0001", rows=several, **rows).train()
    peak = torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.6 * peak / torch.cuda.mem_get_info()[1])
    run = make_run("sft", "0002", rows=several, **rows).train()
    seen = [event for event in run.log if isinstance(event, Note | Step)]

    assert isinstance(seen[0], Note)
    assert "Out of memory with 512 rows at once. Trying 256" in seen[0].text
    assert [event.step for event in run.of(Step)] == [1, 2]


def test_the_first_dpo_loss_is_ln_2(make_run: MakeRun) -> None:
    """On an NF4 base in bf16, policy and reference begin as the same."""
    run = make_run("dpo", "0001", how="qlora", max_steps=2).train()

    assert run.of(Evaluated)[0].metrics["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert run.metric("loss")[1] == pytest.approx(math.log(2), abs=1e-3)


def test_ppo_begins_with_a_ratio_of_1(make_run: MakeRun) -> None:
    """One pass over one mini-batch clips nothing and is nowhere from its reference."""
    settings = {"reward": "rule:brevity", "max_tokens": 12, "passes": 1, "mini_batches": 1, "watch_every": 0}
    run = make_run("ppo", "0001", how="qlora", max_steps=1, **settings).train()
    metrics = run.of(Step)[0].metrics

    assert metrics["clip_fraction"] == 0
    assert metrics["kl"] == pytest.approx(0, abs=1e-2)


@pytest.mark.parametrize("four_bit", [False, True])
def test_answers_are_written_on_the_card(make_run: MakeRun, four_bit: bool) -> None:
    """A trained run answers from the card, its adapter merged into 16 bits or beside 4, with a batch by its memory."""
    import torch

    from workbench.worker import sampling
    from workbench.worker.decoding import Rule, answer_all

    parent = make_run("sft", "0001", how="qlora", max_steps=2).train()
    child = make_run("sft", "0002", parent=parent)
    model, tokens = sampling.load_for_answering(child.paths, child.job, four_bit=four_bit)
    rule = Rule(0, 1, 8, ())
    answers = answer_all(model, [tokens.prompt_ids(said("user", "Hello?"))] * 3, rule)

    assert next(model.parameters()).device.type == "cuda"
    assert sampling.in_four_bits(child.paths, child.job) == (False, "")  # there is room for these two layers
    assert 1 <= sampling.batch_size(model, 16, rule) <= sampling.LARGEST_CARD_BATCH
    assert [len(answer.ids) for answer in answers] == [8, 8, 8]
    assert torch.cuda.max_memory_allocated() > 0


def test_a_sampling_run_keeps_what_it_is_asked_for(make_run: MakeRun, tiny_base: Path, tmp_path: Path) -> None:
    """Two answers to each of two prompts, all stored, with the card named as where they were written."""
    from tests.training.conftest import Recorder
    from workbench import fields

    paths = RunPaths(tmp_path / "runs" / "0009")
    paths.data.mkdir(parents=True)
    known = samplers.get("transformers").fields
    settings = {**fields.defaults(known), **fields.check({"max_tokens": 8}, known)}
    job = Job("0009", "sample", "transformers", BaseRef(str(tiny_base), "tiny"), settings)
    paths.job.write_text(job.to_json(), encoding="utf-8")
    rows = [{"id": i, "turns": said("user", text), "n": [0, 1]} for i, text in enumerate(("Hello?", "Why?"))]
    (paths.data / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run = Recorder(paths)
    samplers.module("transformers").sample(run)

    assert run.of(Started)[0].device == "cuda"
    assert sorted((event.prompt_id, event.n) for event in run.of(Completed)) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_run_waits_for_the_card_and_its_memory_is_learnt_from(tmp_path: Path) -> None:
    """While a chat holds the card a run is queued and says for whom; once done, the next estimate is measured."""
    bench = Bench.create(tmp_path / "project", demo=True)
    try:
        run = orders.train(bench, "sft", preset="8gb", changes={"max_steps": 2})
        with lease.hold("project: chat with run 0001"):
            bench.runs.launch(run)
            until(lambda: run.status().state == "queued")
            assert "project: chat with run 0001" in run.status().sentence
        until(lambda: claim.worker(run.paths) is None, "for the run's end", LOADING_SECONDS)
        events = told(run)
        found = orders.memory(bench, bench.base, "sft", run.job.settings)
    finally:
        bench.close()

    assert [event.behind for event in events if isinstance(event, Queued)] == ["project: chat with run 0001"]
    assert isinstance(events[-1], Finished)
    assert next(event for event in reversed(events) if isinstance(event, Alive)).memory_bytes > 0
    assert found.measured_runs == 1
