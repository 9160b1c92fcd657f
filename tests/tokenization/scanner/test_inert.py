"""What need not be read twice is found by the same rules as before: the short way and the long way agree on every text."""

import base64
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenization.scanner.corpus import JSON_EVASIONS, NOISE, TEXT_EVASIONS, card, card_for, told
from tokenization.scanner import (
    contains_card_in_json,
    decoders,
    documents,
    fields,
    find_cards,
    find_cards_in_json,
    inert,
    structure,
)
from tokenization.scanner.fields import digits_of
from tokenization.scanner.fold import fold
from tokenization.scanner.fragments import fragments_of
from tokenization.scanner.inert import is_inert
from tokenization.scanner.lexicon import NUMBER_WORDS
from tokenization.scanner.passed import LONGEST_CHARS, Passed
from tokenization.scanner.spoken import Reading, chains_of, tokens_of
from tokenization.scanner.views import View

SEEDS = st.integers(0, 2**64 - 1)
WORDS = (
    *sorted(NUMBER_WORDS),
    "io.modelcontextprotocol/clientInfo",
    "kettle",
    "cvv",
    "card",
    "NDI0",
    "Mg==",
    "x",
    "_",
    "%34",
    "é",
)
pieces = st.lists(st.sampled_from(WORDS) | st.text(st.characters(max_codepoint=0x2FF), max_size=6), max_size=6)
texts = st.builds(lambda parts, glue: glue.join(parts), pieces, st.sampled_from(["", " ", "-", "/", '","']))
names = st.sampled_from(
    ["query", "p0", "p1", "p2", "p3", "cvv", "myCvvOneTwo", "security code", "cv", "price", "4242", "name"]
)


@pytest.fixture(autouse=True)
def _remembers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins as a process does."""
    monkeypatch.setattr(inert, "_inert", Passed())
    monkeypatch.setattr(decoders, "_no_base64", Passed())
    monkeypatch.setattr(documents, "_plain_names", set())


def long_way(value: object) -> object:
    """The findings with every text read by every rule."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "is_inert", lambda _: False)
        patch.setattr(documents, "is_plain_name", lambda _: False)
        patch.setattr(structure, "_FEWEST_PARTS", 0)
        return find_cards_in_json(value)


def documents_of(rng: Random, strings: list[str], keys: list[str]) -> object:
    """A document with a hidden card or a number that is none, and texts of the caller's around it."""
    hidden: list[Callable[[], Any]] = [
        lambda: rng.choice(list(JSON_EVASIONS.values()))(card(rng), rng),
        lambda: told(row := rng.choice(list(TEXT_EVASIONS)), card_for(row, rng), rng),
        lambda: NOISE[rng.choice(list(NOISE))][0](rng),
        lambda: [str(rng.randrange(10**4)) for _ in range(4)],
        lambda: rng.randrange(10**8),
    ]
    values = [*strings, *(rng.choice(hidden)() for _ in range(2))]
    rng.shuffle(values)
    return {"meta": {"a": "b"}, **{f"{rng.choice(keys or ['k'])}{at or ''}": value for at, value in enumerate(values)}}


@settings(max_examples=400)
@given(text=texts)
def test_an_inert_text_has_no_finding_no_digits_and_no_fragment(text: str) -> None:
    if is_inert(text):
        assert find_cards(text) == []
        assert digits_of(fold(View(text)).text) == ""
        assert fragments_of(fold(View(text)).text.lower()) == []


@settings(max_examples=400, deadline=None)
@given(seed=SEEDS, strings=st.lists(texts, max_size=4), keys=st.lists(names, max_size=3))
def test_a_document_is_found_the_same_with_and_without_the_short_way(
    seed: int, strings: list[str], keys: list[str]
) -> None:
    value = documents_of(Random(seed), strings, keys)
    first = find_cards_in_json(value)
    assert first == long_way(value)
    assert find_cards_in_json(value) == first  # once more, with what is remembered now


@given(seed=SEEDS)
def test_a_card_between_texts_that_were_met_before_is_found(seed: int) -> None:
    rng = Random(seed)
    around = {"method": "tools/call", "name": "search_catalog", "note": "a quiet kettle"}
    assert not contains_card_in_json(around)
    for row, split in JSON_EVASIONS.items():
        assert contains_card_in_json({**around, "arguments": split(card(rng), rng)}), row


