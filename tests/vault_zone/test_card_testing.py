"""Card testing on the capture page: waits grow, many tries bring a puzzle, limits all answer alike. On both databases."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import httpx
import pytest
from sqlalchemy import select

from audit.store import audit_event
from tests.requirement import requirement
from tests.vault_zone.callers import zone_of
from tests.vault_zone.puzzles import answered, challenge_of, unanswered
from tests.vault_zone.test_public_pages import FORM, link_of
from tests.vault_zone.world import AMEX, MERCHANT, World, zone_world
from vault_zone.app import public_app
from vault_zone.capture import LONGEST_DELAY_SECONDS, MAXIMUM_TRIES, delay_seconds
from vault_zone.card_testing import LONGEST_WAIT_SECONDS
from vault_zone.key_rows import Purpose
from vault_zone.models import capture_session
from vault_zone.puzzle import AGE_AT_EASIEST_SECONDS, OLDEST_AGE_SECONDS
from vault_zone.velocity import DEFAULTS, Kind, Limit
from vault_zone.velocity_policy import VelocityPolicy

pytestmark = pytest.mark.anyio
SLIP = {**FORM, "cvc": "7"}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A zone on either database."""
    async with zone_world(database_url) as made:
        yield made


def browser(world: World, **limits: tuple[int, int]) -> httpx.AsyncClient:
    """A browser before a zone where some limits are other than usual."""
    return browser_at("192.0.2.1", world, **limits)


def browser_at(address: str, world: World, **limits: tuple[int, int]) -> httpx.AsyncClient:
    """The same, at an address of its own."""
    own = {**DEFAULTS, **{Kind(name): Limit(*limit) for name, limit in limits.items()}}
    zone = replace(zone_of(world), limits=VelocityPolicy({MERCHANT: own}))
    transport = httpx.ASGITransport(app=cast(Any, public_app(zone)), client=(address, 50_000))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8701")


async def events(world: World, kind: str) -> list[dict[str, Any]]:
    found = await world.database.read(
        lambda c: c.execute(select(audit_event.c.entry).where(audit_event.c.type == kind)).scalars().all()
    )
    return [json.loads(entry) for entry in found]


async def tries_of(world: World) -> list[int]:
    return list(await world.database.read(lambda c: c.execute(select(capture_session.c.tries)).scalars().all()))


async def slips(world: World, shopper: httpx.AsyncClient, link: str, number: int) -> httpx.Response:
    """So many refused tries, each after its wait; the last page."""
    page = await shopper.get(link)
    for _ in range(number):
        world.clock.advance(OLDEST_AGE_SECONDS)
        page = await shopper.post(link, data={**SLIP, **unanswered(page.text)})
        assert page.status_code == 422
    return page


def test_the_wait_doubles_from_the_second_refusal_up_to_a_minute() -> None:
    assert [delay_seconds(tries) for tries in range(1, 11)] == [0, 1, 2, 4, 8, 16, 32, 60, 60, LONGEST_DELAY_SECONDS]


@requirement("6.2.4")
async def test_each_refused_card_makes_the_next_wait_and_the_page_says_how_long(world: World) -> None:
    async with browser(world) as shopper:
        link = await link_of(world, lifetime_seconds=3_600)
        page, told = await shopper.get(link), []
        for _ in range(MAXIMUM_TRIES - 1):
            world.clock.advance(OLDEST_AGE_SECONDS)
            page = await shopper.post(link, data={**SLIP, **unanswered(page.text)})
            told.append(page.headers.get("retry-after"))
            assert ("Please wait" in page.text) == (told[-1] is not None)
        assert told == [None, "1", "2", "4", "8", "16", "32", "60", "60"]


async def test_a_try_before_its_time_is_neither_looked_at_nor_counted_nor_recorded(world: World) -> None:
    async with browser(world) as shopper:
        link = await link_of(world)
        page = await slips(world, shopper, link, 3)
        before = len(await events(world, "card.capture_failed"))
        for form in (SLIP, FORM):
            early = await shopper.post(link, data={**form, **answered(page.text)})
            assert early.status_code == 429
            assert early.headers["retry-after"] == "2"
            assert "Please wait 2 seconds" in early.text
            assert "aria-invalid" not in early.text, "nothing in it was judged"
        assert (await tries_of(world), len(await events(world, "card.capture_failed"))) == ([3], before)
        world.clock.advance(2)
        assert (await shopper.post(link, data={**FORM, **answered(page.text)})).status_code == 303


async def test_after_two_slips_the_next_try_brings_an_answer_or_has_waited(world: World) -> None:
    async with browser(world) as shopper:
        link = await link_of(world)
        page = await slips(world, shopper, link, 2)
        world.clock.advance(1)
        bare = await shopper.post(link, data=FORM)
        young = await shopper.post(link, data={**FORM, **unanswered(bare.text)})
        assert (bare.status_code, young.status_code) == (429, 429)
        assert young.headers["retry-after"] == str(AGE_AT_EASIEST_SECONDS)
        assert await tries_of(world) == [2], "who is asked to wait has lost no try"
        done = await shopper.post(link, data={**FORM, **answered(page.text)})
        assert done.status_code == 303


async def test_without_script_the_same_page_is_taken_once_it_has_aged(world: World) -> None:
    async with browser(world) as shopper:
        link = await link_of(world)
        page = await slips(world, shopper, link, 2)
        world.clock.advance(AGE_AT_EASIEST_SECONDS)
        assert (await shopper.post(link, data={**FORM, **unanswered(page.text)})).status_code == 303


