"""The whole loop on the bundled base, without a screen, from SFT to an export, each stage measured.

It orders, launches and reads runs through the functions that the screens use. A rule judges in a person's place, and
the rankings it stores say so.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from workbench import judging, orders
from workbench.bench import Bench
from workbench.judges import reward_model, rules
from workbench.live import Follower
from workbench.records import Completion, Prompt, Ranking
from workbench.runs import Run
from workbench.runs.following import ending_error, wait
from workbench.series import Series

JUDGE = "rule:demo"
"""The name under which the rule's rankings are stored: never a person's."""

PRESET = "cpu"
"""Made for models as small as the bundled base; the worker still uses a card where there is one."""

SAMPLES = 4
GREEDY = {"n": 1, "temperature": 0.0}
QUANTS = "f16,Q8_0"


class Audience(Protocol):
    """Whoever wants to know how far the demo is."""

    def stage(self, title: str) -> None: ...

    def look(self, run: Run, follower: Follower) -> None: ...


@dataclass(frozen=True)
class Scale:
    """How much of the demo's prompts is used, 0 for all, and how long it trains. Tests use little."""

    prompts: int = 0
    """Prompts sampled and ranked."""
    train: dict[str, Any] = field(default_factory=dict)
    """Settings changed for every training."""


def run_demo(folder: Path, audience: Audience, scale: Scale | None = None) -> dict[str, Any]:
    """Runs the loop in a new project in `folder`; the report of each stage. Any failure is raised."""
    clock = _Clock()
    stages: dict[str, dict[str, Any]] = {}
    with contextlib.closing(Bench.create(folder, demo=True)) as bench:
        loop = _Loop(bench, audience, scale or Scale())
        with clock.timed(stages, "sft"):
            tuned, stages["sft"] = loop.teach()
        with clock.timed(stages, "sample"):
            sampled, stages["sample"] = loop.sample(tuned)
        audience.stage(f"rank: a rule judges in your place, as {JUDGE!r}")
        stages["rank"] = loop.rank(sampled)
        with clock.timed(stages, "dpo"):
            preferred, stages["dpo"] = loop.prefer(tuned)
        with clock.timed(stages, "reward"):
            judge, stages["reward"] = loop.learn_to_judge(tuned)
        with clock.timed(stages, "ppo"):
            stages["ppo"] = loop.reinforce(tuned, judge)
        with clock.timed(stages, "export"):
            stages["export"] = loop.export(preferred)
    return {"seconds": clock.seconds(), "stages": stages}


class _Clock:
    def __init__(self) -> None:
        self._start = time.monotonic()

    def seconds(self) -> float:
        return round(time.monotonic() - self._start, 1)

    @contextlib.contextmanager
    def timed(self, stages: dict[str, dict[str, Any]], name: str) -> Iterator[None]:
        """Puts the stage's seconds first in its report."""
        start = self.seconds()
        yield
        stages[name] = {"seconds": round(self.seconds() - start, 1), **stages[name]}


