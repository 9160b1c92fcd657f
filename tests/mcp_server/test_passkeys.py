"""Passkeys at the server: what a device may say and is believed, and what it is not; for each guard what comes without it."""

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fido2.server import Fido2Server
from hypothesis import given
from hypothesis import strategies as st

from commerce_api.authorization import grants, passkeys, requests
from commerce_api.authorization.passkeys import MAXIMUM, TRIES, Made, Shown, Site, site_of
from commerce_api.models import oauth_request, passkey, shopper_account
from commerce_api.pages.headers import UnsafeUrl, page_headers
from commerce_api.pages.render import passkey_script, static_asset
from tests.commerce_api.world import World, commerce_world
from tests.mcp_server.authenticator import PRESENT, VERIFIED, Device, asked, challenge_of
from tests.mcp_server.oauth_site import SHOPPER, Browser, OAuthSite, browser, oauth_site, program
from tests.mcp_server.test_openers import of_a_shopper, shows_the_order
from tokenization.ids import bytes_of, letters_of

pytestmark = pytest.mark.anyio
OTHER = "morgan@shopper.example"


@pytest.fixture
async def local(world: World) -> AsyncIterator[OAuthSite]:
    """The site under a name that can have passkeys."""
    async with oauth_site(world, "localhost") as served:
        yield served


@pytest.fixture
async def local_on_each(tmp_path: Path, database_url: str) -> AsyncIterator[OAuthSite]:
    """The same, once on SQLite and once on PostgreSQL."""
    async with commerce_world(tmp_path, database_url) as world, oauth_site(world, "localhost") as served:
        yield served


def device_of(flow: OAuthSite) -> Device:
    """A device with a passkey for the site."""
    return Device(flow.commerce_url, "localhost")


def page_of(flow: OAuthSite, brand: str | None = None) -> str:
    """The shopper's page."""
    return f"{flow.commerce_url}/{brand or flow.world.brand}/connections"


async def asks_to_add(flow: OAuthSite, shopper: Browser, mailbox: str = SHOPPER, brand: str | None = None) -> None:
    """Up to the page that asks for a passkey, as a browser whose script says that it can keep one."""
    begun = await shopper.http.post(f"{page_of(flow, brand)}/passkeys")
    await shopper.open(f"{flow.commerce_url}{begun.headers['location']}")
    await shopper.send("email", email=mailbox)
    await shopper.send("code", code=flow.mailbox.code, passkey="here")


async def added(flow: OAuthSite, device: Device, mailbox: str = SHOPPER, brand: str | None = None) -> httpx.Response:
    """A device whose passkey was sent to be added."""
    async with browser(flow) as shopper:
        await asks_to_add(flow, shopper, mailbox, brand)
        assert shopper.page is not None
        device.user_handle = bytes_of(asked(shopper.page)["user"])
        return await shopper.send("passkey/add", **device.made(challenge_of(shopper.page)))


async def shows(flow: OAuthSite, device: Device, brand: str | None = None) -> httpx.Response:
    """How it is answered that a fresh browser shows the device's passkey."""
    async with browser(flow) as shopper:
        page = await shopper.open(page_of(flow, brand))
        return await shopper.send("passkey", **device.shown(challenge_of(page)))


def signed_in(page: httpx.Response) -> bool:
    """Whether it is the shopper's page."""
    return page.status_code == 200 and "Sign out of this browser" in page.text


def refused(page: httpx.Response) -> bool:
    """Whether it says what it says of every passkey that is not right."""
    return page.status_code == 422 and "That passkey does not work here" in page.text


async def test_one_that_was_added_signs_in_and_only_what_it_takes_is_kept(local_on_each: OAuthSite) -> None:
    local = local_on_each
    device = device_of(local)
    assert "The passkey is added" in (await added(local, device)).text
    device.counter += 1
    assert signed_in(await shows(local, device))
    [row] = await local.world.rows(passkey)
    [account] = await local.world.rows(shopper_account)
    assert (row.brand, row.shopper, row.credential) == (local.world.brand, account.id, device.credential)
    assert (row.sign_count, row.used_ms) == (2, local.world.clock())
    assert len(row.public_key) < 100
    assert await local.world.rows(oauth_request) == []
    for kind in ("registered", "used"):
        [event] = await local.world.events(f"passkey.{kind}")
        assert account.id.encode() in event.entry
    assert b'"reason":"passkey"' in (await local.world.events("sign_in.succeeded"))[-1].entry


