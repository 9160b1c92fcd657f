"""Ends what nobody ends: abandoned authentications, authorizations past their time; and tells a person of what has no end.

What holds:
 1. A charge whose shopper does not come back from the bank is let go at the processor after ``abandon_seconds``, by a void or
    by the processor's own end. The record is asked first: who came back in time has paid.
 2. An authorization past its time is ended by the processor's record. Only where there is no record to ask, or where it says
    nothing of a rest, does the processor's own lifetime end it.
 3. What is under way is waited for: nothing is ended beneath a capture or a void.
 4. What is still without an end after its time gets a person's attention, once. It goes on being asked about.
"""

import contextlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Select, Table, bindparam, or_, select, update
from sqlalchemy.engine import Connection, Row

from audit.event import EventType
from audit.transaction import Database, Transaction
from tokenization.clock import Clock
from tokenization.ids import new_id
from tokenization.wire import ChargeState, ModificationKind, ModificationRequest, ModificationState
from vault_zone.charge import ChargeEngine
from vault_zone.charge_rows import BATCH, OPEN_MODIFICATION, charge_row, open_kinds
from vault_zone.errors import ZoneRefusal
from vault_zone.models import charge, modification
from vault_zone.modifications import ABANDONED, Modifications
from vault_zone.processors.port import Feature, Outcome, ProcessorAnswer
from vault_zone.processors.registry import Processors
from vault_zone.routing_policy import Patience
from vault_zone.settling import Data, Settler, charge_event, modification_needs_attention, needs_attention

ACTOR = "service:vault_zone"
RETRY_SECONDS = 60  # before a void that had no effect is tried anew, and a processor that did not answer is asked
RECHECK_SECONDS = 3600  # before an authorization that outlives its time is asked about again
UNKNOWN_TOO_LONG = "unknown_too_long"
NOT_ENDED = "not_ended"
RECORD_ABSENT = "record_absent"
_Due = tuple["Row[Any]", str]
# Every pass asks these, so they are made once: to build a statement takes longer than to run it.
_TRIED = select(modification.c.charge_id).where(
    modification.c.kind == ModificationKind.VOID,
    or_(modification.c.state.in_(OPEN_MODIFICATION), modification.c.intended_ms > bindparam("tried_since_ms")),
)
_ABANDONED = (
    select(charge.c.id, charge.c.merchant, charge.c.payment)
    .where(
        charge.c.state == ChargeState.ACTION_REQUIRED,
        charge.c.changed_ms <= bindparam("left_by_ms"),
        charge.c.attention.is_(None),  # a person has it now
        charge.c.id.not_in(_TRIED),
    )
    .order_by(charge.c.changed_ms)
    .limit(BATCH)
)
_EXPIRED = (
    select(charge)
    .where(
        charge.c.is_closed.is_(False),
        charge.c.authorized_until_ms <= bindparam("now_ms"),
        charge.c.attention.is_(None),
    )
    .order_by(charge.c.authorized_until_ms)
    .limit(BATCH)
)


