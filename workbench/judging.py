"""Reward models as judges of a project: ordering a scoring run, taking in what it found, and how far it can be trusted.

What a reward model says is stored under its own name, `reward:0004`, and trains nothing unless that name is given.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import workbench
from workbench import calibration, examples, fields, methods
from workbench.calibration import Calibration
from workbench.errors import InputError, RunError
from workbench.job import Job
from workbench.judges import reward_model
from workbench.records import Ranking, turns_to_json

if TYPE_CHECKING:
    from workbench.bench import Bench
    from workbench.runs import Run
    from workbench.store import Store


@dataclass(frozen=True)
class JudgeOrder:
    """What to judge: `run` is the reward model's, `sampled` the sampling run whose completions; None is all."""

    run: str
    sampled: str | None = None
    changes: Mapping[str, Any] | None = None
    """Fields of the judge that differ from their defaults: label, margin."""
    name: str = ""


def reward_run(bench: Bench, name: str) -> Run:
    """The finished reward model that a person means; `last` is the newest one."""
    if name == "last":
        known = reward_models(bench)
        if not known:
            raise RunError("There is no reward model yet.", "Train one on your rankings: workbench train reward")
        return known[0]
    run = bench.runs.get(name)
    if methods.made_by(run.job) != "reward model":
        raise RunError(f"Run {run.id} is not a reward model.", "Train one on your rankings: workbench train reward")
    if not run.paths.model.is_dir():
        raise RunError(f"Run {run.id} has no finished model yet.", f"See workbench watch {run.id}.")
    return run


def reward_models(bench: Bench) -> list[Run]:
    """Finished reward models, the newest first."""
    finished = (run for run in reversed(bench.runs.all("train")) if run.paths.model.is_dir())
    return [run for run in finished if methods.made_by(run.job) == "reward model"]


def settings(wish: JudgeOrder) -> dict[str, fields.Value]:
    """The judge's settings, complete."""
    known = reward_model.JUDGE.fields
    return {**fields.defaults(known), **fields.check(wish.changes or {}, known)}


def order(bench: Bench, wish: JudgeOrder) -> Run | None:
    """A scoring run of all that the judge has not scored yet, created and not launched; None where nothing is left."""
    run = reward_run(bench, wish.run)
    settled = settings(wish)
    sampled = bench.runs.get(wish.sampled).id if wish.sampled else None
    unscored = bench.store.unscored(reward_model.judge_name(run.id), job=sampled)
    rows: list[dict[str, Any]] = [
        {"turns": turns_to_json(prompt.turns), "completions": answers} for prompt, answers in unscored
    ]
    if not rows:
        if bench.store.counts().completions == 0:
            raise InputError("There are no completions to score.", "Let a model answer first: workbench sample")
        return None
    adapter = run.paths.model if (run.paths.model / "adapter_config.json").is_file() else None
    job = Job(
        run="",
        kind="score",
        action=reward_model.JUDGE.name,
        base=run.job.base,
        settings=settled,
        name=wish.name,
        parent=run.id,
        lineage=(*run.job.lineage, run.id),
        counts={"prompts": len(rows), "completions": sum(len(row["completions"]) for row in rows)},
        created=time.time(),
        workbench=workbench.__version__,
    )
    return bench.runs.create(job, {"completions.jsonl": rows}, start=adapter)


def take_in(store: Store, job: Job, scores: Iterable[list[float]]) -> int:
    """Stores what a scoring run found; how many. Taking it in again changes nothing."""
    sound = [(int(row[0]), float(row[1])) for row in scores if len(row) == 2]
    return store.add_scores(reward_model.judge_name(job.parent or ""), sound)


def finish(store: Store, job: Job) -> None:
    """What a finished scoring run was asked for beside scores: rankings."""
    if job.settings["label"]:
        label(store, reward_model.judge_name(job.parent or ""), float(job.settings["margin"]))


def label(store: Store, judge: str, margin: float = 0.0) -> int:
    """Ranks every prompt by a judge's scores of its completions; how many rankings are new.

    What the judge had said of a prompt before is taken back: scores of new completions change the order.
    """
    found = [
        reward_model.ranking(prompt_id, store.scores(judge, prompt_id), judge, margin)
        for prompt_id in store.scored_prompts(judge)
    ]
    return store.replace_rankings(judge, found)


def margins(store: Store, judge: str, rankings: Iterable[Ranking]) -> list[float]:
    """r(better) - r(worse) for every two completions that a ranking tells apart and the judge has scored."""
    found = []
    for ranking in rankings:
        scores = store.scores(judge, ranking.prompt_id)
        texts = {completion: str(completion) for completion in scores}
        found += [scores[winner] - scores[loser] for winner, loser in examples.decisions(ranking, texts)]
    return found


def measured(store: Store, judge: str, rankings: Iterable[Ranking]) -> Calibration | None:
    """How a judge's scores agree with rankings by somebody else; None where they have nothing in common."""
    return calibration.calibrate(margins(store, judge, rankings))
