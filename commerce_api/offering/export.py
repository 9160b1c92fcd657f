"""Decisions with what came of them, as the offer engine learns from them. docs/offers.md says what each field is."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, select
from sqlalchemy.engine import Connection, Row

from commerce_api.models import offer_decision, offer_outcome

PAGE: Final = 250  # decisions: their records are read while others wait


def decisions_of(connection: Connection, brand: str, after: str, limit: int) -> list[dict[str, Any]]:
    """A page of a brand's decisions, by their ids, behind ``after``."""
    rows = connection.execute(
        select(offer_decision)
        .where(offer_decision.c.brand == brand, offer_decision.c.id > after)
        .order_by(offer_decision.c.id)
        .limit(limit)
    ).all()
    if not rows:
        return []
    between = (offer_outcome.c.decision > after, offer_outcome.c.decision <= rows[-1].id)
    return _with_outcomes(connection, brand, rows, *between)


class Before(NamedTuple):
    """Where a reading backwards in time goes on."""

    decided_ms: int
    id: str = ""  # none of that moment


def newest_decisions(
    connection: Connection, brand: str, since_ms: int, before: Before, limit: int
) -> list[dict[str, Any]]:
    """A page of a brand's decisions, the newest first, from ``since_ms`` on and before ``before``."""
    moment, key = offer_decision.c.decided_ms, offer_decision.c.id
    earlier = (moment < before.decided_ms) | ((moment == before.decided_ms) & (key < before.id))
    rows = connection.execute(
        select(offer_decision)
        .where(offer_decision.c.brand == brand, moment >= since_ms, moment <= before.decided_ms, earlier)
        .order_by(moment.desc(), key.desc())
        .limit(limit)
    ).all()
    return _with_outcomes(connection, brand, rows, offer_outcome.c.decision.in_([row.id for row in rows]))


def read_newest(
    connection: Connection, brand: str, since_ms: int, until_ms: int, maximum: int
) -> Iterator[dict[str, Any]]:
    """The same, page by page, until ``maximum`` decisions were read."""
    before: Before | None = Before(until_ms)
    while maximum > 0 and before is not None:
        page = newest_decisions(connection, brand, since_ms, before, min(PAGE, maximum))
        yield from page
        maximum -= len(page)
        before = last_of(page)


def last_of(page: Sequence[Mapping[str, Any]]) -> Before | None:
    """Where the next page begins; None behind the last one."""
    return Before(page[-1]["decided_ms"], page[-1]["decision_id"]) if page else None


def _with_outcomes(
    connection: Connection, brand: str, rows: "Sequence[Row[Any]]", *of: ColumnElement[bool]
) -> list[dict[str, Any]]:
    outcomes: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    if rows:
        found = connection.execute(
            select(offer_outcome)
            .where(offer_outcome.c.brand == brand, *of)
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