async def test_it_opens_the_checkout_that_the_shoppers_assistant_began(local: OAuthSite) -> None:
    device = device_of(local)
    await added(local, device)
    device.counter += 1
    address = await of_a_shopper(local)
    async with browser(local) as shopper:
        assert not shows_the_order(await shopper.open(address))
        page = await shopper.send("sign-in")
        assert shows_the_order(await shopper.send("passkey", **device.shown(challenge_of(page))))


@dataclass
class Lie:
    """What a device says that is not so, when it shows a passkey; and what stands against it."""

    change: Callable[[Device], Any]
    fault: Callable[[pytest.MonkeyPatch], None]


def _without_user_verification(monkeypatch: pytest.MonkeyPatch) -> None:
    class Undemanding:
        REQUIRED = "preferred"

    monkeypatch.setattr(passkeys, "UserVerificationRequirement", Undemanding)


def _without_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = passkeys._server

    def server(site: Site) -> Fido2Server:
        lenient = ours(site)
        lenient._verify = lambda _: True
        return lenient

    monkeypatch.setattr(passkeys, "_server", server)


def _another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = passkeys._server
    monkeypatch.setattr(passkeys, "_server", lambda site: ours(replace(site, host="evil.example")))


def _frames_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passkeys, "_refuse_frames", lambda _: None)


LIES = {
    "another origin": Lie(lambda device: setattr(device, "origin", "http://localhost:1"), _without_origins),
    "another scheme": Lie(
        lambda device: setattr(device, "origin", device.origin.replace("http:", "https:")), _without_origins
    ),
    "another host": Lie(lambda device: setattr(device, "host", "evil.example"), _another_host),
    "in a frame": Lie(lambda device: setattr(device, "cross_origin", True), _frames_allowed),
    "holder not verified": Lie(lambda device: setattr(device, "flags", PRESENT), _without_user_verification),
}
EVERY_LIE = pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())


@EVERY_LIE
async def test_a_passkey_from_elsewhere_or_of_an_unverified_holder_signs_nobody_in(local: OAuthSite, lie: Lie) -> None:
    device = device_of(local)
    await added(local, device)
    device.counter += 1
    lie.change(device)
    assert refused(await shows(local, device))
    [event] = await local.world.events("passkey.refused")
    assert b'"reason":"passkey"' in event.entry


@EVERY_LIE
async def test_planted_fault_without_its_guard_each_lie_is_believed(
    local: OAuthSite, monkeypatch: pytest.MonkeyPatch, lie: Lie
) -> None:
    device = device_of(local)
    await added(local, device)
    device.counter += 1
    lie.change(device)
    lie.fault(monkeypatch)
    assert signed_in(await shows(local, device))


@EVERY_LIE
async def test_none_is_added_from_elsewhere_or_of_an_unverified_holder(local: OAuthSite, lie: Lie) -> None:
    device = device_of(local)
    lie.change(device)
    page = await added(local, device)
    assert (page.status_code, "No passkey was added" in page.text) == (422, True)
    assert await local.world.rows(passkey) == []
    assert len(await local.world.events("passkey.refused")) == 1


@EVERY_LIE
async def test_planted_fault_without_its_guard_each_is_added(
    local: OAuthSite, monkeypatch: pytest.MonkeyPatch, lie: Lie
) -> None:
    device = device_of(local)
    lie.change(device)
    lie.fault(monkeypatch)
    assert (await added(local, device)).status_code == 200
    assert len(await local.world.rows(passkey)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": -37},  # that was not asked for
        {"algorithm": -65535},
        {"credential": b"short"},
        {"credential": b"x" * 1024},
        {"flags": VERIFIED},  # nobody is there
    ],
    ids=str,
)
async def test_what_is_no_passkey_as_asked_for_is_not_added(local: OAuthSite, change: dict[str, Any]) -> None:
    assert (await added(local, replace(device_of(local), **change))).status_code == 422
    assert await local.world.rows(passkey) == []


