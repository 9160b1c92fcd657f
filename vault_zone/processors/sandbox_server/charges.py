"""A charge, from the request to its end: at most one for each idempotency key, whatever goes wrong on the way."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from starlette.types import Receive

from vault_zone.processors.sandbox_server.cards import Behaviour, DeclineCode
from vault_zone.processors.sandbox_server.connection import Holds
from vault_zone.processors.sandbox_server.errors import ErrorCode, Refusal
from vault_zone.processors.sandbox_server.faults import Faults
from vault_zone.processors.sandbox_server.store import Answer, Event, Store
from vault_zone.processors.sandbox_server.wire import Charge, ChargeOrder, FaultInput, Status, as_text, charge_object

Clock = Callable[[], int]
IdMaker = Callable[[], str]

LAST_DIGITS: Final = 4  # what may be shown of a card number beside its issuer: PCI DSS 4.0.1, 3.4.1

_STATUS: Final = {
    Behaviour.DECLINE: Status.DECLINED,
    Behaviour.CHALLENGE: Status.REQUIRES_ACTION,
    Behaviour.CHALLENGE_THEN_DECLINE: Status.REQUIRES_ACTION,
}


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the two kinds of tardy card take, in seconds."""

    timeout_hold_seconds: float = 30.0
    slow_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Fate:
    """What a charge comes to, by its card and the date."""

    behaviour: Behaviour
    decline_code: DeclineCode | None


@dataclass(frozen=True, slots=True)
class Reply:
    """What to send: the JSON of a charge, and whether the key had it already."""

    text: str
    replayed: bool


class Claims:
    """The idempotency keys being worked on in this process."""

    def __init__(self) -> None:
        self._keys: set[str] = set()

    @contextmanager
    def claim(self, key: str) -> Iterator[None]:
        """Holds the key. Raises Refusal when another request holds it."""
        if key in self._keys:
            raise Refusal(ErrorCode.IDEMPOTENCY_IN_FLIGHT)
        self._keys.add(key)
        try:
            yield
        finally:
            self._keys.discard(key)


class Charges:
    """Makes charges and ends their challenges."""

    def __init__(
        self,
        *,
        store: Store,
        faults: Faults,
        holds: Holds,
        timing: Timing,
        clock: Clock,
        new_id: IdMaker,
        public_url: str,
        on_event: Callable[[], None],
        claims: Claims,
    ) -> None:
        """``clock`` is milliseconds since the epoch; ``on_event`` is told that an event was committed."""
        self._store = store
        self._faults = faults
        self._holds = holds
        self._timing = timing
        self._clock = clock
        self._new_id = new_id
        self._public_url = public_url
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
        charge = self._charge(order, fate)
        text = json.dumps(charge_object(charge, self._public_url))
        answer = Answer(order.fingerprint, charge.id, text)
        # The key is looked up under the store's write lock, so a second process is no way round (1).
        earlier = self._store.record(key, charge, answer, self._event(charge))  # (2) (3)
        if earlier is None:
            self._on_event()
            return Reply(text, replayed=False)
        if earlier.fingerprint != order.fingerprint:
            raise Refusal(ErrorCode.IDEMPOTENCY_CONFLICT)  # (2)
        return Reply(earlier.text, replayed=True)

    def end_challenge(self, charge: Charge, *, approved: bool) -> Charge:
        """Ends the charge's challenge, once; returns the charge as it now is, which an earlier end may have decided."""
        code = charge.decline_code_after_challenge if approved else DeclineCode.AUTHENTICATION_FAILED.value
        status = Status.SUCCEEDED if code is None else Status.DECLINED
        ended = replace(charge, status=status, decline_code=code)
        if self._store.settle(ended, self._event(ended)):
            self._on_event()
            return ended
        return self._store.charge(charge.id) or charge

    def _fate(self, order: ChargeOrder) -> Fate:
        """A card is good to the last day of its month, in UTC; after that nothing else about it matters."""
        today = datetime.fromtimestamp(self._clock() / 1000, UTC)
        if (order.exp_year, order.exp_month) < (today.year, today.month):
            return Fate(Behaviour.DECLINE, DeclineCode.EXPIRED_CARD)
        return Fate(order.card.behaviour, order.card.decline_code)

    def _charge(self, order: ChargeOrder, fate: Fate) -> Charge:
        status = _STATUS.get(fate.behaviour, Status.SUCCEEDED)
        challenged = status is Status.REQUIRES_ACTION
        return Charge(
            id=f"sbx_ch_{self._new_id()}",
            reference=order.reference,
            status=status,
            amount_minor=order.amount_minor,
            currency=order.currency,
            decline_code=None if challenged else fate.decline_code,
            brand=order.card.brand,
            last4=order.card.number[-LAST_DIGITS:],
            merchant=order.merchant,
            return_url=order.return_url,
            challenge_id=f"sbx_acs_{self._new_id()}" if challenged else None,
            decline_code_after_challenge=fate.decline_code if challenged else None,
            network_reference=f"sbx_net_{self._new_id()}",
            created_at=self._clock(),
        )

    def _event(self, charge: Charge) -> Event:
        event_id, now = f"sbx_evt_{self._new_id()}", self._clock()
        body = {
            "id": event_id,
            "type": f"charge.{charge.status}",
            "created_at": as_text(now),
            "data": charge_object(charge, self._public_url),
            "sandbox": True,
        }
        return Event(event_id, json.dumps(body), due_at=now)
