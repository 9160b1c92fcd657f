"""A stolen grant or token is worth nothing outside its binding (I4): an attack for each field, on both databases.

An attack is made on the engine, as a caller would make it: nothing reaches the processor, nothing of the grant is used, no
event says that it was, and every refusal is the same. The planted faults take one condition out at a time, and the attack on
it then gets through.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.exc import IntegrityError

from audit.store import audit_event
from audit.transaction import Transaction
from tests.requirement import requirement
from tests.vault_zone.fake_processor import FakeProcessor
from tests.vault_zone.saving import SHOPPER, grant_row, granted, saved_card
from tests.vault_zone.world import ACTOR, MERCHANT, World, charge_request, usd, zone_world
from tokenization.money import Money
from tokenization.token import is_token, new_grant
from tokenization.wire import Charge
from vault_zone import grants
from vault_zone.card import Cvc
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.grants import Asked, binding, consume_grant, list_grants, revoke_grant
from vault_zone.models import card_grant, charge
from vault_zone.processors.port import Outcome

pytestmark = pytest.mark.anyio
CEILING, LIFETIME_SECONDS = 10_000, 600
RIGHT = {"checkout": "chk_a", "amount_minor": CEILING, "merchant": MERCHANT, "currency": "USD"}
Fields = dict[str, object]
Attack = Callable[[World, str], Awaitable[tuple[str, Fields]]]


async def on_another_merchant(_: World, grant: str) -> tuple[str, Fields]:
    return grant, {"merchant": "somebody-else"}


async def on_another_checkout(_: World, grant: str) -> tuple[str, Fields]:
    return grant, {"checkout": "chk_other"}


async def in_another_currency(_: World, grant: str) -> tuple[str, Fields]:
    return grant, {"currency": "EUR"}


async def for_a_cent_more(_: World, grant: str) -> tuple[str, Fields]:
    return grant, {"amount_minor": CEILING + 1}


async def for_a_cent_more_in_parts(world: World, grant: str) -> tuple[str, Fields]:
    world.processor.outcome = Outcome.DECLINED
    await world.engine.charge(charge_request(grant, **{**RIGHT, "amount_minor": CEILING - 1}), ACTOR)
    world.processor.outcome = Outcome.SUCCEEDED
    return grant, {"amount_minor": 2}


async def through_another_processor(world: World, grant: str) -> tuple[str, Fields]:
    world.connect(FakeProcessor("somewhere-else"))
    return grant, {}


async def at_the_millisecond_in_which_it_ends(world: World, grant: str) -> tuple[str, Fields]:
    world.clock.now_ms = (await grant_row(world, grant)).expires_ms
    return grant, {}


async def after_it_was_revoked(world: World, grant: str) -> tuple[str, Fields]:
    await world.database.change(lambda tx: revoke_grant(tx, grant=grant, merchant=MERCHANT, actor=ACTOR))
    return grant, {}


async def after_its_last_use(world: World, grant: str) -> tuple[str, Fields]:
    world.processor.outcome = Outcome.DECLINED
    for _ in range(2):
        await world.engine.charge(charge_request(grant, **{**RIGHT, "amount_minor": 1}), ACTOR)
    world.processor.outcome = Outcome.SUCCEEDED
    return grant, {"amount_minor": 1}


async def with_a_guessed_grant(world: World, _: str) -> tuple[str, Fields]:
    return new_grant(), {}


async def with_the_token_as_a_grant(world: World, grant: str) -> tuple[str, Fields]:
    return (await grant_row(world, grant)).token, {}


async def with_another_merchants_card(world: World, _: str) -> tuple[str, Fields]:
    token = await saved_card(world, merchant="another-shop")
    return await granted(world, token, merchant="another-shop", ceiling_minor=CEILING), {}


ATTACKS: dict[str, tuple[str, Attack]] = {
    "grant": ("grant", with_a_guessed_grant),
    "token": ("grant", with_the_token_as_a_grant),
    "merchant": ("merchant", on_another_merchant),
    "card": ("merchant", with_another_merchants_card),
    "checkout": ("checkout", on_another_checkout),
    "currency": ("currency", in_another_currency),
    "ceiling": ("ceiling", for_a_cent_more),
    "parts": ("ceiling", for_a_cent_more_in_parts),
    "processor": ("processor", through_another_processor),
    "expiry": ("expiry", at_the_millisecond_in_which_it_ends),
    "revoked": ("revoked", after_it_was_revoked),
    "uses": ("uses", after_its_last_use),
}


async def a_grant(world: World) -> str:
    """A grant with every field bound: two uses, one processor."""
    token = await saved_card(world)
    return await granted(
        world, token, ceiling_minor=CEILING, uses=2, processor="fake", lifetime_seconds=LIFETIME_SECONDS
    )


async def refusal_of(world: World, grant: str, **other: object) -> ZoneError | None:
    try:
        await world.engine.charge(charge_request(grant, **{**RIGHT, **other}), ACTOR)
    except ZoneRefusal as refusal:
        return refusal.kind
    return None


async def standing(world: World) -> tuple[object, ...]:
    """All that a charge would change: grants, charges, the record's length, the processor's calls."""

    def read(connection):  # type: ignore[no-untyped-def]  # a connection
        uses = connection.execute(select(card_grant.c.id, card_grant.c.uses_left, card_grant.c.used_minor)).all()
        charges = connection.execute(select(func.count()).select_from(charge)).scalar_one()
        events = connection.execute(select(func.count()).select_from(audit_event)).scalar_one()
        return sorted(uses), charges, events

    return (*(await world.database.read(read)), world.processor.calls)


def without(field: str) -> Callable[[Asked, int], dict[str, ColumnElement[bool]]]:
    """The binding with one condition taken out."""

    def planted(asked: Asked, now_ms: int) -> dict[str, ColumnElement[bool]]:
        return {name: condition for name, condition in binding(asked, now_ms).items() if name != field}

    return planted


@requirement("7.2.6")
@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_grant_outside_its_binding_does_nothing_and_every_refusal_is_the_same(
    database_url: str, attack: str
) -> None:
    async with zone_world(database_url) as world:
        grant, other = await ATTACKS[attack][1](world, await a_grant(world))
        before = await standing(world)
        assert await refusal_of(world, grant, **other) is ZoneError.GRANT_NOT_USABLE
        assert await standing(world) == before


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_planted_gap_in_the_binding_lets_its_attack_through(
    database_url: str, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    field, make = ATTACKS[attack]
    async with zone_world(database_url) as world:
        grant, other = await make(world, await a_grant(world))
        monkeypatch.setattr(grants, "binding", without(field))
        asked = charge_request(grant, **{**RIGHT, **other})

        def use(tx: Transaction) -> None:
            consume_grant(
                tx,
                grant=grant,
                merchant=asked.merchant,
                checkout=asked.checkout,
                amount=Money(asked.amount_minor, asked.currency),
                actor=ACTOR,
                processors=world.processors.names,
            )

        if field in ("ceiling", "uses"):  # the database's own check is what is left
            with pytest.raises(IntegrityError, match="ck_card_grant"):
                await world.database.change(use)
        else:
            await world.database.change(use)


async def test_the_attacks_do_not_spoil_the_grant_for_its_owner(database_url: str) -> None:
    async with zone_world(database_url) as world:
        grant = await a_grant(world)
        for other in ({"merchant": "somebody-else"}, {"checkout": "chk_other"}, {"currency": "EUR"}):
            await refusal_of(world, grant, **other)
        world.clock.now_ms = (await grant_row(world, grant)).expires_ms - 1
        assert await refusal_of(world, grant) is None, "up to its last millisecond"


async def test_a_security_code_is_not_spoiled_by_an_attack_either(database_url: str) -> None:
    async with zone_world(database_url) as world:
        grant = await world.captured_grant()
        assert await refusal_of(world, grant, checkout="chk_other") is ZoneError.GRANT_NOT_USABLE
        assert await refusal_of(world, grant) is None
        assert world.processor.seen[0][3] == "737"


async def test_a_grant_that_needs_a_code_charges_nothing_without_it(database_url: str) -> None:
    async with zone_world(database_url) as world:
        grant = await world.captured_grant()
        world.codes.forget(grant)
        before = await standing(world)
        assert await refusal_of(world, grant) is ZoneError.SECURITY_CODE_GONE
        assert await standing(world) == before


async def test_a_grant_is_used_in_parts_up_to_its_ceiling(database_url: str) -> None:
    async with zone_world(database_url) as world:
        grant = await a_grant(world)
        world.processor.outcome = Outcome.DECLINED
        assert await refusal_of(world, grant, amount_minor=4_000) is None
        world.processor.outcome = Outcome.SUCCEEDED
        assert await refusal_of(world, grant, amount_minor=6_000) is None
        row = await grant_row(world, grant)
        assert (row.uses_left, row.used_minor) == (0, CEILING)


async def test_a_use_that_ends_at_another_guard_is_not_counted(database_url: str) -> None:
    """One checkout has one live charge; the grant's use is in the transaction that says so."""
    async with zone_world(database_url) as world:
        grant = await a_grant(world)
        assert await refusal_of(world, grant, amount_minor=4_000) is None
        before = await standing(world)
        assert await refusal_of(world, grant, amount_minor=4_000) is ZoneError.CHECKOUT_ALREADY_CHARGED
        assert await standing(world) == before