class _Loop:
    """The stages, over one project."""

    def __init__(self, bench: Bench, audience: Audience, scale: Scale) -> None:
        self.bench = bench
        self.audience = audience
        self.scale = scale
        self.held_out = bench.store.prompts("held_out")

    def teach(self) -> tuple[Run, dict[str, Any]]:
        """SFT on the demonstrations, with exact match on held-out prompts before and after."""
        self.audience.stage("sft: how well the base answers")
        before = self.answers(None)
        self.audience.stage("sft: training on the demonstrations")
        tuned = self.done(orders.train(self.bench, "sft", preset=PRESET, changes=self.scale.train, name="demo"))
        self.audience.stage("sft: how well the run answers")
        after = self.answers(tuned)
        return tuned, {"exact_match_before": self.exact_match(before), "exact_match_after": self.exact_match(after)}

    def sample(self, tuned: Run) -> tuple[Run, dict[str, Any]]:
        """Several completions of each prompt that the rule can judge."""
        self.audience.stage("sample: answers to compare")
        judgeable = sum(prompt.answer is not None for prompt in self.bench.store.prompts())
        order = orders.SampleOrder(
            source=tuned.id,
            prompts=self.scale.prompts or judgeable,
            changes={"n": SAMPLES, "temperature": 1.0},
        )
        sampled = self.done(orders.sample(self.bench, order))
        return sampled, {"completions": len(self.bench.store.sampled(sampled.id))}

    def rank(self, sampled: Run) -> dict[str, Any]:
        """The rule's judgement of every prompt's completions, stored as its own."""
        store = self.bench.store
        found = [
            ranking(prompt, completions)
            for prompt in store.prompts()
            if prompt.answer is not None and len(completions := store.completions(prompt.id, job=sampled.id)) > 1
        ]
        store.add_rankings(found)
        return {"pairs": len(orders.pairs(self.bench)), "judge": JUDGE}

    def prefer(self, tuned: Run) -> tuple[Run, dict[str, Any]]:
        """DPO from the SFT run on the rule's pairs; how often its answers beat the SFT run's."""
        self.audience.stage("dpo: training on the preferences")
        order = orders.train(self.bench, "dpo", preset=PRESET, changes=self.scale.train, parent=tuned.id, name="demo")
        preferred = self.done(order)
        self.audience.stage("dpo: how well the run answers")
        ours, theirs = self.answers(preferred), self.answers(tuned)
        wins = [rules.prefer(ours[p.id], theirs[p.id], p.answer or "") > 0 for p in self.held_out]
        return preferred, {"win_rate": share(wins)}

    def learn_to_judge(self, tuned: Run) -> tuple[Run, dict[str, Any]]:
        """A reward model on the rule's rankings; how many pairs of answers to held-out prompts it tells apart.

        It starts from the base: with half of the prompts it told apart 83 to 88 of 100 pairs from the SFT run, 84 to
        88 from the base; with all of them 86 to 90. Measured on the prompts that no stage trains on, like every other
        stage: the tenth of the rankings that the run itself holds out has too few pairs for that.
        """
        self.audience.stage("reward: learning to judge from the rankings")
        judge = self.done(orders.train(self.bench, "reward", preset=PRESET, changes=self.scale.train, name="demo"))
        self.audience.stage("reward: how well it judges answers to held-out prompts")
        compared = self.done(orders.sample(self.bench, to_compare(tuned)))
        if (scoring := judging.order(self.bench, judging.JudgeOrder(judge.id, sampled=compared.id))) is not None:
            self.done(scoring)
        return judge, {"pair_accuracy": told_apart(self.bench, judge, compared)}

    def reinforce(self, tuned: Run, judge: Run) -> dict[str, Any]:
        """PPO from the SFT run against the reward model; what the rule says of its held-out answers."""
        self.audience.stage("ppo: learning from its own answers and the reward model")
        changes = {**self.scale.train, "reward": f"run:{judge.id}"}
        order = orders.train(self.bench, "ppo", preset=PRESET, changes=changes, parent=tuned.id, name="demo")
        live = self.ended(order).live
        self.audience.stage("ppo: how well the run answers")
        return {
            "score_before": self.score(self.answers(tuned)),
            "score_after": self.score(self.answers(order)),
            "kl": _last(live.metrics, "kl"),
            "episodes_per_second": _mean(live.metrics, "episodes_per_second"),
        }

    def export(self, run: Run) -> dict[str, Any]:
        """Merged weights and GGUF files, with how closely each answers like the model trained."""
        report: dict[str, Any] = {"files": {}, "greedy_agreement": {}, "mean_kl": {}}
        for target, changes in (("merged", {}), ("gguf", {"quants": QUANTS})):
            self.audience.stage(f"export: {target}, and checking it")
            _add_export(report, self.ended(orders.export(self.bench, run.id, target, changes=changes)))
        return report

    def answers(self, run: Run | None) -> dict[int, str]:
        """The likeliest answer to every held-out prompt, by prompt id. A run is asked once."""
        source = run.id if run else None
        known = [sampled for sampled in self.bench.runs.all("sample") if _is_greedy(sampled, source)]
        if known:
            sampled = known[-1]
        else:
            order = orders.SampleOrder(source=source, split="held_out", changes=GREEDY)
            sampled = self.done(orders.sample(self.bench, order))
        return {
            prompt.id: completion.text
            for prompt in self.held_out
            for completion in self.bench.store.completions(prompt.id, job=sampled.id)
        }

    def score(self, answers: dict[int, str]) -> float:
        """The rule's mean score."""
        scores = [rules.score(answers[prompt.id], prompt.answer or "") for prompt in self.held_out]
        return round(sum(scores) / len(scores), 4)

    def exact_match(self, answers: dict[int, str]) -> float:
        return share([rules.exact_match(answers[prompt.id], prompt.answer or "") for prompt in self.held_out])

    def done(self, run: Run) -> Run:
        """Launches a run and waits for its good end; what it sampled is in the store then."""
        self.ended(run)
        self.bench.ingest()
        return run

    def ended(self, run: Run) -> Follower:
        """Launches a run and waits; a bad end is raised as the error it is."""
        self.bench.runs.launch(run)
        follower = wait(run, lambda look: self.audience.look(run, look))
        error = ending_error(run, follower)
        if error is not None:
            raise error
        return follower


