"""Takes the bytes of deleted rows out of PostgreSQL's files, where a deletion alone leaves them.

What holds:
 1. A table that rows were deleted from, or whose rows lost sealed bytes, is vacuumed after a sweep, outside any transaction. A
    process that has just started does so for all of them: the one before may have died between the two. After that, so is a
    table of which PostgreSQL itself counts dead rows, whoever deleted them.
 2. Where rows hold sealed bytes the table is written anew (VACUUM FULL): a plain VACUUM frees the space in a page and leaves
    what stood there. That takes the table for itself, so it waits for its lock as long as Database.vacuum says and no longer.
 3. What could not be done (a lock, an older snapshot that still sees the rows, no permission) stays due, and is tried again.

On SQLite there is nothing to do: sweeping.py, 6.
"""

import structlog
from sqlalchemy import Table

from audit.transaction import Database, Vacuumed
from tokenization.clock import Clock
from vault_zone.models import card_record, data_key
from vault_zone.retention import RULES

SEALED_TABLES = (card_record, data_key)
CLEAR_SECONDS = 300  # between two of one table: a card's bytes are in the file this long past its row at most
log = structlog.get_logger("vault_zone")


class Clearing:
    """Which tables still may hold the bytes of deleted rows."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._tables = sorted((rule.table for rule in RULES if rule.until is not None), key=lambda table: table.name)
        self._due = set(self._tables)  # (1)
        self._next_ms: dict[Table, int] = {}

    def note(self, *tables: Table) -> None:
        """Rows were deleted from these tables, or sealed bytes out of their rows."""
        self._due.update(tables)

    async def clear(self, *, at_once: bool = False) -> None:
        """Vacuums what is due, or has dead rows, and has its turn; with ``at_once`` it is everybody's turn."""
        if self._database.is_sqlite:
            return
        for table in self._tables:
            now_ms = self._clock()
            if not at_once and now_ms < self._next_ms.get(table, 0):
                continue
            self._next_ms[table] = now_ms + CLEAR_SECONDS * 1000
            is_due = table in self._due
            self._due.discard(table)  # first: what is deleted meanwhile makes it due again
            done = await self._database.vacuum(table, rewrite=table in SEALED_TABLES, only_if_dead=not is_due)  # (2)
            if done is not Vacuumed.CLEARED:  # (3)
                self._due.add(table)
                log.warning("deleted_rows_not_cleared", table=table.name, reason=done.value)
