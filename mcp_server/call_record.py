"""The record of who asked for what on whose behalf: one event for each tool call, in the audit log.

What holds:
 1. Every call of a tool that is there leaves an event with caller, address, tool, what it was about and how it ended.
 2. A call that may have changed something is answered after its event is durable. One that only read may be answered a
    moment earlier; a process that is killed then loses at most FLUSH_SECONDS of those.
 3. If events cannot be written, calls are refused before they do anything once WAITING_MAXIMUM of them wait (I5).
 4. An event holds ids and codes: no words of a search, no address, no name of a shopper, nothing that looks like a card (I2).
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from audit.event import Event, EventRefused, EventType, looks_like_card
from audit.transaction import Database
from audit.write_behind import WAITING_MAXIMUM, NotWritten, WriteBehind
from commerce_api.authorization.clients import CLIENT_PREFIX
from commerce_api.authorization.grants import host_of
from commerce_api.errors import CommerceError, CommerceRefusal
from tokenization.ids import is_id, letters_of
from tokenization.logs import cause_of

FLUSH_SECONDS: Final = 0.5
_UNKNOWN: Final = "unknown"
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9 ._/-]+", re.ASCII)
_VERSION: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|a2a-1\.0", re.ASCII)
# Arguments that name what a call was about, by the kind of id that they must be to be written down.
_ABOUT: Final = {
    "checkout_id": ("checkout", "chk"),
    "order_id": ("order", "ord"),
    "decision_id": ("offer", "off"),
    "offer_id": ("offer", "off"),  # the offer, where both are named
}
_SHOPPER: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
log = structlog.get_logger("mcp_server")


@dataclass(frozen=True, slots=True)
class Call:
    """A call that ended. ``refusal`` is the code it was refused with; ``software`` is what the client calls itself."""

    brand: str
    principal: str
    client: str
    software: str
    protocol: str
    tool: str
    arguments: Mapping[str, Any]
    refusal: str | None
    shopper: str | None = None  # who is signed in, or whom the brand's own agent named
    program: str | None = None  # what the shopper let act for them
    made: Mapping[str, Any] = field(default_factory=dict)  # the answer's own ids: a checkout that was created


class CallRecorder:
    """Writes events in groups. ``close`` it with the process."""

    def __init__(self, database: Database) -> None:
        self._queue = WriteBehind(
            _Log(database),
            retry_seconds=FLUSH_SECONDS,
            linger_seconds=FLUSH_SECONDS,
            waiting_maximum=WAITING_MAXIMUM,
        )

    def check(self) -> None:
        """Raises CommerceRefusal(BUSY) while no more can be recorded (3)."""
        if self._queue.is_full:
            raise CommerceRefusal(CommerceError.BUSY)

    def take(self, call: Call) -> None:
        """Takes a call down; it is written within FLUSH_SECONDS (1)."""
        self._queue.add(event_of(call))

    async def note(self, call: Call) -> None:
        """Takes a call down and returns when that is durable (2). Raises CommerceRefusal(INTERNAL) where it never will be."""
        try:
            await self._queue.written(event_of(call))
        except NotWritten:
            raise CommerceRefusal(CommerceError.INTERNAL) from None

    async def close(self) -> None:
        """Writes what waits, and ends. What cannot be written now is lost, and said so."""
        await self._queue.close()


@dataclass(frozen=True, slots=True)
class _Log:
    """The audit log, as a sink."""

    database: Database

    async def write(self, events: Sequence[Event]) -> None:
        await self.database.change(lambda tx: tx.record_all(events))

    def is_passing(self, failure: Exception) -> bool:
        return not isinstance(failure, EventRefused)  # a defect of ours: what event_of() writes is in bounds

    def failed(self, failure: Exception, count: int) -> None:
        log.error("calls_not_recorded", cause=cause_of(failure), count=count)

    def lost(self, count: int) -> None:
        log.error("calls_lost", count=count)


def event_of(call: Call) -> Event:
    """The event of a call (4)."""
    data: dict[str, str | int | bool] = {
        "tool": call.tool,
        "client": _address(call.client),
        "software": plain(call.software) or _UNKNOWN,
        "protocol": call.protocol if _VERSION.fullmatch(call.protocol) else _UNKNOWN,
    }
    if call.refusal is not None:
        data["reason"] = call.refusal
    for name, (key, prefix) in _ABOUT.items():
        value = call.made.get(name) or call.arguments.get(name)
        if isinstance(value, str) and is_id(value, prefix):
            data[key] = value
    data |= _program(call.program)
    is_named = call.shopper is not None and _SHOPPER.fullmatch(call.shopper) and not looks_like_card(call.shopper)
    return Event(
        type=EventType.AGENT_CALLED,
        outcome="success" if call.refusal is None else "failure",
        actor=call.principal,
        origin="mcp_server",
        resource=f"tool:{call.tool}",
        merchant=call.brand,
        principal=call.shopper or "" if is_named else "",
        data=data,
    )


def _program(client: str | None) -> dict[str, str]:
    """The program that a shopper let act for them: the host that vouches for it, or its id of ours."""
    if client is None:
        return {}
    return host_of(client) or ({"identity": client} if is_id(client, CLIENT_PREFIX) else {})


def plain(text: str) -> str:
    """A caller's text in the alphabet of the record, shortened; nothing of one that looks like a card."""
    cleaned = _NOT_PLAIN.sub(" ", text).strip()[:60]
    return "" if looks_like_card(cleaned) else cleaned


def _address(text: str) -> str:
    """The client's address. One of IPv6 may hold so many digits in a row that it looks like a card: its bytes as letters."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return _UNKNOWN
    return f"ipv6:{letters_of(address.packed)}" if looks_like_card(str(address)) else str(address)
