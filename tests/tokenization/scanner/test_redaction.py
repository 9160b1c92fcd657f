import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenization.scanner.corpus import TEXT_EVASIONS, card, common_card, fours, told
from tokenization.scanner import contains_card, find_cards, redact
from tokenization.scanner.limits import MAX_TEXT_CHARS
from tokenization.scanner.redaction import REMOVED

SEEDS = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize("row", TEXT_EVASIONS)
@settings(max_examples=4, deadline=None)
@given(seed=SEEDS)
def test_a_redacted_text_holds_no_card_and_stays_as_it_is(row: str, seed: int) -> None:
    rng = Random(seed)
    text = told(row, card(rng), rng)
    redacted = redact(text)
    assert redacted != text
    assert not contains_card(redacted)
    assert redact(redacted) == redacted


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=200) | st.text("0123456789 -.four twocv:\n", max_size=300))
def test_redaction_is_idempotent_on_any_text(text: str) -> None:
    redacted = redact(text)
    assert redact(redacted) == redacted
    assert find_cards(redacted) == []
    if not find_cards(text):
        assert redacted == text


@given(seed=SEEDS)
def test_what_stands_around_a_card_is_kept(seed: int) -> None:
    digits = " ".join(fours(common_card(Random(seed))))
    assert redact(f"pay {digits} please") == f"pay {REMOVED} please"


@given(seed=SEEDS)
def test_a_json_line_stays_json(seed: int) -> None:
    line = json.dumps({"event": f"paid with {common_card(Random(seed))}", "level": "info"})
    assert json.loads(redact(line)) == {"event": f"paid with {REMOVED}", "level": "info"}


def test_the_replacement_is_no_finding() -> None:
    assert find_cards(REMOVED * 20) == []


def test_a_text_too_long_goes_as_a_whole() -> None:
    assert redact("x" * (MAX_TEXT_CHARS + 1)) == REMOVED
