"""Where a running server's time goes: cProfile in its loop's thread, and in the thread that writes to SQLite."""

import cProfile
import pstats
import time
from collections import Counter
from typing import Any

from audit.transaction import Database

OTHER = "Python's own"
# The first of these that stands in the path of a function's file names its group.
GROUPS = (
    ("/vault_zone/hazmat/", "crypto"),
    ("/hmac.py", "crypto"),
    ("/sqlalchemy/", "SQLAlchemy"),
    ("/asyncpg/", "driver"),
    ("/uvicorn/", "HTTP server"),
    ("/vault_zone/listeners.py", "HTTP server"),
    ("/starlette/", "HTTP framework"),
    ("/fastapi/", "HTTP framework"),
    ("/pydantic/", "HTTP framework"),
    ("/vault_zone/", "the zone"),
    ("/tokenization/", "the zone"),
    ("/audit/", "the zone"),
    ("/asyncio/", "event loop"),
)
_WAITS = ("'poll' of 'select.epoll'", "'get' of '_queue.SimpleQueue'", "uvloop")
_CRYPTO = ("hmac", "_hashlib", "_blake2", "AESGCM", "'encrypt'", "'decrypt'", "urandom")
_DRIVER = ("sqlite3", "asyncpg")


class Profile:
    """The time of both threads by function, from start() to stop()."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._here, self._writing = cProfile.Profile(time.thread_time), cProfile.Profile(time.thread_time)

    async def start(self) -> None:
        """Begins."""
        if self._database.is_sqlite:
            await self._database.maintain(lambda _: self._writing.enable())
        self._here.enable()

    async def stop(self) -> dict[str, Any]:
        """Ends it; returns seconds by group, and the functions that took longest."""
        self._here.disable()
        if self._database.is_sqlite:
            await self._database.maintain(lambda _: self._writing.disable())
        profiles = [self._here, *([self._writing] if self._database.is_sqlite else [])]
        groups: Counter[str] = Counter()
        places: Counter[str] = Counter()
        for profile in profiles:
            for (file, line, name), (_, calls, seconds, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]  # not in its stub
                if not any(wait in name for wait in _WAITS):
                    groups[group_of(file, name)] += seconds
                    places[f"{file.rsplit('/', 1)[-1]}:{line} {name} ({calls})"] += seconds
        return {"groups": dict(groups), "places": dict(places.most_common(60))}


def group_of(file: str, name: str) -> str:
    """The group of a function."""
    if file == "~":
        if any(part in name for part in _CRYPTO):
            return "crypto"
        return "driver" if any(part in name for part in _DRIVER) else OTHER
    return next((group for part, group in GROUPS if part in file), OTHER)
