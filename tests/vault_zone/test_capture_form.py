"""The form's body and fields: bounded, read into a card, or answered with how to mend it and without what was typed."""

import dataclasses
import traceback
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vault_zone.card_strategies import NOW, names, numbers
from vault_zone.capture_form import (
    BODY_MAX_BYTES,
    BODY_MAX_FIELDS,
    MESSAGES,
    FormErrors,
    FormFault,
    FormRefused,
    SafeValues,
    parse_capture_form,
    parse_form_body,
    safe_values,
)
from vault_zone.card import BRAND_RULES, CapturedCard, CardField, CardProblem, Exposure

GOOD = {
    "number": "4242 4242 4242 4242",
    "expiry": "12 / 30",
    "cvc": "123",
    "name": "Ada Lovelace",
    "postal_code": "SW1A 1AA",
}
FIELD_TEXTS = st.one_of(
    st.text(max_size=100),
    st.text("0123456789 -/", max_size=25),
    st.sampled_from(list(GOOD.values())),
)
FIELDS = st.dictionaries(st.sampled_from([*GOOD, "csrf", "extra"]), FIELD_TEXTS)


def _errors(**changed: str) -> dict[str, str]:
    result = parse_capture_form({**GOOD, **changed}, NOW)
    assert isinstance(result, FormErrors)
    return {field.value: code.value for field, code in result.codes.items()}


def test_a_good_form_becomes_a_card_with_the_security_code_apart() -> None:
    captured = parse_capture_form({**GOOD, "unasked": "for"}, NOW)
    assert isinstance(captured, CapturedCard)
    assert captured.card.pan.expose(Exposure.SEAL) == "4242424242424242"
    assert captured.card.expiry.expose(Exposure.SEAL) == (12, 2030)
    assert captured.card.name is not None
    assert captured.card.name.expose(Exposure.SEAL) == "Ada Lovelace"
    assert captured.card.postal_code is not None
    assert captured.card.postal_code.expose(Exposure.SEAL) == "SW1A 1AA"
    assert captured.cvc.expose(Exposure.PROCESSOR) == "123"


def test_an_empty_form_asks_for_every_field_in_the_order_of_the_page() -> None:
    result = parse_capture_form({}, NOW)
    assert isinstance(result, FormErrors)
    assert [(error.field, error.code) for error in result.shown()] == [
        (field, CardProblem.MISSING) for field in MESSAGES["en"]
    ]


def test_each_wrong_field_is_named_with_its_own_reason() -> None:
    assert _errors(number="4242 4242 4242 4241") == {"number": "failed_check"}
    assert _errors(number="3782 822463 10005") == {"cvc": "four_digits"}
    assert _errors(expiry="01/20", cvc="12") == {"expiry": "past", "cvc": "three_digits"}
    assert _errors(name="4242 4242 4242 4242") == {"name": "card_like"}
    assert _errors(postal_code="?") == {"postal_code": "wrong_form"}
    assert _errors(number="", cvc="1234") == {"number": "missing"}


@given(FIELDS)
def test_any_fields_give_a_card_or_errors_that_hold_codes_alone(fields: dict[str, str]) -> None:
    result = parse_capture_form(fields, NOW)
    if isinstance(result, CapturedCard):
        return
    assert result.codes
    assert [part.name for part in dataclasses.fields(result)] == ["codes"]
    assert all(type(field) is CardField and type(code) is CardProblem for field, code in result.codes.items())
    for error in result.shown():
        assert error.message == MESSAGES["en"][error.field][error.code]


def test_errors_cannot_be_added_to() -> None:
    result = FormErrors({CardField.CVC: CardProblem.MISSING})
    with pytest.raises(TypeError):
        result.codes[CardField.NUMBER] = CardProblem.MISSING  # type: ignore[index]


RAISED: dict[CardField, set[str]] = {
    CardField.NUMBER: {"missing", "not_digits", "wrong_length", "brand_unknown", "failed_check"},
    CardField.EXPIRY: {"missing", "wrong_form", "month_invalid", "past", "too_far"},
    CardField.CVC: {"missing", "not_digits", "wrong_length", "three_digits", "four_digits"},
    CardField.NAME: {"missing", "too_long", "card_like", "wrong_characters"},
    CardField.POSTAL_CODE: {"missing", "wrong_form"},
}


@pytest.mark.parametrize("locale", MESSAGES)
def test_every_locale_has_a_message_for_every_error_and_no_other(locale: str) -> None:
    table = {field: {code.value for code in texts} for field, texts in MESSAGES[locale].items()}  # type: ignore[index]
    assert table == RAISED
    assert {code for codes in RAISED.values() for code in codes} == {code.value for code in CardProblem}


@given(FIELDS)
def test_every_error_that_occurs_has_a_message(fields: dict[str, str]) -> None:
    result = parse_capture_form(fields, NOW)
    if isinstance(result, FormErrors):
        assert all(code.value in RAISED[field] for field, code in result.codes.items())


def test_messages_are_sentences_that_say_what_to_do() -> None:
    doing = ("Enter", "Use", "Check", "Shorten")
    for texts in MESSAGES["en"].values():
        for text in texts.values():
            assert text.endswith(".")
            assert any(word in text.replace("Check", " Check").split() for word in doing), text
            assert len(text) <= 130


