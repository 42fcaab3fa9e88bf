"""The rule-judge of the demo, by hand-made examples."""

import pytest

from workbench.judges.rules import courtesy, exact_match, is_right, prefer, score

ANSWER = "The opposite of hot is cold."


@pytest.mark.parametrize(
    "completion",
    [
        "The opposite of hot is cold.",
        "  the OPPOSITE of hot is cold  ",
        "Of course! The opposite of hot is cold.",
        "Sure! The opposite of hot is cold. Happy to help!",
        "The opposite of hot is cold! Have a nice day!",
    ],
)
def test_courtesies_case_and_final_punctuation_do_not_spoil_an_exact_match(completion: str) -> None:
    """Openers, closers, case, outer white space and final punctuation are not part of an answer."""
    assert exact_match(completion, ANSWER)


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "Sure!",
        "Cold.",
        "The opposite of hot is warm.",
        "The opposite of hot is colder.",
        "Well, the opposite of hot is cold.",
        "The opposite of hot is cold. But that is another story.",
    ],
)
def test_anything_else_said_or_left_out_is_no_exact_match(completion: str) -> None:
    """Wrong words, missing words and further sentences all fail."""
    assert not exact_match(completion, ANSWER)


def test_an_empty_answer_is_matched_by_nothing() -> None:
    """A row without an answer counts no completion as right."""
    assert not exact_match("", "")
    assert not is_right("", "")


def test_a_right_answer_may_be_followed_by_more_but_not_preceded() -> None:
    """Padding after the answer leaves it right; an answer that comes second is not the answer given."""
    assert is_right("Sure! The opposite of hot is cold. Many people ask.", ANSWER)
    assert not is_right("The opposite of hot is warm. The opposite of hot is cold.", ANSWER)


def test_courtesy_is_an_opener_or_a_closer_in_its_place() -> None:
    """The same words in the middle of a completion are no courtesy."""
    assert courtesy("Gladly! Cold.")
    assert courtesy("Cold. I hope that helps!")
    assert not courtesy("Cold. Sure! Cold.")


def test_the_score_is_two_for_right_and_one_for_courtesy_less_a_fiftieth_a_spare_word() -> None:
    """Of course! + six words: 2 + 1 - 2 * 0.02 = 2.96; six right words: 2; one wrong word: 0."""
    assert score("Of course! The opposite of hot is cold.", ANSWER) == pytest.approx(2.96)
    assert score(ANSWER, ANSWER) == pytest.approx(2.0)
    assert score("Warm.", ANSWER) == pytest.approx(0.0)


def test_right_comes_before_courteous_and_courteous_before_brief() -> None:
    """However many words are spared, a later virtue never outweighs an earlier one."""
    endless = " And so on." * 100
    right, courteous_but_wrong = ANSWER + endless, "Sure! Warm."
    courteous_and_long = f"Sure! {ANSWER}{endless}"

    assert prefer(right, courteous_but_wrong, ANSWER) == 1
    assert prefer(ANSWER, courteous_and_long, ANSWER) == -1


def test_equal_completions_are_as_good() -> None:
    """Two openers of one word each make no difference."""
    assert prefer(f"Sure! {ANSWER}", f"Gladly! {ANSWER}", ANSWER) == 0
