"""A decision of the record played again: with the offers that were on the table then, which are kept under their hash."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.engine import Connection, Row

from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import offer_decision, offer_policy
from offer_engine.replay import ReplayRefused, is_same, offers_from, replay
from offer_engine.serving import Rankers
from tokenization.ids import is_id


class Replayed(NamedTuple):
    """The record, and whether the decision came out the same: None where its offers or its ranker are not here any more."""

    decision: str
    record: Mapping[str, Any]
    is_same: bool | None


def replay_one(connection: Connection, brand: str, decision: str, rankers: Rankers) -> Replayed:
    """A decision by its id. Raises CommerceRefusal(OFFER_UNKNOWN)."""
    row = None
    if is_id(decision, "off"):
        of = (offer_decision.c.id == decision, offer_decision.c.brand == brand)
        row = connection.execute(select(offer_decision).where(*of)).first()
    if row is None:
        raise CommerceRefusal(CommerceError.OFFER_UNKNOWN)
    return replayed(connection, row, rankers)


def replayed(connection: Connection, row: "Row[Any]", rankers: Rankers) -> Replayed:
    """A decision's row."""
    record = json.loads(row.record)
    document = connection.execute(
        select(offer_policy.c.document).where(
            offer_policy.c.hash == record["policy_hash"], offer_policy.c.brand == row.brand
        )
    ).scalar()
    ranker = rankers.named(row.brand, record["policy"])
    if document is None or ranker is None:
        return Replayed(row.id, record, None)
    try:
        again = replay(record, offers_from(json.loads(document)), ranker)
    except ReplayRefused:
        return Replayed(row.id, record, None)
    return Replayed(row.id, record, is_same(record, again))
