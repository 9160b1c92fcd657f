"""Agent platforms: who may hand over a card from outside, by which protocol, for which merchants.

What holds for a platform:
 1. Its bearer key is 256 random bits, shown once; the database holds the digest alone.
 2. The key is compared in constant time, and an unknown one, a revoked one and none at all are refused alike.
 3. A revoked platform hands over nothing more: whatever a process remembers, the transaction that takes the card asks again.
 4. Where it has a signature key, an unsigned request of it is refused.
"""

import asyncio
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import bindparam, select, update
from sqlalchemy.engine import Connection, Row

from audit.event import Event, EventType
from audit.transaction import Database, Transaction
from tokenization.clock import Clock
from tokenization.ids import digest, new_id, new_secret
from tokenization.money import Money
from vault_zone.key_rows import ORIGIN
from vault_zone.models import agent_platform, merchant

KEEP_MS = 5_000  # how long a process goes by what it read of the platforms
RELOAD_MS = 1_000  # an unknown key makes it read again, at most this often
BEARER_MAXIMUM = 200


class Protocol(StrEnum):
    """How a platform speaks."""

    ACP = "acp"
    UCP = "ucp"


class PlatformUnknown(Exception):
    """No platform of this protocol has this key, or it was revoked, or there is no platform of this id."""


class PlatformInvalid(Exception):
    """The platform may not be added like this. Says what to mend."""


@dataclass(frozen=True, slots=True)
class SignatureKey:
    """The public key that a platform signs its requests with."""

    algorithm: str
    pem: str


@dataclass(frozen=True, slots=True)
class Platform:
    """What is known of a platform. ``ceiling`` bounds a token whose protocol carries no amount."""

    id: str
    name: str
    bearer_digest: str
    protocols: frozenset[str]
    merchants: frozenset[str]
    signature: SignatureKey | None
    ceiling: Money | None
    created_ms: int


def add_platform(
    tx: Transaction,
    *,
    name: str,
    protocols: Iterable[Protocol],
    merchants: Iterable[str],
    signature: SignatureKey | None = None,
    ceiling: Money | None = None,
    actor: str,
) -> tuple[str, str]:
    """Adds a platform; returns its id and its bearer key, which is nowhere else (1). Raises PlatformInvalid.

    A merchant that the zone does not know yet is made known; its name comes with its first capture link.
    """
    spoken, served = sorted(set(protocols)), sorted(set(merchants))
    if not spoken or not served:
        raise PlatformInvalid("name at least one protocol and one merchant")
    if Protocol.UCP in spoken and ceiling is None:
        raise PlatformInvalid("UCP carries no amount: give the most that one token may be charged (--ceiling)")
    platform, bearer = new_id("plt"), new_secret("plk")
    for one in served:
        if tx.execute(select(merchant.c.id).where(merchant.c.id == one)).first() is None:
            tx.execute(merchant.insert().values(id=one, name=one, created_ms=tx.now_ms))
    tx.execute(
        agent_platform.insert().values(
            id=platform,
            name=name,
            bearer_digest=digest(bearer),
            signature_algorithm=signature.algorithm if signature else None,
            signature_key=signature.pem if signature else None,
            protocols=json.dumps(spoken),
            merchants=json.dumps(served),
            ceiling_minor=ceiling.amount_minor if ceiling else None,
            currency=ceiling.currency if ceiling else None,
            created_ms=tx.now_ms,
        )
    )
    _record(tx, EventType.PLATFORM_ADDED, platform, actor, {"name": name, "protocol": ",".join(spoken)})
    return platform, bearer


def remove_platform(tx: Transaction, platform: str, actor: str) -> None:
    """Revokes a platform (3). Raises PlatformUnknown."""
    removed = tx.execute(
        update(agent_platform)
        .where(agent_platform.c.id == platform, agent_platform.c.revoked_ms.is_(None))
        .values(revoked_ms=tx.now_ms)
    )
    if removed.rowcount != 1:
        raise PlatformUnknown
    _record(tx, EventType.PLATFORM_REMOVED, platform, actor, {})


def live_platforms(connection: Connection) -> list[Platform]:
    """The platforms that are not revoked, oldest first."""
    rows = connection.execute(
        select(agent_platform).where(agent_platform.c.revoked_ms.is_(None)).order_by(agent_platform.c.created_ms)
    )
    return [_platform_of(row) for row in rows]


def live_among(connection: Connection, platforms: set[str]) -> set[str]:
    """Which of the platforms are not revoked at this moment (3)."""
    return set(connection.execute(_LIVE_AMONG, {"platforms": platforms}).scalars())


_LIVE_AMONG = select(agent_platform.c.id).where(  # read in each handover's transaction, so made once
    agent_platform.c.id.in_(bindparam("platforms", expanding=True)), agent_platform.c.revoked_ms.is_(None)
)


class Platforms:
    """The platforms as a process knows them, read again every few seconds."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[str, Platform] = {}
        self._read_ms = -KEEP_MS
        self._reading = asyncio.Lock()

    async def named_by(self, authorization: str | None, protocol: Protocol) -> Platform:
        """The platform whose bearer key stands in an Authorization header. Raises PlatformUnknown (2)."""
        scheme, _, bearer = (authorization or "").partition(" ")
        bearer = bearer.strip(" ")
        if scheme.lower() != "bearer" or not bearer or len(bearer) > BEARER_MAXIMUM:
            raise PlatformUnknown
        shown = digest(bearer)
        await self._read_if_older_than(KEEP_MS)
        if shown not in self._known:
            await self._read_if_older_than(RELOAD_MS)
        platform = self._known.get(shown)
        if platform is None or not hmac.compare_digest(platform.bearer_digest, shown):
            raise PlatformUnknown
        if protocol not in platform.protocols:
            raise PlatformUnknown
        return platform

    async def _read_if_older_than(self, age_ms: int) -> None:
        if self._clock() - self._read_ms < age_ms:
            return
        async with self._reading:
            if self._clock() - self._read_ms < age_ms:
                return
            platforms = await self._database.read(live_platforms)
            self._known = {platform.bearer_digest: platform for platform in platforms}
            self._read_ms = self._clock()


def _platform_of(row: "Row[tuple[object, ...]]") -> Platform:
    return Platform(
        id=row.id,
        name=row.name,
        bearer_digest=row.bearer_digest,
        protocols=frozenset(json.loads(row.protocols)),
        merchants=frozenset(json.loads(row.merchants)),
        signature=SignatureKey(row.signature_algorithm, row.signature_key) if row.signature_key else None,
        ceiling=Money(row.ceiling_minor, row.currency) if row.ceiling_minor is not None else None,
        created_ms=row.created_ms,
    )


def _record(tx: Transaction, kind: EventType, platform: str, actor: str, data: dict[str, str | int | bool]) -> None:
    tx.record(Event(type=kind, outcome="success", actor=actor, origin=ORIGIN, resource=platform, data=data))
