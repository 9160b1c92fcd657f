"""Lost and late replies on real connections: what the client sees, and what has or has not happened behind it."""

import asyncio
import json

import httpx
import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.vault_zone.processors.sandbox_server.world import (
    CHALLENGE,
    SLOW,
    TIMEOUT_AFTER,
    TIMEOUT_BEFORE,
    World,
    charge,
    served,
)
from vault_zone.processors.sandbox_server.wire import FaultMode

pytestmark = pytest.mark.anyio


async def fault(client: httpx.AsyncClient, mode: str, **options: object) -> None:
    answer = await client.post("/sandbox/faults", json={"mode": mode, **options})
    assert answer.status_code == 200


async def known(client: httpx.AsyncClient, reference: str = "chg_one") -> list[str]:
    """The statuses the processor has on record for a reference."""
    answer = await client.get("/v1/charges", params={"reference": reference})
    return [each["status"] for each in answer.json()["charges"]]


async def test_drop_before_closes_the_connection_and_nothing_has_happened(world: World) -> None:
    async with world.served() as client:
        await fault(client, "drop_before")
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await charge(client)
        assert await known(client) == []
        assert (await charge(client)).status_code == 200
    assert world.store.event_states().keys() == {"sbx_evt_id3"}


async def test_drop_after_closes_the_connection_and_the_charge_exists(world: World) -> None:
    async with world.served() as client:
        await fault(client, "drop_after")
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await charge(client)
        assert await known(client) == ["succeeded"]


async def test_a_replay_after_drop_after_returns_the_original_charge(world: World) -> None:
    async with world.served() as client:
        await fault(client, "drop_after", times=2)
        for _ in range(2):
            with pytest.raises(httpx.RemoteProtocolError):
                await charge(client)
        replay = await charge(client)
    assert replay.headers["Idempotent-Replayed"] == "true"
    assert replay.json()["id"] == world.store.all_charges()[0].id
    assert world.count() == 1


async def test_a_charge_whose_reply_was_dropped_is_still_announced(world: World) -> None:
    async with world.served() as client:
        await fault(client, "drop_after")
        with pytest.raises(httpx.RemoteProtocolError):
            await charge(client)
    await world.courier.deliver_due()
    assert [event["type"] for event in world.receiver.events()] == ["charge.succeeded"]


async def test_not_answering_would_not_have_been_enough(world: World) -> None:
    """The planted fault of the tests above: an application that returns without a reply is answered for by uvicorn."""

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        return

    async with served(silent) as base_url, httpx.AsyncClient(base_url=base_url, trust_env=False) as client:
        assert (await client.get("/")).status_code == 500


@pytest.mark.parametrize(
    ("mode", "status", "code"), [("error_500", 500, "internal_error"), ("unavailable", 503, "unavailable")]
)
async def test_an_error_that_was_asked_for_is_answered_without_effect(
    world: World, mode: str, status: int, code: str
) -> None:
    async with world.client() as client:
        await fault(client, mode)
        failed = await charge(client)
        assert world.count() == 0
        assert (await charge(client)).status_code == 200
    assert (failed.status_code, failed.json()["error"]["code"], failed.json()["sandbox"]) == (status, code, True)


async def test_delay_before_leaves_the_processor_ignorant_until_the_delay_is_over(world: World) -> None:
    async with world.client() as client:
        await fault(client, "delay_before", delay_seconds=7.5)
        pending = asyncio.create_task(charge(client))
        await world.gate.arrival()
        assert await known(client) == []
        world.gate.open()
        assert (await pending).json()["status"] == "succeeded"
    assert world.gate.waits == [7.5]


async def test_delay_after_shows_the_charge_before_its_reply_comes(world: World) -> None:
    async with world.client() as client:
        await fault(client, "delay_after", delay_seconds=7.5)
        pending = asyncio.create_task(charge(client))
        await world.gate.arrival()
        assert await known(client) == ["succeeded"]
        world.gate.open()
        assert (await pending).json()["status"] == "succeeded"


async def test_a_client_that_leaves_during_delay_before_does_not_stop_the_charge(world: World) -> None:
    async with world.served() as client:
        await fault(client, "delay_before", delay_seconds=7.5)
        await fault(client, "delay_after", delay_seconds=1, operation="query")
        pending = asyncio.create_task(charge(client))
        await world.gate.arrival()
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)
        world.gate.open()
        while await known(client) == []:
            pass
    assert world.count() == 1


