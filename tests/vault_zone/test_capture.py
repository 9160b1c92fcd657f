"""A capture link takes one card, in one browser, for one checkout. On both databases."""

import asyncio

import pytest
from sqlalchemy import select

from tests.requirement import requirement
from tests.vault_zone.world import ACTOR, MERCHANT, World, a_card, capture_request, zone_world
from tokenization.ids import new_secret
from tokenization.wire import CaptureState, OpenCaptureSession
from vault_zone.capture import (
    MAXIMUM_TRIES,
    LinkRefusal,
    LinkRefused,
    capture_card,
    claim_link,
    claimed_link,
    count_refused_card,
    is_return_address,
    open_session,
    read_session,
)
from vault_zone.models import capture_session, card_record

pytestmark = pytest.mark.anyio


async def opened(world: World, asked: OpenCaptureSession | None = None) -> tuple[str, str]:
    """A session's id and its link's secret."""
    session, secret = await world.database.change(lambda tx: open_session(tx, asked or capture_request(), ACTOR))
    return session.session, secret


async def claimed(world: World, secret: str, claim: str | None = None) -> str:
    _, mine = await world.database.change(lambda tx: claim_link(tx, secret, claim))
    return mine


async def captured(world: World, secret: str, claim: str | None) -> str:
    _, grant = await world.keys.change(
        lambda tx: capture_card(tx, world.keys, secret=secret, claim=claim, card=a_card())
    )
    return grant


async def refusal_of(world: World, secret: str, claim: str | None) -> LinkRefusal:
    with pytest.raises(LinkRefused) as refused:
        await captured(world, secret, claim)
    return refused.value.refusal


async def state_of(world: World, session: str) -> CaptureState:
    found = await world.database.read(lambda c: read_session(c, session, MERCHANT, world.clock.now_ms))
    assert found is not None
    return found.state


async def test_a_card_makes_a_token_and_a_grant_bound_to_the_session(database_url: str) -> None:
    async with zone_world(database_url) as world:
        session, secret = await opened(world)
        grant = await captured(world, secret, await claimed(world, secret))
        found = await world.database.read(lambda c: read_session(c, session, MERCHANT, world.clock.now_ms))
        assert found is not None
        assert (found.state, found.grant, found.checkout) == (CaptureState.CAPTURED, grant, "chk_a")
        assert found.card is not None
        assert (found.card.brand, found.card.last4) == ("visa", "4242")


@requirement("3.5.1")
async def test_the_database_holds_the_link_only_as_a_digest_and_the_card_only_sealed(database_url: str) -> None:
    async with zone_world(database_url) as world:
        _, secret = await opened(world)
        await captured(world, secret, await claimed(world, secret))
        rows = await world.database.read(
            lambda c: [*c.execute(select(capture_session)).all(), *c.execute(select(card_record)).all()]
        )
        stored = repr([tuple(row) for row in rows])
        assert "4242424242424242" not in stored
        assert secret not in stored
        assert "Robin Field" not in stored, "the holder's name is sealed with the card"


async def test_a_second_browser_cannot_open_a_claimed_link(database_url: str) -> None:
    async with zone_world(database_url) as world:
        _, secret = await opened(world)
        mine = await claimed(world, secret)
        for other in (None, new_secret("clm")):
            with pytest.raises(LinkRefused) as refused:
                await claimed(world, secret, other)
            assert refused.value.refusal is LinkRefusal.ELSEWHERE
        assert await claimed(world, secret, mine) == mine, "the first one may come back"


async def test_a_link_nobody_opened_takes_no_card(database_url: str) -> None:
    async with zone_world(database_url) as world:
        _, secret = await opened(world)
        assert await refusal_of(world, secret, None) is LinkRefusal.ELSEWHERE


async def test_many_browsers_at_once_and_one_of_them_has_the_link(database_url: str) -> None:
    async with zone_world(database_url) as world:
        _, secret = await opened(world)
        answers = await asyncio.gather(*(claimed(world, secret) for _ in range(8)), return_exceptions=True)
        assert sum(isinstance(answer, str) for answer in answers) == 1


