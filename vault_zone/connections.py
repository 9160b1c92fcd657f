"""Who may hold how many connections of a listener, and who goes when there are too many."""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tokenization.addresses import Network, is_within, network_of, read_address


@dataclass(frozen=True, slots=True)
class Limits:
    """What one listener bears. Times are for one connection and absolute: a byte now and then extends none of them."""

    connections: int = 512
    connections_of_one_address: int = 64  # a household or an office; a trusted proxy is not counted
    first_byte_seconds: float = 10.0
    head_seconds: float = 10.0
    body_seconds: float = 20.0  # longer than the edge's own limit, which answers; this one ends what does not listen
    idle_seconds: float = 30.0  # between two requests
    closing_seconds: float = 5.0  # for a peer to take what was written for it
    head_bytes: int = 16 * 1024
    headers: int = 64
    pipelined: int = 8


class Connection(Protocol):
    """One connection as the gate sees it."""

    peer: str

    def drop(self) -> None:
        """Ends it at once, without an answer."""


@dataclass(slots=True)
class Gate:
    """The connections of one listener. What must hold after each admit():

    1. No more than ``connections`` are open, and of one address no more than ``connections_of_one_address``.
    2. A new one displaces the one that has waited longest for its client: first of its own address where that one's limit
       is reached, then of any. So who opens many and says nothing loses them to who has a request.
    3. One whose request is being answered is never displaced. If all are, the new one is refused.
    """

    limits: Limits
    trusted: Sequence[Network] = ()
    _waiting: OrderedDict[Connection, str] = field(default_factory=OrderedDict)
    _answering: dict[Connection, str] = field(default_factory=dict)
    _held: Counter[str] = field(default_factory=Counter)
    displaced: int = 0
    refused: int = 0

    def admit(self, connection: Connection) -> bool:
        """Makes room for a connection, or says that there is none (3)."""
        owner = self._owner(connection.peer)
        if owner is not None and self._held[owner] >= self.limits.connections_of_one_address:  # (1)
            has_room = self._displace(owner)
        else:
            has_room = len(self) < self.limits.connections or self._displace(None)
        if not has_room:
            self.refused += 1
            return False
        self._waiting[connection] = owner or ""
        self._held[owner or ""] += 1
        return True

    def waits(self, connection: Connection) -> None:
        """The connection waits for its client, from now on: it is the last to be displaced."""
        owner = self._answering.pop(connection, None)
        owner = self._waiting.pop(connection, None) if owner is None else owner
        if owner is not None:
            self._waiting[connection] = owner

    def answers(self, connection: Connection) -> None:
        """A request of the connection is whole and being answered."""
        if (owner := self._waiting.pop(connection, None)) is not None:
            self._answering[connection] = owner

    def leave(self, connection: Connection) -> None:
        """The connection has ended. May be said twice."""
        owner = self._waiting.pop(connection, None)
        owner = self._answering.pop(connection, None) if owner is None else owner
        if owner is not None:
            self._held[owner] -= 1
            if not self._held[owner]:
                del self._held[owner]

    def __len__(self) -> int:
        return len(self._waiting) + len(self._answering)

    def _displace(self, owner: str | None) -> bool:  # (2)
        oldest = next((c for c, held_by in self._waiting.items() if owner in (None, held_by)), None)
        if oldest is None:
            return False
        self.leave(oldest)
        oldest.drop()
        self.displaced += 1
        return True

    def _owner(self, peer: str) -> str | None:
        return None if is_within(read_address(peer), self.trusted) else network_of(peer)
