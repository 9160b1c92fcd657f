"""Decisions with what came of them, as the offer engine learns from them. docs/offers.md says what each field is."""

import json
from collections import defaultdict
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection

from commerce_api.models import offer_decision, offer_outcome


def decisions_of(connection: Connection, brand: str, after: str, limit: int) -> list[dict[str, Any]]:
    """A page of a brand's decisions, by their ids, behind ``after``."""
    rows = connection.execute(
        select(offer_decision)
        .where(offer_decision.c.brand == brand, offer_decision.c.id > after)
        .order_by(offer_decision.c.id)
        .limit(limit)
    ).all()
    outcomes: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    if rows:
        found = connection.execute(
            select(offer_outcome)
            .where(
                offer_outcome.c.brand == brand,
                offer_outcome.c.decision > after,
                offer_outcome.c.decision <= rows[-1].id,
            )
            .order_by(offer_outcome.c.at_ms, offer_outcome.c.key)
        )
        for row in found:
            outcomes[row.decision].append(
                {
                    "type": row.type,
                    "value_minor": row.value_minor,
                    "at_ms": row.at_ms,
                    "recorded_ms": row.recorded_ms,
                    "key": row.key,
                }
            )
    return [
        {
            "decision_id": row.id,
            "decided_ms": row.decided_ms,
            **json.loads(row.record),
            "slot": row.slot,
            "presented_ms": row.presented_ms,
            "outcomes": outcomes[row.id],
        }
        for row in rows
    ]
