"""Sampling: the same answer whatever shares its batch, padding that changes nothing, and going on after a stop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import MakeRun, Recorder, said
from tests.training.export_fixtures import Limit
from workbench import fields, samplers
from workbench.events import Completed, Event, Note, Planned, Started, Step
from workbench.job import BaseRef, Job
from workbench.live import Live
from workbench.paths import BUNDLED_BASE, RunPaths
from workbench.runs import claim
from workbench.tail import Tail
from workbench.worker.context import RunContext, StopRequested
from workbench.worker.journal import Journal

pytestmark = pytest.mark.torch

QUESTIONS = ("What is 2 + 3?", "Say the opposite of high.", "Name the opposite of tall, please, if you would.", "Why?")
MakeSample = Callable[..., Recorder]


@pytest.fixture
def make_sample(tmp_path: Path) -> MakeSample:
    """Makes a sampling run on the bundled base."""

    def make(name: str, *, numbers: tuple[int, ...] = (0, 1), **changes: Any) -> Recorder:
        paths = RunPaths(tmp_path / "runs" / name)
        paths.data.mkdir(parents=True)
        known = samplers.get("transformers").fields
        settings = {**fields.defaults(known), **fields.check({"max_tokens": 24, **changes}, known)}
        job = Job(name, "sample", "transformers", BaseRef("bundled", "bundled"), settings)
        paths.job.write_text(job.to_json(), encoding="utf-8")
        rows = [{"id": i, "turns": said("user", q), "n": list(numbers)} for i, q in enumerate(QUESTIONS)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (paths.data / "prompts.jsonl").write_text(lines, encoding="utf-8")
        return Recorder(paths)

    return make


def sampled(run: Recorder) -> dict[tuple[int, int], str]:
    samplers.module("transformers").sample(run)
    return {(event.prompt_id, event.n): event.text for event in run.of(Completed)}


def test_a_completion_depends_on_its_seed_and_not_on_its_batch(make_sample: MakeSample) -> None:
    """Batches of 1 and of 8 give the same eight completions; another seed gives others; n = 0 and 1 differ."""
    alone = sampled(make_sample("0001", batch=1))
    together = sampled(make_sample("0002", batch=8))
    other = sampled(make_sample("0003", batch=8, seed=1))

    assert alone == together
    assert alone != other
    assert any(alone[i, 0] != alone[i, 1] for i in range(len(QUESTIONS)))


def test_a_stopped_sampling_run_goes_on_where_it_was(make_sample: MakeSample) -> None:
    """After a stop in the middle, the second worker writes only what is missing, and the whole is as without a stop."""
    whole = sampled(make_sample("0001", batch=3))
    run = make_sample("0002", batch=3)
    run.stop_at = 3
    with pytest.raises(StopRequested):
        sampled(run)
    first = {(event.prompt_id, event.n): event.text for event in run.of(Completed)}
    second = sampled(run.again())

    assert len(first) == 6
    assert not first.keys() & second.keys()
    assert whole == {**first, **second}
    assert all(event.metrics["completions_per_second"] > 0 for event in run.of(Step))


def test_a_resumed_run_counts_all_of_itself(make_sample: MakeSample) -> None:
    """Eight answers in batches of three, stopped after two: the next worker does step 3 of 3, and reports all eight."""
    first = make_sample("0001", batch=3)
    first.stop_at = 3
    with pytest.raises(StopRequested):
        sampled(first)
    second = first.again()
    summary = samplers.module("transformers").sample(second)
    live = Live()
    live.feed(Tail(second.paths.events).read())

    assert [event.step for event in (*first.of(Step), *second.of(Step))] == [1, 2, 3]
    assert [event.total_steps for event in (*first.of(Planned), *second.of(Planned))] == [3, 3]
    assert [event.resumed_from for event in (*first.of(Started), *second.of(Started))] == [None, 2]
    assert (live.completed, live.step, live.total_steps) == (8, 3, 3)
    assert live.metrics["completions_per_second"].x.tolist() == [1, 2, 3]
    assert summary["completions"] == 8
    spent = sum(event.seconds for event in (*first.of(Step), *second.of(Step)))
    assert summary["completions_per_second"] == pytest.approx(8 / spent, rel=0.2)


def test_a_full_disk_ends_the_real_sampler_at_once(make_sample: MakeSample, file_limit: Limit) -> None:
    """With room for two answers the sampler's first batch is its last, and a second worker writes the other six."""
    run = make_sample("0001", batch=2)
    claim.create(run.paths, "")
    journal = Journal(run.paths)

    def append_until_full(event: Event) -> None:
        journal.append(event)
        if isinstance(event, Step):
            file_limit(run.paths.events.stat().st_size)

    with pytest.raises(OSError, match="File too large"):
        samplers.module("transformers").sample(RunContext(run.paths, run.job, append_until_full))
    file_limit(2**40)
    kept = [event for event in Tail(run.paths.events).read() if isinstance(event, Completed)]

    assert len(kept) == 2
    assert len(sampled(run.again())) == 6


