"""Captures, voids and refunds: intent → commit → call → outcome → commit, as a charge is made (charge.py).

What holds for a modification:
 1. The audit log can be written; otherwise nothing is begun (I5).
 2. The request's key is the idempotency key: the same one asked again is never a second call, another act under it is refused.
 3. The charge allows it: its state, what its processor's account can do, and what is left of its amounts.
 4. Its row, the amount it holds and their event commit together, before the processor is called. Its id goes to the processor
    as the key.
 5. No believable answer is the state ``unknown``, which ends by the processor's record only: found, or still not there after
    the time in which a request can take effect. ``accepted`` never ends by absence. Nothing is ever sent a second time.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy.engine import Row
from sqlalchemy.exc import IntegrityError

from audit.event import EventType
from audit.transaction import Database, Transaction
from tokenization.clock import Clock
from tokenization.ids import new_id
from tokenization.money import Money
from tokenization.wire import (
    FINAL_MODIFICATION_STATES,
    ChargeState,
    Modification,
    ModificationKind,
    ModificationRequest,
    ModificationState,
)
from vault_zone import charge_rows
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.ledger.events import Books, unbooked
from vault_zone.models import modification
from vault_zone.processors.port import (
    Feature,
    ModificationAnswer,
    ModificationOutcome,
    Processor,
    ProcessorModification,
)
from vault_zone.processors.registry import Processors
from vault_zone.settling import MODIFICATION_STATE_OF, Data, Settler, charge_event, hold

ABANDONED = "abandoned"  # the reason of a void that ends an authentication which nobody finished
OpenKinds = Sequence[tuple[ModificationKind, bool]]


class _Repeated(Exception):
    """Another process has begun this request meanwhile."""


class Modifications:
    """Captures, voids and refunds charges, through the processor of each."""

    def __init__(
        self,
        database: Database,
        processors: Processors,
        *,
        clock: Clock,
        log_is_writable: Callable[[], bool],
        books: Books = unbooked,
    ) -> None:
        self._database = database
        self._processors = processors
        self._settler = Settler(processors, books)
        self._clock = clock
        self._log_is_writable = log_is_writable
        self._in_flight: set[str] = set()
        self._looked_at = {ModificationState.UNKNOWN: "", ModificationState.ACCEPTED: ""}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def modify(self, asked: ModificationRequest, actor: str) -> Modification:
        """Captures, voids or refunds, at most once for its request key, and says where that stands.

        Raises ZoneRefusal: AUDIT_UNAVAILABLE, MODIFICATION_CONFLICT, NOT_FOUND, MODIFICATION_NOT_POSSIBLE,
        NOT_OFFERED_BY_PROCESSOR, AMOUNT_NOT_AVAILABLE.
        """
        modification_id = new_id("mod")
        async with self._turn(asked.request):
            if (known := await self._known(asked)) is not None:  # (2)
                return known
            if not self._log_is_writable():  # (1)
                raise ZoneRefusal(ZoneError.AUDIT_UNAVAILABLE)
            self._in_flight.add(modification_id)
            try:
                request, processor = await self._database.change(
                    lambda tx: self._intend(tx, asked, actor, modification_id)
                )
            except (_Repeated, IntegrityError):
                self._in_flight.discard(modification_id)
                return await self._read(asked)  # (2)
            except BaseException:
                self._in_flight.discard(modification_id)
                raise
        # Dying from here on leaves `pending`: recover() makes it `unknown`, and the processor is asked.
        try:
            answer = await processor.modify(request)
            await self._settle(modification_id, answer)
        finally:
            self._in_flight.discard(modification_id)
        if answer.outcome is ModificationOutcome.UNKNOWN:
            await self.resolve(modification_id)  # (5) often the answer was lost and the record is already there
        return await self._read(asked)

    def _turn(self, request: str) -> asyncio.Lock:
        """Callers with one request key pass one at a time up to the intent; then the database tells them apart."""
        return self._turns.setdefault(request, asyncio.Lock())

    async def find(self, merchant: str, request: str) -> Modification | None:
        """The modification of a request's key, or None."""
        return await self._database.read(lambda connection: self._find(connection, merchant, request))

    async def recover(self, *, idle_seconds: float = 0) -> int:
        """As ChargeEngine.recover()."""
        before_ms = self._clock() - int(idle_seconds * 1000)
        pending = await self._database.read(
            lambda connection: charge_rows.modifications_pending_since(connection, before_ms)
        )
        left = [one for one in pending if one not in self._in_flight]
        for one in left:
            await self._settle(one, ModificationAnswer(ModificationOutcome.UNKNOWN))
        return len(left)

    async def resolve_unknown(self) -> int:
        """Asks the processors about modifications that await their word; returns how many of them are now final."""
        ids = [one for state in self._looked_at for one in await self._next(state)]
        return sum([await self.resolve(one) for one in ids])

    async def _next(self, state: ModificationState) -> list[str]:
        """As ChargeEngine's: each pass goes on behind the last."""
        after = self._looked_at[state]
        found = await self._database.read(
            lambda connection: charge_rows.modifications_in(connection, state, after=after)
        )
        self._looked_at[state] = found[-1] if len(found) == charge_rows.BATCH else ""
        return found

    async def resolve(self, modification_id: str) -> bool:
        """Asks the processor for its record of one modification (5). True when it is now final."""

        def rows(connection: Any) -> "tuple[Row[Any], Row[Any]] | None":
            row = charge_rows.modification_row(connection, modification_id)
            its_charge = charge_rows.charge_row(connection, row.charge_id) if row else None
            return (row, its_charge) if row is not None and its_charge is not None else None

        found = await self._database.read(rows)
        if found is None or found[0].state in FINAL_MODIFICATION_STATES:
            return True
        row, its_charge = found
        processor = self._processors.get(row.processor)
        if processor is None or row.state == ModificationState.PENDING:
            return False
        asked_ms = self._clock()
        answer = await processor.find_modification(_for_processor(row, its_charge))
        if answer is None:
            answer = ModificationAnswer(_verdict_of_absence(row, processor, asked_ms))
        await self._settle(modification_id, answer)
        return MODIFICATION_STATE_OF[answer.outcome] in FINAL_MODIFICATION_STATES

    def _intend(
        self, tx: Transaction, asked: ModificationRequest, actor: str, modification_id: str
    ) -> tuple[ProcessorModification, Processor]:
        if charge_rows.modification_of_request(tx.connection, asked.merchant, asked.request) is not None:
            raise _Repeated
        row = charge_rows.charge_of_payment(tx.connection, asked.merchant, asked.payment)
        if row is None:
            raise ZoneRefusal(ZoneError.NOT_FOUND)
        processor = self._processors.get(row.processor)
        if processor is None:
            raise ZoneRefusal(ZoneError.NOT_OFFERED_BY_PROCESSOR)
        open_kinds = charge_rows.open_kinds(tx.connection, row.id)
        amount_minor, is_final = allowed(row, asked, open_kinds, processor.features)  # (3)
        hold(tx, row.id, asked.kind, amount_minor or 0)
        tx.execute(  # (4)
            modification.insert().values(
                id=modification_id,
                request=asked.request,
                charge_id=row.id,
                merchant=row.merchant,
                kind=asked.kind,
                amount_minor=amount_minor,
                asked_minor=asked.amount_minor,
                currency=row.currency,
                is_final=is_final,
                reason=asked.reason,
                state=ModificationState.PENDING,
                processor=row.processor,
                intended_ms=tx.now_ms,
                changed_ms=tx.now_ms,
            )
        )
        data: Data = {"payment": row.payment, "charge": row.id, "kind": asked.kind.value, "processor": row.processor}
        if amount_minor is not None:
            data |= {"amount_minor": amount_minor, "currency": row.currency}
        if asked.reason:
            data["reason"] = asked.reason
        tx.record(charge_event(EventType.MODIFICATION_INTENDED, modification_id, row.merchant, actor, data))
        made = charge_rows.modification_row(tx.connection, modification_id)
        if made is None:
            raise ZoneRefusal(ZoneError.INTERNAL)
        return _for_processor(made, row), processor

    async def _settle(self, modification_id: str, answer: ModificationAnswer) -> None:
        await self._database.change(lambda tx: self._settler.modification(tx, modification_id, answer))

    async def _known(self, asked: ModificationRequest) -> Modification | None:
        def look(connection: Any) -> Modification | None:
            row = charge_rows.modification_of_request(connection, asked.merchant, asked.request)
            its_charge = charge_rows.charge_row(connection, row.charge_id) if row else None
            if row is None or its_charge is None:
                return None
            if not _is_same(row, its_charge, asked):
                raise ZoneRefusal(ZoneError.MODIFICATION_CONFLICT)
            return charge_rows.as_modification(row, its_charge, self._processors)

        return await self._database.read(look)

    def _find(self, connection: Any, merchant: str, request: str) -> Modification | None:
        row = charge_rows.modification_of_request(connection, merchant, request)
        its_charge = charge_rows.charge_row(connection, row.charge_id) if row else None
        if row is None or its_charge is None:
            return None
        return charge_rows.as_modification(row, its_charge, self._processors)

    async def _read(self, asked: ModificationRequest) -> Modification:
        known = await self._known(asked)
        if known is None:
            raise ZoneRefusal(ZoneError.INTERNAL)
        return known


