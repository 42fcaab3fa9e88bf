"""`workbench.fields`: one declaration, three ways in, and sentences for what does not fit."""

from __future__ import annotations

import pytest

from workbench import fields
from workbench.errors import SettingError
from workbench.fields import Field, Value

RATE = Field("learning_rate", 1e-4, "Rate", "How far.", low=1e-9, high=1.0)
RANK = Field("rank", 16, "Rank", "How large.", low=1, high=512)
CHECK = Field("checkpoint", True, "Checkpoint", "Whether.")
HOW = Field("how", "qlora", "How", "Which way.", choices=("qlora", "lora", "full"))


@pytest.mark.parametrize(
    ("field", "given", "expected"),
    [
        (RATE, "2e-4", 2e-4),
        (RATE, 1, 1.0),
        (RANK, "32", 32),
        (RANK, 8.0, 8),
        (CHECK, "no", False),
        (CHECK, "on", True),
        (CHECK, False, False),
        (HOW, "full", "full"),
    ],
)
def test_a_value_becomes_its_field_s_kind(field: Field, given: object, expected: Value) -> None:
    """Text from a form or a flag and numbers from TOML become the kind of the field's default."""
    assert field.parse(given) == expected
    assert type(field.parse(given)) is type(field.default)


@pytest.mark.parametrize(
    ("field", "given", "words"),
    [
        (RATE, "fast", "is not a number"),
        (RATE, -1, "below its least value"),
        (RATE, "1e400", "not a finite number"),
        (RATE, True, "is not a number"),
        (RANK, 1.5, "is not a whole number"),
        (RANK, 1000, "= 1,000 is above its greatest value 512"),
        (RANK, 99_999_999, "= 99,999,999 is above"),
        (CHECK, "perhaps", "is not true or false"),
        (HOW, "qlorra", "is not one of: qlora, lora, full"),
        (HOW, 3, "is not a text"),
    ],
)
def test_a_value_that_does_not_fit_is_a_sentence(field: Field, given: object, words: str) -> None:
    """Wrong kinds, bounds and choices are SettingErrors that say what was expected."""
    with pytest.raises(SettingError, match=words):
        field.parse(given)


def test_a_wrong_choice_and_a_wrong_key_name_the_nearest() -> None:
    """'qlorra' suggests qlora, 'learning_rat' suggests learning_rate."""
    with pytest.raises(SettingError) as choice:
        HOW.parse("qlorra")
    with pytest.raises(SettingError) as key:
        fields.check({"learning_rat": 1}, (RATE, RANK))

    assert choice.value.hint == "Did you mean qlora?"
    assert key.value.hint == "Did you mean learning_rate?"


def test_assignments_are_split_at_the_first_equals_sign() -> None:
    """'a-b = c=d' is the key a_b with the value 'c=d'; without an equals sign it is a sentence."""
    assert fields.parse_assignments(["a-b = c=d"]) == {"a_b": "c=d"}
    with pytest.raises(SettingError, match="key=value"):
        fields.parse_assignments(["rank"])


def test_zero_can_have_a_word() -> None:
    """Where 0 means all, `all` is understood."""
    assert Field("limit", 0, "At most", "How many.", low=0, zero="all").parse("all") == 0
