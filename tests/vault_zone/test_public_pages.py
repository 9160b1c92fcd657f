"""The card page over HTTP: opened once, mended by field, sent once; nothing typed ever comes back. On both databases."""

import json
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest
from sqlalchemy import select

from audit.store import audit_event
from tests.requirement import requirement
from tests.vault_zone.callers import zone_of
from tests.vault_zone.puzzles import unanswered
from tests.vault_zone.world import ACTOR, AMEX, VISA, World, capture_request, charge_request, zone_world
from vault_zone.app import public_app
from vault_zone.capture import MAXIMUM_TRIES, open_session
from vault_zone.hazmat.provider import KeyUnavailable
from vault_zone.models import card_record
from vault_zone.processors.port import ProcessorEvent, WebhookRefused
from vault_zone.puzzle import OLDEST_AGE_SECONDS

pytestmark = pytest.mark.anyio
FORM = {
    "number": "4242 4242 4242 4242",
    "expiry": "12 / 34",
    "cvc": "737",
    "name": "Robin Field",
    "postal_code": "97209",
}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A zone on either database."""
    async with zone_world(database_url) as made:
        yield made


def browser(world: World) -> httpx.AsyncClient:
    """A browser with cookies of its own."""
    transport = httpx.ASGITransport(app=cast(Any, public_app(zone_of(world))))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8701")


async def link_of(world: World, **asked: Any) -> str:
    """A fresh capture link's path."""
    _, secret = await world.database.change(lambda tx: open_session(tx, capture_request(**asked), ACTOR))
    return f"/capture/{secret}"


@requirement("3.2.1", "3.4.1")
async def test_a_card_is_taken_and_the_shopper_goes_back_with_nothing_of_it(world: World) -> None:
    async with browser(world) as shopper:
        link = await link_of(world)
        page = await shopper.get(link)
        assert page.status_code == 200
        assert "$109.05" in page.text
        done = await shopper.post(link, data=FORM)
        assert done.status_code == 303
        assert done.headers["location"].startswith("http://127.0.0.1:8704/return?capture_session=cap_")
        assert "4242" not in done.text + str(done.headers)
        again = await shopper.post(link, data=FORM)
        assert again.headers["location"] == done.headers["location"], "sent again after a lost answer: the same end"
        assert "received" in (await shopper.get(link)).text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", "4242 4242 4242 4241"),
        ("expiry", "13/34"),
        ("cvc", "73x9q"),
        ("name", "4242424242424242"),
        ("postal_code", "!?zq!"),
    ],
)
async def test_a_refused_field_is_named_and_nothing_that_was_typed_comes_back(
    world: World, field: str, value: str
) -> None:
    async with browser(world) as shopper:
        link = await link_of(world)
        await shopper.get(link)
        page = await shopper.post(link, data={**FORM, field: value})
        assert page.status_code == 422
        assert 'aria-invalid="true"' in page.text
        for typed in ("4242 4242", "42424242", ">737<", '"737"', value):
            assert typed not in page.text.replace("1234 1234 1234 1234", "")
        assert (await shopper.post(link, data=FORM)).status_code == 303, "mended, it goes through"


async def test_a_link_opened_elsewhere_or_made_up_or_too_late_shows_what_to_do(world: World) -> None:
    link = await link_of(world, lifetime_seconds=60)
    async with browser(world) as first, browser(world) as second:
        await first.get(link)
        assert (await second.get(link)).status_code == 403
        assert (await second.post(link, data=FORM)).status_code == 403
        assert (await first.get(link)).status_code == 200
        assert (await first.get("/capture/lnk_nothing")).status_code == 404
        world.clock.advance(61)
        late = await first.post(link, data=FORM)
        assert late.status_code == 410
        assert "new one" in late.text


async def test_guessing_cards_on_one_link_comes_to_an_end(world: World) -> None:
    async with browser(world) as shopper:
        link = await link_of(world, lifetime_seconds=3_600)
        page, answers = await shopper.get(link), []
        for _ in range(MAXIMUM_TRIES + 2):
            world.clock.advance(OLDEST_AGE_SECONDS)
            page = await shopper.post(link, data={**FORM, "cvc": "7", **unanswered(page.text)})
            answers.append(page.status_code)
        assert answers == [422] * MAXIMUM_TRIES + [410, 410]


async def test_a_form_that_no_browser_sends_is_refused_whole(world: World) -> None:
    async with browser(world) as shopper:
        link = await link_of(world)
        await shopper.get(link)
        twice = b"number=4242424242424242&number=1"
        assert (await shopper.post(link, content=twice)).status_code == 400
        assert (await shopper.post(link, content=b"number=" + b"4" * 20_000)).status_code == 413
        assert (await world.database.read(lambda c: c.execute(select(card_record)).all())) == []


@requirement("6.4.3")
async def test_every_page_and_notice_carries_the_strict_policy(world: World) -> None:
    async with browser(world) as shopper:
        link = await link_of(world)
        for answer in (
            await shopper.get(link),
            await shopper.get("/capture/lnk_x"),
            await shopper.post(link, data=FORM),
        ):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["referrer-policy"] == "no-referrer"


async def test_the_link_cookie_is_for_this_link_and_for_no_script(world: World) -> None:
    async with browser(world) as shopper:
        link = await link_of(world)
        cookie = (await shopper.get(link)).headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert f"path={link}" in cookie


async def test_a_captured_card_charges_with_its_code(world: World) -> None:
    async with browser(world) as shopper:
        link = await link_of(world)
        await shopper.get(link)
        await shopper.post(link, data={**FORM, "number": AMEX, "cvc": "7373"})
    assert len(world.codes._held) == 1
    [grant] = world.codes._held
    await world.engine.charge(charge_request(grant), ACTOR)
    assert world.processor.seen[0][2:] == (AMEX, "7373")


async def test_keys_that_are_away_lose_nothing_and_the_same_form_works_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with browser(world) as shopper:
        link = await link_of(world)
        await shopper.get(link)

        def away(*_: object) -> None:
            raise KeyUnavailable

        with monkeypatch.context() as patch:
            patch.setattr(world.keys, "sealing_key", away)
            page = await shopper.post(link, data=FORM)
        assert page.status_code == 503
        assert VISA not in page.text
        assert (await shopper.post(link, data=FORM)).status_code == 303


async def test_a_webhook_that_does_not_verify_is_refused_and_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forged(*_: object) -> ProcessorEvent:
        raise WebhookRefused

    monkeypatch.setattr(world.processor, "read_webhook", forged)
    async with browser(world) as sender:
        assert (await sender.post("/webhooks/another", content=b"{}")).status_code == 404
        for _ in range(5):
            assert (await sender.post("/webhooks/fake", content=b"{}")).status_code == 400
        world.clock.advance(61)
        await sender.post("/webhooks/fake", content=b"{}")
    entries = await world.database.read(
        lambda c: c.execute(select(audit_event.c.entry).where(audit_event.c.type == "webhook.refused")).scalars().all()
    )
    assert [json.loads(entry)["data"]["count"] for entry in entries] == [1, 5], "a flood is one entry a minute"
