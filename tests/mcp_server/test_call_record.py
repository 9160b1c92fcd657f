"""The record of calls: who asked for what on whose behalf, durable before a change is answered, and without anybody's words."""

import asyncio
import ipaddress
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.event import Event, encode
from audit.transaction import Database, DatabaseBusy
from audit.write_behind import WAITING_MAXIMUM
from commerce_api.authorization.clients import CLIENT_PREFIX
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.rates import Limits
from mcp_server import call_record
from mcp_server.call_record import Call, CallRecorder, event_of
from tests.commerce_api.purchases import EMAIL, lines, ready
from tests.commerce_api.world import BRAND, World, commerce_world
from tests.mcp_server.serving import (
    LEGACY,
    MODERN,
    Host,
    call_body,
    client,
    code_of,
    mcp_site,
    post,
    result_of,
    structured,
)
from tokenization.ids import letters_of, new_id

pytestmark = pytest.mark.anyio


async def called(world: World) -> list[dict[str, Any]]:
    """What the record says of calls, oldest first."""
    return [json.loads(row.entry) for row in await world.events("agent.called")]


def call(**changed: Any) -> Call:
    """A call that ended well."""
    usual: dict[str, Any] = {
        "brand": BRAND,
        "principal": "anonymous",
        "client": "203.0.113.7",
        "software": "test 1.0",
        "protocol": MODERN,
        "tool": "search_catalog",
        "arguments": {},
        "refusal": None,
    }
    return Call(**{**usual, **changed})


def test_a_call_is_about_the_offer_that_it_names_or_else_the_decision_that_made_none() -> None:
    decision, offer = new_id("off"), new_id("off")
    for arguments, about in (
        ({"decision_id": decision}, decision),
        ({"decision_id": decision, "offer_id": offer}, offer),
        ({"decision_id": "4111 1111 1111 1111"}, None),
    ):
        assert event_of(call(tool="create_checkout", arguments=arguments)).data.get("offer") == about


@pytest.mark.parametrize("mode", [MODERN, LEGACY])
async def test_every_call_is_recorded_with_who_asked_for_what_on_whose_behalf(
    tmp_path: Path, database_url: str, mode: str
) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        async with mcp_site(world) as site:
            async with client(site, mode=mode, key=await world.agent_key()) as agent:
                made = structured(await agent.call_tool("create_checkout", ready(shopper="shp_robin")))
            async with client(site, mode=mode) as anonymous:
                await anonymous.call_tool("search_catalog", {"query": "a secret wish"})
                refused = await anonymous.call_tool("get_checkout", {"checkout_id": made["checkout_id"]})
        first, second, third = await called(world)
    assert code_of(refused) == CommerceError.CHECKOUT_UNKNOWN.code
    assert (first["actor"], first["resource"], first["outcome"]) == (
        f"agent:{BRAND}",
        "tool:create_checkout",
        "success",
    )
    assert first["data"]["checkout"] == made["checkout_id"]
    assert first["principal"] == "shp_robin"
    assert first["data"]["client"] == "127.0.0.1"
    assert first["merchant"] == BRAND
    assert first["data"]["software"]
    assert (second["actor"], second["data"]["tool"]) == ("anonymous", "search_catalog")
    assert (third["outcome"], third["data"]["reason"]) == ("failure", CommerceError.CHECKOUT_UNKNOWN.code)
    assert third["data"]["checkout"] == made["checkout_id"]
    told = json.dumps([first, second, third])
    assert [text for text in ("secret wish", EMAIL, "Robin", "Quay") if text in told] == []


async def test_planted_fault_a_server_that_takes_nothing_down_leaves_no_trace_of_a_search(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CallRecorder, "take", lambda *_: None)
    async with mcp_site(world) as site:
        await post(site.endpoint(), call_body("search_catalog", {"query": "mug"}))
    assert await called(world) == []


async def test_a_host_that_has_to_open_an_address_is_recorded_too(world: World) -> None:
    async with mcp_site(world) as site, client(site, mode=MODERN, host=Host()) as connected:
        made = structured(await connected.call_tool("create_checkout", ready()))
        await connected.call_tool("complete_checkout", {"checkout_id": made["checkout_id"]})
    tools = [entry["data"]["tool"] for entry in await called(world)]
    assert tools == ["create_checkout", "complete_checkout", "complete_checkout"]  # the request, and the call taken up