async def replayed(flow: OAuthSite) -> httpx.Response:
    """How it is answered that what a browser once sent is sent again, in the request that it was made for."""
    device = device_of(flow)
    await added(flow, device)
    async with browser(flow) as shopper:
        page = await shopper.open((await program(flow)).address())
        device.counter += 1
        device.user_handle = b"shp_nobody"  # it is refused, and the request goes on
        first = device.shown(challenge_of(page))
        page = await shopper.send("passkey", **first)
        assert refused(page)
        [row] = await flow.world.rows(passkey)
        return await shopper.send("passkey", **{**first, "user_handle": letters_of(row.shopper.encode())})


async def test_what_was_signed_counts_once(local_on_each: OAuthSite) -> None:
    assert refused(await replayed(local_on_each))


async def test_planted_fault_with_a_challenge_that_stays_it_counts_again(
    local: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passkeys, "_take_challenge", lambda *_: None)
    assert "decision" in (await replayed(local)).text


async def from_another_request(flow: OAuthSite) -> httpx.Response:
    """How it is answered that a browser shows what was signed in another browser's request."""
    device = device_of(flow)
    await added(flow, device)
    device.counter += 1
    async with browser(flow) as victim, browser(flow) as thief:
        theirs = device.shown(challenge_of(await victim.open(page_of(flow))))
        await thief.open(page_of(flow))
        return await thief.send("passkey", **theirs)


async def test_what_was_signed_in_another_browsers_request_signs_nobody_in(local: OAuthSite) -> None:
    assert refused(await from_another_request(local))


