"""Re-keying: every stored card of a merchant sealed anew under the merchant's active key, while the zone goes on.

What holds:
 1. A card is opened and sealed anew in one transaction, which replaces the row only if it still names the old key: no reader
    ever meets a row that does not open, and no card is lost, whatever instruction the process dies at.
 2. Nothing is remembered but counts: what is left is what still names another key. A run that was cut off goes on from there.
 3. The rate is bounded, so that captures and charges keep their place.
 4. The fingerprint is made anew with the card, under the active fingerprint key.
 5. A card is in memory for the batch that it is in.
 6. A row that does not open (it was altered) stays as it is and does not stop the others; the end of the run counts them.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.engine import Connection, Row

from audit.event import Event, EventType
from audit.transaction import Database, Transaction
from tokenization.ids import letters_of, new_id
from vault_zone.card import Exposure
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.hazmat.seal import PADDED, SealBroken, seal
from vault_zone.key_rows import ORIGIN, KeyState, Purpose, know_live_merchant
from vault_zone.keyring import KeyRing
from vault_zone.models import card_record, data_key, rekeying
from vault_zone.vault import bound_to, opened_content, pan_of

BATCH_CARDS = 50
MAXIMUM_CARDS_PER_SECOND = 2_000  # about a quarter of what two shared cores can do beside captures
Sleep = Callable[[float], Awaitable[None]]


class RekeyingState(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Rekeying:
    """A run of re-keying: ``done`` of ``total`` cards are under the active key."""

    id: str
    merchant: str
    state: RekeyingState
    total: int
    done: int
    started_ms: int
    changed_ms: int


def start(tx: Transaction, merchant_id: str, actor: str) -> Rekeying:
    """Begins a run, or returns the one that is running. Raises KeyDestroyed, KeyUnavailable (merchant unknown)."""
    know_live_merchant(tx.connection, merchant_id)
    running = tx.execute(
        select(rekeying).where(rekeying.c.merchant == merchant_id, rekeying.c.state == RekeyingState.RUNNING)
    ).first()
    if running is not None:
        return _view(running)
    total = tx.execute(select(func.count()).select_from(card_record).where(*_left(merchant_id, tx.now_ms))).scalar_one()
    fresh = Rekeying(new_id("rky"), merchant_id, RekeyingState.RUNNING, total, 0, tx.now_ms, tx.now_ms)
    tx.execute(
        rekeying.insert().values(
            id=fresh.id,
            merchant=merchant_id,
            state=fresh.state,
            total=total,
            done=0,
            started_ms=tx.now_ms,
            changed_ms=tx.now_ms,
        )
    )
    _record(tx, EventType.REKEYING_STARTED, fresh.id, merchant_id, actor, {"total": total})
    return fresh


def find(connection: Connection, rekeying_id: str, merchant_id: str) -> Rekeying:
    """A run. Raises ZoneRefusal(NOT_FOUND)."""
    row = connection.execute(
        select(rekeying).where(rekeying.c.id == rekeying_id, rekeying.c.merchant == merchant_id)
    ).first()
    if row is None:
        raise ZoneRefusal(ZoneError.NOT_FOUND)
    return _view(row)


class Rekeyer:
    """Carries out runs, one batch after the other."""

    def __init__(
        self,
        database: Database,
        keys: KeyRing,
        *,
        cards_per_second: int = MAXIMUM_CARDS_PER_SECOND,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._database = database
        self._keys = keys
        self._pause_seconds = BATCH_CARDS / cards_per_second
        self._sleep = sleep
        self._broken: dict[str, set[str]] = {}  # (6) tokens by run

    async def advance(self) -> int:
        """One batch of the oldest run; returns how many cards it sealed anew. Raises KeyUnavailable."""
        run = await self._database.read(_oldest_running)
        if run is None:
            return 0
        key_id, key = await self._keys.ready(run.merchant, Purpose.FINGERPRINT)
        blinded = await self._keys.read(lambda connection: self._blinded(connection, run, key))
        marks = {
            token: letters_of(await self._keys.ask(lambda value=value: self._keys.provider.mac(run.merchant, value)))  # type: ignore[misc]
            for token, value in blinded.items()
        }
        return await self._keys.change(lambda tx: self._seal_batch(tx, run, marks, key_id))

    async def run(self, on_failure: Callable[[BaseException], None], idle_seconds: float = 1.0) -> None:
        """Advances until cancelled; waits between batches (3), and longer when there is nothing to do or no key to be had."""
        while True:
            try:
                sealed = await self.advance()
                await self._sleep(self._pause_seconds if sealed else idle_seconds)
            except Exception as failure:  # noqa: BLE001  # provider or database may be away for a while; the run goes on after it
                on_failure(failure)
                await self._sleep(idle_seconds)

    def _blinded(self, connection: Connection, run: Rekeying, fingerprint_key: bytes) -> dict[str, bytes]:
        """What the provider is asked to mark: for each card of the next batch a digest of its number under the zone's key."""
        now_ms = self._keys.now_ms()
        blinded = {}
        for row in _batch(connection, run.merchant, now_ms, self._broken.get(run.id, set())):
            try:
                number = pan_of(opened_content(connection, self._keys, row)).expose(Exposure.FINGERPRINT)
            except SealBroken:
                self._broken.setdefault(run.id, set()).add(row.token)  # (6)
                continue
            blinded[row.token] = hmac.digest(fingerprint_key, number.encode(), "sha256")
        return blinded

    def _seal_batch(self, tx: Transaction, run: Rekeying, marks: dict[str, str], fingerprint_key_id: str) -> int:
        broken = self._broken.get(run.id, set())
        rows = _batch(tx.connection, run.merchant, tx.now_ms, broken)
        changes = [
            self._sealed_anew(tx, row, marks[row.token], fingerprint_key_id) for row in rows if row.token in marks
        ]
        if changes:
            replaced = tx.execute(_REPLACE, changes)  # (1)
            if replaced.rowcount not in (-1, len(changes)):
                raise ZoneRefusal(ZoneError.BUSY)
        finished = not rows
        tx.execute(
            update(rekeying)
            .where(rekeying.c.id == run.id, rekeying.c.state == RekeyingState.RUNNING)
            .values(
                done=rekeying.c.done + len(changes),
                state=RekeyingState.FINISHED if finished else RekeyingState.RUNNING,
                changed_ms=tx.now_ms,
            )
        )
        kind = EventType.REKEYING_FINISHED if finished else EventType.REKEYING_ADVANCED
        data: dict[str, str | int | bool] = {"cards": len(changes), "total": run.total}
        if finished and broken:
            data |= {"reason": "rows_that_do_not_open", "count": len(broken)}
        _record(tx, kind, run.id, run.merchant, "service:vault_zone", data)
        return len(changes)

    def _sealed_anew(
        self, tx: Transaction, row: "Row[Any]", mark: str, fingerprint_key_id: str
    ) -> dict[str, str | int | bytes]:
        content = opened_content(tx.connection, self._keys, row)
        key_id, key = self._keys.sealing_key(tx, row.merchant)
        return {
            "of_token": row.token,
            "of_key": row.key_id,
            "new_key": key_id,
            "new_format": PADDED,
            "new_sealed": seal(key, content, bound_to(row.token, row.merchant, key_id, PADDED), PADDED),
            "new_mark": mark,
            "new_mark_key": fingerprint_key_id,
        }


