"""Measures search over a large catalogue: search_products and ask, beside a raw full-text query in the same run.

    python -m benchmarks.catalogue_search [--products 100000] [--rounds 15]

The raw query is what the database does for the same words by itself: match, rank, ten ids; no brand, price, grouping or rows
read. The catalogue is made with a fixed seed: words as often as in speech (Zipf), one variant a product, a tenth out of stock.
Both databases; times are of the reading thread, without HTTP. On other machines compare the ratios.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.engine import Connection

from audit.transaction import Database
from benchmarks.databases import databases
from benchmarks.machine import commit_latency, percentile, say
from commerce_api.brands import save_brand
from commerce_api.catalogue.feed_rows import Availability, ProductRow
from commerce_api.catalogue.search import Search, search_products
from commerce_api.catalogue.store import upsert_rows
from commerce_api.checkout.service import ANONYMOUS, Caller
from commerce_api.migrations import upgrade
from commerce_api.policy import default_policy
from tests.commerce_api.world import commerce_world
from tokenization.money import Money

CURRENCY: Final = "USD"
WORDS: Final = 20_000
GROUP: Final = 1_000
KINDS: Final = ("kettle", "lamp", "mug", "knife", "chair", "jacket", "backpack", "speaker", "blanket", "notebook")
COLOURS: Final = ("black", "white", "silver", "blue", "red", "green", "oak", "sand", "copper", "navy")
QUERIES: Final = {
    "a kind: one row of ten": "kettle",
    "a kind and a colour": "black kettle",
    "a kind and a rare word": "kettle w10437",
    "three letters": "ket",
    "one letter": "k",
    "eight words, none with all": "quiet black oak kettle for camping near water",
    "nothing": "zyxwvut",
}
_RAW_SQLITE: Final = text(
    "SELECT rowid FROM variant_search WHERE variant_search MATCH :query ORDER BY bm25(variant_search) LIMIT 10"
)
_RAW_POSTGRESQL: Final = text(
    "SELECT id FROM variant WHERE search_vector @@ to_tsquery('simple', :query) "
    "ORDER BY ts_rank(search_vector, to_tsquery('simple', :query)) DESC LIMIT 10"
)


def catalogue(count: int) -> Iterator[ProductRow]:
    """So many products."""
    draw = random.Random(7)
    vocabulary = [f"w{number}" for number in range(WORDS)]
    up_to = list(accumulate(1 / (place + 10) for place in range(WORDS)))
    for number in range(count):
        kind, colour = KINDS[number % 10], COLOURS[number // 10 % 10]
        described = " ".join(draw.choices(vocabulary, cum_weights=up_to, k=30))
        left = 0 if number % 10 == 3 and number % 7 == 0 else 10
        yield ProductRow(
            variant_id=f"v{number}",
            product_id=f"p{number}",
            title=f"{vocabulary[number % WORDS]} {kind} - {colour}",
            product_title=f"{vocabulary[number % WORDS]} {kind}",
            description=described,
            url=None,
            image_url=None,
            price=Money(500 + number * 37 % 50_000, CURRENCY),
            list_price=None,
            available=left > 0,
            availability=Availability.IN_STOCK if left else Availability.OUT_OF_STOCK,
            stock_quantity=left,
            options=(("color", colour),),
            brand_name=None,
            categories=(f"Home > {kind}",),
            gtin=None,
            condition=None,
            line=number + 2,
        )


async def fill(database: Database, brand: str, count: int) -> float:
    """Imports the catalogue; returns the seconds it took."""
    started = time.perf_counter()
    rows_left = catalogue(count)
    while group := list(islice(rows_left, GROUP)):
        await database.maintain(partial(upsert_rows, brand=brand, rows=group, is_sqlite=database.is_sqlite))
    if not database.is_sqlite:
        await database.maintain(lambda tx: tx.execute(text("ANALYZE variant")))
    return time.perf_counter() - started


async def timed(work: Callable[[], Awaitable[object]], rounds: int) -> list[float]:
    """Milliseconds of each round, after one to warm up."""
    await work()
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        await work()
        took.append((time.perf_counter() - started) * 1000)
    return took


def raw(query: str, *, is_sqlite: bool) -> Callable[[Connection], Sequence[Any]]:
    """The raw query for the same words."""
    words = query.split()
    matched = " ".join(f'"{word}"*' for word in words) if is_sqlite else " & ".join(f"{word}:*" for word in words)
    if len(words) > 3:  # search falls back to any of them
        matched = matched.replace(" ", " OR ") if is_sqlite else matched.replace("&", "|")
    statement = _RAW_SQLITE if is_sqlite else _RAW_POSTGRESQL
    return lambda connection: connection.execute(statement, {"query": matched}).all()


async def run(name: str, url: str, directory: Path, products: int, rounds: int) -> None:
    """One database."""
    async with commerce_world(directory, url) as world:
        database = world.commerce.database
        await database.migrate(upgrade)
        policy = default_policy(CURRENCY)
        brand = (await database.change(lambda tx: save_brand(tx, name="Large", currency=CURRENCY, policy=policy))).id
        seconds = await fill(database, brand, products)
        say(f"\n## {name}: {products:,} products, imported in {seconds:.0f} s\n\n")
        say("| words | raw p50 ms | raw p99 | search p50 | search p99 | ratio of p50 | ask p50 | ask p99 |\n")
        say("|---|---:|---:|---:|---:|---:|---:|---:|\n")
        every: dict[str, list[float]] = {"raw": [], "search": [], "ask": []}
        for title, query in QUERIES.items():
            statement = raw(query, is_sqlite=database.is_sqlite)
            search = Search(query, limit=10)
            ways: dict[str, Callable[[], Awaitable[object]]] = {
                "raw": partial(database.read, statement),
                "search": partial(
                    database.read, partial(search_products, brand=brand, search=search, is_sqlite=database.is_sqlite)
                ),
                "ask": partial(world.desk.ask, brand, Caller(ANONYMOUS, "mcp"), f"{query} under $300"),
            }
            took = {way: await timed(work, rounds) for way, work in ways.items()}
            for way, values in took.items():
                every[way] += values
            p50 = {way: statistics.median(values) for way, values in took.items()}
            p99 = {way: percentile(values, 99) for way, values in took.items()}
            say(
                f"| {title} | {p50['raw']:.1f} | {p99['raw']:.1f} | {p50['search']:.1f} | {p99['search']:.1f} | "
                f"{p50['search'] / p50['raw']:.1f} | {p50['ask']:.1f} | {p99['ask']:.1f} |\n"
            )
        told = " | ".join(
            f"{statistics.median(every[way]):.1f} | {percentile(every[way], 99):.1f}" for way in ("raw", "search")
        )
        ratio = percentile(every["search"], 99) / percentile(every["raw"], 99)
        ask = f"{statistics.median(every['ask']):.1f} | {percentile(every['ask'], 99):.1f}"
        say(f"| all | {told} | {ratio:.1f} (p99) | {ask} |\n")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catalogue_search", description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        say(f"One commit here: {commit_latency(directory)}\n")
        with databases(directory) as found:
            for name, url in found:
                if given.only in (None, name):
                    asyncio.run(run(name, url, directory, given.products, given.rounds))


if __name__ == "__main__":
    main()