def allowed(
    row: "Row[Any]", asked: ModificationRequest, open_kinds: OpenKinds, features: frozenset[Feature]
) -> tuple[int | None, bool]:
    """The amount that a modification takes, and whether it is the last one of its kind (3).

    Raises ZoneRefusal: MODIFICATION_NOT_POSSIBLE, NOT_OFFERED_BY_PROCESSOR, AMOUNT_NOT_AVAILABLE.
    """
    if asked.kind is ModificationKind.VOID:
        return _void_allowed(row, asked, open_kinds)
    if asked.kind is ModificationKind.REFUND:
        return _refund_allowed(row, asked, features)
    return _capture_allowed(row, asked, open_kinds, features)


def _capture_allowed(
    row: "Row[Any]", asked: ModificationRequest, open_kinds: OpenKinds, features: frozenset[Feature]
) -> tuple[int, bool]:
    captures = [is_final for kind, is_final in open_kinds if kind is ModificationKind.CAPTURE]
    ending = any(kind is ModificationKind.VOID for kind, _ in open_kinds) or any(captures)
    if row.is_closed or ending or row.state not in (ChargeState.AUTHORIZED, ChargeState.SUCCEEDED):
        raise ZoneRefusal(ZoneError.MODIFICATION_NOT_POSSIBLE)
    left = row.authorized_minor - row.captured_minor - row.capturing_minor
    amount_minor = _within(asked.amount_minor, left)
    is_final = asked.is_final or (amount_minor == left and not captures)
    if is_final and captures:
        raise ZoneRefusal(ZoneError.MODIFICATION_NOT_POSSIBLE)  # one that is under way may still come after it
    if (not is_final or row.captured_minor or captures) and Feature.MULTIPLE_CAPTURES not in features:
        raise ZoneRefusal(ZoneError.NOT_OFFERED_BY_PROCESSOR)
    if amount_minor < left and Feature.PARTIAL_CAPTURE not in features:
        raise ZoneRefusal(ZoneError.NOT_OFFERED_BY_PROCESSOR)
    return amount_minor, is_final