@requirement("6.2.4")
async def test_an_answer_serves_one_try_of_one_link(world: World) -> None:
    async with browser(world) as shopper:
        first, second = await link_of(world, checkout="chk_a"), await link_of(world, checkout="chk_b")
        page = await slips(world, shopper, first, 2)
        await slips(world, shopper, second, 2)
        world.clock.advance(1)
        answer = answered(page.text)
        assert (await shopper.post(second, data={**FORM, **answer})).status_code == 429, "another link's"
        assert (await shopper.post(first, data={**SLIP, **answer})).status_code == 422
        world.clock.advance(LONGEST_DELAY_SECONDS)
        assert (await shopper.post(first, data={**FORM, **answer})).status_code == 429, "spent"


async def test_of_many_sent_at_once_on_one_link_one_is_looked_at(world: World) -> None:
    async with browser(world) as shopper:
        link = await link_of(world)
        page = await slips(world, shopper, link, 2)
        world.clock.advance(1)
        form = {**SLIP, **answered(page.text)}
        pages = await asyncio.gather(*(shopper.post(link, data=form) for _ in range(6)))
        assert sorted(page.status_code for page in pages) == [422, *[429] * 5]
        assert await tries_of(world) == [3]


async def test_a_busy_network_is_asked_for_work_from_its_first_try_on_a_link(world: World) -> None:
    async with browser(world, network=(3_600, 8)) as shopper:
        for checkout in ("chk_a", "chk_b"):
            link = await link_of(world, checkout=checkout)
            page = await shopper.get(link)
            assert "data-bits" not in page.text
            assert (await shopper.post(link, data={**FORM, **unanswered(page.text)})).status_code == 303
        link = await link_of(world, checkout="chk_c")
        page = await shopper.get(link)
        assert "data-bits" in page.text
        assert (await shopper.post(link, data=FORM)).status_code == 429
        assert (await shopper.post(link, data={**FORM, **answered(page.text)})).status_code == 303
    async with browser_at("192.0.2.2", world, network=(3_600, 8)) as neighbour:
        link = await link_of(world, checkout="chk_d")
        assert "data-bits" not in (await neighbour.get(link)).text
        assert (await neighbour.post(link, data=FORM)).status_code == 303


@requirement("6.2.4", "10.2.1")
@pytest.mark.parametrize("kind", [Kind.CHECKOUT, Kind.NETWORK, Kind.BIN_LAST4, Kind.CARD])
async def test_a_limit_that_is_reached_refuses_records_and_says_when_to_come_again(world: World, kind: Kind) -> None:
    own = {"bin_last4": (600, 1_000), "card": (600, 1_000), "network": (600, 1_000), "checkout": (600, 1_000)}
    async with browser(world, **{**own, kind.value: (600, 2)}) as shopper:
        for _ in range(2):
            link = await link_of(world)
            page = await shopper.get(link)
            assert (await shopper.post(link, data={**FORM, **answered(page.text)})).status_code == 303
        link = await link_of(world)
        page = await shopper.get(link)
        refused = await shopper.post(link, data={**FORM, **answered(page.text)})
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == str(LONGEST_WAIT_SECONDS)
        assert "Please wait 2 minutes" in refused.text
        assert "Nothing was charged" in refused.text
        [event] = await events(world, "velocity.limited")
        assert event["data"] == {"count": 2, "limit": kind.value}
        again = await shopper.post(link, data=FORM)
        assert again.status_code == 429
        assert len(await events(world, "velocity.limited")) == 1, "who does not wait writes nothing into the record"
        world.clock.advance(600)
        page = await shopper.get(link)
        assert (await shopper.post(link, data={**FORM, **answered(page.text)})).status_code == 303


async def test_no_page_tells_which_limit_was_reached(world: World) -> None:
    pages = set()
    for kind in (Kind.CHECKOUT, Kind.NETWORK, Kind.BIN_LAST4, Kind.CARD):
        link = await link_of(world)
        async with browser(world, **{kind.value: (600, 0)}) as shopper:
            await shopper.get(link)
            refused = await shopper.post(link, data=FORM)
        page = refused.text.replace(link, "LINK").replace(challenge_of(refused.text), "PUZZLE")
        pages.add((refused.status_code, page, refused.headers["retry-after"]))
    assert len(pages) == 1


async def test_every_submission_counts_whatever_is_wrong_with_it(world: World) -> None:
    async with browser(world, bin_last4=(600, 3), card=(600, 10)) as shopper:
        for broken in ({"cvc": ""}, {"expiry": "01/20"}, {"postal_code": "!"}):
            link = await link_of(world, checkout=f"chk_{next(iter(broken))[0]}")
            await shopper.get(link)
            assert (await shopper.post(link, data={**FORM, **broken})).status_code == 422
        for form, expected in (({**FORM, "cvc": ""}, 429), (FORM, 429), ({**FORM, "number": AMEX, "cvc": "7373"}, 303)):
            link = await link_of(world, checkout="chk_z")
            await shopper.get(link)
            assert (await shopper.post(link, data=form)).status_code == expected


async def test_a_page_shown_before_its_key_was_rotated_is_still_good(world: World) -> None:
    async with browser(world) as shopper:
        link = await link_of(world)
        page = await slips(world, shopper, link, 2)
        world.clock.advance(1)
        answer = answered(page.text)
        await world.keys.begin_epoch(MERCHANT, Purpose.CAPTURE, reason="test")
        assert challenge_of((await shopper.get(link)).text).split(".")[1] != challenge_of(page.text).split(".")[1]
        assert (await shopper.post(link, data={**FORM, **answer})).status_code == 303
