"""One zone as its own program, with a second pair of eyes on its database: a reader of the test's own, in another process."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from audit.transaction import Database, Transaction
from commerce_api.cli.ports import free_port
from tests.journeys.running import POLL_SECONDS, ROOT, START_SECONDS
from tests.vault_zone.world import VISA, a_card
from tokenization.clock import now_milliseconds
from vault_zone.capture import know_merchant
from vault_zone.card import Exposure
from vault_zone.hazmat.opening import open_provider
from vault_zone.key_rows import Purpose
from vault_zone.keyring import KeyRing
from vault_zone.migrations import upgrade
from vault_zone.models import card_record
from vault_zone.vault import open_card, record_row

DAY_MS = 86_400_000
READS = 3  # cards that are opened between two looks at how far the zone is
PAUSE_SECONDS = 0.01


@dataclass
class LiveZone:
    """A zone's directory, its program, and the reader's keys and database."""

    data: Path
    url: str
    database: Database
    keys: KeyRing
    live: dict[str, str] = field(default_factory=dict)  # cards that must open at any moment: merchant by token
    process: "subprocess.Popen[bytes] | None" = None
    port: int = field(default_factory=free_port)

    def start(self) -> None:
        """`vault-zone serve`, until its listener answers."""
        command = [sys.executable, "-m", "vault_zone", "serve", "--data", str(self.data), "--database-url", self.url]
        command += ["--capture-port", str(self.port), "--internal-port", str(free_port())]
        command += ["--processor-url", "http://127.0.0.1:9"]
        with (self.data / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=ROOT)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, f"the zone did not start: {self.log()}"
            time.sleep(POLL_SECONDS)

    def end(self, how: signal.Signals) -> int:
        """Ends the program; returns its exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(how)
        return self.process.wait(START_SECONDS)

    def log(self) -> str:
        """The end of the program's log."""
        return (self.data / "serve.log").read_text(encoding="utf-8", errors="replace")[-1500:]

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health", trust_env=False, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    async def store(
        self, merchant: str, count: int, *, expires_ms: int, key: tuple[str, bytes] | None = None
    ) -> list[str]:
        """Stores so many cards of a merchant by one statement; returns their tokens."""
        await self.database.maintain(lambda tx: know_merchant(tx, merchant, merchant))
        sealing = key or await self.keys.ready(merchant, Purpose.SEALING)
        fields = {"merchant": merchant, "created_ms": now_milliseconds() - 2 * DAY_MS, "source": "page"}
        rows = [record_row(sealing, card=a_card(VISA), expires_ms=expires_ms, **fields) for _ in range(count)]  # type: ignore[arg-type]

        def insert(tx: Transaction) -> None:
            tx.execute(card_record.insert(), rows)

        await self.database.maintain(insert)
        return [row["token"] for row in rows]

    async def open_some(self) -> None:
        """Opens a few of the cards that must open at any moment. Raises what makes a reader fail."""
        for token in random.sample(list(self.live), min(READS, len(self.live))):
            assert await self.number_of(token) == VISA

    async def number_of(self, token: str) -> str:
        """A live card's number, as a charge would have it."""
        merchant = self.live[token]
        card = await self.keys.read(
            lambda c: open_card(c, self.keys, token=token, merchant=merchant, now_ms=now_milliseconds())
        )
        return card.pan.expose(Exposure.PROCESSOR)

    async def until(self, holds: Callable[[], Awaitable[bool]], complaint: str) -> None:
        """Reads cards until the condition holds. Raises AssertionError after START_SECONDS: a bound, not a pace."""
        deadline = time.monotonic() + START_SECONDS
        while not await holds():
            await self.open_some()
            assert time.monotonic() < deadline, f"{complaint}: {self.log()}"
            await asyncio.sleep(PAUSE_SECONDS)

    def verifies(self) -> bool:
        """Whether the record verifies; says why where it does not."""
        command = [sys.executable, "-m", "audit.cli", "verify", str(self.data / "log")]
        done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=START_SECONDS, cwd=ROOT)
        sys.stdout.write(done.stdout + done.stderr)
        return done.returncode == 0


@asynccontextmanager
async def a_live_zone(data: Path, url: str) -> AsyncIterator[LiveZone]:
    """A zone that was set up and not started; its program is gone afterwards."""
    command = [sys.executable, "-m", "vault_zone", "init", "--data", str(data)]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, cwd=ROOT)
    database = Database.open(url, now_milliseconds)
    await database.migrate(upgrade)
    keys = KeyRing(open_provider(data / "keys", "development"), database, now_milliseconds)
    zone = LiveZone(data, url, database, keys)
    try:
        yield zone
    finally:
        if zone.process is not None and zone.process.poll() is None:
            zone.end(signal.SIGKILL)
        await database.close()
        keys.provider.close()
