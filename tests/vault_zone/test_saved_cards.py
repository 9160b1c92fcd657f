"""Saved cards: kept by consent, shown by four digits, gone at once with all that hangs on them. On both databases."""

import httpx
import pytest
from sqlalchemy import func, select

from tests.requirement import requirement
from tests.vault_zone.callers import as_peer, zone_of
from tests.vault_zone.saving import SHOPPER, granted, recorded, saved_card
from tests.vault_zone.world import ACTOR, MERCHANT, Crash, World, capture_request, charge_request, zone_world
from vault_zone.app import internal_app, public_app
from vault_zone.capture_form import CONSENT_WORDINGS, CURRENT_WORDING, SAVE_CARD_FIELD, agreed_wording
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.models import card_grant, card_record, consent
from vault_zone.pages.render import CardPageView, render_card_page
from vault_zone.processors.port import Outcome
from vault_zone.saved_cards import Deleted, delete_card, list_cards
from vault_zone.vault import SAVED_LIFETIME_SECONDS

pytestmark = pytest.mark.anyio
DAY_SECONDS = 86_400


async def rows_of(world: World, token: str) -> tuple[int, int, int]:
    """How many records, grants and standing consents there are of a card."""

    def read(connection):  # type: ignore[no-untyped-def]  # a connection
        return tuple(
            connection.execute(select(func.count()).where(condition)).scalar_one()
            for condition in (
                card_record.c.token == token,
                card_grant.c.token == token,
                (consent.c.token == token) & consent.c.withdrawn_ms.is_(None),
            )
        )

    return await world.database.read(read)


async def deleted(world: World, token: str, *, shopper: str = SHOPPER, merchant: str = MERCHANT) -> Deleted:
    return await world.database.change(
        lambda tx: delete_card(tx, merchant=merchant, shopper=shopper, token=token, actor=ACTOR, reason="asked")
    )


async def listed(world: World, shopper: str = SHOPPER, merchant: str = MERCHANT) -> list[str]:
    now_ms = world.clock.now_ms
    found = await world.database.read(lambda c: list_cards(c, merchant, shopper, now_ms))
    return [card.token for card in found]


async def test_a_card_is_saved_with_its_consent_or_not_at_all(database_url: str) -> None:
    async with zone_world(database_url) as world:
        saved = await saved_card(world)
        once = await saved_card(world, checkout="chk_second", ticked=False)
        assert await listed(world) == [saved]
        assert (await rows_of(world, saved))[2] == 1
        assert (await rows_of(world, once))[2] == 0
        assert await recorded(world, "consent.given") == await recorded(world, "card.saved") == 1
        assert await recorded(world, "card.saved", saved) == 1


def view(*, may_save: bool) -> CardPageView:
    return CardPageView(
        merchant_name="Harbour & Pine",
        amount_text="109.05 USD",
        description_lines=[],
        action_url="/capture/lnk_x",
        expires_text="",
        sandbox=False,
        may_save=may_save,
    )


def test_the_page_offers_it_only_to_a_known_shopper_and_never_ticked() -> None:
    offered = render_card_page(view(may_save=True))
    assert CONSENT_WORDINGS[CURRENT_WORDING]["en"] in offered
    assert f'name="{SAVE_CARD_FIELD}" type="checkbox" value="{CURRENT_WORDING}"' in offered
    assert "checked" not in offered
    assert SAVE_CARD_FIELD not in render_card_page(view(may_save=False))


@pytest.mark.parametrize("sent", [{}, {SAVE_CARD_FIELD: ""}, {SAVE_CARD_FIELD: "on"}, {SAVE_CARD_FIELD: "save-card-z"}])
def test_only_a_wording_that_was_shown_is_agreed_to(sent: dict[str, str]) -> None:
    assert agreed_wording(sent) is None
    assert agreed_wording({**sent, SAVE_CARD_FIELD: CURRENT_WORDING}) == CURRENT_WORDING


async def test_a_tick_for_a_session_that_names_no_shopper_saves_nothing(database_url: str) -> None:
    async with zone_world(database_url) as world:
        token = await saved_card(world, shopper=None)
        assert (await rows_of(world, token))[2] == 0
        assert await recorded(world, "card.saved") == 0