class Lapses:
    """The sweeps over charges and modifications."""

    def __init__(
        self,
        database: Database,
        processors: Processors,
        engine: ChargeEngine,
        modifications: Modifications,
        *,
        clock: Clock,
        patience: Patience | None = None,
    ) -> None:
        self._database = database
        self._processors = processors
        self._engine = engine
        self._settler: Settler = engine.settler
        self._modifications = modifications
        self._clock = clock
        self._patience = patience or Patience()

    async def sweep(self) -> None:
        """One pass over everything that may have lapsed."""
        await self.end_abandoned()
        await self.end_expired()
        await self.tell_of_what_has_no_end()

    async def end_abandoned(self) -> int:
        """Lets go of charges whose shoppers did not come back (1); returns how many it asked about."""
        now_ms = self._clock()
        due = await self._database.read(lambda connection: self._abandoned(connection, now_ms))
        for row in due:
            if await self._engine.resolve(row.id):  # (1)
                continue
            asked = ModificationRequest(
                request=new_id("abn"),
                merchant=row.merchant,
                payment=row.payment,
                kind=ModificationKind.VOID,
                reason=ABANDONED,
            )
            with contextlib.suppress(
                ZoneRefusal
            ):  # it has moved meanwhile, or nothing can be begun now: the next pass sees
                await self._modifications.modify(asked, ACTOR)
        return len(due)

    async def end_expired(self) -> int:
        """Ends authorizations past their time (2); returns how many it asked about."""
        now_ms = self._clock()
        due = await self._database.read(lambda connection: _expired(connection, now_ms))
        for row in due:
            processor = self._processors.get(row.processor)
            if processor is None:
                continue
            answer = await processor.find(row.id, row.processor_charge, row.intended_ms)
            has_record = Feature.QUERY in processor.features
            if answer is not None and answer.outcome is Outcome.AUTHORIZED:
                await self._ask_again(row.id, now_ms + RECHECK_SECONDS * 1000)
            elif has_record and answer is not None and answer.outcome is Outcome.UNKNOWN:
                await self._ask_again(row.id, now_ms + RETRY_SECONDS * 1000)  # so that the others get their turn
            else:
                await self._end(row, answer, has_record=has_record)
        return len(due)

    async def tell_of_what_has_no_end(self) -> int:
        """A person is told of what is without an end for too long (4); returns how many charges and modifications."""
        now_ms = self._clock()
        if not any(await self._database.read(lambda connection: self._without_end(connection, now_ms))):
            return 0
        return await self._database.change(self._tell)

    def _abandoned(self, connection: Connection, now_ms: int) -> "Sequence[Row[Any, Any, Any]]":
        moments = {
            "tried_since_ms": now_ms - RETRY_SECONDS * 1000,
            "left_by_ms": now_ms - self._patience.abandon_seconds * 1000,
        }
        return connection.execute(_ABANDONED, moments).all()

    async def _end(self, row: "Row[Any]", answer: ProcessorAnswer | None, *, has_record: bool) -> None:
        await self._database.change(lambda tx: self._end_in(tx, row, answer, has_record))

    def _end_in(self, tx: Transaction, row: "Row[Any]", answer: ProcessorAnswer | None, has_record: bool) -> None:
        kinds = {kind for kind, _ in open_kinds(tx.connection, row.id)}
        if kinds - {ModificationKind.REFUND}:
            return  # (3)
        if answer is not None:
            self._settler.charge(tx, row.id, answer, row.processor)
        now = charge_row(tx.connection, row.id)
        if now is None or now.is_closed:
            return
        if has_record and answer is None:
            needs_attention(tx, now, RECORD_ABSENT, ACTOR)
            return
        self._settler.let_go(tx, now, ChargeState.EXPIRED, source_id=row.id)
        if now.captured_minor:  # its state stays: that the rest was let go is on record all the same
            data: Data = {"payment": now.payment, "checkout": now.checkout, "from": now.state, "currency": now.currency}
            data["amount_minor"] = now.authorized_minor - now.captured_minor
            tx.record(charge_event(EventType.CHARGE_EXPIRED, now.id, now.merchant, ACTOR, data))

    async def _ask_again(self, charge_id: str, at_ms: int) -> None:
        """The processor holds it for longer than it says of itself, or does not say."""
        await self._database.maintain(
            lambda tx: tx.execute(update(charge).where(charge.c.id == charge_id).values(authorized_until_ms=at_ms))
        )

    def _without_end(self, connection: Connection, now_ms: int) -> "tuple[list[_Due], list[_Due]]":
        """The charges and the modifications that have waited for too long, each with why."""
        unknown_ms = self._patience.unknown_seconds * 1000
        abandoned_ms = self._patience.abandon_seconds * 1000 + unknown_ms
        accepted_ms = self._patience.accepted_seconds * 1000
        charges = [
            *_waiting(connection, charge, ChargeState.UNKNOWN, now_ms - unknown_ms, UNKNOWN_TOO_LONG),
            *_waiting(connection, charge, ChargeState.ACTION_REQUIRED, now_ms - abandoned_ms, NOT_ENDED),
        ]
        acts = [
            *_waiting(connection, modification, ModificationState.UNKNOWN, now_ms - unknown_ms, UNKNOWN_TOO_LONG),
            *_waiting(connection, modification, ModificationState.ACCEPTED, now_ms - accepted_ms, NOT_ENDED),
        ]
        return charges, acts

    def _tell(self, tx: Transaction) -> int:
        charges, acts = self._without_end(tx.connection, tx.now_ms)
        for row, reason in charges:
            needs_attention(tx, row, reason, ACTOR)
        for row, reason in acts:
            modification_needs_attention(tx, row, reason, ACTOR)
        return len(charges) + len(acts)


def _expired(connection: Connection, now_ms: int) -> "Sequence[Row[Any]]":
    return connection.execute(_EXPIRED, {"now_ms": now_ms}).all()


def _waiting(connection: Connection, table: Table, state: str, before_ms: int, reason: str) -> "list[_Due]":
    rows = connection.execute(_waiting_in(table), {"in_state": state, "before_ms": before_ms})
    return [(row, reason) for row in rows]


@cache
def _waiting_in(table: Table) -> "Select[Any]":
    columns = table.c
    still = (columns.state == bindparam("in_state"), columns.changed_ms <= bindparam("before_ms"))
    return select(table).where(columns.attention.is_(None), *still).limit(BATCH)
