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
 8. Without the shopper there a charge needs a grant that asks for no code, and the consent under which the card was saved.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import IntegrityError

from audit.event import EventType
from audit.transaction import Database, Transaction
from tokenization.clock import Clock, monotonic_seconds
from tokenization.ids import new_id
from tokenization.money import Money
from tokenization.wire import FINAL_CHARGE_STATES, Charge, ChargeRequest, ChargeState, Initiator, ReturnRequest
from vault_zone import charge_rows
from vault_zone.breaker import Breakers
from vault_zone.card import Card, Cryptogram, Cvc
from vault_zone.device import Device, take_device
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.grants import consume_grant
from vault_zone.keyring import KeyRing
from vault_zone.ledger.events import Books, unbooked
from vault_zone.legs import Legs, Pause, Routed, begin_leg
from vault_zone.models import charge
from vault_zone.notices import Disputes, Notices, not_disputed
from vault_zone.processors.port import (
    EndsByReturn,
    Feature,
    Outcome,
    Processor,
    ProcessorAnswer,
    ProcessorCharge,
    ProcessorEvent,
)
from vault_zone.processors.registry import Processors
from vault_zone.routing import Candidate, candidates, question_of
from vault_zone.routing_policy import RoutingPolicy
from vault_zone.saved_cards import has_consent
from vault_zone.security_codes import SecurityCodes
from vault_zone.settling import MAYBE_HELD, STATE_OF, Data, Settler, charge_event
from vault_zone.vault import CardGone, keep_saved, open_card


class _Repeated(Exception):
    """Another process has begun this payment meanwhile."""


