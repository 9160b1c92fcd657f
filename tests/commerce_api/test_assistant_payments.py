"""A checkout paid by an assistant with a token of its platform's: only what was confirmed, within its limits, at most once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from audit.transaction import Transaction
from commerce_api import assistant_payments
from commerce_api.brands import find_brand, save_brand
from commerce_api.checkout import confirmation
from commerce_api.checkout.service import ANONYMOUS, Caller
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import checkout, oauth_grant, order, payment, variant
from commerce_api.schemas import AddressGiven, BuyerGiven, CheckoutGiven, CheckoutView, LineGiven
from commerce_api.vault_client import VaultUnavailable
from tests.commerce_api.purchases import MUG
from tests.commerce_api.test_payment import basket, view_of
from tests.commerce_api.world import BRAND, BRAND_NAME, CURRENCY, PUBLIC_URL, World, commerce_world
from tokenization.ids import new_id
from tokenization.wire import ChargeState

pytestmark = pytest.mark.anyio
GUEST = Caller(ANONYMOUS, "test")
GRANT = new_id("agr")
SHOPPER = Caller("shopper:shp_robin", "test", GRANT)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with commerce_world(tmp_path) as built:
        await built.let_assistants_pay()
        yield built


async def refused(awaited: object) -> CommerceError | None:
    """The kind of refusal; None where it was done."""
    try:
        await awaited  # type: ignore[misc]
    except CommerceRefusal as refusal:
        return refusal.kind
    return None


async def made(world: World, caller: Caller = GUEST, quantity: int = 1) -> CheckoutView:
    """A checkout that may be paid."""
    return await world.desk.create_checkout(BRAND, caller, basket(quantity), None)


def token_for(world: World, view: CheckoutView) -> str:
    """What the platform gets for just this checkout."""
    return world.vault.delegate(view.checkout_id, view.totals.total.amount_minor)


async def paid(world: World, view: CheckoutView, token: str, caller: Caller = GUEST) -> CheckoutView:
    """Pays it as it was shown."""
    return await world.desk.complete_checkout(
        BRAND, caller, view.checkout_id, confirmation=view.confirmation, payment_token=token
    )


async def allow(world: World, limit_minor: int | None, revoked_ms: int | None = None) -> None:
    """A shopper's grant."""

    def work(tx: Transaction) -> None:
        tx.execute(
            insert(oauth_grant).values(
                id=GRANT,
                brand=BRAND,
                client="https://assistant.example/client",
                shopper="shp_robin",
                scope="checkout:write payments:execute",
                resource="r",
                created_ms=tx.now_ms,
                expires_ms=tx.now_ms + 10**9,
                revoked_ms=revoked_ms,
                limit_minor=limit_minor,
            )
        )

    await world.commerce.database.maintain(work)


async def reprice(world: World, price_minor: int) -> None:
    """The merchant changes the mug's price."""
    await world.commerce.database.maintain(
        lambda tx: tx.execute(update(variant).where(variant.c.id == MUG).values(price_minor=price_minor))
    )


