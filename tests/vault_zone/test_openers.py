"""Who began is who goes on: forwarded links, fetchers, guesses and copied cookies get nothing. On both databases."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.vault_zone.test_public_pages import FORM, browser, link_of
from tests.vault_zone.world import World, zone_world
from tokenization.ids import digest, new_secret
from vault_zone.capture import PAGE, LinkRefusal, LinkRefused
from vault_zone.models import capture_session, card_record
from vault_zone.openers import claim_by_opener
from vault_zone.public_pages import CLAIM_COOKIE

pytestmark = pytest.mark.anyio
OPENER = new_secret("opn")


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A zone on either database."""
    async with zone_world(database_url) as made:
        yield made


async def link_with_opener(world: World, opener: str = OPENER, **asked: Any) -> str:
    return await link_of(world, opener_digest=digest(opener), **asked)


async def claimed(world: World) -> bool:
    row = await world.database.read(lambda c: c.execute(select(capture_session.c.claim_digest)).first())
    return row is not None and row.claim_digest is not None


async def cards(world: World) -> int:
    return await world.database.read(lambda c: c.execute(select(func.count()).select_from(card_record)).scalar_one())


async def test_the_browser_that_began_shows_itself_and_pays(world: World) -> None:
    async with browser(world) as shopper:
        link = await link_with_opener(world)
        shown = await shopper.post(f"{link}/claim", data={"opener": OPENER})
        assert (shown.status_code, shown.headers["location"]) == (303, link)
        assert "httponly" in shown.headers["set-cookie"].lower()
        assert OPENER not in str(shown.headers)
        assert (await shopper.get(link)).status_code == 200
        assert (await shopper.post(link, data=FORM)).status_code == 303
    assert await cards(world) == 1


async def test_a_forwarded_link_and_one_that_is_fetched_ahead_claim_nothing_and_say_what_to_do(world: World) -> None:
    link = await link_with_opener(world)
    async with browser(world) as scanner, browser(world) as shopper:
        for _ in range(3):
            seen = await scanner.get(link)
            assert seen.status_code == 403
            assert "where you began" in seen.text
            assert "set-cookie" not in seen.headers
        assert (await scanner.head(link)).status_code in (403, 405)
        assert (await scanner.post(link, data=FORM)).status_code == 403
        assert not await claimed(world)
        assert (await shopper.post(f"{link}/claim", data={"opener": OPENER})).status_code == 303
        assert (await scanner.get(link)).status_code == 403
        assert (await shopper.get(link)).status_code == 200
    assert await cards(world) == 0


GUESSES = {
    "nothing": "",
    "a prefix": "opn_",
    "another": new_secret("opn"),
    "one letter short": OPENER[:-1],
    "in capitals": OPENER.upper(),
    "one letter long": OPENER + "b",
    "a zero byte": "\x00",
}


@pytest.mark.parametrize("guess", GUESSES.values(), ids=GUESSES)
async def test_a_wrong_proof_is_refused_and_changes_nothing(world: World, guess: str) -> None:
    link = await link_with_opener(world)
    async with browser(world) as attacker:
        answer = await attacker.post(f"{link}/claim", data={"opener": guess})
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
    assert not await claimed(world)


async def test_a_proof_is_of_one_link(world: World) -> None:
    await link_with_opener(world)
    other = await link_with_opener(world, new_secret("opn"), checkout="chk_b")
    async with browser(world) as attacker:
        assert (await attacker.post(f"{other}/claim", data={"opener": OPENER})).status_code == 403


async def test_a_link_without_an_opener_is_not_claimed_by_a_proof(world: World) -> None:
    link = await link_of(world)
    async with browser(world) as attacker:
        assert (await attacker.post(f"{link}/claim", data={"opener": OPENER})).status_code == 403


async def test_a_copied_cookie_dies_when_the_one_who_began_shows_up_again(world: World) -> None:
    link = await link_with_opener(world)
    async with browser(world) as shopper, browser(world) as thief:
        await shopper.post(f"{link}/claim", data={"opener": OPENER})
        thief.cookies.set(CLAIM_COOKIE, shopper.cookies[CLAIM_COOKIE])
        assert (await thief.get(link)).status_code == 200, "a copied cookie is the cookie"
        await shopper.post(f"{link}/claim", data={"opener": OPENER})
        assert (await thief.get(link)).status_code == 403
        assert (await thief.post(link, data=FORM)).status_code == 403
        assert (await shopper.post(link, data=FORM)).status_code == 303
    assert await cards(world) == 1


async def test_a_cookie_of_another_link_opens_nothing(world: World) -> None:
    mine = await link_with_opener(world)
    other = await link_with_opener(world, new_secret("opn"), checkout="chk_b")
    async with browser(world) as thief:
        await thief.post(f"{mine}/claim", data={"opener": OPENER})
        claim = thief.cookies[CLAIM_COOKIE]
        thief.cookies.clear()
        thief.cookies.set(CLAIM_COOKIE, claim)
        assert (await thief.get(other)).status_code == 403


async def test_after_the_card_the_proof_leads_to_the_receipt_and_takes_nothing_more(world: World) -> None:
    link = await link_with_opener(world)
    async with browser(world) as shopper, browser(world) as restarted:
        await shopper.post(f"{link}/claim", data={"opener": OPENER})
        first = await shopper.post(link, data=FORM)
        await restarted.post(f"{link}/claim", data={"opener": OPENER})
        assert "received" in (await restarted.get(link)).text
        again = await restarted.post(link, data=FORM)
        assert again.headers["location"] == first.headers["location"]
    assert await cards(world) == 1


async def test_two_tabs_of_one_browser_take_one_card(world: World) -> None:
    link = await link_with_opener(world)
    async with browser(world) as shopper:
        await shopper.post(f"{link}/claim", data={"opener": OPENER})
        await shopper.post(f"{link}/claim", data={"opener": OPENER})
        ends = [(await shopper.post(link, data=FORM)).headers["location"] for _ in range(2)]
        assert ends[0] == ends[1]
    assert await cards(world) == 1


async def test_a_proof_too_late_claims_nothing(world: World) -> None:
    link = await link_with_opener(world, lifetime_seconds=60)
    world.clock.advance(61)
    secret = link.rpartition("/")[2]
    with pytest.raises(LinkRefused) as refused:
        await world.database.change(lambda tx: claim_by_opener(tx, secret, OPENER, PAGE))
    assert refused.value.refusal is LinkRefusal.EXPIRED