def test_the_brands_that_a_message_names_are_those_that_are_accepted() -> None:
    text = MESSAGES["en"][CardField.NUMBER][CardProblem.BRAND_UNKNOWN]
    assert all(rule.title in text for rule in BRAND_RULES)


def _echoes(safe: SafeValues, fields: Mapping[str, str]) -> bool:
    """True if a number or code that was typed can be read in a value that is shown again."""
    secrets = ["".join(filter(str.isdigit, fields.get(name, ""))) for name in ("number", "cvc")]
    shown = ["".join(filter(str.isdigit, value)) for value in (safe.name, safe.postal_code)]
    return any(secret and secret in value for secret in secrets for value in shown)


@given(FIELDS)
def test_what_is_shown_again_holds_no_number_and_no_code(fields: dict[str, str]) -> None:
    safe = safe_values(fields)
    assert not _echoes(safe, fields)
    assert sum(map(str.isdigit, safe.name)) <= 8
    assert safe.name in (fields.get("name", "").strip(), "")
    assert safe.postal_code in (fields.get("postal_code", "").strip(), "")


@given(numbers(), names())
def test_a_number_typed_as_name_or_postal_code_is_not_shown_again(number: str, name: str) -> None:
    assert safe_values({"number": "", "cvc": "", "name": f"{name} {number}"}).name == ""
    assert safe_values({"number": "", "cvc": "", "postal_code": number}).postal_code == ""


def test_a_clean_name_and_postal_code_are_shown_again() -> None:
    assert safe_values({**GOOD, "number": "oops"}) == SafeValues("Ada Lovelace", "SW1A 1AA")
    assert "Ada" not in repr(safe_values(GOOD))


def test_a_code_repeated_elsewhere_is_not_shown_again() -> None:
    assert safe_values({**GOOD, "cvc": "987", "postal_code": "98765"}).postal_code == ""
    assert safe_values({**GOOD, "cvc": "９８７", "postal_code": "98765"}).postal_code == ""


def test_a_planted_echo_is_found_by_the_same_check() -> None:
    fields = {**GOOD, "cvc": "987", "postal_code": "98765"}
    assert _echoes(SafeValues(fields["name"], fields["postal_code"]), fields)


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=BODY_MAX_FIELDS))
def test_what_a_browser_encodes_is_read_back(fields: dict[str, str]) -> None:
    body = urlencode(fields).encode()
    assert parse_form_body(body) == fields


def test_the_longest_form_that_can_be_accepted_fits() -> None:
    fields = {**GOOD, "name": "\U0001f600" * 79 + "A", "number": "4" * 19 + " " * 13}
    assert parse_form_body(urlencode(fields).encode()) == fields


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"a=" + b"x" * (BODY_MAX_BYTES - 1), FormFault.TOO_LARGE),
        (b"&".join(b"f%d=1" % i for i in range(BODY_MAX_FIELDS + 1)), FormFault.TOO_MANY_FIELDS),
        (b"number=1&number=2", FormFault.DUPLICATE_FIELD),
        (b"number=1&n%75mber=2", FormFault.DUPLICATE_FIELD),
        (b"number=1&number", FormFault.DUPLICATE_FIELD),
        (b"name=%ff", FormFault.BAD_ENCODING),
        (b"name=\xff", FormFault.BAD_ENCODING),
        (b"name=%ed%a0%80", FormFault.BAD_ENCODING),
        (b"na%c3me=1", FormFault.BAD_ENCODING),
    ],
)
def test_a_body_that_no_browser_sends_is_refused(body: bytes, code: FormFault) -> None:
    with pytest.raises(FormRefused) as refusal:
        parse_form_body(body)
    assert refusal.value.code is code


def test_bodies_at_the_limits_are_read() -> None:
    assert parse_form_body(b"") == {}
    assert parse_form_body(b"a=1&&b") == {"a": "1", "b": ""}
    assert len(parse_form_body(b"a=" + b"x" * (BODY_MAX_BYTES - 2))["a"]) == BODY_MAX_BYTES - 2
    assert len(parse_form_body(b"&".join(b"f%d=1" % i for i in range(BODY_MAX_FIELDS)))) == BODY_MAX_FIELDS


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        fields = parse_form_body(body)
    except FormRefused:
        return
    assert all(isinstance(text, str) for pair in fields.items() for text in pair)


def _keeps(parse: Callable[[bytes], object], body: bytes, text: str) -> bool:
    """True if the refusal of a body holds `text`: in its words, its context, or the frames below the caller's."""
    try:
        parse(body)
    except FormRefused as refusal:
        frames = [frame.f_locals for frame, _ in traceback.walk_tb(refusal.__traceback__)][1:]
        return text in repr((frames, refusal, refusal.__context__, refusal.__cause__, refusal.__dict__))
    raise AssertionError("not refused")


@pytest.mark.parametrize("fault", [b"&name=%ff", b"&cvc=123&cvc=123", b"&x=" + b"y" * 4096, b"&a=1" * 20])
def test_a_refused_body_is_not_kept_by_its_refusal(fault: bytes) -> None:
    assert not _keeps(parse_form_body, b"number=4242424242424242" + fault, "4242424242424242")


def test_a_planted_refusal_that_keeps_the_body_is_found_by_the_same_check() -> None:
    def careless(body: bytes) -> str:
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            raise FormRefused(FormFault.BAD_ENCODING) from None  # the context still holds the body

    assert _keeps(careless, b"number=4242424242424242&name=\xff", "4242424242424242")
