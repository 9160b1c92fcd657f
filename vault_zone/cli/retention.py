"""``vault-zone retention report``: what is kept of each table, by which rule, and whether anything is past its time."""

import argparse
import asyncio
import json
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from audit.transaction import Database
from tokenization.clock import as_datetime, now_milliseconds
from vault_zone.clearing import CLEAR_SECONDS, SEALED_TABLES
from vault_zone.cli.refused import CommandRefused
from vault_zone.retention import Kept, report

WIDTH_COLUMNS = 100
_HEADINGS = ("table", "rows", "oldest", "expired", "next expiry", "PCI DSS")
_NOT_CLEARED_MS = 2 * CLEAR_SECONDS * 1000  # a table whose deleted rows are in its file for longer is not being cleared


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the group's commands."""
    group = commands.add_parser("retention", help="how long what is kept")
    acts = group.add_subparsers(dest="act", required=True, metavar="ACT")
    shown = acts.add_parser("report", help="what is kept of each table; ends with 1 when something is overdue")
    shown.add_argument("--data", type=Path, required=True, metavar="DIR", help="the zone's data directory")
    shown.add_argument("--database-url", help="postgresql://… (default: SQLite in the data directory)")
    shown.add_argument("--json", action="store_true", help="for machines")
    shown.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> int:
    url = arguments.database_url or os.environ.get("CORDON_DATABASE_URL")
    if url is None:
        file: Path = arguments.data / "zone.sqlite3"
        if not file.is_file():
            raise CommandRefused(f"{file} is missing: --data takes the directory of a zone that was served once")
        url = f"sqlite:///{file}"
    now_ms = now_milliseconds()
    kept = asyncio.run(_read(url, now_ms))
    sys.stdout.write(as_json(kept, now_ms) if arguments.json else as_text(kept, now_ms))
    return 1 if any(table.overdue for table in kept) else 0


async def _read(url: str, now_ms: int) -> list[Kept]:
    try:
        database = Database.open(url, now_milliseconds)
    except ValueError as failure:
        raise CommandRefused(f"--database-url: {failure}") from None
    try:
        return await database.read(lambda connection: report(connection, now_ms))
    except (SQLAlchemyError, OSError):
        raise CommandRefused(
            "the database does not answer as a zone's: see --database-url, and whether the zone was served"
        ) from None
    finally:
        await database.close()


def as_json(kept: Sequence[Kept], now_ms: int) -> str:
    """The report as one JSON object with a line break."""
    return json.dumps({"now_ms": now_ms, "tables": [table._asdict() for table in kept]}, indent=2) + "\n"


def as_text(kept: Sequence[Kept], now_ms: int) -> str:
    """The report in columns, with each table's rule under its line and a last line that says how it stands."""
    lines = [
        (
            table.table,
            f"{table.rows:,}",
            _moment(table.oldest_ms),
            str(table.expired),
            _moment(table.next_expiry_ms),
            table.requirement,
        )
        for table in kept
    ]
    widths = [max(len(row[column]) for row in (_HEADINGS, *lines)) for column in range(len(_HEADINGS))]
    text = [f"Kept in the zone at {_moment(now_ms)}", "", _line(_HEADINGS, widths)]
    for table, line in zip(kept, lines, strict=True):
        text.append(_line(line, widths))
        text.extend(textwrap.wrap(table.rule, WIDTH_COLUMNS - 4, initial_indent="    ", subsequent_indent="    "))
    return "\n".join([*text, "", _verdict(kept), *_uncleared(kept, now_ms), ""])


def _uncleared(kept: Sequence[Kept], now_ms: int) -> list[str]:
    """Where deleted rows are still in a table's file: PostgreSQL only, and only tables that rows are deleted from."""
    sealed = {table.name for table in SEALED_TABLES}
    late = [
        one for one in kept if one.table in sealed and one.dead and (one.cleared_ms or 0) < now_ms - _NOT_CLEARED_MS
    ]
    return [
        line
        for one in late
        for line in textwrap.wrap(
            f"{one.dead:,} deleted rows are still in the file of {one.table}, last cleared at {_moment(one.cleared_ms)}: "
            "the zone's role has to own the table or have MAINTAIN on it, and nothing may hold it for long",
            WIDTH_COLUMNS,
            subsequent_indent="    ",
        )
    ]


def _verdict(kept: Sequence[Kept]) -> str:
    expired, overdue = sum(table.expired for table in kept), sum(table.overdue for table in kept)
    if overdue:
        return f"{overdue} rows are on disk past their time: see whether `vault-zone serve` runs, and its log"
    return f"{expired} rows wait for the next sweep" if expired else "Nothing is on disk past its time."


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.rjust(width) if heading in ("rows", "expired") else cell.ljust(width)
        for cell, width, heading in zip(cells, widths, _HEADINGS, strict=True)
    ]
    return "  ".join(padded).rstrip()


def _moment(at_ms: int | None) -> str:
    return "-" if at_ms is None else f"{as_datetime(at_ms):%Y-%m-%d %H:%M} UTC"