async def test_planted_fault_with_one_challenge_for_all_it_does(
    local: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (requests, passkeys):
        monkeypatch.setattr(module, "new_challenge", lambda: "b" * 64)
    assert signed_in(await from_another_request(local))


async def test_another_browser_does_not_get_at_the_request_at_all(local: OAuthSite) -> None:
    device = device_of(local)
    await added(local, device)
    device.counter += 1
    async with browser(local) as victim, browser(local) as thief:
        page = await victim.open(page_of(local))
        answer = await thief.http.post(f"{page.url}/passkey", data=device.shown(challenge_of(page)))
        assert (answer.status_code, "This sign-in has ended" in answer.text) == (404, True)
    assert len(await local.world.events("passkey.used")) == 0


async def test_a_challenge_ends_with_its_request(local: OAuthSite) -> None:
    device = device_of(local)
    await added(local, device)
    device.counter += 1
    async with browser(local) as shopper:
        page = await shopper.open(page_of(local))
        local.world.clock.advance(requests.LIFETIME_SECONDS)
        assert (await shopper.send("passkey", **device.shown(challenge_of(page)))).status_code == 404


def test_a_challenge_is_256_random_bits() -> None:
    found = [bytes_of(requests.new_challenge()) for _ in range(64)]
    assert {len(each) for each in found} == {32}
    assert len(set(found)) == 64


async def after_going_back(flow: OAuthSite, counter: int) -> httpx.Response:
    """How a device is answered that has shown 7 and shows another count."""
    device = device_of(flow)
    await added(flow, device)
    device.counter = 7
    assert signed_in(await shows(flow, device))
    device.counter = counter
    return await shows(flow, device)


@pytest.mark.parametrize("counter", [0, 6, 7])
async def test_a_counter_that_does_not_go_on_is_refused_and_recorded(local_on_each: OAuthSite, counter: int) -> None:
    assert refused(await after_going_back(local_on_each, counter))
    [event] = await local_on_each.world.events("passkey.refused")
    [row] = await local_on_each.world.rows(passkey)
    assert b'"reason":"counter"' in event.entry
    assert row.id.encode() in event.entry
    assert row.sign_count == 7


async def test_planted_fault_with_a_counter_that_is_not_kept_a_copy_is_let_in(
    local: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = passkeys._assertion

    def uncounted(*given: Any) -> Any:
        data = ours(*given)
        object.__setattr__(data, "counter", 2**31 + secrets.randbelow(2**30))
        return data

    monkeypatch.setattr(passkeys, "_assertion", uncounted)
    device = device_of(local)
    await added(local, device)
    device.counter = 0
    assert signed_in(await shows(local, device))


async def test_a_device_that_does_not_count_signs_in_again_and_again(local: OAuthSite) -> None:
    device = replace(device_of(local), counter=0)
    await added(local, device)
    for _ in range(2):
        assert signed_in(await shows(local, device))


async def removed(flow: OAuthSite) -> httpx.Response:
    """How a passkey is answered that its shopper removed."""
    device = device_of(flow)
    await added(flow, device)
    async with browser(flow) as shopper:
        device.counter += 1
        page = await shopper.open(page_of(flow))
        await shopper.send("passkey", **device.shown(challenge_of(page)))
        assert "The passkey is removed" in (await shopper.send("remove")).text
    device.counter += 1
    return await shows(flow, device)


async def test_one_that_was_removed_opens_nothing(local_on_each: OAuthSite) -> None:
    assert refused(await removed(local_on_each))
    assert await local_on_each.world.rows(passkey) == []
    assert len(await local_on_each.world.events("passkey.removed")) == 1


async def removes_anothers(flow: OAuthSite) -> int:
    """How it is answered that a shopper removes another's by its id."""
    await added(flow, device_of(flow))
    [row] = await flow.world.rows(passkey)
    async with browser(flow) as thief:
        await thief.open(page_of(flow))
        await thief.sign_in(OTHER)
        return (await thief.http.post(f"{page_of(flow)}/passkeys/{row.id}/remove")).status_code


async def test_nobody_removes_anothers(local: OAuthSite) -> None:
    assert await removes_anothers(local) == 404
    assert len(await local.world.rows(passkey)) == 1


async def test_planted_fault_without_the_owner_anybody_does(local: OAuthSite, monkeypatch: pytest.MonkeyPatch) -> None:
    remove, [rows] = passkeys.remove, [local.world.rows]

    def of_anybody(tx: Any, brand: str, _: str, identifier: str) -> bool:
        owner = tx.execute(passkey.select().where(passkey.c.id == identifier)).one().shopper
        return remove(tx, brand, owner, identifier)

    monkeypatch.setattr(passkeys, "remove", of_anybody)
    assert await removes_anothers(local) == 303
    assert await rows(passkey) == []


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}], ids=str)
async def test_another_sites_form_adds_uses_and_removes_nothing(local: OAuthSite, headers: dict[str, str]) -> None:
    device = device_of(local)
    await added(local, device)
    [row] = await local.world.rows(passkey)
    device.counter += 1
    async with browser(local) as shopper:
        page = await shopper.open(page_of(local))
        shown = device.shown(challenge_of(page))
        for action in ("passkey", "passkey/add"):
            assert (await shopper.http.post(f"{page.url}/{action}", data=shown, headers=headers)).status_code == 403
        assert signed_in(await shopper.send("passkey", **shown))
        for action in (f"passkeys/{row.id}/remove", "passkeys"):
            answer = await shopper.http.post(f"{page_of(local)}/{action}", headers=headers)
            assert answer.status_code == 403
    assert len(await local.world.rows(passkey)) == 1


async def at_another_brand(flow: OAuthSite) -> httpx.Response:
    """How one brand's passkey is answered at another of the same host, where the shopper has an account as well."""
    other = await flow.world.add_brand("Other Shop")
    device = device_of(flow)
    await added(flow, device)
    async with browser(flow) as shopper:
        await shopper.open(page_of(flow, other))
        await shopper.sign_in()
    device.counter += 1
    return await shows(flow, device, other)


async def test_a_passkey_of_another_brand_opens_nothing_here(local_on_each: OAuthSite) -> None:
    assert refused(await at_another_brand(local_on_each))


