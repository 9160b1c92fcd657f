"""Who carries out which dangerous act, once two operators agree. A new act brings its executor here (operations.py, 4)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from sqlalchemy import Column, ColumnElement, select, update

from audit.event import Event, EventType
from audit.transaction import Transaction
from vault_zone import key_life
from vault_zone.attention import carry_out_decision
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.key_rows import ORIGIN
from vault_zone.ledger import posting
from vault_zone.models import card_grant, card_record
from vault_zone.operations import Act, Executor, Operation, finish
from vault_zone.saved_cards import erase_card

if TYPE_CHECKING:
    from vault_zone.runtime import Zone

BATCH_CARDS: Final = 200  # deleted in one transaction


async def revoke_grants(zone: "Zone", approved: Operation) -> None:
    """Takes back every usable grant of the merchant, or of every one, in one transaction, and forgets their codes."""

    def work(tx: Transaction) -> list[str]:
        live = (
            *_of(card_grant.c.merchant, approved),
            card_grant.c.revoked_ms.is_(None),
            card_grant.c.uses_left > 0,
            card_grant.c.expires_ms > tx.now_ms,
        )
        grants = {
            row.id: row.merchant for row in tx.execute(select(card_grant.c.id, card_grant.c.merchant).where(*live))
        }
        for grant, merchant in grants.items():
            tx.record(
                Event(
                    type=EventType.GRANT_REVOKED,
                    outcome="success",
                    actor=approved.requested_by,
                    principal=approved.decided_by or "",
                    origin=ORIGIN,
                    resource=grant,
                    merchant=merchant,
                    data={"reason": "all_of_the_merchant"},
                )
            )
        tx.execute(update(card_grant).where(*live).values(revoked_ms=tx.now_ms))
        finish(tx, approved)
        return list(grants)

    for grant in await zone.database.change(work):
        zone.codes.forget(grant)


async def delete_cards(zone: "Zone", approved: Operation) -> None:
    """Deletes every card that the merchant, or every merchant, had when it was approved: each with its consent and grants.

    In bounded transactions, the last of which finishes; what was deleted before a crash is not there to be deleted again.
    """

    def work(tx: Transaction) -> tuple[int, list[str]]:
        due = tx.execute(
            select(card_record.c.token, card_record.c.merchant, card_record.c.shopper)
            .where(card_record.c.created_ms <= (approved.decided_ms or 0), *_of(card_record.c.merchant, approved))
            .limit(BATCH_CARDS)
        ).all()
        grants = list[str]()
        for row in due:
            gone = {"token": row.token, "merchant": row.merchant, "shopper": row.shopper}
            grants += erase_card(tx, **gone, actor=approved.requested_by, reason="asked")
        if len(due) < BATCH_CARDS:
            finish(tx, approved)
        return len(due), grants

    deleted = BATCH_CARDS
    while deleted == BATCH_CARDS:
        deleted, grants = await zone.database.change(work)
        for grant in grants:
            zone.codes.forget(grant)
        zone.sweeper.note_deletion()


async def destroy_key(zone: "Zone", approved: Operation) -> None:
    """Destroys one retired key with the cards under it, in one transaction."""
    key, merchant = approved.subject or "", approved.merchant or ""

    def work(tx: Transaction) -> None:
        key_life.destroy_key(tx, key, merchant, approved.requested_by, with_cards=True)
        finish(tx, approved)

    await zone.database.change(work)
    zone.keys.forget(key)
    zone.sweeper.note_deletion()


async def destroy_keys(zone: "Zone", approved: Operation) -> None:
    """Destroys every key of the merchant. It reaches beyond the database, and is made to be repeated (key_life.py)."""
    await key_life.destroy_merchant(zone.keys, zone.database, approved.merchant or "", approved.requested_by)
    await zone.database.change(lambda tx: finish(tx, approved))
    zone.sweeper.note_deletion()


def _of(merchant: Column[str], approved: Operation) -> tuple[ColumnElement[bool], ...]:
    """The condition on the merchant; none for an act that concerns every one."""
    return () if approved.merchant is None else (merchant == approved.merchant,)


async def reverse_entry(zone: "Zone", approved: Operation) -> None:
    """Undoes an entry of the merchant's books by its opposite, in one transaction."""

    def work(tx: Transaction) -> None:
        done = posting.reverse(tx, approved.subject or "", approved.merchant or "")
        if done.outcome is not posting.Outcome.APPLIED:
            raise ZoneRefusal(ZoneError.ENTRY_NOT_REVERSIBLE)
        tx.record(
            Event(
                type=EventType.LEDGER_REVERSED,
                outcome="success",
                actor=approved.requested_by,
                principal=approved.decided_by or "",
                origin=ORIGIN,
                resource=approved.subject or "",
                merchant=approved.merchant or "",
                data={"entry": done.entry or "", "operation": approved.id},
            )
        )
        finish(tx, approved)

    await zone.database.change(work)


EXECUTORS: Final[Mapping[Act, Executor]] = {
    Act.REVOKE_GRANTS: revoke_grants,
    Act.DELETE_CARDS: delete_cards,
    Act.DESTROY_KEY: destroy_key,
    Act.DESTROY_KEYS: destroy_keys,
    Act.REVERSE_ENTRY: reverse_entry,
    Act.RESOLVE_AS_SUCCEEDED: carry_out_decision,
    Act.RESOLVE_AS_FAILED: carry_out_decision,
}
