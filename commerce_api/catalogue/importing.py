"""Imports a feed into a brand's catalogue: in groups, each its own transaction, so memory stays bounded and a stopped
import is finished by running it again."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from audit.event import Event, EventType
from audit.transaction import Database, Transaction
from commerce_api.brands import ORIGIN
from commerce_api.catalogue.feed import Feed, read_products
from commerce_api.catalogue.feed_rows import ProductRow, RejectedRow
from commerce_api.catalogue.store import upsert_rows
from tokenization.scanner import contains_card

GROUP_ROWS = 500  # one commit for so many variants
SHOWN_ROWS = 20  # rejected rows that the report keeps; the rest are counted


@dataclass(slots=True)
class ImportReport:
    """What an import did: rows taken, rows rejected by reason, and the first of those with line and reason."""

    taken: int = 0
    rejected: "Counter[str]" = field(default_factory=Counter)
    first_rejected: list[RejectedRow] = field(default_factory=list)


async def import_feed(
    database: Database,
    brand: str,
    currency: str,
    feed: Feed,
    on_progress: Callable[[int], None] = lambda bytes_read: None,
    on_rejected: Callable[[RejectedRow], None] = lambda row: None,
) -> ImportReport:
    """Upserts every good row of the feed and reports the others, each as it comes. Raises FeedUnreadable."""
    report = ImportReport()
    group: list[ProductRow] = []
    for row in read_products(feed, currency=currency, card_like=contains_card):
        if isinstance(row, RejectedRow):
            report.rejected[row.code.value] += 1
            on_rejected(row)
            if len(report.first_rejected) < SHOWN_ROWS:
                report.first_rejected.append(row)
        else:
            group.append(row)
        if len(group) >= GROUP_ROWS:
            await _write(database, brand, group, report)
            on_progress(feed.bytes_read)
    await _write(database, brand, group, report)
    on_progress(feed.bytes_read)
    await database.change(lambda tx: tx.record(_imported(brand, feed, report)))
    return report


async def _write(database: Database, brand: str, group: list[ProductRow], report: ImportReport) -> None:
    rows = list(group)

    def work(tx: Transaction) -> None:
        upsert_rows(tx, brand, rows, is_sqlite=database.is_sqlite)

    # Rows of a feed are housekeeping; that the feed was imported, and with what result, is the event.
    await database.maintain(work)
    report.taken += len(rows)
    group.clear()


def _imported(brand: str, feed: Feed, report: ImportReport) -> Event:
    return Event(
        type=EventType.FEED_IMPORTED,
        outcome="success",
        actor="operator",
        origin=ORIGIN,
        resource=brand,
        merchant=brand,
        data={"format": feed.form.value, "variants": report.taken, "refused": sum(report.rejected.values())},
    )
