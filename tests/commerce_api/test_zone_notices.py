"""Commerce acts on a notice only when the zone signed it just now, and then only by asking the zone."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from commerce_api.app import commerce_app
from commerce_api.models import order
from commerce_api.schemas import CheckoutView
from commerce_api.zone_notices import PATH, RENEW_SECONDS, TOLERANCE_SECONDS, NoticeRefused
from tests.commerce_api.test_payment import handed_off, view_of
from tests.commerce_api.world import BRAND, World, commerce_world
from tokenization.wire import ChargeState, Notice

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """A commerce side on either database."""
    async with commerce_world(tmp_path, database_url) as made:
        yield made


def body_of(
    checkout: str, payment: str, kind: str = "charge.succeeded", merchant: str = BRAND, of: str | None = None
) -> bytes:
    told = Notice(
        notice="ntc_abc",
        kind=kind,
        happened_at="2026-11-27T09:00:00.000Z",
        merchant=merchant,
        checkout=checkout,
        payment=payment,
        charge="chg_abc",
        modification=of,
    )
    return told.model_dump_json(exclude_none=True).encode()


def signed(world: World, body: bytes, *, secret: bytes | None = None, late_seconds: int = 0) -> dict[str, str]:
    at = world.clock() // 1000 - late_seconds
    digest = hmac.new(secret or world.vault.secret, f"ntc_abc.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": "ntc_abc",
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


async def post(world: World, body: bytes, headers: dict[str, str]) -> int:
    transport = httpx.ASGITransport(commerce_app(world.commerce))
    async with httpx.AsyncClient(transport=transport, base_url="http://commerce") as client:
        return (await client.post(PATH, content=body, headers=headers)).status_code


async def in_payment(world: World) -> tuple[str, str]:
    """A checkout whose charge came to no answer, and its payment."""
    checkout = await handed_off(world)
    await world.commerce.payments.capture_link(BRAND, checkout)
    world.vault.capture()
    world.vault.next_outcome = ChargeState.UNKNOWN
    await world.commerce.payments.advance(BRAND, checkout)
    return checkout, world.vault.asked[0].payment


async def paid(world: World) -> tuple[str, str]:
    checkout, payment = await in_payment(world)
    world.vault.settle(payment, ChargeState.SUCCEEDED)
    body = body_of(checkout, payment)
    assert await post(world, body, signed(world, body)) == 200
    return checkout, payment


async def status(world: World, checkout: str) -> str:
    view: CheckoutView = await view_of(world, checkout)
    return view.status


async def test_a_notice_completes_the_order_without_anybody_asking(world: World) -> None:
    checkout, _ = await paid(world)
    assert await status(world, checkout) == "completed"


async def test_what_a_notice_claims_is_asked_for_and_not_believed(world: World) -> None:
    checkout, payment = await in_payment(world)
    body = body_of(checkout, payment, "charge.succeeded")
    assert await post(world, body, signed(world, body)) == 200
    assert await status(world, checkout) == "complete_in_progress", "the zone does not say that it was charged"
    assert await world.rows(order) == []


@pytest.mark.parametrize(
    "fault", ["another secret", "old", "ahead", "another body", "another id", "no signature", "v2"]
)
async def test_a_notice_that_does_not_prove_itself_changes_nothing(world: World, fault: str) -> None:
    checkout, payment = await in_payment(world)
    world.vault.settle(payment, ChargeState.SUCCEEDED)
    body = body_of(checkout, payment)
    headers = signed(world, body)
    match fault:
        case "another secret":
            headers = signed(world, body, secret=b"x" * 32)
        case "old":
            headers = signed(world, body, late_seconds=TOLERANCE_SECONDS + 1)
        case "ahead":
            headers = signed(world, body, late_seconds=-TOLERANCE_SECONDS - 1)
        case "another body":
            body = body.replace(b"charge.succeeded", b"charge.declined")
        case "another id":
            headers["webhook-id"] = "ntc_other"
        case "no signature":
            del headers["webhook-signature"]
        case "v2":
            headers["webhook-signature"] = headers["webhook-signature"].replace("v1,", "v2,")
    asked = len(world.vault.asked)
    assert await post(world, body, headers) == 400
    assert len(world.vault.asked) == asked
    assert await world.rows(order) == []


async def test_a_notice_told_twice_makes_one_order(world: World) -> None:
    checkout, payment = await paid(world)
    body = body_of(checkout, payment)
    assert await post(world, body, signed(world, body)) == 200
    assert len(await world.rows(order)) == 1


async def test_a_rotated_secret_is_asked_for_and_a_flood_of_forgeries_is_not_passed_on(world: World) -> None:
    checkout, payment = await paid(world)
    world.vault.secret = b"r" * 32
    world.clock.advance(RENEW_SECONDS)
    body = body_of(checkout, payment)
    assert await post(world, body, signed(world, body)) == 200
    asked = world.vault.secrets_given
    for _ in range(20):
        assert await post(world, body, signed(world, body, secret=b"x" * 32)) == 400
    assert world.vault.secrets_given == asked


async def test_a_refund_and_a_dispute_show_on_the_order(world: World) -> None:
    checkout, payment = await paid(world)
    world.vault.amend(payment, captured_minor=5_000, refunded_minor=1_200, disputed_minor=300)
    body = body_of(checkout, payment, "modification.settled")
    assert await post(world, body, signed(world, body)) == 200
    [row] = await world.rows(order)
    assert (row.captured_minor, row.refunded_minor, row.disputed_minor) == (5_000, 1_200, 300)
    assert len(await world.events("order.money_changed")) == 1
    assert await post(world, body, signed(world, body)) == 200
    assert len(await world.events("order.money_changed")) == 1, "told again, nothing changed"
    world.vault.amend(payment, refunded_minor=0)
    back = body_of(checkout, payment, "modification.returned")
    assert await post(world, back, signed(world, back)) == 200
    [row] = await world.rows(order)
    assert row.refunded_minor == 0, "the refund came back"
    changed = [json.loads(event.entry)["data"]["reason"] for event in await world.events("order.money_changed")]
    assert changed == ["disputed", "refund_returned"]


async def test_while_the_zone_cannot_be_asked_it_is_to_be_sent_again(world: World) -> None:
    checkout, payment = await in_payment(world)
    body = body_of(checkout, payment)
    headers = signed(world, body)
    assert await post(world, body, headers) == 200
    world.vault.down = True
    assert await post(world, body, headers) == 503


async def test_garbage_is_refused(world: World) -> None:
    for body in (b"", b"{}", b"\xff", b'{"notice": 1}', b"[" * 4000):
        assert await post(world, body, signed(world, body)) in (400, 422)
    with pytest.raises(NoticeRefused):
        await world.commerce.notices.take("ntc_abc", "1", "v1,x", b"x" * 5000)


async def test_a_merchant_that_the_zone_does_not_know_is_refused(world: World) -> None:
    body = body_of("chk_a", "pay_a", merchant="nobody")
    assert await post(world, body, signed(world, body)) == 400
