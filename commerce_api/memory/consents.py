"""What a shopper agreed to: by purpose and in which words, and until when.

What holds:
 1. Consent is to one purpose in words that the brand's policy has, and the words are kept with it.
 2. A purpose has at most one consent that is in force; the database enforces it.
 3. What was kept by a consent is deleted in the transaction that withdraws it.
"""

from typing import TYPE_CHECKING, Any, Final, get_args

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.engine import Connection, Row

from audit.event import Event, EventType
from audit.transaction import Transaction
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.memory.terms import Level, Purpose, Sensitivity
from commerce_api.models import shopper_consent, shopper_fact
from tokenization.ids import new_id

if TYPE_CHECKING:
    from commerce_api.memory.asker import Asker

PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)
WITHDRAWN_KEPT_SECONDS: Final = 540 * 86_400  # as long as what was done by it may be asked about
_IN_FORCE: Final = select(shopper_consent.c.id).where(
    shopper_consent.c.brand == bindparam("at"),
    shopper_consent.c.subject == bindparam("who"),
    shopper_consent.c.purpose == bindparam("to"),
    shopper_consent.c.withdrawn_ms.is_(None),
)


def has_consent(connection: Connection, brand: str, subject: str, purpose: str) -> bool:
    """Whether a shopper agreed to this and still does."""
    return connection.execute(_IN_FORCE, {"at": brand, "who": subject, "to": purpose}).first() is not None


def give(tx: Transaction, asker: "Asker", purpose: Purpose, wording: str) -> None:
    """The shopper agreed, in these words. Saying it again changes nothing.

    Raises StepUpNeeded; CommerceRefusal(WORDING_UNKNOWN).
    """
    asker.require(_needed(asker, purpose))
    words = next((one for one in asker.terms.wordings if (one.id, one.purpose) == (wording, purpose)), None)
    if words is None:
        raise CommerceRefusal(CommerceError.WORDING_UNKNOWN)  # (1)
    of = (
        shopper_consent.c.brand == asker.brand,
        shopper_consent.c.subject == asker.subject,
        shopper_consent.c.purpose == purpose,
        shopper_consent.c.withdrawn_ms.is_(None),
    )
    known = tx.execute(select(shopper_consent.c.wording, shopper_consent.c.words).where(*of)).first()
    if known is not None and tuple(known) == (wording, words.text):
        return
    tx.execute(update(shopper_consent).where(*of).values(withdrawn_ms=tx.now_ms))  # (2) newer words take over
    identifier = new_id("cns")
    tx.execute(
        insert(shopper_consent).values(
            id=identifier,
            brand=asker.brand,
            subject=asker.subject,
            purpose=purpose,
            wording=wording,
            words=words.text,
            known_by=asker.means,
            given_ms=tx.now_ms,
        )
    )
    _record(tx, asker, EventType.MEMORY_CONSENT_GIVEN, {"consent": identifier, "purpose": purpose, "wording": wording})


def withdraw(tx: Transaction, asker: "Asker", purpose: Purpose) -> None:
    """The shopper agrees no longer: as easy as agreeing was, and what was kept by it is gone (3). Raises StepUpNeeded."""
    asker.require(_needed(asker, purpose))
    ended = tx.execute(
        update(shopper_consent)
        .where(
            shopper_consent.c.brand == asker.brand,
            shopper_consent.c.subject == asker.subject,
            shopper_consent.c.purpose == purpose,
            shopper_consent.c.withdrawn_ms.is_(None),
        )
        .values(withdrawn_ms=tx.now_ms)
    ).rowcount
    erased = tx.execute(
        delete(shopper_fact).where(
            shopper_fact.c.brand == asker.brand, shopper_fact.c.subject == asker.subject, _kept_by(purpose)
        )
    ).rowcount
    if ended or erased:
        _record(tx, asker, EventType.MEMORY_CONSENT_WITHDRAWN, {"purpose": purpose, "erased": erased})


def consents_of(connection: Connection, asker: "Asker") -> "list[Row[Any]]":
    """A shopper's consents, newest first; none below the level that personal facts need."""
    level = asker.level if asker.level >= asker.terms.needed_for(Sensitivity.PERSONAL) else Level.ANONYMOUS
    query = select(shopper_consent).where(
        shopper_consent.c.brand == asker.brand,
        shopper_consent.c.subject == (asker.subject if level else ""),
    )
    return list(connection.execute(query.order_by(shopper_consent.c.given_ms.desc(), shopper_consent.c.id)).all())


def forget_old(tx: Transaction, limit: int) -> int:
    """Deletes consents that were withdrawn WITHDRAWN_KEPT_SECONDS ago; returns how many."""
    over = (
        select(shopper_consent.c.id)
        .where(shopper_consent.c.withdrawn_ms <= tx.now_ms - WITHDRAWN_KEPT_SECONDS * 1000)
        .limit(limit)
    )
    return tx.execute(delete(shopper_consent).where(shopper_consent.c.id.in_(over))).rowcount


def _needed(asker: "Asker", purpose: Purpose) -> Level:
    return asker.terms.needed_for(Sensitivity.SENSITIVE if purpose == "sensitive" else Sensitivity.PUBLIC)


def _kept_by(purpose: Purpose) -> Any:
    if purpose == "memory":
        return shopper_fact.c.source != "kept"
    if purpose == "sensitive":
        return shopper_fact.c.sensitivity == Sensitivity.SENSITIVE.value
    return shopper_fact.c.id.is_(None)  # offers keep no fact


def _record(tx: Transaction, asker: "Asker", kind: EventType, data: dict[str, str | int | bool]) -> None:
    tx.record(
        Event(
            type=kind,
            outcome="success",
            actor=asker.actor,
            origin="commerce_api",
            resource=asker.subject,
            merchant=asker.brand,
            data=data,
        )
    )
