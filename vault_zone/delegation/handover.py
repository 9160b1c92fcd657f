"""A platform's card becomes a sealed record and a grant: one transaction for a whole group of requests.

What holds for a handover:
 1. Record, grant, the answer under its idempotency key and the event commit together, and the platform is answered afterwards.
 2. In that same transaction the platform is not revoked, and the sealing key is active.
 3. The grant has one use, and names the merchant, checkout, ceiling, currency and expiry that the platform sent.
 4. A request under a key that was used gives the answer of the first one, or is refused; never a second token.
 5. The proof (security code, cryptogram) goes into memory alone, after the commit, and no longer than the grant lives.
 6. The record outlives the grant by nothing.
 7. In that same transaction it is counted, and is within every limit (platform_limits); one that is over a limit holds up no
    other of its group.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from audit.batching import GroupCommit
from audit.event import Event, EventType
from audit.transaction import Transaction
from tokenization.ids import new_id
from tokenization.money import Money
from vault_zone.delegation.platform_limits import PlatformLimits, TooManyTries
from vault_zone.delegation.sent_card import SentCard
from vault_zone.idempotency import (
    Kept,
    Key,
    KeyConflict,
    Mark,
    UnderWay,
    find_kept,
    is_same,
    kept_among,
    mark_of,
    row_of,
)
from vault_zone.key_rows import ORIGIN
from vault_zone.keyring import KeyRing
from vault_zone.models import card_grant, card_record, idempotency
from vault_zone.platforms import Platform, PlatformUnknown, Protocol, live_among
from vault_zone.security_codes import SecurityCodes
from vault_zone.vault import record_row
from vault_zone.velocity import Tried, VelocityExceeded, count_all

LONGEST_SECONDS = 86_400  # a token's life: a card for one purchase is kept a day at most


class Binding(NamedTuple):
    """What the token may be used for (3)."""

    merchant: str
    checkout: str
    ceiling: Money
    expires_ms: int


class Repeatable(NamedTuple):
    """A request that may be sent twice: its key, and its bytes without the proof."""

    key: Key
    request: bytes


class Token(NamedTuple):
    """The answer: a grant's id in the protocol's form, when it was made, and whether that was an earlier request's."""

    id: str
    created_ms: int
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class _Item:
    platform: str
    protocol: Protocol
    binding: Binding
    sent: SentCard
    prefix: str
    attempt: Tried
    key: Key | None
    mark: Mark | None


_Made = Token | Kept | VelocityExceeded | None


class Handovers:
    """Takes cards from platforms, many to one commit."""

    def __init__(self, keys: KeyRing, codes: SecurityCodes, limits: PlatformLimits) -> None:
        self._keys = keys
        self._codes = codes
        self._limits = limits
        self._under_way = UnderWay()
        self._group: GroupCommit[_Item, _Made] = GroupCommit(self._commit)

    async def take(
        self,
        platform: Platform,
        protocol: Protocol,
        binding: Binding,
        sent: SentCard,
        *,
        prefix: str,
        again: Repeatable | None,
    ) -> Token:
        """Takes the card and returns its token.

        Raises PlatformUnknown (revoked meanwhile), InFlight, KeyConflict, TooManyTries, KeyUnavailable, KeyDestroyed,
        DatabaseBusy.
        """
        with self._under_way.alone(again.key if again else None):
            mark = await mark_of(self._keys, binding.merchant, again.request) if again else None
            attempt = await self._limits.tried(
                platform.id, binding.merchant, checkout=binding.checkout, pan=sent.card.pan
            )
            item = _Item(platform.id, protocol, binding, sent, prefix, attempt, again.key if again else None, mark)
            made = await self._group.submit(item)
            if made is None:
                raise PlatformUnknown
            if isinstance(made, VelocityExceeded):
                raise TooManyTries(binding.merchant, made)
            if isinstance(made, Kept):
                if again is None or mark is None:
                    raise KeyConflict
                return await self._replay(made, mark, binding.merchant, again.request)
            if sent.proof is not None:
                left_seconds = max(binding.expires_ms - made.created_ms, 0) / 1000
                self._codes.hold(made.id, sent.proof, left_seconds)  # (5)
            return made

    async def kept(self, again: Repeatable, merchant: str) -> Token | None:
        """The answer that an earlier request under this key got, for one that would not be taken today. Raises KeyConflict."""
        found = await self._keys.read(lambda connection: find_kept(connection, again.key, self._keys.now_ms()))
        if found is None:
            return None
        return await self._replay(found, await mark_of(self._keys, merchant, again.request), merchant, again.request)

    async def _replay(self, kept: Kept, mark: Mark, merchant: str, request: bytes) -> Token:
        if not await is_same(self._keys, kept, mark, merchant, request):  # (4)
            raise KeyConflict
        answer = json.loads(kept.answer)
        return Token(answer["id"], answer["created_ms"], replayed=True)

    async def _commit(self, items: Sequence[_Item]) -> Sequence[_Made]:
        return await self._keys.change(lambda tx: _take_all(tx, self._keys, items))