async def test_planted_fault_without_the_brand_it_does(local: OAuthSite, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = passkeys.sign_in

    def anywhere(tx: Any, site: Site, request: Any, shown: Shown) -> str | None:
        row = tx.execute(passkey.select().where(passkey.c.credential == shown.credential)).one()
        borrowed: Any = type("Row", (), {**request._mapping, "brand": row.brand})
        return ours(tx, site, borrowed, shown)

    monkeypatch.setattr(passkeys, "sign_in", anywhere)
    assert not refused(await at_another_brand(local))


@pytest.mark.parametrize("handle", [b"", b"shp_bcdfghjk", b"\xff"], ids=str)
async def test_a_device_that_names_another_shopper_is_refused(local: OAuthSite, handle: bytes) -> None:
    device = device_of(local)
    await added(local, device)
    device.user_handle, device.counter = handle, 2
    assert refused(await shows(local, device))


async def test_shoppers_and_brands_have_passkeys_of_their_own_and_see_no_others(local_on_each: OAuthSite) -> None:
    local = local_on_each
    other = await local.world.add_brand("Other Shop")
    places = [(SHOPPER, None), (OTHER, None), (SHOPPER, other)]
    devices = [device_of(local) for _ in places]
    for device, (mailbox, brand) in zip(devices, places, strict=True):
        await added(local, device, mailbox, brand)
    assert len({device.user_handle for device in devices}) == len(devices)
    for device, (mailbox, brand) in zip(devices, places, strict=True):
        async with browser(local) as shopper:
            await asks_to_add(local, shopper, mailbox, brand)
            assert shopper.page is not None
            assert asked(shopper.page)["known"] == letters_of(device.credential)
        device.counter += 1
        assert signed_in(await shows(local, device, brand))


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "at another brand"])
async def test_one_that_is_known_already_is_not_added_again(local_on_each: OAuthSite, elsewhere: bool) -> None:
    local = local_on_each
    device = device_of(local)
    await added(local, device)
    brand = await local.world.add_brand("Other Shop") if elsewhere else None
    copy = replace(device_of(local), credential=device.credential)
    assert (await added(local, copy, OTHER, brand)).status_code == 422
    assert len(await local.world.rows(passkey)) == 1
    device.counter += 1
    device.user_handle = (await local.world.rows(passkey))[0].shopper.encode()
    assert signed_in(await shows(local, device))


async def test_a_shopper_has_ten_at_most(local: OAuthSite) -> None:
    for _ in range(MAXIMUM):
        assert (await added(local, device_of(local))).status_code == 200
        local.world.clock.advance(3600)  # codes are limited too
    async with browser(local) as shopper:
        await asks_to_add(local, shopper)
        assert shopper.page is not None
        assert signed_in(shopper.page)
        assert "Add a passkey" not in shopper.page.text
    assert len(await local.world.rows(passkey)) == MAXIMUM


async def test_past_the_last_one_none_is_added_either(local: OAuthSite, monkeypatch: pytest.MonkeyPatch) -> None:
    async with browser(local) as shopper:
        await asks_to_add(local, shopper)
        assert shopper.page is not None
        monkeypatch.setattr(passkeys, "MAXIMUM", 0)
        device = device_of(local)
        assert (await shopper.send("passkey/add", **device.made(challenge_of(shopper.page)))).status_code == 422
    assert await local.world.rows(passkey) == []


async def tried(flow: OAuthSite) -> httpx.Response:
    """How the right passkey is answered after as many wrong ones as there may be."""
    device = device_of(flow)
    await added(flow, device)
    device.counter += 1
    async with browser(flow) as thief:
        page = await thief.open(page_of(flow))
        for _ in range(TRIES):
            page = await thief.send("passkey", **device_of(flow).shown(challenge_of(page)))
            assert refused(page)
        [row] = await flow.world.rows(oauth_request)
        return await thief.http.post(f"{page.url}", data=device.shown(bytes_of(row.challenge)), follow_redirects=True)


async def test_a_request_can_be_tried_five_times_and_leaves_no_trace_after(local_on_each: OAuthSite) -> None:
    page = await tried(local_on_each)
    assert refused(page)
    assert "Sign in with a passkey" not in page.text
    assert "Send me a code" in page.text
    assert len(await local_on_each.world.events("passkey.refused")) == TRIES
    assert await local_on_each.world.events("passkey.used") == []


async def test_planted_fault_without_the_limit_it_can_be_tried_on(
    local: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passkeys, "_is_open", lambda _: True)
    assert signed_in(await tried(local))


