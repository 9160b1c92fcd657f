"""How often a client may call: a bucket for each, shared by the workers of a machine (MCP, Tools: a MUST).

What holds:
 1. A client is an address, an IPv6 one by its /64. What it presents gets it a wider bucket of its own once the door found it
    right, for PROVEN_SECONDS from the last time it did; before that, and when it is wrong, it has one as narrow as a guest's.
    The program says what a request presents, at which of its doors, the same however a request spells the path and the header.
 2. A bucket holds BURST_SECONDS' worth of calls and fills at its rate; a call takes one out of it, whatever the worker, and
    one more for each CALL_BYTES that the guard reads of it: what a call costs before it is answered is the reading of it. A
    full bucket lets anything through that the edge does.
 3. X-Forwarded-For is read only from trusted proxies, from its end: anybody can write the header.
 4. The table has a fixed size. Where clients share a row, the row that has been idle longest is taken over: a crowd of
    addresses can make the limit forget, never refuse, somebody else. What is forgotten as right is looked at once more.
 5. Nobody can choose what shares a row with a bucket: what was found right stands in a part of its own, and the table's random
    key says where a client stands.

The table is shared memory under a lock of the operating system, held for microseconds. Several machines limit each by itself.
"""

import contextlib
import fcntl
import hashlib
import math
import mmap
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tokenization.addresses import Network, network_of, origin_of

if TYPE_CHECKING:
    from tokenization.edge import Scope  # commands start sooner without it

BURST_SECONDS: Final = 10
ANONYMOUS_PER_SECOND: Final = 20
KEYED_PER_SECOND: Final = 200
AGENTS_PER_SECOND: Final = 400  # of the agents' API: a brand's backend calls for all of its shoppers from one address
PROVEN_SECONDS: Final = 600
CALL_BYTES: Final = (
    1024  # a call is smaller but for a checkout of many lines; the guard reads this much in 20 ms at worst
)
_ROW: Final = struct.Struct("<Qdd")  # client, calls left, when that was counted
_WAYS: Final = 8  # rows that a client may stand in
_SETS: Final = 2048
_KEY_BYTES: Final = 16
_PART_BYTES: Final = _ROW.size * _WAYS * _SETS
_BUCKETS: Final = _KEY_BYTES  # where the parts begin (5)
_PROVEN: Final = _BUCKETS + _PART_BYTES
TABLE_BYTES: Final = _PROVEN + _PART_BYTES


@dataclass(frozen=True, slots=True)
class Limits:
    """Calls a second. ``trusted`` are the proxies whose word on the client's address counts."""

    anonymous_per_second: float = ANONYMOUS_PER_SECOND
    keyed_per_second: float = KEYED_PER_SECOND
    trusted: tuple[Network, ...] = ()


@dataclass
class Rates:
    """The table. ``presented`` is what a request presents and at which door, empty for what is never right, None for nothing.
    ``descriptor`` is a shared_table() of workers; without one the table is this process's own.
    """

    monotonic_seconds: Callable[[], float]
    presented: "Callable[[Scope], str | None]"
    limits: Limits = field(default_factory=Limits)
    descriptor: int = -1
    _table: mmap.mmap = field(init=False)
    _key: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._table = mmap.mmap(self.descriptor, TABLE_BYTES)
        if self.descriptor < 0:
            self._table[:_KEY_BYTES] = os.urandom(_KEY_BYTES)
        self._key = self._table[:_KEY_BYTES]

    def wait_seconds(self, scope: "Scope", calls: int = 1) -> int:
        """Takes calls out of the client's bucket: 0 where there were so many, else after how many seconds there will be."""
        presented = self.presented(scope)
        kind = "anonymous" if presented is None else "key" if self._is_proven(presented) else "unproven"  # (1)
        rate = self.limits.keyed_per_second if kind == "key" else self.limits.anonymous_per_second
        return self.take(f"{kind}|{network_of(client_of(scope, self.limits.trusted))}", rate, calls)

    def found(self, scope: "Scope", *, right: bool) -> None:
        """Notes what the door found of what a request presents (1)."""
        presented = self.presented(scope)
        if presented is None:
            return
        digest, first = self._row_of(presented, _PROVEN)
        with self._locked():
            now = self.monotonic_seconds()
            place, _ = self._found(digest, first, now, 1)
            if right or _ROW.unpack_from(self._table, place)[0] == digest:
                _ROW.pack_into(self._table, place, digest if right else 0, 1.0, now if right else 0.0)

    def _is_proven(self, presented: str) -> bool:
        digest, first = self._row_of(presented, _PROVEN)
        with self._locked():
            now = self.monotonic_seconds()
            place, _ = self._found(digest, first, now, 1)
            held, _, since = _ROW.unpack_from(self._table, place)
        return bool(held == digest and now - since < PROVEN_SECONDS)

    def take(self, client: str, rate: float, calls: int = 1) -> int:
        """As wait_seconds(), for a client and its rate a second."""
        wanted = (
            calls if calls <= 1 else min(calls, max(1, rate * BURST_SECONDS - 1))
        )  # beside the one that was taken first
        digest, first = self._row_of(client, _BUCKETS)
        with self._locked():
            now = self.monotonic_seconds()
            place, left = self._found(digest, first, now, rate)
            allowed = left >= wanted
            _ROW.pack_into(self._table, place, digest, left - wanted if allowed else left, now)  # (2)
        return 0 if allowed else math.ceil((wanted - left) / rate)

    def close(self) -> None:
        """Lets the table go."""
        self._table.close()

    def _found(self, digest: int, first: int, now: float, rate: float) -> tuple[int, float]:
        """The client's row and what is in its bucket now; else the row that has been idle longest (4), with a full one."""
        burst = rate * BURST_SECONDS
        idle, idle_since = first, math.inf
        for row in range(first, first + _WAYS * _ROW.size, _ROW.size):
            held, left, since = _ROW.unpack_from(self._table, row)
            if held == digest:
                return row, max(0.0, min(burst, left + max(0.0, now - since) * rate))
            if since < idle_since:
                idle, idle_since = row, since
        return idle, burst

    def _row_of(self, name: str, part: int) -> tuple[int, int]:
        """A digest that is not 0, and where the first of the rows that it may stand in begins (5)."""
        hashed = hashlib.blake2b(name.encode(), digest_size=8, key=self._key).digest()
        digest = int.from_bytes(hashed, "little") or 1
        return digest, part + digest % _SETS * _WAYS * _ROW.size

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self.descriptor < 0:
            yield
            return
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX)  # by process; each of ours has one thread here
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)


def shared_table() -> int:
    """A fresh table that processes started from this one can share: the descriptor of an unnamed file in memory."""
    descriptor = os.memfd_create("cordon-rates", 0)
    os.ftruncate(descriptor, TABLE_BYTES)
    os.pwrite(descriptor, os.urandom(_KEY_BYTES), 0)
    return descriptor


def client_of(scope: "Scope", trusted: Sequence[Network]) -> str:
    """The client's address as far as the trusted proxies say (3), or ``unknown``."""
    peer = scope.get("client")
    said = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"x-forwarded-for"]
    return origin_of(peer[0] if peer else None, said, trusted)