def test_no_answer_goes_beyond_what_the_model_was_made_to_read(make_sample: MakeSample) -> None:
    """A prompt of 500 of the 512 tokens gets an answer of 12, whoever shares its batch; a longer one gets none."""
    from workbench.tokens import ChatTokens

    tokens = ChatTokens(BUNDLED_BASE)
    run = make_sample("0001", batch=8, temperature=5.0)  # too bold to come to an end by itself
    rows = [json.loads(line) for line in (run.paths.data / "prompts.jsonl").read_text().splitlines()]
    for row, size in ((rows[0], 500), (rows[1], 512)):
        text = "a"
        while len(tokens.prompt_ids(said("user", text))) < size:
            text += " a"
        row["turns"] = said("user", text)
    (run.paths.data / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    sampled(run)

    written = {(event.prompt_id, event.n): event.tokens for event in run.of(Completed)}
    assert written == {(place, n): 12 if place == 0 else 24 for place in (0, 2, 3) for n in (0, 1)}
    assert [event.text for event in run.of(Note)] == [
        "2 answers are left out: their prompts fill the 512 tokens that the base was made to read."
    ]


def test_greedy_answers_are_those_of_generate(make_sample: MakeSample) -> None:
    """Temperature 0 writes token for token what transformers' own greedy generate writes for each prompt alone."""
    import torch
    from transformers import AutoModelForCausalLM

    from workbench.tokens import ChatTokens

    ours = sampled(make_sample("0001", temperature=0, numbers=(0,)))
    model = AutoModelForCausalLM.from_pretrained(BUNDLED_BASE, dtype=torch.float32)
    tokens = ChatTokens(BUNDLED_BASE)

    for index, question in enumerate(QUESTIONS):
        ids = torch.tensor([tokens.prompt_ids(said("user", question))])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24)
        assert tokens.decode(out[0, ids.shape[1] :].tolist()) == ours[index, 0]


def test_padding_on_the_left_does_not_change_a_logit() -> None:
    """The next-token logits of four prompts of unlike length, padded together and alone, differ by less than 1e-4."""
    import torch
    from transformers import AutoModelForCausalLM

    from workbench.tokens import ChatTokens
    from workbench.worker.decoding import left_padded

    model = AutoModelForCausalLM.from_pretrained(BUNDLED_BASE, dtype=torch.float32).eval()
    tokens = ChatTokens(BUNDLED_BASE)
    prompts = [tokens.prompt_ids(said("user", question)) for question in QUESTIONS]
    ids, mask = left_padded(prompts, torch.device("cpu"))
    with torch.inference_mode():
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        together = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, -1]
        alone = torch.stack([model(input_ids=torch.tensor([prompt])).logits[0, -1] for prompt in prompts])

    assert len({len(prompt) for prompt in prompts}) > 1
    assert float((together - alone).abs().max()) < 1e-4


