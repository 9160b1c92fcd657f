"""Card data cannot get out of its types by itself, and nothing that is no card gets in.

The way out is tested by non-interference: whatever Python can be asked to show of a value, two different values show
the same. So no secret is searched for as text, and a short one (a CVC) is judged as strictly as a number.
"""

import copy
import dataclasses
import hmac
import inspect
import json
import pickle
import pprint
import re
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
import structlog
from fastapi.encoders import jsonable_encoder
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tests.vault_zone.card_strategies import (
    NOW,
    PUBLISHED_NUMBERS,
    cardholder_names,
    cvcs,
    expiries,
    numbers,
    pans,
    postal_codes,
    with_check_digit,
)
from vault_zone.card import (
    BRAND_RULES,
    Brand,
    CapturedCard,
    Card,
    CardField,
    CardholderName,
    CardInvalid,
    CardProblem,
    CardUnreadable,
    Cvc,
    Expiry,
    Exposure,
    Pan,
    PostalCode,
    brand_rule,
    passes_luhn,
)


def _members(value: object) -> list[tuple[str, object]]:
    """What a debugger or an error reporter lists: every attribute that can be read without a call."""
    slots = [name for base in type(value).__mro__ for name in getattr(base, "__slots__", ())]
    names = {*dir(value), *slots, *(f"_{base.__name__.lstrip('_')}{n}" for base in type(value).__mro__ for n in slots)}
    shown = [(name, getattr(value, name, None)) for name in sorted(names) if name not in ("last4", "brand")]
    return [(name, member) for name, member in shown if not inspect.isroutine(member) or "<lambda>" in repr(member)]


def _raise_holding(value: object) -> str:
    def handler(card: object) -> None:
        raise LookupError("nothing of the card")

    try:
        handler(value)
    except LookupError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    raise AssertionError("handler did not raise")


def _log_line(value: object) -> str:
    fields = {"event": "captured", "card": value}
    machine = structlog.processors.JSONRenderer()(None, "info", dict(fields))
    person = structlog.dev.ConsoleRenderer(colors=False)(None, "info", dict(fields))
    return f"{machine!r} {person}"


CHANNELS: dict[str, Callable[[Any], object]] = {
    "repr": repr,
    "str": str,
    "format": lambda value: f"{value:>30}{value!s}{value!a}",
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031 - the old way out is one more way out
    "container": lambda value: repr([value, {"card": (value,)}]),
    "pprint": pprint.pformat,
    "bytes": bytes,
    "iterate": list,
    "length": len,
    "index": lambda value: value[0],
    "mapping": dict,
    "int": int,
    "hash": hash,
    "order": lambda value: sorted([value, value]),
    "vars": vars,
    "members": lambda value: repr(_members(value)),
    "getstate": lambda value: value.__getstate__(),
    "reduce": lambda value: value.__reduce__(),
    "reduce_ex": lambda value: value.__reduce_ex__(4),
    "slot_state": lambda value: repr(object.__getstate__(value)),
    "copy": lambda value: repr(copy.copy(value)),
    "deepcopy": lambda value: repr(copy.deepcopy(value)),
    "asdict": dataclasses.asdict,
    "astuple": dataclasses.astuple,
    "json": json.dumps,
    "json_str": lambda value: json.dumps(value, default=str),
    "json_vars": lambda value: json.dumps(value, default=vars),
    "json_slots": lambda value: json.dumps(value, default=lambda held: {n: getattr(held, n) for n in held.__slots__}),
    "jsonable": jsonable_encoder,
    "pydantic": lambda value: TypeAdapter(object).dump_json(value),
    "traceback": _raise_holding,
    "log": _log_line,
    **{f"pickle{version}": lambda value, v=version: pickle.dumps(value, v) for version in range(6)},  # type: ignore[misc]
}


