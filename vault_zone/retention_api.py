"""What is kept of each table and by which rule, for operators and auditors, over mutual TLS. Counts and times, no row."""

from typing import Annotated

from fastapi import APIRouter

from tokenization.wire import Wire
from vault_zone.access import EVERY_MERCHANT, Permitted
from vault_zone.callers import ZoneIn, asks
from vault_zone.retention import report
from vault_zone.roles import Verb

router = APIRouter(prefix="/v1")


class KeptView(Wire):
    """One table. ``expired`` rows are past their time; ``overdue`` ones for longer than the sweep's interval explains.

    ``dead`` rows are deleted, and their bytes may still be in the table's file (PostgreSQL); they were last taken out at
    ``cleared_ms``.
    """

    table: str
    rows: int
    oldest_ms: int | None
    expired: int
    overdue: int
    next_expiry_ms: int | None
    rule: str
    requirement: str
    dead: int | None
    cleared_ms: int | None


class RetentionReport(Wire):
    """Every table of the zone, at ``now_ms``."""

    now_ms: int
    tables: tuple[KeptView, ...]


@router.get("/retention")
async def get_retention(zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.READ_RETENTION)]) -> RetentionReport:
    """What is kept, by which rule, and whether anything is on disk past its time."""
    caller.acting_for(EVERY_MERCHANT)
    now_ms = zone.clock()
    tables = await zone.database.read(lambda connection: report(connection, now_ms))
    return RetentionReport(now_ms=now_ms, tables=tuple(KeptView(**kept._asdict()) for kept in tables))
