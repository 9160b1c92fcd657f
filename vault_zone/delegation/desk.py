"""What the routes for agent platforms share, made once for the public program."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from audit.event import Event, EventType
from audit.transaction import Database, DatabaseBusy, Transaction
from tokenization.clock import Clock
from tokenization.logs import cause_of
from tokenization.opaque_keys import is_opaque_key
from tokenization.scanner import contains_card
from tokenization.tally import Tally
from vault_zone.delegation.handover import Handovers
from vault_zone.delegation.platform_limits import PlatformLimits, TooManyTries
from vault_zone.delegation.troubles import Trouble, trouble_of
from vault_zone.idempotency import KEY_MAXIMUM
from vault_zone.key_rows import ORIGIN
from vault_zone.platforms import Platform, Platforms, Protocol
from vault_zone.runtime import Zone
from vault_zone.velocity import Tried, VelocityExceeded, count

log = structlog.get_logger("vault_zone")


@dataclass(frozen=True, slots=True)
class Desk:
    """Where platforms' cards are taken. ``authority`` is the host, and the port if any, under which it is reached."""

    database: Database
    now_ms: Clock
    authority: str
    platforms: Platforms
    handovers: Handovers
    limits: PlatformLimits
    strangers: Tally
    over_limits: Callable[[tuple[str, str]], Tally] = field(repr=False)

    @classmethod
    def of(cls, zone: Zone) -> "Desk":
        """The desk of a running zone."""
        limits = PlatformLimits(zone.keys, zone.limits)
        tallies: defaultdict[tuple[str, str], Tally] = defaultdict(lambda: Tally(zone.clock))
        return cls(
            zone.database,
            zone.clock,
            urlsplit(zone.settings.capture_url).netloc.lower(),
            Platforms(zone.database, zone.clock),
            Handovers(zone.keys, zone.codes, limits),
            limits,
            Tally(zone.clock),
            tallies.__getitem__,
        )

    async def refuse(
        self, platform: Platform, protocol: Protocol, *, merchant: str | None, status: int, reason: str
    ) -> None:
        """Records that a card was refused; with its merchant known it is a try (platform_limits, 1). Raises TooManyTries."""
        event = Event(
            type=EventType.DELEGATION_REFUSED,
            outcome="failure",
            actor=f"platform:{platform.id}",
            origin=ORIGIN,
            resource=platform.id,
            data={"protocol": protocol.value, "status": status, "reason": reason},
        )
        attempt = await self.limits.tried(platform.id, merchant) if merchant else None
        try:
            await self.database.change(lambda tx: _count_and_record(tx, attempt, event))
        except VelocityExceeded as exceeded:
            raise TooManyTries(merchant or "", exceeded) from None

    async def trouble(self, failure: Exception, path: str, protocol: Protocol, platform: Platform | None) -> Trouble:
        """Which trouble a failure is; on record where somebody was kept out, in the log where something is ours to mend."""
        trouble = trouble_of(failure)
        if trouble in (Trouble.UNAVAILABLE, Trouble.OURS):
            log.error("delegation_failed", cause=cause_of(failure))
        try:
            if trouble is Trouble.UNKNOWN_PLATFORM:
                await self._note_stranger(path)
            elif isinstance(failure, TooManyTries) and platform is not None:
                await self._note_over_limit(failure, protocol, platform)
        except (DatabaseBusy, SQLAlchemyError, OSError) as unrecorded:
            log.error("delegation_failed", cause=cause_of(unrecorded))
            return Trouble.UNAVAILABLE
        return trouble

    async def _note_stranger(self, path: str) -> None:
        """That somebody without a key of ours asked. Anybody can do that, so the record counts them (PCI DSS 10.2.1.4)."""
        if number := self.strangers.count():
            event = Event(
                type=EventType.ACCESS_REFUSED,
                outcome="failure",
                actor="platform:unknown",
                origin=ORIGIN,
                resource="api:public",
                data={"route": path, "method": "post", "count": number},
            )
            await self.database.change(lambda tx: tx.record(event))

    async def _note_over_limit(self, tries: TooManyTries, protocol: Protocol, platform: Platform) -> None:
        """That a platform is over a limit: at once, then once a minute with how many were refused."""
        kind = tries.exceeded.kind.value
        if number := self.over_limits((platform.id, kind)).count():
            event = Event(
                type=EventType.VELOCITY_LIMITED,
                outcome="failure",
                actor=f"platform:{platform.id}",
                origin=ORIGIN,
                resource=platform.id,
                merchant=tries.merchant,
                data={"limit": kind, "count": tries.exceeded.count, "protocol": protocol.value, "refused": number},
            )
            await self.database.change(lambda tx: tx.record(event))


def _count_and_record(tx: Transaction, attempt: Tried | None, event: Event) -> None:
    if attempt is not None:
        count(tx, attempt)
    tx.record(event)


def is_opaque(text: str) -> bool:
    """Whether a header's value may be an idempotency key, and may be said back."""
    if not (0 < len(text) <= KEY_MAXIMUM and text.isascii() and text.isprintable()):
        return False
    return is_opaque_key(text) or not contains_card(text)


def desk_of(request: Request) -> Desk:
    """The desk of the program that serves the request."""
    desk: Desk = request.app.state.desk
    return desk
