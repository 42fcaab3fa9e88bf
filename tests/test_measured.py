"""Estimates that learn from what earlier runs measured: arithmetic on pretended runs, and reading real run folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.fake_worker import FakeWorker, make_job, make_run
from tests.test_fit import GIB, MODELS, machine
from workbench import bases, fit, measured, presets
from workbench.events import Alive, Event, Failed, Finished, Started
from workbench.measured import Past

SHAPE = MODELS["Llama-3.2-3B"]
SETTINGS = presets.get("8gb").settings("sft")
CARD = machine(8)


def middle(settings: dict[str, object]) -> float:
    found = fit.estimate(SHAPE, settings, "sft", CARD)
    return (found.low_bytes + found.high_bytes) / 2


def past(factor: float, **changes: object) -> Past:
    """A run that took so many times what was worked out for it."""
    settings = {**SETTINGS, **changes}
    return Past("abc", "sft", settings, CARD.summary, int(factor * middle(settings)))


def learnt(*runs: Past, **changes: object) -> fit.Estimate:
    return measured.estimate(SHAPE, "abc", {**SETTINGS, **changes}, "sft", CARD, runs)


def test_without_earlier_runs_nothing_is_changed() -> None:
    """The estimate is the worked-out one, and does not claim to be measured."""
    assert learnt() == fit.estimate(SHAPE, SETTINGS, "sft", CARD)
    assert learnt().measured_runs == 0


def test_the_same_run_again_is_expected_to_take_what_it_took() -> None:
    """A run that took 0.8 of its estimate's middle gives that figure and a tenth to either side, and says so."""
    before = fit.estimate(SHAPE, SETTINGS, "sft", CARD)
    found = learnt(past(0.8))

    assert found.low_bytes == pytest.approx(0.72 * middle(SETTINGS), rel=1e-6)
    assert found.high_bytes == pytest.approx(0.88 * middle(SETTINGS), rel=1e-6)
    estimated = f"(estimated {before.low_bytes / GIB:.1f}-{before.high_bytes / GIB:.1f})"
    assert found.sentence.endswith(f"of 8.0, measured on 1 earlier run {estimated}.")


def test_runs_of_other_lengths_teach_the_share_they_were_off() -> None:
    """Runs at 256, 512 and 1024 tokens that took 0.7, 0.9 and 0.8 of theirs scale 2048's by 0.8, within 0.7 and 0.9."""
    found = learnt(past(0.7, max_length=256), past(0.9, max_length=512), past(0.8, max_length=1024), max_length=2048)
    expected = middle({**SETTINGS, "max_length": 2048})

    assert found.measured_runs == 3
    assert found.low_bytes == pytest.approx(0.7 * expected, rel=1e-6)
    assert found.high_bytes == pytest.approx(0.9 * expected, rel=1e-6)


def test_a_measured_peak_can_turn_the_verdict() -> None:
    """What was worked out to fit and took 1.6 times as much is called too large for a card of that size."""
    small = machine(fit.estimate(SHAPE, SETTINGS, "sft", CARD).high_bytes / GIB / fit.TIGHT_SHARE + 0.1)
    took = replace(past(1.6), hardware=small.summary)

    assert measured.estimate(SHAPE, "abc", SETTINGS, "sft", small, ()).verdict == "fits"
    assert measured.estimate(SHAPE, "abc", SETTINGS, "sft", small, [took]).verdict == "no"


@pytest.mark.parametrize(
    "other", [{"base": "def"}, {"method": "dpo"}, {"hardware": "another card · 8 GiB"}, {"peak_bytes": 0}]
)
def test_only_runs_alike_count(other: dict[str, object]) -> None:
    """Another base, method or machine, and a run that measured nothing, teach nothing; nor does another way to tune."""
    assert learnt(replace(past(2.0), **other)).measured_runs == 0  # type: ignore[arg-type]
    assert learnt(past(2.0, how="lora")).measured_runs == 0


def test_finished_runs_are_found_with_their_peaks(tmp_path: Path) -> None:
    """Of four run folders the finished ones of the kind count, newest first, each with its last beat's memory."""
    base = bases.resolve("bundled")
    endings: list[Event] = [Finished(step=4), Failed(kind="RunError"), Finished(step=4), Finished(step=4)]
    runs = []
    for number, ending in enumerate(endings, 1):
        job = make_job(settings={"how": "lora" if number == 3 else "qlora"}, action="sft")
        job = replace(job, base=replace(job.base, fingerprint=base.fingerprint))
        run = make_run(tmp_path / str(number), job)
        beats = [Alive(step=2, memory_bytes=GIB), Alive(step=4, memory_bytes=number * GIB)]
        FakeWorker(run).sign_in().write(Started(hardware=f"card {number}"), *beats).leave(ending)
        runs.append(run)
    found = measured.past_runs(runs, base, "sft", "qlora")

    assert [(run.hardware, run.peak_bytes) for run in found] == [("card 4", 4 * GIB), ("card 1", GIB)]