def _shown(channel: Callable[[Any], object], value: object) -> str:
    """What a channel tells of a value: its answer, or how it refused, with its locals, whichever it is."""
    try:
        answer = repr(channel(value))
    except Exception as refusal:  # noqa: BLE001 - every refusal's text is a way out too
        answer = "".join(traceback.TracebackException.from_exception(refusal, capture_locals=True).format())
    return re.sub(r"0x[0-9a-f]+", "0x", answer.replace(str(id(value)), "id"))


def telling_channels(value: object, other: object) -> set[str]:
    """The channels by which two values can be told apart. Empty for values that show nothing of themselves."""
    return {name for name, channel in CHANNELS.items() if _shown(channel, value) != _shown(channel, other)}


HOLDERS = [pans(), cvcs(), expiries(), cardholder_names(), postal_codes()]


@st.composite
def _card_pairs(draw: st.DrawFn) -> tuple[object, object]:
    number = draw(pans())
    same_ending = draw(pans())

    def card(pan: Pan) -> Card:
        return Card(pan=pan, expiry=draw(expiries()), name=draw(cardholder_names()), postal_code=draw(postal_codes()))

    one, other = card(number), card(same_ending)
    if draw(st.booleans()):
        return one, other
    return CapturedCard(card=one, cvc=draw(cvcs())), CapturedCard(card=other, cvc=draw(cvcs()))


@pytest.mark.parametrize("values", HOLDERS)
def test_two_values_show_the_same_whatever_python_is_asked(values: st.SearchStrategy[Any]) -> None:
    @given(values, values)
    def check(one: object, other: object) -> None:
        assert telling_channels(one, other) == set()

    check()


@given(_card_pairs())
def test_two_cards_show_the_same_whatever_python_is_asked(pair: tuple[object, object]) -> None:
    assert telling_channels(*pair) == set()


def _planted(**leaks: object) -> Callable[[str], object]:
    """A Cvc type with a fault in it."""
    return type("Cvc", (Cvc,), {"__slots__": (), **leaks})


def _read(self: Cvc) -> str:
    return self.expose(Exposure.SEAL)


class _KeptInSight(Cvc):  # type: ignore[misc]  # a fault that the type checker refuses as well
    __slots__ = ("value",)

    def __init__(self, held: str) -> None:
        super().__init__(held)
        object.__setattr__(self, "value", held)


@dataclasses.dataclass
class _PlainDataclass:
    digits: str = dataclasses.field(repr=False)


class _KeptInDict(Cvc):  # type: ignore[misc]  # as above; no __slots__
    def __init__(self, held: str) -> None:
        super().__init__(held)
        self.__dict__["value"] = held


@pytest.mark.parametrize(
    ("fault", "channel"),
    [
        (_planted(__repr__=_read), "repr"),
        (_planted(__repr__=_read), "traceback"),
        (_planted(__repr__=_read), "log"),
        (_planted(__str__=_read), "str"),
        (_planted(__format__=lambda self, _: _read(self)), "format"),
        (_planted(__reduce_ex__=lambda self, _: (Cvc, (_read(self),))), "pickle4"),
        (_planted(__reduce__=lambda self: (Cvc, (_read(self),))), "reduce"),
        (_planted(__getstate__=_read), "getstate"),
        (_planted(__iter__=lambda self: iter(_read(self))), "iterate"),
        (_planted(__bytes__=lambda self: _read(self).encode()), "bytes"),
        (_planted(__hash__=lambda self: hash(_read(self))), "hash"),
        (_planted(__int__=lambda self: int(_read(self))), "int"),
        (_planted(shown=property(_read)), "members"),
        (_KeptInSight, "members"),
        (_KeptInSight, "slot_state"),
        (_KeptInSight, "json_slots"),
        (_KeptInDict, "vars"),
        (_KeptInDict, "json_vars"),
        (_KeptInDict, "jsonable"),
        (_PlainDataclass, "asdict"),
    ],
)
def test_a_planted_leak_is_found_by_the_same_check(fault: Callable[[str], object], channel: str) -> None:
    assert channel in telling_channels(fault("123"), fault("987"))


