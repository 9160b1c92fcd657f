"""delegate_payment over HTTP: taken as the protocol says, refused as it says, and nothing sent ever comes back."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select

from audit.store import audit_event
from tests.requirement import requirement
from tests.vault_zone.delegation.platform_world import (
    ABSENT,
    CHECKOUT,
    CRYPTOGRAM,
    OTHER_MERCHANT,
    Agent,
    a_request,
    an_agent,
    moment,
)
from tests.vault_zone.world import AMEX, MERCHANT, START_MS, VISA, World, charge_request, zone_world
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.models import card_grant, card_record, idempotency
from vault_zone.platforms import Protocol, remove_platform

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A zone on either database."""
    async with zone_world(database_url) as made:
        yield made


@pytest.fixture
async def agent(world: World) -> AsyncIterator[Agent]:
    """A platform that speaks ACP."""
    made = await an_agent(world)
    async with made.client:
        yield made


async def rows_of(world: World, table: Any) -> list[Any]:
    return list(await world.database.read(lambda connection: connection.execute(select(table)).all()))


@requirement("3.2.1", "3.3.1")
async def test_a_card_becomes_a_vault_token_that_is_charged_once_within_its_allowance(
    world: World, agent: Agent
) -> None:
    answer = await agent.delegate(a_request(), request_id="req_one", key="idem-one")
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert body["id"].startswith("vt_")
    assert body["created"] == moment(START_MS).replace("Z", ".000Z")
    assert body["metadata"] == {"source": "agent_checkout", "merchant_id": MERCHANT}
    assert (answer.headers["request-id"], answer.headers["idempotency-key"]) == ("req_one", "idem-one")
    charged = await world.engine.charge(charge_request(body["id"]), "service:commerce")
    assert (charged.state, charged.amount_minor) == ("succeeded", 10_905)
    assert world.processor.seen[0][2:] == (VISA, "737")


async def test_the_row_expires_with_the_allowance_and_the_event_says_what_was_granted(
    world: World, agent: Agent
) -> None:
    token = (await agent.delegate(a_request())).json()["id"]
    (record,), (grant,) = await rows_of(world, card_record), await rows_of(world, card_grant)
    assert record.expires_ms == grant.expires_ms == START_MS + 900_000
    assert (record.source, record.kind, record.last4, record.fingerprint) == ("acp", "card", "4242", None)
    assert (grant.id, grant.uses_left, grant.needs_code) == (token, 1, True)
    events = [row.entry for row in await rows_of(world, audit_event) if row.type == "delegation.accepted"]
    assert len(events) == 1
    assert b'"ceiling_minor":10905' in events[0]
    assert token.encode() in events[0]


@requirement("3.3.1")
async def test_a_network_token_is_charged_with_its_cryptogram_once_and_keeps_none_on_disk(
    world: World, agent: Agent
) -> None:
    method = {"card_number_type": "network_token", "cvc": ABSENT, "cryptogram": CRYPTOGRAM, "eci_value": "05"}
    answer = await agent.delegate(a_request(payment_method=method))
    assert answer.status_code == 201, answer.text
    (record,) = await rows_of(world, card_record)
    assert record.kind == "network_token"
    everything = str([await rows_of(world, table) for table in (card_record, card_grant, idempotency, audit_event)])
    assert CRYPTOGRAM not in everything
    charged = await world.engine.charge(charge_request(answer.json()["id"]), "service:commerce")
    assert charged.state == "succeeded"
    assert world.processor.cryptograms == [(CRYPTOGRAM, "05")]
    restarted = world.restart()
    assert restarted.codes.take(answer.json()["id"]) is None


async def test_a_card_without_a_code_needs_none(world: World, agent: Agent) -> None:
    token = (await agent.delegate(a_request(payment_method={"cvc": ABSENT}))).json()["id"]
    assert (await world.engine.charge(charge_request(token), "service:commerce")).state == "succeeded"
    assert world.processor.seen[0][3] is None


