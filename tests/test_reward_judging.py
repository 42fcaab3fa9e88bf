"""A reward model as a judge, without the model: scores, the order of doubt, rankings, orders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.asking import asked, error_of
from tests.projects import Copies
from tests.votes import answered, vote
from workbench import judging
from workbench.bench import Bench
from workbench.errors import InputError, RunError
from workbench.events import Finished, Scored, decode, encode
from workbench.job import BaseRef, Job
from workbench.judges import reward_model
from workbench.records import PERSON
from workbench.runs import Run
from workbench.store import Store
from workbench.store.scores import sortable

JUDGE = "reward:0004"


@pytest.fixture
def bench(tmp_path: Path, copied: Copies):
    """An empty project."""
    opened = copied(tmp_path / "project")
    opened.store._db.execute("PRAGMA synchronous = OFF")  # this process does not lose power
    yield opened
    opened.close()


def test_scores_become_an_order() -> None:
    """The best first; equal scores, and those nearer than the margin to a tier's best, share a tier."""
    scores = {1: 0.5, 2: 2.0, 3: 0.5, 4: 1.8}

    assert reward_model.ranking(7, scores, JUDGE).tiers == ((2,), (4,), (1, 3))
    assert reward_model.ranking(7, scores, JUDGE, margin=0.3).tiers == ((2, 4), (1, 3))
    assert reward_model.ranking(7, {1: 0.5, 2: 0.5}, JUDGE).verdict == "tie"
    assert reward_model.ranking(7, scores, JUDGE).judge == JUDGE


def test_a_card_comes_back_as_it_was(tmp_path: Path) -> None:
    """What stands beside the weights is read as it was written; a damaged one is a sentence."""
    card = reward_model.Card(
        BaseRef("bundled", "base", "x"), True, 0.1, 2.0, 91, 0.8, 0.05, ((0.5, 0.6, 3, 0.55, 0.5),)
    )
    reward_model.write_card(tmp_path, card)

    assert reward_model.read_card(tmp_path) == card
    (tmp_path / reward_model.CARD).write_text("{}")
    with pytest.raises(RunError, match="cannot be read"):
        reward_model.read_card(tmp_path)


@pytest.mark.parametrize(("less", "more"), [(0.0, 1e-300), (0.2, 0.3), (9.9, 10.0), (1.0, 1e300)])
def test_doubts_sort_as_text_like_their_numbers(less: float, more: float) -> None:
    """The queue is ordered by text, so a smaller distance must be the smaller text."""
    assert sortable(less) < sortable(more)


def test_the_queue_begins_with_what_a_judge_doubts_most(bench: Bench) -> None:
    """The prompts whose best two scores are nearest come first, unscored ones last; a vote takes one out."""
    store = bench.store
    sure, doubtful, unscored = (answered(store, text, 3) for text in ("sure", "doubtful", "unscored"))
    store.add_scores(JUDGE, zip(sure[1], (5.0, 1.0, 0.9), strict=True))
    store.add_scores(JUDGE, zip(doubtful[1], (2.0, -3.0, 1.9), strict=True))

    assert doubted(store) == ["doubtful", "sure", "unscored"]
    store.add_ranking(vote(doubtful[0], doubtful[1]))
    assert doubted(store) == ["sure", "unscored"]
    assert doubted(store, search="cored") == ["unscored"]
    store.add_scores(JUDGE, zip(unscored[1], (1.0, 1.0, 0.0), strict=True))
    assert doubted(store) == ["unscored", "sure"]


def doubted(store: Store, **more) -> list[str]:
    """Texts of the whole queue in the order of the judge's doubt."""
    found, place = [], ""
    while following := store.next_in_doubt(JUDGE, after=place, **more):
        found.append(following[0].text)
        place = following[1]
    return found


def test_two_completions_of_one_text_are_no_doubt(bench: Bench) -> None:
    """Doubt is between different answers: the same text twice has the same score for a reason."""
    store = bench.store
    prompt_id, ids = answered(store, "q", 2)
    other = answered(store, "r", 2)
    store._db.execute("UPDATE completions SET text = 'same' WHERE prompt_id = ?", (prompt_id,))
    store.add_scores(JUDGE, zip((*ids, *other[1]), (1.0, 1.0, 3.0, 0.0), strict=True))

    assert doubted(store) == ["r", "q"]


