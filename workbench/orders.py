"""From what a person chose to a run on disk: settings resolved, base named, data frozen. Launches nothing.

Screens and command line both go through here, so that neither can order what the other cannot.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import workbench
from workbench import (
    bases,
    examples,
    exports,
    fields,
    judging,
    measured,
    methods,
    presets,
    rewards,
    rows,
    samplers,
    tags,
    tuning,
)
from workbench.bases import ancestry
from workbench.bench import Bench
from workbench.errors import ExportError, InputError, RunError, SettingError
from workbench.exports import original, plan
from workbench.exports.folder import folder_for
from workbench.fit import Estimate
from workbench.job import BaseRef, Job
from workbench.methods.shared import ADAPTERS
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
    files, counts = frozen_rows(bench, method, settings)
    source = _source(bench, parent, checkpoint)
    settings = tuning.settled(settings, changes or {}, source.adapter, source.parent)
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
    files["watch.jsonl"] = [
        {"prompt": turns_to_json(p.turns), "answer": p.answer or ""} for p in _some_prompts(bench, WATCHED_PROMPTS)
    ]
    return bench.runs.create(job, files, start=source.adapter, rewards=judges)


def suggested_preset(bench: Bench) -> presets.Preset:
    """The largest preset that this machine's card holds."""
    vram = bench.hardware.vram_bytes or 0
    return presets.for_card(vram / 2**30, presets.all_presets())


def training_rows(
    bench: Bench, method: methods.Method, held_out: float, judges: str = ""
) -> tuple[dict[str, Rows], dict[str, int]]:
    """A method's rows by file name, split by prompt, and what they hold in words; an InputError if there are none."""
    training, kept = examples.split_by_prompt(rows.of(bench, method.needs, judges), held_out)
    return {"train.jsonl": training, "held_out.jsonl": kept}, {method.needs: len(training), "held out": len(kept)}


def frozen_rows(
    bench: Bench, method: methods.Method, settings: Mapping[str, Any]
) -> tuple[dict[str, Rows], dict[str, int]]:
    """The rows as a run with these settings freezes and trains on them: judges chosen, control prefixes put on."""
    files, counts = training_rows(bench, method, float(settings["held_out"]), str(settings.get("judges", "")))
    names = tags.names_in(str(settings.get("tags", "")))
    if names:
        tags.check_known(names, [row for rows_of_file in files.values() for row in rows_of_file])
        seed, untagged = int(settings["seed"]), float(settings["untagged"])
        files = {
            name: tags.conditioned(found, names, untagged if name == "train.jsonl" else 0.0, seed)
            for name, found in files.items()
        }
    return files, counts


def pairs(bench: Bench, judges: str = "") -> list[Pair]:
    """Every preference pair that the project's rankings and edits make, of the judges that count, oldest first."""
    return examples.all_pairs(bench.store, judges=judges)


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
    wished = tags.parse(str(settings.get("tags", "")))
    check_tags(bench, wished, source.lineage)
    asked: Rows = [
        {"id": prompt.id, "turns": tags.applied(turns_to_json(prompt.turns), wished), "n": numbers} for prompt in chosen
    ]
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


def check_tags(bench: Bench, wished: Mapping[str, str], lineage: Sequence[str]) -> None:
    """A SettingError where none of these runs was trained with a tag of that name: it would be so much noise."""
    jobs = [bench.runs.get(run_id).job for run_id in lineage if run_id in bench.runs.ids()]
    known = {name for job in jobs for name in tags.names_in(str(job.settings.get("tags", "")))}
    for name in wished:
        if name not in known:
            raise SettingError(
                f"The model was not trained with a tag called {name!r}.",
                f"It knows: {', '.join(sorted(known))}."
                if known
                else "Train one: workbench train sft --set tags=quality",
            )


