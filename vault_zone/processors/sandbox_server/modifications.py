"""A capture, void or refund, from the request to its answer: at most one for each idempotency key, like a charge."""

import json
from collections.abc import Callable

from vault_zone.processors.sandbox_server.books import Books
from vault_zone.processors.sandbox_server.errors import ErrorCode, Refusal
from vault_zone.processors.sandbox_server.faults import Faults
from vault_zone.processors.sandbox_server.objects import modification_object
from vault_zone.processors.sandbox_server.once import Claims, Reply, reply_of
from vault_zone.processors.sandbox_server.store import Answer, Effects, Store
from vault_zone.processors.sandbox_server.wire import FaultInput, ModificationOrder


class Modifications:
    """Makes captures, voids and refunds."""

    def __init__(
        self, *, store: Store, books: Books, faults: Faults, on_event: Callable[[], None], claims: Claims
    ) -> None:
        """``on_event`` is told that an event was committed."""
        self._store = store
        self._books = books
        self._faults = faults
        self._on_event = on_event
        self._claims = claims

    async def create(self, key: str, order: ModificationOrder, fault: FaultInput | None) -> Reply | None:
        """Makes it once for this key and returns the answer, or None when no reply is to be sent.

        1. While a request with a key is on its way to its effect, another with that key is refused.
        2. A key that has an answer gets that answer and no second effect; with another body it is refused.
        3. The charge's amounts are read, and what follows from them is on disk with answer and event, in one transaction:
           two that together ask for too much never both get it.
        4. What goes wrong before (3) leaves nothing behind; what goes wrong after it takes nothing back.

        Raises Refusal: NOT_FOUND when there is no such charge.
        """
        with self._claims.claim(key):  # (1)
            if not await self._faults.before(fault):
                return None  # (4)
            answer, is_new = self._store.record(key, lambda: self._effect(order))  # (2) (3)
        if is_new:
            self._on_event()
        reply = reply_of(answer, order.fingerprint, is_new=is_new)  # (2)
        return reply if await self._faults.after(fault) else None  # (4)

    def _effect(self, order: ModificationOrder) -> tuple[Answer, Effects]:
        charge = self._store.charge(order.charge_id)
        if charge is None:
            raise Refusal(ErrorCode.NOT_FOUND)
        effects = self._books.modified(charge, order)
        made = effects.modification
        if made is None:
            raise LookupError("a modification without a modification")
        return Answer(order.fingerprint, made.id, json.dumps(modification_object(made))), effects
