"""Forwards a request with a card in it, at most once for its key: intent → commit → call → outcome → commit.

What holds for a forwarded request:
 1. The audit log can be written, and the list of destinations is signed and not older than one before; or nothing is sent.
 2. ``(merchant, idempotency_key)`` is one request: asked again it is not sent again, but answered from the record; another
    request under the same key is refused. The record holds a keyed digest of the request and the scrubbed answer, no body.
 3. The grant's binding holds (merchant, checkout, ceiling, currency, time, uses, processor), and its use, the intent and their
    events commit together, before anything is sent (I4).
 4. Every placeholder can be filled, or nothing is sent and no use is taken; a security code is taken once.
 5. No answer that can be believed is the state ``unknown``. It is sent again only when the caller asks again, the entry names
    a header by which the destination knows a repetition, its time is not over, and no security code is in it.
 6. ``failed`` means that no attempt ever left the zone.
 7. Only what the scrubber lets through is stored or told.
"""

import asyncio
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import select
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import IntegrityError

from audit.threads import in_thread
from audit.transaction import Database, Transaction
from tokenization.clock import Clock
from tokenization.ids import letters_of, new_id
from tokenization.money import Money
from tokenization.wire_forward import Forward, ForwardRequest, ForwardState
from vault_zone.card import Cvc
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.forward.allowlist import AllowList, AllowListRefused, Destination, SignedList, accept
from vault_zone.forward.placeholders import Parts
from vault_zone.forward.records import (
    apply_outcome,
    find_row,
    forward_of,
    note_attempt,
    pending_since,
    record_intent,
    refusal_event,
    stored_key,
)
from vault_zone.forward.request import Prepared, prepare
from vault_zone.forward.scrubbing import Scrubbed, Scrubber
from vault_zone.forward.sending import Delivery, Reply, Sender
from vault_zone.grants import consume_grant
from vault_zone.key_rows import Purpose
from vault_zone.keyring import KeyRing
from vault_zone.models import card_grant, forward
from vault_zone.security_codes import SecurityCodes
from vault_zone.vault import CardGone, open_card

ATTEMPTS_MAXIMUM = 5


@dataclass(frozen=True, slots=True)
class _Checked:
    """A request that the list allows, and the list it was checked against."""

    listed: AllowList
    digest: str
    prepared: Prepared
    amount: Money | None

    @property
    def destination(self) -> Destination:
        return self.prepared.destination


@dataclass(frozen=True, slots=True)
class _Intent:
    """A request that is on disk and about to be sent."""

    forward: str
    parts: Parts
    body: bytes = field(repr=False)


