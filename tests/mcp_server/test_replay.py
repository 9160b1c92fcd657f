"""Repeating a call: under its idempotency key, at the same moment, and on another worker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from commerce_api.errors import CommerceError
from commerce_api.models import checkout as checkout_table
from commerce_api.models import order as order_table
from commerce_api.models import payment as payment_table
from mcp_server import tools
from tests.commerce_api.purchases import lines, ready
from tests.commerce_api.world import commerce_world
from tests.mcp_server.serving import (
    MODERN_META,
    STATE_KEYS,
    Site,
    call_body,
    client,
    code_of,
    mcp_site,
    post,
    result_of,
    structured,
)
from tests.tokenization.test_opaque_keys import UNLUCKY

pytestmark = pytest.mark.anyio

UUID = "0b6f6c52-1d0e-4b39-9e6c-52f1a7d3c9e0"
OPENS_ADDRESSES = {**MODERN_META, "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}}
INVALID_STATE = -32602


async def test_the_same_key_with_the_same_content_gives_the_same_checkout(own_site: Site) -> None:
    async with client(own_site) as connected:
        made = [await connected.call_tool("create_checkout", ready(idempotency_key=UUID)) for _ in range(3)]
    assert len({structured(answer)["checkout_id"] for answer in made}) == 1
    assert len(await own_site.world.rows(checkout_table)) == 1


@pytest.mark.parametrize("key", UNLUCKY)
async def test_a_uuid_that_reads_like_a_card_is_a_key_as_any_other(own_site: Site, key: str) -> None:
    async with client(own_site) as connected:
        made = [await connected.call_tool("create_checkout", ready(idempotency_key=key)) for _ in range(2)]
    assert len({structured(answer)["checkout_id"] for answer in made}) == 1
    tables = checkout_table.metadata.sorted_tables
    assert key not in "".join([str(await own_site.world.rows(table)) for table in tables])


async def test_the_same_key_at_the_same_moment_gives_the_same_checkout(own_site: Site) -> None:
    content = call_body("create_checkout", ready(idempotency_key=UUID))
    answers = await asyncio.gather(*(post(own_site.endpoint(), content) for _ in range(5)))
    ids = {result_of(answer)["result"]["structuredContent"]["checkout_id"] for answer in answers}
    assert len(ids) == len(await own_site.world.rows(checkout_table)) == 1


async def test_without_a_key_or_with_another_each_call_makes_its_own(site: Site) -> None:
    async with client(site) as connected:
        made = [
            structured(await connected.call_tool("create_checkout", ready(**key)))["checkout_id"]
            for key in ({}, {}, {"idempotency_key": "two"}, {"idempotency_key": "three"})
        ]
    assert len(set(made)) == len(made)


async def test_the_same_key_with_another_content_is_refused(site: Site) -> None:
    async with client(site) as connected:
        await connected.call_tool("create_checkout", ready(idempotency_key=UUID))
        other = await connected.call_tool("create_checkout", ready(lines=lines(quantity=3), idempotency_key=UUID))
    assert code_of(other) == CommerceError.IDEMPOTENCY_CONFLICT.code


async def test_an_agents_keys_hold_wherever_it_calls_from_and_are_not_anonymous_ones(site: Site) -> None:
    content = call_body("create_checkout", ready(idempotency_key="shared"))
    signed = {"authorization": f"Bearer {await site.world.agent_key()}"}
    made = [
        result_of(await post(site.endpoint(), content, **headers))["result"]["structuredContent"]["checkout_id"]
        for headers in ({**signed, "user-agent": "one"}, {**signed, "user-agent": "two"}, {"user-agent": "one"})
    ]
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize("name", ["user-agent", "conversation-id", "mcp-session-id"])
async def test_two_anonymous_callers_that_choose_the_same_key_do_not_get_one_checkout(site: Site, name: str) -> None:
    """Each would read the other's address in it."""
    content = call_body("create_checkout", {"lines": lines(), "idempotency_key": f"{UUID}-{name}"})
    made = [
        result_of(await post(site.endpoint(), content, **{name: who}))["result"]["structuredContent"]["checkout_id"]
        for who in ("one", "two", "one")
    ]
    assert made[0] != made[1]
    assert made[0] == made[2]


async def test_a_key_that_anybody_would_choose_counts_only_within_a_session(site: Site) -> None:
    """Many speak through one assistant: address and software are the same, and so is the word."""

    async def made(**headers: str) -> str:
        content = call_body("create_checkout", {"lines": lines(), "idempotency_key": "checkout-1"})
        answer = result_of(await post(site.endpoint(), content, **{"user-agent": "assistant", **headers}))
        return str(answer["result"]["structuredContent"]["checkout_id"])

    assert await made() != await made()
    assert await made(**{"mcp-session-id": "a"}) == await made(**{"mcp-session-id": "a"})
    assert await made(**{"mcp-session-id": "a"}) != await made(**{"mcp-session-id": "b"})


async def test_planted_fault_with_keys_as_they_come_two_anonymous_callers_meet(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "own_key", lambda ctx, caller, key: key)
    content = call_body("create_checkout", {"lines": lines(), "idempotency_key": "checkout-one"})
    made = [
        result_of(await post(site.endpoint(), content, **{"user-agent": who}))["result"]["structuredContent"]
        for who in ("one", "two")
    ]
    assert made[0]["checkout_id"] == made[1]["checkout_id"]