class HeldUp:
    """A database that commits when it is let."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.failures: list[Exception] = []
        self.written = 0

    async def change(self, work: Callable[[Any], Any]) -> None:
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop()
        self.written += 1


async def test_a_change_is_answered_once_its_event_is_durable_and_reading_does_not_wait() -> None:
    held = HeldUp()
    recorder = CallRecorder(cast(Database, held))
    recorder.take(call())  # returns at once
    waiting = asyncio.create_task(recorder.note(call(tool="create_checkout")))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    held.gate.set()
    await asyncio.wait_for(waiting, 10)
    assert held.written == 1  # both in one commit
    await recorder.close()


@pytest.mark.parametrize("failure", [DatabaseBusy(), ConnectionRefusedError(), TimeoutError(), RuntimeError()])
async def test_what_could_not_be_written_waits_and_is_written_later(failure: Exception) -> None:
    held = HeldUp()
    held.gate.set()
    held.failures = [failure]
    recorder = CallRecorder(cast(Database, held))
    await asyncio.wait_for(recorder.note(call()), 10)
    assert (held.failures, held.written) == ([], 1)
    await recorder.close()


async def test_an_event_that_the_record_does_not_take_keeps_no_other_from_it_and_its_caller_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(made: Call) -> Event:
        event = event_of(made)
        return replace(event, resource="4242424242424242") if made.software == "odd" else event

    monkeypatch.setattr(call_record, "event_of", odd)
    recorder = CallRecorder(world.commerce.database)
    notes = [recorder.note(call(software=software)) for software in ("one", "odd", "two")]
    told = await asyncio.wait_for(asyncio.gather(*notes, return_exceptions=True), 10)
    await recorder.close()
    assert [type(one).__name__ for one in told] == ["NoneType", "CommerceRefusal", "NoneType"]
    assert [entry["data"]["software"] for entry in await called(world)] == ["one", "two"]


@pytest.mark.parametrize("mode", [MODERN])
async def test_a_guest_who_names_somebody_is_refused_and_the_record_names_nobody(world: World, mode: Any) -> None:
    async with mcp_site(world) as site, client(site, mode=mode) as guest:
        refused = await guest.call_tool("create_checkout", ready(shopper="shp_robin"))
    [entry] = await called(world)
    assert code_of(refused) is not None
    assert "principal" not in entry or entry["principal"] == ""


def test_the_record_names_the_shopper_who_is_signed_in_and_the_program_that_acts() -> None:
    made = event_of(call(shopper="shp_robin", program="https://assistant.example/client.json"))
    assert (made.principal, made.data["host"]) == ("shp_robin", "assistant.example")
    registered = new_id(CLIENT_PREFIX)
    assert event_of(call(program=registered)).data["identity"] == registered
    assert "identity" not in event_of(call(program="4242424242424242")).data


async def test_behind_a_proxy_each_client_is_known_by_its_own_address(world: World) -> None:
    trusted = (ipaddress.ip_network("127.0.0.1"),)
    async with mcp_site(world, limits=Limits(trusted=trusted)) as site:
        content = call_body(
            "create_checkout", {"lines": lines(), "idempotency_key": "0b6f6c52-1d0e-4b39-9e6c-52f1a7d3c9e0"}
        )
        answers = [
            result_of(await post(site.endpoint(), content, **{"user-agent": "one", "x-forwarded-for": address}))
            for address in ("203.0.113.7", "203.0.113.8", "203.0.113.7")
        ]
    made = [answer["result"]["structuredContent"]["checkout_id"] for answer in answers]
    assert made[0] == made[2] != made[1]
    assert [entry["data"]["client"] for entry in await called(world)] == ["203.0.113.7", "203.0.113.8", "203.0.113.7"]


async def test_calls_are_refused_before_they_do_anything_when_too_many_wait_to_be_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def takes_nothing(*_: Any) -> None:
        raise DatabaseBusy

    monkeypatch.setattr(call_record, "WAITING_MAXIMUM", 3)
    monkeypatch.setattr(call_record._Log, "write", takes_nothing)
    async with mcp_site(world) as site:
        for _ in range(3):
            await post(site.endpoint(), call_body("search_catalog"))
        late = await post(site.endpoint(), call_body("create_checkout", {"lines": lines()}))
    assert result_of(late)["result"]["structuredContent"]["error"]["code"] == CommerceError.BUSY.code
    assert await world.events("checkout.created") == []


async def test_check_refuses_from_the_maximum_on() -> None:
    held = HeldUp()
    recorder = CallRecorder(cast(Database, held))
    for _ in range(WAITING_MAXIMUM - 1):
        recorder.take(call())
    recorder.check()
    recorder.take(call())
    with pytest.raises(CommerceRefusal):
        recorder.check()
    held.gate.set()
    await recorder.close()


async def test_what_waits_is_written_when_the_process_ends(world: World) -> None:
    recorder = CallRecorder(world.commerce.database)
    for _ in range(450):
        recorder.take(call())
    await recorder.close()
    assert len(await called(world)) == 450


TEXTS = st.text(max_size=80) | st.sampled_from(["4242424242424242", "4242 4242 4242 4242", "Claude\n1.0", ""])


@settings(deadline=None)
@given(software=TEXTS, client=TEXTS, protocol=TEXTS, shopper=TEXTS, checkout=TEXTS)
def test_whatever_a_client_calls_itself_the_event_can_be_written_and_holds_no_card(
    software: str, client: str, protocol: str, shopper: str, checkout: str
) -> None:
    made = call(
        software=software,
        client=client,
        protocol=protocol,
        arguments={"checkout_id": checkout, "order_id": [checkout]},
        shopper=shopper,
        program=client,
    )
    entry = encode(event_of(made), event_id=new_id("evt"), at_milliseconds=0)
    assert b"4242424242424242" not in entry.replace(b" ", b"")


@pytest.mark.parametrize(
    ("client", "recorded"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("255.255.255.255", "255.255.255.255"),
        ("2001:db8::5", "2001:db8::5"),
        (
            "2001:1234:5678:1234:5678:1234:5678:1234",
            f"ipv6:{letters_of(bytes.fromhex('2001' + '12345678' * 3 + '1234'))}",
        ),
        ("unix socket", "unknown"),
    ],
)
def test_a_clients_address_is_written_down_even_where_its_digits_look_like_a_card(client: str, recorded: str) -> None:
    said = event_of(call(client=client)).data["client"]
    assert said == recorded
    encode(event_of(call(client=client)), event_id=new_id("evt"), at_milliseconds=0)