class ForwardEngine:
    """Forwards cards to the destinations of a signed list."""

    def __init__(
        self,
        database: Database,
        keys: KeyRing,
        codes: SecurityCodes,
        listed: SignedList,
        sender: Sender,
        *,
        clock: Clock,
        log_is_writable: Callable[[], bool],
    ) -> None:
        self._database = database
        self._keys = keys
        self._codes = codes
        self._listed = listed
        self._sender = sender
        self._clock = clock
        self._log_is_writable = log_is_writable
        self._in_flight: set[str] = set()
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def forward(self, asked: ForwardRequest, actor: str) -> Forward:
        """Sends the request, at most once for its key, and says what may be told of the answer.

        Raises ZoneRefusal: AUDIT_UNAVAILABLE, FORWARD_*, DESTINATION_UNKNOWN, PLACEHOLDER_*, GRANT_NOT_USABLE,
        SECURITY_CODE_GONE. Raises KeyUnavailable, KeyDestroyed.
        """
        async with self._turns.setdefault((asked.merchant, asked.idempotency_key), asyncio.Lock()):
            known = await self._known(asked)
            if known is not None:
                await self._check_same(known, asked)  # (2)
                if known.state == ForwardState.PENDING:
                    raise ZoneRefusal(ZoneError.FORWARD_IN_FLIGHT)
                if known.state != ForwardState.UNKNOWN:
                    return forward_of(known, asked.idempotency_key)
            if not self._log_is_writable():  # (1)
                raise ZoneRefusal(ZoneError.AUDIT_UNAVAILABLE)
            merchant = ""
            try:
                checked = self._check(asked)
                merchant = asked.merchant  # it is on the list, so it may be named in the record
                if known is not None and not self._may_send_again(known, checked):  # (5)
                    return forward_of(known, asked.idempotency_key)
                intent = await self._begin(asked, checked, known, actor)
            except AllowListRefused as refused:
                await self._record_refusal(refused.code, actor, merchant)
                raise ZoneRefusal(ZoneError.FORWARD_LIST_REFUSED) from None
            except ZoneRefusal as refused:
                await self._record_refusal(refused.kind.code, actor, merchant)
                raise
            except IntegrityError:  # another process wrote its intent first
                raise ZoneRefusal(ZoneError.FORWARD_IN_FLIGHT) from None
        # Dying here leaves `pending`: recover() makes it `unknown`, which is what it is.
        try:
            reply = await self._sender.send(checked.destination, checked.prepared.filled(intent.body, intent.forward))
            scrubbed = await in_thread(_scrub, reply, intent.parts, checked.prepared)
            # Dying here leaves `pending` too: the answer is lost, and `unknown` says so.
            await self._settle(intent.forward, reply, scrubbed)
        finally:
            self._in_flight.discard(intent.forward)  # what is still `pending` after this is for recover()
        if (found := await self._known(asked)) is None:
            raise ZoneRefusal(ZoneError.INTERNAL)
        return forward_of(found, asked.idempotency_key)

    async def find(self, merchant: str, idempotency_key: str) -> Forward | None:
        """The request under a key, or None."""
        row = await self._database.read(lambda connection: find_row(connection, merchant, idempotency_key))
        return None if row is None else forward_of(row, idempotency_key)

    async def recover(self, *, idle_seconds: float = 0) -> int:
        """What is ``pending`` and no longer being sent is ``unknown``; returns how many. ``idle_seconds``: see ChargeEngine."""
        before_ms = self._clock() - int(idle_seconds * 1000)
        pending = await self._database.read(lambda connection: pending_since(connection, before_ms))
        left = [one for one in pending if one not in self._in_flight]
        for one in left:
            await self._settle(one, Reply(Delivery.UNKNOWN, "interrupted"), Scrubbed({}))
        return len(left)

    async def _known(self, asked: ForwardRequest) -> "Row[Any] | None":
        return await self._database.read(lambda connection: find_row(connection, asked.merchant, asked.idempotency_key))

    async def _check_same(self, known: "Row[Any]", asked: ForwardRequest) -> None:
        def key_of(connection: Connection) -> bytes:
            return self._keys.opening_key(connection, known.mac_key_id, known.merchant, Purpose.IDEMPOTENCY)

        if not hmac.compare_digest(known.request_mac, _mac(await self._keys.read(key_of), asked)):
            raise ZoneRefusal(ZoneError.FORWARD_CONFLICT)

    def _check(self, asked: ForwardRequest) -> _Checked:
        listed, digest = self._listed.read()  # (1)
        destination = listed.find(asked.destination, asked.merchant)
        if destination is None:
            raise ZoneRefusal(ZoneError.DESTINATION_UNKNOWN)
        prepared = prepare(asked, destination, self._listed.secrets)
        return _Checked(listed, digest, prepared, prepared.template.amount())

    def _may_send_again(self, known: "Row[Any]", checked: _Checked) -> bool:
        return (
            checked.destination.idempotency_header is not None
            and self._clock() - known.intended_ms < checked.destination.idempotency_seconds * 1000
            and known.attempts < ATTEMPTS_MAXIMUM
            and not checked.prepared.template.needs_code
        )

    async def _begin(self, asked: ForwardRequest, checked: _Checked, known: "Row[Any] | None", actor: str) -> _Intent:
        """Writes the intent of a first or a further attempt, and gives the filled body."""
        mac_key = await self._keys.ready(asked.merchant, Purpose.IDEMPOTENCY)
        held = self._codes.take(asked.grant) if checked.prepared.template.needs_code else None  # (4)
        code = held if isinstance(held, Cvc) else None  # a network token's cryptogram is no security code
        forward_id = new_id("fwd") if known is None else str(known.id)
        self._in_flight.add(forward_id)

        def work(tx: Transaction) -> _Intent:
            accept(tx, checked.listed, checked.digest, actor)  # (1)
            if known is None:
                token, attempt = self._use_grant(tx, asked, checked, actor), 1  # (3)
                row = _row(asked, checked, forward_id, mac_key, tx.now_ms)
                tx.execute(forward.insert().values(**row, token=token))
            else:
                token, attempt = str(known.token), note_attempt(tx, forward_id)
                if not attempt:
                    raise ZoneRefusal(ZoneError.FORWARD_IN_FLIGHT)
            parts = self._open(tx, token, asked.merchant, code)
            body = checked.prepared.template.fill(parts)  # (4)
            record_intent(
                tx,
                forward_id,
                asked.merchant,
                token=token,
                attempt=attempt,
                destination=checked.destination,
                actor=actor,
            )
            return _Intent(forward_id, parts, body)

        try:
            intent = await self._keys.change(work)
        except BaseException:
            self._in_flight.discard(forward_id)
            if held is not None:
                self._codes.give_back(asked.grant, held)  # nothing was begun, so the same call may be made again
            raise
        if checked.destination.moves_money:
            self._codes.forget(asked.grant)  # PCI DSS 3.3.1: what an authorization did not need goes with it
        return intent

    def _use_grant(self, tx: Transaction, asked: ForwardRequest, checked: _Checked, actor: str) -> str:
        """Takes one use of the grant and the amount off its ceiling; returns the token."""
        amount = checked.amount or Money(0, _currency_of(tx.connection, asked.grant))
        row = consume_grant(
            tx,
            grant=asked.grant,
            merchant=asked.merchant,
            checkout=asked.checkout,
            amount=amount,
            actor=actor,
            processors=(checked.destination.bound_to,),
        )
        if row.needs_code and checked.destination.moves_money and not checked.prepared.template.needs_code:
            raise ZoneRefusal(ZoneError.PLACEHOLDER_REFUSED)
        return str(row.token)

    def _open(self, tx: Transaction, token: str, merchant: str, code: Cvc | None) -> Parts:
        try:
            card = open_card(tx.connection, self._keys, token=token, merchant=merchant, now_ms=tx.now_ms)
        except CardGone:
            raise ZoneRefusal(ZoneError.GRANT_NOT_USABLE) from None
        return Parts(card, code)

    async def _settle(self, forward_id: str, reply: Reply, scrubbed: Scrubbed) -> None:
        def work(tx: Transaction) -> None:
            apply_outcome(tx, forward_id, reply, scrubbed)

        await self._database.change(work)

    async def _record_refusal(self, reason: str, actor: str, merchant: str) -> None:
        await self._database.change(lambda tx: tx.record(refusal_event(reason, actor, merchant)))


