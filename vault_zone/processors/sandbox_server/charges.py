"""A charge, from the request to its end: at most one for each idempotency key, whatever goes wrong on the way."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from starlette.types import Receive

from vault_zone.processors.sandbox_server.books import Books
from vault_zone.processors.sandbox_server.cards import Behaviour, DeclineCode
from vault_zone.processors.sandbox_server.connection import Holds
from vault_zone.processors.sandbox_server.faults import Faults
from vault_zone.processors.sandbox_server.objects import Charge, Status
from vault_zone.processors.sandbox_server.once import Claims, Reply, reply_of
from vault_zone.processors.sandbox_server.store import Answer, Effects, Store
from vault_zone.processors.sandbox_server.timing import Clock, IdMaker, Timing
from vault_zone.processors.sandbox_server.wire import BY_SHOPPER, ChargeOrder, FaultInput

LAST_DIGITS: Final = 4  # what may be shown of a card number beside its issuer: PCI DSS 4.0.1, 3.4.1

_CHALLENGES: Final = frozenset(
    {Behaviour.CHALLENGE, Behaviour.CHALLENGE_UNLESS_AGREED, Behaviour.CHALLENGE_THEN_DECLINE}
)


@dataclass(frozen=True, slots=True)
class Fate:
    """What a charge comes to, by its card, who begins it, and the date."""

    behaviour: Behaviour
    decline_code: DeclineCode | None


class Charges:
    """Makes charges and ends their challenges."""

    def __init__(
        self,
        *,
        store: Store,
        books: Books,
        faults: Faults,
        holds: Holds,
        timing: Timing,
        clock: Clock,
        new_id: IdMaker,
        on_event: Callable[[], None],
        claims: Claims,
    ) -> None:
        """``clock`` is milliseconds since the epoch; ``on_event`` is told that an event was committed."""
        self._store = store
        self._books = books
        self._faults = faults
        self._holds = holds
        self._timing = timing
        self._clock = clock
        self._new_id = new_id
        self._on_event = on_event
        self._claims = claims

    async def create(self, key: str, order: ChargeOrder, fault: FaultInput | None, receive: Receive) -> Reply | None:
        """Charges the card once for this key and returns the answer, or None when no reply is to be sent.

        1. While a request with a key is on its way to its effect, another with that key is refused.
        2. A key that has an answer gets that answer and no second effect; with another body it is refused.
        3. Charge, answer and event are on disk together before any reply.
        4. What goes wrong before (3) leaves nothing behind; what goes wrong after it takes nothing back.

        Raises Refusal.
        """
        fate = self._fate(order)
        with self._claims.claim(key):  # (1)
            if not await self._faults.before(fault):
                return None  # (4)
            if fate.behaviour is Behaviour.TIMEOUT_BEFORE and self._store.answer_to(key) is None:
                await self._holds.hold(self._timing.timeout_hold_seconds, receive)
                return None  # (4)
            reply = self._effect(key, order, fate)
        if not reply.replayed and fate.behaviour is Behaviour.TIMEOUT_AFTER:
            await self._holds.hold(self._timing.timeout_hold_seconds, receive)
            return None  # (4)
        if not reply.replayed and fate.behaviour is Behaviour.SLOW:
            await self._holds.pause(self._timing.slow_seconds)
        return reply if await self._faults.after(fault) else None  # (4)

    def _effect(self, key: str, order: ChargeOrder, fate: Fate) -> Reply:
        def charge() -> tuple[Answer, Effects]:
            effects = self._effects(order, fate)
            made = effects.charge
            if made is None:
                raise LookupError("a charge without a charge")
            return Answer(order.fingerprint, made.id, json.dumps(self._books.text(made))), effects

        # The key is looked up under the store's write lock, so a second process is no way round (1).
        answer, is_new = self._store.record(key, charge)  # (2) (3)
        if is_new:
            self._on_event()
        return reply_of(answer, order.fingerprint, is_new=is_new)  # (2)

    def _effects(self, order: ChargeOrder, fate: Fate) -> Effects:
        charge = self._charge(order, fate)
        return self._books.approved(charge) if charge.status is Status.SUCCEEDED else self._books.announced(charge)

    def end_challenge(self, challenge_id: str, *, approved: bool) -> Charge | None:
        """Ends the challenge, once; the charge as it now is, which an earlier end may have decided. None: no such one."""

        def end() -> Effects | None:
            charge = self._store.charge_of_challenge(challenge_id)
            if charge is None or charge.status is not Status.REQUIRES_ACTION:
                return None
            code = charge.decline_code_after_challenge if approved else DeclineCode.AUTHENTICATION_FAILED.value
            if code is None:
                return self._books.approved(charge)
            return self._books.announced(replace(charge, status=Status.DECLINED, decline_code=code))

        if self._store.change(end) is not None:
            self._on_event()
        return self._store.charge_of_challenge(challenge_id)

    def _fate(self, order: ChargeOrder) -> Fate:
        """A card is good to the last day of its month, in UTC; after that nothing else about it matters.

        No shopper is there to be authenticated in a charge that the merchant begins.
        """
        today = datetime.fromtimestamp(self._clock() / 1000, UTC)
        if (order.exp_year, order.exp_month) < (today.year, today.month):
            return Fate(Behaviour.DECLINE, DeclineCode.EXPIRED_CARD)
        if order.initiator != BY_SHOPPER and order.card.behaviour in _CHALLENGES:
            if order.card.behaviour is Behaviour.CHALLENGE_UNLESS_AGREED:
                return Fate(Behaviour.SUCCEED, None)
            return Fate(Behaviour.DECLINE, DeclineCode.AUTHENTICATION_REQUIRED)
        return Fate(order.card.behaviour, order.card.decline_code)

    def _charge(self, order: ChargeOrder, fate: Fate) -> Charge:
        challenged = fate.behaviour in _CHALLENGES
        status = Status.DECLINED if fate.behaviour is Behaviour.DECLINE else Status.SUCCEEDED
        return Charge(
            id=f"sbx_ch_{self._new_id()}",
            reference=order.reference,
            status=Status.REQUIRES_ACTION if challenged else status,
            amount_minor=order.amount_minor,
            currency=order.currency,
            capture=order.capture,
            initiator=order.initiator,
            capturable_minor=0,
            captured_minor=0,
            refunding_minor=0,
            refunded_minor=0,
            disputed_minor=0,
            decline_code=None if challenged else fate.decline_code,
            brand=order.card.brand,
            last4=order.card.number[-LAST_DIGITS:],
            behaviour=fate.behaviour,
            merchant=order.merchant,
            return_url=order.return_url,
            challenge_id=f"sbx_acs_{self._new_id()}" if challenged else None,
            decline_code_after_challenge=fate.decline_code if challenged else None,
            network_reference=f"sbx_net_{self._new_id()}",
            expires_at=None,
            created_at=self._clock(),
        )
