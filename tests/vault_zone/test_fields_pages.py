"""Card fields over HTTP: framed by one origin, claimed by proof, without cookies; nothing typed comes back. Both databases."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import func, select

from audit.store import audit_event
from tests.requirement import requirement
from tests.vault_zone.test_openers import OPENER, cards
from tests.vault_zone.test_public_pages import FORM, browser, link_of
from tests.vault_zone.world import ACTOR, MERCHANT, World, capture_request, zone_world
from tokenization.ids import digest
from vault_zone.capture import open_session
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.merchants import MAXIMUM_ORIGINS, TooManyOrigins, change_frame_origins
from vault_zone.models import card_record
from vault_zone.pages.fields import FRAME_STATES, FieldsView, fields_manifest, frame_headers, render_fields
from vault_zone.pages.render import UnsafeUrl, static_asset

pytestmark = pytest.mark.anyio
SHOP = "https://shop.example"
ASKED: dict[str, Any] = {"mode": "fields", "frame_origin": SHOP, "opener_digest": digest(OPENER)}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A zone on either database, which knows the shop's origin."""
    async with zone_world(database_url) as made:
        await set_origins(made, add=[SHOP])
        yield made


async def set_origins(world: World, **change: Any) -> tuple[str, ...]:
    return await world.database.change(lambda tx: change_frame_origins(tx, MERCHANT, **change, actor="operator:ada"))


async def fields_of(world: World, **asked: Any) -> str:
    """Fresh card fields' path."""
    return (await link_of(world, **{**ASKED, **asked})).replace("/capture/", "/fields/")


def bearing(claim: str) -> dict[str, str]:
    return {"authorization": f"Bearer {claim}"}


@requirement("6.4.3")
async def test_the_document_is_framed_by_the_sessions_origin_and_by_no_other(world: World) -> None:
    async with browser(world) as anybody:
        page = await anybody.get(await fields_of(world))
        policy = dict(part.partition(" ")[::2] for part in page.headers["content-security-policy"].split("; "))
        assert policy["frame-ancestors"] == SHOP
        assert policy["default-src"] == "'none'"
        assert policy["connect-src"] == policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["form-action"] == policy["base-uri"] == "'none'"
        assert policy["trusted-types"] == "'none'"
        assert "x-frame-options" not in page.headers
        assert "set-cookie" not in page.headers
        assert page.headers["cache-control"] == "no-store"
        unknown = await anybody.get("/fields/lnk_nothing")
        assert (unknown.status_code, "frame-ancestors 'none'" in unknown.headers["content-security-policy"]) == (
            404,
            True,
        )


async def test_a_card_is_taken_without_a_cookie_and_the_same_card_again_comes_to_the_same_end(world: World) -> None:
    async with browser(world) as frame:
        path = await fields_of(world)
        begun = (await frame.post(f"{path}/claim", data={"opener": OPENER})).json()
        assert begun["state"] == "claimed"
        taken = await frame.post(f"{path}/card", data=FORM, headers=bearing(begun["claim"]))
        assert taken.json() == {"state": "captured", "session": begun["session"]}
        again = await frame.post(f"{path}/card", data=FORM, headers=bearing(begun["claim"]))
        assert again.json() == taken.json()
        resumed = (await frame.post(f"{path}/claim", data={"opener": OPENER})).json()
        assert (resumed["state"], resumed["session"]) == ("captured", begun["session"])
        assert dict(frame.cookies) == {}
    assert await cards(world) == 1
    source = await world.database.read(lambda c: c.execute(select(card_record.c.source)).scalar_one())
    assert source == "fields"


async def test_a_refused_card_is_named_by_field_and_code_alone(world: World) -> None:
    async with browser(world) as frame:
        path = await fields_of(world)
        claim = (await frame.post(f"{path}/claim", data={"opener": OPENER})).json()["claim"]
        wrong = {**FORM, "number": "4242 4242 4242 4241", "name": "4242424242424242"}
        answer = await frame.post(f"{path}/card", data=wrong, headers=bearing(claim))
        assert (answer.status_code, answer.json()["problems"]) == (422, {"number": "failed_check", "name": "card_like"})
        assert "4242" not in answer.text
        assert "puzzle" in answer.json()
        mended = await frame.post(f"{path}/card", data=FORM, headers=bearing(claim))
        assert mended.json()["state"] == "captured"


@pytest.mark.parametrize("authorization", [None, "Bearer ", "Bearer clm_x", "Basic eA==", "Bearer " + "b" * 200])
async def test_who_did_not_claim_is_not_heard(world: World, authorization: str | None) -> None:
    async with browser(world) as frame:
        path = await fields_of(world)
        await frame.post(f"{path}/claim", data={"opener": OPENER})
        headers = {"authorization": authorization} if authorization else {}
        answer = await frame.post(f"{path}/card", data=FORM, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_opener")
    assert await cards(world) == 0


@pytest.mark.parametrize("headers", [{"origin": SHOP}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}])
async def test_another_sites_script_is_not_heard(world: World, headers: dict[str, str]) -> None:
    async with browser(world) as page:
        path = await fields_of(world)
        assert (await page.post(f"{path}/claim", data={"opener": OPENER}, headers=headers)).status_code == 403
        claim = (await page.post(f"{path}/claim", data={"opener": OPENER})).json()["claim"]
        answer = await page.post(f"{path}/card", data=FORM, headers={**bearing(claim), **headers})
        assert answer.json()["error"]["code"] == "not_same_site"
    assert await cards(world) == 0