_REPLACE = (
    update(card_record)
    .where(card_record.c.token == bindparam("of_token"), card_record.c.key_id == bindparam("of_key"))
    .values(
        key_id=bindparam("new_key"),
        format=bindparam("new_format"),
        sealed=bindparam("new_sealed"),
        fingerprint=bindparam("new_mark"),
        fingerprint_key_id=bindparam("new_mark_key"),
    )
)


def _left(merchant_id: str, now_ms: int) -> tuple[Any, ...]:
    """What still has to be sealed anew: live cards under a key, or marked under one, that is no longer active."""
    active = select(data_key.c.id).where(data_key.c.merchant == merchant_id, data_key.c.state == KeyState.ACTIVE)
    return (
        card_record.c.merchant == merchant_id,
        card_record.c.expires_ms > now_ms,
        card_record.c.sealed != b"",
        or_(
            card_record.c.key_id.not_in(active),
            card_record.c.fingerprint_key_id.is_(None),
            card_record.c.fingerprint_key_id.not_in(active),
        ),
    )


def _batch(connection: Connection, merchant_id: str, now_ms: int, but: set[str]) -> "list[Row[Any]]":
    found = (
        select(card_record)
        .where(*_left(merchant_id, now_ms), card_record.c.token.not_in(but))
        .order_by(card_record.c.token)
        .limit(BATCH_CARDS)
    )
    return list(connection.execute(found))


def _oldest_running(connection: Connection) -> Rekeying | None:
    row = connection.execute(
        select(rekeying).where(rekeying.c.state == RekeyingState.RUNNING).order_by(rekeying.c.started_ms).limit(1)
    ).first()
    return None if row is None else _view(row)


def _view(row: "Row[Any]") -> Rekeying:
    return Rekeying(
        id=row.id,
        merchant=row.merchant,
        state=RekeyingState(row.state),
        total=row.total,
        done=row.done,
        started_ms=row.started_ms,
        changed_ms=row.changed_ms,
    )


def _record(
    tx: Transaction,
    kind: EventType,
    rekeying_id: str,
    merchant_id: str,
    actor: str,
    data: dict[str, str | int | bool],
) -> None:
    tx.record(
        Event(
            type=kind,
            outcome="success",
            actor=actor,
            origin=ORIGIN,
            resource=rekeying_id,
            merchant=merchant_id,
            data=data,
        )
    )
