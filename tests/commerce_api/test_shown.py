"""Text of others as it is told: nothing that is not seen, one line, bounded, with an end that it cannot move."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commerce_api.shown import one_line, quoted, seen

UNSEEN = {
    "right-to-left override": "\u202e",
    "left-to-right isolate": "\u2066",
    "zero-width space": "\u200b",
    "zero-width joiner between letters": "\u200d",
    "word joiner": "\u2060",
    "byte order mark": "\ufeff",
    "soft hyphen": "\u00ad",
    "tag letter": "\U000e0041",
    "variation selector": "\ufe0f",
    "supplementary variation selector": "\U000e0101",
    "Hangul filler": "\u3164",
    "escape": "\x1b",
    "NUL": "\x00",
    "private use": "\ue000",
    "combining grapheme joiner": "\u034f",
}


@pytest.mark.parametrize("character", UNSEEN.values(), ids=UNSEEN)
def test_what_is_not_seen_is_not_told(character: str) -> None:
    assert one_line(f"ket{character}tle") == "kettle"
    assert seen({"a": [f"ket{character}tle"]}) == {"a": ["kettle"]}


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\u3000"])
def test_what_breaks_a_line_is_a_space(character: str) -> None:
    assert one_line(f"Mug{character}Total $0.00") == "Mug Total $0.00"


def test_lines_of_a_text_stay_in_data_and_data_of_other_kinds_is_untouched() -> None:
    data = {"description": "One.\nTwo.\t3", "price": 5, "none": None, "yes": True}
    assert seen(data) == data


def test_joiners_stay_where_scripts_and_emoji_need_them() -> None:
    assert one_line("می\u200cخواهم 👩\u200d🍳") == "می\u200cخواهم 👩\u200d🍳"


def test_a_quoted_text_cannot_end_before_its_end() -> None:
    assert quoted('Mug” at $1.00. “Lamp"') == "“Mug' at $1.00. 'Lamp'”"
    assert quoted("x" * 500) == "“" + "x" * 149 + "…”"


@settings(max_examples=300, database=None, derandomize=True)
@given(st.text(max_size=80))
def test_any_text_is_one_line_between_two_marks(text: str) -> None:
    told = quoted(text)
    assert told.splitlines() == [told]
    assert (told.count("“"), told.count("”")) == (1, 1)
    kept = told.replace("\u200c", "").replace("\u200d", "")
    assert not [character for character in kept if unicodedata.category(character) in ("Cf", "Cc", "Cs", "Co")]
    assert one_line(one_line(text)) == one_line(text)
