"""Reward models without a model: the losses as choices, what rankings become, and calibration."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.projects import Copies
from tests.votes import answered, vote
from workbench import examples, orders, rows
from workbench.bench import Bench
from workbench.calibration import calibrate
from workbench.errors import InputError, SettingError, StartingPointError
from workbench.methods import reward
from workbench.methods.reward import Choice, choices, pairs_of, starting_loss
from workbench.records import PERSON, Prompt, Ranking, Turn

JUDGE = "reward:0004"
PROMPT = Prompt(1, (Turn("user", "q"),))
TEXTS = {i: f"a{i}" for i in range(1, 8)}


@pytest.fixture
def bench(tmp_path: Path, copied: Copies):
    """An empty project."""
    opened = copied(tmp_path / "project")
    opened.store._db.execute("PRAGMA synchronous = OFF")  # this process does not lose power
    yield opened
    opened.close()


def ranked(tiers, bad=(), judge=PERSON, number=1, verdict="ranked") -> tuple:
    shown = tuple(i for tier in tiers for i in tier)
    ranking = Ranking(number, 1, shown, tuple(map(tuple, tiers)), verdict, judge, tuple(bad))
    return PROMPT, ranking, {i: TEXTS[i] for i in shown}


def told(*judged, edits=()) -> list:
    """The row's rankings with its answers' texts in place of their places."""
    found = examples.ranking_rows(judged, edits)
    return [
        [
            ["".join(row["answers"][place][0]["content"] for place in tier) for tier in order]
            for order in row["rankings"]
        ]
        for row in found
    ]


# -- losses as choices


def test_a_full_ranking_is_a_choice_at_every_place() -> None:
    """Plackett-Luce of a > b > c: a from all three, then b from two; the last is no choice."""
    assert choices([[[0], [1], [2]]], "plackett_luce") == [Choice((0, 1, 2), 1.0), Choice((1, 2), 1.0)]


def test_mates_of_a_tier_are_never_compared() -> None:
    """Of a > b = c > d: b and c are each chosen from themselves and d; K-wise only asks for a."""
    tiers = [[[0], [1, 2], [3]]]

    assert choices(tiers, "plackett_luce") == [
        Choice((0, 1, 2, 3), 1.0),
        Choice((1, 3), 1.0),
        Choice((2, 3), 1.0),
    ]
    assert choices(tiers, "kwise") == [Choice((0, 1, 2, 3), 1.0)]
    assert choices([[[0, 1], [2]]], "kwise") == [Choice((0, 2), 0.5), Choice((1, 2), 0.5)]


def test_bradley_terry_is_the_mean_over_a_rankings_pairs() -> None:
    """a > b > c has three pairs, of which each counts a third."""
    found = choices([[[0], [1], [2]]], "bradley_terry")

    assert [choice.members for choice in found] == [(0, 1), (0, 2), (1, 2)] == list(pairs_of([[0], [1], [2]]))
    assert {choice.weight for choice in found} == {1 / 3}


def test_several_rankings_count_as_their_mean() -> None:
    """Two ballots on one prompt weigh together what one weighs alone."""
    found = choices([[[0], [1]], [[2], [0], [1]]], "kwise")

    assert [choice.weight for choice in found] == [0.5, 0.5]


@pytest.mark.parametrize("loss_type", ["plackett_luce", "kwise", "bradley_terry"])
def test_two_answers_are_one_pair_in_every_loss(loss_type: str) -> None:
    """With K = 2 the three losses are the same choice."""
    assert choices([[[1], [0]]], loss_type) == [Choice((1, 0), 1.0)]


def test_an_answer_left_out_takes_its_choices_along() -> None:
    """Without the chosen one nothing is chosen, without another the choice is among fewer, alone it is none."""
    choice = Choice((0, 1, 2), 1.0)

    assert choice.without({0}) is None
    assert choice.without({1}) == Choice((0, 2), 1.0)
    assert choice.without({1, 2}) is None


def test_the_starting_loss_is_known() -> None:
    """All rewards 0: ln 2 for a pair, ln 3 + ln 2 for a full ranking of three, log(1 + e) with margin 1."""
    assert starting_loss([[Choice((0, 1), 1.0)]], 0.0) == pytest.approx(math.log(2))
    assert starting_loss([choices([[[0], [1], [2]]], "plackett_luce")], 0.0) == pytest.approx(math.log(6))
    assert starting_loss([[Choice((0, 1), 1.0)]], 1.0) == pytest.approx(math.log(1 + math.e))
    reward.check_starting_point(math.log(2) + 5e-5, math.log(2))
    for wrong in (math.log(2) + 1e-2, math.nan):
        with pytest.raises(StartingPointError, match="does not start at zero"):
            reward.check_starting_point(wrong, math.log(2))


def test_a_margin_without_pairs_is_refused() -> None:
    """Only Bradley-Terry has one; elsewhere it would be silently ignored."""
    with pytest.raises(SettingError, match="no effect on the kwise loss"):
        reward.check_settings({"margin": 0.5, "loss_type": "kwise"})
    reward.check_settings({"margin": 0.5, "loss_type": "bradley_terry"})


# -- rankings as rows


def test_a_ballot_becomes_a_row_with_its_tiers() -> None:
    """Answers stand in the order of the ballot, ties share a tier, a tie of all is no row."""
    (row,) = examples.ranking_rows([ranked([[2], [1, 3]])])

    assert row["prompt"] == [{"role": "user", "content": "q"}]
    assert [answer[0]["content"] for answer in row["answers"]] == ["a2", "a1", "a3"]
    assert row["rankings"] == [[[0], [1, 2]]]
    assert told(ranked([[1, 2]], verdict="tie"), ranked([[3, 4]], bad=(3, 4), verdict="both_bad", number=2)) == []


def test_what_is_bad_in_itself_comes_last() -> None:
    """Whatever their places, answers marked unacceptable share the end."""
    assert told(ranked([[1], [2], [3], [4]], bad=(2, 4))) == [[["a1", "a3", "a2a4"]]]


def test_equal_texts_count_at_their_best_place() -> None:
    """The same answer above and below another one stands above it."""
    prompt, ranking, _ = ranked([[1], [2], [3]])

    (row,) = examples.ranking_rows([(prompt, ranking, {1: "same", 2: "other", 3: "same"})])
    assert row["rankings"] == [[[0], [1]]]


def test_the_newest_ballot_and_a_person_decide() -> None:
    """What a newer ballot or a person has decided of two answers is taken out of what else is said of them."""
    person = ranked([[1], [2]], number=1)
    rule = ranked([[3], [2], [1]], judge="rule:demo", number=2)

    assert told(person, rule) == [[["a1", "a2"], ["a3", "a2"], ["a3", "a1"]]]
    assert told(person, ranked([[2], [1]], number=3)) == [[["a2", "a1"]]]


def test_an_edit_stands_above_all_that_was_shown() -> None:
    """A better answer that a person wrote beats each shown one, whatever the vote was."""
    from workbench.records import Demonstration

    edit = Demonstration(1, PROMPT, "better", "edit")

    assert told(ranked([[1, 2]], verdict="tie"), edits=[edit]) == [[["better", "a1"], ["better", "a2"]]]


def test_a_row_has_no_more_answers_than_fit() -> None:
    """Of forty ranked answers sixteen go in, evenly from best to worst."""
    texts = {i: f"t{i:02d}" for i in range(40)}
    ranking = Ranking(1, 1, tuple(texts), tuple((i,) for i in texts), "ranked")
    (row,) = examples.ranking_rows([(PROMPT, ranking, texts)])
    kept = [answer[0]["content"] for answer in row["answers"]]

    assert len(kept) == examples.MOST_ANSWERS
    assert (kept[0], kept[-1]) == ("t00", "t39")
    assert kept == sorted(kept)


def test_a_reward_models_word_counts_only_where_it_is_named(bench: Bench) -> None:
    """Pairs, rankings and counts leave it out; its name, or `reward`, brings it in alone."""
    store = bench.store
    prompt_id, ids = answered(store, "q")
    store.add_ranking(vote(prompt_id, ids[::-1], JUDGE))
    other, theirs = answered(store, "r")
    store.add_ranking(vote(other, theirs, "rule:demo"))

    assert [pair.judge for pair in examples.all_pairs(store)] == ["rule:demo"]
    assert [pair.judge for pair in orders.pairs(bench, "reward")] == [JUDGE]
    assert len(rows.of(bench, "rankings")) == 1
    assert len(rows.of(bench, "rankings", "rule, reward:0004")) == 2
    assert store.counts().rankings == 1
    with pytest.raises(InputError, match="by rule:other") as caught:
        rows.of(bench, "rankings", "rule:other")
    assert JUDGE in caught.value.hint


# -- calibration


def test_calibration_is_arithmetic_on_three_margins() -> None:
    """Margins ln 3, ln 3 and -ln 3 claim 75 % each and are right twice: accuracy 2/3, one bin, off by 1/12."""
    found = calibrate([math.log(3), math.log(3), -math.log(3)])

    assert found is not None
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.claimed == pytest.approx(3 / 4)
    assert found.error == pytest.approx(3 / 4 - 2 / 3)
    assert [(b.low, b.high, b.pairs) for b in found.bins] == [(0.7, 0.8, 3)]
    assert found.table == "says 70-80% → right 67% (3 pairs)"
    assert "too few" in found.sentence


def test_equal_scores_are_right_half_of_the_time() -> None:
    """A reward model before its first step says nothing and claims nothing."""
    found = calibrate([0.0, 0.0])

    assert found is not None
    assert (found.accuracy, found.claimed, found.error) == (0.5, 0.5, 0.0)
    assert calibrate([]) is None


@pytest.mark.parametrize(
    ("margin", "right", "words"),
    [(2.0, 88, "taken at their word"), (6.0, 70, "too sure of itself"), (0.1, 90, "better than it says")],
)
def test_calibration_is_told_in_words(margin: float, right: int, words: str) -> None:
    """Of a hundred pairs with one margin each, so many right: sigma(2) = 0.88, sigma(6) = 1.00, sigma(0.1) = 0.52."""
    found = calibrate([margin] * right + [-margin] * (100 - right))

    assert found is not None
    assert words in found.sentence
