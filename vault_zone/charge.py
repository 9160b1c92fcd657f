"""Step 4, charge: intent → commit → call → outcome → commit. docs/charge-cycle.md says what is on disk if we die after each.

What holds for a charge:
 1. The audit log can be written; otherwise nothing is charged (I5).
 2. The payment id is the idempotency key: the same charge asked again is never a second call, another charge under the same
    key is refused (I3).
 3. The grant's binding holds, and its use, the intent and their events commit together, before the processor is called (I4).
 4. A checkout has at most one charge that took, or may yet take, money. The database enforces it.
 5. The card and its code are in memory only for the call; the code is taken once and is gone whatever comes of it.
 6. The outcome and its event commit together. No believable answer is the state ``unknown``.
 7. ``unknown`` ends by the processor's record only: found, or still not there after the time in which a request can take
    effect. Nothing is ever sent a second time.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import IntegrityError

from audit.event import EventType
from audit.transaction import Database, Transaction
from tokenization.clock import Clock
from tokenization.ids import new_id
from tokenization.money import Money
from tokenization.wire import FINAL_CHARGE_STATES, Charge, ChargeRequest, ChargeState
from vault_zone import charge_rows
from vault_zone.card import Card, Cryptogram, Cvc
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.grants import consume_grant
from vault_zone.key_rows import ORIGIN
from vault_zone.keyring import KeyRing
from vault_zone.ledger.events import Books, unbooked
from vault_zone.models import charge, webhook_inbox
from vault_zone.processors.port import Feature, Outcome, Processor, ProcessorAnswer, ProcessorCharge, ProcessorEvent
from vault_zone.processors.registry import Processors
from vault_zone.security_codes import SecurityCodes
from vault_zone.settling import STATE_OF, Settler, charge_event
from vault_zone.vault import CardGone, keep_saved, open_card


class _Repeated(Exception):
    """Another process has begun this payment meanwhile."""


@dataclass(frozen=True, slots=True)
class _Intent:
    """A charge that is on disk and about to be sent."""

    charge: str
    card: Card


class ChargeEngine:
    """Charges grants through the processors of the zone."""

    def __init__(
        self,
        database: Database,
        keys: KeyRing,
        codes: SecurityCodes,
        processors: Processors,
        *,
        clock: Clock,
        log_is_writable: Callable[[], bool],
        books: Books = unbooked,
    ) -> None:
        self._database = database
        self._keys = keys
        self._codes = codes
        self._processors = processors
        self._settler = Settler(processors, books)
        self._clock = clock
        self._log_is_writable = log_is_writable
        self._in_flight: set[str] = set()
        self._looked_at = ""
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def charge(self, asked: ChargeRequest, actor: str) -> Charge:
        """Charges the grant, at most once for its payment id, and says where the charge stands.

        Raises ZoneRefusal: AUDIT_UNAVAILABLE, PAYMENT_CONFLICT, CHECKOUT_ALREADY_CHARGED, GRANT_NOT_USABLE,
        SECURITY_CODE_GONE.
        """
        async with self._turn(asked.payment):
            if (known := await self.find(asked.merchant, asked.payment)) is not None:  # (2)
                return _same_charge(known, asked)
            if not self._log_is_writable():  # (1)
                raise ZoneRefusal(ZoneError.AUDIT_UNAVAILABLE)
            code = self._codes.take(asked.grant)  # (5)
            charge_id = new_id("chg")
            self._in_flight.add(charge_id)
            try:
                intent = await self._keys.change(  # (3)
                    lambda tx: self._intend(tx, asked, actor, charge_id, has_code=code is not None)
                )
            except (_Repeated, IntegrityError):
                self._in_flight.discard(charge_id)
                return await self._lost_the_race(asked)  # (2) (4)
            except BaseException:
                self._in_flight.discard(charge_id)
                if code is not None:
                    self._codes.give_back(asked.grant, code)  # nothing was begun, so the same call may be made again
                raise
        # Dying here leaves `pending`: recover() makes it `unknown`, and the processor is asked whether it knows the charge.
        try:
            processor = self._processors.default
            answer = await processor.charge(self._for_processor(intent, asked, code))
            # Dying here leaves `pending` too, and the processor's record tells the outcome.
            await self._settle(intent.charge, answer, processor.name)  # (6)
        finally:
            self._in_flight.discard(intent.charge)  # what is still `pending` after this is for recover()
        if answer.outcome is Outcome.UNKNOWN:
            await self.resolve(intent.charge)  # (7) often the answer was lost and the record is already there
        return await self._read(asked)

    def _turn(self, payment: str) -> asyncio.Lock:
        """Callers with one payment id pass one at a time up to the intent; then the database tells them apart."""
        return self._turns.setdefault(payment, asyncio.Lock())

    async def find(self, merchant: str, payment: str) -> Charge | None:
        """The charge under a payment id, or None."""

        def look(connection: Connection) -> Charge | None:
            row = charge_rows.charge_of_payment(connection, merchant, payment)
            return charge_rows.as_charge(row, self._processors) if row is not None else None

        return await self._database.read(look)

    async def recover(self, *, idle_seconds: float = 0) -> int:
        """What is ``pending`` and no longer being sent (its process ended, its outcome could not be written) is ``unknown``.

        ``idle_seconds`` leaves charges alone that were begun since, for when another process may be sending them. Returns how
        many it took up.
        """
        before_ms = self._clock() - int(idle_seconds * 1000)
        pending = await self._database.read(lambda connection: charge_rows.charges_pending_since(connection, before_ms))
        left = [row for row in pending if row.id not in self._in_flight]
        for row in left:
            await self._settle(row.id, ProcessorAnswer(Outcome.UNKNOWN), row.processor)
        return len(left)

    async def resolve_unknown(self) -> int:
        """Asks the processors about charges that await their word; returns how many of them are now final."""
        unknown = await self._database.read(lambda connection: charge_rows.charges_in(connection, ChargeState.UNKNOWN))
        waiting = await self._database.read(
            lambda connection: charge_rows.charges_in(connection, ChargeState.ACTION_REQUIRED, after=self._looked_at)
        )
        # Shoppers who never come back from their bank must not keep the others waiting: each pass goes on behind the last.
        self._looked_at = waiting[-1] if len(waiting) == charge_rows.BATCH else ""
        return sum([await self.resolve(one) for one in (*unknown, *waiting)])

    async def resolve(self, charge_id: str) -> bool:
        """Asks the processor for its record of one charge (7). True when the charge is now final."""
        row = await self._database.read(lambda connection: charge_rows.charge_row(connection, charge_id))
        if row is None or row.state in FINAL_CHARGE_STATES:
            return True
        processor = self._processors.get(row.processor)
        if processor is None:
            return False
        asked_ms = self._clock()
        answer = await processor.find(charge_id, row.processor_charge)
        if answer is None:
            answer = ProcessorAnswer(_verdict_of_absence(row, processor, asked_ms))
        await self._settle(charge_id, answer, processor.name)
        return STATE_OF[answer.outcome] in FINAL_CHARGE_STATES

    async def apply_webhook(self, event: ProcessorEvent, processor: str) -> None:
        """Applies a processor's verified notice, once for its event id; a repeated or late one changes nothing."""

        def work(tx: Transaction) -> None:
            tx.execute(
                webhook_inbox.insert().values(processor=processor, event_id=event.event_id, received_ms=tx.now_ms)
            )
            reference = event.reference or ORIGIN
            tx.record(charge_event(EventType.WEBHOOK_RECEIVED, reference, "", f"processor:{processor}", {}))
            if isinstance(event.news, ProcessorAnswer):
                self._settler.charge(tx, reference, event.news, processor)

        try:
            await self._database.change(work)
        except IntegrityError:
            return  # it is in the inbox: applied before

    def _intend(self, tx: Transaction, asked: ChargeRequest, actor: str, charge_id: str, *, has_code: bool) -> _Intent:
        if charge_rows.charge_of_payment(tx.connection, asked.merchant, asked.payment) is not None:
            raise _Repeated
        processor = self._processors.default
        amount = Money(asked.amount_minor, asked.currency)
        row = consume_grant(
            tx,
            grant=asked.grant,
            merchant=asked.merchant,
            checkout=asked.checkout,
            amount=amount,
            actor=actor,
            processor=processor.name,
        )
        if row.needs_code and not has_code:  # (5) without the code nothing is begun
            raise ZoneRefusal(ZoneError.SECURITY_CODE_GONE)
        try:
            card = open_card(tx.connection, self._keys, token=row.token, merchant=asked.merchant, now_ms=tx.now_ms)
        except CardGone:
            raise ZoneRefusal(ZoneError.GRANT_NOT_USABLE) from None
        keep_saved(tx, row.token, card)
        tx.execute(
            charge.insert().values(
                id=charge_id,
                payment=asked.payment,
                merchant=asked.merchant,
                checkout=asked.checkout,
                grant_id=asked.grant,
                token=row.token,
                amount_minor=asked.amount_minor,
                currency=asked.currency,
                brand=card.pan.brand,
                last4=card.pan.last4,
                processor=processor.name,
                state=ChargeState.PENDING,
                return_url=asked.return_url,
                capture=asked.capture,
                initiator=asked.initiator,
                intended_ms=tx.now_ms,
                changed_ms=tx.now_ms,
            )
        )
        tx.record(
            charge_event(
                EventType.CHARGE_INTENDED,
                charge_id,
                asked.merchant,
                actor,
                {
                    "payment": asked.payment,
                    "checkout": asked.checkout,
                    "amount_minor": asked.amount_minor,
                    "currency": asked.currency,
                    "processor": processor.name,
                },
            )
        )
        return _Intent(charge_id, card)

    @staticmethod
    def _for_processor(intent: _Intent, asked: ChargeRequest, code: Cvc | Cryptogram | None) -> ProcessorCharge:
        return ProcessorCharge(
            reference=intent.charge,
            merchant=asked.merchant,
            amount=Money(asked.amount_minor, asked.currency),
            card=intent.card,
            cvc=code if isinstance(code, Cvc) else None,
            cryptogram=code if isinstance(code, Cryptogram) else None,
            return_url=asked.return_url,
            capture=asked.capture == "automatic",
            initiator=asked.initiator,
        )

    async def _settle(self, charge_id: str, answer: ProcessorAnswer, processor: str) -> None:
        await self._database.change(lambda tx: self._settler.charge(tx, charge_id, answer, processor))

    async def _lost_the_race(self, asked: ChargeRequest) -> Charge:
        known = await self.find(asked.merchant, asked.payment)
        if known is None:
            raise ZoneRefusal(ZoneError.CHECKOUT_ALREADY_CHARGED)
        return _same_charge(known, asked)

    async def _read(self, asked: ChargeRequest) -> Charge:
        known = await self.find(asked.merchant, asked.payment)
        if known is None:
            raise ZoneRefusal(ZoneError.INTERNAL)
        return known


def _same_charge(known: Charge, asked: ChargeRequest) -> Charge:
    same = (
        known.checkout == asked.checkout
        and known.amount_minor == asked.amount_minor
        and known.currency == asked.currency
    )
    if not same:
        raise ZoneRefusal(ZoneError.PAYMENT_CONFLICT)
    return known


def _verdict_of_absence(row: "Row[Any]", processor: Processor, asked_ms: int) -> Outcome:
    """Absence proves something only if it was asked about after the time in which the request could take effect.

    That time runs from when the call had ended (``changed_ms``: it became ``unknown`` then), not from when it was meant.
    A charge that the processor has acknowledged never ends by absence, nor one whose processor has no record to ask.
    """
    lifetime_ms = int(processor.request_lifetime_seconds * 1000)
    gone = row.state == ChargeState.UNKNOWN and asked_ms - row.changed_ms > lifetime_ms
    return Outcome.NEVER_SENT if gone and Feature.QUERY in processor.features else Outcome.UNKNOWN
