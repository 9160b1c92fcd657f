"""Against UCP's published documents: what they refuse is refused, and what is answered and published is of their form."""

import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vault_zone.delegation.platform_world import ABSENT, CRYPTOGRAM, Agent, a_credential, an_agent
from tests.vault_zone.delegation.specs import (
    ucp_request_validator,
    ucp_response_validator,
    ucp_tokenizer,
    ucp_validator,
)
from tests.vault_zone.world import MERCHANT, START_MS, VISA, World, zone_world
from tokenization.money import Money
from vault_zone.delegation.ucp import TOKEN_PREFIX, binding_of
from vault_zone.delegation.ucp_body import CHECKOUT_CAPABILITY, checkout_of, credential_of, merchant_of
from vault_zone.delegation.ucp_errors import UcpError, UcpRefused
from vault_zone.delegation.ucp_handler import HandlerNameInvalid, handler_declaration
from vault_zone.platforms import Platform, Protocol

PLATFORM = Platform(
    "plt_a", "Chat", "", frozenset({"ucp"}), frozenset({MERCHANT}), None, Money(50_000, "USD"), START_MS
)
SIGNATURE_CODES = {"signature_missing": 401, "signature_invalid": 401, "digest_mismatch": 400}


@pytest.fixture
async def agent(database_url: str) -> AsyncIterator[tuple[World, Agent]]:
    """A platform and its zone."""
    async with zone_world(database_url) as world:
        made = await an_agent(world, protocols=(Protocol.UCP,))
        async with made.client:
            yield world, made


def published_examples() -> dict[str, Any]:
    content = ucp_tokenizer()["paths"]["/tokenize"]["post"]["requestBody"]["content"]["application/json"]
    return {name: example["value"] for name, example in content["examples"].items()}


@pytest.mark.anyio
async def test_the_published_examples_are_taken_and_answered_in_the_published_form(agent: tuple[World, Agent]) -> None:
    _, platform = agent
    examples = published_examples()
    assert set(examples) >= {"pan_credential_agent", "network_token_credential_agent"}
    for name, example in examples.items():
        ucp_request_validator().validate(example)
        # Its dates are of the year it was written in, its merchant is nobody here, and one number fails its check digit.
        example["credential"].update(expiry_year=2034, number=VISA)
        example["binding"]["identity"] = {"access_token": MERCHANT}
        answer = await platform.tokenize(example)
        assert answer.status_code == 200, (name, answer.text)
        ucp_response_validator().validate(answer.json())
        token = answer.json()["token"]
        ucp_validator("shopping/types/token_credential.json").validate({"type": "token", "token": token})
        assert len(token.removeprefix(f"{TOKEN_PREFIX}_")) * 4 >= 128, (
            "the guide asks for 128 bits; a letter holds four"
        )


def test_codes_of_signatures_have_the_published_statuses() -> None:
    assert {code: UcpError[code.upper()].status for code in SIGNATURE_CODES} == SIGNATURE_CODES


def refusal_of(body: dict[str, Any]) -> UcpRefused | None:
    """Why the body is refused, if it is."""
    sent = copy.deepcopy(body)
    try:
        merchant = merchant_of(sent, PLATFORM)
        credential_of(sent, START_MS)
        binding_of(checkout_of(sent), merchant, PLATFORM, START_MS)
    except UcpRefused as refused:
        return refused
    return None


