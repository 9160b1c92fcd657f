"""Reports over HTTP: begin one by its file's digest, hand in its lines in batches, end it; list and resolve breaks."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import Row

from audit.event import looks_like_card
from tokenization.wire import Digest, Wire
from vault_zone.access import Permitted
from vault_zone.callers import ZoneIn, asks
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.reconciliation.breaks import open_breaks, resolve
from vault_zone.reconciliation.importing import BATCH_LIMIT, FINISHED, begin, finish, judge, read_lines
from vault_zone.reconciliation.line import Line
from vault_zone.reconciliation.matching import Code
from vault_zone.roles import Verb

router = APIRouter(prefix="/v1/merchants/{merchant}")
ProcessorName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,19}$")]
Explanation = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._:/@+,=#()\[\]*~-]{2,199}$")]


class BeginSettlement(Wire):
    """A report, known by its processor and its file's digest."""

    processor: ProcessorName
    digest: Digest


class SettlementView(Wire):
    """Where the reading of a report stands."""

    settlement: str
    processor: str
    is_finished: bool
    lines: int
    matched: int
    breaks: int = 0


class SettlementLines(Wire):
    """Lines in the file's order. ``dry_run``: only say what they would come to."""

    lines: Annotated[tuple[Line, ...], Field(min_length=1, max_length=BATCH_LIMIT)]
    dry_run: bool = False


class LinesRead(Wire):
    """How many lines were new, how many of them agree, how many breaks they brought."""

    lines: int
    matched: int
    breaks: int
    codes: tuple[Code, ...] = ()


class BreakView(Wire):
    """Where a report and the books do not agree. Amounts with the report's sign."""

    broken: str
    code: Code
    processor: str
    subject: str
    charge: str | None
    ours_minor: int | None
    theirs_minor: int | None
    currency: str
    entry: str | None
    found_ms: int
    resolved_ms: int | None
    resolved_by: str | None
    reason: str | None


class BreakList(Wire):
    """Oldest first."""

    now_ms: int
    breaks: tuple[BreakView, ...]


class ResolveBreak(Wire):
    """Why the report and the books did not agree."""

    reason: Explanation


@router.post("/settlements")
async def post_settlement(
    merchant: str, asked: BeginSettlement, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.RECONCILE)]
) -> SettlementView:
    """Begins a report, or says how far the same file was read before."""
    row = await zone.database.change(lambda tx: begin(tx, merchant, asked.processor, asked.digest, caller.actor))
    return SettlementView(
        settlement=row.id,
        processor=row.processor,
        is_finished=row.state == FINISHED,
        lines=row.lines,
        matched=row.matched,
    )


@router.post("/settlements/{settlement}/lines")
async def post_lines(
    merchant: str,
    settlement: str,
    asked: SettlementLines,
    zone: ZoneIn,
    caller: Annotated[Permitted, asks(Verb.RECONCILE)],
) -> LinesRead:
    """Takes lines in, or with ``dry_run`` says what they would come to: then the path names the processor."""
    if asked.dry_run:
        verdicts = await zone.database.read(lambda c: judge(c, merchant, settlement, asked.lines))
        codes = tuple(verdict.code for verdict in verdicts if verdict.code is not None)
        return LinesRead(lines=len(verdicts), matched=len(verdicts) - len(codes), breaks=len(codes), codes=codes)
    done = await zone.database.change(
        lambda tx: read_lines(tx, merchant, settlement, asked.lines, caller.actor, zone.engine.settle_from_report)
    )
    return LinesRead(lines=done.lines, matched=done.matched, breaks=len(done.breaks))


@router.post("/settlements/{settlement}/finish")
async def post_end(
    merchant: str, settlement: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.RECONCILE)]
) -> LinesRead:
    """Ends a report: what was captured in its time and does not stand in it becomes a break."""
    done = await zone.database.change(lambda tx: finish(tx, merchant, settlement, caller.actor))
    return LinesRead(lines=done.lines, matched=done.matched, breaks=len(done.breaks))


@router.get("/settlement-breaks")
async def get_breaks(
    merchant: str,
    zone: ZoneIn,
    caller: Annotated[Permitted, asks(Verb.READ_BREAKS)],
    resolved: bool = False,
    after: Annotated[str | None, Query(max_length=40)] = None,
) -> BreakList:
    """The merchant's open breaks, or those that were resolved."""
    rows = await zone.database.read(lambda c: open_breaks(c, merchant, resolved=resolved, after=after))
    return BreakList(now_ms=zone.clock(), breaks=tuple(map(_view, rows)))


@router.post("/settlement-breaks/{broken}/resolve")
async def post_resolution(
    merchant: str,
    broken: str,
    asked: ResolveBreak,
    zone: ZoneIn,
    caller: Annotated[Permitted, asks(Verb.RECONCILE)],
) -> BreakView:
    """Says why the report and the books did not agree. The reason stands in the record for good."""
    if looks_like_card(asked.reason):
        raise ZoneRefusal(ZoneError.INVALID_REQUEST)
    row = await zone.database.change(lambda tx: resolve(tx, merchant, broken, asked.reason, caller.actor))
    return _view(row)


def _view(row: "Row[Any]") -> BreakView:
    return BreakView(
        broken=row.id,
        code=Code(row.code),
        processor=row.processor,
        subject=row.subject,
        charge=row.charge_id,
        ours_minor=row.ours_minor,
        theirs_minor=row.theirs_minor,
        currency=row.currency,
        entry=row.entry,
        found_ms=row.found_ms,
        resolved_ms=row.resolved_ms,
        resolved_by=row.resolved_by,
        reason=row.reason,
    )