ATTACKS: dict[str, tuple[dict[str, Any], float, ZoneError]] = {
    "another merchant": ({"merchant": OTHER_MERCHANT}, 0, ZoneError.GRANT_NOT_USABLE),
    "another checkout": ({"checkout": "chk_b"}, 0, ZoneError.GRANT_NOT_USABLE),
    "another currency": ({"currency": "EUR"}, 0, ZoneError.GRANT_NOT_USABLE),
    "one minor unit more": ({"amount_minor": 10_906}, 0, ZoneError.GRANT_NOT_USABLE),
    "at its expiry": ({}, 900, ZoneError.GRANT_NOT_USABLE),
    "after its expiry": ({}, 901, ZoneError.GRANT_NOT_USABLE),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_outside_its_allowance_a_vault_token_is_worth_nothing(world: World, agent: Agent, attack: str) -> None:
    changes, seconds, refusal = ATTACKS[attack]
    token = (await agent.delegate(a_request())).json()["id"]
    world.clock.advance(seconds)
    with pytest.raises(ZoneRefusal) as refused:
        await world.engine.charge(charge_request(token, **changes), "service:commerce")
    assert refused.value.kind is refusal
    assert world.processor.calls == 0
    if not seconds:
        right = await world.engine.charge(charge_request(token), "service:commerce")
        assert right.state == "succeeded", "and the attack has not used it up"


async def test_a_moment_before_its_expiry_it_is_charged(world: World, agent: Agent) -> None:
    body = a_request(allowance={"expires_at": moment(START_MS + 300_000)})
    token = (await agent.delegate(body)).json()["id"]
    world.clock.now_ms = START_MS + 299_999
    assert (await world.engine.charge(charge_request(token), "service:commerce")).state == "succeeded"


@pytest.mark.parametrize("revoked", [False, True])
async def test_a_used_or_revoked_vault_token_charges_nothing(world: World, agent: Agent, revoked: bool) -> None:
    token = (await agent.delegate(a_request())).json()["id"]
    if revoked:
        await world.database.maintain(
            lambda tx: tx.execute(card_grant.update().where(card_grant.c.id == token).values(revoked_ms=tx.now_ms))
        )
    else:
        await world.engine.charge(charge_request(token), "service:commerce")
    before = world.processor.calls
    with pytest.raises(ZoneRefusal) as refused:
        await world.engine.charge(charge_request(token, checkout=CHECKOUT), "service:commerce")
    assert refused.value.kind is ZoneError.GRANT_NOT_USABLE
    assert world.processor.calls == before


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "number fails its check": ({"payment_method": {"number": "4242424242424241"}}, 422, "$.payment_method.number"),
    "number absent": ({"payment_method": {"number": ABSENT}}, 400, "$.payment_method.number"),
    "number not text": ({"payment_method": {"number": 4242424242424242}}, 400, "$.payment_method.number"),
    "card out of date": ({"payment_method": {"exp_year": "2020"}}, 422, "$.payment_method.exp_year"),
    "no month": ({"payment_method": {"exp_month": ABSENT}}, 400, "$.payment_method.exp_month"),
    "code of the wrong length": ({"payment_method": {"number": AMEX}}, 422, "$.payment_method.cvc"),
    "name like a card": ({"payment_method": {"name": VISA}}, 422, "$.payment_method.name"),
    "unknown type": ({"payment_method": {"type": "sepa"}}, 400, "$.payment_method.type"),
    "no funding type": (
        {"payment_method": {"display_card_funding_type": ABSENT}},
        400,
        "$.payment_method.display_card_funding_type",
    ),
    "field that is not in the schema": ({"payment_method": {"track2": "zz"}}, 400, "$.payment_method"),
    "cryptogram with a card number": (
        {"payment_method": {"cryptogram": CRYPTOGRAM}},
        422,
        "$.payment_method.cryptogram",
    ),
    "network token without cryptogram": (
        {"payment_method": {"card_number_type": "network_token", "cvc": ABSENT}},
        422,
        "$.payment_method.cryptogram",
    ),
    "no allowance": ({"allowance": ABSENT}, 400, "$.allowance.merchant_id"),
    "amount of nothing": ({"allowance": {"max_amount": 0}}, 400, "$.allowance.max_amount"),
    "amount with a fraction": ({"allowance": {"max_amount": 10.5}}, 400, "$.allowance.max_amount"),
    "currency in capitals": ({"allowance": {"currency": "USD"}}, 400, "$.allowance.currency"),
    "currency of nowhere": ({"allowance": {"currency": "zzz"}}, 400, "$.allowance.currency"),
    "merchant of somebody else": ({"allowance": {"merchant_id": "other"}}, 422, "$.allowance.merchant_id"),
    "checkout like a card": (
        {"allowance": {"checkout_session_id": VISA}},
        400,
        "$.allowance.checkout_session_id",
    ),
    "expiry now": ({"allowance": {"expires_at": moment(START_MS)}}, 422, "$.allowance.expires_at"),
    "expiry that is no moment": ({"allowance": {"expires_at": "tomorrow"}}, 400, "$.allowance.expires_at"),
    "expiry too far": ({"allowance": {"expires_at": moment(START_MS + 90_000_000)}}, 422, "$.allowance.expires_at"),
    "blocked": (
        {"risk_signals": [{"type": "card_testing", "score": 99, "action": "blocked"}]},
        422,
        "$.risk_signals",
    ),
    "address without a city": ({"billing_address": {"city": ABSENT}}, 400, "$.billing_address.city"),
    "metadata that is not text": ({"metadata": {"zqzq": 5}}, 400, "$.metadata"),
}