def test_ranking_by_doubt_is_kept_and_keeps_the_sides(bench: Bench) -> None:
    """A session asks the doubtful prompt first, also when it is opened again, its answers on the sides as ever."""
    from workbench.ranking import RankSession

    store = bench.store
    for text, scores in (("a", (5.0, 1.0)), ("b", (2.0, 1.9)), ("c", (9.0, 1.0))):
        store.add_scores(JUDGE, zip(answered(store, text)[1], scores, strict=True))
    usual = RankSession(store)
    usual.open()
    sides = {}
    while usual.item is not None and usual.item.prompt.text not in sides:
        sides[usual.item.prompt.text] = usual.item.shown
        usual.walk(1)
    usual.order_by(JUDGE)
    again = RankSession(store)
    again.open()

    for session in (usual, again):
        assert session.item is not None
        assert session.item.prompt.text == "b"
        assert session.item.shown == sides["b"]
    again.choose(0)
    assert again.item is not None
    assert again.item.prompt.text == "a"
    with pytest.raises(InputError, match="has scored nothing"):
        again.order_by("reward:0009")
    again.order_by("")
    assert store.queued_by == ""


# -- a scoring run's results


def scoring(bench: Bench, tmp_path: Path, events: list, **settings) -> Run:
    """A finished scoring run in the project with these events."""
    job = Job(
        run="",
        kind="score",
        action="reward_model",
        base=BaseRef("bundled", "base"),
        settings={"label": False, "margin": 0.0, **settings},
        parent="0004",
    )
    run = bench.runs.create(job, {"completions.jsonl": []})
    run.paths.events.write_bytes(b"".join(map(encode, events)))
    return run


def test_a_scoring_run_is_taken_in_once(bench: Bench, tmp_path: Path) -> None:
    """Its scores are in the store under the judge's name, however often the log is read; completions are unchanged."""
    prompt_id, ids = answered(bench.store, "q", 3)
    scored = Scored(scores=[[ids[0], 1.0], [ids[1], -1.0]])
    scoring(bench, tmp_path, [scored, scored, Finished()])

    assert bench.ingest() == 0
    assert bench.store.scores(JUDGE, prompt_id) == {ids[0]: 1.0, ids[1]: -1.0}
    assert [answers for _, answers in bench.store.unscored(JUDGE)] == [[(ids[2], "answer 2")]]
    assert list(bench.store.unscored(JUDGE, job="0009")) == []
    assert bench.store.rankings() == []
    assert bench.store.scorers() == [JUDGE]


def test_labels_are_stored_when_the_run_is_through_and_replaced_by_the_next(bench: Bench, tmp_path: Path) -> None:
    """With `label` the scores become rankings by the judge; new scores of the prompt make one new ranking."""
    _, ids = answered(bench.store, "q", 2)
    run = scoring(bench, tmp_path, [Scored(scores=[[ids[0], 1.0], [ids[1], 2.0]])], label=True)
    bench.ingest()
    assert bench.store.rankings() == []
    with run.paths.events.open("ab") as log:
        log.write(encode(Finished()))
    bench.ingest()
    (first,) = bench.store.rankings()
    judging.label(bench.store, JUDGE)
    assert bench.store.rankings() == [first]
    bench.store.add_scores(JUDGE, [(ids[0], 3.0)])
    judging.label(bench.store, JUDGE)
    (second,) = bench.store.rankings()

    assert (first.judge, first.tiers) == (JUDGE, ((ids[1],), (ids[0],)))
    assert second.tiers == ((ids[0],), (ids[1],))
    assert bench.store.counts().waiting == 1, "the person is still asked"
    assert bench.store.counts().rankings == 0


