"""The settlement report: every line of balance of a period as CSV (RFC 4180), in the order in which it was written."""

import csv
import io
from collections.abc import Iterator
from itertools import islice
from typing import Final

from vault_zone.processors.sandbox_server.objects import Transaction, as_text

COLUMNS: Final = (
    "id",
    "type",
    "reference",
    "processor_id",
    "gross_minor",
    "fee_minor",
    "net_minor",
    "currency",
    "created_at",
    "payout_id",
    "charge_reference",
)
LINES_AT_ONCE: Final = 500


def settlement(transactions: Iterator[Transaction]) -> Iterator[str]:
    """The report in pieces of at most LINES_AT_ONCE lines: as much as is held in memory, however long it is."""
    yield _lines([COLUMNS])
    while piece := [_row(transaction) for transaction in islice(transactions, LINES_AT_ONCE)]:
        yield _lines(piece)


def _row(line: Transaction) -> tuple[object, ...]:
    """The line's fields in the order of COLUMNS; what is not there is empty."""
    moments = {"created_at": as_text(line.created_at)}
    return tuple(moments.get(column, getattr(line, column)) for column in COLUMNS)


def _lines(rows: list[tuple[object, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