def _scrub(reply: Reply, parts: Parts, prepared: Prepared) -> Scrubbed:
    """(7) What may be told of the reply."""
    if reply.delivery is not Delivery.ANSWERED:
        return Scrubbed({})
    scrubber = Scrubber(parts, prepared.secrets, prepared.own)
    return scrubber.scrub(reply.head, reply.body, prepared.destination.response, reply.problem)


def _currency_of(connection: Connection, grant: str) -> str:
    """The grant's own currency, for a request that moves no money."""
    found = connection.execute(select(card_grant.c.currency).where(card_grant.c.id == grant)).scalar_one_or_none()
    if found is None:
        raise ZoneRefusal(ZoneError.GRANT_NOT_USABLE)
    return str(found)


def _mac(key: bytes, asked: ForwardRequest) -> str:
    """A keyed digest of the whole request (2): a plain one could be guessed back where the body says little."""
    content = json.dumps(asked.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return letters_of(hmac.digest(key, b"forward\0" + content.encode(), "sha256"))


def _row(
    asked: ForwardRequest, checked: _Checked, forward_id: str, mac_key: tuple[str, bytes], now_ms: int
) -> dict[str, object]:
    return {
        "id": forward_id,
        "merchant": asked.merchant,
        "idempotency_key": stored_key(asked.merchant, asked.idempotency_key),
        "request_mac": _mac(mac_key[1], asked),
        "mac_key_id": mac_key[0],
        "grant_id": asked.grant,
        "checkout": asked.checkout,
        "destination": asked.destination,
        "amount_minor": checked.amount.amount_minor if checked.amount else None,
        "currency": checked.amount.currency if checked.amount else None,
        "state": ForwardState.PENDING,
        "attempts": 1,
        "intended_ms": now_ms,
        "changed_ms": now_ms,
    }
