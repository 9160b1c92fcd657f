import json
from decimal import Decimal
from random import Random
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenization.scanner.corpus import TEXT_EVASIONS, card, common_card, fours
from tokenization.scanner import contains_card, contains_card_in_json
from tokenization.scanner import log as log_module
from tokenization.scanner.log import WITHHELD, scrub_event
from tokenization.scanner.redaction import REMOVED

SEEDS = st.integers(0, 2**64 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=15,
)


def scrubbed(**event: Any) -> dict[str, Any]:
    return dict(scrub_event(None, "info", dict(event)))


@pytest.mark.parametrize("row", TEXT_EVASIONS)
def test_a_card_leaves_no_trace_in_an_event(row: str) -> None:
    rng = Random(f"log {row}")
    for _ in range(2):
        digits = card(rng)
        written = TEXT_EVASIONS[row](digits, rng)
        event = scrubbed(event=written, deep={"a": [{"b": (written, 1)}]}, **{written: 1})
        assert written not in str(event)
        assert digits not in str(event)
        assert not contains_card_in_json(event)


@given(seed=SEEDS)
def test_cards_as_keys_numbers_bytes_and_objects_go(seed: int) -> None:
    number = common_card(Random(seed))
    event = scrubbed(
        event="charge",
        number=int(number),
        raw=number.encode(),
        error=ValueError(f"bad card {number}"),
        amount=Decimal(number),
        many={"a", number},
        **{number: 1},
    )
    assert number not in str(event)
    assert event["number"] == REMOVED
    assert event["raw"] == REMOVED
    assert event["event"] == "charge"


@given(seed=SEEDS)
def test_an_event_whose_fields_make_a_card_is_withheld(seed: int) -> None:
    groups = fours(common_card(Random(seed)))
    assert scrubbed(event="x", **{f"p{at}": group for at, group in enumerate(groups)}) == {"event": WITHHELD}


@settings(max_examples=80, deadline=None)
@given(value=VALUES)
def test_no_value_makes_it_raise_and_no_card_comes_out(value: object) -> None:
    event = scrubbed(event="x", value=value)
    assert not contains_card_in_json(event)
    assert not contains_card(str(event.get("event")))


def test_harmless_events_keep_their_fields() -> None:
    event = {
        "event": "order placed",
        "order": "ord_abc",
        "amount_minor": 13717,
        "paid": True,
        "tags": ["a"],
        "at": None,
        "x": 1.5,
    }
    assert scrubbed(**event) == event
    assert json.dumps(scrubbed(**event))


class Hostile:
    def __str__(self) -> NoReturn:
        raise RuntimeError("4242424242424242")


def test_an_object_that_cannot_be_shown_costs_the_event_and_nothing_else() -> None:
    assert scrubbed(event="x", value=Hostile()) == {"event": WITHHELD}


def test_a_failure_of_the_scanner_withholds_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> NoReturn:
        raise MemoryError

    monkeypatch.setattr(log_module, "redact", fail)
    assert scrubbed(event="x") == {"event": WITHHELD}


def test_events_without_end_are_bounded() -> None:
    endless: dict[str, Any] = {}
    endless["self"] = endless
    assert not contains_card_in_json(scrubbed(event="x", loop=endless))
    wide = scrubbed(event="x", many=list(range(50_000)))
    assert wide["event"] == "x"
    assert REMOVED in wide["many"]
