"""The data keys of each merchant: made when first needed, counted before use, opened only through the provider.

A unit of work must not wait for a key provider, so keys are had before it runs: work that lacks one raises KeyMissing, and
``KeyRing.change`` fetches what is missing and runs the work again.

What holds for a key:
 1. It serves one purpose of one merchant.
 2. Its uses are on disk before they happen: a process takes a lease of them, and what it does not use is lost.
 3. It stops sealing at its maximum of uses and at the end of its crypto-period; a new epoch takes over.
 4. Only an active key seals: its state is read in the transaction that stores what it sealed.
 5. A key that is not active still opens, until it is destroyed; its state is read in the transaction that opens.
 6. A key is held in memory for KEEP_SECONDS, so that a provider's outage and a destruction elsewhere both take effect.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakValueDictionary

from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from audit.threads import in_thread
from audit.transaction import Database, Transaction
from tokenization.clock import Clock, monotonic_seconds
from tokenization.ids import new_id
from vault_zone.hazmat.provider import KeyContext, KeyDestroyed, KeyProvider, KeyUnavailable
from vault_zone.key_rows import (
    NONE_ACTIVE,
    KeyLimits,
    KeyState,
    NewKey,
    Purpose,
    add_epoch,
    find_key,
    state_of,
    take_lease,
)

T = TypeVar("T")
ACTOR = "service:vault_zone"
KEEP_SECONDS = 300.0
FETCH_LIMIT = 8  # keys that one unit of work may lack, one after the other


class KeyMissing(Exception):
    """A unit of work needs a key that is not in memory. KeyRing.change() fetches it; nobody else sees this.

    ``key_id`` names the key to open; None asks for the active one of the purpose, with that many uses left.
    """

    def __init__(self, merchant_id: str, purpose: Purpose, key_id: str | None = None, uses: int = 1) -> None:
        super().__init__(purpose.value)
        self.uses = uses
        self.merchant = merchant_id
        self.purpose = purpose
        self.key_id = key_id


@dataclass(slots=True)
class _Held:
    key: bytes
    until_seconds: float

    def __repr__(self) -> str:
        return "_Held(****)"


@dataclass(slots=True)
class _Lease:
    key_id: str
    retire_by_ms: int
    left: int


class KeyRing:
    """Gives the key that seals for a merchant now, and the key that an old record was sealed under."""

    def __init__(
        self,
        provider: KeyProvider,
        database: Database,
        clock: Clock,
        now_seconds: Callable[[], float] = monotonic_seconds,
        limits: KeyLimits | None = None,
    ) -> None:
        self.provider = provider
        self._database = database
        self._clock = clock
        self.limits = limits or KeyLimits()
        self._now_seconds = now_seconds
        self._held: dict[str, _Held] = {}
        self._leases: dict[tuple[str, Purpose], _Lease] = {}
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def __repr__(self) -> str:
        return f"KeyRing({self.provider.name}, {len(self._held)} open)"

    async def change(self, work: Callable[[Transaction], T]) -> T:
        """Database.change for work that seals or opens. Raises what the work raises, KeyUnavailable, KeyDestroyed."""
        return await self._with_keys(lambda: self._database.change(work))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Database.read for work that opens. Raises what the work raises, KeyUnavailable, KeyDestroyed."""
        return await self._with_keys(lambda: self._database.read(work))

    async def ready(self, merchant_id: str, purpose: Purpose) -> tuple[str, bytes]:
        """The active key of a purpose, for use outside a transaction; counted as one use. Raises KeyUnavailable."""

        async def attempt() -> tuple[str, bytes]:
            return self._leased(merchant_id, purpose, self._clock(), 1)

        return await self._with_keys(attempt)

    def now_ms(self) -> int:
        """The moment by the clock that leases are held against."""
        return self._clock()

    def sealing_key(
        self, tx: Transaction, merchant_id: str, purpose: Purpose = Purpose.SEALING, *, uses: int = 1
    ) -> tuple[str, bytes]:
        """The id and bytes of the merchant's active key, for so many seals in this transaction.

        Raises KeyMissing, KeyDestroyed.
        """
        key_id, key = self._leased(merchant_id, purpose, tx.now_ms, uses)
        state = state_of(tx.connection, key_id, merchant_id)
        if state is not KeyState.ACTIVE:  # (4)
            self._leases.pop((merchant_id, purpose), None)
            raise KeyDestroyed if state is KeyState.DESTROYED else KeyMissing(merchant_id, purpose, uses=uses)
        return key_id, key

    def opening_key(
        self, connection: Connection, key_id: str, merchant_id: str, purpose: Purpose = Purpose.SEALING
    ) -> bytes:
        """The bytes of the key that a record names. Raises KeyMissing, KeyDestroyed; KeyUnavailable for another merchant's."""
        state = state_of(connection, key_id, merchant_id)
        if state is None:
            raise KeyUnavailable
        if state is KeyState.DESTROYED:  # (5)
            self.forget(key_id)
            raise KeyDestroyed
        held = self._open_in_memory(key_id)
        if held is None:
            raise KeyMissing(merchant_id, purpose, key_id)
        return held

    def forget(self, key_id: str) -> None:
        """Takes a key out of memory."""
        self._held.pop(key_id, None)

    def forget_all(self) -> None:
        """Takes every key out of memory: the zone was sealed, or a key was destroyed elsewhere."""
        self._held.clear()
        self._leases.clear()

    def forget_merchant(self, merchant_id: str) -> None:
        """Takes a merchant's leases out of memory; its next seal asks the database which key is active."""
        for merchant_purpose in [key for key in self._leases if key[0] == merchant_id]:
            self._held.pop(self._leases.pop(merchant_purpose).key_id, None)

    def _leased(self, merchant_id: str, purpose: Purpose, now_ms: int, uses: int) -> tuple[str, bytes]:
        lease = self._leases.get((merchant_id, purpose))
        if lease is None or lease.left < uses or lease.retire_by_ms <= now_ms:  # (3)
            raise KeyMissing(merchant_id, purpose, uses=uses)
        key = self._open_in_memory(lease.key_id)
        if key is None:
            raise KeyMissing(merchant_id, purpose, lease.key_id)
        lease.left -= uses  # (2) a transaction that rolls back has used it all the same
        return lease.key_id, key

    def _open_in_memory(self, key_id: str) -> bytes | None:
        held = self._held.get(key_id)
        if held is None or held.until_seconds <= self._now_seconds():  # (6)
            self._held.pop(key_id, None)
            return None
        return held.key

    async def _with_keys(self, attempt: Callable[[], Awaitable[T]]) -> T:
        for _ in range(FETCH_LIMIT):
            try:
                return await attempt()
            except KeyMissing as missing:
                await self._fetch(missing)
        raise KeyUnavailable

    async def _fetch(self, missing: KeyMissing) -> None:
        """Has the key that is missing, once for however many wait for it."""
        turn = self._turns.setdefault((missing.merchant, missing.key_id or missing.purpose), asyncio.Lock())
        async with turn:
            if missing.key_id is not None:
                await self._open(missing.key_id, missing.merchant)
            elif not self._has_lease(missing.merchant, missing.purpose, missing.uses):
                await self._lease(missing.merchant, missing.purpose, missing.uses)

    def _has_lease(self, merchant_id: str, purpose: Purpose, uses: int) -> bool:
        lease = self._leases.get((merchant_id, purpose))
        return lease is not None and lease.left >= uses and lease.retire_by_ms > self._clock()

    async def _open(self, key_id: str, merchant_id: str) -> None:
        row = await self._database.read(lambda connection: find_key(connection, key_id, merchant_id))
        if row is None:
            raise KeyUnavailable
        if row.state is KeyState.DESTROYED:
            raise KeyDestroyed
        context = KeyContext(merchant_id, row.purpose, key_id)
        self._hold(key_id, await self.ask(lambda: self.provider.unwrap(row.wrapped, context)))

    async def _lease(self, merchant_id: str, purpose: Purpose, uses: int) -> None:
        wanted = max(uses, self.limits.lease_uses)
        for _ in range(FETCH_LIMIT):
            lease = await self._database.maintain(lambda tx: take_lease(tx, merchant_id, purpose, self.limits, wanted))
            if lease is not None:
                self._leases[merchant_id, purpose] = _Lease(lease.key_id, lease.retire_by_ms, lease.uses)
                return
            await self.begin_epoch(merchant_id, purpose, reason=NONE_ACTIVE)
        raise KeyUnavailable

    async def begin_epoch(self, merchant_id: str, purpose: Purpose, *, reason: str, actor: str = ACTOR) -> str:
        """Makes the next key of a purpose, which takes over from the one before; returns the id of the one that is active.

        Raises KeyUnavailable, KeyDestroyed.
        """
        key_id = new_id("key")
        made = await self.ask(lambda: self.provider.generate(KeyContext(merchant_id, purpose, key_id)))
        fresh = NewKey(key_id, merchant_id, purpose, self.provider.name, made.wrapped)
        try:
            active = await self._database.change(
                lambda tx: add_epoch(tx, fresh, self.limits, reason=reason, actor=actor)
            )
        except IntegrityError:  # another process began the epoch at the same moment: its key serves
            return ""
        self._leases.pop((merchant_id, purpose), None)
        return active

    def _hold(self, key_id: str, key: bytes) -> None:
        self._held[key_id] = _Held(key, self._now_seconds() + KEEP_SECONDS)

    async def ask(self, call: Callable[[], T]) -> T:
        """A call of the provider, in a thread if it leaves the process."""
        return await in_thread(call) if self.provider.is_remote else call()