async def test_faults_are_met_in_order_and_as_often_as_asked(world: World) -> None:
    async with world.client() as client:
        await fault(client, "unavailable", times=2)
        await fault(client, "error_500")
        statuses = [(await charge(client)).status_code for _ in range(4)]
    assert statuses == [503, 503, 500, 200]


async def test_faults_can_be_taken_back_without_losing_the_charges(world: World) -> None:
    async with world.client() as client:
        await charge(client)
        await fault(client, "unavailable", times=1_000)
        assert (await client.delete("/sandbox/faults")).json() == {"object": "faults", "pending": 0, "sandbox": True}
        assert (await charge(client, key="b", reference="chg_two")).status_code == 200
    assert world.count() == 2


async def test_a_fault_of_queries_leaves_charges_alone_and_the_other_way_round(world: World) -> None:
    async with world.served() as client:
        await fault(client, "unavailable", operation="query")
        await fault(client, "drop_after", operation="query")
        made = await charge(client)
        assert made.status_code == 200
        assert (await client.get("/v1/charges", params={"reference": "chg_one"})).status_code == 503
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"/v1/charges/{made.json()['id']}")
        await fault(client, "drop_before", operation="query")
        with pytest.raises(httpx.RemoteProtocolError):
            await known(client)
        assert await known(client) == ["succeeded"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"mode": "explode"},
        {"mode": "drop_after", "times": 0},
        {"mode": "drop_after", "times": -1},
        {"mode": "delay_after", "delay_seconds": -1},
        {"mode": "delay_after", "delay_seconds": float("nan")},
        {"mode": "drop_after", "extra": 1},
    ],
)
async def test_a_fault_that_makes_no_sense_is_refused(world: World, body: dict[str, object]) -> None:
    async with world.client() as client:
        answer = await client.post("/sandbox/faults", content=json.dumps(body))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


async def test_a_refused_request_uses_up_no_fault(world: World) -> None:
    async with world.client() as client:
        await fault(client, "unavailable")
        assert (await charge(client, amount_minor=0)).status_code == 422
        assert (await charge(client)).status_code == 503


def test_every_mode_of_fault_has_a_test_here() -> None:
    source = __file__
    with open(source, encoding="utf-8") as file:
        text = file.read()
    assert [mode for mode in FaultMode if f'"{mode}"' not in text] == []


async def test_the_timeout_before_card_holds_the_connection_then_closes_it_and_nothing_has_happened(
    world: World,
) -> None:
    async with world.served() as client:
        pending = asyncio.create_task(charge(client, number=TIMEOUT_BEFORE))
        await world.gate.arrival()
        busy = await charge(client, number=TIMEOUT_BEFORE)
        assert busy.json()["error"]["code"] == "idempotency_in_flight"
        world.gate.open()
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await pending
        assert await known(client) == []
    assert world.gate.waits == [30.0]
    assert world.store.event_states() == {}


async def test_the_timeout_after_card_is_charged_and_announced_while_the_reply_never_comes(world: World) -> None:
    async with world.served() as client:
        pending = asyncio.create_task(charge(client, number=TIMEOUT_AFTER))
        await world.gate.arrival()
        assert await known(client) == ["succeeded"]
        await world.courier.deliver_due()
        assert [event["type"] for event in world.receiver.events()] == ["charge.succeeded"]
        world.gate.open()
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await pending
    assert world.count() == 1


async def test_a_retry_of_the_timeout_after_card_gets_the_original_answer_even_while_the_first_is_held(
    world: World,
) -> None:
    async with world.served() as client:
        pending = asyncio.create_task(charge(client, number=TIMEOUT_AFTER))
        await world.gate.arrival()
        replay = await charge(client, number=TIMEOUT_AFTER)
        world.gate.open()
        await asyncio.gather(pending, return_exceptions=True)
    assert replay.headers["Idempotent-Replayed"] == "true"
    assert replay.json()["status"] == "succeeded"
    assert world.count() == 1


