"""Text from outside cannot act on a terminal."""

from __future__ import annotations

import pytest

from workbench.text import clean, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]52;c;aGk=\x07", "␛]52;c;aGk=␇"),
        ("\x1b[2J", "␛[2J"),
        ("\x9b31m", "<9B>31m"),
        ("a\x00b\x7f", "a␀b␡"),
        ("back\x08space", "back␈space"),
        ("one\rtwo", "one␍two"),
    ],
)
def test_controls_become_symbols(text, shown):
    """Whatever a terminal would obey is shown as a sign instead."""
    assert shown == clean(text)


def test_plain_text_is_left_alone():
    """Letters, tabs, line breaks, wide characters and markup-like brackets stay as they are."""
    text = "Grüße\t你好\n[@click=app.quit]ok[/] 🙂"

    assert text == clean(text)


def test_line_ends_of_windows_are_line_ends():
    """CRLF is a line break, not a control character followed by one."""
    assert clean("a\r\nb") == "a\nb"


def test_invisible_characters_are_named_or_kept():
    """A character that turns text round is named, unless the person asked to see it work."""
    assert clean("pay \u202eme") == "pay <U+202E>me"
    assert clean("pay \u202eme", hidden=False) == "pay \u202eme"


def test_lone_surrogates_can_be_printed():
    """Half a character, which cannot be encoded, becomes a question mark."""
    assert clean("a\ud800b") == "a?b"


def test_long_text_is_cut_and_says_by_how_much():
    """What is cut off is counted."""
    assert clean("abcde", limit=2) == "ab …[3 more]"
    assert clean("abcde", limit=5) == "abcde"


def test_a_megabyte_of_escapes_costs_only_its_shown_part():
    """The cut comes before the cleaning, so a huge hostile text yields a small one."""
    assert len(clean("\x1b" * 1_000_000, limit=100)) < 130


def test_one_line_has_one_line():
    """Line breaks and tabs in a table's cell become spaces."""
    assert one_line(" a\n\nb\tc\n") == "a b c"