def _take_all(tx: Transaction, keys: KeyRing, items: Sequence[_Item]) -> list[_Made]:
    """Stores what is new of a group (1). None for the item of a platform that was revoked (2)."""
    kept = kept_among(tx, [item.key for item in items if item.key])
    live = live_among(tx.connection, {item.platform for item in items})
    answers: list[_Made] = [
        (kept.get(item.key) if item.key else None) if item.platform in live else None for item in items
    ]
    fresh = [n for n, item in enumerate(items) if item.platform in live and answers[n] is None]
    for n, exceeded in zip(fresh, count_all(tx, [items[n].attempt for n in fresh]), strict=True):  # (7)
        answers[n] = exceeded
    fresh = [n for n in fresh if answers[n] is None]
    sealing = _sealing_keys(tx, keys, [items[n].binding.merchant for n in fresh])
    rows = [_rows(items[n], sealing[items[n].binding.merchant], tx.now_ms) for n in fresh]
    for n, row in zip(fresh, rows, strict=True):
        answers[n] = Token(row.grant["id"], tx.now_ms)
    if rows:
        tx.execute(card_record.insert(), [row.record for row in rows])
        tx.execute(card_grant.insert(), [row.grant for row in rows])
        tx.record_all([row.event for row in rows])
    if repeated := [row.repeated for row in rows if row.repeated]:
        tx.execute(idempotency.insert(), repeated)
    return answers


class _Rows(NamedTuple):
    record: dict[str, Any]
    grant: dict[str, Any]
    repeated: dict[str, Any] | None
    event: Event


def _sealing_keys(tx: Transaction, keys: KeyRing, merchants: Sequence[str]) -> dict[str, tuple[str, bytes]]:
    """Each merchant's active key, counted once for every card of the group."""
    return {merchant: keys.sealing_key(tx, merchant, uses=count) for merchant, count in Counter(merchants).items()}


def _rows(item: _Item, sealing_key: tuple[str, bytes], now_ms: int) -> _Rows:
    binding, card = item.binding, item.sent.card
    record = record_row(
        sealing_key,
        merchant=binding.merchant,
        card=card,
        created_ms=now_ms,
        expires_ms=binding.expires_ms,  # (6)
        source=item.protocol.value,
        kind=item.sent.kind,
    )
    grant_id = new_id(item.prefix)
    grant = {
        "id": grant_id,
        "token": record["token"],
        "merchant": binding.merchant,
        "checkout": binding.checkout,
        "ceiling_minor": binding.ceiling.amount_minor,
        "used_minor": 0,
        "currency": binding.ceiling.currency,
        "needs_code": item.sent.proof is not None,
        "created_ms": now_ms,
        "expires_ms": binding.expires_ms,
        "uses_left": 1,  # (3)
    }
    repeated = None
    if item.key and item.mark:
        answer = json.dumps({"id": grant_id, "created_ms": now_ms})
        repeated = row_of(item.key, item.mark, 201, answer, now_ms)
    return _Rows(record, grant, repeated, _accepted(item, grant, record, now_ms))


def _accepted(item: _Item, grant: dict[str, Any], record: dict[str, Any], now_ms: int) -> Event:
    return Event(
        type=EventType.DELEGATION_ACCEPTED,
        outcome="success",
        actor=f"platform:{item.platform}",
        origin=ORIGIN,
        resource=grant["id"],
        merchant=item.binding.merchant,
        data={
            "protocol": item.protocol.value,
            "token": record["token"],
            "checkout": item.binding.checkout,
            "ceiling_minor": item.binding.ceiling.amount_minor,
            "currency": item.binding.ceiling.currency,
            "uses": 1,
            "brand": record["brand"].value,
            "last4": record["last4"],
            "kind": item.sent.kind,
        },
    )
