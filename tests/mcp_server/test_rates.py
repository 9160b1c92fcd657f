"""How often a client may call: its bucket, who a client is, what it is told, and that workers count together."""

import asyncio
import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commerce_api.errors import CommerceError
from mcp_server import app
from mcp_server import rates as rates_module
from mcp_server.rates import BURST_SECONDS, CALL_BYTES, PROVEN_SECONDS, Limits, Rates, client_of, shared_table
from tests.commerce_api.world import World
from tests.mcp_server.serving import Site, body, call_body, mcp_site, post, result_of
from tokenization.addresses import network_of

pytestmark = pytest.mark.anyio

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
TIGHT = Limits(anonymous_per_second=0.5, keyed_per_second=1, trusted=LOOPBACK)  # 5 and 10 calls at once
ALLOWED, ALLOWED_KEYED = 5, 10


class Time:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@contextmanager
def table(time: Time, **options: Any) -> Iterator[Rates]:
    """A table that is closed in the end."""
    rates = Rates(time, **options)
    try:
        yield rates
    finally:
        rates.close()


@settings(deadline=None, max_examples=50)
@given(
    rate=st.floats(0.1, 50),
    pauses=st.lists(st.floats(0, 30), min_size=1, max_size=200),
)
def test_a_client_gets_no_more_than_its_burst_and_its_rate_over_the_time(rate: float, pauses: list[float]) -> None:
    time = Time()
    with table(time) as rates:
        taken = 0
        for pause in pauses:
            time.seconds += pause
            taken += rates.take("client", rate) == 0
        elapsed = sum(pauses[1:])
        assert taken <= rate * (BURST_SECONDS + elapsed) + 1e-6
        assert taken >= min(len(pauses), int(rate * BURST_SECONDS))


@settings(deadline=None, max_examples=50)
@given(rate=st.floats(0.1, 50), calls=st.integers(1, 600))
def test_who_waits_as_long_as_told_is_let_through(rate: float, calls: int) -> None:
    time = Time()
    with table(time) as rates:
        for _ in range(calls):
            time.seconds += rates.take("client", rate)
        wait = rates.take("client", rate)
        time.seconds += wait
        assert wait == 0 or rates.take("client", rate) == 0


def test_a_clock_that_goes_back_fills_nothing() -> None:
    time = Time()
    with table(time) as rates:
        while rates.take("client", 1) == 0:
            pass
        time.seconds -= 500
        assert rates.take("client", 1) > 0


def test_workers_count_together() -> None:
    descriptor = shared_table()
    time = Time()
    try:
        with table(time, descriptor=descriptor) as one, table(time, descriptor=descriptor) as other:
            taken = [rates.take("client", 1) == 0 for _ in range(BURST_SECONDS) for rates in (one, other)]
    finally:
        os.close(descriptor)
    assert sum(taken) == BURST_SECONDS


def test_planted_fault_workers_with_tables_of_their_own_let_twice_as_much_through() -> None:
    time = Time()
    with table(time) as one, table(time) as other:
        taken = [rates.take("client", 1) == 0 for _ in range(BURST_SECONDS) for rates in (one, other)]
    assert sum(taken) == 2 * BURST_SECONDS


def test_a_crowd_of_addresses_refuses_nobody_else() -> None:
    time = Time()
    with table(time) as rates:
        for number in range(60_000):  # over three times the rows
            assert rates.take(f"crowd {number}", 1) == 0
        assert rates.take("somebody else", 1) == 0


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),  # not a proxy of ours: its word counts for nothing
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["10.9.9.9, 198.51.100.1"], "198.51.100.1"),  # what the client wrote itself stands before
        ("127.0.0.1", ["198.51.100.1", "127.0.0.2"], "198.51.100.1"),
        ("127.0.0.1", ["198.51.100.1, made up"], "127.0.0.1"),
        ("::ffff:203.0.113.7", [], "203.0.113.7"),
        (None, ["198.51.100.1"], "unknown"),
    ],
)
def test_a_client_is_the_last_address_that_is_no_proxy_of_ours(
    peer: str | None, forwarded: list[str], client: str
) -> None:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    assert client_of({"client": (peer, 1) if peer else None, "headers": headers}, LOOPBACK) == client


def test_addresses_of_one_network_of_ipv6_are_one_client() -> None:
    assert network_of("2001:db8:1:2::5") == network_of("2001:db8:1:2:ffff::1") != network_of("2001:db8:1:3::5")
    assert network_of("203.0.113.7") != network_of("203.0.113.8")


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


def test_where_a_client_stands_is_another_place_in_every_table() -> None:
    descriptors = [shared_table(), shared_table()]
    try:
        with (
            table(Time(), descriptor=descriptors[0]) as one,
            table(Time(), descriptor=descriptors[0]) as fellow,
            table(Time(), descriptor=descriptors[1]) as other,
            table(Time()) as alone,
        ):
            ours, *others = ([rates._row_of(f"{n}", 0) for n in range(20)] for rates in (one, fellow, other, alone))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    assert ours == others[0]
    assert not {*ours} & {*others[1]}
    assert not {*ours} & {*others[2]}


async def test_refusals_have_their_limit_too(world: World) -> None:
    """The limit stands before the guard: reading for card-like text is the dearest thing that a call can have done."""
    async with mcp_site(world, limits=TIGHT) as site:
        content = call_body("search_catalog", {"query": "4242 4242 4242 4242"})
        answers = [result_of(await post(site.endpoint(), content))["result"] for _ in range(4 * ALLOWED)]
    codes = [answer["structuredContent"]["error"]["code"] for answer in answers]
    assert codes == ["card_text_refused"] * ALLOWED + ["rate_limited"] * 3 * ALLOWED


@settings(deadline=None, max_examples=50)
@given(rate=st.floats(0.1, 50), sizes=st.lists(st.integers(1, 64), min_size=1, max_size=100))
def test_what_is_taken_at_once_counts_as_often_and_a_full_bucket_lets_all_through(
    rate: float, sizes: list[int]
) -> None:
    time = Time()
    with table(time) as rates:
        most = max(1, rate * BURST_SECONDS - 1)
        taken = sum(min(size, most) for size in sizes if rates.take("client", rate, size) == 0)
        assert taken <= max(1, rate * BURST_SECONDS) + 1e-6
        time.seconds += BURST_SECONDS + 1 / rate
        assert rates.take("client", rate, max(sizes)) == 0 or rate * BURST_SECONDS < 1


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
    monkeypatch.setattr(app, "CALL_BYTES", app.BODY_BYTES + 1)
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
    monkeypatch.setattr(app, "RateLimited", lambda inner, rates: inner)
    async with mcp_site(world, limits=TIGHT) as site:
        answers = [await post(site.endpoint(), call_body("search_catalog")) for _ in range(2 * ALLOWED)]
    assert not [answer for answer in answers if result_of(answer)["result"]["isError"]]


async def _get(site: Site, path: str) -> int:
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        return (await http.get(site.url + path)).status_code
