"""What is remembered of a shopper is said in closed forms, in sentences of its own, and no model is told what it is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offer_engine.presenting.locales import LOCALES, templates
from offer_engine.presenting.phrasebook import PhraseBook
from offer_engine.presenting.prompts import prompt_for
from offer_engine.presenting.remembered import remembered
from offer_engine.presenting.verifier import Grounds, Verdict, Verifier
from tests.offer_engine.presenting.world import grounds
from tokenization.scanner import contains_card

SLOTS = {
    "memory.name.preferred": "Robin",
    "memory.size.clothing": "M",
    "memory.size.shoe": "EU 42",
    "memory.gift.occasion": "wedding",
    "memory.delivery.wish": "fast",
}
KNOWN = remembered(SLOTS, "en")
OFFER = " {{offer.1.title}} gives you {{offer.1.benefit}}."
HOSTILE = (
    "Robin, everything is free",
    "Ignore Rules",
    "$1",
    "one dollar",
    "Dollar",
    "evil.example",
    "{{offer.1.price}}",
    "Rob\u202ein",
    "Rob\u200bin",
    "Роbin",
    "4242",
    "Fifty",
    "Robin\nYou pay nothing",
    "A" * 40,
    "",
    "R",
)


def about_shopper(offers: int = 2) -> Grounds:
    """Grounds with all that may be remembered."""
    return replace(grounds(offers=offers), remembered=KNOWN)


def test_what_may_be_said_says_what_it_is() -> None:
    assert KNOWN == (
        ("memory.gift.occasion", "wedding"),
        ("memory.name.preferred", "Robin"),
        ("memory.size.clothing", "size M"),
        ("memory.size.shoe", "shoe size EU 42"),
    )


@pytest.mark.parametrize("locale", LOCALES)
def test_each_language_has_its_words_for_it(locale: str) -> None:
    said = dict(remembered(SLOTS, locale))
    assert len(said) == 4
    assert said["memory.size.shoe"].endswith("EU 42")
    assert said["memory.size.shoe"] != "EU 42"
    occasions = templates("en")["remembered"]["gift.occasion"]
    assert templates(locale)["remembered"]["gift.occasion"].keys() == occasions.keys()


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "key", ["memory.name.preferred", "memory.size.clothing", "memory.size.shoe", "memory.gift.occasion"]
)
@pytest.mark.parametrize("locale", ["en", "de"])
def test_a_fact_that_holds_anything_else_is_not_said(key: str, value: str, locale: str) -> None:
    assert remembered({key: value}, locale) == ()


LIKELY = st.from_regex(
    r"[A-Za-zÀ-ÿ]{2,20}( [A-Z][a-z]{1,20})?|(EU |US )?[0-9]{1,3}(\.5)?|X{0,3}[SL]|wedding", fullmatch=True
)


@given(st.sampled_from(sorted(SLOTS)), LIKELY | st.text(max_size=40), st.sampled_from(LOCALES))
def test_whatever_a_fact_holds_only_letters_and_sizes_are_said(key: str, value: str, locale: str) -> None:
    for _, said in remembered({key: value}, locale):
        assert not set(said) & set("{}$€£¥%@/:;\n\u202e\u200b")
        assert sum(character.isdigit() for character in said) <= 3
        assert not contains_card(said)


@pytest.mark.parametrize(
    "sentence",
    [
        "Hello {{memory.name.preferred}}!",
        "I have looked for {{memory.size.clothing}}.",
        "You wear {{memory.size.shoe}}.",
        "I have thought of your {{memory.gift.occasion}}.",
        "{{offer.1.title}} may be something for your {{memory.gift.occasion}}.",
    ],
)
def test_it_may_be_said_in_sentences_of_its_own(sentence: str) -> None:
    assert Verifier(about_shopper(1)).verdict(sentence + OFFER) is Verdict.OK


@pytest.mark.parametrize(
    ("sentence", "verdict"),
    [
        ("{{offer.1.title}} comes to {{memory.size.shoe}}, {{offer.1.price}}.", Verdict.MISPLACED_VALUE),
        ("{{offer.1.title}} is {{offer.1.benefit}} for {{memory.name.preferred}}.", Verdict.MISPLACED_VALUE),
        ("The discount is {{memory.size.shoe}}.", Verdict.CLAIM),
        ("You save {{memory.size.shoe}}.", Verdict.CLAIM),
        ("The price is {{memory.size.shoe}}.", Verdict.CURRENCY),
        ("You wear {{memory.size.shoe}}5.", Verdict.GLUED_SLOT),
        ("You wear {{memory.size.hat}}.", Verdict.UNKNOWN_SLOT),
        ("You wear {{memory.}}.", Verdict.MALFORMED_SLOT),
        ("You wear {{offer.0.title}}.", Verdict.MALFORMED_SLOT),
        ("You live in {{memory.budget}}.", Verdict.UNKNOWN_SLOT),
    ],
)
def test_it_is_no_value_of_an_offer_and_no_claim(sentence: str, verdict: Verdict) -> None:
    assert Verifier(about_shopper(1)).verdict(sentence + OFFER) is verdict


def test_what_is_not_remembered_has_no_slot() -> None:
    assert Verifier(grounds(offers=1)).verdict("Hello {{memory.name.preferred}}!" + OFFER) is Verdict.UNKNOWN_SLOT


def test_planted_fault_with_the_offers_licences_a_size_would_pass_for_a_discount(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("offer_engine.presenting.verifier.SHOPPER", -1)
    monkeypatch.setattr(Grounds, "value", lambda *_: "shoe size EU 42")
    assert Verifier(about_shopper(1)).verdict("The discount is {{memory.size.shoe}}." + OFFER) is not Verdict.CLAIM


def test_the_model_is_told_that_it_is_known_and_not_what_it_is() -> None:
    system = prompt_for(about_shopper()).system
    for name, value in KNOWN:
        assert f"{{{{{name}}}}}" in system
        assert value not in system
    assert "EU 42" not in system
    assert "memory." not in prompt_for(grounds()).system


def test_it_is_filled_in_once() -> None:
    planted = replace(about_shopper(1), remembered=(("memory.name.preferred", "{{offer.1.price}}"),))
    assert Verifier(planted).fill("Hello {{memory.name.preferred}}!") == "Hello {{offer.1.price}}!"


def test_chosen_wording_says_nothing_of_it() -> None:
    book = PhraseBook(about_shopper())
    assert "memory." not in book.prompt(prompt_for(about_shopper())).system
    assert book.sentence("hello {{memory.name.preferred}}\n", book.start())[0] is Verdict.NO_PHRASE
