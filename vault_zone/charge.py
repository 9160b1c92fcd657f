"""Step 4, charge: intent → commit → call → outcome → commit. docs/charge-cycle.md says what is on disk if we die after each.

What holds for a charge:
 1. The audit log can be written; otherwise nothing is charged (I5).
 2. The payment id is the idempotency key: the same charge asked again is never a second call, another charge under the same
    key is refused (I3).
 3. The grant's binding holds, and its use, the intent and their events commit together, before the processor is called (I4).
 4. A checkout has at most one charge that took, or may yet take, money. The database enforces it.
 5. The card, its code and what the browser said are in memory only for the call; the code is taken once and is gone whatever
    comes of it; what the browser said is erased with the intent.
 6. The outcome and its event commit together. No believable answer is the state ``unknown``.
 7. ``unknown`` ends by the processor's record only: found, or still not there after the time in which a request can take
    effect. Nothing is ever sent a second time.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import select, update
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import IntegrityError

from audit.event import Event, EventType
from audit.transaction import Database, Transaction
from tokenization.clock import Clock
from tokenization.ids import new_id
from tokenization.money import Money
from tokenization.wire import FINAL_CHARGE_STATES, CardSummary, Charge, ChargeRequest, ChargeState
from vault_zone.card import Card, Cryptogram, Cvc
from vault_zone.device import Device, take_device
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.grants import consume_grant
from vault_zone.key_rows import ORIGIN
from vault_zone.keyring import KeyRing
from vault_zone.models import charge, webhook_inbox
from vault_zone.processors.port import Outcome, Processor, ProcessorAnswer, ProcessorCharge, ProcessorEvent
from vault_zone.security_codes import SecurityCodes
from vault_zone.states import move
from vault_zone.vault import CardGone, keep_saved, open_card

_STATE_OF = {
    Outcome.SUCCEEDED: ChargeState.SUCCEEDED,
    Outcome.AUTHORIZED: ChargeState.AUTHORIZED,
    Outcome.VOIDED: ChargeState.VOIDED,
    Outcome.EXPIRED: ChargeState.EXPIRED,
    Outcome.DECLINED: ChargeState.DECLINED,
    Outcome.ACTION_REQUIRED: ChargeState.ACTION_REQUIRED,
    Outcome.UNKNOWN: ChargeState.UNKNOWN,
    Outcome.NEVER_SENT: ChargeState.FAILED,
}
_EVENT_OF = {
    ChargeState.SUCCEEDED: EventType.CHARGE_SUCCEEDED,
    ChargeState.DECLINED: EventType.CHARGE_DECLINED,
    ChargeState.FAILED: EventType.CHARGE_FAILED,
    ChargeState.UNKNOWN: EventType.CHARGE_UNKNOWN,
    ChargeState.ACTION_REQUIRED: EventType.CHARGE_ACTION_REQUIRED,
    ChargeState.AUTHORIZED: EventType.CHARGE_AUTHORIZED,
    ChargeState.VOIDED: EventType.CHARGE_VOIDED,
    ChargeState.EXPIRED: EventType.CHARGE_EXPIRED,
}
_REASON = re.compile(r"[a-z][a-z_]{0,39}")
RESOLVE_LIMIT = 100  # charges looked up in one pass


@dataclass(frozen=True, slots=True)
class _Intent:
    """A charge that is on disk and about to be sent."""

    charge: str
    card: Card
    device: Device | None


class ChargeEngine:
    """Charges grants through one processor."""

    def __init__(
        self,
        database: Database,
        keys: KeyRing,
        codes: SecurityCodes,
        processor: Processor,
        *,
        clock: Clock,
        log_is_writable: Callable[[], bool],
    ) -> None:
        self._database = database
        self._keys = keys
        self._codes = codes
        self._processor = processor
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
            except IntegrityError:
                self._in_flight.discard(charge_id)
                return await self._lost_the_race(asked)  # (2) (4)
            except BaseException:
                self._in_flight.discard(charge_id)
                if code is not None:
                    self._codes.give_back(asked.grant, code)  # nothing was begun, so the same call may be made again
                raise
        # Dying here leaves `pending`: recover() makes it `unknown`, and the processor is asked whether it knows the charge.
        try:
            answer = await self._processor.charge(self._for_processor(intent, asked, code))
            # Dying here leaves `pending` too, and the processor's record tells the outcome.
            await self._settle(intent.charge, answer)  # (6)
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
        return await self._database.read(lambda connection: _find(connection, merchant, payment, self._processor))

    async def recover(self, *, idle_seconds: float = 0) -> int:
        """What is ``pending`` and no longer being sent (its process ended, its outcome could not be written) is ``unknown``.

        ``idle_seconds`` leaves charges alone that were begun since, for when another process may be sending them. Returns how
        many it took up.
        """
        before_ms = self._clock() - int(idle_seconds * 1000)
        pending = await self._database.read(lambda connection: _pending_since(connection, before_ms))
        left = [one for one in pending if one not in self._in_flight]
        for one in left:
            await self._settle(one, ProcessorAnswer(Outcome.UNKNOWN))
        return len(left)

    async def resolve_unknown(self) -> int:
        """Asks the processor about charges that await its word; returns how many of them are now final."""
        unknown = await self._database.read(lambda connection: _ids_in(connection, ChargeState.UNKNOWN))
        waiting = await self._database.read(
            lambda connection: _ids_in(connection, ChargeState.ACTION_REQUIRED, after=self._looked_at)
        )
        # Shoppers who never come back from their bank must not keep the others waiting: each pass goes on behind the last.
        self._looked_at = waiting[-1] if len(waiting) == RESOLVE_LIMIT else ""
        return sum([await self.resolve(one) for one in (*unknown, *waiting)])

    async def resolve(self, charge_id: str) -> bool:
        """Asks the processor for its record of one charge (7). True when the charge is now final."""
        row = await self._database.read(lambda connection: _row(connection, charge_id))
        if row is None or row.state in FINAL_CHARGE_STATES:
            return True
        asked_ms = self._clock()
        answer = await self._processor.find(charge_id, row.processor_charge, row.intended_ms)
        if answer is None:
            answer = ProcessorAnswer(self._verdict_of_absence(row, asked_ms))
        await self._settle(charge_id, answer)
        return _STATE_OF[answer.outcome] in FINAL_CHARGE_STATES

    async def apply_webhook(self, event: ProcessorEvent) -> None:
        """Applies a verified webhook, once for its event id; a repeated or late one changes nothing."""

        def work(tx: Transaction) -> None:
            tx.execute(
                webhook_inbox.insert().values(
                    processor=self._processor.name, event_id=event.event_id, received_ms=tx.now_ms
                )
            )
            reference = event.reference or ORIGIN
            tx.record(_event(EventType.WEBHOOK_RECEIVED, reference, "", f"processor:{self._processor.name}", {}))
            if isinstance(event.news, ProcessorAnswer):
                _apply(tx, reference, event.news, self._processor.name)

        try:
            await self._database.change(work)
        except IntegrityError:
            return  # it is in the inbox: applied before

    def _intend(self, tx: Transaction, asked: ChargeRequest, actor: str, charge_id: str, *, has_code: bool) -> _Intent:
        amount = Money(asked.amount_minor, asked.currency)
        row = consume_grant(
            tx,
            grant=asked.grant,
            merchant=asked.merchant,
            checkout=asked.checkout,
            amount=amount,
            actor=actor,
            processor=self._processor.name,
        )
        if row.needs_code and not has_code:  # (5) without the code nothing is begun
            raise ZoneRefusal(ZoneError.SECURITY_CODE_GONE)
        try:
            card = open_card(tx.connection, self._keys, token=row.token, merchant=asked.merchant, now_ms=tx.now_ms)
        except CardGone:
            raise ZoneRefusal(ZoneError.GRANT_NOT_USABLE) from None
        device = take_device(tx, self._keys, grant=asked.grant, merchant=asked.merchant, checkout=asked.checkout)  # (5)
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
                processor=self._processor.name,
                state=ChargeState.PENDING,
                return_url=asked.return_url,
                intended_ms=tx.now_ms,
                changed_ms=tx.now_ms,
            )
        )
        tx.record(
            _event(
                EventType.CHARGE_INTENDED,
                charge_id,
                asked.merchant,
                actor,
                {
                    "payment": asked.payment,
                    "checkout": asked.checkout,
                    "amount_minor": asked.amount_minor,
                    "currency": asked.currency,
                    "processor": self._processor.name,
                },
            )
        )
        return _Intent(charge_id, card, device)

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
            device=intent.device,
        )

    async def _settle(self, charge_id: str, answer: ProcessorAnswer) -> None:
        def work(tx: Transaction) -> None:
            _apply(tx, charge_id, answer, self._processor.name)

        await self._database.change(work)

    async def _lost_the_race(self, asked: ChargeRequest) -> Charge:
        known = await self.find(asked.merchant, asked.payment)
        if known is None:
            raise ZoneRefusal(ZoneError.CHECKOUT_ALREADY_CHARGED)
        return _same_charge(known, asked)

    def _verdict_of_absence(self, row: "Row[Any]", asked_ms: int) -> Outcome:
        """Absence proves something only if it was asked about after the time in which the request could take effect.

        That time runs from when the call had ended (``changed_ms``: it became ``unknown`` then), not from when it was meant.
        A charge that the processor has acknowledged never ends by absence.
        """
        lifetime_ms = int(self._processor.request_lifetime_seconds * 1000)
        gone = row.state == ChargeState.UNKNOWN and asked_ms - row.changed_ms > lifetime_ms
        return Outcome.NEVER_SENT if gone else Outcome.UNKNOWN

    async def _read(self, asked: ChargeRequest) -> Charge:
        known = await self.find(asked.merchant, asked.payment)
        if known is None:
            raise ZoneRefusal(ZoneError.INTERNAL)
        return known


def _apply(tx: Transaction, charge_id: str, answer: ProcessorAnswer, processor: str) -> None:
    """Moves the charge where the processor's answer says, if the table of moves allows it from where it stands."""
    row = _row(tx.connection, charge_id)
    if row is None:
        return
    source, target = ChargeState(row.state), _STATE_OF[answer.outcome]
    if source is target:
        return
    if not move(source, target):
        _note_contradiction(tx, row, source, target, processor)
        return
    reason = _reason(answer.decline_code)
    moved = tx.execute(
        update(charge)
        .where(charge.c.id == charge_id, charge.c.state == source)
        .values(
            state=target,
            decline_code=reason,
            action_url=answer.action_url if target is ChargeState.ACTION_REQUIRED else None,
            processor_charge=answer.processor_charge or row.processor_charge,
            changed_ms=tx.now_ms,
        )
    )
    if moved.rowcount == 1:
        data: dict[str, str | int | bool] = {"payment": row.payment, "checkout": row.checkout, "from": source.value}
        if reason:
            data["reason"] = reason
        tx.record(_event(_EVENT_OF[target], charge_id, row.merchant, f"processor:{processor}", data))


