"""From labelled and ranked data to the rows that a reward model is trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.projects import Copies
from tests.votes import answered, vote
from workbench import orders, rows
from workbench.bench import Bench
from workbench.errors import RunError
from workbench.formats import BadRow, get
from workbench.paths import RunPaths


@pytest.fixture
def bench(tmp_path: Path, copied: Copies):
    """An empty project."""
    opened = copied(tmp_path / "project")
    opened.store._db.execute("PRAGMA synchronous = OFF")  # this process does not lose power
    yield opened
    opened.close()


def parsed(row: dict):
    return get("ranked").parse(row)


@pytest.mark.parametrize(
    ("row", "tiers", "bad"),
    [
        ({"prompt": "q", "answers": [{"answer": "a", "rank": 2}, {"answer": "b", "rank": 1}]}, ((1,), (0,)), ()),
        ({"prompt": "q", "responses": [{"text": "a", "score": 2.5}, {"text": "b", "score": 2.5}]}, ((0, 1),), ()),
        (
            {
                "instruction": "q",
                "completions": [{"response": "a", "overall_score": 1}, {"response": "b", "overall_score": 7}],
            },
            ((1,), (0,)),
            (),
        ),
        (
            {
                "question": "q",
                "one": {"is_correct": False, "solution": "a"},
                "two": {"is_correct": True, "solution": "b"},
            },
            ((1,), (0,)),
            (0,),
        ),
    ],
)
def test_ranks_scores_and_labels_are_read(row: dict, tiers: tuple, bad: tuple) -> None:
    """Rank 1 is best, a higher score is better, true is above false, and false is bad in itself."""
    (found,) = parsed(row).rankings

    assert (found.answers, found.tiers, found.bad) == (("a", "b"), tiers, bad)
    assert found.prompt.turns[-1].content == "q"


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ([{"answer": "a", "rank": 1}, {"answer": "b", "score": 1}], "others a score"),
        ([{"answer": "a", "rank": "first"}, {"answer": "b", "rank": 2}], "not a number"),
        ([{"answer": "a", "label": "good"}, {"answer": "b", "label": True}], "neither true nor false"),
        ([{"answer": " ", "rank": 1}, {"answer": "b", "rank": 2}], "'answer' is empty"),
        ([{"answer": "a", "rank": 1}], "not two answers"),
    ],
)
def test_a_row_that_cannot_be_ranked_says_why(answers: list, why: str) -> None:
    """Marks of two kinds, marks that are none, blank answers and a lone answer are named."""
    with pytest.raises(BadRow, match=why):
        parsed({"prompt": "q", "answers": answers})


def test_labelled_answers_train_a_reward_model_without_more_ado(bench: Bench, tmp_path: Path) -> None:
    """Imported, they are rankings by the file, ready to be frozen into a run; all right or all wrong is no order."""
    from workbench import importing

    file = tmp_path / "labelled.jsonl"
    texts = [("q", True, False), ("r", True, True), ("s", False, False)]
    file.write_text(
        "".join(
            json.dumps({"question": q, "x": {"text": "1", "correct": x}, "y": {"text": "2", "correct": y}}) + "\n"
            for q, x, y in texts
        )
    )
    report = importing.import_file(bench.store, file)
    verdicts = [ranking.verdict for ranking in bench.store.rankings()]

    assert (report.layout, report.added) == ("ranked", {"prompts": 3, "rankings": 3})
    assert verdicts == ["ranked", "tie", "both_bad"]
    assert [row["rankings"] for row in rows.of(bench, "rankings", "import")] == [[[[0], [1]]]]


def test_a_reward_run_is_ordered_from_rankings(bench: Bench) -> None:
    """The preset's own section, whole rows split by prompt, and their number."""
    for number in range(40):
        prompt_id, ids = answered(bench.store, f"q{number}", 3)
        bench.store.add_ranking(vote(prompt_id, ids))
    run = orders.train(bench, "reward", preset="cpu")
    paths = RunPaths(run.paths.root)
    training = [json.loads(line) for line in (paths.data / "train.jsonl").read_text().splitlines()]

    assert run.job.counts == {"rankings": len(training), "held out": 40 - len(training)}
    assert 0 < run.job.counts["held out"] < 12
    assert training[0]["rankings"] == [[[0], [1], [2]]]
    run.paths.model.mkdir()
    with pytest.raises(RunError, match="scores answers and writes none"):
        orders.sample(bench, orders.SampleOrder(source=run.id))