async def after_a_passkey(flow: OAuthSite) -> httpx.Response:
    """How it is answered that who signed in by a passkey adds another one in the same request."""
    device, another = device_of(flow), device_of(flow)
    await added(flow, device)
    device.counter += 1
    async with browser(flow) as thief:
        page = await thief.open((await program(flow)).address())
        page = await thief.send("passkey", **device.shown(challenge_of(page)))
        assert "decision" in page.text
        [row] = await flow.world.rows(oauth_request)
        made = another.made(bytes_of(row.challenge or ""))
        return await thief.http.post(f"{str(page.url).partition('?')[0]}/passkey/add", data=made)


async def test_a_passkey_opens_no_way_to_another(local: OAuthSite) -> None:
    assert (await after_a_passkey(local)).status_code == 422
    assert len(await local.world.rows(passkey)) == 1


async def test_planted_fault_with_a_challenge_left_it_does(local: OAuthSite, monkeypatch: pytest.MonkeyPatch) -> None:
    note = passkeys._note

    def leaves(tx: Any, request: Any, values: dict[str, Any]) -> None:
        note(tx, request, {"challenge": requests.new_challenge(), **{k: v for k, v in values.items() if v is not None}})

    monkeypatch.setattr(passkeys, "_note", leaves)
    assert (await after_a_passkey(local)).status_code == 303
    assert len(await local.world.rows(passkey)) == 2


async def signed_out_meanwhile(flow: OAuthSite) -> int:
    """How it is answered that a passkey is added in a browser that was signed out since the code."""
    async with browser(flow) as shopper:
        await asks_to_add(flow, shopper)
        assert shopper.page is not None
        made = device_of(flow).made(challenge_of(shopper.page))
        await shopper.http.post(f"{page_of(flow)}/sign-out")
        return (await shopper.send("passkey/add", **made)).status_code


async def test_who_signed_out_adds_none(local: OAuthSite) -> None:
    assert await signed_out_meanwhile(local) == 422
    assert await local.world.rows(passkey) == []


