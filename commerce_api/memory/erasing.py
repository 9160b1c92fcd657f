"""All that is remembered of a shopper, handed out to them or deleted.

What holds:
 1. The export is whole, or refused: it needs the highest level, which any fact may ask for by itself, whatever there is.
 2. Erasure deletes facts and consents, and in the decisions that were made for the shopper it puts nobody in their place and
    takes out what was known of them, who asked, and what was signed for them: no offer of theirs holds after it. It is done
    again as often as asked, with the same answer.
 3. Its event says that it was done, with counts and no content.
"""

import json
from typing import Any

from sqlalchemy import delete, select, update

from audit.event import Event, EventType
from audit.transaction import Transaction
from commerce_api.brands import ORIGIN
from commerce_api.checkout.service import shopper_principal
from commerce_api.memory.asker import Asker
from commerce_api.memory.consents import consents_of
from commerce_api.memory.facts import forget_all, recall
from commerce_api.memory.terms import Level, Sensitivity
from commerce_api.models import offer_decision, shopper_consent
from commerce_api.offering.pseudonyms import nobody
from offer_engine.features import MEMORY
from tokenization.clock import as_text


def exported(tx: Transaction, asker: Asker) -> dict[str, Any]:
    """Facts and consents as JSON data (1). Raises StepUpNeeded."""
    asker.require(Level.VERIFIED)
    document = {
        "exported_at": as_text(tx.now_ms),
        "facts": [fact_data(row) for row in recall(tx.connection, asker, tx.now_ms)],
        "consents": [consent_data(row) for row in consents_of(tx.connection, asker)],
    }
    _record(tx, asker, EventType.MEMORY_EXPORTED, {"count": len(document["facts"])})
    return document


def erase(tx: Transaction, asker: Asker) -> None:
    """Deletes it all (2) (3). Raises StepUpNeeded."""
    asker.require_for(Sensitivity.PERSONAL)
    erased = forget_all(tx, asker)
    of = (shopper_consent.c.brand == asker.brand, shopper_consent.c.subject == asker.subject)
    erased += tx.execute(delete(shopper_consent).where(*of)).rowcount
    _unlink_decisions(tx, asker)
    _record(tx, asker, EventType.MEMORY_ERASED, {"erased": erased})


def fact_data(row: Any) -> dict[str, Any]:
    """A fact as it is told."""
    return {
        "fact_id": row.id,
        "key": row.key,
        "value": row.value,
        "source": row.source,
        "sensitivity": row.sensitivity,
        "said_at": as_text(row.said_ms),
        "valid_until": as_text(row.valid_until_ms),
    }


def consent_data(row: Any) -> dict[str, Any]:
    """A consent as it is told."""
    return {
        "purpose": row.purpose,
        "wording": row.wording,
        "words": row.words,
        "known_by": row.known_by,
        "given_at": as_text(row.given_ms),
        "withdrawn_at": as_text(row.withdrawn_ms) if row.withdrawn_ms is not None else None,
    }


def _unlink_decisions(tx: Transaction, asker: Asker) -> None:
    """Those of their pseudonym, and those that they asked for under their own name."""
    own = (offer_decision.c.subject == asker.subject) | (offer_decision.c.principal == shopper_principal(asker.shopper))
    of = (offer_decision.c.brand == asker.brand, own)
    for row in tx.execute(select(offer_decision.c.id, offer_decision.c.record).where(*of)).all():
        record = json.loads(row.record)
        subject = record["subject"] = nobody()
        record["context"]["known"] = {"consents": False, "owned": [], "history": {}, "memory": {}}
        features = record["context"].get("features", {})
        for name in features.keys() & {*MEMORY, "offers_shown_30d", "offers_declined_30d"}:
            del features[name]
        record["erased"] = True  # it cannot be played again: offer_engine/replay.py
        tx.execute(
            update(offer_decision)
            .where(offer_decision.c.id == row.id)
            .values(subject=subject, principal=subject, snapshot=None, record=json.dumps(record))
        )


def _record(tx: Transaction, asker: Asker, kind: EventType, data: dict[str, str | int | bool]) -> None:
    tx.record(
        Event(
            type=kind,
            outcome="success",
            actor=asker.actor,
            origin=ORIGIN,
            resource=asker.subject,
            merchant=asker.brand,
            data=data,
        )
    )
