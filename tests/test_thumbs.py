"""From rankings to thumbs, by the rule that the module states."""

from __future__ import annotations

import pytest

from tests.test_examples import PROMPT, judged, ranking
from workbench import examples, thumbs
from workbench.records import REPEAT, Demonstration, Turn


def called(*rankings, edits=(), texts=None) -> dict[str, bool]:
    """Answers and whether they are good."""
    entries = judged(*rankings) if texts is None else judged(*rankings, texts=texts)
    return {thumb.answer: thumb.up for thumb in thumbs.thumbs_from(entries, edits)}


def test_the_best_tier_is_good_the_worst_bad_and_the_middle_neither() -> None:
    """1 over {2, 3} over 4, and 3 over the unordered rest {1, 2, 4}."""
    assert called(ranking(1, (1,), (2, 3), (4,))) == {"one": True, "four": False}
    assert called(ranking(1, (3,), (1, 2, 4))) == {"three": True, "one": False, "two": False, "four": False}


def test_both_bad_calls_both_bad() -> None:
    """What makes no pair makes two thumbs down."""
    assert called(ranking(1, (1, 2), verdict="both_bad")) == {"one": False, "two": False}


def test_an_unacceptable_answer_is_bad_whatever_its_place() -> None:
    """The winner is marked: it is bad; so is one of a tie, whose other answer stays without a thumb."""
    assert called(ranking(1, (1,), (2,), unacceptable=(1,))) == {"one": False, "two": False}
    assert called(ranking(1, (1, 2), verdict="tie", unacceptable=(2,))) == {"two": False}


def test_an_answer_judged_alone_is_what_its_label_says() -> None:
    """An imported single answer: unmarked it is good, marked it is bad."""
    assert called(ranking(1, (1,), verdict="tie")) == {"one": True}
    assert called(ranking(1, (1,), verdict="both_bad", unacceptable=(1,))) == {"one": False}


@pytest.mark.parametrize("verdict", ["tie", "skip"])
def test_no_preference_gives_no_thumb(verdict: str) -> None:
    """A tie and a skip say nothing of either answer."""
    assert called(ranking(1, (1, 2), verdict=verdict)) == {}


def test_the_newest_word_on_an_answer_decides() -> None:
    """2 was bad and is good now; 1, which the newer vote did not show, stays good; a later skip changes nothing."""
    found = called(ranking(1, (1,), (2,)), ranking(2, (2,), (3,)), ranking(3, (2, 3), verdict="skip"))

    assert found == {"one": True, "two": True, "three": False}


def test_a_person_outweighs_a_rule() -> None:
    """The rule's newer word on 1 gives way; its word on 3, of which the person said nothing, stands."""
    found = called(ranking(1, (1,), (2,)), ranking(9, (3,), (1,), judge="rule:demo"))

    assert found == {"one": True, "two": False, "three": True}


def test_a_second_look_trains_nothing() -> None:
    """The other way round 2 came out best: the first look said nothing of it, and that stands; so does no pair."""
    again = ranking(2, (2,), (1,), (3,), judge=REPEAT)
    entries = judged(ranking(1, (1,), (2,), (3,)), again)

    class Judged:
        def judged(self):
            return entries

        def demonstrations(self):
            return []

    assert {t.answer: t.up for t in thumbs.all_thumbs(Judged())} == {"one": True, "three": False}
    assert {t.answer: t.up for t in thumbs.all_thumbs(Judged(), judges="person")} == {"one": True, "three": False}
    entries = judged(again)
    assert thumbs.all_thumbs(Judged()) == examples.all_pairs(Judged()) == examples.all_rankings(Judged()) == []


def test_one_text_gets_one_thumb_and_none_where_it_is_both() -> None:
    """Completions 1 and 4 say the same; best and worst at once they get no thumb."""
    texts = {1: "same", 2: "two", 3: "three", 4: "same"}

    assert called(ranking(1, (1, 4), (2,)), texts=texts) == {"same": True, "two": False}
    assert called(ranking(1, (1,), (2,), (4,)), texts=texts) == {}
    assert called(ranking(1, (1,), (4, 3)), texts=texts) == {"three": False}


def test_a_written_answer_is_good() -> None:
    """A demonstration written while ranking is good; an imported one is not taken as judged."""
    written = Demonstration(1, PROMPT, "mine", "edit"), Demonstration(2, PROMPT, "theirs", "import")

    assert called(ranking(1, (1, 2), verdict="both_bad"), edits=written) == {"mine": True, "one": False, "two": False}


def test_rows_are_conversations_with_a_label() -> None:
    """The form that the worker reads: prompt turns, the answer as the assistant's, and good or bad."""
    row = thumbs.rows([thumbs.Thumb((Turn("user", "Why?"),), "So.", False, 7)])[0]

    assert row == {
        "prompt": [{"role": "user", "content": "Why?"}],
        "completion": [{"role": "assistant", "content": "So."}],
        "label": False,
    }