def ranking(prompt: Prompt, completions: list[Completion]) -> Ranking:
    """The rule's judgement of a prompt's completions: tiers of equal score, best first."""
    answer = prompt.answer or ""
    tiers: list[list[Completion]] = []
    for completion in sorted(completions, key=lambda c: rules.score(c.text, answer), reverse=True):
        if tiers and rules.prefer(tiers[-1][0].text, completion.text, answer) == 0:
            tiers[-1].append(completion)
        else:
            tiers.append([completion])
    return Ranking(
        id=0,
        prompt_id=prompt.id,
        shown=tuple(completion.id for completion in completions),
        tiers=tuple(tuple(completion.id for completion in tier) for tier in tiers),
        verdict="ranked" if len(tiers) > 1 else "tie",
        judge=JUDGE,
    )


def to_compare(tuned: Run, seed: int = 0) -> orders.SampleOrder:
    """Several answers to every held-out prompt."""
    changes = {"n": SAMPLES, "temperature": 1.0, "seed": seed}
    return orders.SampleOrder(source=tuned.id, split="held_out", changes=changes)


def told_apart(bench: Bench, judge: Run, compared: Run) -> float:
    """The share of pairs of a sampling run's answers of which a reward model scores the rule's better one higher.

    The rule's rankings of held-out prompts are not stored: they are a measure and nobody's vote.
    """
    found = []
    for prompt in bench.store.prompts("held_out"):
        distinct = {c.text: c for c in reversed(bench.store.completions(prompt.id, job=compared.id))}
        found.append(ranking(prompt, list(distinct.values())))
    told = judging.measured(bench.store, reward_model.judge_name(judge.id), found)
    return round(told.accuracy, 4) if told else 0.0


def share(outcomes: list[bool]) -> float:
    """The part that is true, 0 of nothing."""
    return round(sum(outcomes) / len(outcomes), 4) if outcomes else 0.0


def _last(series: Mapping[str, Series], name: str) -> float:
    return round(series[name].last or 0.0, 4)


def _mean(series: Mapping[str, Series], name: str) -> float:
    return round(float(series[name].y.mean()), 2)


def _is_greedy(run: Run, source: str | None) -> bool:
    """Whether it is the demo's own measurement of that source."""
    return run.job.parent == source and run.job.settings["temperature"] == 0.0


def _add_export(report: dict[str, dict[str, Any]], follower: Follower) -> None:
    """Puts an export's files and how it answers into the report, by type."""
    for exported in follower.live.exported:
        report["files"][exported.target] = exported.path
    for verified in follower.live.verified:
        if verified.check == "answers":
            report["greedy_agreement"][verified.target] = verified.figures["greedy_agreement"]
            report["mean_kl"][verified.target] = verified.figures["mean_kl"]