def export(bench: Bench, model: str, target: str, *, changes: Mapping[str, Any] | None = None) -> Run:
    """An export of a run's model or of one in a folder, created, not launched. `changes` are the target's fields."""
    known = exports.get(target)
    settings = {**fields.defaults(known.fields), **fields.check(changes or {}, known.fields)}
    if "quants" in settings:
        plan.parse_quants(str(settings["quants"]))
    source = _foreign(model, settings) if original.is_folder(model) else _source(bench, model, None)
    if source.adapter is not None and ancestry.is_soft_prompt(source.adapter):
        raise ExportError(
            f"Run {source.parent} is a soft prompt, which stands before the text: it can be merged into no weights.",
            f"Sample from it, or talk to it: workbench chat {source.parent}. Tuned with how=lora it could be exported.",
        )
    if out := str(settings.get("out") or "").strip():
        folder_for(out, source.parent)
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


def trained(
    bench: Bench, method: str, settings: Mapping[str, Any], parent: str | None = None, checkpoint: int | None = None
) -> tuple[int, int]:
    """How many weights of the model a run with these settings would tune, and how many the base has."""
    source = _source(bench, parent, checkpoint)
    base = bases.resolve(source.base.path)
    whole = None
    if source.parent is not None:
        run = bench.runs.get(source.parent)
        own = run.paths.model if checkpoint is None else run.paths.checkpoint(checkpoint)
        found = own if source.adapter is None else ancestry.whole_weights(run.paths, run.job, base.path)
        whole = found if found != base.path else None
    scores = methods.get(method).makes == "reward model"
    return tuning.trained(base, settings, source.adapter, whole, scalar_head=scores), base.parameters


@dataclass(frozen=True)
class _Source:
    """The model a run starts from."""

    base: BaseRef
    parent: str | None = None
    lineage: tuple[str, ...] = ()
    adapter: Path | None = None


def _foreign(model: str, settings: dict[str, Any]) -> _Source:
    """A model that no run here made: whole in a folder, or an adapter, whose base is then found and noted."""
    adapter, base = original.in_folder(model, str(settings["base16"]))
    settings["adapter"] = str(adapter or "")
    return _Source(BaseRef(base.spec, base.name, base.fingerprint))


def _reward(bench: Bench, text: str) -> tuple[str, dict[str, Path]]:
    """The reward with every run by its id, and the folders of those runs' finished models."""
    found: dict[str, Path] = {}
    terms = rewards.parse(text)
    for place, term in enumerate(terms):
        if term.kind != "run":
            continue
        run = judging.reward_run(bench, term.name)
        terms = (*terms[:place], replace(term, name=run.id), *terms[place + 1 :])
        found[run.id] = run.paths.model
    text = rewards.written(terms)
    rewards.parse(text)  # run:4 and run:0004 are one
    return text, found


def reward_bases(bench: Bench, settings: Mapping[str, Any]) -> list[bases.Base]:
    """The bases that a reward's models bring along: one that the policy tunes an adapter on is shared with it."""
    if "reward" not in settings:
        return []
    own, found = bases.resolve(bench.base), []
    for term in rewards.parse(str(settings["reward"])):
        if term.kind != "run":
            continue
        made = judging.reward_run(bench, term.name).job
        adapters = settings["how"] in ADAPTERS and made.settings["how"] in ADAPTERS
        if not adapters or made.base.path != own.spec:
            found.append(bases.resolve(made.base.path))
    return found


def memory(bench: Bench, base: str, method: str, settings: Mapping[str, Any]) -> Estimate:
    """What a run on that base needs of this machine's memory: by what earlier runs measured, else worked out."""
    found = bases.resolve(base)
    past = measured.past_runs(bench.runs.all("train"), found, method, str(settings["how"]))
    beside = reward_bases(bench, settings)
    return measured.estimate(found, found.fingerprint, settings, method, bench.hardware, past, beside)


def _source(bench: Bench, parent: str | None, checkpoint: int | None) -> _Source:
    if parent is None:
        base = bases.resolve(bench.base)
        return _Source(BaseRef(base.spec, base.name, base.fingerprint))
    run = bench.runs.get(parent)
    if run.job.kind != "train":
        raise RunError(
            f"Run {run.id} is not a training run, so it has no model.",
            "Choose one that trained: workbench runs",
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