async def test_one_use_taken_by_many_at_once_is_taken_once(database_url: str) -> None:
    async with zone_world(database_url) as world:
        token = await saved_card(world)
        grant = await granted(world, token, ceiling_minor=CEILING)

        def use(tx: Transaction) -> bool:
            consume_grant(
                tx, grant=grant, merchant=MERCHANT, checkout="chk_a", amount=usd(1), actor=ACTOR, processors=("fake",)
            )
            return True

        answers = await asyncio.gather(*(world.database.change(use) for _ in range(8)), return_exceptions=True)
        assert [answer for answer in answers if answer is True] == [True]
        assert all(isinstance(answer, ZoneRefusal) for answer in answers if answer is not True)


async def test_parts_taken_by_many_at_once_stay_under_the_ceiling(database_url: str) -> None:
    async with zone_world(database_url) as world:
        grant = await granted(world, await saved_card(world), ceiling_minor=CEILING, uses=20)

        def use(tx: Transaction) -> bool:
            consume_grant(
                tx,
                grant=grant,
                merchant=MERCHANT,
                checkout="chk_a",
                amount=usd(3_000),
                actor=ACTOR,
                processors=("fake",),
            )
            return True

        answers = await asyncio.gather(*(world.database.change(use) for _ in range(8)), return_exceptions=True)
        assert answers.count(True) == 3
        row = await grant_row(world, grant)
        assert (row.uses_left, row.used_minor) == (17, 9_000)