async def test_a_confirmed_checkout_is_paid_at_once_on_either_database(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        await world.let_assistants_pay()
        view = await made(world)
        told = await paid(world, view, token_for(world, view))
        assert (told.status, told.continue_url) == ("completed", None)
        placed = await world.desk.get_order(BRAND, GUEST, told.order_id or "")
        assert placed.totals.total == view.totals.total
        assert placed.paid_with.last4 == "4242"
        assert "open_capture" not in world.vault.calls
        assert len(await world.events("payment.started")) == 1


async def test_the_same_call_again_pays_nothing_more_and_tells_the_same(world: World) -> None:
    view = await made(world)
    token = token_for(world, view)
    told = [await paid(world, view, token) for _ in range(3)]
    assert {one.order_id for one in told} == {told[0].order_id}
    assert len(world.vault.charges) == len(await world.rows(payment)) == len(await world.rows(order)) == 1


async def test_a_lost_reply_leaves_one_payment_that_the_next_call_ends(world: World) -> None:
    view = await made(world)
    token = token_for(world, view)
    world.vault.lose_reply = True
    assert (await paid(world, view, token)).status == "complete_in_progress"
    world.vault.lose_reply = False
    assert (await paid(world, view, token)).status == "completed"
    assert len(world.vault.charges) == 1


@pytest.mark.parametrize("said", [None, "", "cnf_" + "b" * 32])
async def test_what_was_not_confirmed_is_not_paid(world: World, said: str | None) -> None:
    view = await made(world)
    call = world.desk.complete_checkout(
        BRAND, GUEST, view.checkout_id, confirmation=said, payment_token=token_for(world, view)
    )
    assert await refused(call) is CommerceError.CONFIRMATION_STALE
    assert await world.rows(payment) == []


async def test_a_confirmation_stands_for_each_thing_that_is_shown(world: World) -> None:
    def given(
        quantity: int = 1, option: str = "standard", city: str = "Portland", email: str = "robin@shopper.example"
    ) -> CheckoutGiven:
        return CheckoutGiven(
            lines=[LineGiven(variant_id=MUG, quantity=quantity)],
            buyer=BuyerGiven(email=email),
            shipping_address=AddressGiven(line1="12 Quay Street", city=city, postal_code="97209", country="US"),
            shipping_option_id=option,
        )

    view = await world.desk.create_checkout(BRAND, GUEST, given(), None)
    others = [given(quantity=2), given(option="express"), given(city="Salem"), given(email="morgan@shopper.example")]
    seen = {view.confirmation}
    for other in others:
        changed = await world.desk.update_checkout(BRAND, GUEST, view.checkout_id, other, None)
        seen.add(changed.confirmation)
        call = paid(world, view, token_for(world, changed))
        assert await refused(call) is CommerceError.CONFIRMATION_STALE
    assert len(seen) == 1 + len(others)
    back = await world.desk.update_checkout(BRAND, GUEST, view.checkout_id, given(), None)
    assert back.confirmation == view.confirmation
    assert (await paid(world, view, token_for(world, back))).status == "completed"


async def reship(world: World, **changes: Any) -> None:
    """The merchant's policy has another way of shipping under each id."""

    def work(tx: Transaction) -> None:
        policy = find_brand(tx.connection, BRAND).policy
        options = tuple(option.model_copy(update=changes) for option in policy.shipping_options)
        changed = policy.model_copy(update={"shipping_options": options})
        save_brand(tx, name=BRAND_NAME, currency=CURRENCY, policy=changed)

    await world.commerce.database.change(work)


@pytest.mark.parametrize("changes", [{"title": "By sea"}, {"delivery_days_max": 90}])
async def test_a_way_of_shipping_that_became_another_is_shown_before_it_is_paid(
    world: World, changes: dict[str, Any]
) -> None:
    view = await made(world)
    await reship(world, **changes)
    fresh = await view_of(world, view.checkout_id)
    token = token_for(world, view)
    assert fresh.totals == view.totals
    assert await refused(paid(world, view, token)) is CommerceError.CONFIRMATION_STALE
    assert (await paid(world, fresh, token)).status == "completed"


async def test_planted_fault_by_its_id_alone_slower_shipping_is_paid_unseen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirmation, "_shipping", lambda current: current.priced.shipping_option_id)
    view = await made(world)
    await reship(world, delivery_days_max=90)
    assert (await paid(world, view, token_for(world, view))).status == "completed"


@pytest.mark.parametrize("handed_over", [False, True])
async def test_a_price_that_changed_goes_back_to_the_shopper_first(world: World, handed_over: bool) -> None:
    view = await made(world)
    token = world.vault.delegate(view.checkout_id, 50_000)
    if handed_over:
        await world.desk.complete_checkout(BRAND, GUEST, view.checkout_id)
    await reprice(world, 4_000)
    first = await refused(paid(world, view, token))
    fresh = await view_of(world, view.checkout_id)
    assert first is (None if handed_over else CommerceError.CONFIRMATION_STALE)
    assert fresh.status == "ready_for_complete"
    assert fresh.totals.total.amount_minor > view.totals.total.amount_minor
    assert await refused(paid(world, view, token)) is CommerceError.CONFIRMATION_STALE
    assert world.vault.charges == {}
    assert (await paid(world, fresh, token)).status == "completed"
    [charge] = world.vault.charges.values()
    assert charge.amount_minor == fresh.totals.total.amount_minor


