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

from sqlalchemy import Select, bindparam, func, select, update
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
from vault_zone.vault import bound_to, pan_of, unsealed

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
    total = _count_left(tx.connection, merchant_id, tx.now_ms)
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
        rows = _batch(connection, run.merchant, self._keys.now_ms(), self._broken.get(run.id, set()))
        blinded = {}
        for token, content in self._opened(connection, run, rows).items():
            number = pan_of(content).expose(Exposure.FINGERPRINT)
            blinded[token] = hmac.digest(fingerprint_key, number.encode(), "sha256")
        return blinded

    def _opened(self, connection: Connection, run: Rekeying, rows: "list[Row[Any]]") -> dict[str, bytes]:
        """The contents of a batch, which is under one key; without those that do not open (6)."""
        if not rows:
            return {}
        key, contents = self._keys.opening_key(connection, rows[0].key_id, run.merchant), {}
        for row in rows:
            try:
                contents[row.token] = unsealed(key, row)
            except SealBroken:
                self._broken.setdefault(run.id, set()).add(row.token)
        return contents

    def _seal_batch(self, tx: Transaction, run: Rekeying, marks: dict[str, str], fingerprint_key_id: str) -> int:
        broken = self._broken.get(run.id, set())
        rows = _batch(tx.connection, run.merchant, tx.now_ms, broken)
        contents = {
            token: content for token, content in self._opened(tx.connection, run, rows).items() if token in marks
        }
        if contents:
            key_id, key = self._keys.sealing_key(tx, run.merchant, uses=len(contents))
            changes = [
                {
                    "of_token": token,
                    "of_key": rows[0].key_id,
                    "new_key": key_id,
                    "new_format": PADDED,
                    "new_sealed": seal(key, content, bound_to(token, run.merchant, key_id, PADDED), PADDED),
                    "new_mark": marks[token],
                    "new_mark_key": fingerprint_key_id,
                }
                for token, content in contents.items()
            ]
            replaced = tx.execute(_REPLACE, changes)  # (1)
            if replaced.rowcount not in (-1, len(changes)):
                raise ZoneRefusal(ZoneError.BUSY)
        self._note(tx, run, len(contents), finished=not rows, broken=len(broken))
        return len(contents)

    @staticmethod
    def _note(tx: Transaction, run: Rekeying, sealed: int, *, finished: bool, broken: int) -> None:
        tx.execute(
            update(rekeying)
            .where(rekeying.c.id == run.id, rekeying.c.state == RekeyingState.RUNNING)
            .values(
                done=rekeying.c.done + sealed,
                state=RekeyingState.FINISHED if finished else RekeyingState.RUNNING,
                changed_ms=tx.now_ms,
            )
        )
        kind = EventType.REKEYING_FINISHED if finished else EventType.REKEYING_ADVANCED
        data: dict[str, str | int | bool] = {"cards": sealed, "total": run.total}
        if finished and broken:
            data |= {"reason": "rows_that_do_not_open", "count": broken}
        _record(tx, kind, run.id, run.merchant, "service:vault_zone", data)


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


def _count_left(connection: Connection, merchant_id: str, now_ms: int) -> int:
    found = select(func.count()).select_from(card_record).where(card_record.c.key_id.in_(_old_keys(merchant_id)))
    count: int = connection.execute(found.where(card_record.c.expires_ms > now_ms)).scalar_one()
    return count


def _old_keys(merchant_id: str) -> "Select[tuple[str]]":
    return select(data_key.c.id).where(
        data_key.c.merchant == merchant_id,
        data_key.c.purpose == Purpose.SEALING,
        data_key.c.state == KeyState.RETIRED,
    )


def _batch(connection: Connection, merchant_id: str, now_ms: int, but: set[str]) -> "list[Row[Any]]":
    """The next live cards under the first old key that has any: one key at a time, so that an index gives them in order."""
    for old in connection.execute(_old_keys(merchant_id).order_by(data_key.c.epoch)).scalars().all():
        left = (card_record.c.key_id == old, card_record.c.expires_ms > now_ms, card_record.c.token.not_in(but))
        found = select(card_record).where(*left).order_by(card_record.c.token).limit(BATCH_CARDS)
        if rows := list(connection.execute(found)):
            return rows
    return []


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