def mutated(body: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The body with one place taken away or given another value."""
    changed = copy.deepcopy(body)
    place = changed
    for step in path[:-1]:
        place = place[step]
    if value is ABSENT:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = value
    return changed


def is_valid(body: dict[str, Any]) -> bool:
    """Whether the tokenizer's document takes the body, and the credential's own type the credential."""
    types = {"pan": "pan_credential", "network_token": "network_token_credential"}
    if not ucp_request_validator().is_valid(body):
        return False
    own = types.get(body["credential"]["type"])
    return own is None or ucp_validator(f"shopping/types/{own}.json").is_valid(body["credential"])


A_NETWORK_TOKEN = a_credential(
    credential={"type": "network_token", "cvc": ABSENT, "cryptogram": CRYPTOGRAM, "eci_value": "07"}
)
NAMES = ("type", "number", "expiry_month", "expiry_year", "name", "cvc", "cryptogram", "eci_value", "x")
PLACES = [
    ("credential",),
    ("binding",),
    ("x",),
    *[("credential", name) for name in (*NAMES, "token_requestor_id")],
    *[("binding", name) for name in ("checkout_id", "identity", "x")],
    ("binding", "identity", "access_token"),
]
VALUES = st.one_of(
    st.just(ABSENT),
    st.none(),
    st.booleans(),
    st.integers(-10, 10_000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=70),
    st.sampled_from(["pan", "network_token", "card", "737", MERCHANT, "chk_b", 12, 2031]),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


@settings(max_examples=400, deadline=None)
@given(body=st.sampled_from([a_credential(), A_NETWORK_TOKEN]), place=st.sampled_from(PLACES), value=VALUES)
def test_whatever_the_published_document_refuses_is_refused(
    body: dict[str, Any], place: tuple[str, ...], value: Any
) -> None:
    changed = mutated(body, place, value)
    refused = refusal_of(changed)
    assert is_valid(changed) or refused is not None, "the document refuses it"
    assert refused is None or str(refused.path).startswith("$")


def test_what_is_unknown_to_us_is_let_through_as_ucp_asks() -> None:
    for place in (("x",), ("credential", "x"), ("binding", "x")):
        assert refusal_of(mutated(a_credential(), place, {"a": [1]})) is None, place


def test_either_form_of_the_binding_gives_the_checkout() -> None:
    assert checkout_of({"binding": {"checkout_id": "chk_a"}}) == "chk_a"
    assert checkout_of({"binding": {"type": CHECKOUT_CAPABILITY, "id": "chk_a"}}) == "chk_a"
    assert checkout_of({"binding": {"type": CHECKOUT_CAPABILITY, "id": "chk_a", "checkout_id": "chk_a"}}) == "chk_a"


def declaration(**other: Any) -> dict[str, Any]:
    """What a business publishes."""
    given = {"public_url": "https://cards.example/", "is_production": True, "spec_url": None, "schema_url": None}
    return handler_declaration("com.example.cards", MERCHANT, **{**given, **other})


def test_the_declaration_is_of_the_form_of_a_business_profile() -> None:
    documents = {"spec_url": "https://shop.example/cards.html", "schema_url": "https://shop.example/cards.json"}
    for made in (declaration(), declaration(**documents)):
        [entry] = made["com.example.cards"]
        ucp_validator("payment_handler.json#/$defs/business_schema").validate(entry)
        profile = {"ucp": {"version": entry["version"], "services": {}, "payment_handlers": made}}
        ucp_validator("profile.json#/$defs/business_schema").validate(profile)
    platforms = ucp_validator("payment_handler.json#/$defs/platform_schema")
    assert platforms.is_valid(declaration(**documents)["com.example.cards"][0])
    assert not platforms.is_valid(declaration()["com.example.cards"][0]), "the validator sees what is missing"


def test_what_a_platform_reads_in_the_declaration_is_what_the_tokenizer_takes() -> None:
    [entry] = declaration()["com.example.cards"]
    body = a_credential(binding={"identity": entry["config"]["identity"]})
    assert refusal_of(body) is None
    assert entry["config"]["endpoint"] + "/tokenize" == "https://cards.example/ucp/tokenize"
    assert (entry["config"]["environment"], entry["config"]["business_id"]) == ("production", MERCHANT)
    assert declaration(is_production=False)["com.example.cards"][0]["config"]["environment"] == "sandbox"
    brands = entry["available_instruments"][0]["constraints"]["properties"]["brand"]["enum"]
    assert {"visa", "mastercard", "amex"} <= set(brands)
    assert "plk_" not in json.dumps(entry)


@pytest.mark.parametrize("name", ["cards", "Com.example", "com..cards", "com.example cards", "", "https://a.b"])
def test_a_handler_s_name_is_a_reverse_domain_name(name: str) -> None:
    given = {"public_url": "https://c.example", "is_production": True, "spec_url": None, "schema_url": None}
    with pytest.raises(HandlerNameInvalid):
        handler_declaration(name, MERCHANT, **given)  # type: ignore[arg-type]
    assert not ucp_validator("common/types/reverse_domain_name.json").is_valid(name)
