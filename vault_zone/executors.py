"""Who carries out which dangerous act, once two operators agree. A new act brings its executor here (operations.py, 4)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from sqlalchemy import select, update

from audit.event import Event, EventType
from audit.transaction import Transaction
from vault_zone import key_life
from vault_zone.attention import carry_out_decision
from vault_zone.key_rows import ORIGIN
from vault_zone.models import card_grant
from vault_zone.operations import Act, Executor, Operation, finish

if TYPE_CHECKING:
    from vault_zone.runtime import Zone


async def revoke_grants(zone: "Zone", approved: Operation) -> None:
    """Takes back every grant of the merchant that could still be used, in one transaction, and forgets their codes."""

    def work(tx: Transaction) -> list[str]:
        live = (
            card_grant.c.merchant == approved.merchant,
            card_grant.c.revoked_ms.is_(None),
            card_grant.c.uses_left > 0,
            card_grant.c.expires_ms > tx.now_ms,
        )
        grants = list(tx.execute(select(card_grant.c.id).where(*live)).scalars())
        for grant in grants:
            tx.record(
                Event(
                    type=EventType.GRANT_REVOKED,
                    outcome="success",
                    actor=approved.requested_by,
                    principal=approved.decided_by or "",
                    origin=ORIGIN,
                    resource=grant,
                    merchant=approved.merchant or "",
                    data={"reason": "all_of_the_merchant"},
                )
            )
        tx.execute(update(card_grant).where(*live).values(revoked_ms=tx.now_ms))
        finish(tx, approved)
        return grants

    for grant in await zone.database.change(work):
        zone.codes.forget(grant)


async def retire_key(zone: "Zone", approved: Operation) -> None:
    """Ends a key's sealing, in one transaction."""
    key, merchant = approved.subject or "", approved.merchant or ""

    def work(tx: Transaction) -> None:
        key_life.retire(tx, key, merchant, approved.requested_by)
        finish(tx, approved)

    await zone.database.change(work)
    zone.keys.forget_merchant(merchant)


async def destroy_keys(zone: "Zone", approved: Operation) -> None:
    """Destroys every key of the merchant. It reaches beyond the database, and is made to be repeated (key_life.py)."""
    await key_life.destroy_merchant(zone.keys, zone.database, approved.merchant or "", approved.requested_by)
    await zone.database.change(lambda tx: finish(tx, approved))


EXECUTORS: Final[Mapping[Act, Executor]] = {
    Act.REVOKE_GRANTS: revoke_grants,
    Act.RETIRE_KEY: retire_key,
    Act.DESTROY_KEYS: destroy_keys,
    Act.RESOLVE_AS_SUCCEEDED: carry_out_decision,
    Act.RESOLVE_AS_FAILED: carry_out_decision,
}
