"""The policy file: what is taken, what is refused, and that a refusal repeats nothing of the file."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from commerce_api.policy import Policy, PolicyInvalid, default_policy, load_policy
from commerce_api.policy_fields import COUNTRIES
from tokenization.money import MoneyInvalid, exponent

ROOT = Path(__file__).parents[2]
SECRET = "kettle9797"
SHIPPING = {"id": "s", "title": "Standard", "price_minor": 500, "delivery_days_min": 1, "delivery_days_max": 2}
OFFER = {"id": "o", "version": 1, "title": "Offer", "kind": "percent_off", "percent_basis_points": 1000}
CODE = {"code": "TEN", "title": "Ten", "percent_basis_points": 1000}


def whole(**changes: Any) -> dict[str, Any]:
    return {"ships_to": ["US"], "shipping_options": [SHIPPING], **changes}


def load(folder: Path, content: object) -> Policy:
    path = folder / "policy.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return load_policy(path)


def problems(folder: Path, content: object) -> tuple[str, ...]:
    with pytest.raises(PolicyInvalid) as raised:
        load(folder, content)
    return raised.value.problems


def test_the_documented_example_is_a_policy(tmp_path: Path) -> None:
    example = re.search(r"```json\n(.*?)```", (ROOT / "docs" / "feeds.md").read_text(), re.DOTALL)
    assert example is not None
    policy = load(tmp_path, example.group(1).encode())
    assert policy.tax.by_region == {"US-CA": 725, "CA": 500}
    assert policy.offers[0].applies_to.product_ids == ("1075968781",)
    assert policy.offers[0].valid_until is not None
    assert policy.offers[0].valid_until.utcoffset() is not None
    assert policy.discount_codes[0].code == "WELCOME5"


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    policy = load(tmp_path, whole())
    assert (policy.currency, policy.tax.kind, policy.offers, policy.discount_codes) == (None, "none", (), ())
    assert (policy.checkout_lifetime_seconds, policy.reservation_seconds) == (1800, 900)
    assert (policy.offer_wording, policy.offer_wording_seconds) == ("template", 6)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"ships_to": []}, "ships_to: "),
        ({"ships_to": ["UK"]}, "ships_to[0]: write an ISO 3166-1"),
        ({"ships_to": ["us"]}, "ships_to[0]: "),
        ({"ships_to": ["US", "US"]}, "policy: ships_to names a country twice"),
        ({"currency": "usd"}, "currency: write an ISO 4217"),
        ({"shipping_options": []}, "shipping_options: "),
        ({"shipping_options": [{**SHIPPING, "price_minor": 5.0}]}, "shipping_options[0].price_minor: "),
        ({"shipping_options": [{**SHIPPING, "price_minor": "500"}]}, "shipping_options[0].price_minor: "),
        ({"shipping_options": [{**SHIPPING, "price_minor": True}]}, "shipping_options[0].price_minor: "),
        ({"shipping_options": [{**SHIPPING, "price_minor": -1}]}, "shipping_options[0].price_minor: "),
        ({"shipping_options": [{**SHIPPING, "title": "<b>Fast</b>"}]}, "shipping_options[0].title: write plain text"),
        ({"shipping_options": [{**SHIPPING, "title": "\u202etsaf"}]}, "shipping_options[0].title: write plain text"),
        ({"shipping_options": [{**SHIPPING, "delivery_days_min": 3}]}, "shipping_options[0]: delivery_days_min must"),
        ({"shipping_options": [SHIPPING, SHIPPING]}, "policy: shipping_options has an id twice"),
        ({"tax": {"kind": "vat"}}, "tax.kind: "),
        ({"tax": {"kind": "none", "rate_basis_points": 5}}, "tax: kind none has no rate"),
        ({"tax": {"kind": "flat", "by_region": {"California": 725}}}, "tax.by_region.*: write a country code"),
        *(
            ({"tax": {"kind": "flat", "by_region": {code: 725}}}, "tax.by_region.*: write a country code")
            for code in (
                "us-ca",
                "US_CA",
                "USCA",
                "US-",
                "-CA",
                "US-CALI",
                "US-CA ",
                "UK-ENG",
                "US-ZZ",
                "DE-BAY",
                "XX",
                "US-Ca",
                "",
            )
        ),
        ({"tax": {"kind": "flat", "by_region": {"US-CA": "7%"}}}, "tax.by_region.*: "),
        ({"tax": {"kind": "flat", "rate_basis_points": 10_001}}, "tax.rate_basis_points: "),
        ({"discount_codes": [{**CODE, "amount_minor": 5}]}, "discount_codes[0]: write either"),
        ({"discount_codes": [{"code": "TEN", "title": "Ten"}]}, "discount_codes[0]: write either"),
        ({"discount_codes": [CODE, {**CODE, "code": "ten"}]}, "policy: discount_codes has a code twice"),
        (
            {"offers": [{**OFFER, "id": "ten"}], "discount_codes": [{**CODE, "code": "other"}, CODE]},
            "discount_codes[1].code: an offer has this id",
        ),
        ({"discount_codes": [{**CODE, "expires_at": "2030-01-01T00:00:00"}]}, "discount_codes[0].expires_at: "),
        ({"offers": [{**OFFER, "kind": "amount_off"}]}, "offers[0]: percent_off needs"),
        ({"offers": [{**OFFER, "kind": "free_shipping"}]}, "offers[0]: percent_off needs"),
        ({"offers": [{**OFFER, "percent_basis_points": 10_001}]}, "offers[0].percent_basis_points: "),
        ({"offers": [{**OFFER, "percent_basis_points": 0}]}, "offers[0].percent_basis_points: "),
        ({"offers": [{**OFFER, "id": "no_offer"}]}, "offers[0].id: write another id"),
        ({"offers": [OFFER, {**OFFER, "version": 2}]}, "policy: offers has an id twice"),
        (
            {"offers": [{**OFFER, "valid_from": "2030-01-02T00:00:00Z", "valid_until": "2030-01-01T00:00:00Z"}]},
            "offers[0]: valid_from must be before",
        ),
        ({"offer_wording": "freely"}, "offer_wording: "),
        ({"offer_wording": True}, "offer_wording: "),
        ({"offer_wording_seconds": 0}, "offer_wording_seconds: "),
        ({"offer_wording_seconds": 21}, "offer_wording_seconds: "),
        ({"checkout_lifetime_seconds": 600}, "policy: reservation_seconds must not be above"),
        ({"support_url": "javascript:alert(1)"}, "support_url: write a public https"),
        ({"terms_url": "http://brand.example/"}, "terms_url: write a public https"),
        ({"terms_url": "https://169.254.169.254/"}, "terms_url: write a public https"),
        ({"return_policy_text": "Free <a href=x>returns</a>"}, "return_policy_text: write plain text"),
        ({"shiping_options": []}, "*: there is no field of this name"),
        ({"offers": [{**OFFER, "applies_to": {"brands": []}}]}, "offers[0].applies_to.*: there is no field"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_expected(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    (told,) = problems(tmp_path, whole(**changes))
    assert told.startswith(problem)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    told = problems(tmp_path, {"shipping_options": [{**SHIPPING, "title": 5, "id": ""}], "tax": 3})
    assert [problem.split(":")[0] for problem in told] == [
        "ships_to",
        "shipping_options[0].id",
        "shipping_options[0].title",
        "tax",
    ]


def test_a_file_that_is_no_policy_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"{", b"\xff", b"[]", b"null", b"[" * 100_000, b" " * 1_100_000):
        assert problems(tmp_path, content)
    with pytest.raises(PolicyInvalid, match="cannot be read"):
        load_policy(tmp_path / "absent.json")
    with pytest.raises(PolicyInvalid, match="cannot be read"):
        load_policy(tmp_path)


NAMES = st.sampled_from([SECRET, "title", "id", "offers", "kind", "by_region", "tax", "price_minor", "valid_from"])
VALUES = st.recursive(
    st.sampled_from([SECRET, 9797, -9797, 97.97, True, None, "2030-97-97", f"https://{SECRET}@x.example"]),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from([*Policy.model_fields, SECRET]), VALUES, max_size=4))
def test_a_refusal_repeats_nothing_of_the_file(tmp_path: Path, changes: dict[str, Any]) -> None:
    told: tuple[str, ...] = ()
    try:
        load(tmp_path, whole(**changes))
    except PolicyInvalid as invalid:
        told = (*invalid.problems, str(invalid), repr(invalid))
    assert not any("97" in problem for problem in told)


def test_a_policy_does_not_change(tmp_path: Path) -> None:
    policy = load(tmp_path, whole())
    with pytest.raises(ValidationError):
        policy.currency = "EUR"


@pytest.mark.parametrize(
    ("currency", "threshold_minor", "country"),
    [("USD", 10_000, "US"), ("JPY", 100, "JP"), ("KWD", 100_000, "KW"), ("EUR", 10_000, "FR"), ("CHF", 10_000, "CH")],
)
def test_the_default_policy_counts_in_the_currencys_minor_units(
    tmp_path: Path, currency: str, threshold_minor: int, country: str
) -> None:
    policy = default_policy(currency)
    assert policy.currency == currency
    assert country in policy.ships_to
    assert [option.id for option in policy.shipping_options] == ["standard", "express"]
    assert policy.shipping_options[0].price_minor == 5 * 10 ** exponent(currency)
    (offer,) = policy.offers
    assert (offer.percent_basis_points, offer.applies_to.minimum_subtotal_minor) == (1_000, threshold_minor)
    assert load(tmp_path, policy.model_dump_json().encode()) == policy


def test_a_currency_without_one_home_needs_a_policy_file() -> None:
    with pytest.raises(PolicyInvalid, match="ships_to"):
        default_policy("XOF")
    with pytest.raises(MoneyInvalid):
        default_policy("XXX")


def test_the_countries_are_those_of_iso_3166_and_kosovo() -> None:
    assert len(COUNTRIES) == 249 + 1
