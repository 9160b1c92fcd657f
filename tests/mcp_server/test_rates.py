"""How often a client may call over MCP: what it presents, what it is told, and that a body counts."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from commerce_api import rate_limit
from commerce_api import rates as rates_module
from commerce_api.errors import CommerceError
from commerce_api.rates import BURST_SECONDS, CALL_BYTES, PROVEN_SECONDS, Limits, Rates, shared_table
from mcp_server import app
from mcp_server.bearer import presented
from tests.commerce_api.test_rates import LOOPBACK, Time
from tests.commerce_api.test_rates import table as any_table
from tests.commerce_api.world import World
from tests.mcp_server.serving import Site, body, call_body, mcp_site, post, result_of

pytestmark = pytest.mark.anyio

TIGHT = Limits(anonymous_per_second=0.5, keyed_per_second=1, trusted=LOOPBACK)  # 5 and 10 calls at once
ALLOWED, ALLOWED_KEYED = 5, 10


@contextmanager
def table(time: Time, **options: Any) -> Iterator[Rates]:
    """A table of what is presented to these endpoints."""
    with any_table(time, presented=presented, **options) as rates:
        yield rates


async def test_a_call_too_many_is_a_result_that_says_when_to_come_back(world: World) -> None:
    async with mcp_site(world, limits=TIGHT) as site:
        content = call_body("create_checkout", {"lines": [{"variant_id": "hp-mug-sea-300ml"}]})
        answers = [await post(site.endpoint(), content) for _ in range(ALLOWED + 1)]
        listed = await post(site.endpoint(), body("tools/list"))
        elsewhere = await post(site.endpoint(), content, **{"x-forwarded-for": "198.51.100.1"})
    refused = result_of(answers[-1])["result"]
    assert not [answer for answer in answers[:-1] if result_of(answer)["result"]["isError"]]
    assert refused["isError"] is True
    assert refused["structuredContent"]["error"]["code"] == CommerceError.RATE_LIMITED.code
    assert 0 < refused["structuredContent"]["retry_after_seconds"] <= 2
    assert answers[-1].headers["retry-after"] == str(refused["structuredContent"]["retry_after_seconds"])
    assert listed.status_code == 429
    assert result_of(listed)["error"]["code"] == app.TOO_MANY
    assert not result_of(elsewhere)["result"]["isError"]


async def test_a_key_has_a_bucket_of_its_own(world: World) -> None:
    async with mcp_site(world, limits=TIGHT) as site:
        content, key = call_body("search_catalog"), {"authorization": f"Bearer {await world.agent_key()}"}
        for _ in range(ALLOWED + 1):
            anonymous = await post(site.endpoint(), content)
        await post(site.endpoint(), content, **key)  # found right, and counted as one of which nobody knew that
        keyed = [await post(site.endpoint(), content, **key) for _ in range(ALLOWED_KEYED + 1)]
    assert result_of(anonymous)["result"]["isError"]
    assert [result_of(answer)["result"]["isError"] for answer in keyed] == [False] * ALLOWED_KEYED + [True]


def a_request(presented: str, path: str = "/harbour-pine/mcp") -> dict[str, Any]:
    """A request that presents something."""
    return {"path": path, "client": ("203.0.113.7", 1), "headers": [(b"authorization", presented.encode())]}


async def test_what_is_presented_and_wrong_counts_as_narrowly_as_nothing(world: World) -> None:
    async with mcp_site(world, limits=TIGHT) as site:
        wrong = {"authorization": "Bearer cak_none"}
        answers = [await post(site.endpoint(), call_body("search_catalog"), **wrong) for _ in range(ALLOWED_KEYED)]
    assert [answer.status_code for answer in answers[:ALLOWED]] == [401] * ALLOWED
    assert [result_of(answer)["result"]["isError"] for answer in answers[ALLOWED:]] == [True] * ALLOWED


async def test_planted_fault_a_door_that_takes_all_for_right_lets_wrong_keys_by_widely(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Rates.found
    monkeypatch.setattr(Rates, "found", lambda self, scope, *, right: found(self, scope, right=True))
    async with mcp_site(world, limits=TIGHT) as site:
        wrong = {"authorization": "Bearer cak_none"}
        answers = [await post(site.endpoint(), call_body("search_catalog"), **wrong) for _ in range(ALLOWED_KEYED)]
    assert [answer.status_code for answer in answers] == [401] * ALLOWED_KEYED


def test_what_was_right_counts_so_for_its_time_at_its_endpoint_in_every_worker_until_it_is_wrong() -> None:
    time, descriptor = Time(), shared_table()
    one_request = a_request("Bearer one")

    def left(rates: Rates, request: dict[str, Any]) -> int:
        """How many calls are left at once; they come back with the time."""
        count = 0
        while rates.wait_seconds(request) == 0:
            count += 1
        time.seconds += 2 * BURST_SECONDS
        return count

    try:
        with (
            table(time, descriptor=descriptor, limits=TIGHT) as rates,
            table(time, descriptor=descriptor, limits=TIGHT) as other,
        ):
            assert left(rates, one_request) == ALLOWED
            rates.found(one_request, right=True)
            assert left(other, one_request) == ALLOWED_KEYED
            assert left(rates, a_request("Bearer two")) == ALLOWED
            assert left(rates, a_request("Bearer one", "/salt-shed/mcp")) == ALLOWED
            rates.found(a_request("Bearer two"), right=False)
            assert left(rates, one_request) == ALLOWED_KEYED
            time.seconds += PROVEN_SECONDS
            assert left(rates, one_request) == ALLOWED
            rates.found(one_request, right=True)
            other.found(one_request, right=False)
            assert left(rates, one_request) == ALLOWED
    finally:
        os.close(descriptor)


def let_through(rates: Rates, time: Time, requests: list[dict[str, Any]]) -> int:
    """How many calls are let through in a moment, where each that is has what it presents found right."""
    count = 0
    for request in requests:
        time.seconds += 1e-6
        if rates.wait_seconds(request) == 0:
            count += 1
            rates.found(request, right=True)
    return count


SPELLINGS = [
    ("/" * before + "harbour-pine/mcp" + "/" * after, scheme + " " * blanks)
    for before in range(1, 9)
    for after in range(4)
    for scheme in ("Bearer", "bearer", "BEARER")
    for blanks in (1, 2, 3)
]


def test_a_path_and_a_header_that_are_spelt_otherwise_open_no_bucket_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates_module, "_SETS", 1)  # all who call share the same few rows
    time = Time()
    with table(time, limits=TIGHT) as rates:
        one_request = a_request("Bearer one")
        assert rates.wait_seconds(one_request) == 0
        rates.found(one_request, right=True)
        spelt = [a_request(f"{scheme}one", path) for path, scheme in SPELLINGS]
        assert let_through(rates, time, spelt * 3) == ALLOWED_KEYED
        rates.found(spelt[-1], right=False)
        assert [rates.wait_seconds(one_request) for _ in range(ALLOWED)].count(0) == ALLOWED - 1


MANY = Limits(anonymous_per_second=10, keyed_per_second=1)
MANY_ALLOWED = 110  # at once, of both buckets


def with_many_keys(time: Time) -> int:
    """How many calls one address has let through that presents a right key as often as it can, then others, and so on."""
    with table(time, limits=MANY) as rates:
        keys = [key for turn in range(20) for key in ["own"] * 12 + [f"{turn} {number}" for number in range(8)]]
        return let_through(rates, time, [a_request(f"Bearer {key}") for key in keys])


def test_what_was_found_right_takes_no_buckets_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates_module, "_SETS", 1)
    assert with_many_keys(Time()) == MANY_ALLOWED


def test_planted_fault_in_one_part_with_the_buckets_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates_module, "_SETS", 1)
    monkeypatch.setattr(rates_module, "_PROVEN", rates_module._BUCKETS)
    assert with_many_keys(Time()) > MANY_ALLOWED


async def test_refusals_have_their_limit_too(world: World) -> None:
    """The limit stands before the guard: reading for card-like text is the dearest thing that a call can have done."""
    async with mcp_site(world, limits=TIGHT) as site:
        content = call_body("search_catalog", {"query": "4242 4242 4242 4242"})
        answers = [result_of(await post(site.endpoint(), content))["result"] for _ in range(4 * ALLOWED)]
    codes = [answer["structuredContent"]["error"]["code"] for answer in answers]
    assert codes == ["card_text_refused"] * ALLOWED + ["rate_limited"] * 3 * ALLOWED


LARGE = call_body("search_catalog", {"query": "k" * 3 * CALL_BYTES})  # refused for its length, once it was read


async def test_a_large_body_counts_as_several_calls(world: World) -> None:
    async with mcp_site(world, limits=TIGHT) as site:
        answers = [await post(site.endpoint(), LARGE) for _ in range(2)]
        small = await post(site.endpoint(), call_body("search_catalog"))
    codes = [result_of(answer)["result"]["structuredContent"]["error"]["code"] for answer in answers]
    assert codes == ["invalid_request", "rate_limited"]
    assert result_of(small)["result"]["isError"]


async def test_many_large_bodies_at_once_are_not_all_read(world: World) -> None:
    async with mcp_site(world, limits=TIGHT) as site:
        answers = await asyncio.gather(*(post(site.endpoint(), LARGE) for _ in range(ALLOWED)))
    codes = [result_of(answer)["result"]["structuredContent"]["error"]["code"] for answer in answers]
    assert codes.count("invalid_request") <= 1


async def test_planted_fault_where_size_counts_for_nothing_all_are_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limit, "CALL_BYTES", app.BODY_BYTES + 1)
    async with mcp_site(world, limits=TIGHT) as site:
        answers = await asyncio.gather(*(post(site.endpoint(), LARGE) for _ in range(ALLOWED)))
    codes = [result_of(answer)["result"]["structuredContent"]["error"]["code"] for answer in answers]
    assert codes == ["invalid_request"] * ALLOWED


async def test_everything_but_health_is_counted(world: World) -> None:
    async with mcp_site(world, limits=TIGHT) as site:
        metadata = [await _get(site, "/.well-known/oauth-protected-resource") for _ in range(ALLOWED + 1)]
        elsewhere = await _get(site, "/nothing")
        health = await _get(site, "/health")
    assert metadata == [200] * ALLOWED + [429]
    assert (elsewhere, health) == (429, 200)


async def test_planted_fault_without_the_limit_nobody_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "RateLimited", lambda inner, rates, **_: inner)
    async with mcp_site(world, limits=TIGHT) as site:
        answers = [await post(site.endpoint(), call_body("search_catalog")) for _ in range(2 * ALLOWED)]
    assert not [answer for answer in answers if result_of(answer)["result"]["isError"]]


async def _get(site: Site, path: str) -> int:
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        return (await http.get(site.url + path)).status_code
