"""Ballots, guards and the figures over votes: pure, by the numbers."""

from __future__ import annotations

from tests.test_ranking import Clock
from workbench.ranking.agreement import Bias, compared, kappa, outcomes, standings
from workbench.ranking.ballot import Ballot, Guard
from workbench.records import Ranking


def test_kappa_is_silent_under_thirty_repeats_and_right_above() -> None:
    """40 repeats, 30 agreeing, outcomes in halves: p_o = 0.75, p_e = 0.5, kappa = 0.5 ± 1.96·√(0.1875/40)/0.5."""
    votes = [("older", "older")] * 15 + [("newer", "newer")] * 15 + [("older", "newer")] * 5 + [("newer", "older")] * 5
    looks = [[vote] for vote in votes]

    assert kappa(looks[:29]) is None
    found = kappa(looks)
    assert found is not None
    assert (round(found.kappa, 9), found.repeats) == (0.5, 40)
    assert round(found.low, 3) == 0.232
    assert round(found.high, 3) == 0.768


def test_a_ballot_looked_at_twice_counts_as_one_look() -> None:
    """Thirty ballots of three, two twos of three agreeing each time: p_o = 2/3 and p_e = 2/3·1/3 + 1/3·2/3 = 4/9.

    So kappa = (2/3 - 4/9) / (5/9) = 0.4, and as every look agrees equally well its interval has no width.
    """
    look = [("older", "older"), ("older", "newer"), ("newer", "newer")]

    assert kappa([look] * 29) is None
    found = kappa([look] * 30)
    assert found is not None
    assert [round(number, 9) for number in (found.kappa, found.low, found.high)] == [0.4, 0.4, 0.4]
    assert found.repeats == 30


def test_two_looks_are_compared_two_by_two_wherever_they_stood() -> None:
    """First 3 > 1 = 2, then, shown the other way round, 3 > 2 > 1: three twos, of which the tied one differs."""
    first = Ranking(1, 1, (1, 2, 3), ((3,), (1, 2)), "ranked")
    second = Ranking(2, 1, (3, 2, 1), ((3,), (2,), (1,)), "ranked")
    skipped = Ranking(3, 1, (3, 2, 1), (), "skip")

    assert compared(first, second) == [("tie", "newer"), ("newer", "newer"), ("newer", "newer")]
    assert compared(first, skipped) == []
    both_bad = Ranking(4, 1, (1, 2), ((1, 2),), "both_bad", unacceptable=(1, 2))
    assert list(outcomes(both_bad).values()) == ["both_bad"]


def test_position_bias_is_flagged_outside_two_standard_errors() -> None:
    """At 100 votes the margin is 0.098: 59 left is chance, 60 is not."""
    assert round(Bias(50, 100).margin, 3) == 0.098
    assert not Bias(59, 100).flagged
    assert Bias(60, 100).flagged
    assert not Bias(8, 10).flagged


def test_bradley_terry_gives_the_log_odds_of_a_two_player_score() -> None:
    """30 wins to 10 with half a win each way is odds of 30.5 to 10.5, so strengths are ± half their logarithm."""
    table = standings([("a", "b", 1.0)] * 30 + [("a", "b", 0.0)] * 10)

    assert [row.source for row in table] == ["a", "b"]
    assert round(table[0].strength - table[1].strength, 4) == 1.0664


def test_a_ballot_orders_ties_marks_and_takes_back() -> None:
    """`c`, `a`, `=d`, `xb` reads C > A = D with B marked; backspace takes the last letter back; the rest is worse."""
    ballot = Ballot(4)
    ballot.press(2)
    ballot.press(0)
    assert ballot.tie()
    ballot.press(3)
    ballot.mark()
    ballot.press(1)

    assert ballot.text() == "C > A = D"
    assert ballot.bad == {1}
    assert not ballot.complete
    assert ballot.whole() == [[2], [0, 3], [1]]
    assert not ballot.press(2)
    ballot.back()
    assert ballot.text() == "C > A"
    ballot.move(0, down=False)
    assert ballot.text() == "A > C"


def test_the_guard_wants_a_drawn_pair_and_a_fresh_key() -> None:
    """A vote counts from 300 ms after drawing, and a repeated key only after 120 ms of silence."""
    clock = Clock()
    guard = Guard(clock)
    clock.now = 0.29
    assert not guard.allows("1")
    clock.now = 0.35
    assert not guard.allows("1")
    clock.now = 0.44
    assert not guard.allows("1")
    assert guard.allows("2")
    clock.now = 0.60
    assert guard.allows("1")
