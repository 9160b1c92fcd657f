"""What the zone does by itself, again and again: each chore in a task of its own.

What holds:
 1. A chore that hangs delays no other one: a processor that does not answer keeps no card from being swept, and no entry of the
    books from its place in the chain.
 2. A chore that fails is told of and tried again; the others do not hear of it.
 3. A chore has one pass at a time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from audit.transaction import Database
from vault_zone.charge import ChargeEngine
from vault_zone.forward.engine import ForwardEngine
from vault_zone.key_life import finish_destructions
from vault_zone.keyring import KeyRing
from vault_zone.lapsing import Lapses
from vault_zone.ledger.chain import seal
from vault_zone.modifications import Modifications
from vault_zone.reconciliation.explaining import Explaining
from vault_zone.security_codes import SecurityCodes
from vault_zone.sweeping import Sweeper

INTERVAL_SECONDS = 1.0  # from the end of a pass to the next
RECOVER_SECONDS = 60  # longer than any charge is under way; what is pending then has nobody who sends it
FORWARD_RECOVER_SECONDS = 120  # as above: twice the longest that a destination's entry may allow


class Chore(NamedTuple):
    """Something to be done again and again; ``run`` is one pass."""

    name: str
    run: Callable[[], Awaitable[object]]


def chores_of(
    database: Database,
    engine: ChargeEngine,
    modifications: Modifications,
    lapses: Lapses,
    forwards: ForwardEngine,
    codes: SecurityCodes,
    keys: KeyRing,
    sweeper: Sweeper,
) -> Sequence[Chore]:
    """The zone's chores. Those that ask a processor do nothing else beside it (1)."""

    async def forget_codes() -> None:
        codes.forget_expired()

    return (
        Chore("security_codes", forget_codes),
        Chore("charges_recovered", lambda: engine.recover(idle_seconds=RECOVER_SECONDS)),
        Chore("charges_resolved", engine.resolve_unknown),
        Chore("modifications_recovered", lambda: modifications.recover(idle_seconds=RECOVER_SECONDS)),
        Chore("modifications_resolved", modifications.resolve_unknown),
        Chore("abandoned_ended", lapses.end_abandoned),
        Chore("expired_ended", lapses.end_expired),
        Chore("people_told", lapses.tell_of_what_has_no_end),
        Chore("forwards_recovered", lambda: forwards.recover(idle_seconds=FORWARD_RECOVER_SECONDS)),
        Chore("retention", sweeper.sweep),
        Chore("key_destruction", lambda: finish_destructions(keys, database)),
        Chore("breaks_explained", Explaining(database).look),
        Chore("ledger_sealing", lambda: seal(database)),
    )


async def keep(chore: Chore, failed: Callable[[str, Exception], None]) -> None:
    """Does the chore until cancelled (3). ``failed`` is told of each pass that fails, by the chore's name (2)."""
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        try:
            await chore.run()
        except Exception as failure:  # noqa: BLE001  # the database may be away for a while; what was to be done waits
            failed(chore.name, failure)