def _void_allowed(row: "Row[Any]", asked: ModificationRequest, open_kinds: OpenKinds) -> tuple[None, bool]:
    if asked.amount_minor is not None:
        raise ZoneRefusal(ZoneError.AMOUNT_NOT_AVAILABLE)
    ending = any(kind is not ModificationKind.REFUND for kind, _ in open_kinds)
    held = row.authorized_minor > row.captured_minor or row.state == ChargeState.ACTION_REQUIRED
    only_abandoned = asked.reason == ABANDONED and row.state != ChargeState.ACTION_REQUIRED  # the shopper came back
    if ending or row.is_closed or not held or only_abandoned:
        raise ZoneRefusal(ZoneError.MODIFICATION_NOT_POSSIBLE)
    return None, True


def _refund_allowed(row: "Row[Any]", asked: ModificationRequest, features: frozenset[Feature]) -> tuple[int, bool]:
    if not row.captured_minor:
        raise ZoneRefusal(ZoneError.MODIFICATION_NOT_POSSIBLE)
    left = row.captured_minor - row.refunded_minor - row.refunding_minor - row.disputed_minor
    amount_minor = _within(asked.amount_minor, left)
    if amount_minor < row.captured_minor and Feature.PARTIAL_REFUND not in features:
        raise ZoneRefusal(ZoneError.NOT_OFFERED_BY_PROCESSOR)
    return amount_minor, True


def _within(asked_minor: int | None, left_minor: int) -> int:
    amount_minor = left_minor if asked_minor is None else asked_minor
    if not 0 < amount_minor <= left_minor:
        raise ZoneRefusal(ZoneError.AMOUNT_NOT_AVAILABLE)
    return amount_minor


def _is_same(row: "Row[Any]", its_charge: "Row[Any]", asked: ModificationRequest) -> bool:
    """Whether a request says the same as the one before under its key. ``is_final`` may have been widened by what was left."""
    return (
        row.is_ours
        and row.kind == asked.kind
        and its_charge.payment == asked.payment
        and row.asked_minor == asked.amount_minor
        and (row.is_final or not asked.is_final)
        and row.reason == asked.reason
    )


def _for_processor(row: "Row[Any]", its_charge: "Row[Any]") -> ProcessorModification:
    return ProcessorModification(
        reference=row.id,
        kind=ModificationKind(row.kind),
        merchant=row.merchant,
        charge=row.charge_id,
        processor_charge=its_charge.processor_charge,
        amount=None if row.amount_minor is None else Money(row.amount_minor, row.currency),
        is_final=row.is_final,
    )


def _verdict_of_absence(row: "Row[Any]", processor: Processor, asked_ms: int) -> ModificationOutcome:
    """As of a charge (charge.py): absence proves something only after the time in which the request could take effect."""
    lifetime_ms = int(processor.request_lifetime_seconds * 1000)
    gone = row.state == ModificationState.UNKNOWN and row.is_ours and asked_ms - row.changed_ms > lifetime_ms
    return (
        ModificationOutcome.NEVER_SENT if gone and Feature.QUERY in processor.features else ModificationOutcome.UNKNOWN
    )
