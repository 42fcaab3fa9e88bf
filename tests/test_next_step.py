"""What comes next in a project, decided from its counts alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fake_worker import FakeWorker, make_job
from workbench import judging
from workbench.bench import Bench
from workbench.errors import RunError
from workbench.events import Completed, Finished
from workbench.next_step import ENOUGH_PAIRS, Progress, next_step, progress_of
from workbench.records import Counts, NewPrompt, Origin, Ranking, Turn

FULL = Counts(prompts=100, held_out=10, demonstrations=50, completions=400, rankings=0, rankable=100, waiting=60)
RANKED = replace(FULL, waiting=0)


@pytest.mark.parametrize(
    ("progress", "stage", "key"),
    [
        (Progress(), "prompts", "3"),
        (Progress(Counts(prompts=100, demonstrations=50)), "runs", "t"),
        (Progress(Counts(prompts=100)), "completions", "4"),
        (Progress(Counts(prompts=100, demonstrations=50), training=("sft",), newest="0001"), "completions", "4"),
        (Progress(FULL, training=("sft",), newest="0001", samples_from=("0001",)), "rankings", "5"),
        (
            Progress(FULL, judged=40, pairs=60, new_pairs=ENOUGH_PAIRS, training=("sft",), newest="0001"),
            "runs",
            "t",
        ),
        (Progress(RANKED, judged=40, pairs=60, training=("sft", "dpo"), newest="0003"), "exports", "7"),
        (Progress(FULL, pairs=60, training=("sft", "dpo"), newest="0003", samples_from=("0003",)), "rankings", "5"),
        (
            Progress(FULL, judged=40, pairs=60, training=("sft", "dpo"), newest="0003", exported=("0003",)),
            "completions",
            "4",
        ),
        (Progress(FULL, working="0002"), "runs", "6"),
    ],
)
def test_the_first_missing_part_of_the_loop_is_next(progress: Progress, stage: str, key: str) -> None:
    """Data, then SFT, then sampling, ranking, DPO, export, and round again; a run at work comes before all but data."""
    step = next_step(progress)

    assert (step.stage, step.key) == (stage, key)
    assert key in step.sentence


def test_a_screen_is_not_told_to_press_its_own_key() -> None:
    """On Sample the step names s, the key that does it there; on every other screen 4, the way there."""
    step = next_step(Progress(Counts(prompts=100)))

    assert step.told_on("sample") == "let the model answer 100 prompts: press s"
    assert step.told_on("home") == "let the model answer 100 prompts: press 4"


@pytest.fixture
def half_alike(tmp_path: Path) -> Iterator[Bench]:
    """Forty prompts with two answers each; those of every second are the same text."""
    bench = Bench.create(tmp_path / "alike")
    ids = bench.store.add_prompts(NewPrompt((Turn("user", f"question {n}"),)) for n in range(40))
    rows = [Completed(prompt_id=i, n=n, text=f"answer {n * (at % 2)}") for at, i in enumerate(ids) for n in range(2)]
    bench.store.add_completions("0001", Origin("bundled"), rows)
    yield bench
    bench.close()


def test_prompts_with_nothing_to_choose_do_not_wait(half_alike: Bench) -> None:
    """Twenty of forty wait; once new answers make an alike prompt different it waits too, and a vote takes one away."""
    alike, different = [prompt.id for prompt in half_alike.store.prompts()[:2]]
    first = progress_of(half_alike)

    assert (first.counts.waiting, first.alike, first.wait) == (20, 20, "20 prompts wait")
    half_alike.store.add_completions("0002", Origin("bundled"), [Completed(prompt_id=alike, n=0, text="another")])
    assert progress_of(half_alike).counts.waiting == 21
    ids = tuple(completion.id for completion in half_alike.store.completions(different))
    half_alike.store.add_ranking(Ranking(0, different, ids, tuple((i,) for i in ids), "ranked"))
    assert progress_of(half_alike).counts.waiting == 20


def test_answers_alike_since_the_last_vote_are_alike(half_alike: Bench) -> None:
    """A judged prompt that comes back with two new answers of one text does not wait, whatever the old ones said."""
    prompt = half_alike.store.prompts()[1].id
    ids = tuple(completion.id for completion in half_alike.store.completions(prompt))
    half_alike.store.add_ranking(Ranking(0, prompt, ids, (ids,), "tie"))
    again = [Completed(prompt_id=prompt, n=n, text="one") for n in range(2)]
    half_alike.store.add_completions("0002", Origin("bundled"), again)

    assert half_alike.store.counts().waiting == 40
    assert progress_of(half_alike).counts.waiting == 19


def test_of_very_many_a_part_is_compared(half_alike: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more prompts than are compared their share is taken, and the figure says about."""
    monkeypatch.setattr("workbench.next_step.COMPARED", 30)
    found = progress_of(half_alike)

    assert found.estimated
    assert 14 <= found.counts.waiting <= 26
    assert found.counts.waiting + found.alike == 40
    assert replace(found, counts=Counts(waiting=186_950)).wait == "about 187,000 prompts wait"


def test_a_run_of_another_versions_method_hides_nothing(half_alike: Bench) -> None:
    """Its run is counted; what its data holds and whether it judges cannot be known, which is no error."""
    run = half_alike.runs.create(make_job(action="of tomorrow"), {"train": [{"n": 1}]})
    FakeWorker(run).sign_in().leave(Finished(step=1))

    found = progress_of(half_alike)
    assert (found.runs, found.training) == (1, ("of tomorrow",))
    with pytest.raises(RunError, match="no reward model yet"):
        judging.reward_run(half_alike, "last")