async def test_an_update_under_its_key_is_made_once(site: Site) -> None:
    async with client(site) as connected:
        own = {"checkout_id": structured(await connected.call_tool("create_checkout", ready()))["checkout_id"]}
        more = {**own, "lines": lines(quantity=5), "idempotency_key": "more"}
        first = await connected.call_tool("update_checkout", more)
        await connected.call_tool("update_checkout", {**own, "lines": lines(quantity=1)})
        again = await connected.call_tool("update_checkout", more)
        now = structured(await connected.call_tool("get_checkout", own))
        other = await connected.call_tool("update_checkout", {**more, "lines": lines(quantity=6)})
    assert structured(first) == structured(again)
    assert now["lines"][0]["quantity"] == 1
    assert code_of(other) == CommerceError.IDEMPOTENCY_CONFLICT.code


async def test_two_completions_at_the_same_moment_make_one_payment_and_one_order(own_site: Site) -> None:
    world = own_site.world
    made = result_of(await post(own_site.endpoint(), call_body("create_checkout", ready())))["result"]
    own = {"checkout_id": made["structuredContent"]["checkout_id"]}
    await world.commerce.payments.capture_link(world.brand, own["checkout_id"])
    world.vault.capture()
    content = call_body("complete_checkout", own)
    answers = await asyncio.gather(*(post(own_site.endpoint(), content) for _ in range(6)))
    views = [result_of(answer)["result"]["structuredContent"] for answer in answers]
    final = result_of(await post(own_site.endpoint(), content))["result"]["structuredContent"]
    assert final["status"] == "completed"
    assert {view.get("status") for view in views} <= {"completed", "complete_in_progress"}
    assert len(await world.rows(payment_table)) == 1
    assert len(await world.rows(order_table)) == 1
    assert len(world.vault.charges) == 1


@asynccontextmanager
async def two_workers(directory: Path, url: str, keys: tuple[bytes, bytes]) -> AsyncIterator[tuple[Site, Site]]:
    """Two processes' worth of MCP server over one database."""
    async with (
        commerce_world(directory, url) as first,
        commerce_world(directory, url) as second,
        mcp_site(first, [keys[0]]) as one,
        mcp_site(second, [keys[1]]) as other,
    ):
        yield one, other


async def asked_to_open(site: Site, **headers: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A call that came back as a request to open an address: its arguments and the answer."""
    made = result_of(await post(site.endpoint(), call_body("create_checkout", ready()), **headers))["result"]
    own = {"checkout_id": made["structuredContent"]["checkout_id"]}
    asked = call_body("complete_checkout", own, _meta=OPENS_ADDRESSES)
    answer = result_of(await post(site.endpoint(), asked, **headers))["result"]
    assert answer["resultType"] == "input_required"
    return own, answer


def taken_up(own: dict[str, Any], state: str) -> bytes:
    """The same call again, with the shopper's consent and the state that came with the request."""
    responses = {"pay": {"action": "accept"}}
    return call_body(
        "complete_checkout", own, request_id=2, _meta=OPENS_ADDRESSES, inputResponses=responses, requestState=state
    )


async def test_another_worker_can_take_up_a_call_that_waited_for_the_shopper(tmp_path: Path, database_url: str) -> None:
    shared = STATE_KEYS[0]
    async with two_workers(tmp_path, database_url, (shared, shared)) as (one, other):
        for first, second in ((one, other), (other, one)):
            own, asked = await asked_to_open(first)
            answer = result_of(await post(second.endpoint(), taken_up(own, asked["requestState"])))
            assert answer["result"]["structuredContent"]["continue_url"]


async def test_planted_fault_workers_with_keys_of_their_own_cannot(tmp_path: Path) -> None:
    own_keys = (STATE_KEYS[0], STATE_KEYS[0][::-1])
    async with two_workers(tmp_path, f"sqlite:///{tmp_path / 'shared.sqlite3'}", own_keys) as (one, other):
        own, asked = await asked_to_open(one)
        answer = result_of(await post(other.endpoint(), taken_up(own, asked["requestState"])))
    assert answer["error"]["code"] == INVALID_STATE


async def test_the_state_of_a_call_is_good_for_nothing_else(site: Site) -> None:
    """Not for another checkout, another brand, another caller, nor when it was changed."""
    brand = await site.world.add_brand("Lee Shore")
    agent = {"authorization": f"Bearer {await site.world.agent_key()}"}
    own, asked = await asked_to_open(site)
    other, _ = await asked_to_open(site)
    state = asked["requestState"]
    swapped = state[:-2] + ("A" if state[-2] != "A" else "B") + state[-1]
    for what, answer in {
        "another checkout": await post(site.endpoint(), taken_up(other, state)),
        "another brand": await post(site.endpoint(brand), taken_up(own, state)),
        "another caller": await post(site.endpoint(), taken_up(own, state), **agent),
        "changed": await post(site.endpoint(), taken_up(own, swapped)),
        "made up": await post(site.endpoint(), taken_up(own, "v1.made-up")),
    }.items():
        assert result_of(answer)["error"]["code"] == INVALID_STATE, what
    assert result_of(await post(site.endpoint(), taken_up(own, state)))["result"]["resultType"] == "complete"


async def test_taking_up_a_paid_call_again_charges_nothing_again(own_site: Site) -> None:
    world = own_site.world
    own, asked = await asked_to_open(own_site)
    await world.commerce.payments.capture_link(world.brand, own["checkout_id"])
    world.vault.capture()
    again = taken_up(own, asked["requestState"])
    views = [result_of(await post(own_site.endpoint(), again))["result"]["structuredContent"] for _ in range(3)]
    assert {view["status"] for view in views} == {"completed"}
    assert len({view["order_id"] for view in views}) == 1
    assert len(world.vault.charges) == 1
