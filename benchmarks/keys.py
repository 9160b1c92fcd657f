"""Sealing, opening and re-keying beside the bare cipher, and what they cost as stored cards grow.

``python -m benchmarks.keys [--cards 10000 100000] [--long]``

Beside sealing and opening a record: AES-256-GCM over the same bytes with nothing around it. Beside re-keying, which opens and
seals each card and commits each batch with its event: the same open and seal in memory. On both databases; the first line says
what one commit costs here. Read the ratios.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.transaction import Database, Transaction
from benchmarks.databases import databases
from benchmarks.machine import commit_latency, percentile, say
from tokenization.clock import now_milliseconds
from tokenization.token import new_token
from vault_zone import rekeying
from vault_zone.capture import know_merchant
from vault_zone.hazmat.local import LocalKeys
from vault_zone.hazmat.seal import PADDED, new_key, seal, unseal
from vault_zone.key_life import rotate
from vault_zone.key_rows import Purpose
from vault_zone.keyring import KeyRing
from vault_zone.migrations import upgrade
from vault_zone.models import card_record
from vault_zone.models import rekeying as runs
from vault_zone.rekeying import Rekeyer, RekeyingState
from vault_zone.vault import bound_to, open_card

MERCHANT = "benchmark"
CONTENT = b'{"number": "4242424242424242", "month": 12, "year": 2034, "name": "Robin Field", "postal_code": "97209"}'
ROUNDS, ROUND_SECONDS = 5, 0.3
INSERT_ROWS = 5_000
REKEYED_CARDS = 5_000
LIFETIME_MS = 86_400_000
OPENED = 300


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.keys")
    parser.add_argument("--cards", type=int, nargs="+", default=[10_000, 100_000], help="stored cards")
    parser.add_argument("--long", action="store_true", help="a million stored cards as well")
    arguments = parser.parse_args()
    sizes = [*arguments.cards, *([1_000_000] if arguments.long else [])]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        say(f"one commit (4 KiB pwrite + fdatasync): {commit_latency(directory)}\n\n")
        _crypto()
        say(f"\n{'stored cards':24}{'open p50 ms':>12}{'p99':>8}{'re-keyed/s':>12}{'in memory/s':>13}{'ratio':>8}\n")
        with databases(directory) as both:
            for kind, url in both:
                for size in sizes:
                    asyncio.run(_stored(kind, url, size))
    return 0


def _crypto() -> None:
    key, fields = new_key(), bound_to(new_token(), MERCHANT, "key_benchmark", PADDED)
    bare, nonce = AESGCM(key), os.urandom(12)
    sealed, box = seal(key, CONTENT, fields, PADDED), bare.encrypt(nonce, CONTENT, b"")
    say(f"{'one core':24}{'a second':>12}{'bare cipher':>14}{'ratio':>8}\n")
    pairs: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        (
            "seal a record",
            lambda: seal(key, CONTENT, fields, PADDED),
            lambda: bare.encrypt(os.urandom(12), CONTENT, b""),
        ),
        ("open a record", lambda: unseal(key, sealed, fields), lambda: bare.decrypt(nonce, box, b"")),
    ]
    for name, ours, naked in pairs:
        rates = [(_rate(ours), _rate(naked)) for _ in range(ROUNDS)]
        mine, theirs = (statistics.median(column) for column in zip(*rates, strict=True))
        say(f"  {name:22}{mine:>12,.0f}{theirs:>14,.0f}{mine / theirs:>8.2f}\n")


def _rate(act: Callable[[], object]) -> float:
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < ROUND_SECONDS:
        for _ in range(100):
            act()
        count += 100
    return count / (time.perf_counter() - started)


async def _stored(kind: str, url: str, size: int) -> None:
    database = Database.open(url, now_milliseconds)
    await database.migrate(upgrade)
    keys = KeyRing(LocalKeys.in_memory(), database, now_milliseconds)
    merchant = f"{MERCHANT}-{size}"
    await database.maintain(lambda tx: know_merchant(tx, merchant, merchant))
    key_id, key = await keys.ready(merchant, Purpose.SEALING)
    mark_key, _ = await keys.ready(merchant, Purpose.FINGERPRINT)
    tokens: list[str] = []
    while len(tokens) < size:
        fresh = [new_token() for _ in range(min(INSERT_ROWS, size - len(tokens)))]
        rows = [_row(token, merchant, key_id, key, mark_key) for token in fresh]
        await database.maintain(lambda tx, rows=rows: _insert(tx, rows))  # type: ignore[misc]  # a default in a lambda, bound at once
        tokens += fresh
    took = [await _time_open(keys, token, merchant) for token in tokens[:: max(1, size // OPENED)]]
    rate = await _rekey(database, keys, merchant)
    in_memory = _in_memory_rate(merchant)
    say(
        f"  {kind:12}{size:>10,}{statistics.median(took):>12.2f}{percentile(took, 99):>8.2f}{rate:>12,.0f}{in_memory:>13,.0f}"
        f"{rate / in_memory:>8.3f}\n"
    )
    await database.close()


def _row(token: str, merchant: str, key_id: str, key: bytes, mark_key: str) -> dict[str, object]:
    return {
        "token": token,
        "merchant": merchant,
        "key_id": key_id,
        "format": PADDED,
        "sealed": seal(key, CONTENT, bound_to(token, merchant, key_id, PADDED), PADDED),
        "kind": "card",
        "source": "page",
        "brand": "visa",
        "last4": "4242",
        "fingerprint": token,
        "fingerprint_key_id": mark_key,
        "created_ms": now_milliseconds(),
        "expires_ms": now_milliseconds() + LIFETIME_MS,
    }


def _insert(tx: Transaction, rows: list[dict[str, object]]) -> None:
    tx.execute(card_record.insert(), rows)


async def _time_open(keys: KeyRing, token: str, merchant: str) -> float:
    started = time.perf_counter()
    await keys.read(lambda c: open_card(c, keys, token=token, merchant=merchant, now_ms=now_milliseconds()))
    return (time.perf_counter() - started) * 1000


async def _rekey(database: Database, keys: KeyRing, merchant: str) -> float:
    """Cards a second without a bound on the rate, over the first REKEYED_CARDS or all."""
    await rotate(keys, merchant, Purpose.SEALING, "operator:benchmark")
    run = await database.change(lambda tx: rekeying.start(tx, merchant, "operator:benchmark"))
    worker = Rekeyer(database, keys)
    done, started = 0, time.perf_counter()
    while done < REKEYED_CARDS and (sealed := await worker.advance()):
        done += sealed
    seconds = time.perf_counter() - started

    def end(tx: Transaction) -> None:
        finished = runs.update().where(runs.c.id == run.id)
        tx.execute(finished.values(state=RekeyingState.FINISHED))

    await database.maintain(end)
    return done / seconds


def _in_memory_rate(merchant: str) -> float:
    old, fresh, token = new_key(), new_key(), new_token()
    sealed = seal(old, CONTENT, bound_to(token, merchant, "key_old", PADDED), PADDED)

    def one() -> None:
        content = unseal(old, sealed, bound_to(token, merchant, "key_old", PADDED))
        seal(fresh, content, bound_to(token, merchant, "key_new", PADDED), PADDED)

    return _rate(one)


if __name__ == "__main__":
    raise SystemExit(main())
