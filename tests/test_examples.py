"""From judgements to training rows, by the rule that the screens state."""

from __future__ import annotations

import pytest

from workbench import examples
from workbench.records import Demonstration, Pair, Prompt, Ranking, Turn

PROMPT = Prompt(7, (Turn("user", "Which is best?"),))
TEXTS = {1: "one", 2: "two", 3: "three", 4: "four"}


def ranking(number: int, *tiers: tuple[int, ...], verdict="ranked", judge: str = "person", **more) -> Ranking:
    shown = more.pop("shown", tuple(i for tier in tiers for i in tier))
    return Ranking(number, PROMPT.id, shown, tiers, verdict, judge, **more)


def said(pairs: list[Pair]) -> set[str]:
    """Pairs as 'better > worse'."""
    return {f"{pair.chosen} > {pair.rejected}" for pair in pairs}


def judged(*rankings: Ranking, texts: dict[int, str] = TEXTS) -> list[examples.Judged]:
    return [(PROMPT, one, texts) for one in rankings]


def test_every_higher_tier_beats_every_lower_one() -> None:
    """1 over {2, 3} over 4: five pairs, none between 2 and 3."""
    pairs = examples.pairs_of(PROMPT, ranking(1, (1,), (2, 3), (4,)), TEXTS)

    assert said(pairs) == {"one > two", "one > three", "one > four", "two > four", "three > four"}


def test_the_unordered_rest_of_a_ranking_gives_no_pairs_among_itself() -> None:
    """Only the best was picked of four: three pairs."""
    assert said(examples.pairs_of(PROMPT, ranking(1, (3,), (1, 2, 4)), TEXTS)) == {
        "three > one",
        "three > two",
        "three > four",
    }


@pytest.mark.parametrize("verdict", ["tie", "both_bad", "skip"])
def test_no_preference_gives_no_pair(verdict: str) -> None:
    """A tie, two bad ones and a skip say nothing of which is better."""
    assert examples.pairs_of(PROMPT, ranking(1, (1,), (2,), verdict=verdict), TEXTS) == []


def test_identical_texts_give_no_pair() -> None:
    """Two completions of one text cannot beat each other."""
    assert examples.pairs_of(PROMPT, ranking(1, (1,), (2,)), {1: "same", 2: "same"}) == []


def test_an_unacceptable_completion_may_lose_and_never_win() -> None:
    """The second of three is unacceptable: it loses to the first and does not beat the third."""
    pairs = examples.pairs_of(PROMPT, ranking(1, (1,), (2,), (3,), unacceptable=(2,)), TEXTS)

    assert said(pairs) == {"one > two", "one > three"}


def test_the_newest_ranking_of_the_same_two_decides() -> None:
    """A later vote turns an earlier one round; a later tie takes it away; a later skip changes nothing."""
    first = ranking(1, (1,), (2,))

    assert said(examples.pairs_from(judged(first, ranking(2, (2,), (1,))))) == {"two > one"}
    assert examples.pairs_from(judged(first, ranking(2, (1,), (2,), verdict="tie"))) == []
    assert said(examples.pairs_from(judged(first, ranking(2, (1,), (2,), verdict="skip")))) == {"one > two"}


def test_a_newer_ranking_decides_only_about_what_it_showed() -> None:
    """After 1 > 2 > 3 a newer 2 > 1 keeps what was said of 3."""
    pairs = examples.pairs_from(judged(ranking(1, (1,), (2,), (3,)), ranking(2, (2,), (1,))))

    assert said(pairs) == {"two > one", "one > three", "two > three"}


def test_a_person_outweighs_a_rule_and_the_rule_speaks_where_she_did_not() -> None:
    """The rule's newer 2 > 1 gives way to the person's 1 > 2; its 3 > 4 stands."""
    by_rule = ranking(5, (2,), (1,), judge="rule"), ranking(6, (3,), (4,), judge="rule")
    pairs = examples.pairs_from(judged(ranking(1, (1,), (2,)), *by_rule))

    assert said(pairs) == {"one > two", "three > four"}


def test_an_edit_beats_everything_that_was_shown() -> None:
    """A better answer written over two bad ones gives two pairs; an imported demonstration gives none."""
    shown = judged(ranking(1, (1, 2), verdict="both_bad"))
    edits = [Demonstration(1, PROMPT, "mine", "edit"), Demonstration(2, PROMPT, "imported", "import")]

    assert said(examples.pairs_from(shown, edits)) == {"mine > one", "mine > two"}


def test_equal_pairs_count_once() -> None:
    """Two judges who agree, and different completions of the same texts, make one pair."""
    agreed = judged(ranking(1, (1,), (2,)), ranking(2, (3,), (4,), judge="rule"), texts={**TEXTS, 3: "one", 4: "two"})

    assert len(examples.pairs_from(agreed)) == 1


def test_rows_have_trls_conversational_form() -> None:
    """Demonstrations and pairs become exactly the columns that TRL's trainers read."""
    turns = [{"role": "user", "content": "Which is best?"}]
    (pair,) = examples.pairs_from(judged(ranking(1, (1,), (2,))))

    assert examples.sft_rows([Demonstration(1, PROMPT, "this")]) == [
        {"prompt": turns, "completion": [{"role": "assistant", "content": "this"}]}
    ]
    assert examples.dpo_rows([pair]) == [
        {
            "prompt": turns,
            "chosen": [{"role": "assistant", "content": "one"}],
            "rejected": [{"role": "assistant", "content": "two"}],
        }
    ]


def rows(count: int) -> list[examples.Row]:
    return [{"prompt": [{"role": "user", "content": f"question {n}"}], "n": n} for n in range(count)]


def test_a_prompt_always_lands_on_the_same_side() -> None:
    """Adding rows moves none that was there, and all rows of one prompt go together."""
    _, few = examples.split_by_prompt(rows(200), 0.2)
    train, many = examples.split_by_prompt(rows(400) + rows(200), 0.2)
    names = [{row["n"] for row in side} for side in (train, many)]

    assert {row["n"] for row in few} == {row["n"] for row in many if row["n"] < 200}
    assert names[0] & names[1] == set()


def test_the_share_held_out_is_about_what_was_asked() -> None:
    """Of 2,000 prompts at 10 %, binomial noise (standard deviation 13) stays within 160 to 240; at 0 none is held."""
    assert 160 < len(examples.split_by_prompt(rows(2000), 0.1)[1]) < 240
    assert examples.split_by_prompt(rows(50), 0.0)[1] == []


def test_the_first_prompts_of_the_ranking_queue_are_not_all_held_out() -> None:
    """The queue goes by digest; a split by that same digest would hold out just what was ranked first."""
    in_queue = sorted(rows(1000), key=lambda row: examples.digest(row["prompt"]))
    train, held_out = examples.split_by_prompt(in_queue[:100], 0.1)

    assert len(train) > 70
    assert held_out


def test_new_pairs_are_those_a_run_has_not_trained_on() -> None:
    """Two of three pairs stand in a run's data, so one is new."""
    pairs = examples.pairs_from(judged(ranking(1, (1,), (2,), (3,))))
    trained = {examples.row_digest(row) for row in examples.dpo_rows(pairs[:2])}

    assert (examples.new_pairs_since(pairs, trained), examples.new_pairs_since(pairs, set())) == (1, 3)
