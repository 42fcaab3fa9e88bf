"""From what a person chose to a run on disk: settings resolved, base named, data frozen. Launches nothing.

Screens and command line both go through here, so that neither can order what the other cannot.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import workbench
from workbench import bases, examples, exports, fields, methods, presets, rewards, rows, samplers
from workbench.bench import Bench
from workbench.errors import InputError, RunError
from workbench.exports import plan
from workbench.job import BaseRef, Job
from workbench.records import Pair, Prompt, Split, turns_to_json
from workbench.runs import Run

WATCHED_PROMPTS = 4
"""Prompts answered during training: enough to see a change, few enough to cost a second."""

CHECK_PROMPTS = 16
"""Held-out prompts an export is verified on: some hundred greedy tokens, a share of 99 % is then meaningful."""

Rows = list[dict[str, Any]]


def train(
    bench: Bench,
    method_name: str,
    *,
    preset: str | None = None,
    changes: Mapping[str, Any] | None = None,
    parent: str | None = None,
    checkpoint: int | None = None,
    name: str = "",
) -> Run:
    """A training run, created and not launched. `parent` is the run whose weights it starts from; None is the base."""
    method = methods.get(method_name)
    chosen = presets.get(preset) if preset else suggested_preset(bench)
    settings = chosen.settings(method_name, changes)
    files, counts = training_rows(bench, method, float(settings["held_out"]))
    source = _source(bench, parent, checkpoint)
    judges: dict[str, Path] = {}
    if "reward" in settings:
        settings["reward"], judges = _reward(bench, str(settings["reward"]))
    job = Job(
        run="",
        kind="train",
        action=method_name,
        base=source.base,
        settings=settings,
        name=name,
        preset=chosen.name,
        parent=source.parent,
        lineage=source.lineage,
        checkpoint=checkpoint,
        counts=counts,
        rewards=tuple(judges),
        seed=int(settings["seed"]),
        created=time.time(),
        workbench=workbench.__version__,
    )
    files["watch.jsonl"] = [{"prompt": turns_to_json(p.turns)} for p in _some_prompts(bench, WATCHED_PROMPTS)]
    return bench.runs.create(job, files, start=source.adapter, rewards=judges)


def suggested_preset(bench: Bench) -> presets.Preset:
    """The largest preset that this machine's card holds."""
    vram = bench.hardware.vram_bytes or 0
    return presets.for_card(vram / 2**30, presets.all_presets())


def training_rows(bench: Bench, method: methods.Method, held_out: float) -> tuple[dict[str, Rows], dict[str, int]]:
    """A method's rows by file name, split by prompt, and what they hold in words; an InputError if there are none."""
    training, kept = examples.split_by_prompt(rows.of(bench, method.needs), held_out)
    return {"train.jsonl": training, "held_out.jsonl": kept}, {method.needs: len(training), "held out": len(kept)}


def pairs(bench: Bench) -> list[Pair]:
    """Every preference pair that the project's rankings and edits make, oldest first."""
    return examples.all_pairs(bench.store)


@dataclass(frozen=True)
class SampleOrder:
    """What to sample: `source` is a run's id or None for the base."""

    source: str | None = None
    checkpoint: int | None = None
    split: Split = "train"
    prompts: int = 0
    """At most so many prompts, those with fewest completions first; 0 is all of them."""
    changes: Mapping[str, Any] | None = None
    """Sampler fields that differ from their defaults: n, temperature, top_p, max_tokens, seed."""
    name: str = ""


def sample(bench: Bench, order: SampleOrder) -> Run:
    """A sampling run, created and not launched."""
    sampler = samplers.get("transformers")
    settings = {**fields.defaults(sampler.fields), **fields.check(order.changes or {}, sampler.fields)}
    chosen = bench.store.prompts_to_sample(order.split, limit=order.prompts or -1)
    if not chosen:
        raise InputError("There are no prompts to sample.", "Import some: workbench import FILE, or press 3.")
    source = _source(bench, order.source, order.checkpoint)
    numbers = list(range(int(settings["n"])))
    asked: Rows = [{"id": prompt.id, "turns": turns_to_json(prompt.turns), "n": numbers} for prompt in chosen]
    job = Job(
        run="",
        kind="sample",
        action=sampler.name,
        base=source.base,
        settings=settings,
        name=order.name,
        parent=source.parent,
        lineage=source.lineage,
        checkpoint=order.checkpoint,
        counts={"prompts": len(asked), "completions": len(asked) * len(numbers)},
        seed=int(settings["seed"]),
        created=time.time(),
        workbench=workbench.__version__,
    )
    return bench.runs.create(job, {"prompts.jsonl": asked}, start=source.adapter)


