"""What 3-D Secure asks of a browser: bounded, sealed, for one charge, then gone. On both databases."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

import vault_zone.device
from audit.store import audit_event
from tests.requirement import requirement
from tests.vault_zone.saving import granted, saved_card, sweeper_of
from tests.vault_zone.test_public_pages import FORM, browser, link_of
from tests.vault_zone.world import ACTOR, World, charge_request, zone_world
from tokenization.addresses import UNKNOWN
from tokenization.ids import digest
from vault_zone.capture_form import BODY_MAX_BYTES, parse_form_body
from vault_zone.device import COLOR_DEPTHS, FIELD_MAXIMUM, Client, Device, read_device
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.hazmat.seal import SealBroken
from vault_zone.models import capture_session
from vault_zone.processors.port import Outcome
from vault_zone.processors.sandbox import _browser_fields
from vault_zone.processors.sandbox_server.wire import BrowserInput
from vault_zone.retention import SESSION_KEPT_MS

AGENT = "Mozilla/5.0 (X11; Linux x86_64) Chrome/141.0.0.0"
SAID = {"java": False, "language": "en-GB", "depth": 30, "height": 1080, "width": 1920, "tz": -60}
HEADERS = {"user-agent": AGENT, "accept": "text/html", "accept-language": "de-AT,de;q=0.9"}
CLIENT = Client("192.0.2.7", "text/html", AGENT, "de-AT,de;q=0.9")
KNOWN = Device("text/html", AGENT, True, "en-GB", "127.0.0.1", False, 24, 1080, 1920, -60)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A zone on either database."""
    async with zone_world(database_url) as made:
        yield made


async def grant_of(world: World, link: str) -> str:
    found = select(capture_session.c.grant_id).where(capture_session.c.secret_digest == digest(link.rpartition("/")[2]))
    grant: str = await world.database.read(lambda c: c.execute(found).scalar_one())
    return grant


async def paid_in_browser(world: World, said: object = SAID, **asked: Any) -> str:
    """A shopper sends the card from a browser that says this of itself; the grant that comes of it."""
    async with browser(world) as shopper:
        shopper.headers.update(HEADERS)
        link = await link_of(world, **asked)
        await shopper.get(link)
        sent = await shopper.post(link, data={**FORM, "device": json.dumps(said) if said else ""})
        assert sent.status_code == 303
    return await grant_of(world, link)


async def kept(world: World) -> list[bytes]:
    """The sealed bytes on disk."""
    column = capture_session.c.device_sealed
    found = await world.database.read(lambda c: c.execute(select(column).where(column.is_not(None))).scalars().all())
    return [bytes(sealed) for sealed in found]


# What a request says becomes elements within their bounds, whatever it says.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
SAYINGS = st.one_of(
    st.text(max_size=400),
    JSON.map(json.dumps),
    st.dictionaries(st.sampled_from(sorted(SAID)), JSON, max_size=6).map(json.dumps),
    st.just("[" * FIELD_MAXIMUM),
)


@given(
    said=SAYINGS, headers=st.tuples(*[st.text(max_size=3000)] * 3), address=st.sampled_from([UNKNOWN, "2001:db8::1"])
)
def test_whatever_a_request_says_is_within_the_bounds_that_a_processor_checks(
    said: str, headers: tuple[str, str, str], address: str
) -> None:
    device = read_device({"device": said}, Client(address, *headers))
    sent = json.dumps(_browser_fields(device)["browser"])
    BrowserInput.model_validate_json(sent)
    assert device.color_depth in (None, *COLOR_DEPTHS)
    assert device.ip != UNKNOWN


def test_what_a_browser_really_says_is_read_in_full() -> None:
    assert read_device({"device": json.dumps(SAID)}, CLIENT) == Device(
        "text/html", AGENT, True, "en-GB", "192.0.2.7", False, 24, 1080, 1920, -60
    )


def test_a_browser_without_script_is_known_by_its_headers() -> None:
    assert read_device({}, CLIENT) == Device("text/html", AGENT, False, "de-AT", "192.0.2.7")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("java_enabled", {"java": "no"}),
        ("color_depth", {"depth": 0}),
        ("color_depth", {"depth": True}),
        ("screen_height", {"height": -1}),
        ("screen_width", {"width": 1_000_000}),
        ("tz", {"tz": 901}),
        ("tz", {"tz": 1.5}),
    ],
)
def test_an_element_out_of_its_bounds_is_left_out_and_the_others_stay(name: str, said: dict[str, object]) -> None:
    device = read_device({"device": json.dumps({**SAID, **said})}, CLIENT)
    assert getattr(device, name) is None
    assert device.language == "en-GB"


@pytest.mark.parametrize("language", ["4242424242424242", "en-4242424242424242", "", "<b>", "x" * 40, "en\r\nx: y"])
def test_no_language_carries_a_number_or_a_line(language: str) -> None:
    device = read_device({"device": json.dumps({**SAID, "language": language})}, CLIENT._replace(languages=""))
    assert device.language in (None, "en")