def test_the_masks_name_the_type_and_nothing_else() -> None:
    pan = Pan.parse("4242 4242 4242 4242")
    card = Card(pan=pan, expiry=Expiry(12, 2030))
    assert [repr(pan), str(pan), f"{pan}", f"{pan:>20}"] == ["Pan(****)"] * 4
    assert repr(card) == "Card(****)"
    assert repr(CapturedCard(card=card, cvc=Cvc.parse("123", Brand.VISA))) == "CapturedCard(****)"


def test_a_held_value_cannot_be_changed_or_taken_away() -> None:
    pan = Pan.parse("4242 4242 4242 4242")
    with pytest.raises(CardUnreadable):
        pan.brand = Brand.JCB
    with pytest.raises(CardUnreadable):
        del pan.last4
    assert (pan.brand, pan.last4) == (Brand.VISA, "4242")


def test_a_value_is_exposed_only_for_the_purposes_of_its_type() -> None:
    assert Pan.parse("4242 4242 4242 4242").expose(Exposure.FINGERPRINT) == "4242424242424242"
    assert Expiry(8, 2030).expose(Exposure.PROCESSOR) == (8, 2030)
    for value in (Cvc.parse("123", Brand.VISA), Expiry(8, 2030), CardholderName.parse("Ada"), PostalCode.parse("E1")):
        with pytest.raises(CardUnreadable):
            value.expose(Exposure.FINGERPRINT)
    with pytest.raises(CardUnreadable):
        Pan.parse("4242 4242 4242 4242").expose("SEAL")  # type: ignore[arg-type]


@given(numbers(), numbers())
def test_equality_is_that_of_the_values_and_of_the_type(one: str, other: str) -> None:
    assert Pan.parse(one) == Pan.parse(one)
    assert (Pan.parse(one) == Pan.parse(other)) == (one == other)
    assert Pan.parse(one) != one
    assert Cvc.parse("123", None) != PostalCode.parse("123")
    assert Card(pan=Pan.parse(one), expiry=Expiry(1, 2030)) == Card(pan=Pan.parse(one), expiry=Expiry(1, 2030))
    assert Card(pan=Pan.parse(one), expiry=Expiry(1, 2030)) != Card(pan=Pan.parse(one), expiry=Expiry(2, 2030))
    assert Card(pan=Pan.parse(one), expiry=Expiry(1, 2030)) != one


def test_equality_takes_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    genuine = hmac.compare_digest

    def spy(one: bytes, other: bytes) -> bool:
        compared.append(len(one))
        return genuine(one, other)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    assert Pan.parse("4242 4242 4242 4242") != Pan.parse("5555 5555 5555 4444")
    assert len(compared) == 1


@pytest.mark.parametrize(("number", "brand"), PUBLISHED_NUMBERS.items())
def test_published_test_numbers_are_read_with_their_brand(number: str, brand: Brand) -> None:
    pan = Pan.parse(number)
    assert pan.brand is brand
    assert pan.expose(Exposure.SEAL) == number.replace(" ", "")
    assert pan.last4 == number.replace(" ", "")[-4:]


@given(numbers(), st.data())
def test_spaces_and_dashes_do_not_matter(number: str, data: st.DataObject) -> None:
    separators = data.draw(st.lists(st.sampled_from(["", " ", "-", " - "]), min_size=len(number), max_size=len(number)))
    typed = "".join(part for pair in zip(number, separators, strict=True) for part in pair)
    assert Pan.parse(typed) == Pan.parse(number)


@given(numbers(), st.data())
def test_one_wrong_digit_is_always_found(number: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(number) - 1))
    wrong = data.draw(st.sampled_from("0123456789"))
    assume(wrong != number[at])
    assert not passes_luhn(number[:at] + wrong + number[at + 1 :])


@given(numbers())
def test_the_check_accepts_one_last_digit_in_ten(number: str) -> None:
    assert [digit for digit in "0123456789" if passes_luhn(number[:-1] + digit)] == [number[-1]]


