"""A brand's statement for a month: the lines that count in it, and sums that are nothing but theirs."""

import re
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.engine import Connection

from commerce_api.billing.rating import CHARGE
from commerce_api.brands import Brand
from commerce_api.models import billed_outcome, billing_line, billing_reversal
from tokenization.clock import as_text

_MONTH: Final = re.compile("[1-9][0-9]{3}-(?:0[1-9]|1[0-2])")
ROUNDING: Final = (
    "A share is rounded half up to the minor unit over what is left of its outcome; lines are its changes."
)


def month_bounds(month: str) -> tuple[int, int]:
    """First and following first millisecond of ``YYYY-MM`` in UTC. Raises ValueError."""
    if not _MONTH.fullmatch(month):
        raise ValueError("a month is written YYYY-MM")
    first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    year, following = (first.year, first.month + 1) if first.month < 12 else (first.year + 1, 1)
    return int(first.timestamp() * 1000), int(datetime(year, following, 1, tzinfo=UTC).timestamp() * 1000)


def statement(connection: Connection, brand: Brand, month: str) -> dict[str, Any]:
    """The statement as JSON data; amounts are minor units of the brand's currency. Raises ValueError for no month."""
    since_ms, until_ms = month_bounds(month)
    rows = connection.execute(
        select(
            billing_line,
            *(billed_outcome.c[name] for name in ("type", "value_minor", "decision", "conversation", "order_id")),
            billed_outcome.c.reference,
            billing_reversal.c.reason,
        )
        .join(billed_outcome, billed_outcome.c.id == billing_line.c.outcome)
        .outerjoin(
            billing_reversal,
            (billing_reversal.c.outcome == billing_line.c.outcome) & (billing_reversal.c.key == billing_line.c.source),
        )
        .where(
            billing_line.c.brand == brand.id,
            billing_line.c.posted_ms >= since_ms,
            billing_line.c.posted_ms < until_ms,
        )
        .order_by(billing_line.c.posted_ms, billing_line.c.outcome, billing_line.c.source, billing_line.c.place)
    )
    lines = [_line(row) for row in rows]
    return {
        "brand": brand.id,
        "month": month,
        "currency": brand.currency,
        "lines": lines,
        "totals": {
            kind: _sums([line for line in lines if line["type"] == kind]) for kind in ("sale", "save", "booking")
        },
        "total": _sums(lines),
        "rounding": ROUNDING,
    }


def _line(row: Any) -> dict[str, Any]:
    evidence = {
        "decision": row.decision,
        "conversation": row.conversation,
        "order": row.order_id,
        "reference": row.reference,
    }
    return {
        "line_id": row.id,
        "outcome_id": row.outcome,
        "type": row.type,
        "kind": row.kind,
        "amount_minor": row.amount_minor,
        "value_minor": row.value_minor,
        "contract_version": row.contract_version,
        "happened_at": as_text(row.at_ms),
        "written_at": as_text(row.recorded_ms),
        "reason": None if row.source == CHARGE else row.reason,
        "evidence": {name: value for name, value in evidence.items() if value is not None},
    }


def _sums(lines: list[dict[str, Any]]) -> dict[str, int]:
    charged = sum(line["amount_minor"] for line in lines if line["amount_minor"] > 0)
    reversed_ = sum(line["amount_minor"] for line in lines if line["amount_minor"] < 0)
    return {
        "outcomes": sum(line["kind"] == "charge" for line in lines),
        "charged_minor": charged,
        "reversed_minor": reversed_,
        "net_minor": charged + reversed_,
    }