@requirement("3.2.1")
async def test_deleting_a_card_deletes_record_fingerprint_and_grants_once(database_url: str) -> None:
    async with zone_world(database_url) as world:
        token = await saved_card(world)
        await granted(world, token, ceiling_minor=100)
        other = await saved_card(world, checkout="chk_other")
        assert (await rows_of(world, token))[:2] == (1, 2)
        first = await deleted(world, token)
        assert first.changed
        assert len(first.grants) == 2
        assert await rows_of(world, token) == (0, 0, 0)
        assert await deleted(world, token) == Deleted(False, ())
        assert await recorded(world, "card.deleted", token) == await recorded(world, "consent.withdrawn") == 1
        assert await listed(world) == [other]


async def test_nobody_elses_card_is_listed_or_deleted(database_url: str) -> None:
    async with zone_world(database_url) as world:
        token = await saved_card(world)
        await saved_card(world, merchant="another-shop", shopper="shp_else", checkout="chk_x")
        for wrong in ({"shopper": "shp_else"}, {"merchant": "another-shop"}):
            with pytest.raises(ZoneRefusal) as refused:
                await deleted(world, token, **wrong)
            assert refused.value.kind is ZoneError.NOT_FOUND
            assert token not in await listed(world, **wrong)
        assert await listed(world) == [token]


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.DECLINED, Outcome.ACTION_REQUIRED])
@pytest.mark.parametrize("lose_reply", [False, True])
async def test_a_charge_in_flight_ends_as_it_would_when_its_card_is_deleted(
    database_url: str, outcome: Outcome, lose_reply: bool
) -> None:
    async with zone_world(database_url) as world:
        token = await saved_card(world)
        grant = await granted(world, token, ceiling_minor=500)

        async def delete_meanwhile() -> int:
            return int((await deleted(world, token)).changed)

        world.processor.outcome, world.processor.lose_reply = outcome, lose_reply
        world.processor.while_charging, world.processor.taken = delete_meanwhile, []
        asked = charge_request(grant, amount_minor=500)
        made = await world.engine.charge(asked, ACTOR)
        assert world.processor.taken == [1]
        assert made.state.value == outcome.value
        assert await rows_of(world, token) == (0, 0, 0)
        again = await world.engine.charge(asked, ACTOR)
        assert (again.charge, world.processor.calls) == (made.charge, 1)
        with pytest.raises(ZoneRefusal) as refused:
            await world.engine.charge(charge_request(grant, amount_minor=1), ACTOR)
        assert refused.value.kind is ZoneError.GRANT_NOT_USABLE


@pytest.mark.parametrize("persisted", [False, True])
@pytest.mark.parametrize("write", [1, 2, 3])
async def test_a_deletion_that_dies_is_whole_or_absent(database_url: str, write: int, persisted: bool) -> None:
    """{write} × {lost, persisted}: a charge's intent and outcome, and the deletion that comes between them."""
    async with zone_world(database_url) as world:
        token = await saved_card(world)
        grant = await granted(world, token, ceiling_minor=500)

        async def delete_meanwhile() -> int:
            return int((await deleted(world, token)).changed)

        world.processor.while_charging, world.processor.taken = delete_meanwhile, []
        world.database.changes, world.database.crash_at, world.database.persisted = 0, write, persisted
        asked = charge_request(grant, amount_minor=500)
        with pytest.raises(Crash):
            await world.engine.charge(asked, ACTOR)
        world.processor.while_charging = None
        after = world.restart()
        is_deleted = (write, persisted) == (2, True) or write == 3
        assert (await rows_of(after, token))[0] == (0 if is_deleted else 1)
        await after.engine.recover()
        await after.engine.resolve_unknown()
        await deleted(after, token)
        assert await rows_of(after, token) == (0, 0, 0)
        assert await recorded(after, "card.deleted", token) == 1
        assert after.processor.money_taken() == (0 if write == 1 else 1)
        assert len(await listed(after)) == 0


async def test_a_saved_card_is_kept_from_its_last_charge_on_and_not_past_its_own_last_month(database_url: str) -> None:
    async with zone_world(database_url) as world:
        token = await saved_card(world)

        async def ends_ms() -> int:
            found = select(card_record.c.expires_ms).where(card_record.c.token == token)
            return await world.database.read(lambda c: c.execute(found).scalar_one())

        assert await ends_ms() == world.clock.now_ms + SAVED_LIFETIME_SECONDS * 1000
        for year in range(9):
            world.clock.advance(350 * DAY_SECONDS)
            if await ends_ms() <= world.clock.now_ms:
                break
            grant = await granted(world, token, ceiling_minor=500, checkout=f"chk_{'abcdefghi'[year]}")
            await world.engine.charge(
                charge_request(grant, amount_minor=500, checkout=f"chk_{'abcdefghi'[year]}"), ACTOR
            )
        end_of_2034_ms = 2_051_265_600_000  # 2035-01-01 12:00 UTC: the card's month, 12/34, is over everywhere
        assert await ends_ms() == end_of_2034_ms


