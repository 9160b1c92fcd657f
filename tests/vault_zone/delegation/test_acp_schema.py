"""Against the published JSON Schema of ACP 2026-04-17: what it refuses is refused, and every answer is of its form."""

import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vault_zone.delegation.platform_world import ABSENT, Agent, a_request, an_agent, moment
from tests.vault_zone.delegation.specs import acp_examples, acp_validator
from tests.vault_zone.world import MERCHANT, START_MS, World, zone_world
from vault_zone.delegation.acp import binding_of, read_delegation
from vault_zone.delegation.acp_errors import AcpError, AcpRefused
from vault_zone.platforms import Protocol

# The schema's list of codes has none for these; the published OpenAPI's examples and the protocol's text do.
OUTSIDE_THE_LIST = {
    AcpError.UNAUTHORIZED,
    AcpError.SIGNATURE_INVALID,
    AcpError.MISSING_API_VERSION,
    AcpError.UNSUPPORTED_API_VERSION,
    AcpError.SERVICE_UNAVAILABLE,
    AcpError.INTERNAL_SERVER_ERROR,
}


@pytest.fixture
async def agent(database_url: str) -> AsyncIterator[tuple[World, Agent]]:
    """A platform and its zone."""
    async with zone_world(database_url) as world:
        made = await an_agent(world, protocols=(Protocol.ACP, Protocol.UCP))
        async with made.client:
            yield world, made


@pytest.mark.anyio
async def test_the_published_example_is_taken_and_answered_in_the_published_form(agent: tuple[World, Agent]) -> None:
    _, platform = agent
    example = acp_examples()["delegate_payment_request"]
    acp_validator("DelegatePaymentRequest").validate(example)
    # Its dates are of the year it was written in, and its merchant is nobody here.
    example["allowance"].update(expires_at=moment(START_MS + 60_000), merchant_id=MERCHANT)
    example["payment_method"].update(exp_year="2034")
    answer = await platform.delegate(example)
    assert answer.status_code == 201, answer.text
    acp_validator("DelegatePaymentResponse").validate(answer.json())


@pytest.mark.parametrize("error", list(AcpError))
def test_every_error_is_of_the_published_form(error: AcpError) -> None:
    body = AcpRefused(error, "$.payment_method.number", "rule").body(("2026-04-17",))
    broken = [failure.json_path for failure in acp_validator("Error").iter_errors(body)]
    assert broken == (["$.code"] if error in OUTSIDE_THE_LIST else [])


def test_the_published_errors_have_our_codes() -> None:
    examples = {name: body["code"] for name, body in acp_examples().items() if "error" in name}
    ours = {error.code for error in AcpError} | {"too_many_requests"}  # limits on tries are the caller's to add
    assert set(examples.values()) <= ours


def refusal_of(body: dict[str, Any]) -> AcpRefused | None:
    """Why the body is refused, if it is."""
    try:
        _, asked = read_delegation(copy.deepcopy(body), START_MS)
        binding_of(asked, MERCHANT, START_MS)
    except AcpRefused as refused:
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


PLACES = [
    *[("payment_method", name) for name in (*a_request()["payment_method"], "virtual", "display_wallet_type", "x")],
    *[("allowance", name) for name in (*a_request()["allowance"], "x")],
    *[("billing_address", name) for name in (*a_request()["billing_address"], "x")],
    *[(name,) for name in (*a_request(), "x")],
]
VALUES = st.one_of(
    st.just(ABSENT),
    st.none(),
    st.booleans(),
    st.integers(-10, 10_000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=70),
    st.sampled_from(["card", "fpan", "one_time", "credit", "eur", "4242", "12", "2031", "US", "blocked"]),
    st.lists(st.sampled_from(["avs", "cvv", "x", 5, {}]), max_size=2),
    st.dictionaries(st.text(max_size=5), st.one_of(st.text(max_size=5), st.integers()), max_size=2),
    st.just([{"type": "card_testing", "score": 1, "action": "authorized"}]),
)


@settings(max_examples=400, deadline=None)
@given(place=st.sampled_from(PLACES), value=VALUES)
def test_whatever_the_schema_refuses_is_refused(place: tuple[str, ...], value: Any) -> None:
    body = mutated(a_request(), place, value)
    of_schema = acp_validator("DelegatePaymentRequest").is_valid(body)
    refused = refusal_of(body)
    assert of_schema or refused is not None, "the schema refuses it"
    assert refused is None or str(refused.param).startswith("$")


def test_each_optional_field_may_be_left_out_and_each_required_one_not() -> None:
    schema = acp_validator("DelegatePaymentRequest").schema["$defs"]
    needed_by_us = {
        ("payment_method", "exp_month"),
        ("payment_method", "exp_year"),
    }  # no card is charged without its date
    for place in PLACES:
        owner = {"payment_method": "PaymentMethodCard", "allowance": "Allowance", "billing_address": "Address"}
        required = schema[owner[place[0]] if len(place) == 2 else "DelegatePaymentRequest"]["required"]
        body = mutated(a_request(), place, ABSENT)
        assert (refusal_of(body) is None) == (place[-1] not in required and place not in needed_by_us), place
