"""Facts: kept, recalled, forgotten.

What holds:
 1. A fact has a key of the closed vocabulary or of the brand's own, and a short value; its sensitivity is what the key says or
    more. What could take money is never kept.
 2. What a shopper is not known well enough for is left out by the query itself, of reading and of deleting alike: for a hidden
    fact and for none the same statements run and the same answer is given.
 3. Nothing that a shopper said is kept without consent to memory, nothing sensitive without consent to that.
 4. Writing needs the level that reading needs, so that who gives a number cannot change what belongs to its owner. Of whom
    nothing is known, nothing is asked: not even whether they consented.
 5. What was detected never takes the place of what was told or is kept, and is never sensitive.
 6. The record has ids, keys and counts, and of what is sensitive not even the key.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.engine import Connection, Row

from audit.event import Event, EventType
from audit.transaction import Transaction
from commerce_api.brands import ORIGIN
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.memory.asker import Asker
from commerce_api.memory.classifying import classified, is_payment_data
from commerce_api.memory.consents import has_consent
from commerce_api.memory.detecting import Detected, detect
from commerce_api.memory.terms import Level, Sensitivity, Source
from commerce_api.models import shopper_fact
from tokenization.ids import new_id

DAY_MS: Final = 86_400_000
_VISIBLE: Final = (
    shopper_fact.c.brand == bindparam("at"),
    shopper_fact.c.subject == bindparam("who"),
    shopper_fact.c.sensitivity.in_(bindparam("seen", expanding=True)),
    shopper_fact.c.level <= bindparam("known"),
    shopper_fact.c.valid_until_ms > bindparam("now"),
)
_RECALL: Final = select(shopper_fact).where(*_VISIBLE).order_by(shopper_fact.c.key, shopper_fact.c.id)
_TOLD: Final = select(shopper_fact.c.id).where(
    shopper_fact.c.key == bindparam("named"), shopper_fact.c.source != "detected", *_VISIBLE
)
_FORGET: Final = (
    delete(shopper_fact)
    .where(shopper_fact.c.id == bindparam("identifier"), *_VISIBLE)
    .returning(shopper_fact.c.id, shopper_fact.c.key, shopper_fact.c.sensitivity)
)


@dataclass(frozen=True, slots=True)
class NewFact:
    """A fact to keep. ``level`` is needed beside what its sensitivity needs; ``valid_days`` shortens how long it holds."""

    key: str
    value: str
    source: Source
    level: Level = Level.ANONYMOUS
    valid_days: int | None = None


def recall(connection: Connection, asker: Asker, now_ms: int) -> "list[Row[Any]]":
    """What is known of a shopper who is known this well (2), by key."""
    return list(connection.execute(_RECALL, _bounds(asker, now_ms)).all())


def keep(tx: Transaction, asker: Asker, new: NewFact) -> str:
    """Keeps a fact in place of an earlier one of its key and sensitivity; returns its id.

    Raises StepUpNeeded; CommerceRefusal: FACT_KEY_UNKNOWN, FACT_REFUSED, CONSENT_MISSING.
    """
    least = asker.terms.sensitivity_of(new.key)
    if least is None:
        raise CommerceRefusal(CommerceError.FACT_KEY_UNKNOWN)
    if is_payment_data(new.value):
        raise CommerceRefusal(CommerceError.FACT_REFUSED)  # (1)
    sensitivity = classified(least, new.value)
    asker.require_for(sensitivity)  # (4)
    asker.require(new.level)
    if new.source != "kept":
        _require_consent(tx, asker, "memory")
    if sensitivity is Sensitivity.SENSITIVE:
        _require_consent(tx, asker, "sensitive")
    identifier = _write(tx, asker, new, sensitivity)
    _record(tx, asker, EventType.FACT_KEPT, identifier, _named(new.key, sensitivity) | {"source": new.source})
    return identifier


def keep_detected(tx: Transaction, asker: Asker, text: str) -> tuple[Detected, ...]:
    """Keeps what the rules find in the shopper's words, and returns what they found, of what this level may write.

    Raises StepUpNeeded, CommerceRefusal(CONSENT_MISSING).
    """
    asker.require_for(Sensitivity.PUBLIC)  # (4)
    _require_consent(tx, asker, "memory")  # (3)
    writable = asker.terms.seen_at(asker.level)
    found = tuple(one for one in detect(text, asker.currency) if _sensitivity(asker, one) in writable)
    for one in found:
        sensitivity = _sensitivity(asker, one)
        if sensitivity is Sensitivity.SENSITIVE or _is_told(tx, asker, one.key):
            continue  # (5)
        identifier = _write(tx, asker, NewFact(one.key, one.value, "detected"), sensitivity)
        _record(tx, asker, EventType.FACT_KEPT, identifier, {"kind": one.key, "source": "detected"})
    return found


def forget(tx: Transaction, asker: Asker, identifier: str) -> None:
    """Deletes a fact that this level sees; one that it does not see, or that is not there, changes nothing (2)."""
    row = tx.execute(_FORGET, {"identifier": identifier, **_bounds(asker, tx.now_ms)}).first()
    if row is not None:
        _record(tx, asker, EventType.FACT_FORGOTTEN, row.id, _named(row.key, Sensitivity(row.sensitivity)))


def forget_all(tx: Transaction, asker: Asker, *where: Any) -> int:
    """Deletes a shopper's facts, those that fit; returns how many. The caller records it."""
    of = (shopper_fact.c.brand == asker.brand, shopper_fact.c.subject == asker.subject)
    return tx.execute(delete(shopper_fact).where(*of, *where)).rowcount