def export(bench: Bench, run_name: str, target: str, *, changes: Mapping[str, Any] | None = None) -> Run:
    """An export of a run's model, created and not launched. `changes` are the target's fields: quants, out."""
    known = exports.get(target)
    settings = {**fields.defaults(known.fields), **fields.check(changes or {}, known.fields)}
    if "quants" in settings:
        plan.parse_quants(str(settings["quants"]))
    source = _source(bench, run_name, None)
    check: Rows = [{"prompt": turns_to_json(prompt.turns)} for prompt in _some_prompts(bench, CHECK_PROMPTS)]
    job = Job(
        run="",
        kind="export",
        action=target,
        base=source.base,
        settings=settings,
        parent=source.parent,
        lineage=source.lineage,
        counts={"check prompts": len(check)},
        created=time.time(),
        workbench=workbench.__version__,
    )
    return bench.runs.create(job, {"check.jsonl": check}, start=source.adapter)


@dataclass(frozen=True)
class _Source:
    """The model a run starts from."""

    base: BaseRef
    parent: str | None = None
    lineage: tuple[str, ...] = ()
    adapter: Path | None = None


def _reward(bench: Bench, text: str) -> tuple[str, dict[str, Path]]:
    """The reward with every run by its id, and the folders of those runs' finished models."""
    found: dict[str, Path] = {}
    terms = rewards.parse(text)
    for place, term in enumerate(terms):
        if term.kind != "run":
            continue
        run = bench.runs.get(term.name)
        terms = (*terms[:place], replace(term, name=run.id), *terms[place + 1 :])
        if run.job.kind != "train" or methods.get(run.job.action).makes != "reward model":
            raise RunError(f"Run {run.id} is not a reward model.", "Train one on your rankings: workbench train reward")
        if not run.paths.model.is_dir():
            raise RunError(f"Run {run.id} has no finished model yet.", f"See workbench watch {run.id}.")
        found[run.id] = run.paths.model
    return rewards.written(terms), found


def _source(bench: Bench, parent: str | None, checkpoint: int | None) -> _Source:
    if parent is None:
        base = bases.resolve(bench.base)
        return _Source(BaseRef(base.spec, base.name, base.fingerprint))
    run = bench.runs.get(parent)
    if run.job.kind != "train":
        raise RunError(
            f"Run {run.id} is not a training run, so it has no model.",
            "Choose one that workbench runs lists as sft or dpo.",
        )
    if methods.get(run.job.action).makes == "reward model":
        raise RunError(
            f"Run {run.id} is a reward model: it scores answers and writes none.",
            f"Use it as a judge: workbench judge {run.id}, or as the reward of PPO: --set reward=run:{run.id}",
        )
    folder = run.paths.model if checkpoint is None else run.paths.checkpoint(checkpoint)
    if not folder.is_dir():
        what = "has no finished model yet" if checkpoint is None else f"has no checkpoint at step {checkpoint}"
        raise RunError(
            f"Run {run.id} {what}.",
            f"See workbench watch {run.id}; a stopped run goes on with workbench resume {run.id}.",
        )
    adapter = folder if (folder / "adapter_config.json").is_file() else None
    return _Source(run.job.base, run.id, (*run.job.lineage, run.id), adapter)


def _some_prompts(bench: Bench, count: int) -> list[Prompt]:
    """Held-out prompts if the project has any, evenly spread so that kinds mix; else training prompts."""
    for split in ("held_out", "train"):
        found = bench.store.prompts(split)
        if found:
            stride = max(1, len(found) // count)
            return found[::stride][:count]
    return []