@requirement("3.4.1")
@pytest.mark.parametrize("case", REFUSED)
async def test_what_cannot_be_taken_is_refused_by_its_path_and_echoes_nothing(
    world: World, agent: Agent, case: str
) -> None:
    changes, status, path = REFUSED[case]
    answer = await agent.delegate(a_request(**changes))
    body = answer.json()
    assert (answer.status_code, body["code"], body["type"]) == (status, "invalid_card", "invalid_request"), body
    assert body["param"] == path
    for sent in ("4242", "737", "Robin", "97209", "zqzq", "zz", CRYPTOGRAM, "track2"):
        assert sent not in answer.text
    assert await rows_of(world, card_record) == []
    assert await rows_of(world, idempotency) == []
    refusals = [row for row in await rows_of(world, audit_event) if row.type == "delegation.refused"]
    assert len(refusals) == (status == 422)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a":1,"a":2}', b"\xff\xfe", b'{"a":NaN}', b"[" * 9000])
async def test_what_is_not_a_json_object_is_refused(agent: Agent, body: bytes) -> None:
    answer = await agent.delegate(body)
    assert (answer.status_code, answer.json()["code"], answer.json()["param"]) == (400, "invalid_card", "$")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"api_version": None}, 400, "missing_api_version"),
        ({"api_version": "2025-09-29"}, 400, "unsupported_api_version"),
        ({"idempotency_key": None}, 400, "idempotency_key_required"),
        ({"idempotency_key": "k" * 256}, 400, "idempotency_key_required"),
        ({"idempotency_key": VISA}, 400, "idempotency_key_required"),
        ({"authorization": None}, 401, "unauthorized"),
        ({"authorization": "Bearer plk_guess"}, 401, "unauthorized"),
        ({"authorization": "Basic plk_guess"}, 401, "unauthorized"),
    ],
)
async def test_headers_that_are_missing_or_wrong_are_refused_in_the_protocols_form(
    agent: Agent, headers: dict[str, str | None], status: int, code: str
) -> None:
    answer = await agent.delegate(a_request(), **headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("supported_versions" in answer.json()) == code.endswith("version")
    assert "4242" not in answer.text + str(answer.headers)


@requirement("7.2.5")
async def test_a_revoked_platform_hands_over_nothing_more_even_where_its_key_is_still_remembered(
    world: World, agent: Agent
) -> None:
    assert (await agent.delegate(a_request())).status_code == 201
    await world.database.change(lambda tx: remove_platform(tx, agent.platform, "operator:test"))
    assert (await agent.delegate(a_request())).status_code == 401
    assert len(await rows_of(world, card_record)) == 1


async def test_a_platform_of_another_protocol_is_unknown_here(world: World) -> None:
    ucp = await an_agent(world, protocols=(Protocol.UCP,))
    async with ucp.client:
        assert (await ucp.delegate(a_request())).status_code == 401


async def test_strangers_fill_no_log(world: World, agent: Agent) -> None:
    for _ in range(20):
        await agent.delegate(a_request(), authorization="Bearer plk_guess")
    assert len([row for row in await rows_of(world, audit_event) if row.type == "access.refused"]) == 1
