"""``cordon doctor``: what is installed, configured, reachable and safe here, each line with its fix."""

import argparse
import asyncio
import fcntl
import json
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from commerce_api.cli.paths import DEFAULT_DATA
from commerce_api.cli.ports import USUAL, is_free
from commerce_api.cli.stack import is_healthy

OK, NOTE, BAD = "ok", "note", "fix"
_MARKS = {OK: "✓", NOTE: "·", BAD: "✗"}
CONNECT_TIMEOUT_SECONDS = 5
OLDEST_PYTHON = (3, 11, 0)
SPACE_NEEDED_BYTES = 512 * 1024 * 1024
FIRST_SANE_SECONDS = 1_767_225_600  # 2026-01-01: a clock before that is not set


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: how it stands, what it is about, what was seen, and what to do."""

    verdict: str
    subject: str
    seen: str
    fix: str = ""


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds the command."""
    parser = commands.add_parser("doctor", help="check this machine, each line with its fix")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints every finding. Returns 1 when something must be fixed."""
    worst = 0
    for finding in findings(arguments.data):
        line = f"{_MARKS[finding.verdict]} {finding.subject:<15}{finding.seen}"
        sys.stdout.write(line + (f"\n    → {finding.fix}" if finding.fix else "") + "\n")
        worst = max(worst, int(finding.verdict == BAD))
    return worst


def findings(data: Path) -> Iterator[Finding]:
    """Everything that is looked at, in the order in which a newcomer would fix it."""
    yield _python()
    yield _packages()
    yield _browser()
    yield _sqlite()
    yield from _postgres(data)
    yield from _keys(data)
    yield from _stack(data)
    yield _disk(data)
    yield _clock()


def _python() -> Finding:
    version = sys.version_info[:3]
    shown = ".".join(map(str, version))
    if version >= OLDEST_PYTHON:
        return Finding(OK, "Python", shown)
    return Finding(BAD, "Python", shown, "install Python 3.11 or newer")


def _packages() -> Finding:
    missing = [name for name in ("vault_zone", "commerce_api", "mcp_server", "audit", "mcp") if find_spec(name) is None]
    if missing:
        return Finding(
            NOTE, "packages", f"not here: {', '.join(missing)}", "`make install` sets up all of them in .venv"
        )
    return Finding(OK, "packages", "zone, commerce, MCP server, audit")


def _browser() -> Finding:
    found = browser_path()
    if found is None:
        return Finding(NOTE, "browser", "no Chromium", "apt-get install chromium (without it the demo shops over HTTP)")
    if find_spec("playwright") is None:
        return Finding(NOTE, "browser", f"{found}, but no driver for it", "`make install` brings playwright")
    return Finding(OK, "browser", found)


def browser_path() -> str | None:
    """The path of an installed Chromium or Chrome, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


def _sqlite() -> Finding:
    with sqlite3.connect(":memory:") as probe:
        options = {row[0] for row in probe.execute("PRAGMA compile_options")}
    if "ENABLE_FTS5" in options:
        return Finding(OK, "SQLite", f"{sqlite3.sqlite_version} with full-text search")
    return Finding(BAD, "SQLite", f"{sqlite3.sqlite_version} without FTS5", "use a Python whose sqlite3 has FTS5")


def _postgres(data: Path) -> Iterator[Finding]:
    """Whether each PostgreSQL database that is configured answers. Never shows a URL: it holds a password."""
    named = {"CORDON_DATABASE_URL": os.environ.get("CORDON_DATABASE_URL", "")}
    for side in ("zone", "commerce"):
        kept = data / side / "database.url"
        if kept.is_file():
            named[f"{side}/database.url"] = kept.read_text(encoding="utf-8").strip()
    configured = {place: url for place, url in named.items() if url.startswith("postgresql")}
    if not configured:
        yield Finding(NOTE, "PostgreSQL", "not configured; SQLite is used", "cordon up --database-url postgresql://…")
    for place, url in configured.items():
        version = asyncio.run(_postgres_version(url))
        if version is None:
            yield Finding(
                BAD, "PostgreSQL", f"{place}: does not answer", "start the server, or mend the URL and its password"
            )
        else:
            yield Finding(OK, "PostgreSQL", f"{place}: {version}")


async def _postgres_version(url: str) -> str | None:
    import asyncpg

    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_SECONDS)
    except (OSError, ValueError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return None
    try:
        version: str = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close()
    return version


def _keys(data: Path) -> Iterator[Finding]:
    for side in ("zone", "commerce"):
        keys = data / side / "keys"
        if not keys.is_dir():
            yield Finding(NOTE, f"{side} keys", "none yet", "`cordon up` makes them")
            continue
        open_to_others = [path.name for path in keys.iterdir() if path.stat().st_mode & 0o077]
        if open_to_others:
            yield Finding(
                BAD, f"{side} keys", f"others can read {', '.join(sorted(open_to_others))}", f"chmod 600 {keys}/*"
            )
        else:
            yield Finding(OK, f"{side} keys", "only you can read them")


def _stack(data: Path) -> Iterator[Finding]:
    """A stack that runs from this data directory is asked how it is; else the ports are looked at."""
    try:
        described = json.loads((data / "run.json").read_text(encoding="utf-8"))
        with (data / "up.lock").open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        for name in ("capture", "commerce", "processor"):
            url = described[f"{name}_url"]
            if is_healthy(f"{url}/health"):
                yield Finding(OK, name, f"answers at {url}")
            else:
                yield Finding(BAD, name, f"does not answer at {url}", f"look into {data / 'logs'}")
        return
    except (OSError, ValueError):
        pass
    yield from _ports()


def _ports() -> Iterator[Finding]:
    taken = [f"{port} ({name})" for name, port in USUAL.items() if not is_free(port)]
    if taken:
        yield Finding(NOTE, "ports", f"in use: {', '.join(taken)}", "`cordon up` takes others, or give --port-base")
    else:
        yield Finding(OK, "ports", f"{min(USUAL.values())} to {max(USUAL.values())} are free")


def _disk(data: Path) -> Finding:
    place = next(path for path in (data, *data.resolve().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < SPACE_NEEDED_BYTES:
        return Finding(BAD, "disk", f"{free // 2**20} MiB free", "free some space: a full disk stops charging")
    return Finding(OK, "disk", f"{free // 2**30} GiB free")


def _clock() -> Finding:
    if time.time() < FIRST_SANE_SECONDS:
        return Finding(
            BAD, "clock", "is far in the past", "set it: expiry of links, cards and certificates depends on it"
        )
    return Finding(OK, "clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))