@settings(max_examples=400)
@given(text=st.text(st.sampled_from("0123456789- ./\n\u00a0\u0664"), max_size=40))
def test_digits_between_signs_alone_are_read_as_speech_would_be(text: str) -> None:
    folded = fold(View(text)).text
    tokens = tokens_of(folded.lower())
    chain = next(chains_of(tokens, Reading()), None)
    whole = chain is not None and chain[-1].end == tokens[-1].end
    digits = "".join(atom.digits for atom in chain) if chain and whole else ""
    assert fields._digits_between_signs(folded) == (digits if len(digits) <= 8 else "")


@given(text=st.text("ABCDMNOYZabcdyz0123456789+/", min_size=18, max_size=80))
def test_a_run_that_is_not_base64_is_told_the_same_again(text: str) -> None:
    assert decoders._base64(text) == decoders._base64(text)


def test_what_is_remembered_is_bounded_and_holds_no_text() -> None:
    passed = Passed(most=3)
    for number in range(10):
        passed.add(passed.digest(f"text {number}"))
        assert passed.digest(f"text {number}") in passed
        assert 0 < len(passed) <= 3
    assert passed.digest("text 0") not in passed
    assert not any(b"text" in digest for digest in passed._digests)
    assert {len(digest) for digest in passed._digests} == {16}


def test_each_memory_has_a_key_of_its_own() -> None:
    assert Passed().digest("tools/call") != Passed().digest("tools/call")


def test_nothing_with_a_digit_or_a_number_word_in_it_is_inert_or_remembered() -> None:
    for text in (
        "4242",
        "p4",
        "four two four two",
        "fortytwo",
        "٤٢",
        "NDI0MjQyNDI0MjQyNDI0Mg",
        "a" * (LONGEST_CHARS + 1),
    ):
        assert not is_inert(text)
    assert len(inert._inert) == 0
    assert is_inert("tools/call")
    assert len(inert._inert) == 1


@pytest.mark.parametrize(
    "row", ["array of groups", "string", "counted fields with others between", "between the words of two fields"]
)
def test_planted_fault_if_everything_were_inert_cards_would_be_lost(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = JSON_EVASIONS[row](card(Random(row)), Random(row))
    assert contains_card_in_json(value)
    monkeypatch.setattr(documents, "is_inert", lambda _: True)
    assert not contains_card_in_json(value)


def test_planted_fault_a_value_with_digits_taken_for_inert_would_part_the_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = {"p0": "4242", "p1": "4242", "p2": "4242", "p3": "4242"}
    assert contains_card_in_json(value)
    monkeypatch.setattr(documents, "is_inert", lambda text: text == "4242")
    assert not contains_card_in_json(value)


def test_planted_fault_a_memory_that_knows_everything_would_hide_an_encoded_card(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = base64.b64encode(b"pay with 4242 4242 4242 4242").decode()
    assert find_cards(text)
    monkeypatch.setattr(Passed, "__contains__", lambda *_: True)
    assert not find_cards(text)


def test_a_security_code_whose_words_stand_in_the_name_is_still_found() -> None:
    assert contains_card_in_json({"myCvvOneTwoThree": "x"})


def test_names_are_kept_only_where_they_are_plain_and_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_NAMES_KEPT", 3)
    for name in ("query", "cvv", "securityCode", "p4", "fortytwo", "4242", "naïve", "limit", "offset", "name", "page"):
        documents.is_plain_name(name)
        assert len(documents._plain_names) <= 3
    assert documents._plain_names <= {"query", "limit", "offset", "name", "page"}
    assert contains_card_in_json([{"cvv": "123"}, {"cvv": "123"}])


def test_planted_fault_a_name_of_a_security_code_taken_for_plain_would_hide_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert contains_card_in_json({"cvv": "123"})
    monkeypatch.setattr(documents, "is_plain_name", lambda _: True)
    assert not contains_card_in_json({"cvv": "123"})


def test_planted_fault_more_parts_asked_for_than_a_card_may_have_would_lose_two_halves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    halves = {"p1": "42424242", "p2": "42424242"}
    assert contains_card_in_json(halves)
    monkeypatch.setattr(structure, "_FEWEST_PARTS", 3)
    assert not contains_card_in_json(halves)
