"""A stolen grant or token is worth nothing outside its binding (I4): an attack for each field, on both databases."""

import asyncio

import pytest
from sqlalchemy import update

from audit.transaction import Transaction
from tests.vault_zone.world import MERCHANT, World, charge_request, usd, zone_world
from tokenization.token import is_token, new_grant
from tokenization.wire import Charge
from vault_zone.card import Cvc
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.grants import consume_grant
from vault_zone.models import card_grant

pytestmark = pytest.mark.anyio

ATTACKS: dict[str, tuple[dict[str, object], ZoneError]] = {
    "another merchant": ({"merchant": "somebody-else"}, ZoneError.GRANT_NOT_USABLE),
    "another checkout": ({"checkout": "chk_other"}, ZoneError.GRANT_NOT_USABLE),
    "another currency": ({"currency": "EUR"}, ZoneError.GRANT_NOT_USABLE),
    "one cent over the ceiling": ({"amount_minor": 10_906}, ZoneError.GRANT_NOT_USABLE),
}


async def refusal_of(world: World, grant: str, **other: object) -> ZoneError | None:
    try:
        await world.engine.charge(charge_request(grant, **other), "service:commerce")
    except ZoneRefusal as refusal:
        return refusal.kind
    return None


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_grant_outside_its_binding_charges_nothing(database_url: str, attack: str) -> None:
    other, expected = ATTACKS[attack]
    async with zone_world(database_url) as world:
        grant = await world.captured_grant()
        assert await refusal_of(world, grant, **other) is expected
        assert world.processor.calls == 0
        assert await refusal_of(world, grant) is None, "and the attempt does not spoil the grant for its owner"


async def test_less_than_the_ceiling_may_be_charged(database_url: str) -> None:
    async with zone_world(database_url) as world:
        assert await refusal_of(world, await world.captured_grant(), amount_minor=1) is None


async def test_a_grant_past_its_time_charges_nothing(database_url: str) -> None:
    async with zone_world(database_url) as world:
        grant = await world.captured_grant()
        world.clock.advance(3600)
        world.codes.hold(grant, Cvc.parse("737", None))
        assert await refusal_of(world, grant) is ZoneError.GRANT_NOT_USABLE


async def test_a_revoked_grant_charges_nothing(database_url: str) -> None:
    async with zone_world(database_url) as world:
        grant = await world.captured_grant()

        def revoke(tx: Transaction) -> None:
            tx.execute(update(card_grant).where(card_grant.c.id == grant).values(revoked_ms=tx.now_ms))

        await world.database.maintain(revoke)
        assert await refusal_of(world, grant) is ZoneError.GRANT_NOT_USABLE


async def test_a_used_grant_charges_nothing_more(database_url: str) -> None:
    async with zone_world(database_url) as world:
        grant = await world.captured_grant()
        assert await refusal_of(world, grant) is None
        world.codes.hold(grant, Cvc.parse("737", None))
        assert await refusal_of(world, grant) is ZoneError.GRANT_NOT_USABLE
        assert world.processor.money_taken() == 1


async def test_a_made_up_grant_is_refused_in_the_same_words_as_a_foreign_one(database_url: str) -> None:
    async with zone_world(database_url) as world:
        await world.captured_grant()
        made_up = new_grant()
        world.codes.hold(made_up, Cvc.parse("737", None))
        assert await refusal_of(world, made_up) is ZoneError.GRANT_NOT_USABLE


async def test_one_use_taken_by_many_at_once_is_taken_once(database_url: str) -> None:
    async with zone_world(database_url) as world:
        grant = await world.captured_grant()

        def use(tx: Transaction) -> bool:
            consume_grant(
                tx,
                grant=grant,
                merchant=MERCHANT,
                checkout="chk_a",
                amount=usd(1),
                actor="service:commerce",
                processor="fake",
            )
            return True

        answers = await asyncio.gather(*(world.database.change(use) for _ in range(8)), return_exceptions=True)
        assert [answer for answer in answers if answer is True] == [True]
        assert all(isinstance(answer, ZoneRefusal) for answer in answers if answer is not True)


async def test_a_token_alone_is_no_grant(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await world.engine.charge(charge_request(await world.captured_grant()), "service:commerce")
        assert isinstance(charge, Charge)
        assert not any(is_token(str(value)) for value in charge.model_dump().values()), "a charge shows no token"
