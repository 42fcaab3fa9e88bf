"""The style sheet that parses once."""

from __future__ import annotations

from textual.color import Color

from screens.stylesheet import MOST_SOURCES, OnceParsed


def test_what_is_parsed_stays_until_a_colour_changes() -> None:
    """Looking for changes keeps the rules that are there and adds the new; with new colours all are made anew."""
    sheet = OnceParsed({"ink": "red"})
    sheet.add_source("Static { color: $ink; }", read_from=("first", ""))
    before = sheet.rules[0]
    sheet.add_source("Label { color: $ink; }", read_from=("second", ""))
    sheet.set_variables({"ink": "red"})
    sheet.reparse()

    assert sheet.rules[0] is before
    assert len(sheet.rules) == 2
    sheet.set_variables({"ink": "blue"})
    sheet.reparse()

    assert [rule.styles.color for rule in sheet.rules] == [Color.parse("blue")] * 2


def test_more_sources_than_textual_keeps_are_kept() -> None:
    """With a hundred sheets, looking for changes parses none of them again."""
    sheet = OnceParsed({})
    for number in range(100):
        sheet.add_source(f"#a{number} {{ width: 1; }}", read_from=(str(number), ""))
    before = sheet.rules
    sheet.reparse()

    assert MOST_SOURCES >= 100
    assert all(now is then for now, then in zip(sheet.rules, before, strict=True))