def test_a_form_as_long_as_its_fields_allow_has_room_for_it() -> None:
    longest = "é" * 80
    form = {**FORM, "name": longest, "device": json.dumps(SAID), "puzzle": "p" * 200, "puzzle_answer": "9" * 12}
    body = httpx.Request("POST", "http://x", data=form).read()
    assert len(body) < BODY_MAX_BYTES
    assert parse_form_body(body)["device"] == json.dumps(SAID)


def test_it_is_not_shown() -> None:
    assert repr(KNOWN) == str(KNOWN) == "Device(****)"


# From the form to the charge.


@pytest.mark.anyio
@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.DECLINED, Outcome.UNKNOWN, Outcome.NEVER_SENT])
@requirement("3.2.1")
async def test_the_charge_carries_it_once_and_it_is_gone_whatever_comes_of_it(world: World, outcome: Outcome) -> None:
    grant = await paid_in_browser(world)
    (sealed,) = await kept(world)
    assert AGENT.encode() not in sealed
    world.processor.outcome = outcome
    await world.engine.charge(charge_request(grant), ACTOR)
    assert world.processor.devices == [KNOWN]
    assert await kept(world) == []
    events = await world.database.read(lambda c: c.execute(select(audit_event)).all())
    for told in ("Mozilla", "en-GB", "1920"):
        assert told not in str(events)


@pytest.mark.anyio
async def test_a_charge_that_is_refused_leaves_it_for_the_one_that_is_not(world: World) -> None:
    grant = await paid_in_browser(world)
    for wrong in ({"checkout": "chk_b"}, {"merchant": "other-shop"}, {"amount_minor": 10_906}):
        with pytest.raises(ZoneRefusal) as refused:
            await world.engine.charge(charge_request(grant, **wrong), ACTOR)
        assert refused.value.kind is ZoneError.GRANT_NOT_USABLE
    assert len(await kept(world)) == 1
    await world.engine.charge(charge_request(grant), ACTOR)
    assert world.processor.devices == [KNOWN]


@pytest.mark.anyio
async def test_a_grant_on_a_saved_card_carries_none(world: World) -> None:
    token = await saved_card(world)
    grant = await granted(world, token, ceiling_minor=10_905)
    await world.engine.charge(charge_request(grant), ACTOR)
    assert world.processor.devices == [None]


@pytest.mark.anyio
async def test_each_charge_carries_its_own_shoppers(world: World) -> None:
    first = await paid_in_browser(world)
    second = await paid_in_browser(world, {**SAID, "width": 800}, checkout="chk_b")
    await world.engine.charge(charge_request(second, checkout="chk_b"), ACTOR)
    await world.engine.charge(charge_request(first), ACTOR)
    assert [device.screen_width for device in world.processor.devices if device] == [800, 1920]


async def swapped(world: World) -> str:
    """Two sessions whose sealed bytes changed places in the database; the first one's grant."""
    first = await paid_in_browser(world)
    await paid_in_browser(world, {**SAID, "width": 800}, checkout="chk_b")
    columns = capture_session.c
    rows = await world.database.read(lambda c: c.execute(select(columns.id, columns.device_sealed)).all())
    for row, other in zip(rows, reversed(rows), strict=True):
        change = update(capture_session).where(columns.id == row.id).values(device_sealed=other.device_sealed)
        await world.database.maintain(lambda tx, change=change: tx.execute(change))  # type: ignore[misc]
    return first


@pytest.mark.anyio
async def test_sealed_bytes_that_were_moved_to_another_session_are_not_opened(world: World) -> None:
    grant = await swapped(world)
    with pytest.raises(SealBroken):
        await world.engine.charge(charge_request(grant), ACTOR)
    assert world.processor.calls == 0


@pytest.mark.anyio
async def test_without_the_binding_they_would_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault."""
    monkeypatch.setattr(vault_zone.device, "_bound_to", lambda *_: ("device",))
    grant = await swapped(world)
    await world.engine.charge(charge_request(grant), ACTOR)
    assert [device.screen_width for device in world.processor.devices if device] == [800]


@pytest.mark.anyio
@requirement("3.2.1")
async def test_what_was_never_charged_goes_with_its_session(world: World) -> None:
    await paid_in_browser(world)
    world.clock.advance(900 + SESSION_KEPT_MS / 1000 + 60)
    await sweeper_of(world).sweep()
    assert await kept(world) == []


# The sandbox refuses what the table does not allow.


@pytest.mark.parametrize(
    ("name", "value"),
    [("color_depth", 30), ("screen_width", 1_000_000), ("tz", 901), ("ip", "localhost"), ("user_agent", "x" * 2049)],
)
def test_the_sandbox_checks_the_bounds_itself(name: str, value: int | str) -> None:
    sent: dict[str, Any] = {"accept_header": "", "user_agent": "", "javascript_enabled": False, name: value}
    with pytest.raises(ValueError, match=name):
        BrowserInput.model_validate_json(json.dumps(sent))
