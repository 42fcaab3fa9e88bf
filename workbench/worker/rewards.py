"""What answers are worth: the weighted sum of a job's reward models, rules and classifiers.

A reward model of the policy's own base becomes an adapter and a head beside the policy's, so it costs no second base;
one of another base, or of whole weights, is loaded beside. Scoring leaves the policy, its modes and the random state as
they were.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from workbench import bases, rewards
from workbench.bases import ancestry
from workbench.bases.model_folder import Base
from workbench.errors import RunError, WorkbenchError
from workbench.job import read_job
from workbench.judges.reward_model import read_card
from workbench.judges.rules import RULES
from workbench.paths import RunPaths
from workbench.rewards import Term
from workbench.tokens import ChatTokens
from workbench.worker import classifier, reward_model
from workbench.worker.context import RunContext
from workbench.worker.reward_model import RewardModel

Rows = Sequence[Mapping[str, Any]]
Score = Callable[[Rows, Sequence[Sequence[int]], Sequence[str]], torch.Tensor]
"""(prompt rows, token ids of whole conversations, texts of answers) to (N,) fp32 on the CPU."""


class Rewards:
    """A job's reward. `model` is the policy in memory: reward models of the same base are attached to it."""

    def __init__(self, context: RunContext, model: Any, tokens: ChatTokens) -> None:
        self.terms = rewards.parse(str(context.job.settings["reward"]))
        self.attached: dict[str, RewardModel] = {}
        """Reward models that share the policy's base, by their runs' ids."""
        self._tokens = tokens
        self._scores: list[tuple[Term, Score]] = [(term, self._scorer(context, model, term)) for term in self.terms]

    def of(
        self, rows: Rows, ids: Sequence[Sequence[int]], texts: Sequence[str]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The reward of each answer, (N,) fp32 on the CPU, and each term's own score by its name, weight left out.

        `rows` are the run's frozen prompt rows, `ids` whole conversations with the end token, `texts` the answers.
        """
        apart: dict[str, torch.Tensor] = {}
        total = torch.zeros(len(ids))
        for term, score in self._scores:
            found = score(rows, ids, texts)
            apart[term.label] = found
            total = total + term.weight * found
        return total, apart

    def _scorer(self, context: RunContext, model: Any, term: Term) -> Score:
        if term.kind == "rule":
            points = RULES[term.name].points
            return lambda rows, ids, texts: torch.tensor(
                [points(text, row.get("answer") or "") for row, text in zip(rows, texts, strict=True)]
            )
        if term.kind == "classifier":
            return classifier.load(term.name).score
        scorer = self._reward_model(context, model, term.name)
        return lambda rows, ids, texts: scorer.score(ids).cpu()

    def _reward_model(self, context: RunContext, model: Any, run_id: str) -> RewardModel:
        folder = context.paths.reward(run_id)
        if not folder.is_dir():
            raise RunError(
                f"The reward model of run {run_id} is not in this run's folder.", "Order the run again: it was changed."
            )
        base = _base_of(context.paths, run_id, folder)
        if _shares_base(context, folder, base.path):
            self.attached[run_id] = reward_model.attach(model, folder, f"reward-{run_id}")
            return self.attached[run_id]
        context.note(
            f"The reward model {run_id} has a base of its own ({base.name}), which is loaded beside the policy's."
        )
        return reward_model.load(folder, base, four_bit=read_card(folder).four_bit)


def _base_of(paths: RunPaths, run_id: str, folder: Path) -> Base:
    """What the reward model's weights sit on: a base, or an ancestor's weights where its run still is beside this."""
    run = RunPaths(paths.root.parent / run_id)
    if run.job.is_file():
        made = read_job(run.job)
        base = bases.resolve(made.base.path)
        return dataclasses.replace(base, path=ancestry.whole_weights(run, made, base.path))
    return bases.resolve(read_card(folder).base.path if ancestry.is_adapter(folder) else str(folder))


def _shares_base(context: RunContext, folder: Path, sits_on: Path) -> bool:
    """Whether an adapter on the policy's own frozen weights gives this reward model."""
    job = context.job
    if job.settings["how"] not in ("qlora", "lora") or not ancestry.is_adapter(folder):
        return False
    try:
        base = bases.resolve(job.base.path)
    except WorkbenchError:
        return False
    return ancestry.whole_weights(context.paths, job, base.path) == sits_on