async def test_planted_fault_without_the_session_one_is_added(
    local: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = passkeys.add

    def sessionless(tx: Any, site: Site, request: Any, _: str | None, made: Made) -> bool:
        return ours(tx, site, request, request.shopper, made)

    monkeypatch.setattr(passkeys, "add", sessionless)
    await signed_out_meanwhile(local)
    assert len(await local.world.rows(passkey)) == 1


async def test_before_the_code_none_is_added(local: OAuthSite) -> None:
    async with browser(local) as shopper:
        page = await shopper.open(page_of(local))
        made = device_of(local).made(challenge_of(page))
        assert (await shopper.http.post(f"{page.url}/passkey/add", data=made)).status_code == 422
    assert await local.world.rows(passkey) == []


async def test_nothing_that_is_answered_tells_who_has_an_account_or_a_passkey(local: OAuthSite) -> None:
    device = device_of(local)
    await added(local, device)
    stranger = replace(device_of(local), user_handle=device.user_handle)
    device.counter += 1
    bodies = []
    for shown in (stranger, replace(device, key=stranger.key), replace(device, user_handle=b"shp_x")):
        async with browser(local) as anybody:
            page = await anybody.open(page_of(local))
            assert asked(page).keys() == {"passkey", "host", "challenge"}
            answer = await anybody.send("passkey", **shown.shown(challenge_of(page)))
            identifier = str(answer.url).split("/requests/")[1].partition("/")[0]
            bodies.append(answer.text.replace(identifier, "").replace(asked(answer)["challenge"], ""))
    assert len(set(bodies)) == 1


async def test_they_go_with_the_account(local_on_each: OAuthSite) -> None:
    local = local_on_each
    device = device_of(local)
    await added(local, device)
    local.world.clock.advance(grants.ACCOUNT_KEPT_SECONDS - 1)
    device.counter += 1
    assert signed_in(await shows(local, device))  # which is a use of the account
    database = local.world.commerce.database
    local.world.clock.advance(grants.ACCOUNT_KEPT_SECONDS)
    await database.maintain(grants.forget_old)
    assert len(await local.world.rows(passkey)) == 1
    local.world.clock.advance(1)
    await database.maintain(grants.forget_old)
    assert await local.world.rows(shopper_account) == []
    assert await local.world.rows(passkey) == []


@given(st.dictionaries(st.sampled_from(["client_data", "attestation_object", "credential", "signature"]), st.binary()))
def test_whatever_bytes_a_stranger_sends_are_no_passkey(sent: dict[str, bytes]) -> None:
    site, challenge = Site("https://shop.example", "shop.example"), "b" * 64
    made = Made(sent.get("client_data", b""), sent.get("attestation_object", b""))
    assert passkeys._read(lambda: passkeys._registration(site, challenge, made)) is None
    shown = Shown(
        sent.get("credential", b""), made.client_data, made.attestation_object, sent.get("signature", b""), b""
    )
    assert passkeys._read(lambda: passkeys._assertion(site, challenge, shown, b"\xa0")) is None


@pytest.mark.parametrize("text", ["", "b", "bb bb", "a", "B", "00", "é"])
async def test_a_form_that_the_script_never_sends_is_refused(local: OAuthSite, text: str) -> None:
    async with browser(local) as shopper:
        await shopper.open(page_of(local))
        fields = dict.fromkeys(("credential", "client_data", "authenticator_data", "signature", "user_handle"), text)
        assert refused(await shopper.send("passkey", **fields))
        assert refused(await shopper.send("passkey"))


@pytest.mark.parametrize(
    ("public_url", "host"),
    [
        ("https://shop.brand.example", "shop.brand.example"),
        ("https://shop.brand.example:8443", "shop.brand.example"),
        ("http://localhost:8704", "localhost"),
        ("http://127.0.0.1:8704", None),
        ("https://127.0.0.1", None),
        ("https://[::1]:8704", None),
        ("http://shop.brand.example", None),
    ],
)
def test_passkeys_are_for_a_name_that_is_reached_safely(public_url: str, host: str | None) -> None:
    assert site_of(public_url) == (None if host is None else Site(public_url, host))


async def test_a_site_without_a_name_takes_none(flow: OAuthSite) -> None:
    device = Device(flow.commerce_url, "127.0.0.1")
    async with browser(flow) as shopper:
        page = await shopper.open(page_of(flow))
        assert "passkey" not in page.text
        [row] = await flow.world.rows(oauth_request)
        answer = await shopper.http.post(f"{page.url}/passkey", data=device.shown(bytes_of(row.challenge)))
        assert answer.status_code == 422
        await shopper.sign_in()
        assert (await shopper.http.post(f"{page_of(flow)}/passkeys")).status_code == 404


def test_the_script_is_named_where_shoppers_sign_in_and_nowhere_else() -> None:
    script = passkey_script()
    assert static_asset(script.url.removeprefix("/assets/")) == script
    address = f"https://shop.example{script.url}"
    headers = page_headers(None, passkey_script=address)
    assert f"script-src {address};" in headers["Content-Security-Policy"]
    for feature in ("create", "get"):
        assert f"publickey-credentials-{feature}=(self)" in headers["Permissions-Policy"]
        assert f"publickey-credentials-{feature}=()" in page_headers(None)["Permissions-Policy"]
    assert "script-src" not in page_headers(None)["Content-Security-Policy"]


@pytest.mark.parametrize(
    "address",
    [
        "https://shop.example/assets/",
        "https://shop.example/assets/passkeys.0a1b2c3d.js; script-src *",
        "https://shop.example/assets/passkeys.js",
        "http://shop.example/assets/passkeys.0a1b2c3d.js",
        "'self'",
        "*",
    ],
)
def test_an_address_that_could_widen_the_policy_is_refused(address: str) -> None:
    with pytest.raises(UnsafeUrl):
        page_headers(None, passkey_script=address)


def test_the_script_has_no_network_no_storage_and_no_sinks() -> None:
    text = passkey_script().content.decode()
    for forbidden in ("fetch", "XMLHttp", "sendBeacon", "WebSocket", "localStorage", "innerHTML", "eval", "cookie"):
        assert forbidden not in text