def client_of(world: World) -> httpx.AsyncClient:
    app = as_peer(internal_app(zone_of(world)), "service:commerce")
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://zone")


@requirement("3.4.1")
async def test_over_the_api_a_card_is_listed_granted_charged_and_deleted(database_url: str) -> None:
    async with zone_world(database_url) as world, client_of(world) as zone:
        token = await saved_card(world)
        base = f"/v1/merchants/{MERCHANT}"
        cards = (await zone.get(f"{base}/shoppers/{SHOPPER}/cards")).json()
        assert cards == {
            "cards": [
                {"token": token, "card": {"brand": "visa", "last4": "4242"}, "saved_ms": world.clock.now_ms},
            ]
        }
        wanted = {
            "token": token,
            "shopper": SHOPPER,
            "checkout": "chk_a",
            "amount_minor": 500,
            "currency": "USD",
            "lifetime_seconds": 600,
        }
        made = await zone.post(f"{base}/grants", json=wanted)
        grant = made.json()["grant"]
        assert made.status_code == 201
        listed_grants = (await zone.get(f"{base}/grants", params={"checkout": "chk_a"})).json()["grants"]
        assert [(one["grant"], one["ceiling_minor"], one["uses_left"]) for one in listed_grants] == [(grant, 500, 1)]
        assert "4242424242424242" not in str(listed_grants)
        charged = await zone.post("/v1/charges", json=charge_request(grant, amount_minor=500).model_dump(mode="json"))
        assert charged.json()["state"] == "succeeded"
        second = (await zone.post(f"{base}/grants", json={**wanted, "checkout": "chk_b"})).json()["grant"]
        revoked = [(await zone.post(f"{base}/grants/{second}/revoke")).json()["changed"] for _ in range(2)]
        assert revoked == [True, False]
        assert (await zone.get(f"{base}/grants")).status_code == 422
        foreign = await zone.post(f"{base}/grants", json={**wanted, "shopper": "shp_else"})
        assert foreign.status_code == 404
        gone = [(await zone.delete(f"{base}/shoppers/{SHOPPER}/cards/{token}")).json()["changed"] for _ in range(2)]
        assert gone == [True, False]
        assert (await zone.get(f"{base}/shoppers/{SHOPPER}/cards")).json() == {"cards": []}


async def test_withdrawing_consent_alone_deletes_the_card_as_well(database_url: str) -> None:
    async with zone_world(database_url) as world, client_of(world) as zone:
        token = await saved_card(world)
        path = f"/v1/merchants/{MERCHANT}/shoppers/{SHOPPER}/cards/{token}/withdraw-consent"
        answer = await zone.post(path)
        assert answer.json() == {"token": token, "changed": True, "grants": 1}
        assert await rows_of(world, token) == (0, 0, 0)


async def test_a_shoppers_name_that_reads_like_a_card_opens_no_session(database_url: str) -> None:
    async with zone_world(database_url) as world, client_of(world) as zone:
        asked = {**capture_request().model_dump(mode="json"), "shopper": "s-1111111111111"}
        assert (await zone.post("/v1/capture-sessions", json=asked)).status_code == 422


async def test_the_form_as_a_browser_sends_it_saves_the_card(database_url: str) -> None:
    async with zone_world(database_url) as world, client_of(world) as zone:
        asked = {**capture_request().model_dump(mode="json"), "shopper": SHOPPER}
        url = (await zone.post("/v1/capture-sessions", json=asked)).json()["url"]
        transport = httpx.ASGITransport(app=public_app(zone_of(world)))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8701") as browser:
            page = await browser.get(url)
            assert SAVE_CARD_FIELD in page.text
            sent = await browser.post(
                url,
                data={
                    "number": "4242 4242 4242 4242",
                    "expiry": "12/34",
                    "cvc": "737",
                    "name": "Robin Field",
                    "postal_code": "97209",
                    SAVE_CARD_FIELD: CURRENT_WORDING,
                },
            )
        assert sent.status_code == 303
        assert len(await listed(world)) == 1
