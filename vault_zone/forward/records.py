"""The rows and events of forwarded requests: what is on disk of one, and how it moves. No body, no card."""

import json
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.engine import Connection, Row

from audit.event import Event, EventType
from audit.transaction import Transaction
from tokenization.ids import digest
from tokenization.scanner import contains_card
from tokenization.wire_forward import Forward, ForwardState
from vault_zone.forward.allowlist import Destination
from vault_zone.forward.scrubbing import Scrubbed
from vault_zone.forward.sending import Delivery, Reply
from vault_zone.key_rows import ORIGIN
from vault_zone.models import forward

_HOST_CHARS = 100  # as long as an event's host may be
_EVENT_OF = {
    ForwardState.ANSWERED: EventType.FORWARD_ANSWERED,
    ForwardState.UNKNOWN: EventType.FORWARD_UNKNOWN,
    ForwardState.FAILED: EventType.FORWARD_REFUSED,
}


def find_row(connection: Connection, merchant: str, idempotency_key: str) -> "Row[Any] | None":
    """The row under a merchant's key, or None."""
    return connection.execute(
        select(forward).where(
            forward.c.merchant == merchant, forward.c.idempotency_key == stored_key(merchant, idempotency_key)
        )
    ).first()


def stored_key(merchant: str, idempotency_key: str) -> str:
    """What is stored of a key: the key, or a digest of one that reads like a card, as one in thousands of UUIDs does."""
    return digest(f"{merchant}\n{idempotency_key}") if contains_card(idempotency_key) else idempotency_key


def pending_since(connection: Connection, before_ms: int) -> list[str]:
    """The ids of requests that were meant to be sent at or before a moment, and have no outcome."""
    found = select(forward.c.id).where(forward.c.state == ForwardState.PENDING, forward.c.changed_ms <= before_ms)
    return list(connection.execute(found.order_by(forward.c.changed_ms)).scalars())


def forward_of(row: "Row[Any]", idempotency_key: str) -> Forward:
    """The row as the caller sees it, whose key it is."""
    answer = json.loads(row.answer) if row.answer else {}
    return Forward(
        forward=row.id,
        merchant=row.merchant,
        idempotency_key=idempotency_key,
        destination=row.destination,
        state=ForwardState(row.state),
        attempts=row.attempts,
        status=row.status,
        fields=answer.get("fields", {}),
        withheld=tuple(answer.get("withheld", ())),
        reason=row.reason,
    )


def note_attempt(tx: Transaction, forward_id: str) -> int:
    """Moves a request from ``unknown`` to a further attempt; returns its number, or 0 when somebody else was faster."""
    moved = tx.execute(
        update(forward)
        .where(forward.c.id == forward_id, forward.c.state == ForwardState.UNKNOWN)
        .values(state=ForwardState.PENDING, attempts=forward.c.attempts + 1, changed_ms=tx.now_ms)
    )
    if moved.rowcount != 1:
        return 0
    return int(tx.execute(select(forward.c.attempts).where(forward.c.id == forward_id)).scalar_one())


def record_intent(
    tx: Transaction, forward_id: str, merchant: str, *, token: str, attempt: int, destination: Destination, actor: str
) -> None:
    """The use of the card is on record before it happens (PCI DSS 10.2.1.1)."""
    data: dict[str, str | int | bool] = {
        "token": token,
        "host": destination.host[:_HOST_CHARS],
        "method": destination.method.lower(),
        "route": destination.path.replace("{", "(").replace("}", ")")[:200],
        "attempt": attempt,
    }
    tx.record(_event(EventType.FORWARD_INTENDED, forward_id, merchant, actor, data))


def apply_outcome(tx: Transaction, forward_id: str, reply: Reply, scrubbed: Scrubbed) -> None:
    """Moves a pending request where its reply says. One that was given up meanwhile is moved by an answer alone."""
    row = tx.execute(select(forward).where(forward.c.id == forward_id)).first()
    open_states = {ForwardState.PENDING}
    if reply.delivery is Delivery.ANSWERED:
        open_states.add(ForwardState.UNKNOWN)
    if row is None or row.state not in open_states:
        return
    state = state_after(reply.delivery, row.attempts)
    reason = scrubbed.reason or reply.problem or None
    answer = json.dumps({"fields": scrubbed.fields, "withheld": scrubbed.withheld})
    tx.execute(
        update(forward)
        .where(forward.c.id == forward_id)
        .values(
            state=state,
            status=reply.status or None,
            answer=answer if state is ForwardState.ANSWERED else None,
            reason=reason,
            changed_ms=tx.now_ms,
        )
    )
    data: dict[str, str | int | bool] = {"token": row.token, "attempt": row.attempts}
    if reply.status:
        data["status"] = reply.status
    if scrubbed.echoed:
        data["reason"] = "card_echoed"  # for who looks after the zone; the caller is told by what it gets alone
    elif reason:
        data["reason"] = reason
    tx.record(_event(_EVENT_OF[state], forward_id, row.merchant, f"destination:{row.destination}", data))


def state_after(delivery: Delivery, attempts: int) -> ForwardState:
    """Where a request stands after an attempt. One that did not leave says nothing about those before it."""
    if delivery is Delivery.ANSWERED:
        return ForwardState.ANSWERED
    return ForwardState.FAILED if delivery is Delivery.NEVER_SENT and attempts == 1 else ForwardState.UNKNOWN


def refusal_event(reason: str, actor: str, merchant: str) -> Event:
    """Nothing was begun. Names nothing that the caller said."""
    return _event(EventType.FORWARD_REFUSED, "forward:request", merchant, actor, {"reason": reason})


def _event(kind: EventType, resource: str, merchant: str, actor: str, data: dict[str, str | int | bool]) -> Event:
    echoed = data.get("reason") in ("card_echoed", "card_like")
    return Event(
        type=kind,
        outcome="failure" if kind is EventType.FORWARD_REFUSED or echoed else "success",
        actor=actor,
        origin=ORIGIN,
        resource=resource,
        merchant=merchant,
        data=data,
    )
