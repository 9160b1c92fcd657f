"""Waiting for the shopper inside a call: progress meanwhile, the outcome at its end, and an end in any case."""

import asyncio

import pytest
from starlette.requests import Request

from commerce_api.rates import Limits
from commerce_api.schemas import CheckoutView
from mcp_server import waiting
from mcp_server.bearer import GUEST, STATE, Access
from tests.commerce_api.purchases import ready
from tests.mcp_server.serving import LEGACY, MODERN, Site, client, structured

pytestmark = pytest.mark.anyio


WHO = waiting.Client("somebody", 20)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses take no time, and are counted."""
    paused: list[float] = []

    async def at_once(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr(waiting, "pause", at_once)
    return paused


def view(status: str) -> CheckoutView:
    """A checkout that stands so."""
    return CheckoutView.model_construct(status=status)


class Asked:
    """A checkout whose status moves on with every look; and what was reported."""

    def __init__(self, *statuses: str) -> None:
        self.statuses = list(statuses)
        self.looked = 0
        self.told: list[tuple[float, float | None, str | None]] = []

    async def look(self) -> CheckoutView:
        self.looked += 1
        return view(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])

    async def report(self, done: float, total: float | None, message: str | None) -> None:
        self.told.append((done, total, message))


async def test_it_ends_as_soon_as_the_status_is_another(looks: list[float]) -> None:
    asked = Asked("requires_escalation", "requires_escalation", "requires_escalation", "completed")
    found = await waiting.until_changed(asked.look, 20, asked.report, WHO)
    assert found.status == "completed"
    assert len(looks) == 3
    assert [done for done, _, _ in asked.told] == [0, 1, 2]
    assert {total for _, total, _ in asked.told} == {20}


@pytest.mark.parametrize("wait_seconds", [1, 7, waiting.MAXIMUM_SECONDS, 10_000])
async def test_it_ends_when_the_time_is_over(looks: list[float], wait_seconds: int) -> None:
    asked = Asked("requires_escalation")
    assert (await waiting.until_changed(asked.look, wait_seconds, asked.report, WHO)).status == "requires_escalation"
    assert len(looks) == min(wait_seconds, waiting.MAXIMUM_SECONDS)


@pytest.mark.parametrize("status", ["incomplete", "ready_for_complete", "completed", "canceled"])
async def test_where_there_is_nothing_to_wait_for_it_answers_at_once(looks: list[float], status: str) -> None:
    asked = Asked(status)
    await waiting.until_changed(asked.look, 20, asked.report, WHO)
    assert (asked.looked, looks, asked.told) == (1, [], [])


async def test_one_more_than_may_wait_is_answered_at_once(looks: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_waiting", waiting.MAXIMUM_WAITING)
    asked = Asked("requires_escalation")
    await waiting.until_changed(asked.look, 20, asked.report, WHO)
    assert asked.looked == 1
    assert waiting._waiting == waiting.MAXIMUM_WAITING


async def test_a_wait_that_fails_or_is_left_gives_its_place_back(looks: list[float]) -> None:
    asked = Asked("requires_escalation")

    async def gone(*_: object) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await waiting.until_changed(asked.look, 20, gone, WHO)
    assert (waiting._waiting, dict(waiting._waiting_of)) == (0, {})


async def at_once(waits: dict[waiting.Client, int]) -> dict[waiting.Client, int]:
    """So many calls of each client come while nobody pays: how many of them wait."""
    asked = {client: [Asked("requires_escalation") for _ in range(many)] for client, many in waits.items()}
    everyone = [
        waiting.until_changed(one.look, 5, one.report, client) for client, those in asked.items() for one in those
    ]
    await asyncio.gather(*everyone)
    return {client: sum(one.looked > 1 for one in those) for client, those in asked.items()}


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause lets the others have their turn."""

    async def others_first(_: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(waiting, "pause", others_first)


@pytest.mark.usefixtures("together")
async def test_one_clients_waits_are_no_more_than_its_calls_and_leave_room_for_others() -> None:
    greedy, keyed, slow = waiting.Client("a", 20), waiting.Client("b", 200), waiting.Client("c", 0.1)
    waited = await at_once({greedy: 300, keyed: 30, slow: 3})
    assert waited == {greedy: 20, keyed: 30, slow: 1}
    assert (waiting._waiting, dict(waiting._waiting_of)) == (0, {})


@pytest.mark.usefixtures("together")
async def test_planted_fault_without_a_limit_of_its_own_one_client_takes_every_place() -> None:
    greedy, other = waiting.Client("a", 1e9), waiting.Client("b", 20)
    assert await at_once({greedy: 300, other: 5}) == {greedy: waiting.MAXIMUM_WAITING, other: 0}


async def test_guests_of_one_network_are_one_client_and_who_signed_in_is_another() -> None:
    def request(address: str, access: Access) -> Request:
        return Request({"type": "http", "client": (address, 1), "headers": [], STATE: access})

    limits, shopper = Limits(20, 200), Access("shopper:shp_robin")
    guest = waiting.client_that_waits(request("2001:db8::1", GUEST), limits)
    assert guest == waiting.client_that_waits(request("2001:db8::2", GUEST), limits)
    assert guest != waiting.client_that_waits(request("2001:db8:1::1", GUEST), limits)
    signed_in = waiting.client_that_waits(request("2001:db8::1", shopper), limits)
    assert (guest.most, signed_in.most) == (20, 200)
    assert guest.name != signed_in.name
    assert waiting.client_that_waits(None, limits).most == 20


@pytest.mark.parametrize("mode", [MODERN, LEGACY])
async def test_a_host_hears_progress_and_gets_the_order_from_the_same_call(
    own_site: Site, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """The shopper pays while the call waits."""
    world = own_site.world
    heard: list[tuple[float, float | None, str | None]] = []

    async def shopper_pays(_: float) -> None:
        world.vault.capture()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async with client(own_site, mode=mode) as connected:
        made = structured(await connected.call_tool("create_checkout", ready()))
        own = {"checkout_id": made["checkout_id"]}
        await connected.call_tool("complete_checkout", own)
        await world.commerce.payments.capture_link(world.brand, own["checkout_id"])
        monkeypatch.setattr(waiting, "pause", shopper_pays)
        answer = await connected.call_tool("get_checkout", {**own, "wait_seconds": 20}, progress_callback=hear)
    assert structured(answer)["status"] == "completed"
    assert structured(answer)["order_id"]
    assert heard[0] == (0, 20, "Waiting for the shopper to pay on the secure page.")
