"""That the books are only ever added to, told to the database itself: triggers, the same from the tables and from the revision.

What they hold, whoever is connected, but for the tables' owner and a superuser, who can turn them off:
 1. A posting is never changed or deleted. An entry is never deleted, and changed once only: when it gets its place and digest
    in the chain, with every other column as it was.
 2. An account is never deleted; its balance moves only together with its count of postings, by one.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import DDL, Table, event

REFUSAL: Final = "the ledger is append-only"
APPEND_ONLY: Final = ("ledger_posting", "ledger_entry", "ledger_account")
_ENTRY = (
    "id",
    "merchant",
    "kind",
    "source",
    "charge_id",
    "processor",
    "currency",
    "amount_minor",
    "reverses",
    "recorded_ms",
)
_SAME_ENTRY = " AND ".join(f"new.{name} IS {{same}} old.{name}" for name in _ENTRY)
_SEALS = "old.place IS NULL AND new.place IS NOT NULL AND new.chain_digest IS NOT NULL AND " + _SAME_ENTRY
_COUNTS = (
    "new.postings = old.postings + 1 AND new.merchant = old.merchant AND new.processor = old.processor "
    "AND new.currency = old.currency AND new.kind = old.kind"
)


def triggers(dialect: str, table: str) -> Sequence[str]:
    """The statements that guard one of APPEND_ONLY's tables, in the words of ``sqlite`` or ``postgresql``."""
    allowed = {"ledger_posting": "", "ledger_entry": _SEALS, "ledger_account": _COUNTS}[table]
    return _sqlite(table, allowed) if dialect == "sqlite" else _postgresql(table, allowed)


def _sqlite(table: str, allowed: str) -> Sequence[str]:
    when = f"WHEN NOT ({allowed.format(same='')}) " if allowed else ""
    refuse = f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
    return (
        f"CREATE TRIGGER {table}_unchanged BEFORE UPDATE ON {table} {when}{refuse}",
        f"CREATE TRIGGER {table}_kept BEFORE DELETE ON {table} {refuse}",
    )


def _postgresql(table: str, allowed: str) -> Sequence[str]:
    when = f"WHEN (NOT ({allowed.format(same='NOT DISTINCT FROM')})) " if allowed else ""
    body = f"$$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$"
    run = "EXECUTE FUNCTION ledger_is_append_only()"
    return (
        f"CREATE OR REPLACE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS {body}",
        f"CREATE TRIGGER {table}_unchanged BEFORE UPDATE ON {table} FOR EACH ROW {when}{run}",
        f"CREATE TRIGGER {table}_kept BEFORE DELETE ON {table} FOR EACH ROW {run}",
        f"CREATE TRIGGER {table}_whole BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {run}",
    )


def guard(*tables: Table) -> None:
    """Has the triggers made with the tables."""
    for table in tables:
        for dialect in ("sqlite", "postgresql"):
            for statement in triggers(dialect, table.name):
                event.listen(table, "after_create", DDL(statement).execute_if(dialect=dialect))  # type: ignore[no-untyped-call]
