"""What a stranger sends holds up nobody: it is counted before it is read, by what the guard reads of it; on both databases."""

import argparse
import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce_api import app as app_module
from commerce_api import rate_limit
from commerce_api.agents_api import presented
from commerce_api.app import BODY_BYTES, FORM_BYTES, OAUTH_BYTES, commerce_app
from commerce_api.cli import serve
from commerce_api.cli.rate_options import limits_of
from commerce_api.errors import CommerceError
from commerce_api.rates import AGENTS_PER_SECOND, ANONYMOUS_PER_SECOND, CALL_BYTES, Limits, Rates
from commerce_api.zone_notices import PATH, NoticeDesk
from tests.commerce_api.test_rates import Time
from tests.commerce_api.test_zone_notices import body_of, in_payment, signed
from tests.commerce_api.world import World, commerce_world

pytestmark = pytest.mark.anyio

ALLOWED, ALLOWED_KEYED = 10, 50  # at once
TIGHT = Limits(anonymous_per_second=1, keyed_per_second=5)
LARGE = {"query": "k" * 4 * CALL_BYTES}  # refused for its form, once it was read
STRANGER = "203.0.113.7"
PRODUCTS = "/agents/v1/harbour-pine/products"
COMPARE = f"{PRODUCTS}/compare"
PAY = "/harbour-pine/checkout/chk_none/pay"
WRONG = {"authorization": "Bearer cak_none"}
LONG_QUERY = "?a=" + "k" * 4 * CALL_BYTES


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """A commerce side on either database."""
    async with commerce_world(tmp_path, database_url) as made:
        yield made


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The clock that buckets fill by."""
    made = Time()
    monkeypatch.setattr(app_module, "monotonic_seconds", made)
    return made


@asynccontextmanager
async def shop(world: World, *addresses: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    """The whole application, as clients at these addresses reach it; of one stranger without any."""
    app = commerce_app(world.commerce, replace(TIGHT, trusted=world.commerce.settings.trusted_proxies))
    clients = [
        httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(address, 1)), base_url="http://127.0.0.1:8703")
        for address in addresses or (STRANGER,)
    ]
    try:
        yield clients
    finally:
        for client in clients:
            await client.aclose()


def codes(answers: list[httpx.Response]) -> list[str]:
    """The closed codes of refusals."""
    return [answer.json()["error"]["code"] for answer in answers]


async def exhausted(client: httpx.AsyncClient, path: str = COMPARE, **sent: Any) -> httpx.Response:
    """Calls until there is no call left; the refusal."""
    for _ in range(ALLOWED + 1):
        answer = await client.post(path, **sent)
        if answer.status_code == 429:
            return answer
    raise AssertionError("never refused")


async def test_a_strangers_large_bodies_are_refused_after_its_bucket_and_a_right_keys_are_not(
    world: World, time: Time
) -> None:
    key = {"authorization": f"Bearer {await world.agent_key()}"}
    async with shop(world) as (client,):
        stranger = [await client.post(COMPARE, json=LARGE) for _ in range(4)]
        await client.get(PRODUCTS, headers=key)  # found right
        keyed = [await client.post(COMPARE, json=LARGE, headers=key) for _ in range(ALLOWED_KEYED // 5)]
        beyond = await client.post(COMPARE, json=LARGE, headers=key)
        time.seconds += int(stranger[-1].headers["retry-after"])
        again = await client.post(COMPARE)
    assert codes(stranger) == ["unauthenticated"] * 2 + ["rate_limited"] * 2
    assert [answer.status_code for answer in stranger[2:]] == [CommerceError.RATE_LIMITED.status] * 2
    assert stranger[-1].headers["cache-control"] == "no-store"
    assert codes(keyed) == ["invalid_request"] * len(keyed)
    assert codes([beyond]) == ["rate_limited"]
    assert codes([again]) == ["unauthenticated"]


async def test_a_wrong_key_is_a_strangers(world: World) -> None:
    async with shop(world) as (client,):
        answers = [await client.get(PRODUCTS, headers=WRONG) for _ in range(2 * ALLOWED)]
    assert codes(answers) == ["unauthenticated"] * ALLOWED + ["rate_limited"] * ALLOWED


async def test_planted_fault_a_door_that_takes_all_for_right_lets_wrong_keys_by_widely(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Rates.found
    monkeypatch.setattr(Rates, "found", lambda self, scope, *, right: found(self, scope, right=True))
    async with shop(world) as (client,):
        answers = [await client.get(PRODUCTS, headers=WRONG) for _ in range(2 * ALLOWED)]
    assert codes(answers) == ["unauthenticated"] * 2 * ALLOWED


async def test_a_right_key_is_a_strangers_at_another_brand_and_where_no_agent_is_asked_for(world: World) -> None:
    key = {"authorization": f"Bearer {await world.agent_key()}"}
    async with shop(world) as (client,):
        assert (await client.get(PRODUCTS, headers=key)).status_code == 200
        elsewhere = [await client.get("/agents/v1/salt-shed/products", headers=key) for _ in range(2 * ALLOWED)]
        page = await client.get(PAY, headers=key)
        own = await client.get(PRODUCTS, headers=key)
    assert codes(elsewhere).count("rate_limited") == ALLOWED + 1  # with the first of its own brand
    assert (page.status_code, own.status_code) == (429, 200)


async def test_many_large_bodies_at_once_are_not_all_read(world: World) -> None:
    async with shop(world) as (client,):
        answers = await asyncio.gather(*(client.post(COMPARE, json=LARGE) for _ in range(ALLOWED)))
    assert codes(answers).count("rate_limited") >= ALLOWED - 2


async def test_planted_fault_where_size_counts_for_nothing_all_are_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limit, "CALL_BYTES", 2 * BODY_BYTES)
    async with shop(world) as (client,):
        answers = await asyncio.gather(*(client.post(COMPARE, json=LARGE) for _ in range(ALLOWED)))
    assert codes(answers) == ["unauthenticated"] * ALLOWED


async def test_card_text_that_is_refused_counts_too(world: World) -> None:
    async with shop(world) as (client,):
        answers = [await client.post(COMPARE, json={"a": "4242 4242 4242 4242"}) for _ in range(2 * ALLOWED)]
    assert codes(answers) == ["card_text_refused"] * ALLOWED + ["rate_limited"] * ALLOWED


async def test_a_long_address_or_header_counts_as_a_body_does(world: World) -> None:
    async with shop(world, STRANGER, "203.0.113.8") as (one, other):
        addresses = [await one.get(PRODUCTS + LONG_QUERY) for _ in range(3)]
        headers = [await other.get(PRODUCTS, headers={"x-a": "k" * 4 * CALL_BYTES}) for _ in range(3)]
    assert codes(addresses) == codes(headers) == ["unauthenticated"] * 2 + ["rate_limited"]


async def test_health_is_told_whoever_called_before_and_is_no_way_to_have_much_read(world: World) -> None:
    async with shop(world) as (client,):
        await exhausted(client)
        assert [(await client.get("/health")).status_code for _ in range(2 * ALLOWED)] == [200] * 2 * ALLOWED
        assert (await client.get("/health" + LONG_QUERY)).status_code == 429
        assert (await client.post("/health", json={"a": "k" * 2 * CALL_BYTES})).status_code == 429


@pytest.mark.parametrize(
    ("path", "most"),
    [
        (PAY, FORM_BYTES),
        ("/harbour-pine/connections/sign-out", FORM_BYTES),
        (PATH, FORM_BYTES),
        ("/nothing", FORM_BYTES),
        ("/agents/v1/", FORM_BYTES),
        ("/harbour-pine/agents/v1/x", FORM_BYTES),
        ("/harbour-pine/oauth/register", OAUTH_BYTES),
        (COMPARE, BODY_BYTES),
    ],
)
async def test_a_body_is_as_long_as_its_path_needs_at_most(world: World, path: str, most: int) -> None:
    async with shop(world, STRANGER, "203.0.113.8") as (one, other):
        assert (await one.post(path, content=b"k" * most)).status_code != 413
        answer = await other.post(path, content=b"k" * (most + 1))
    assert (answer.status_code, codes([answer])) == (413, ["body_too_large"])


async def test_a_notice_of_the_zone_is_held_up_by_no_stranger_at_its_address(world: World) -> None:
    body = body_of(*await in_payment(world))
    async with shop(world) as (client,):
        refused = await exhausted(client, PATH, content=body, headers=signed(world, body, secret=b"x" * 32))
        forged = await client.post(PATH, content=body, headers=signed(world, body, secret=b"x" * 32))
        elsewhere = await client.post(COMPARE, content=body, headers=signed(world, body))
        told = [await client.post(PATH, content=body, headers=signed(world, body)) for _ in range(2 * ALLOWED)]
    assert codes([refused, forged, elsewhere]) == ["rate_limited"] * 3
    assert [answer.status_code for answer in told] == [200] * 2 * ALLOWED


async def test_planted_fault_a_notice_whose_proof_counts_for_nothing_is_held_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> bool:
        return False

    monkeypatch.setattr(NoticeDesk, "is_signed", never)
    body = body_of(*await in_payment(world))
    async with shop(world) as (client,):
        await exhausted(client)
        answer = await client.post(PATH, content=body, headers=signed(world, body))
    assert codes([answer]) == ["rate_limited"]


async def test_a_notice_that_is_sent_again_without_end_has_its_limit_and_takes_no_agents_calls(world: World) -> None:
    body, key = body_of(*await in_payment(world)), {"authorization": f"Bearer {await world.agent_key()}"}
    async with shop(world) as (client,):
        answers = [
            await client.post(PATH, content=body, headers=signed(world, body))
            for _ in range(ALLOWED + ALLOWED_KEYED + 1)
        ]
        refused = await client.get(PRODUCTS, headers={"authorization": "Bearer"})
        agent = await client.get(PRODUCTS, headers=key)
    assert [answer.status_code for answer in answers] == [200] * (ALLOWED + ALLOWED_KEYED) + [429]
    assert (refused.status_code, agent.status_code) == (401, 200)


async def test_shoppers_behind_a_trusted_proxy_are_clients_each(world: World) -> None:
    proxies = (ipaddress.ip_network("10.0.0.7/32"),)
    world.commerce = replace(world.commerce, settings=replace(world.commerce.settings, trusted_proxies=proxies))
    one, other = ({"x-forwarded-for": f"198.51.100.{number}"} for number in (1, 2))
    async with shop(world, "10.0.0.7") as (proxy,):
        await exhausted(proxy, headers=one)
        assert codes([await proxy.post(COMPARE, headers=other)]) == ["unauthenticated"]
        forged = {"x-forwarded-for": "192.0.2.9, 198.51.100.1"}  # what a client wrote itself stands before
        assert codes([await proxy.post(COMPARE, headers=forged)]) == ["rate_limited"]


async def test_without_one_the_header_is_nobodys_word(world: World) -> None:
    async with shop(world, "10.0.0.7") as (client,):
        await exhausted(client, headers={"x-forwarded-for": "198.51.100.1"})
        answer = await client.post(COMPARE, headers={"x-forwarded-for": "198.51.100.2"})
    assert codes([answer]) == ["rate_limited"]


async def test_planted_fault_without_the_limit_nobody_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "RateLimited", lambda inner, rates, **_: inner)
    async with shop(world) as (client,):
        answers = [await client.post(COMPARE, json=LARGE) for _ in range(2 * ALLOWED)]
    assert codes(answers) == ["unauthenticated"] * 2 * ALLOWED


@given(
    scheme=st.sampled_from(["Bearer", "bearer", "BEARER"]),
    blanks=st.integers(1, 4),
    around=st.sampled_from(["", " ", "\t", " \t "]),
    rest=st.text(alphabet="abc/-", max_size=20),
)
def test_what_a_request_presents_is_the_same_however_it_is_spelt(
    scheme: str, blanks: int, around: str, rest: str
) -> None:
    said = f"{around}{scheme}{' ' * blanks}cak_one{around}".encode()
    scope = {"path": f"/agents/v1/harbour-pine/{rest}", "headers": [(b"authorization", said)]}
    assert presented(scope) == "harbour-pine\0cak_one"


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        (PRODUCTS, [], None),
        (PRODUCTS, [(b"authorization", b"Basic cak_one")], ""),
        (PRODUCTS, [(b"authorization", b"Bearer ")], ""),
        ("/harbour-pine/oauth/token", [(b"authorization", b"Bearer cak_one")], ""),
        ("//agents/v1/harbour-pine/products", [(b"authorization", b"Bearer cak_one")], ""),
    ],
)
def test_what_is_never_right_is_nothing_in_particular(path: str, headers: list[Any], expected: str | None) -> None:
    assert presented({"path": path, "headers": headers}) == expected


def test_the_command_says_the_rates_and_whose_word_on_an_address_counts() -> None:
    parser = argparse.ArgumentParser()
    serve.add_parser(parser.add_subparsers())
    least = ["serve", "--data", "d", "--zone-url", "https://zone", "--capture-url", "https://cards"]
    assert limits_of(parser.parse_args(least)) == Limits(ANONYMOUS_PER_SECOND, AGENTS_PER_SECOND, ())
    given = ["--anonymous-calls-per-second=5", "--keyed-calls-per-second=50", "--trusted-proxy=10.0.0.0/8"]
    assert limits_of(parser.parse_args(least + given)) == Limits(5, 50, (ipaddress.ip_network("10.0.0.0/8"),))
    with pytest.raises(SystemExit):
        parser.parse_args([*least, "--keyed-calls-per-second=0"])