async def test_planted_fault_without_the_confirmation_a_changed_price_is_paid(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = await made(world)
    await reprice(world, 4_000)
    monkeypatch.setattr(assistant_payments, "confirmation_of", lambda _: view.confirmation)
    told = await paid(world, view, world.vault.delegate(view.checkout_id, 50_000))
    assert told.status == "completed"
    assert told.totals.total.amount_minor > view.totals.total.amount_minor


async def test_a_confirmed_hand_off_of_something_else_is_refused_too(world: World) -> None:
    view = await made(world)
    await reprice(world, 4_000)
    stale = world.desk.complete_checkout(BRAND, GUEST, view.checkout_id, confirmation=view.confirmation)
    assert await refused(stale) is CommerceError.CONFIRMATION_STALE
    fresh = await view_of(world, view.checkout_id)
    handed = await world.desk.complete_checkout(BRAND, GUEST, view.checkout_id, confirmation=fresh.confirmation)
    assert handed.status == "requires_escalation"
    assert handed.confirmation == fresh.confirmation


@pytest.mark.parametrize("token", ["", "vt_", "tok_" + "b" * 32, "grt_" + "b" * 32, "4111", "vt_" + "b" * 31 + "\n"])
async def test_what_is_no_platforms_token_is_refused_before_anything_is_written(world: World, token: str) -> None:
    view = await made(world)
    assert await refused(paid(world, view, token)) is CommerceError.PAYMENT_TOKEN_INVALID
    assert await world.rows(payment) == []


async def test_a_grant_of_a_capture_page_is_none_whoever_knows_it(world: World) -> None:
    view = await made(world)
    await world.desk.complete_checkout(BRAND, GUEST, view.checkout_id)
    await world.commerce.payments.capture_link(BRAND, view.checkout_id)
    grant = world.vault.capture().grant or ""
    assert await refused(paid(world, view, grant)) is CommerceError.PAYMENT_TOKEN_INVALID


async def test_another_checkouts_token_pays_nothing_and_the_shopper_can_still_pay(world: World) -> None:
    one, other = await made(world), await made(world)
    told = await paid(world, one, token_for(world, other))
    assert told.status == "requires_escalation"
    assert [message.code for message in told.messages if message.type == "warning"] == ["payment_declined"]
    assert world.vault.charges == {}
    await world.commerce.payments.capture_link(BRAND, one.checkout_id)
    world.vault.capture()
    await world.commerce.payments.advance(BRAND, one.checkout_id)
    assert (await view_of(world, one.checkout_id)).status == "completed"


async def test_a_decline_is_told_and_its_token_begins_no_second_payment(world: World) -> None:
    view = await made(world)
    token = token_for(world, view)
    world.vault.next_outcome = [ChargeState.DECLINED]
    for _ in range(2):
        told = await paid(world, view, token)
        assert told.status == "requires_escalation"
        assert "insufficient funds" in next(m.content for m in told.messages if m.code == "payment_declined")
    assert len(await world.rows(payment)) == 1


async def test_a_brand_that_does_not_let_assistants_pay_leaves_it_to_the_shopper(tmp_path: Path) -> None:
    async with commerce_world(tmp_path) as world:
        view = await made(world)
        assert await refused(paid(world, view, token_for(world, view))) is CommerceError.PAYMENT_NOT_ALLOWED
        handed = await world.desk.complete_checkout(BRAND, GUEST, view.checkout_id)
        assert (handed.continue_url or "").startswith(f"{PUBLIC_URL}/{BRAND}/checkout/{view.checkout_id}")


async def test_a_purchase_above_the_brands_maximum_is_left_to_the_shopper(world: World) -> None:
    view = await made(world)
    await world.let_assistants_pay(maximum_minor=view.totals.total.amount_minor - 1)
    assert await refused(paid(world, view, token_for(world, view))) is CommerceError.SPENDING_LIMIT
    await world.let_assistants_pay(maximum_minor=view.totals.total.amount_minor)
    assert (await paid(world, view, token_for(world, view))).status == "completed"


async def test_what_is_paid_under_a_grant_stays_within_its_limit(world: World) -> None:
    view = await made(world, SHOPPER)
    total_minor = view.totals.total.amount_minor
    await allow(world, 2 * total_minor)
    for _ in range(2):
        assert (await paid(world, view, token_for(world, view), SHOPPER)).status == "completed"
        view = await made(world, SHOPPER)
    assert await refused(paid(world, view, token_for(world, view), SHOPPER)) is CommerceError.SPENDING_LIMIT
    assert len(world.vault.charges) == 2
    handed = await world.desk.complete_checkout(BRAND, SHOPPER, view.checkout_id)
    assert (handed.continue_url or "").startswith(f"{PUBLIC_URL}/{BRAND}/checkout/{view.checkout_id}")


async def test_what_did_not_come_about_uses_up_nothing_and_what_may_yet_come_about_does(world: World) -> None:
    view = await made(world, SHOPPER)
    await allow(world, view.totals.total.amount_minor)
    world.vault.next_outcome = [ChargeState.DECLINED]
    await paid(world, view, token_for(world, view), SHOPPER)
    second = await made(world, SHOPPER)
    world.vault.next_outcome = [VaultUnavailable()]
    assert (await paid(world, second, token_for(world, second), SHOPPER)).status == "complete_in_progress"
    third = await made(world, SHOPPER)
    assert await refused(paid(world, third, token_for(world, third), SHOPPER)) is CommerceError.SPENDING_LIMIT


@pytest.mark.parametrize(("limit_minor", "revoked_ms"), [(None, None), (10**6, 1)])
async def test_a_grant_without_a_limit_or_one_that_was_revoked_pays_nothing(
    world: World, limit_minor: int | None, revoked_ms: int | None
) -> None:
    await allow(world, limit_minor, revoked_ms)
    view = await made(world, SHOPPER)
    assert await refused(paid(world, view, token_for(world, view), SHOPPER)) is CommerceError.PAYMENT_NOT_ALLOWED


async def test_a_shopper_whose_sign_in_is_not_ours_pays_on_the_page(world: World) -> None:
    caller = Caller("shopper:shp_robin", "test")
    view = await made(world, caller)
    assert await refused(paid(world, view, token_for(world, view), caller)) is CommerceError.PAYMENT_NOT_ALLOWED


async def _two_at_once(world: World) -> int:
    views = [await made(world, SHOPPER) for _ in range(4)]
    await allow(world, views[0].totals.total.amount_minor)
    calls = [refused(paid(world, view, token_for(world, view), SHOPPER)) for view in views]
    return list(await asyncio.gather(*calls)).count(None)


async def test_payments_at_once_under_one_grant_count_one_after_the_other(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        await world.let_assistants_pay()
        assert await _two_at_once(world) == 1
        assert len(world.vault.charges) == 1


async def test_planted_fault_without_the_limit_all_of_them_pay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assistant_payments, "_within_limit", lambda *_: None)
    assert await _two_at_once(world) == 4


async def test_a_token_and_a_card_on_the_page_at_once_make_one_charge(world: World) -> None:
    view = await made(world)
    await world.desk.complete_checkout(BRAND, GUEST, view.checkout_id)
    await world.commerce.payments.capture_link(BRAND, view.checkout_id)
    world.vault.capture()
    await asyncio.gather(
        refused(paid(world, view, token_for(world, view))),
        refused(world.commerce.payments.advance(BRAND, view.checkout_id)),
    )
    await world.commerce.payments.advance(BRAND, view.checkout_id)
    assert [row.state for row in await world.rows(checkout)] == ["completed"]
    assert len(world.vault.charges) == 1