def test_every_prefix_belongs_to_one_brand_at_most() -> None:
    longest = max(len(low) for rule in BRAND_RULES for low, _ in rule.prefixes)
    for prefix in range(10**longest):
        claimed = [rule.brand for rule in BRAND_RULES if rule.claims(f"{prefix:0{longest}}")]
        assert len(claimed) <= 1, claimed


@pytest.mark.parametrize(
    ("prefix", "brand"),
    [
        ("2220", None),
        ("2221", Brand.MASTERCARD),
        ("2720", Brand.MASTERCARD),
        ("2721", None),
        ("50", Brand.MAESTRO),
        ("51", Brand.MASTERCARD),
        ("55", Brand.MASTERCARD),
        ("56", Brand.MAESTRO),
        ("3527", None),
        ("3528", Brand.JCB),
        ("3589", Brand.JCB),
        ("3590", None),
        ("6011", Brand.DISCOVER),
        ("6010", None),
        ("643", None),
        ("644", Brand.DISCOVER),
        ("306", None),
        ("3095", Brand.DINERS),
        ("1", None),
        ("9", None),
    ],
)
def test_ranges_end_where_the_networks_end_them(prefix: str, brand: Brand | None) -> None:
    rule = brand_rule(prefix.ljust(4, "0"))
    assert (rule.brand if rule else None) == brand


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("", CardProblem.MISSING),
        (" - ", CardProblem.MISSING),
        ("4242", CardProblem.WRONG_LENGTH),
        ("4242 4242 4242 4241", CardProblem.FAILED_CHECK),
        ("4242 4242 4242 424x", CardProblem.NOT_DIGITS),
        ("４２４２ 4242 4242 4242", CardProblem.NOT_DIGITS),
        ("٤٢٤٢ ٤٢٤٢ ٤٢٤٢ ٤٢٤٢", CardProblem.NOT_DIGITS),
        ("4242\u00a04242\u00a04242\u00a04242", CardProblem.NOT_DIGITS),
        ("4242\n424242424242", CardProblem.NOT_DIGITS),
        (with_check_digit("1" * 15), CardProblem.BRAND_UNKNOWN),
        (with_check_digit("5" * 14), CardProblem.WRONG_LENGTH),
        (with_check_digit("37" + "0" * 13), CardProblem.WRONG_LENGTH),
        (with_check_digit("4" * 19), CardProblem.WRONG_LENGTH),
        ("4" * 4000, CardProblem.WRONG_LENGTH),
    ],
)
def test_what_is_no_card_number_is_refused_with_its_reason(typed: str, code: CardProblem) -> None:
    with pytest.raises(CardInvalid) as refusal:
        Pan.parse(typed)
    assert (refusal.value.field, refusal.value.code) == (CardField.NUMBER, code)


@pytest.mark.parametrize(
    ("typed", "brand", "code"),
    [
        ("", Brand.VISA, CardProblem.MISSING),
        ("12", Brand.VISA, CardProblem.THREE_DIGITS),
        ("1234", Brand.VISA, CardProblem.THREE_DIGITS),
        ("123", Brand.AMEX, CardProblem.FOUR_DIGITS),
        ("12345", None, CardProblem.WRONG_LENGTH),
        ("12a", Brand.VISA, CardProblem.NOT_DIGITS),
        ("１２３", Brand.VISA, CardProblem.NOT_DIGITS),
        ("1 2", Brand.VISA, CardProblem.NOT_DIGITS),
    ],
)
def test_what_is_no_security_code_is_refused_with_its_reason(
    typed: str, brand: Brand | None, code: CardProblem
) -> None:
    with pytest.raises(CardInvalid) as refusal:
        Cvc.parse(typed, brand)
    assert (refusal.value.field, refusal.value.code) == (CardField.CVC, code)


