"""Short ways to a saved card and its grants, for the tests of grants, saved cards and retention."""

from typing import Any

from sqlalchemy import Table, func, select
from sqlalchemy.engine import Row

from audit.store import audit_event
from tests.vault_zone.world import ACTOR, MERCHANT, VISA, World, a_card, capture_request
from tokenization.money import Money
from vault_zone.capture import capture_card, claim_link, open_session
from vault_zone.capture_form import CURRENT_WORDING
from vault_zone.card import Pan
from vault_zone.fingerprint import fingerprint_of
from vault_zone.models import capture_session, card_grant
from vault_zone.retention import expired_rows
from vault_zone.saved_cards import grant_saved
from vault_zone.sweeping import Sweeper

SHOPPER = "shp_robin"


async def saved_card(
    world: World,
    *,
    merchant: str = MERCHANT,
    shopper: str | None = SHOPPER,
    checkout: str = "chk_first",
    number: str = VISA,
    ticked: bool = True,
) -> str:
    """A shopper enters a card and ticks that it be saved; its token."""
    asked = capture_request(checkout=checkout, merchant=merchant).model_copy(update={"shopper": shopper})
    session, secret = await world.database.change(lambda tx: open_session(tx, asked, ACTOR))
    _, claim = await world.database.change(lambda tx: claim_link(tx, secret, None))
    mark = await fingerprint_of(world.keys, merchant, Pan.parse(number))
    await world.keys.change(
        lambda tx: capture_card(
            tx,
            world.keys,
            secret=secret,
            claim=claim,
            card=a_card(number),
            fingerprint=mark,
            wording=CURRENT_WORDING if ticked else None,
        )
    )
    token: str = await world.database.read(
        lambda c: c.execute(select(capture_session.c.token).where(capture_session.c.id == session.session)).scalar_one()
    )
    return token


async def granted(
    world: World,
    token: str,
    *,
    ceiling_minor: int,
    merchant: str = MERCHANT,
    shopper: str = SHOPPER,
    checkout: str = "chk_a",
    lifetime_seconds: int = 600,
    uses: int = 1,
    processor: str | None = None,
) -> str:
    """A grant on a saved card."""
    return await world.database.change(
        lambda tx: grant_saved(
            tx,
            token=token,
            merchant=merchant,
            shopper=shopper,
            checkout=checkout,
            ceiling=Money(ceiling_minor, "USD"),
            lifetime_seconds=lifetime_seconds,
            actor=ACTOR,
            uses=uses,
            processor=processor,
        )
    )


async def grant_row(world: World, grant: str) -> "Row[Any]":
    """The grant as it stands."""
    return await world.database.read(lambda c: c.execute(select(card_grant).where(card_grant.c.id == grant)).one())


async def recorded(world: World, kind: str, resource: str | None = None) -> int:
    """How many events of a kind there are, about one thing or any."""
    found = select(func.count()).select_from(audit_event).where(audit_event.c.type == kind)
    if resource is not None:
        found = found.where(audit_event.c.resource == resource)
    return await world.database.read(lambda c: c.execute(found).scalar_one())


def sweeper_of(world: World) -> Sweeper:
    """A sweeper, as a process that has just started has it."""
    return Sweeper(world.database, world.codes, world.clock)


async def gauge(world: World) -> dict[str, int]:
    """The tables with rows past their time, and how many."""
    now_ms = world.clock.now_ms
    found = await world.database.read(lambda c: expired_rows(c, now_ms))
    return {table: rows for table, rows in found.items() if rows}


async def count(world: World, table: Table) -> int:
    """How many rows a table has."""
    return await world.database.read(lambda c: c.execute(select(func.count()).select_from(table)).scalar_one())
