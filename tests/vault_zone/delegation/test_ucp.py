"""UCP's tokenizer over HTTP: a token for one charge within its binding and its ceiling, and no way back to the card."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from sqlalchemy import select

from audit.store import audit_event
from tests.requirement import requirement
from tests.vault_zone.callers import zone_of
from tests.vault_zone.delegation.platform_world import (
    ABSENT,
    CEILING_MINOR,
    CRYPTOGRAM,
    OTHER_MERCHANT,
    Agent,
    a_credential,
    a_request,
    an_agent,
)
from tests.vault_zone.delegation.specs import ucp_tokenizer
from tests.vault_zone.world import AMEX, MERCHANT, START_MS, VISA, World, charge_request, zone_world
from vault_zone.app import internal_app, public_app
from vault_zone.delegation.ucp import BASE_PATH, PATH, TOKEN_SECONDS
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.key_rows import Purpose
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
    """A platform that speaks UCP."""
    made = await an_agent(world, protocols=(Protocol.UCP,))
    async with made.client:
        yield made


async def rows_of(world: World, table: Any) -> list[Any]:
    return list(await world.database.read(lambda connection: connection.execute(select(table)).all()))


async def token_of(agent: Agent, **changes: Any) -> str:
    answer = await agent.tokenize(a_credential(**changes))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


@requirement("3.2.1", "3.3.1")
async def test_a_credential_becomes_a_token_that_is_charged_once(world: World, agent: Agent) -> None:
    answer = await agent.tokenize(a_credential())
    assert (answer.status_code, set(answer.json())) == (200, {"token"})
    assert answer.headers["cache-control"] == "no-store"
    token = answer.json()["token"]
    assert token.startswith("uct_")
    charged = await world.engine.charge(charge_request(token), "service:commerce")
    assert (charged.state, charged.amount_minor) == ("succeeded", 10_905)
    assert world.processor.seen[0][2:] == (VISA, "737")
    with pytest.raises(ZoneRefusal) as refused:
        await world.engine.charge(charge_request(token), "service:commerce")
    assert refused.value.kind is ZoneError.GRANT_NOT_USABLE


async def test_record_and_grant_end_together_and_the_event_says_what_was_granted(world: World, agent: Agent) -> None:
    token = await token_of(agent)
    (record,), (grant,) = await rows_of(world, card_record), await rows_of(world, card_grant)
    assert record.expires_ms == grant.expires_ms == START_MS + TOKEN_SECONDS * 1000
    assert (record.source, record.kind, record.fingerprint) == ("ucp", "card", None)
    assert (grant.ceiling_minor, grant.currency, grant.uses_left) == (CEILING_MINOR, "USD", 1)
    [event] = [row.entry for row in await rows_of(world, audit_event) if row.type == "delegation.accepted"]
    assert b'"protocol":"ucp"' in event
    assert token.encode() in event


ATTACKS: dict[str, tuple[dict[str, Any], float]] = {
    "another merchant": ({"merchant": OTHER_MERCHANT}, 0),
    "another checkout": ({"checkout": "chk_b"}, 0),
    "another currency": ({"currency": "EUR"}, 0),
    "one minor unit over the platform's ceiling": ({"amount_minor": CEILING_MINOR + 1}, 0),
    "at its end": ({}, TOKEN_SECONDS),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_outside_its_binding_and_ceiling_a_token_is_worth_nothing(
    world: World, agent: Agent, attack: str
) -> None:
    changes, seconds = ATTACKS[attack]
    token = await token_of(agent)
    world.clock.advance(seconds)
    with pytest.raises(ZoneRefusal) as refused:
        await world.engine.charge(charge_request(token, **changes), "service:commerce")
    assert refused.value.kind is ZoneError.GRANT_NOT_USABLE
    assert world.processor.calls == 0
    if not seconds:
        right = await world.engine.charge(charge_request(token, amount_minor=CEILING_MINOR), "service:commerce")
        assert right.state == "succeeded", "up to the ceiling, and the attack has not used it up"


@requirement("3.3.1")
async def test_a_network_token_keeps_its_cryptogram_in_memory_alone(world: World, agent: Agent) -> None:
    credential = {"type": "network_token", "cvc": ABSENT, "cryptogram": CRYPTOGRAM, "eci_value": "07"}
    token = await token_of(agent, credential={**credential, "token_requestor_id": "12345678901"})
    everything = str([await rows_of(world, table) for table in (card_record, card_grant, idempotency, audit_event)])
    assert CRYPTOGRAM not in everything
    assert (await world.engine.charge(charge_request(token), "service:commerce")).state == "succeeded"
    assert world.processor.cryptograms == [(CRYPTOGRAM, "07")]
    assert world.restart().codes.take(token) is None


async def test_the_binding_of_2026_08_25_is_taken_too(world: World, agent: Agent) -> None:
    binding = {"checkout_id": ABSENT, "type": "dev.ucp.shopping.checkout", "id": "chk_a"}
    token = await token_of(agent, binding=binding)
    assert (await world.engine.charge(charge_request(token), "service:commerce")).state == "succeeded"


async def test_a_platform_of_one_merchant_is_its_own_participant(world: World, agent: Agent) -> None:
    alone = await an_agent(world, protocols=(Protocol.UCP,), merchants=(MERCHANT,))
    async with alone.client:
        token = await token_of(alone, binding={"identity": ABSENT})
    assert (await world.engine.charge(charge_request(token), "service:commerce")).state == "succeeded"
    answer = await agent.tokenize(a_credential(binding={"identity": ABSENT}))
    assert (answer.status_code, answer.json()["path"]) == (400, "$.binding.identity")


REFUSED: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "number fails its check": (
        {"credential": {"number": "4242424242424241"}},
        422,
        "invalid_credential",
        "$.credential.number",
    ),
    "number absent": ({"credential": {"number": ABSENT}}, 400, "invalid_request", "$.credential.number"),
    "number not text": ({"credential": {"number": 4242424242424242}}, 400, "invalid_request", "$.credential.number"),
    "card out of date": ({"credential": {"expiry_year": 2020}}, 422, "invalid_credential", "$.credential.expiry_year"),
    "month as text": ({"credential": {"expiry_month": "12"}}, 400, "invalid_request", "$.credential.expiry_month"),
    "no year": ({"credential": {"expiry_year": ABSENT}}, 400, "invalid_request", "$.credential.expiry_year"),
    "code of the wrong length": ({"credential": {"number": AMEX}}, 422, "invalid_credential", "$.credential.cvc"),
    "name like a card": ({"credential": {"name": VISA}}, 422, "invalid_credential", "$.credential.name"),
    "no type": ({"credential": {"type": ABSENT}}, 400, "invalid_request", "$.credential.type"),
    "the deprecated type": (
        {"credential": {"type": "card", "card_number_type": "fpan"}},
        422,
        "invalid_credential",
        "$.credential.type",
    ),
    "a token for a token": (
        {"credential": {"type": "token", "token": "uct_zqzq"}},
        422,
        "invalid_credential",
        "$.credential.type",
    ),
    "requestor that is no text": (
        {"credential": {"token_requestor_id": 5}},
        400,
        "invalid_request",
        "$.credential.token_requestor_id",
    ),
    "cryptogram with a card number": (
        {"credential": {"cryptogram": CRYPTOGRAM}},
        422,
        "invalid_credential",
        "$.credential.cryptogram",
    ),
    "network token without cryptogram": (
        {"credential": {"type": "network_token", "cvc": ABSENT}},
        422,
        "invalid_credential",
        "$.credential.cryptogram",
    ),
    "no credential": ({"credential": ABSENT}, 400, "invalid_request", "$.credential"),
    "no binding": ({"binding": ABSENT}, 400, "invalid_request", "$.binding"),
    "no checkout": ({"binding": {"checkout_id": ABSENT}}, 400, "invalid_request", "$.binding.checkout_id"),
    "checkout like a card": ({"binding": {"checkout_id": VISA}}, 400, "invalid_request", "$.binding.checkout_id"),
    "bound to a cart": (
        {"binding": {"checkout_id": ABSENT, "type": "dev.ucp.shopping.cart", "id": "zqzq"}},
        400,
        "invalid_request",
        "$.binding.type",
    ),
    "two checkouts": (
        {"binding": {"type": "dev.ucp.shopping.checkout", "id": "zqzq"}},
        400,
        "invalid_request",
        "$.binding.checkout_id",
    ),
    "identity without its token": (
        {"binding": {"identity": {}}},
        400,
        "invalid_request",
        "$.binding.identity.access_token",
    ),
    "identity of somebody else": (
        {"binding": {"identity": {"access_token": "zqzq"}}},
        403,
        "identity_not_allowed",
        "$.binding.identity.access_token",
    ),
}


@requirement("3.4.1")
@pytest.mark.parametrize("case", REFUSED)
async def test_what_cannot_be_taken_is_refused_by_its_path_and_echoes_nothing(
    world: World, agent: Agent, case: str
) -> None:
    changes, status, code, path = REFUSED[case]
    answer = await agent.tokenize(a_credential(**changes))
    assert (answer.status_code, answer.json()["code"], answer.json()["path"]) == (status, code, path), answer.text
    for sent in ("4242", "737", "Robin", "zqzq", CRYPTOGRAM):
        assert sent not in answer.text
    assert await rows_of(world, card_record) == []
    refusals = [row for row in await rows_of(world, audit_event) if row.type == "delegation.refused"]
    assert len(refusals) == (status in (403, 422))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a":1,"a":2}', b"\xff\xfe", b'{"a":NaN}', b"[" * 9000])
async def test_what_is_not_a_json_object_is_refused(agent: Agent, body: bytes) -> None:
    answer = await agent.tokenize(body)
    assert (answer.status_code, answer.json()["code"], answer.json()["path"]) == (400, "invalid_request", "$")


@pytest.mark.parametrize("authorization", [None, "Bearer plk_guess", "Basic plk_guess", "Bearer"])
async def test_without_a_known_key_nobody_tokenizes(world: World, agent: Agent, authorization: str | None) -> None:
    answer = await agent.tokenize(a_credential(), authorization=authorization)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == 'Bearer realm="ucp"'
    assert await rows_of(world, card_record) == []


@requirement("7.2.5")
async def test_a_revoked_platform_and_one_of_another_protocol_tokenize_nothing(world: World, agent: Agent) -> None:
    acp = await an_agent(world)
    async with acp.client:
        assert (await acp.tokenize(a_credential())).status_code == 401
    await token_of(agent)
    await world.database.change(lambda tx: remove_platform(tx, agent.platform, "operator:test"))
    assert (await agent.tokenize(a_credential())).status_code == 401
    assert len(await rows_of(world, card_record)) == 1


# Sent twice.


@requirement("3.5.1.1", "3.3.1")
async def test_the_same_request_again_gets_the_same_token_and_nothing_of_it_is_kept(world: World, agent: Agent) -> None:
    first = await agent.tokenize(a_credential(), key="k")
    again = await agent.tokenize(a_credential(credential={"cvc": "738"}), key="k")
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    [row] = await rows_of(world, idempotency)
    assert VISA not in str(row)
    await world.keys.begin_epoch(MERCHANT, Purpose.IDEMPOTENCY, reason="asked")
    assert (await agent.tokenize(a_credential(), key="k")).json() == first.json()
    assert len(await rows_of(world, card_grant)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"credential": {"number": "4000056655665556"}},
        {"credential": {"expiry_year": 2035}},
        {"binding": {"checkout_id": "chk_b"}},
        {"binding": {"identity": {"access_token": OTHER_MERCHANT}}},
        {"credential": {"number": "4242424242424241"}},
    ],
)
async def test_another_request_under_a_used_key_is_a_conflict(
    world: World, agent: Agent, changes: dict[str, Any]
) -> None:
    await agent.tokenize(a_credential(), key="k")
    answer = await agent.tokenize(a_credential(**changes), key="k")
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    assert len(await rows_of(world, card_grant)) == 1


async def test_a_key_of_one_protocol_is_free_in_the_other(world: World) -> None:
    both = await an_agent(world, protocols=(Protocol.ACP, Protocol.UCP))
    async with both.client:
        assert (await both.delegate(a_request(), key="k")).status_code == 201
        assert (await both.tokenize(a_credential(), key="k")).status_code == 200


@pytest.mark.parametrize("key", ["k" * 256, VISA, ""])
async def test_a_key_that_is_none_is_refused_and_not_said_back(agent: Agent, key: str) -> None:
    answer = await agent.tokenize(a_credential(), idempotency_key=key)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")
    assert "4242" not in answer.text + str(answer.headers)


async def test_without_a_key_each_request_is_its_own(world: World, agent: Agent) -> None:
    assert await token_of(agent) != await token_of(agent)
    assert await rows_of(world, idempotency) == []


# No way back.


@requirement("3.4.1", "3.4.2")
async def test_the_published_detokenize_is_answered_as_any_path_that_is_not_there(world: World, agent: Agent) -> None:
    token = await token_of(agent)
    examples = ucp_tokenizer()["paths"]["/detokenize"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    bodies = [example["value"] for example in examples.values()]
    bodies.append({"token": token, "binding": a_credential()["binding"]})
    somewhere = await agent.client.post(f"{BASE_PATH}/nothing", json={}, headers={})
    for path in (f"{BASE_PATH}/detokenize", "/detokenize", f"{PATH}/{token}", f"{BASE_PATH}/tokens/{token}"):
        for body in bodies:
            answer = await agent.client.post(path, json=body, headers={"authorization": f"Bearer {agent.bearer}"})
            assert (answer.status_code, answer.json()) == (404, somewhere.json())
            assert "4242" not in answer.text
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        answer = await agent.client.request(method, PATH, headers={"authorization": f"Bearer {agent.bearer}"})
        assert answer.status_code == 405
    assert (await world.engine.charge(charge_request(token), "service:commerce")).state == "succeeded"


def paths_of(app: Any) -> list[str]:
    """Every path of a program, behind its guards."""
    while not isinstance(app, FastAPI):
        app = app._app
    found: list[str] = []
    waiting: list[Any] = [app]
    while waiting:
        for route in waiting.pop().routes:
            router = getattr(route, "original_router", None)
            if isinstance(router, APIRouter):
                waiting.append(router)
            else:
                found.append(route.path)
    return found


def gives_a_card_back(path: str) -> bool:
    return any(word in path.lower() for word in ("detoken", "reveal", "decrypt", "untoken"))


@requirement("3.4.2")
async def test_neither_program_has_a_route_that_is_named_for_giving_a_card_back(world: World) -> None:
    zone = zone_of(world)
    paths = [*paths_of(public_app(zone)), *paths_of(internal_app(zone))]
    assert PATH in paths
    assert [path for path in paths if gives_a_card_back(path)] == []
    planted = FastAPI()
    planted.add_api_route("/ucp/detokenize", lambda: None)
    assert [path for path in paths_of(planted) if gives_a_card_back(path)] == ["/ucp/detokenize"]