def test_a_draw_picks_by_the_cumulative_distribution() -> None:
    """Of .5, .3, .2 draws of .49, .51, .79, .81 pick 0, 1, 1, 2; with top_p .6 only .625 and .375 remain."""
    import torch

    from workbench.worker.decoding import Rule, pick

    logits = torch.tensor([[0.5, 0.3, 0.2]]).log().repeat(4, 1)
    draws = torch.tensor([0.49, 0.51, 0.79, 0.81], dtype=torch.float64)

    assert pick(logits, Rule(1.0, 1.0, 1, ()), draws).tolist() == [0, 1, 1, 2]
    assert pick(logits, Rule(1.0, 0.6, 1, ()), draws).tolist() == [0, 0, 1, 1]
    assert pick(logits, Rule(0.0, 1.0, 1, ()), draws).tolist() == [0, 0, 0, 0]
    assert pick(logits, Rule(1.0, 0.0, 1, ()), draws).tolist() == [0, 0, 0, 0]


def test_a_cut_answer_says_so_and_an_ended_one_too(make_sample: MakeSample) -> None:
    """With 3 tokens at most, answers finish by 'length' and have 3 tokens; with 64, some finish by 'stop'."""
    short = make_sample("0001", max_tokens=3)
    sampled(short)
    long = make_sample("0002", max_tokens=64)
    sampled(long)

    assert {("length", 3)} == {(event.finish, event.tokens) for event in short.of(Completed)}
    assert "stop" in {event.finish for event in long.of(Completed)}
    assert not any("<|end|>" in event.text for event in long.of(Completed))


def test_a_run_answers_with_its_adapter_merged(make_run: MakeRun, tmp_path: Path) -> None:
    """The sampler's model equals base + adapter computed unmerged, to rounding, and has no adapter left."""
    import torch
    from peft import PeftModel

    from workbench.worker import model, sampling

    parent = make_run(how="lora", learning_rate=0.02).train()
    child = make_run("sft", "0002", how="lora", parent=parent)
    merged, _ = sampling.load_for_answering(child.paths, child.job)
    folder = model.base_of(child.job).path
    unmerged = PeftModel.from_pretrained(model.load_weights(folder, torch.float32), parent.paths.model).eval()
    ids = torch.arange(5, 25)[None]
    with torch.inference_mode():
        difference = (merged(input_ids=ids).logits - unmerged(input_ids=ids).logits).abs().max()
        with unmerged.disable_adapter():
            moved = (merged(input_ids=ids).logits - unmerged(input_ids=ids).logits).abs().max()

    assert not isinstance(merged, PeftModel)
    assert float(difference) < 1e-4
    assert float(moved) > 1e-2


def test_in_four_bits_the_adapter_stays_beside_the_weights(make_run: MakeRun) -> None:
    """Sampling on an NF4 base merges nothing: the logits are those of base and adapter as QLoRA trained them."""
    import torch
    from bitsandbytes.nn import Linear4bit
    from peft import PeftModel

    from workbench.worker import model, sampling
    from workbench.worker.decoding import Rule, answer_all

    parent = make_run(how="qlora", learning_rate=0.02).train()
    child = make_run("sft", "0002", how="lora", parent=parent)
    quantised, tokens = sampling.load_for_answering(child.paths, child.job, four_bit=True)
    folder = model.base_of(child.job).path
    trained = PeftModel.from_pretrained(
        model.load_weights(folder, torch.float32, four_bit=True), parent.paths.model
    ).eval()
    ids = torch.arange(5, 25)[None]
    with torch.inference_mode():
        ours = quantised(input_ids=ids).logits
        assert torch.equal(ours, trained(input_ids=ids).logits)
        with trained.disable_adapter():
            assert float((ours - trained(input_ids=ids).logits).abs().max()) > 1e-2

    assert sum(isinstance(module, Linear4bit) for module in quantised.modules()) == 14  # two blocks of seven
    assert sampling.in_four_bits(child.paths, child.job) == (False, "")  # a CPU has no card to be too small
    assert answer_all(quantised, [tokens.prompt_ids(said("user", "Hello?"))], Rule(0, 1, 3, ()))[0].ids