async def test_a_key_that_was_answered_is_a_conflict_for_the_timeout_before_card_not_a_wait(world: World) -> None:
    async with world.client() as client:
        await charge(client)
        assert (await charge(client, number=TIMEOUT_BEFORE)).json()["error"]["code"] == "idempotency_conflict"


async def test_the_slow_card_is_charged_first_and_answered_late(world: World) -> None:
    async with world.client() as client:
        pending = asyncio.create_task(charge(client, number=SLOW))
        await world.gate.arrival()
        assert await known(client) == ["succeeded"]
        world.gate.open()
        assert (await pending).json()["status"] == "succeeded"
    assert world.gate.waits == [2.0]


async def test_a_client_that_gives_up_frees_the_held_key(world: World) -> None:
    async with world.served() as client:
        pending = asyncio.create_task(charge(client, number=TIMEOUT_BEFORE))
        await world.gate.arrival()
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)
        second = asyncio.create_task(charge(client, number=TIMEOUT_BEFORE))
        while second.done() or await _refused_for_now(world, second):
            second = asyncio.create_task(charge(client, number=TIMEOUT_BEFORE))
        world.gate.open()
        await asyncio.gather(second, return_exceptions=True)
    assert len(world.gate.waits) == 2


async def _refused_for_now(world: World, second: "asyncio.Task[httpx.Response]") -> bool:
    """Whether the departure of the first had not been noticed yet when the second came."""
    held = asyncio.create_task(world.gate.arrival())
    await asyncio.wait([second, held], return_when=asyncio.FIRST_COMPLETED)
    held.cancel()
    return second.done()


@pytest.mark.parametrize("number", [TIMEOUT_BEFORE, TIMEOUT_AFTER])
async def test_a_stopping_server_closes_the_connections_it_holds(world: World, number: str) -> None:
    async with world.served() as client:
        pending = asyncio.create_task(charge(client, number=number))
        await world.gate.arrival()
        world.stopping.set()
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await pending
    assert world.count() == (number == TIMEOUT_AFTER)


async def test_a_server_that_stops_during_delay_before_makes_no_charge(world: World) -> None:
    async with world.served() as client:
        await fault(client, "delay_before", delay_seconds=5)
        pending = asyncio.create_task(charge(client))
        await world.gate.arrival()
        world.stopping.set()
        with pytest.raises(httpx.RemoteProtocolError):
            await pending
    assert world.count() == 0


async def test_what_is_not_http_is_refused_with_the_label_too(world: World) -> None:
    async with served(world.app) as base_url:
        host, port = base_url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"NOT HTTP\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"X-Sandbox: true" in head
    assert json.loads(body)["sandbox"] is True


async def test_everything_the_sandbox_says_is_labelled(world: World) -> None:
    async with world.client() as client:
        await fault(client, "error_500")
        answers = [
            await client.get("/health"),
            await client.get("/"),
            await client.get("/static/sandbox.css"),
            await client.get("/nothing"),
            await client.get("/acs/unknown"),
            await client.put("/v1/charges"),
            await client.get("/v1/charges/unknown"),
            await client.get("/v1/charges", params={"reference": "chg_one"}),
            await client.get("/sandbox/charges"),
            await client.delete("/sandbox/faults"),
            await client.post("/sandbox/faults", json={"mode": "error_500"}),
            await charge(client),
            await charge(client),
            await charge(client, key="b", number=CHALLENGE),
            await client.post("/sandbox/reset"),
            await client.get("/sandbox/charges", headers={"Authorization": "Bearer wrong"}),
        ]
    assert [answer for answer in answers if not is_labelled(answer)] == []
    assert all(json.loads(line)["sandbox"] is True for line in world.log.getvalue().splitlines())


def is_labelled(answer: httpx.Response) -> bool:
    kind = answer.headers["Content-Type"]
    spoken = {
        "application/json": '"sandbox": true',
        "text/html; charset=utf-8": "Sandbox — no money moves",
        "text/css; charset=utf-8": "",
    }[kind]
    return answer.headers.get("X-Sandbox") == "true" and spoken in answer.text


def test_an_answer_without_its_label_would_be_noticed() -> None:
    unlabelled = Response("{}", media_type="application/json")
    assert not is_labelled(httpx.Response(200, headers=dict(unlabelled.headers), content=b"{}"))