def _note_contradiction(
    tx: Transaction, row: "Row[Any]", source: ChargeState, target: ChargeState, processor: str
) -> None:
    """Money was taken for a charge that counts as ended without it: for a person to look at, so it must be on record."""
    if target is ChargeState.SUCCEEDED and source in (ChargeState.FAILED, ChargeState.DECLINED):
        data: dict[str, str | int | bool] = {"payment": row.payment, "checkout": row.checkout, "from": source.value}
        event = _event(
            EventType.CHARGE_RESOLVED, row.id, row.merchant, f"processor:{processor}", {**data, "state": "succeeded"}
        )
        tx.record(event)


def _reason(code: str | None) -> str | None:
    """A processor's code if it has the form of one: its words could keep the outcome from being recorded."""
    return code if code is None or _REASON.fullmatch(code) else "other"


def _same_charge(known: Charge, asked: ChargeRequest) -> Charge:
    same = (
        known.checkout == asked.checkout
        and known.amount_minor == asked.amount_minor
        and known.currency == asked.currency
    )
    if not same:
        raise ZoneRefusal(ZoneError.PAYMENT_CONFLICT)
    return known


def _find(connection: Connection, merchant: str, payment: str, processor: Processor) -> Charge | None:
    row = connection.execute(select(charge).where(charge.c.merchant == merchant, charge.c.payment == payment)).first()
    if row is None:
        return None
    return Charge(
        charge=row.id,
        payment=row.payment,
        merchant=row.merchant,
        checkout=row.checkout,
        state=ChargeState(row.state),
        amount_minor=row.amount_minor,
        currency=row.currency,
        card=CardSummary(brand=row.brand, last4=row.last4),
        decline_code=row.decline_code,
        action_url=row.action_url,
        sandbox=processor.is_sandbox,
    )