async def test_a_grant_is_revoked_once_and_its_code_forgotten(database_url: str) -> None:
    async with zone_world(database_url) as world:
        grant = await world.captured_grant()
        changed = [
            await world.database.change(lambda tx: revoke_grant(tx, grant=grant, merchant=MERCHANT, actor=ACTOR))
            for _ in range(2)
        ]
        assert changed == [True, False]
        assert await refusal_of(world, grant) is ZoneError.GRANT_NOT_USABLE
        for merchant, foreign in (("somebody-else", grant), (MERCHANT, new_grant())):
            with pytest.raises(ZoneRefusal) as refused:
                await world.database.change(partial(revoke_grant, grant=foreign, merchant=merchant, actor=ACTOR))
            assert refused.value.kind is ZoneError.NOT_FOUND


async def test_grants_are_listed_for_their_merchant_with_no_more_of_the_card_than_last_four(database_url: str) -> None:
    async with zone_world(database_url) as world:
        token = await saved_card(world)
        grant = await granted(world, token, ceiling_minor=CEILING)
        other = await granted(world, token, ceiling_minor=CEILING, checkout="chk_b")
        await saved_card(world, shopper="shp_else")
        by_checkout = await world.database.read(lambda c: list_grants(c, MERCHANT, checkout="chk_b"))
        assert [info.grant for info in by_checkout] == [other]
        by_token = await world.database.read(lambda c: list_grants(c, MERCHANT, token=token))
        assert {grant, other} < {info.grant for info in by_token}, "and the one that came with its capture"
        assert {(info.brand, info.last4) for info in by_token} == {("visa", "4242")}
        assert await world.database.read(lambda c: list_grants(c, "somebody-else", token=token)) == []


async def test_a_card_is_granted_to_its_own_shopper_and_merchant_alone(database_url: str) -> None:
    async with zone_world(database_url) as world:
        token = await saved_card(world)
        one_purchase = (await grant_row(world, await world.captured_grant(checkout="chk_once"))).token
        for wrong in ({"shopper": "shp_else"}, {"merchant": "another-shop"}, {"token": one_purchase}):
            fields = {"merchant": MERCHANT, "shopper": SHOPPER, "token": token, **wrong}
            with pytest.raises(ZoneRefusal) as refused:
                await granted(world, ceiling_minor=CEILING, **fields)
            assert refused.value.kind is ZoneError.NOT_FOUND


async def test_a_token_alone_is_no_grant(database_url: str) -> None:
    async with zone_world(database_url) as world:
        made = await world.engine.charge(charge_request(await world.captured_grant()), ACTOR)
        assert isinstance(made, Charge)
        assert not any(is_token(str(value)) for value in made.model_dump().values()), "a charge shows no token"


async def test_an_expired_grant_does_not_charge_even_with_its_code_held(database_url: str) -> None:
    async with zone_world(database_url) as world:
        grant = await world.captured_grant()
        world.clock.advance(3600)
        world.codes.hold(grant, Cvc.parse("737", None))
        assert await refusal_of(world, grant) is ZoneError.GRANT_NOT_USABLE


async def test_a_time_that_was_moved_back_in_the_row_is_what_counts(database_url: str) -> None:
    async with zone_world(database_url) as world:
        grant = await a_grant(world)
        now_ms = world.clock.now_ms
        await world.database.maintain(
            lambda tx: tx.execute(update(card_grant).where(card_grant.c.id == grant).values(expires_ms=now_ms))
        )
        assert await refusal_of(world, grant) is ZoneError.GRANT_NOT_USABLE