def forget_old(tx: Transaction, limit: int) -> int:
    """Deletes facts that hold no longer; returns how many."""
    over = select(shopper_fact.c.id).where(shopper_fact.c.valid_until_ms <= tx.now_ms).limit(limit)
    return tx.execute(delete(shopper_fact).where(shopper_fact.c.id.in_(over))).rowcount


def _bounds(asker: Asker, now_ms: int) -> dict[str, Any]:
    seen = asker.terms.seen_at(asker.level)
    return {"at": asker.brand, "who": asker.subject, "seen": seen, "known": int(asker.level), "now": now_ms}


def _require_consent(tx: Transaction, asker: Asker, purpose: str) -> None:
    if not has_consent(tx.connection, asker.brand, asker.subject, purpose):
        raise CommerceRefusal(CommerceError.CONSENT_MISSING)  # (3)


def _sensitivity(asker: Asker, one: Detected) -> Sensitivity:
    least = asker.terms.sensitivity_of(one.key)
    return classified(least or Sensitivity.SENSITIVE, one.value)


def _is_told(tx: Transaction, asker: Asker, key: str) -> bool:
    return tx.execute(_TOLD, {"named": key, **_bounds(asker, tx.now_ms)}).first() is not None


def _write(tx: Transaction, asker: Asker, new: NewFact, sensitivity: Sensitivity) -> str:
    forget_all(
        tx,
        asker,
        shopper_fact.c.key == new.key,
        shopper_fact.c.sensitivity == sensitivity.value,
        shopper_fact.c.level <= int(asker.level),  # (4)
    )
    identifier = new_id("fct")
    days = min(asker.terms.days_of(new.source), new.valid_days or asker.terms.days_of(new.source))
    tx.execute(
        insert(shopper_fact).values(
            id=identifier,
            brand=asker.brand,
            subject=asker.subject,
            key=new.key,
            value=new.value,
            source=new.source,
            sensitivity=sensitivity.value,
            level=int(new.level),
            said_ms=tx.now_ms,
            valid_until_ms=tx.now_ms + days * DAY_MS,
        )
    )
    return identifier


def _named(key: str, sensitivity: Sensitivity) -> dict[str, str | int | bool]:
    return {"kind": "sensitive" if sensitivity is Sensitivity.SENSITIVE else key}  # (6)


def _record(tx: Transaction, asker: Asker, kind: EventType, resource: str, data: dict[str, str | int | bool]) -> None:
    tx.record(
        Event(
            type=kind,
            outcome="success",
            actor=asker.actor,
            origin=ORIGIN,
            resource=resource,
            merchant=asker.brand,
            data={"shopper": asker.subject, **data},
        )
    )
