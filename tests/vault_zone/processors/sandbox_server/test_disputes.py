"""Disputes: opened by a card or by hand, answered, won, lost, and what each does to the balance."""

from typing import Any

import httpx
import pytest

from tests.vault_zone.processors.sandbox_server.world import DISPUTED, World, charge, modify

pytestmark = pytest.mark.anyio

NOT_RECEIVED = "4000000000002685"


async def disputes(client: httpx.AsyncClient, reference: str = "chg_one") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get("/v1/disputes", params={"reference": reference})).json()["disputes"]
    return found


async def disputed_minor(client: httpx.AsyncClient) -> int:
    [found] = (await client.get("/v1/charges", params={"reference": "chg_one"})).json()["charges"]
    return int(found["disputed_minor"])


async def news(world: World) -> list[tuple[str, str]]:
    await world.courier.deliver_due()
    told = [(event["type"], event["data"]["status"]) for event in world.receiver.events()]
    return [each for each in told if each[0].startswith("dispute")]


@pytest.mark.parametrize(("number", "reason"), [(DISPUTED, "fraudulent"), (NOT_RECEIVED, "product_not_received")])
async def test_a_dispute_card_is_charged_and_then_disputed(world: World, number: str, reason: str) -> None:
    async with world.client() as client:
        made = (await charge(client, number=number)).json()
        [dispute] = await disputes(client)
    assert dispute == {
        "id": dispute["id"],
        "object": "dispute",
        "charge": made["id"],
        "charge_reference": "chg_one",
        "status": "needs_response",
        "amount_minor": 12_350,
        "currency": "EUR",
        "reason": reason,
        "fee_minor": 1_500,
        "evidence_due_at": "2026-11-25T11:06:40.000Z",
        "created_at": "2026-11-18T11:06:40.000Z",
        "sandbox": True,
    }
    assert await news(world) == [("dispute.opened", "needs_response")]


async def test_a_dispute_card_is_disputed_once_when_it_is_captured_not_when_it_is_authorized(world: World) -> None:
    async with world.client() as client:
        made = (await charge(client, number=DISPUTED, capture=False)).json()
        assert await disputes(client) == []
        for key in ("a", "b"):
            await modify(client, made["id"], "capture", key, amount_minor=1_000, final=False)
        assert [each["amount_minor"] for each in await disputes(client)] == [1_000]


@pytest.mark.parametrize(
    ("text", "status", "left", "closed"),
    [
        ("winning_evidence", "won", 0, [("dispute.closed", "won")]),
        ("losing_evidence", "lost", 12_350, [("dispute.closed", "lost")]),
        ("The parcel was signed for.", "under_review", 12_350, []),
    ],
)
async def test_evidence_brings_a_dispute_under_review_and_the_two_texts_decide_it(
    world: World, text: str, status: str, left: int, closed: list[tuple[str, str]]
) -> None:
    async with world.client() as client:
        await charge(client, number=DISPUTED)
        [dispute] = await disputes(client)
        answered = await client.post(f"/v1/disputes/{dispute['id']}/evidence", json={"text": text})
        assert await disputed_minor(client) == left
    assert answered.json()["status"] == status
    assert await news(world) == [
        ("dispute.opened", "needs_response"),
        ("dispute.updated", "under_review"),
        *closed,
    ]


@pytest.mark.parametrize(("first", "second", "left"), [("won", "lost", 0), ("lost", "won", 400)])
async def test_a_test_can_open_a_dispute_and_end_it_once(world: World, first: str, second: str, left: int) -> None:
    async with world.client() as client:
        await charge(client)
        opened = (await client.post("/sandbox/disputes", json={"reference": "chg_one", "amount_minor": 400})).json()
        path = f"/sandbox/disputes/{opened['id']}"
        assert (await client.post(path, json={"status": first})).json()["status"] == first
        for late in (second, "under_review", "needs_response", first):
            assert (await client.post(path, json={"status": late})).json()["status"] == first
        assert await disputed_minor(client) == left
    assert await news(world) == [("dispute.opened", "needs_response"), ("dispute.closed", first)]


async def test_what_is_disputed_cannot_be_refunded_and_what_is_refunded_cannot_be_disputed(world: World) -> None:
    async with world.client() as client:
        made = (await charge(client)).json()
        await client.post("/sandbox/disputes", json={"reference": "chg_one", "amount_minor": 12_000})
        over = (await modify(client, made["id"], "refund", "a", amount_minor=351)).json()
        rest = (await modify(client, made["id"], "refund", "b")).json()
        nothing = await client.post("/sandbox/disputes", json={"reference": "chg_one"})
    assert over["decline_code"] == "amount_exceeds_refundable"
    assert (rest["status"], rest["amount_minor"]) == ("succeeded", 350)
    assert nothing.json()["error"]["code"] == "invalid_request"


async def test_a_dispute_that_nobody_answers_is_lost_on_its_day(world: World) -> None:
    async with world.client() as client:
        await charge(client, number=DISPUTED)
        world.now += 604_800_000
        world.happenings.end_due()
        world.happenings.end_due()
        [dispute] = await disputes(client)
    assert dispute["status"] == "lost"
    assert await news(world) == [("dispute.opened", "needs_response"), ("dispute.closed", "lost")]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/sandbox/disputes", {"reference": "chg_none"}, "not_found"),
        ("/sandbox/disputes", {"reference": "chg_one", "amount_minor": 12_351}, "invalid_request"),
        ("/sandbox/disputes", {"reference": "chg_one", "reason": "because"}, "invalid_request"),
        ("/sandbox/disputes/sbx_dp_none", {"status": "won"}, "not_found"),
        ("/v1/disputes/sbx_dp_none/evidence", {"text": "a"}, "not_found"),
        ("/v1/disputes/sbx_dp_none/evidence", {"text": "4242 4242 4242 4242"}, "invalid_request"),
    ],
)
async def test_what_makes_no_sense_is_refused(world: World, path: str, body: dict[str, Any], code: str) -> None:
    async with world.client() as client:
        await charge(client)
        answer = await client.post(path, json=body)
    assert answer.json()["error"]["code"] == code
    assert await news(world) == []
