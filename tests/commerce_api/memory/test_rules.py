"""The rules of memory without a database: levels, sensitivities, what is detected, and what of it is used."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from commerce_api.memory import classifying, detecting
from commerce_api.memory.classifying import classified, is_payment_data
from commerce_api.memory.detecting import detect
from commerce_api.memory.terms import CLAIMS, KEYS, Level, MemoryTerms, Sensitivity
from commerce_api.memory.using import features_of, slots_of
from offer_engine.features import MEMORY

# Every value that a rule can make. Nothing else of what was said gets out.
FORMS = {
    "size.clothing": re.compile("X{0,3}[SL]|M"),
    "size.shoe": re.compile(r"(?:(?:EU|US|UK) )?[0-9]{1,2}(?:\.5)?"),
    "language": re.compile("[a-z]{2}"),
    "delivery.wish": re.compile("neighbour|at_the_door|weekend|evening|fast"),
    "budget": re.compile(r"USD [0-9]{1,9}\.[0-9]{2}"),
    "gift.occasion": re.compile("birthday|wedding|housewarming|graduation|retirement|farewell"),
}
PHRASES = (
    *(
        "I wear a medium",
        "I usually take size L",
        "my shirt size is XXL",
        "my shoe size is EU 42",
        "please answer in German",
    ),
    *("leave it with my neighbour", "I need it asap", "my budget is $1,500.50", "I can spend up to 80 dollars"),
    *(
        "it's a birthday gift",
        "because of my diabetes",
        "for Ramadan",
        "my card ends in 4242",
        "if",
        "not",
        "?",
        ". ",
        "\n",
    ),
)


@pytest.mark.parametrize("means", sorted(CLAIMS))
@pytest.mark.parametrize("level", ["confirmed", "verified"])
def test_a_number_that_anybody_may_give_is_never_an_identity(means: str, level: str) -> None:
    with pytest.raises(ValidationError, match="claimed at most"):
        MemoryTerms.model_validate({"known_by": {means: level}})


@pytest.mark.parametrize(
    "needs",
    [
        {"public": "anonymous"},
        {"personal": "claimed", "sensitive": "claimed", "payment_adjacent": "claimed"},
        {"personal": "verified", "sensitive": "confirmed"},
        {"public": "verified"},
    ],
)
def test_what_is_more_sensitive_never_needs_less(needs: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="needs:"):
        MemoryTerms.model_validate({"needs": needs})


def test_a_brand_says_what_a_way_of_its_own_is_worth_and_which_step_up_helps() -> None:
    terms = MemoryTerms.model_validate({"known_by": {"store_card": "confirmed", "email_code": "claimed"}})
    assert terms.level_of("store_card") is Level.CONFIRMED
    assert terms.level_of("email_code") is Level.CLAIMED
    assert terms.level_of("nobody_named_it") is Level.ANONYMOUS
    assert terms.ways_to(Level.CONFIRMED) == ("sms_code", "store_card", "account_password", "signed_in")
    assert terms.ways_to(Level.VERIFIED) == ("account_password", "signed_in")


@given(st.sampled_from(sorted(KEYS)), st.text(max_size=200))
def test_words_make_a_fact_more_sensitive_and_never_less(key: str, value: str) -> None:
    order = list(Sensitivity)
    assert order.index(classified(KEYS[key], value)) >= order.index(KEYS[key])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("blue", Sensitivity.PERSONAL),
        ("no nuts, severe allergy", Sensitivity.SENSITIVE),
        ("kosher kitchen", Sensitivity.SENSITIVE),
        ("pays by invoice", Sensitivity.PAYMENT_ADJACENT),
        ("the Visa ending in 4242", Sensitivity.PAYMENT_ADJACENT),
        ("HEALTH insurance by direct debit", Sensitivity.PAYMENT_ADJACENT),
    ],
)
def test_a_value_is_as_sensitive_as_its_words(value: str, expected: Sensitivity) -> None:
    assert classified(Sensitivity.PERSONAL, value) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("4242 4242 4242 4242", True),
        ("4242 4242", True),
        ("GB29 NWBK 6016 1331 9268 19", True),
        ("12/27", True),
        ("07 / 2031", True),
        ("pin 1234", True),
        ("size 42", False),
        ("waist 32, length 34", False),
        ("since 2024", False),
        ("pinstripes", False),
        ("USD 1500.50", False),
    ],
)
def test_what_could_take_money_is_told_from_what_could_not(value: str, expected: bool) -> None:
    assert is_payment_data(value) is expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I wear a medium.", {"size.clothing": "M"}),
        ("Hi! My t-shirt size is XL, thanks", {"size.clothing": "XL"}),
        ("I wear size 10.5 shoes", {"size.shoe": "10.5"}),
        ("My shoe size is EU 42.", {"size.shoe": "EU 42"}),
        ("I wear a small. Well, I take a medium.", {"size.clothing": "M"}),
        ("Please answer in German", {"language": "de"}),
        ("I'd prefer French", {"language": "fr"}),
        ("Leave it with my neighbor", {"delivery.wish": "neighbour"}),
        ("My budget is $80", {"budget": "USD 80.00"}),
        ("I can spend up to 1,500 dollars", {"budget": "USD 1500.00"}),
        ("This is a housewarming present", {"gift.occasion": "housewarming"}),
    ],
)
def test_what_a_shopper_says_of_themselves_is_found(text: str, found: dict[str, str]) -> None:
    assert {one.key: one.value for one in detect(text, "USD")} == found


@pytest.mark.parametrize(
    "text",
    [
        "Do you have this in medium?",
        "My brother wears a medium",
        "I don't wear a medium",
        "If I take a large, does it shrink?",
        "I used to say I wear a medium",
        "I wear a medium because of my pregnancy.",
        "It's a christmas gift",
        "I am a large dog owner",
        "My budget is €80",
        "My budget is none of your business",
        "I prefer cash",
        "I speak German at home",
        "I wear a medium, my card is 4242 4242 4242 4242",
        "",
    ],
)
def test_a_question_a_condition_another_person_and_what_is_sensitive_are_left_alone(text: str) -> None:
    assert detect(text, "USD") == ()


@given(st.lists(st.one_of(st.sampled_from(PHRASES), st.text(max_size=12)), max_size=12))
def test_nothing_gets_out_of_what_was_said_but_values_of_a_closed_form(parts: list[str]) -> None:
    for one in detect(" ".join(parts), "USD"):
        assert FORMS[one.key].fullmatch(one.value)
        assert KEYS[one.key] in (Sensitivity.PUBLIC, Sensitivity.PERSONAL)
        assert classified(KEYS[one.key], one.value) is KEYS[one.key]
        assert not is_payment_data(one.value)


def test_planted_fault_without_its_look_at_the_sentence_a_sensitive_one_is_kept_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(detecting, "speaks_of_sensitive", lambda _: False)
    assert detect("I wear a medium because of my pregnancy.", "USD") != ()


def test_planted_fault_without_its_words_a_value_stays_what_its_key_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifying, "_SENSITIVE", re.compile("(?!)"))
    assert classified(Sensitivity.PERSONAL, "kosher kitchen") is Sensitivity.PERSONAL


def test_ranking_gets_a_few_numbers_and_a_presentation_a_few_words() -> None:
    facts = {
        "size.clothing": "M",
        "budget": "USD 50.00",
        "gift.occasion": "birthday",
        "delivery.wish": "fast",
        "language": "de",
        "health": "asthma",
        "payment.preference": "invoice",
        "style": "green",
    }
    numbers = features_of(facts, "USD")
    assert numbers == {
        "memory.size": 3.0,
        "memory.budget_minor": 5_000.0,
        "memory.gift": 1.0,
        "memory.fast_delivery": 1.0,
    }
    assert tuple(numbers) == MEMORY
    assert slots_of(facts) == {
        "memory.size.clothing": "M",
        "memory.gift.occasion": "birthday",
        "memory.delivery.wish": "fast",
    }


@pytest.mark.parametrize("budget", ["EUR 50.00", "USD 50.001", "fifty", "", "USD -5"])
def test_a_budget_of_another_form_or_currency_is_no_number(budget: str) -> None:
    assert features_of({"budget": budget, "size.clothing": "gigantic", "gift.occasion": "eid"}, "USD") == {}
