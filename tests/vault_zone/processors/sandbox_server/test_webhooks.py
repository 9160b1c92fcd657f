"""Events: signed, at least once, in the background, with the same id each time, and across restarts."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vault_zone.processors.sandbox_server.world import START, WEBHOOK_SECRET, WEBHOOK_URL, World, charge
from vault_zone.processors.sandbox_server.webhooks import (
    LONGEST_RETRY_MILLISECONDS,
    MAX_ATTEMPTS,
    retry_delay_milliseconds,
    signature,
)

pytestmark = pytest.mark.anyio


def verify(secret: bytes, header: str, body: bytes) -> bool:
    """A receiver's check, written from the documentation and not from the sender."""
    parts = dict(part.split("=", 1) for part in header.split(","))
    expected = hmac.new(secret, parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, parts["v1"])


@asynccontextmanager
async def delivering(world: World) -> AsyncIterator[None]:
    """The courier at work in the background."""
    task = asyncio.create_task(world.courier.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("4242424242424242", "charge.succeeded"),
        ("4000000000000002", "charge.declined"),
        ("4000002760003184", "charge.requires_action"),
    ],
)
async def test_every_status_is_announced_with_the_charge_as_the_api_shows_it(
    world: World, number: str, kind: str
) -> None:
    async with world.client() as client:
        made = (await charge(client, number=number)).json()
    await world.courier.deliver_due()
    (event,) = world.receiver.events()
    assert event == {
        "id": event["id"],
        "type": kind,
        "created_at": "2026-11-18T11:06:40.000Z",
        "data": made,
        "sandbox": True,
    }
    assert event["id"].startswith("sbx_evt_")


async def test_an_event_is_signed_over_time_and_body(world: World) -> None:
    async with world.client() as client:
        await charge(client)
    await world.courier.deliver_due()
    (request,) = world.receiver.requests
    header = request.headers["Sandbox-Signature"]
    assert str(request.url) == WEBHOOK_URL
    assert request.headers["X-Sandbox"] == "true"
    assert header.startswith(f"t={START // 1000},v1=")
    assert verify(WEBHOOK_SECRET, header, request.content)
    assert not verify(WEBHOOK_SECRET, header, request.content + b" ")
    assert not verify(WEBHOOK_SECRET, header.replace("t=1", "t=2"), request.content)
    assert not verify(b"another secret", header, request.content)


def test_the_signature_is_the_documented_one() -> None:
    known = hmac.new(b"secret", b'1700000000.{"id":"sbx_evt_x"}', hashlib.sha256).hexdigest()
    assert signature(b"secret", 1_700_000_000, b'{"id":"sbx_evt_x"}') == f"t=1700000000,v1={known}"


@pytest.mark.parametrize("failure", [500, 404, 302, httpx.ConnectError("x"), httpx.ReadTimeout("x")])
async def test_an_event_that_was_not_taken_is_sent_again_with_the_same_id_and_a_fresh_signature(
    world: World, failure: int | Exception
) -> None:
    world.receiver.answers = [failure]
    async with world.client() as client:
        await charge(client)
    await world.courier.deliver_due()
    await world.courier.deliver_due()
    assert len(world.receiver.requests) == 1, "not before its time"
    world.now += retry_delay_milliseconds(1)
    await world.courier.deliver_due()
    first, second = world.receiver.requests
    assert first.content == second.content
    assert first.headers["Sandbox-Signature"] != second.headers["Sandbox-Signature"]
    assert verify(WEBHOOK_SECRET, second.headers["Sandbox-Signature"], second.content)
    world.now += LONGEST_RETRY_MILLISECONDS
    await world.courier.deliver_due()
    assert len(world.receiver.requests) == 2, "not after it was taken"


async def test_an_event_is_given_up_after_a_bounded_number_of_attempts(world: World) -> None:
    world.receiver.answers = [500] * (MAX_ATTEMPTS + 5)
    async with world.client() as client:
        await charge(client)
    for _ in range(MAX_ATTEMPTS + 5):
        await world.courier.deliver_due()
        world.now += LONGEST_RETRY_MILLISECONDS
    assert len(world.receiver.requests) == MAX_ATTEMPTS
    assert list(world.store.event_states().values()) == ["abandoned"]
    assert world.store.next_due_at() is None


@given(st.integers(min_value=1, max_value=MAX_ATTEMPTS))
def test_the_delay_between_attempts_doubles_up_to_a_bound(attempts: int) -> None:
    delay = retry_delay_milliseconds(attempts)
    assert 1_000 <= delay <= LONGEST_RETRY_MILLISECONDS
    assert retry_delay_milliseconds(attempts + 1) in {2 * delay, LONGEST_RETRY_MILLISECONDS}


async def test_a_restart_resumes_the_delivery_where_it_was(world: World) -> None:
    world.receiver.answers = [500]
    async with world.client() as client:
        await charge(client)
    await world.courier.deliver_due()
    world.restart()
    await world.courier.deliver_due()
    assert len(world.receiver.requests) == 1
    world.now += retry_delay_milliseconds(1)
    await world.courier.deliver_due()
    assert [event["id"] for event in world.receiver.events()] == [world.receiver.events()[0]["id"]] * 2
    assert list(world.store.event_states().values()) == ["delivered"]


async def test_an_event_follows_a_replay_no_second_time(world: World) -> None:
    async with world.client() as client:
        await charge(client)
        await charge(client)
    await world.courier.deliver_due()
    assert len(world.receiver.requests) == 1


async def test_an_answer_does_not_wait_for_a_receiver_that_is_silent(world: World) -> None:
    world.receiver.answers = [None]
    async with world.client() as client, delivering(world):
        await charge(client, key="a")
        await world.receiver.arrivals.get()
        assert (await charge(client, key="b")).json()["status"] == "succeeded"


async def test_the_courier_wakes_for_news_and_for_what_is_due(world: World) -> None:
    world.receiver.answers = [500]
    async with world.client() as client, delivering(world):
        await charge(client, key="a")
        await world.gate.arrival()  # tried once; now it waits for the second attempt
        assert world.gate.waits == [1.0]
        world.now += 1_000
        await charge(client, key="b")  # news, while the gate is still shut
        arrived = [await world.receiver.arrivals.get() for _ in range(3)]
    ids = [json.loads(request.content)["id"] for request in arrived]
    assert ids[0] == ids[1] != ids[2]


async def test_a_reset_during_a_delivery_is_harmless(world: World) -> None:
    async with world.client() as client:
        await charge(client)
        (event,) = world.store.due_events(world.now, 1)
        await client.post("/sandbox/reset")
    world.store.mark_delivered(event)
    assert world.store.event_states() == {}
