"""Ballots, guards and the figures over votes: pure, by the numbers."""

from __future__ import annotations

from tests.test_ranking import Clock
from workbench.ranking.agreement import Bias, kappa, standings
from workbench.ranking.ballot import Ballot, Guard


def test_kappa_is_silent_under_thirty_repeats_and_right_above() -> None:
    """40 repeats, 30 agreeing, outcomes in halves: p_o = 0.75, p_e = 0.5, kappa = 0.5 ± 1.96·√(0.1875/40)/0.5."""
    looks = [("older", "older")] * 15 + [("newer", "newer")] * 15 + [("older", "newer")] * 5 + [("newer", "older")] * 5

    assert kappa(looks[:29]) is None
    found = kappa(looks)
    assert found is not None
    assert (round(found.kappa, 9), found.repeats) == (0.5, 40)
    assert round(found.low, 3) == 0.232
    assert round(found.high, 3) == 0.768


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