async def test_a_link_takes_one_card_however_often_it_is_sent(database_url: str) -> None:
    async with zone_world(database_url) as world:
        _, secret = await opened(world)
        mine = await claimed(world, secret)
        answers = await asyncio.gather(*(captured(world, secret, mine) for _ in range(6)), return_exceptions=True)
        assert sum(isinstance(answer, str) for answer in answers) == 1
        assert await refusal_of(world, secret, mine) is LinkRefusal.USED
        records = await world.database.read(lambda c: c.execute(select(card_record)).all())
        assert len(records) == 1, "what was refused left nothing behind"


async def test_a_link_past_its_time_takes_no_card(database_url: str) -> None:
    async with zone_world(database_url) as world:
        session, secret = await opened(world, capture_request(lifetime_seconds=60))
        mine = await claimed(world, secret)
        world.clock.advance(60)
        assert await refusal_of(world, secret, mine) is LinkRefusal.EXPIRED
        assert await state_of(world, session) is CaptureState.CLOSED


async def test_a_newer_link_for_the_checkout_ends_the_older_one(database_url: str) -> None:
    async with zone_world(database_url) as world:
        _, old = await opened(world)
        mine = await claimed(world, old)
        _, fresh = await opened(world)
        assert await refusal_of(world, old, mine) is LinkRefusal.EXPIRED
        assert await captured(world, fresh, await claimed(world, fresh))


async def test_a_link_of_another_checkout_is_left_alone(database_url: str) -> None:
    async with zone_world(database_url) as world:
        _, mine = await opened(world)
        await opened(world, capture_request(checkout="chk_b"))
        await opened(world, capture_request(merchant="another-shop"))
        assert await captured(world, mine, await claimed(world, mine))


async def test_too_many_refused_cards_end_the_link(database_url: str) -> None:
    async with zone_world(database_url) as world:
        session, secret = await opened(world)
        mine = await claimed(world, secret)
        link = await world.database.read(lambda c: claimed_link(c, secret, mine, world.clock.now_ms))
        for attempt in range(1, MAXIMUM_TRIES + 1):
            tries = await world.database.change(lambda tx: count_refused_card(tx, link, ("number:failed_check",)))
            assert tries == attempt
        assert await state_of(world, session) is CaptureState.CLOSED
        assert await refusal_of(world, secret, mine) is LinkRefusal.EXPIRED


async def test_a_refused_form_that_comes_late_does_not_bring_a_used_link_back(database_url: str) -> None:
    """Two forms from one browser at once: the good one is taken first."""
    async with zone_world(database_url) as world:
        session, secret = await opened(world)
        mine = await claimed(world, secret)
        link = await world.database.read(lambda c: claimed_link(c, secret, mine, world.clock.now_ms))
        await captured(world, secret, mine)
        with pytest.raises(LinkRefused):
            await world.database.change(lambda tx: count_refused_card(tx, link, ("cvc:missing",)))
        assert await state_of(world, session) is CaptureState.CAPTURED


async def test_a_made_up_link_is_nothing(database_url: str) -> None:
    async with zone_world(database_url) as world:
        assert await refusal_of(world, new_secret("lnk"), None) is LinkRefusal.UNKNOWN


async def test_another_merchant_cannot_read_a_session(database_url: str) -> None:
    async with zone_world(database_url) as world:
        session, _ = await opened(world)
        found = await world.database.read(lambda c: read_session(c, session, "another-shop", world.clock.now_ms))
        assert found is None


@pytest.mark.parametrize(
    ("url", "verdict"),
    [
        ("https://shop.example/return", True),
        ("http://127.0.0.1:8704/x", True),
        ("http://localhost/x", True),
        ("http://shop.example/return", False),
        ("javascript:alert(1)", False),
        ("http://127.0.0.1.evil.example/", False),
        ("ftp://shop.example/", False),
        ("https://user@shop.example/", False),
        ("https://Shop.example/", False),
    ],
)
def test_a_page_leads_back_over_https_or_on_this_machine_only(url: str, *, verdict: bool) -> None:
    assert is_return_address(url) is verdict
