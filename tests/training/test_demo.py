"""The demo runs the true loop: real training, sampling, ranking, exporting, each by the worker a person would use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workbench.bench import Bench
from workbench.demo import JUDGE, SAMPLES, Scale, run_demo
from workbench.live import Follower
from workbench.runs import Run

pytestmark = [pytest.mark.torch, pytest.mark.timeout(900)]  # eight workers start one after another

PROMPTS = 12


class Listener:
    """Notes what the demo tells."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, title: str) -> None:
        self.stages.append(title)

    def look(self, run: Run, follower: Follower) -> None: ...


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, list[str]]:
    """A short demo: its report, its project, and what it told."""
    home = tmp_path_factory.mktemp("demo")
    folder, listener = home / "project", Listener()
    with pytest.MonkeyPatch.context() as patch:  # the usual fixture comes later than this one
        patch.setenv("HOME", str(home))
        patch.setenv("WORKBENCH_HOME", str(home / "workbench"))
        report = run_demo(folder, listener, Scale(prompts=PROMPTS, train={"max_steps": 6, "how": "lora"}))
    return report, folder, listener.stages


def test_the_report_has_every_stage_and_figure(shown):
    """The report is the documented document, no key more and no key less."""
    report, _, _ = shown
    stages = report["stages"]

    assert set(report) == {"seconds", "stages"}
    assert {name: set(stage) for name, stage in stages.items()} == {
        "sft": {"seconds", "exact_match_before", "exact_match_after"},
        "sample": {"seconds", "completions"},
        "rank": {"pairs", "judge"},
        "dpo": {"seconds", "win_rate"},
        "reward": {"seconds", "pair_accuracy"},
        "ppo": {"seconds", "score_before", "score_after", "kl", "episodes_per_second"},
        "export": {"seconds", "files", "greedy_agreement", "mean_kl"},
    }
    assert list(stages) == ["sft", "sample", "rank", "dpo", "reward", "ppo", "export"]


def test_its_figures_are_shares_and_counts(shown):
    """Shares lie between 0 and 1, every prompt got its completions, and the stages' seconds fit into the whole."""
    report, _, _ = shown
    stages = report["stages"]
    sft, dpo, reward = stages["sft"], stages["dpo"], stages["reward"]
    shares = [sft["exact_match_before"], sft["exact_match_after"], dpo["win_rate"], reward["pair_accuracy"]]

    assert all(0 <= share <= 1 for share in shares)
    assert stages["sample"]["completions"] == PROMPTS * SAMPLES
    assert sum(stage.get("seconds", 0) for stage in stages.values()) <= report["seconds"] + 1


def test_its_exports_are_there_and_answer_like_the_model(shown):
    """Merged weights, f16 and Q8_0 are on disk and were measured against the model trained."""
    export = shown[0]["stages"]["export"]

    assert set(export["files"]) >= {"merged", "f16", "Q8_0"}
    assert [path for path in export["files"].values() if not Path(path).exists()] == []
    assert export["greedy_agreement"]["Q8_0"] >= 0.99
    assert export["mean_kl"]["Q8_0"] < 0.01


def test_the_rule_judged_in_its_own_name(shown):
    """Every ranking in the project is the rule's, none is counted as a person's, and the demo said so."""
    report, folder, stages = shown
    bench = Bench.open(folder)
    judges = {ranking.judge for ranking in bench.store.rankings()}
    bench.close()

    assert judges == {JUDGE} == {report["stages"]["rank"]["judge"]}
    assert any("a rule judges in your place" in stage for stage in stages)


def test_the_lineage_is_recorded(shown):
    """DPO and PPO started from the SFT run, the reward model from the base; PPO learnt from it; DPO's is exported."""
    bench = Bench.open(shown[1])
    training = bench.runs.all("train")
    exported = bench.runs.all("export")
    bench.close()

    assert [run.job.action for run in training] == ["sft", "dpo", "reward", "ppo"]
    assert [run.job.lineage for run in training[1:]] == [(training[0].id,), (), (training[0].id,)]
    assert training[3].job.rewards == (training[2].id,)
    assert {run.job.parent for run in exported} == {training[1].id}
