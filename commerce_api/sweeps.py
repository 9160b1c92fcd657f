"""What goes on without anybody asking: payments whose caller went away, checkouts and reservations whose time is over.

Each sweep is a pass over rows that say themselves what is due, so a pass may die anywhere and the next one carries on. What
waits for nobody is looked for every second, what was kept for weeks and months every hour.
"""

import asyncio
from functools import partial

import structlog
from sqlalchemy import select
from sqlalchemy.engine import Connection

from audit.transaction import Database, Transaction
from commerce_api import stock
from commerce_api.authorization import grants
from commerce_api.brands import find_brand
from commerce_api.checkout import service
from commerce_api.checkout.states import CHANGEABLE
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.idempotency import forget_old
from commerce_api.memory import consents, facts
from commerce_api.models import checkout as checkout_table
from commerce_api.offering import budget, model_calls, outcomes
from commerce_api.payment import Payments, Turn
from tokenization.logs import cause_of

INTERVAL_SECONDS = 1.0
FORGETTING_SECONDS = 3_600  # what is kept for weeks and months may stay an hour longer
LIMIT = 50  # rows of a kind in one pass: a pass stays short, the next one takes the rest
log = structlog.get_logger("commerce_api")


async def run(database: Database, payments: Payments) -> None:
    """Sweeps until cancelled."""
    after, forgetting_ms = Turn(), 0
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        try:
            after = await sweep(database, payments, after)
            if payments.clock() >= forgetting_ms:
                await forget(database)
                forgetting_ms = payments.clock() + FORGETTING_SECONDS * 1000
        except Exception as failure:  # noqa: BLE001  # the database may be away for a while; the rows wait
            log.warning("sweep_failed", cause=cause_of(failure))


async def sweep(database: Database, payments: Payments, after: Turn | None = None) -> Turn:
    """One pass: payments first, so that nothing that was paid expires. Returns where the next pass goes on."""
    waiting, turn = await payments.waiting(LIMIT, after or Turn())
    for brand, checkout in waiting:
        try:
            await payments.advance(brand, checkout)
        except CommerceRefusal as refusal:
            log.info("payment_waits", reason=refusal.kind.code)
            if refusal.kind is CommerceError.PAYMENT_UNAVAILABLE and not await payments.zone_answers(brand):
                break  # the zone is away: asking for each of the others would only take time
        except Exception as failure:  # noqa: BLE001  # one checkout's trouble must not keep the others from their turn
            log.warning("payment_not_advanced", cause=cause_of(failure))
    await _give_back(payments)
    await _expire_overdue(database, payments)
    await database.change(lambda tx: stock.release_lapsed(tx, LIMIT))
    await database.maintain(lambda tx: budget.release_lapsed(tx, LIMIT))
    await database.maintain(lambda tx: model_calls.forget_old(tx, LIMIT))
    await database.maintain(lambda tx: facts.forget_old(tx, LIMIT))
    await database.maintain(lambda tx: consents.forget_old(tx, LIMIT))
    await database.maintain(forget_old)
    await database.maintain(grants.forget_old)
    return turn


async def forget(database: Database) -> None:
    """Deletes every decision whose time is over, so many in a transaction that others have theirs between."""
    while await database.maintain(lambda tx: outcomes.forget_old(tx, LIMIT)):
        pass


async def _give_back(payments: Payments) -> None:
    try:
        await payments.late.give_back_due(LIMIT)
    except CommerceRefusal as refusal:
        log.info("return_waits", reason=refusal.kind.code)


async def _expire_overdue(database: Database, payments: Payments) -> None:
    now_ms = payments.clock()
    for brand, checkout in await database.read(lambda connection: _overdue(connection, now_ms)):
        try:
            await database.change(partial(_expire, brand_id=brand, checkout_id=checkout, offer_key=payments.offer_key))
        except Exception as failure:  # noqa: BLE001  # as above
            log.warning("checkout_not_expired", cause=cause_of(failure))


def _overdue(connection: Connection, now_ms: int) -> list[tuple[str, str]]:
    rows = connection.execute(
        select(checkout_table.c.brand, checkout_table.c.id)
        .where(checkout_table.c.state.in_(CHANGEABLE), checkout_table.c.expires_ms <= now_ms)
        .limit(LIMIT)
    )
    return [(row.brand, row.id) for row in rows]


def _expire(tx: Transaction, brand_id: str, checkout_id: str, offer_key: bytes) -> None:
    brand = find_brand(tx.connection, brand_id)
    service.expire(tx, service.load(tx.connection, brand, checkout_id, None, offer_key, tx.now_ms, as_stored=True))