async def test_a_link_works_in_its_own_mode_alone(world: World) -> None:
    async with browser(world) as anybody:
        path = await fields_of(world)
        assert (await anybody.get(path.replace("/fields/", "/capture/"))).status_code == 404
        page = await link_of(world, opener_digest=digest(OPENER), checkout="chk_b")
        assert (await anybody.get(page.replace("/capture/", "/fields/"))).status_code == 404
        wrong = await anybody.post(page.replace("/capture/", "/fields/") + "/claim", data={"opener": OPENER})
        assert wrong.status_code == 404


async def test_card_fields_that_timed_out_say_so(world: World) -> None:
    async with browser(world) as frame:
        path = await fields_of(world, lifetime_seconds=60)
        world.clock.advance(61)
        answer = await frame.post(f"{path}/claim", data={"opener": OPENER})
        assert (answer.status_code, answer.json()["error"]["code"]) == (410, "link_expired")


async def test_too_many_tries_wait_and_then_end(world: World) -> None:
    async with browser(world) as frame:
        path = await fields_of(world)
        claim = (await frame.post(f"{path}/claim", data={"opener": OPENER})).json()["claim"]
        wrong = {**FORM, "cvc": "7"}
        answers = [await frame.post(f"{path}/card", data=wrong, headers=bearing(claim)) for _ in range(3)]
        assert answers[0].json()["state"] == "refused"
        assert answers[-1].status_code == 429
        assert answers[-1].json()["state"] == "wait"
        assert answers[-1].json()["wait_seconds"] >= 1


async def test_only_an_origin_that_an_operator_set_frames_and_one_taken_away_frames_nothing_more(world: World) -> None:
    with pytest.raises(ZoneRefusal) as refused:
        await fields_of(world, frame_origin="https://evil.example")
    assert refused.value.kind is ZoneError.FRAME_ORIGIN_UNKNOWN
    path = await fields_of(world)
    assert await set_origins(world, remove=[SHOP]) == ()
    async with browser(world) as shopper:
        assert (await shopper.get(path)).status_code == 404
    changes = await world.database.read(
        lambda c: c.execute(
            select(audit_event.c.type).where(audit_event.c.type == "merchant.frame_origins_changed")
        ).all()
    )
    assert len(changes) == 2


@pytest.mark.parametrize(
    "origin",
    ["http://shop.example", "https://*.example", "https://shop.example/", "https://S.example", "null", "data:"],
)
async def test_an_origin_that_is_not_exact_is_not_set(world: World, origin: str) -> None:
    with pytest.raises(UnsafeUrl):
        await set_origins(world, add=[origin])


async def test_a_merchant_has_a_bounded_number_of_origins(world: World) -> None:
    with pytest.raises(TooManyOrigins):
        await set_origins(world, add=[f"https://a{number}.example" for number in range(MAXIMUM_ORIGINS)])
    assert await set_origins(world, add=[SHOP]) == (SHOP,)


@pytest.mark.parametrize(
    "other",
    [
        {"mode": "fields"},
        {"mode": "fields", "frame_origin": SHOP},
        {"frame_origin": SHOP},
        {"opener_digest": "a" * 64},
        {**ASKED, "frame_origin": "https://shop.example/path"},
    ],
)
def test_a_request_whose_frame_and_mode_do_not_fit_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        capture_request(**other)


async def test_nothing_of_the_opener_or_the_claim_is_on_record(world: World) -> None:
    async with browser(world) as frame:
        path = await fields_of(world)
        claim = (await frame.post(f"{path}/claim", data={"opener": OPENER})).json()["claim"]
    rows = await world.database.read(lambda c: [str(dict(row)) for row in c.execute(select(audit_event)).mappings()])
    assert rows
    assert not any(OPENER in row or claim in row or path.rpartition("/")[2] in row for row in rows)


async def test_the_manifest_names_what_is_served_to_everybody(world: World) -> None:
    async with browser(world) as shop:
        manifest = await shop.get("/fields/manifest.json")
        assert manifest.headers["access-control-allow-origin"] == "*"
        loader = manifest.json()["loader"]
        script = await shop.get(loader["url"])
        assert script.headers["cross-origin-resource-policy"] == "cross-origin"
        assert script.headers["access-control-allow-origin"] == "*"
        name = loader["url"].rpartition("/")[2]
        assert static_asset(name).integrity == loader["integrity"]
        for source, entry in manifest.json()["frame"].items():
            own = await shop.get(entry["url"])
            assert own.headers["cross-origin-resource-policy"] == "same-origin", source


def test_the_manifest_names_every_script_and_style_of_the_document() -> None:
    html = render_fields(FieldsView(merchant_name="Fernhill", frame_origin=SHOP, path="/fields/x", sandbox=True))
    manifest: Any = fields_manifest("")
    for entry in manifest["frame"].values():
        assert f'"{entry["url"]}" integrity="{entry["integrity"]}"' in html
    assert html.count("integrity=") == len(manifest["frame"])
    assert json.dumps(FRAME_STATES["en"])[:10] not in ("", None)


@pytest.mark.parametrize("origin", ["", "*", "https://a.example; script-src *", "https://a.example https://b.example"])
def test_no_header_is_made_of_an_origin_that_is_not_one(origin: str) -> None:
    with pytest.raises(UnsafeUrl):
        frame_headers(origin)


async def test_a_session_counts_as_one_whoever_asks(world: World) -> None:
    """Newer fields for the same checkout close the earlier ones."""
    async with browser(world) as frame:
        first = await fields_of(world)
        asked = capture_request(**ASKED)
        await world.database.change(lambda tx: open_session(tx, asked, ACTOR))
        answer = await frame.post(f"{first}/claim", data={"opener": OPENER})
        assert answer.json()["error"]["code"] == "link_expired"
    assert (
        await world.database.read(lambda c: c.execute(select(func.count()).select_from(card_record)).scalar_one()) == 0
    )