def test_security_codes_have_three_digits_or_four_for_american_express() -> None:
    assert Cvc.parse("012", Brand.VISA).expose(Exposure.PROCESSOR) == "012"
    assert Cvc.parse(" 0123 ", Brand.AMEX).expose(Exposure.PROCESSOR) == "0123"
    assert Cvc.parse("123", None) == Cvc.parse("123", Brand.JCB)
    assert Cvc.parse("1234", None) == Cvc.parse("1234", Brand.AMEX)


@pytest.mark.parametrize(
    "typed", ["08/30", "08 / 30", "0830", "08/2030", "08-30", "8/30", " 08 / 2030 ", "082030", "08 30", "8-2030"]
)
def test_every_usual_way_to_write_a_date_is_read(typed: str) -> None:
    assert Expiry.parse(typed, NOW).expose(Exposure.SEAL) == (8, 2030)


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("", CardProblem.MISSING),
        ("  ", CardProblem.MISSING),
        ("08", CardProblem.WRONG_FORM),
        ("830", CardProblem.WRONG_FORM),
        ("08/3", CardProblem.WRONG_FORM),
        ("08/030", CardProblem.WRONG_FORM),
        ("2030-08", CardProblem.WRONG_FORM),
        ("Aug 2030", CardProblem.WRONG_FORM),
        ("０8/30", CardProblem.WRONG_FORM),
        ("08/30\n", CardProblem.WRONG_FORM),
        ("00/30", CardProblem.MONTH_INVALID),
        ("13/30", CardProblem.MONTH_INVALID),
        ("10/26", CardProblem.PAST),
        ("12/1999", CardProblem.PAST),
        ("12/46", CardProblem.TOO_FAR),
        ("12/3030", CardProblem.TOO_FAR),
    ],
)
def test_what_is_no_date_of_a_card_is_refused_with_its_reason(typed: str, code: CardProblem) -> None:
    with pytest.raises(CardInvalid) as refusal:
        Expiry.parse(typed, NOW)
    assert (refusal.value.field, refusal.value.code) == (CardField.EXPIRY, code)


def test_a_card_is_valid_until_its_month_has_ended_everywhere_on_earth() -> None:
    end = datetime(2026, 12, 1, 0, 0, tzinfo=timezone(timedelta(hours=-12)))
    last_moment = (end - timedelta(microseconds=1)).astimezone(UTC)
    assert Expiry.parse("11/26", last_moment).expose(Exposure.SEAL) == (11, 2026)
    with pytest.raises(CardInvalid):
        Expiry.parse("11/26", end.astimezone(timezone(timedelta(hours=9))))


@given(st.integers(1, 12), st.integers(2000, 2079), st.sampled_from(["{:02}/{:02}", "{:02} / {:02}", "{:02}{:02}"]))
def test_a_date_is_accepted_from_its_own_month_to_twenty_years_before(month: int, year: int, form: str) -> None:
    typed = form.format(month, year % 100)

    def accepted(now: datetime) -> bool:
        try:
            return Expiry.parse(typed, now).expose(Exposure.SEAL) == (month, year)
        except CardInvalid:
            return False

    mid_month = datetime(year, month, 15, tzinfo=UTC)
    assert accepted(mid_month)
    assert accepted(mid_month.replace(year=year - 20))
    assert not accepted(mid_month + timedelta(days=31))
    assert not accepted(mid_month.replace(year=year - 20) - timedelta(days=31))


@pytest.mark.parametrize(("month", "year"), [(0, 2030), (13, 2030), (1, 1999), (1, 2100), (1, 30)])
def test_no_expiry_is_made_of_an_impossible_date(month: int, year: int) -> None:
    with pytest.raises(CardInvalid):
        Expiry(month, year)


