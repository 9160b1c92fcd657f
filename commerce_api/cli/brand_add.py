"""What ``cordon brand add`` does: makes the brand, imports its feed with a progress bar, reports what was rejected."""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from sqlalchemy.exc import SQLAlchemyError

from audit.transaction import Database
from commerce_api.brands import Brand, agent_key, brand_id, save_brand
from commerce_api.catalogue.feed import Feed, FeedUnreadable, open_feed, read_products
from commerce_api.catalogue.feed_rows import ProductRow, RejectedRow
from commerce_api.catalogue.importing import ImportReport, import_feed
from commerce_api.cli.init import make_commerce_keys
from commerce_api.cli.paths import database_url
from commerce_api.cli.refused import CommandRefused
from commerce_api.embeddings.model import MiniLm, is_installed
from commerce_api.embeddings.store import refresh
from commerce_api.errors import CommerceRefusal
from commerce_api.migrations import upgrade
from commerce_api.policy import Policy, PolicyInvalid, default_policy, load_policy
from tokenization.clock import now_milliseconds
from tokenization.scanner import contains_card


def run(arguments: argparse.Namespace) -> int:
    """Adds the brand and prints what was taken and rejected. Returns 1 when no row could be taken."""
    if not brand_id(arguments.name):
        raise CommandRefused("a brand's name needs at least one letter or digit")
    commerce_data = arguments.data / "commerce"
    try:
        policy = load_policy(arguments.policy) if arguments.policy else None
        currency = _currency(arguments.feed, policy)
        policy = policy or default_policy(currency)
        feed = open_feed(arguments.feed)
    except FeedUnreadable as unreadable:
        raise CommandRefused(f"the feed: {unreadable}") from None
    except PolicyInvalid as invalid:
        raise CommandRefused(*(f"the policy: {problem}" for problem in invalid.problems)) from None
    if not (commerce_data / "keys").exists():
        make_commerce_keys(commerce_data)
    try:
        with _report_file(arguments.report) as on_rejected:
            brand, report = asyncio.run(
                _add(
                    database_url(arguments.database_url, commerce_data),
                    arguments.name,
                    currency,
                    policy,
                    feed,
                    on_rejected,
                )
            )
    except FeedUnreadable as unreadable:
        raise CommandRefused(
            f"the feed: {unreadable}", "what was read before is kept; mend it and import again"
        ) from None
    except CommerceRefusal as refusal:
        raise CommandRefused(refusal.kind.message) from None
    except (OSError, SQLAlchemyError, ValueError) as failure:
        raise CommandRefused(f"the database cannot be used ({type(failure).__name__}): check --database-url") from None
    _print_report(report)
    _note_tax(policy)
    secret = (commerce_data / "keys" / "agent.key").read_bytes().strip()
    sys.stdout.write(f"{brand.name} is in the catalogue as `{brand.id}`: {report.taken} variants, {currency}\n")
    sys.stdout.write(f"agent key: {agent_key(brand, secret)}\n")
    return 0 if report.taken else 1


def _note_tax(policy: Policy) -> None:
    """Says what holds where an address does not name its region by code, if nobody has written it down."""
    rate = policy.tax.rate_basis_points
    for country in policy.tax.countries_without_rate():
        sys.stderr.write(
            f"note: tax.by_region has regions of {country} and no rate for {country} itself; an address there whose "
            f"region is not one of them, or not written as its code, is taxed {rate // 100}.{rate % 100:02d} %\n"
        )


@contextlib.contextmanager
def _report_file(path: Path | None) -> Iterator[Callable[[RejectedRow], None]]:
    """Writes each rejected row as a JSON line, as it comes; nowhere without a path."""
    if path is None:
        yield lambda row: None
        return
    with path.open("w", encoding="utf-8") as file:
        yield lambda row: print_json(file, row)


def print_json(file: TextIO, row: RejectedRow) -> None:
    """One rejected row as a JSON line: line, code, reason."""
    file.write(json.dumps({"line": row.line, "code": row.code.value, "reason": row.reason}) + "\n")


def _currency(path: Path, policy: Policy | None) -> str:
    """The policy's currency, or that of the feed's first good row."""
    if policy is not None and policy.currency is not None:
        return policy.currency
    for row in read_products(open_feed(path), currency=None, card_like=contains_card):
        if isinstance(row, ProductRow):
            return row.price.currency
    raise CommandRefused("the feed has no row that can be taken; name the currency in a policy file to see why")


async def _add(
    database_url: str, name: str, currency: str, policy: Policy, feed: Feed, on_rejected: Callable[[RejectedRow], None]
) -> tuple[Brand, ImportReport]:
    database = Database.open(database_url, now_milliseconds)
    try:
        await database.migrate(upgrade)
        brand = await database.change(lambda tx: save_brand(tx, name=name, currency=currency, policy=policy))
        columns = (TextColumn("importing"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=feed.size_bytes)
            report = await import_feed(
                database,
                brand.id,
                currency,
                feed,
                on_progress=lambda done: progress.update(task, completed=done),
                on_rejected=on_rejected,
            )
            await _make_vectors(database, brand.id, progress)
    finally:
        await database.close()
    return brand, report


async def _make_vectors(database: Database, brand: str, progress: Progress) -> None:
    """For finding by meaning, where the extra is installed."""
    if is_installed():
        task = progress.add_task("comparing", total=None)
        await refresh(database, brand, MiniLm(), lambda products: progress.advance(task, products))


def _print_report(report: ImportReport) -> None:
    for row in report.first_rejected:
        sys.stdout.write(f"rejected line {row.line}: {row.reason} ({row.code.value})\n")
    more = sum(report.rejected.values()) - len(report.first_rejected)
    if more > 0:
        counts = ", ".join(f"{code} {count}" for code, count in sorted(report.rejected.items()))
        sys.stdout.write(f"… and {more} more rejected rows (--report FILE lists all); in all: {counts}\n")