def test_a_judge_is_measured_on_what_others_ranked(bench: Bench) -> None:
    """Of a > b > c with scores 3, 1, 2 two of three pairs agree."""
    store = bench.store
    prompt_id, ids = answered(store, "q", 3)
    store.add_scores(JUDGE, zip(ids, (3.0, 1.0, 2.0), strict=True))
    found = judging.measured(store, JUDGE, [vote(prompt_id, ids)])

    assert found is not None
    assert (found.pairs, found.accuracy) == (3, pytest.approx(2 / 3))
    assert judging.margins(store, JUDGE, [vote(prompt_id, ids)]) == [2.0, 1.0, -1.0]
    assert judging.measured(store, "reward:0009", [vote(prompt_id, ids)]) is None


def test_scores_are_events_like_others() -> None:
    """They come back as they went in, and a line with anything else in their place is unreadable, not a crash."""
    scored = Scored(scores=[[7, 0.25], [8, -1.5]], t=1.0)

    assert decode(encode(scored)) == scored
    assert type(decode(b'{"type": "scored", "scores": [1, 2], "t": 1.0}')).__name__ == "Unreadable"


# -- ordering


def test_judging_needs_a_reward_model_and_completions(capsys, bench: Bench) -> None:
    """Without either a sentence says what to do first, and the exit code is the error's."""
    root = bench.paths.root

    assert error_of(capsys, "-C", root, "judge", "last")[0] == RunError.exit_code
    with pytest.raises(RunError, match="no reward model yet"):
        judging.reward_run(bench, "last")
    other = bench.runs.create(Job("", "train", "sft", BaseRef("bundled", "base"), {}), {})
    with pytest.raises(RunError, match="not a reward model"):
        judging.reward_run(bench, other.id)
    run = bench.runs.create(Job("", "train", "reward", BaseRef("bundled", "base"), {}), {})
    with pytest.raises(RunError, match="no finished model"):
        judging.order(bench, judging.JudgeOrder(run.id))
    run.paths.model.mkdir()
    with pytest.raises(InputError, match="no completions to score"):
        judging.order(bench, judging.JudgeOrder("last"))


def test_a_scoring_run_is_ordered_with_what_has_no_score_yet(bench: Bench) -> None:
    """Its data are the unscored completions by prompt, its parent the reward run, whose adapter it holds a copy of."""
    run = trained_reward(bench)
    prompt_id, ids = answered(bench.store, "q", 2)
    answered(bench.store, "r", 2, job="0007")
    bench.store.add_scores("reward:0001", [(ids[0], 1.0)])
    made = judging.order(bench, judging.JudgeOrder("last", changes={"label": "yes"}))

    assert made is not None
    assert (made.job.kind, made.job.parent, made.job.counts) == ("score", run.id, {"prompts": 2, "completions": 3})
    assert made.job.settings["label"] is True
    assert (made.paths.start / "adapter_config.json").is_file()
    lines = (made.paths.data / "completions.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {
        "turns": [{"role": "user", "content": "q"}],
        "completions": [[ids[1], "answer 1"]],
    }
    assert bench.store.prompt(prompt_id).text == "q"


def test_a_judge_that_is_through_can_still_label_and_queue(capsys, bench: Bench) -> None:
    """Where every completion has its score, no run is made; rankings and the queue's order are."""
    trained_reward(bench)
    prompt_id, ids = answered(bench.store, "q", 2)
    bench.store.add_ranking(vote(prompt_id, ids))
    bench.store.add_scores("reward:0001", zip(ids, (1.0, 2.0), strict=True))
    code, out, _ = asked(capsys, "-C", bench.paths.root, "judge", "1", "--label", "--queue", "--json")
    document = json.loads(out)

    assert code == 0
    assert (document["judge"], document["agreement"], document["compared"]) == ("reward:0001", 0.0, 1)
    assert bench.store.queued_by == "reward:0001"
    assert [ranking.judge for ranking in bench.store.rankings()] == [PERSON, "reward:0001"]
    assert judging.order(bench, judging.JudgeOrder("1")) is None


def trained_reward(bench: Bench) -> Run:
    """A reward run that looks finished."""
    run = bench.runs.create(Job("", "train", "reward", BaseRef("bundled", "base"), {}), {})
    run.paths.model.mkdir()
    (run.paths.model / "adapter_config.json").write_text("{}")
    return run