@dataclass(frozen=True, slots=True)
class _Intent:
    """A charge that is on disk and about to be sent."""

    charge: str
    card: Card
    device: Device | None
    candidates: tuple[Candidate, ...]
    initial_network_reference: str | None


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
        policy: RoutingPolicy | None = None,
        breakers: Breakers | None = None,
        books: Books = unbooked,
        disputes: Disputes = not_disputed,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._database = database
        self._keys = keys
        self._codes = codes
        self._processors = processors
        self.settler = Settler(processors, books)
        self._notices = Notices(processors, self.settler, disputes)
        self._policy = policy or RoutingPolicy(default=(processors.default.name,))
        self._breakers = breakers or Breakers(monotonic_seconds)
        self._legs = Legs(database, processors, self.settler, self._breakers, pause=pause)
        self._clock = clock
        self._log_is_writable = log_is_writable
        self._in_flight: set[str] = set()
        self._looked_at = {ChargeState.UNKNOWN: "", ChargeState.ACTION_REQUIRED: ""}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def charge(self, asked: ChargeRequest, actor: str) -> Charge:
        """Charges the grant, at most once for its payment id, and says where the charge stands.

        Raises ZoneRefusal: AUDIT_UNAVAILABLE, PAYMENT_CONFLICT, CHECKOUT_ALREADY_CHARGED, GRANT_NOT_USABLE,
        SECURITY_CODE_GONE.
        """
        async with self._turn(asked.payment):
            if (known := await self._known(asked)) is not None:  # (2)
                return known
            if not self._log_is_writable():  # (1)
                raise ZoneRefusal(ZoneError.AUDIT_UNAVAILABLE)
            code = self._codes.take(asked.grant)  # (5)
            charge_id = new_id("chg")
            self._in_flight.add(charge_id)
            unwell = {name for name in self._processors.names if not self._breakers.lets_through(name)}
            try:
                intent = await self._keys.change(  # (3)
                    lambda tx: self._intend(tx, asked, actor, charge_id, code, unwell)
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
            answer = await self._legs.run(_for_processor(intent, asked, code), intent.candidates)  # (6)
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

    async def returned(self, asked: ReturnRequest) -> Charge:
        """Ends the authentication of a charge whose shopper came back, where its processor can be asked; says where it stands.

        What the shopper brings is no proof of anything: the processor's word is (6). Raises ZoneRefusal(NOT_FOUND).
        """
        row = await self._database.read(
            lambda connection: charge_rows.charge_of_payment(connection, asked.merchant, asked.payment)
        )
        if row is None:
            raise ZoneRefusal(ZoneError.NOT_FOUND)
        if row.state == ChargeState.ACTION_REQUIRED:
            processor = self._processors.get(row.processor)
            if isinstance(processor, EndsByReturn):
                told = await processor.end_authentication(row.id, asked.query, capture=row.capture == "automatic")
                await self._settle(row.id, told, row.processor)
            else:
                await self.resolve(row.id)
        found = await self.find(asked.merchant, asked.payment)
        if found is None:
            raise ZoneRefusal(ZoneError.NOT_FOUND)
        return found

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
        ids = [one for state in self._looked_at for one in await self._next(state)]
        return sum([await self.resolve(one) for one in ids])

    async def _next(self, state: ChargeState) -> list[str]:
        """The next charges in a state: each pass goes on behind the last, and begins anew behind the last of all."""
        after = self._looked_at[state]
        found = await self._database.read(lambda connection: charge_rows.charges_in(connection, state, after=after))
        self._looked_at[state] = found[-1] if len(found) == charge_rows.BATCH else ""
        return found

    async def resolve(self, charge_id: str) -> bool:
        """Asks the processor for its record of one charge (7). True when the charge is now final."""
        row = await self._database.read(lambda connection: charge_rows.charge_row(connection, charge_id))
        if row is None or row.state in FINAL_CHARGE_STATES:
            return True
        processor = self._processors.get(row.processor)
        if processor is None:
            return False
        asked_ms = self._clock()
        answer = await processor.find(charge_id, row.processor_charge, row.intended_ms)
        if answer is None:
            answer = ProcessorAnswer(_verdict_of_absence(row, processor, asked_ms))
        await self._settle(charge_id, answer, processor.name)
        return STATE_OF[answer.outcome] in FINAL_CHARGE_STATES

    def settle_from_report(self, tx: Transaction, charge_id: str, answer: ProcessorAnswer) -> None:
        """Takes the word of the processor's settlement report on a charge, in the caller's transaction."""
        row = charge_rows.charge_row(tx.connection, charge_id)
        if row is not None:
            self.settler.charge(tx, charge_id, answer, row.processor)

    async def apply_webhook(self, event: ProcessorEvent, processor: str) -> None:
        """Applies a processor's verified notice, once for its event id (notices.py)."""
        try:
            about = await self._database.change(lambda tx: self._notices.apply(tx, event, processor))
        except (
            IntegrityError
        ):  # another process was first with it, or with an act it tells of: now its row is there to be found
            about = await self._database.change(lambda tx: self._notices.apply(tx, event, processor))
        if about is not None:
            await self._confirm(about)

    async def _confirm(self, charge_id: str) -> None:
        """Asks for the record of a charge that counts as ended, and of which a notice says that its money is held."""
        row = await self._database.read(lambda connection: charge_rows.charge_row(connection, charge_id))
        processor = self._processors.get(row.processor) if row is not None and row.attention == MAYBE_HELD else None
        if row is None or processor is None:
            return
        answer = await processor.find(charge_id, row.processor_charge, row.intended_ms)
        if answer is not None:
            await self._settle(charge_id, answer, processor.name)

    def _intend(
        self,
        tx: Transaction,
        asked: ChargeRequest,
        actor: str,
        charge_id: str,
        code: Cvc | Cryptogram | None,
        unwell: Collection[str],
    ) -> _Intent:
        if charge_rows.charge_of_payment(tx.connection, asked.merchant, asked.payment) is not None:
            raise _Repeated
        used = consume_grant(
            tx,
            grant=asked.grant,
            merchant=asked.merchant,
            checkout=asked.checkout,
            amount=Money(asked.amount_minor, asked.currency),
            actor=actor,
            processors=self._processors.names,
        )
        if used.needs_code and code is None:  # (5) without the code nothing is begun
            raise ZoneRefusal(ZoneError.SECURITY_CODE_GONE)
        if asked.initiator is not Initiator.SHOPPER and (used.needs_code or not has_consent(tx.connection, used.token)):
            raise ZoneRefusal(ZoneError.GRANT_NOT_USABLE)  # (8)
        try:
            card = open_card(tx.connection, self._keys, token=used.token, merchant=asked.merchant, now_ms=tx.now_ms)
        except CardGone:
            raise ZoneRefusal(ZoneError.GRANT_NOT_USABLE) from None
        device = take_device(tx, self._keys, grant=asked.grant, merchant=asked.merchant, checkout=asked.checkout)  # (5)
        keep_saved(tx, used.token, card)
        found = candidates(
            self._policy,
            self._processors,
            question_of(asked, card),
            bound_to=used.processor,
            needs=_needs(asked, code),
            unwell=unwell,
        )
        if not found:
            raise ZoneRefusal(ZoneError.NOT_OFFERED_BY_PROCESSOR)
        self._write_intent(tx, asked, actor, charge_id, used.token, card, found[0])
        agreed = None
        if asked.initiator is not Initiator.SHOPPER:
            agreed = charge_rows.first_network_reference(tx.connection, asked.merchant, used.token)
        return _Intent(charge_id, card, device, found, agreed)

    @staticmethod
    def _write_intent(
        tx: Transaction,
        asked: ChargeRequest,
        actor: str,
        charge_id: str,
        token: str,
        card: Card,
        first: Candidate,
    ) -> None:
        tx.execute(
            charge.insert(),
            {
                "id": charge_id,
                "payment": asked.payment,
                "merchant": asked.merchant,
                "checkout": asked.checkout,
                "grant_id": asked.grant,
                "token": token,
                "amount_minor": asked.amount_minor,
                "currency": asked.currency,
                "brand": card.pan.brand,
                "last4": card.pan.last4,
                "processor": first.processor,
                "state": ChargeState.PENDING,
                "return_url": asked.return_url,
                "capture": asked.capture,
                "initiator": asked.initiator,
                "intended_ms": tx.now_ms,
                "changed_ms": tx.now_ms,
            },
        )
        data: Data = {
            "payment": asked.payment,
            "checkout": asked.checkout,
            "amount_minor": asked.amount_minor,
            "currency": asked.currency,
            "processor": first.processor,
        }
        tx.record(charge_event(EventType.CHARGE_INTENDED, charge_id, asked.merchant, actor, data))
        begin_leg(tx, Routed(charge_id, asked.merchant, asked.payment, asked.checkout), 1, first)

    async def _settle(self, charge_id: str, answer: ProcessorAnswer, processor: str) -> None:
        await self._database.change(lambda tx: self.settler.charge(tx, charge_id, answer, processor))

    async def _known(self, asked: ChargeRequest) -> Charge | None:
        def look(connection: Connection) -> Charge | None:
            row = charge_rows.charge_of_payment(connection, asked.merchant, asked.payment)
            if row is not None and not _is_same(row, asked):
                raise ZoneRefusal(ZoneError.PAYMENT_CONFLICT)
            return charge_rows.as_charge(row, self._processors) if row is not None else None

        return await self._database.read(look)

    async def _lost_the_race(self, asked: ChargeRequest) -> Charge:
        known = await self._known(asked)
        if known is None:
            raise ZoneRefusal(ZoneError.CHECKOUT_ALREADY_CHARGED)
        return known

    async def _read(self, asked: ChargeRequest) -> Charge:
        known = await self._known(asked)
        if known is None:
            raise ZoneRefusal(ZoneError.INTERNAL)
        return known


def _is_same(row: "Row[Any]", asked: ChargeRequest) -> bool:
    """(2) Whether a request asks for the charge that its payment id stands for."""
    named = (row.checkout, row.amount_minor, row.currency, row.capture, row.initiator)
    return named == (asked.checkout, asked.amount_minor, asked.currency, asked.capture, asked.initiator)


def _needs(asked: ChargeRequest, code: Cvc | Cryptogram | None) -> set[Feature]:
    """What a processor must offer to be asked for this charge."""
    return {
        feature
        for feature, is_needed in (
            (Feature.MANUAL_CAPTURE, asked.capture == "manual"),
            (Feature.MERCHANT_INITIATED, asked.initiator is not Initiator.SHOPPER),
            (Feature.NETWORK_TOKEN, isinstance(code, Cryptogram)),
        )
        if is_needed
    }


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
        initial_network_reference=intent.initial_network_reference,
        device=intent.device,
    )


def _verdict_of_absence(row: "Row[Any]", processor: Processor, asked_ms: int) -> Outcome:
    """Absence proves something only if it was asked about after the time in which the request could take effect.

    That time runs from when the call had ended (``changed_ms``: it became ``unknown`` then), not from when it was meant.
    A charge that the processor has acknowledged never ends by absence, nor one whose processor has no record to ask.
    """
    lifetime_ms = int(processor.request_lifetime_seconds * 1000)
    gone = row.state == ChargeState.UNKNOWN and asked_ms - row.changed_ms > lifetime_ms
    return Outcome.NEVER_SENT if gone and Feature.QUERY in processor.features else Outcome.UNKNOWN
