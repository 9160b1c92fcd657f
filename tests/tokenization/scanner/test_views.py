import sys

from hypothesis import given
from hypothesis import strategies as st

from tokenization.scanner.fold import fold
from tokenization.scanner.views import Edit, View, edited


def brute_force_origin(edits: list[Edit], text: str, start: int, end: int) -> tuple[int, int]:
    """Walks the text character by character: where each character of the edited text came from."""
    sources: list[tuple[int, int]] = []
    position = 0
    for edit in edits:
        sources += [(at, at + 1) for at in range(position, edit.start)]
        sources += [(edit.start, edit.end)] * len(edit.replacement)
        position = edit.end
    sources += [(at, at + 1) for at in range(position, len(text))]
    return sources[start][0], sources[end - 1][1]


@st.composite
def edits_of_a_text(draw: st.DrawFn) -> tuple[str, list[Edit]]:
    text = draw(st.text("abc123", max_size=40))
    edits: list[Edit] = []
    position = 0
    while position < len(text) and draw(st.booleans()):
        start = draw(st.integers(position, len(text) - 1))
        end = draw(st.integers(start + 1, len(text)))
        edits.append(Edit(start, end, draw(st.text("xyz", max_size=4)), "hex"))
        position = end
    return text, edits


@given(case=edits_of_a_text(), data=st.data())
def test_a_view_knows_where_its_characters_came_from(case: tuple[str, list[Edit]], data: st.DataObject) -> None:
    text, edits = case
    view = edited(View(text), edits)
    if not view.text:
        return
    start = data.draw(st.integers(0, len(view.text) - 1))
    end = data.draw(st.integers(start + 1, len(view.text)))
    assert view.origin(start, end) == brute_force_origin(edits, text, start, end)


@given(case=edits_of_a_text())
def test_a_view_names_the_rule_that_made_a_part_of_it(case: tuple[str, list[Edit]]) -> None:
    text, edits = case
    view = edited(View(text), edits)
    for at, character in enumerate(view.text):
        assert view.kind(at, at + 1) == ("hex" if character in "xyz" else None)


@given(text=st.text(max_size=60))
def test_folding_keeps_track_of_places(text: str) -> None:
    view = fold(View(text))
    if view.text:
        assert view.origin(0, len(view.text))[1] <= len(text)
        for at in range(len(view.text)):
            start, end = view.origin(at, at + 1)
            assert fold(View(text[start:end])).text.find(view.text[at]) >= 0


def test_lower_case_of_a_folded_text_has_its_length_for_every_code_point() -> None:
    for code_point in range(sys.maxunicode + 1):
        folded = fold(View(chr(code_point))).text
        assert len(folded.lower()) == len(folded), hex(code_point)


def test_every_decimal_digit_of_unicode_folds_to_ascii() -> None:
    for code_point in range(sys.maxunicode + 1):
        if chr(code_point).isdecimal():
            assert fold(View(chr(code_point))).text == str(int(chr(code_point)))


def test_ascii_is_its_own_view() -> None:
    view = View("4242 plain")
    assert fold(view) is view