@pytest.mark.parametrize(
    "name", ["A", "Ada Lovelace", "Zoë O’Brien-Ng 3rd", "李小龍", "محمد علی\u200cزاده", "x" * 80, "A1234567 8"]
)
def test_names_of_the_world_are_accepted(name: str) -> None:
    assert CardholderName.parse(f"  {name} ").expose(Exposure.PROCESSOR) == name


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("", CardProblem.MISSING),
        (" \t ", CardProblem.MISSING),
        ("x" * 81, CardProblem.TOO_LONG),
        ("4242 4242 4242 4242", CardProblem.CARD_LIKE),
        ("Ada 4-2-4-2-4-2-4-2-4", CardProblem.CARD_LIKE),
        ("Ada ４２４２４２４２４", CardProblem.CARD_LIKE),
        ("Ada ٤٢٤٢٤٢٤٢٤", CardProblem.CARD_LIKE),
        ("1234", CardProblem.WRONG_CHARACTERS),
        ("Ada\x00Lovelace", CardProblem.WRONG_CHARACTERS),
        ("Ada\nLovelace", CardProblem.WRONG_CHARACTERS),
        ("Ada \u202eecalevoL", CardProblem.WRONG_CHARACTERS),
    ],
)
def test_what_is_no_name_is_refused_with_its_reason(typed: str, code: CardProblem) -> None:
    with pytest.raises(CardInvalid) as refusal:
        CardholderName.parse(typed)
    assert (refusal.value.field, refusal.value.code) == (CardField.NAME, code)


@given(numbers(), st.text(max_size=5))
def test_a_card_number_in_the_name_field_is_refused_however_it_is_dressed(number: str, between: str) -> None:
    with pytest.raises(CardInvalid):
        CardholderName.parse("Ada " + between.join(number))


@pytest.mark.parametrize("code", ["00", "94107", "94107-1234", "SW1A 1AA", "K1A 0B1", "1" * 12])
def test_postal_codes_of_the_world_are_accepted(code: str) -> None:
    assert PostalCode.parse(f" {code} ").expose(Exposure.PROCESSOR) == code


@pytest.mark.parametrize("typed", ["", "1", "1" * 13, "9410７", "SW1A\n1AA", "<b>", "-12", "Ümit"])
def test_what_is_no_postal_code_is_refused(typed: str) -> None:
    with pytest.raises(CardInvalid) as refusal:
        PostalCode.parse(typed)
    assert refusal.value.field is CardField.POSTAL_CODE


def _locals_of_refusal(parse: Callable[[str], object], typed: str) -> str:
    """What a reporter finds in the frames of a refusal, but for the frame that passed the text."""
    try:
        parse(typed)
    except CardInvalid as refusal:
        frames = [frame for frame, _ in traceback.walk_tb(refusal.__traceback__)]
        return repr([frame.f_locals for frame in frames[1:]]) + repr((refusal, refusal.__context__, refusal.__dict__))
    raise AssertionError("not refused")


@pytest.mark.parametrize(
    ("parse", "typed"),
    [
        (Pan.parse, "4242424242424241"),
        (Pan.parse, "4242-4242-4242-42"),
        (partial(Cvc.parse, brand=Brand.VISA), "90217"),
        (partial(Expiry.parse, now=NOW), "07/1931"),
        (partial(Expiry.parse, now=NOW), "90217"),
        (CardholderName.parse, "Ada 4242424242424242"),
        (PostalCode.parse, "90217-90217-90217"),
    ],
)
def test_the_frames_of_a_refusal_hold_no_value(parse: Callable[[str], object], typed: str) -> None:
    found = _locals_of_refusal(parse, typed)
    assert not any(part in found for part in re.findall(r"\w{2,}", typed))


def test_the_frames_of_an_impossible_date_hold_no_value() -> None:
    with pytest.raises(CardInvalid) as refusal:
        Expiry(77, 90217)
    held = [frame.f_locals for frame, _ in traceback.walk_tb(refusal.value.__traceback__)][1:]
    assert held
    assert "77" not in repr(held)


def test_a_planted_refusal_that_keeps_its_text_is_found_by_the_same_check() -> None:
    def careless(typed: str) -> object:
        raise CardInvalid(CardField.NUMBER, CardProblem.FAILED_CHECK)

    assert "4242424242424241" in _locals_of_refusal(careless, "4242424242424241")