def _row(connection: Connection, charge_id: str) -> "Row[Any] | None":
    return connection.execute(select(charge).where(charge.c.id == charge_id)).first()


def _ids_in(connection: Connection, state: ChargeState, *, after: str | None = None) -> list[str]:
    """At most RESOLVE_LIMIT charges in a state: the oldest, or by id behind ``after``."""
    found = select(charge.c.id).where(charge.c.state == state).limit(RESOLVE_LIMIT)
    if after is None:
        return list(connection.execute(found.order_by(charge.c.intended_ms)).scalars())
    return list(connection.execute(found.where(charge.c.id > after).order_by(charge.c.id)).scalars())


def _pending_since(connection: Connection, before_ms: int) -> list[str]:
    found = select(charge.c.id).where(charge.c.state == ChargeState.PENDING, charge.c.intended_ms <= before_ms)
    return list(connection.execute(found.order_by(charge.c.intended_ms)).scalars())


def _event(kind: EventType, charge_id: str, merchant: str, actor: str, data: dict[str, str | int | bool]) -> Event:
    failed = kind in (EventType.CHARGE_DECLINED, EventType.CHARGE_FAILED)
    return Event(
        type=kind,
        outcome="failure" if failed else "success",
        actor=actor,
        origin=ORIGIN,
        resource=charge_id,
        merchant=merchant,
        data=data,
    )
