"""What a processor's verified notice changes, in one transaction: applied once, in whatever order notices come.

What holds:
 1. A notice's id goes into the inbox in the transaction that applies it: a repeated one finds it there.
 2. It moves only what the moves of states.py allow from where things stand: a late or repeated one changes nothing.
 3. It is about a charge of the processor that sent it; whatever else stays in the inbox, and that is all.
 4. A capture, void or refund that was not asked for through Cordon gets a row of its own, once.
 5. That a charge was declined is not taken from a notice while its call is under way: the call's own answer says the same,
    and what is to be done next.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Row

from audit.event import EventType
from audit.transaction import Transaction
from tokenization.wire import ChargeState, ModificationKind
from vault_zone.charge_rows import charge_at_processor, charge_row, modification_at_processor, modification_row
from vault_zone.models import webhook_inbox
from vault_zone.processors.port import (
    DisputeNews,
    Feature,
    ModificationNews,
    ModificationOutcome,
    Outcome,
    ProcessorAnswer,
    ProcessorEvent,
)
from vault_zone.processors.registry import Processors
from vault_zone.settling import Settler, charge_event, needs_attention

CAPTURE_FAILED = "capture_failed"
Disputes = Callable[[Transaction, "Row[Any]", DisputeNews], None]  # the charge it is about, and what is said


def not_disputed(tx: Transaction, row: "Row[Any]", news: DisputeNews) -> None:
    """Does nothing with a dispute."""


class Notices:
    """Applies notices; inside the caller's transaction."""

    def __init__(self, processors: Processors, settler: Settler, disputes: Disputes = not_disputed) -> None:
        self._processors = processors
        self._settler = settler
        self._disputes = disputes

    def apply(self, tx: Transaction, event: ProcessorEvent, processor: str) -> str | None:
        """Applies a notice. The id of the charge it was about, or None: of none of ours, or applied before."""
        inbox = (webhook_inbox.c.processor == processor, webhook_inbox.c.event_id == event.event_id)
        if tx.connection.execute(select(webhook_inbox.c.event_id).where(*inbox)).first() is not None:
            return None  # (1)
        tx.execute(webhook_inbox.insert().values(processor=processor, event_id=event.event_id, received_ms=tx.now_ms))
        row = self._about(tx, event, processor)
        resource, merchant = (row.id, row.merchant) if row is not None else (f"processor:{processor}", "")
        tx.record(charge_event(EventType.WEBHOOK_RECEIVED, resource, merchant, f"processor:{processor}", {}))
        if row is None:  # (3)
            return None
        if isinstance(event.news, ProcessorAnswer):
            if not self._call_will_tell(row, event.news):
                self._settler.charge(tx, row.id, event.news, processor, is_notice=True)
        elif isinstance(event.news, ModificationNews):
            self._modified(tx, row, event.news, event.event_id)
        else:
            self._disputes(tx, row, event.news)
        return str(row.id)

    def _about(self, tx: Transaction, event: ProcessorEvent, processor: str) -> "Row[Any] | None":
        row = charge_row(tx.connection, event.reference) if event.reference else None
        if row is None and event.processor_charge:
            row = charge_at_processor(tx.connection, processor, event.processor_charge)
        return row

    def _call_will_tell(self, row: "Row[Any]", news: ProcessorAnswer) -> bool:
        """(5) Where the call dies, recover() asks the record; so only where there is one."""
        ended = news.outcome in (Outcome.DECLINED, Outcome.NEVER_SENT)
        return ended and row.state == ChargeState.PENDING and self._processors.has(row.processor, Feature.QUERY)

    def _modified(self, tx: Transaction, row: "Row[Any]", news: ModificationNews, event_id: str) -> None:
        reference = news.answer.processor_reference or event_id
        known = modification_row(tx.connection, news.reference) if news.reference is not None else None
        if known is None or known.charge_id != row.id:  # not ours, or told by the charge's own reference
            known = modification_at_processor(tx.connection, row.id, news.kind, reference)
        if known is not None:
            self._settler.modification(tx, known.id, news.answer)
        elif news.kind is ModificationKind.CAPTURE and row.is_closed:  # the processor's own, with the authorization
            if news.answer.outcome is ModificationOutcome.DECLINED:
                needs_attention(tx, row, CAPTURE_FAILED, f"processor:{row.processor}", keeps_first=True)
        else:  # (4)
            self._settler.outside(tx, row, news.kind, news.amount, reference, news.answer)
