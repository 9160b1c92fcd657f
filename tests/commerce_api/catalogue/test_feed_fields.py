"""Single fields: ids, GTINs and states."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce_api.catalogue.feed_fields import read_gtin, read_id, state_of
from commerce_api.catalogue.feed_rows import Availability, Refusal


@pytest.mark.parametrize("text", ["v1", "AB 12", "gid://shopify/ProductVariant/1", "灯-1", "a&amp;b", "x" * 128])
def test_an_id_is_taken_as_written(text: str) -> None:
    assert read_id(f" {text} ", "id") == text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "missing_id"),
        (" \t", "missing_id"),
        ("x" * 129, "id_malformed"),
        ("a\u202eb", "id_malformed"),
        ("a\u200bb", "id_malformed"),
        ("a  b", "id_malformed"),
        ("a\nb", "id_malformed"),
        ("e\u0301", "id_malformed"),
        ("<b>", "id_malformed"),
    ],
)
def test_an_id_is_never_repaired(text: str, code: str) -> None:
    with pytest.raises(Refusal) as raised:
        read_id(text, "id")
    assert raised.value.code.value == code


@given(st.from_regex(r"[0-9]{7}|[0-9]{11,13}", fullmatch=True).filter(str.isascii))
def test_a_gtin_is_kept_with_its_right_check_digit_alone(body: str) -> None:
    kept = [digit for digit in "0123456789" if read_gtin(body + digit)]
    assert len(kept) == 1


@pytest.mark.parametrize("text", ["", "4006381333932", "1.23E+12", "123", "400638133393x", "٤٠٠٦٣٨١٣٣٣٩٣١", "0" * 16])
def test_what_is_no_gtin_is_left_out(text: str) -> None:
    assert read_gtin(text) is None


def test_published_gtins_are_known() -> None:
    assert read_gtin("4006381333931") == "4006381333931"
    assert read_gtin("96385074") == "96385074"


@given(st.sampled_from(list(Availability)), st.sampled_from([" ", "-", "_", ""]))
def test_a_state_is_known_in_every_usual_spelling(state: Availability, gap: str) -> None:
    assert state_of(f" {state.value.replace('_', gap).upper()} ") is state
