"""``cordon brand add``: a brand from a product feed. Importing again updates what is there."""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from audit.transaction import Database
from commerce_api.brands import Brand, agent_key, brand_id, save_brand
from commerce_api.catalogue.feed import Feed, FeedUnreadable, open_feed, read_products
from commerce_api.catalogue.feed_rows import ProductRow
from commerce_api.catalogue.importing import ImportReport, import_feed
from commerce_api.cli.init import DEFAULT_DATA, make_commerce_keys
from commerce_api.cli.refused import CommandRefused
from commerce_api.errors import CommerceRefusal
from commerce_api.migrations import upgrade
from commerce_api.policy import Policy, PolicyInvalid, default_policy, load_policy
from commerce_api.settings import sqlite_url
from tokenization.clock import now_milliseconds
from tokenization.scanner import contains_card

SHOWN_ROWS = 20  # rejected rows on the screen; --report writes them all


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds the command."""
    parser = commands.add_parser("brand", help="add a brand from its product feed")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="make a brand, or update its catalogue and policy")
    add.add_argument("name", metavar="NAME", help="the brand's name, as shoppers see it")
    add.add_argument(
        "--feed", type=Path, required=True, help="a directory with products.jsonl and metadata.json, or a CSV file"
    )
    add.add_argument("--policy", type=Path, help="shipping, tax, codes and offers as JSON (see docs/feeds.md)")
    add.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR")
    add.add_argument("--database-url", help="the commerce database (default: SQLite in the data directory)")
    add.add_argument("--report", type=Path, metavar="FILE", help="write every rejected row as a JSON line")
    add.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Adds the brand and prints what was taken and rejected. Returns 1 when no row could be taken."""
    if not brand_id(arguments.name):
        raise CommandRefused("a brand's name needs at least one letter or digit")
    commerce_data = arguments.data / "commerce"
    if not (commerce_data / "keys").exists():
        make_commerce_keys(commerce_data)
    try:
        policy = load_policy(arguments.policy) if arguments.policy else None
        currency = _currency(arguments.feed, policy)
        policy = policy or default_policy(currency)
        feed = open_feed(arguments.feed)
    except FeedUnreadable as unreadable:
        raise CommandRefused(f"the feed: {unreadable}") from None
    except PolicyInvalid as invalid:
        raise CommandRefused(*(f"the policy: {problem}" for problem in invalid.problems)) from None
    database_url = arguments.database_url or os.environ.get("CORDON_DATABASE_URL") or sqlite_url(commerce_data)
    try:
        brand, report = asyncio.run(_add(database_url, arguments.name, currency, policy, feed))
    except FeedUnreadable as unreadable:
        raise CommandRefused(
            f"the feed: {unreadable}", "what was read before is kept; mend it and import again"
        ) from None
    _print_report(report, arguments.report)
    secret = (commerce_data / "keys" / "agent.key").read_bytes().strip()
    sys.stdout.write(f"{brand.name} is in the catalogue as `{brand.id}`: {report.taken} variants, {currency}\n")
    sys.stdout.write(f"agent key: {agent_key(brand, secret)}\n")
    return 0 if report.taken else 1


def _currency(path: Path, policy: Policy | None) -> str:
    """The policy's currency, or that of the feed's first good row."""
    if policy is not None and policy.currency is not None:
        return policy.currency
    for row in read_products(open_feed(path), currency=None, card_like=contains_card):
        if isinstance(row, ProductRow):
            return row.price.currency
    raise CommandRefused("the feed has no row that can be taken; name the currency in a policy file to see why")


async def _add(database_url: str, name: str, currency: str, policy: Policy, feed: Feed) -> tuple[Brand, ImportReport]:
    database = Database.open(database_url, now_milliseconds)
    try:
        await database.migrate(upgrade)
        brand = await database.change(lambda tx: save_brand(tx, name=name, currency=currency, policy=policy))
        columns = (TextColumn("importing"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=feed.size_bytes)
            report = await import_feed(
                database, brand.id, currency, feed, lambda done: progress.update(task, completed=done)
            )
        return brand, report
    except CommerceRefusal as refusal:
        raise CommandRefused(refusal.kind.message) from None
    finally:
        await database.close()


def _print_report(report: ImportReport, path: Path | None) -> None:
    if path is not None:
        lines = (json.dumps({"line": row.line, "code": row.code.value, "reason": row.reason}) for row in report.rows)
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    for row in report.rows[:SHOWN_ROWS]:
        sys.stdout.write(f"rejected line {row.line}: {row.reason} ({row.code.value})\n")
    more = sum(report.rejected.values()) - min(len(report.rows), SHOWN_ROWS)
    if more > 0:
        counts = ", ".join(f"{code} {count}" for code, count in sorted(report.rejected.items()))
        sys.stdout.write(f"… and {more} more rejected rows; in all: {counts}\n")
