"""A sampling run: loads the model as an export would write it, and answers prompts in batches of like length."""

from __future__ import annotations

import time
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from workbench import events, precision
from workbench.bases import ancestry
from workbench.bases.model_folder import read_base
from workbench.events import Completed, Metrics, Planned, Step
from workbench.job import Job
from workbench.paths import RunPaths
from workbench.tokens import ChatTokens
from workbench.worker import batches, data, endings, model, soft_prompt
from workbench.worker.context import RunContext, StopRequested
from workbench.worker.decoding import Answer, Interrupted, Rule, answer_all, seed_of
from workbench.worker.log import quiet_libraries

CPU_BATCH = 64
"""Measured on two cores with the bundled base: 64 rows write 1.4 times what 32 write in a second, 128 hardly more."""

CARD_SHARE = 0.5
"""Share of the card's free memory that the batch's keys, values and logits may take."""

LARGEST_CARD_BATCH = 256


@dataclass(frozen=True)
class Wanted:
    """One completion to write."""

    prompt_id: int
    n: int
    ids: list[int]


@dataclass(frozen=True)
class Before:
    """What earlier workers of the run did: the completions written, the last step's number, and seconds spent."""

    held: frozenset[tuple[int, int]] = frozenset()
    step: int = 0
    seconds: float = 0.0


