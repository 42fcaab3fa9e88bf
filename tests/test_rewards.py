"""The one-line reward."""

import pytest

from workbench import rewards
from workbench.errors import SettingError
from workbench.rewards import Term


def test_a_sum_is_read_term_by_term() -> None:
    """Weights, kinds and names are told apart, and a bare name is a run's."""
    assert rewards.parse("0004 + 0.3*rule:exact") == (Term(1.0, "run", "0004"), Term(0.3, "rule", "exact"))


def test_what_is_written_is_read_back() -> None:
    """Writing the terms and reading them gives the same terms."""
    terms = (Term(-0.5, "run", "0012"), Term(1.0, "classifier", "models/toxic-v2"), Term(2e-3, "rule", "brevity"))
    assert rewards.parse(rewards.written(terms)) == terms


@pytest.mark.parametrize("text", ["", "rules:exact", "1..2*rule:exact", "rule:", "rule:exact + ", "1e999*rule:exact"])
def test_nonsense_gets_a_sentence(text: str) -> None:
    """What is no reward is refused with an example of one."""
    with pytest.raises(SettingError) as caught:
        rewards.parse(text)
    assert "rule:exact" in caught.value.hint


def test_a_term_is_named_once() -> None:
    """A reward model cannot be put beside the policy twice; the hint has the sum of the weights."""
    with pytest.raises(SettingError, match="run:0004 is in the reward twice") as caught:
        rewards.parse("run:0004 + rule:exact + 0.5*run:0004")
    assert caught.value.hint == "Name it once: 1.5*run:0004"
