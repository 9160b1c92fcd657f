"""A charge: what each card comes to, what is answered, and what is refused."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vault_zone.card_strategies import with_check_digit
from tests.vault_zone.processors.sandbox_server.world import API_KEY, VISA, World, charge, charge_body
from vault_zone.processors.sandbox_server.cards import PUBLISHED_CARDS, Behaviour, PublishedCard, luhn_valid
from vault_zone.processors.sandbox_server.errors import ANSWERS, ErrorCode, Refusal
from vault_zone.processors.sandbox_server.requests import MAX_BODY_BYTES
from vault_zone.processors.sandbox_server.wire import MAX_AMOUNT_MINOR, read_charge

pytestmark = pytest.mark.anyio

PROMPT = [
    card
    for card in PUBLISHED_CARDS
    if card.behaviour is not Behaviour.SLOW and not re.match("challenge|timeout", card.behaviour)
]
CHALLENGED = [card for card in PUBLISHED_CARDS if "challenge" in card.behaviour]
UNPUBLISHED = with_check_digit("453957876362148")  # passes Luhn; made here, published by nobody
KEY = bytes(32)


@pytest.mark.parametrize("card", PROMPT, ids=lambda card: card.title)
async def test_a_card_comes_to_what_the_table_says(world: World, card: PublishedCard) -> None:
    async with world.client() as client:
        answer = await charge(client, number=card.number)
    assert answer.status_code == 200
    content = answer.json()
    assert content["status"] == ("declined" if card.behaviour is Behaviour.DECLINE else "succeeded")
    assert content.get("decline_code") == card.decline_code
    assert content["card"] == {"brand": card.brand, "last4": card.number[-4:]}
    assert "action" not in content


@pytest.mark.parametrize("card", CHALLENGED, ids=lambda card: card.title)
async def test_a_challenge_card_asks_for_a_redirect_and_names_no_decline_yet(world: World, card: PublishedCard) -> None:
    async with world.client() as client:
        content = (await charge(client, number=card.number)).json()
    assert content["status"] == "requires_action"
    assert "decline_code" not in content
    assert content["action"]["type"] == "redirect"
    assert content["action"]["url"].startswith("http://127.0.0.1:8765/acs/sbx_acs_")


async def test_the_answer_has_the_documented_fields_and_no_others(world: World) -> None:
    async with world.client() as client:
        content = (await charge(client)).json()
    assert content == {
        "id": "sbx_ch_id1",
        "object": "charge",
        "reference": "chg_one",
        "status": "succeeded",
        "amount_minor": 12_350,
        "currency": "EUR",
        "capture": True,
        "initiator": "shopper",
        "capturable_minor": 0,
        "captured_minor": 12_350,
        "refunded_minor": 0,
        "disputed_minor": 0,
        "card": {"brand": "visa", "last4": "4242"},
        "network_reference": "sbx_net_id2",
        "created_at": "2026-11-18T11:06:40.000Z",
        "sandbox": True,
    }


@pytest.mark.parametrize(
    ("moment", "month", "year", "status"),
    [
        (datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC), 11, 2026, "succeeded"),
        (datetime(2026, 12, 1, tzinfo=UTC), 11, 2026, "declined"),
        (datetime(2026, 12, 1, tzinfo=UTC), 1, 2027, "succeeded"),
        (datetime(2027, 1, 1, tzinfo=UTC), 12, 2026, "declined"),
    ],
)
async def test_a_card_is_good_to_the_last_moment_of_its_month(
    world: World, moment: datetime, month: int, year: int, status: str
) -> None:
    world.now = int(moment.timestamp() * 1000)
    async with world.client() as client:
        content = (await charge(client, card={"exp_month": month, "exp_year": year})).json()
    assert content["status"] == status
    assert content.get("decline_code") == (None if status == "succeeded" else "expired_card")


@pytest.mark.parametrize("card", [card for card in PUBLISHED_CARDS if card not in PROMPT], ids=lambda card: card.title)
async def test_an_expired_card_is_declined_at_once_whatever_its_number_would_do(
    world: World, card: PublishedCard
) -> None:
    async with world.client() as client:
        content = (await charge(client, number=card.number, card={"exp_year": 2020})).json()
    assert (content["status"], content["decline_code"]) == ("declined", "expired_card")
    assert world.gate.waits == []


async def test_a_charge_can_be_read_by_id_and_by_reference(world: World) -> None:
    async with world.client() as client:
        made = (await charge(client)).json()
        by_id = await client.get(f"/v1/charges/{made['id']}")
        by_reference = await client.get("/v1/charges", params={"reference": "chg_one"})
    assert by_id.json() == made
    assert by_reference.json() == {"object": "list", "charges": [made], "sandbox": True}


async def test_a_reference_that_never_arrived_is_an_empty_list_not_an_error(world: World) -> None:
    async with world.client() as client:
        answer = await client.get("/v1/charges", params={"reference": "chg_never"})
    assert (answer.status_code, answer.json()["charges"]) == (200, [])


async def test_tests_can_count_effects_and_start_afresh(world: World) -> None:
    async with world.client() as client:
        await charge(client, key="a", reference="chg_a")
        await charge(client, key="b", reference="chg_b", number="4000000000000002")
        counted = (await client.get("/sandbox/charges")).json()
        assert (await client.post("/sandbox/reset")).json() == {"object": "reset", "sandbox": True}
        emptied = (await client.get("/sandbox/charges")).json()
        again = await charge(client, key="a", reference="chg_a")
    assert counted["count"] == 2
    assert counted["charges"][1] == {
        "id": "sbx_ch_id5",
        "reference": "chg_b",
        "status": "declined",
        "amount_minor": 12_350,
        "captured_minor": 0,
        "refunded_minor": 0,
        "currency": "EUR",
        "last4": "0002",
    }
    assert (emptied["count"], emptied["charges"]) == (0, [])
    assert "Idempotent-Replayed" not in again.headers


WRONG_BODIES: list[tuple[dict[str, Any], str]] = [
    ({"amount_minor": 0}, "amount_minor"),
    ({"amount_minor": -5}, "amount_minor"),
    ({"amount_minor": 12.5}, "amount_minor"),
    ({"amount_minor": "100"}, "amount_minor"),
    ({"amount_minor": True}, "amount_minor"),
    ({"amount_minor": MAX_AMOUNT_MINOR + 1}, "amount_minor"),
    ({"currency": "eur"}, "currency"),
    ({"currency": "EUR\n"}, "currency"),
    ({"currency": "EURO"}, "currency"),
    ({"capture": "no"}, "capture"),
    ({"initiator": "somebody"}, "initiator"),
    ({"initiator": "merchant_recurring"}, "network_reference"),
    ({"initiator": "merchant_unscheduled", "network_reference": VISA}, "network_reference"),
    ({"reference": ""}, "reference"),
    ({"reference": "two words"}, "reference"),
    ({"reference": "chg\n"}, "reference"),
    ({"reference": f"chg_{VISA}"}, "reference"),
    ({"merchant": "x" * 256}, "merchant"),
    ({"merchant": "pay 4242-4242-4242-4242 now"}, "merchant"),
    ({"description": VISA}, "description"),
    ({"return_url": "javascript:alert(1)"}, "return_url"),
    ({"return_url": "ftp://shop.example/"}, "return_url"),
    ({"return_url": "/relative"}, "return_url"),
    ({"return_url": "https://user:secret@shop.example/"}, "return_url"),
    ({"return_url": "https://shop.example;script-src/"}, "return_url"),
    ({"return_url": "https://shop.example/\r\nSet-Cookie:a"}, "return_url"),
    ({"return_url": "https://shop.example:99999/"}, "return_url"),
    ({"return_url": f"https://shop.example/{VISA}"}, "return_url"),
    ({"card": {"number": "4242 4242 4242 4242"}}, "card.number"),
    ({"card": {"number": 4242424242424242}}, "card.number"),
    ({"card": {"number": "424242"}}, "card.number"),
    ({"card": {"exp_month": 13}}, "card.exp_month"),
    ({"card": {"exp_year": 30}}, "card.exp_year"),
    ({"card": {"cvc": "12"}}, "card.cvc"),
    ({"card": {"cvc": "12a"}}, "card.cvc"),
    ({"card": {"name": VISA}}, "card.name"),
    ({"card": None}, "card"),
    ({VISA: "as a key"}, "the body"),
]


@pytest.mark.parametrize(("changes", "field"), WRONG_BODIES)
def test_a_wrong_field_is_refused_by_its_name_and_never_repeated(changes: dict[str, Any], field: str) -> None:
    body = {**charge_body(), **changes} if changes.get("card", 0) is None else charge_body(**changes)
    with pytest.raises(Refusal) as refused:
        read_charge(json.dumps(body).encode(), KEY)
    assert (refused.value.code, refused.value.fields) == (ErrorCode.INVALID_REQUEST, (field,))


@pytest.mark.parametrize("missing", ["reference", "amount_minor", "currency", "card", "merchant", "return_url"])
def test_a_missing_field_is_refused_by_its_name(missing: str) -> None:
    body = charge_body()
    del body[missing]
    with pytest.raises(Refusal) as refused:
        read_charge(json.dumps(body).encode(), KEY)
    assert refused.value.fields == (missing,)


@settings(deadline=None)
@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text(), st.lists).map(lambda value: json.dumps(value).encode())
)
def test_what_is_not_a_charge_is_refused_whatever_it_is(body: bytes) -> None:
    with pytest.raises(Refusal, match="invalid_request"):
        read_charge(body, KEY)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(min_value=0, max_value=10**11 - 1))
def test_a_number_that_is_not_published_is_refused(serial: int) -> None:
    stem = f"4539{serial:011d}"
    number = next(stem + check for check in "0123456789" if luhn_valid(stem + check))
    with pytest.raises(Refusal, match="live_card_refused") as refused:
        read_charge(json.dumps(charge_body(number)).encode(), KEY)
    assert refused.value.__context__ is None
    assert number not in repr(refused.value) + refused.value.message


async def test_a_refused_card_leaves_nothing_behind(world: World) -> None:
    async with world.client() as client:
        answer = await charge(client, number=UNPUBLISHED)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "live_card_refused")
    assert world.count() == 0
    assert world.store.event_states() == {}


async def test_a_body_that_is_too_long_is_refused(world: World) -> None:
    async with world.client() as client:
        body = json.dumps(charge_body()).encode().ljust(MAX_BODY_BYTES)
        long = await client.post("/v1/charges", content=body + b" ", headers={"Idempotency-Key": "k"})
        longest = await client.post("/v1/charges", content=body, headers={"Idempotency-Key": "k"})
    assert (long.status_code, long.json()["error"]["code"]) == (422, "invalid_request")
    assert longest.status_code == 200


@pytest.mark.parametrize("key", [None, "", "x" * 256])
async def test_a_charge_without_a_proper_idempotency_key_is_refused(world: World, key: str | None) -> None:
    headers = {} if key is None else {"Idempotency-Key": key}
    async with world.client() as client:
        answer = await client.post("/v1/charges", json=charge_body(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "idempotency_key_required")


KEYED_ROUTES = [
    ("POST", "/v1/charges"),
    ("GET", "/v1/charges?reference=chg_one"),
    ("GET", "/v1/charges/sbx_ch_id1"),
    ("GET", "/sandbox/charges"),
    ("POST", "/sandbox/faults"),
    ("DELETE", "/sandbox/faults"),
    ("POST", "/sandbox/reset"),
    ("POST", "/v1/charges/sbx_ch_id1/captures"),
    ("POST", "/v1/charges/sbx_ch_id1/void"),
    ("POST", "/v1/charges/sbx_ch_id1/refunds"),
    ("GET", "/v1/modifications?reference=a"),
    ("GET", "/v1/disputes?reference=a"),
    ("POST", "/v1/disputes/sbx_dp_a/evidence"),
    ("GET", "/v1/reports/settlement"),
    ("GET", "/sandbox/modifications"),
    ("POST", "/sandbox/expire"),
    ("POST", "/sandbox/refunds"),
    ("POST", "/sandbox/disputes"),
    ("POST", "/sandbox/disputes/sbx_dp_a"),
    ("POST", "/sandbox/payouts"),
]


def test_every_route_but_those_of_a_shopper_is_among_the_keyed_ones(world: World) -> None:
    routes = [route for route in vars(world.app)["_app"].routes if re.match("/(v1|sandbox)/", route.path)]
    tried = {(method, path.partition("?")[0]) for method, path in KEYED_ROUTES}
    untried = [r.path for r in routes if not any(m in r.methods and r.path_regex.match(p) for m, p in tried)]
    assert untried == []


@pytest.mark.parametrize(("method", "path"), KEYED_ROUTES)
@pytest.mark.parametrize("key", [None, "wrong", f"{API_KEY}x", API_KEY[:-1]])
async def test_nothing_but_pages_and_health_is_open_without_the_key(
    world: World, method: str, path: str, key: str | None
) -> None:
    async with world.client() as client:
        await charge(client)
    async with world.client(key) as stranger:
        answer = await stranger.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert world.count() == 1


@pytest.mark.parametrize("header", [f"Basic {API_KEY}", API_KEY, "Bearer", "Bearer \xff"])
async def test_the_key_is_taken_as_a_bearer_token_only(world: World, header: str) -> None:
    async with world.client(None) as client:
        answer = await client.get("/sandbox/charges", headers=[(b"Authorization", header.encode("latin-1"))])
    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/v1/charges/sbx_ch_none", "/nothing", "/v1/charges/", "/static/../app.py"])
async def test_what_does_not_exist_is_not_found(world: World, path: str) -> None:
    async with world.client() as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("params", [{}, {"reference": ""}, {"reference": VISA}])
async def test_a_query_needs_a_reference_that_is_no_card_number(world: World, params: dict[str, str]) -> None:
    async with world.client() as client:
        answer = await client.get("/v1/charges", params=params)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


async def test_health_is_open_and_says_that_this_is_a_sandbox(world: World) -> None:
    async with world.client(None) as client:
        answer = await client.get("/health")
    assert answer.json() == {"status": "ok", "sandbox": True}


def test_every_error_has_one_status_and_says_what_to_do() -> None:
    assert set(ANSWERS) == set(ErrorCode)
    assert all(400 <= status <= 599 and message.endswith(".") for status, message in ANSWERS.values())


async def test_an_unexpected_failure_is_an_answer_like_any_other(world: World) -> None:
    world.store.close()
    async with world.client() as client:
        answer = await charge(client)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert answer.headers["X-Sandbox"] == "true"
    assert '"event": "failed", "exception": "ProgrammingError"' in world.log.getvalue()