def run(context: RunContext) -> Metrics:
    """Writes the completions that are still missing, longest prompts first, so that a lack of memory shows at once."""
    quiet_libraries()
    settings = context.job.settings
    before = done_before(context.paths.events)
    four_bit, why = in_four_bits(context.paths, context.job)
    dtype = "nf4" if four_bit else str(model.working_dtype()).removeprefix("torch.")
    context.started(str(model.device()), dtype, resumed_from=before.step if before.held else None)
    if why:
        context.note(why, "warning")
    context.phase("loading the model")
    language_model, tokens = load_for_answering(context.paths, context.job, four_bit=four_bit)
    rule = Rule(
        temperature=float(settings["temperature"]),
        top_p=float(settings["top_p"]),
        max_tokens=int(settings["max_tokens"]),
        end_ids=tuple(tokens.end_ids),
    )
    everything, missing = wanted(context.paths, tokens, before.held)
    missing = _fitting(context, missing)
    size = int(settings["batch"]) or batch_size(language_model, max((len(w.ids) for w in missing), default=0), rule)
    context.emit(Planned(total_steps=before.step + -(-len(missing) // size), examples=everything))
    context.phase("sampling")
    return _sample(context, language_model, tokens, rule, missing, size, before)


def _sample(
    context: RunContext,
    language_model: Any,
    tokens: ChatTokens,
    rule: Rule,
    missing: list[Wanted],
    size: int,
    before: Before,
) -> Metrics:
    began = time.monotonic() - before.seconds
    written, step = len(before.held), before.step
    queue = missing
    while queue:
        context.check_stop()
        batch, rest = queue[:size], queue[size:]
        batch_began = time.monotonic()
        answers = _answers(context, language_model, batch, rule)
        if not answers:
            size = batches.smaller(context, size)
            context.emit(Planned(total_steps=step + -(-len(queue) // size), examples=len(before.held) + len(missing)))
            continue
        for want, answer in zip(batch, answers, strict=True):
            context.emit(
                Completed(
                    prompt_id=want.prompt_id,
                    n=want.n,
                    text=tokens.decode(answer.ids),
                    tokens=len(answer.ids),
                    finish="stop" if answer.ended else "length",
                )
            )
        queue = rest
        written += len(batch)
        step += 1
        seconds = time.monotonic() - batch_began
        count = sum(len(answer.ids) for answer in answers)
        metrics: Metrics = {"completions_per_second": len(batch) / seconds, "tokens_per_second": count / seconds}
        context.emit(Step(step=step, metrics=metrics, seconds=seconds, tokens=count))
    return {"completions": float(written), "completions_per_second": written / max(time.monotonic() - began, 1e-9)}


def _answers(context: RunContext, language_model: Any, batch: list[Wanted], rule: Rule) -> list[Answer]:
    """The answers of one batch; none where it does not fit into memory."""
    seed = int(context.job.settings["seed"])
    try:
        return answer_all(
            language_model,
            [want.ids for want in batch],
            rule,
            [seed_of(seed, want.prompt_id, want.n) for want in batch],
            context.stop_requested,
        )
    except Interrupted:
        raise StopRequested from None
    except (RuntimeError, MemoryError) as error:
        if not endings.is_out_of_memory(error):
            raise
        return []


def wanted(paths: RunPaths, tokens: ChatTokens, held: Container[tuple[int, int]]) -> tuple[int, list[Wanted]]:
    """How many completions the job asks for, and those that are not held yet, longest prompts first."""
    everything = 0
    missing = []
    for row in data.read_rows(paths.data / "prompts.jsonl"):
        everything += len(row["n"])
        numbers = [n for n in row["n"] if (row["id"], n) not in held]
        if numbers:
            ids = tokens.prompt_ids(row["turns"])
            missing += [Wanted(row["id"], n, ids) for n in numbers]
    missing.sort(key=lambda want: (-len(want.ids), want.prompt_id, want.n))
    return everything, missing


def _fitting(context: RunContext, missing: list[Wanted]) -> list[Wanted]:
    """Those whose prompts leave room for an answer; says how many do not."""
    longest = model.base_of(context.job).context
    fitting = [want for want in missing if not longest or len(want.ids) < longest]
    if len(fitting) < len(missing):
        context.note(
            f"{len(missing) - len(fitting)} answers are left out: their prompts fill the {longest} tokens that the "
            "base was made to read.",
            "warning",
        )
    return fitting


def done_before(log: Path) -> Before:
    """What an event log, whose last line may be torn, says of earlier workers."""
    if not log.is_file():
        return Before()
    held: set[tuple[int, int]] = set()
    step, seconds = 0, 0.0
    with log.open("rb") as lines:
        for line in lines:
            event = events.decode(line)
            if isinstance(event, Completed):
                held.add((event.prompt_id, event.n))
            elif isinstance(event, Step):
                step, seconds = max(step, event.step), seconds + event.seconds
    return Before(frozenset(held), step, seconds)


def batch_size(language_model: Any, longest_prompt: int, rule: Rule) -> int:
    """How many answers fit at once: a fixed number on a CPU, what the free memory of a card holds otherwise."""
    if not torch.cuda.is_available():
        return CPU_BATCH
    config = language_model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    kept = 2 * config.num_hidden_layers * heads * width * 2 * (longest_prompt + rule.max_tokens)  # keys and values
    logits = config.vocab_size * 8 * 4  # probabilities in double, and what sorts them
    free, _ = torch.cuda.mem_get_info()
    return max(1, min(LARGEST_CARD_BATCH, int(free * CARD_SHARE) // (2 * kept + logits)))  # a growing cache is copied


def in_four_bits(paths: RunPaths, job: Job) -> tuple[bool, str]:
    """Whether the model answers in 4 bits because the card has no room for 16, and why; never on a CPU."""
    if not torch.cuda.is_available():
        return False, ""
    folder = ancestry.whole_weights(paths, job, model.base_of(job).path)
    base = read_base(folder, str(folder), folder.name)
    free, _ = torch.cuda.mem_get_info()
    if precision.bits_for(base, free) == 16:
        return False, ""
    return True, precision.note_of(base, free)  # where not even that fits by the arithmetic, the card has the last word


def load_for_answering(paths: RunPaths, job: Job, *, four_bit: bool = False) -> tuple[Any, ChatTokens]:
    """The base with the run's starting adapter, 16-bit on a card and fp32 on a CPU, and its tokens.

    The adapter is merged in, except into 4-bit weights: rounded to 4 bits again it would be lost.
    """
    base = model.base_of(job).path
    whole = ancestry.whole_weights(paths, job, base)
    language_model = model.load_weights(whole, model.working_dtype(), four_bit=four_bit)
    for adapter in ancestry.layers(paths.start):
        language_model = PeftModel.from_pretrained(language_model, adapter)
        if not soft_prompt.is_soft(language_model):
            language_model = language_model.get_base_model() if four_bit else language_model.merge_and_unload()
    language_model.config.use_cache = True
    return language_model.eval(), ChatTokens(base)
