"""The record of who asked for what on whose behalf: one event for each tool call, in the audit log.

What holds:
 1. Every call of a tool that is there leaves an event with caller, address, tool, what it was about and how it ended.
 2. A call that may have changed something is answered after its event is durable. One that only read may be answered a
    moment earlier; a process that is killed then loses at most FLUSH_SECONDS of those.
 3. If events cannot be written, calls are refused before they do anything once WAITING_MAXIMUM of them wait (I5).
 4. An event holds ids and codes: no words of a search, no address, no name of a shopper, nothing that looks like a card (I2).
"""

import asyncio
import contextlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from audit.event import Event, EventRefused, EventType, encode, looks_like_card
from audit.transaction import Database
from commerce_api.authorization.clients import CLIENT_PREFIX
from commerce_api.authorization.grants import host_of
from commerce_api.errors import CommerceError, CommerceRefusal
from tokenization.ids import is_id, letters_of
from tokenization.logs import cause_of

FLUSH_SECONDS: Final = 0.5
BATCH: Final = 200
WAITING_MAXIMUM: Final = 2_000
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


@dataclass
class CallRecorder:
    """Writes events in groups, from the first call on. ``close`` it with the process."""

    database: Database
    _waiting: list[tuple[Event, "asyncio.Future[None] | None"]] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _task: "asyncio.Task[None] | None" = None
    _ending: bool = False

    def check(self) -> None:
        """Raises CommerceRefusal(BUSY) while no more can be recorded (3)."""
        if len(self._waiting) >= WAITING_MAXIMUM:
            raise CommerceRefusal(CommerceError.BUSY)

    def take(self, call: Call) -> None:
        """Takes a call down; it is written within FLUSH_SECONDS (1)."""
        self._add(call, None)

    async def note(self, call: Call) -> None:
        """Takes a call down and returns when that is durable (2)."""
        done = asyncio.get_running_loop().create_future()
        self._add(call, done)
        self._wake.set()
        await asyncio.shield(done)

    def _add(self, call: Call, done: "asyncio.Future[None] | None") -> None:
        self._waiting.append((event_of(call), done))
        if len(self._waiting) >= BATCH:
            self._wake.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Writes what waits, and ends. What cannot be written now is lost, and said so."""
        self._ending = True
        self._wake.set()
        if self._task is not None:
            await self._task
        while self._waiting and await self._flush():
            pass
        if self._waiting:
            log.error("calls_lost", count=len(self._waiting))

    async def _run(self) -> None:
        while not self._ending:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), FLUSH_SECONDS)
            self._wake.clear()
            if self._waiting:
                await self._flush()

    async def _flush(self) -> bool:
        """Writes a batch; False where it could not be written."""
        batch = self._waiting[:BATCH]
        events = [event for event, _ in batch]
        try:
            await self.database.change(lambda tx: tx.record_all(events))
        except (
            EventRefused
        ) as refused:  # what event_of() writes is in bounds: a defect of ours, and not the others' loss
            log.error("calls_not_recorded", cause=cause_of(refused))
            self._leave_out(refused_among(events))
            return True
        except Exception as failure:  # noqa: BLE001  # whatever it is, the next try may succeed, and callers wait for it (3)
            log.error("calls_not_recorded", cause=cause_of(failure))
            return False
        del self._waiting[: len(batch)]
        for _, done in batch:
            if done is not None and not done.done():
                done.set_result(None)
        if self._waiting:
            self._wake.set()
        return True

    def _leave_out(self, refused: set[int]) -> None:
        """Takes events out of the batch that cannot be written; who waits for one is told that it is not on record (1)."""
        for place in sorted(refused, reverse=True):
            _, done = self._waiting.pop(place)
            if done is not None and not done.done():
                done.set_exception(CommerceRefusal(CommerceError.INTERNAL))


def refused_among(events: Sequence[Event]) -> set[int]:
    """The places of events that the record does not take."""
    refused = set()
    for place, event in enumerate(events):
        try:
            encode(event, event_id="evt_" + "b" * 32, at_milliseconds=0)
        except EventRefused:
            refused.add(place)
    return refused


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
