"""Measures how well needs find products: by full text alone, by vectors alone, and by both, and what the vectors cost.

    python -m benchmarks.asking [--samples 2000]

The collection is that of the tests (tests/commerce_api/asking/collection.py): needs, judged by rule, for the retail catalogue
of the tau2 benchmark (in shared/data; left out where it is not there) and for the example store. Each figure has a 95 %
interval by bootstrap over needs; the difference to full text is bootstrapped in pairs.
"""

import argparse
import asyncio
import math
import random
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Final

from benchmarks.machine import say
from commerce_api.asking.finding import LOOKED_AT, by_words, find, fused, query_words
from commerce_api.asking.need import understand
from commerce_api.brands import save_brand
from commerce_api.catalogue.feed import open_feed
from commerce_api.catalogue.importing import import_feed
from commerce_api.catalogue.search import Search
from commerce_api.embeddings.model import MiniLm
from commerce_api.embeddings.nearest import Nearest
from commerce_api.embeddings.store import refresh
from commerce_api.policy import default_policy
from tests.commerce_api.asking import collection
from tests.commerce_api.asking.collection import Judged
from tests.commerce_api.world import World, commerce_world

TODAY: Final = date(2026, 11, 27)
DEPTH: Final = 10
TOLD: Final = 5

Figures = dict[str, list[tuple[float, float]]]  # by way of finding: nDCG and recall of each need


def ndcg(found: Sequence[str], relevant: frozenset[str], depth: int) -> float:
    """Normalised discounted cumulative gain of an order, with gains of 0 and 1."""
    gain = sum(1 / math.log2(place + 1) for place, product in enumerate(found[:depth], 1) if product in relevant)
    return gain / sum(1 / math.log2(place + 1) for place in range(1, min(len(relevant), depth) + 1))


def recall(found: Sequence[str], relevant: frozenset[str], depth: int) -> float:
    """The share of what is relevant that was found."""
    return len(relevant.intersection(found[:depth])) / len(relevant)


async def measure(world: World, brand: str, needs: Sequence[Judged], nearest: Nearest) -> Figures:
    """Every need by every way."""
    database, figures = world.commerce.database, Figures()
    everything = Search("", limit=LOOKED_AT)

    def note(way: str, found: Sequence[str], judged: Judged, depth: int) -> None:
        figures.setdefault(way, []).append((ndcg(found, judged.relevant, depth), recall(found, judged.relevant, depth)))

    for judged in needs:
        need = understand(judged.need, "USD", TODAY)
        words = query_words(need.words)
        text = await database.read(
            partial(by_words, brand=brand, search=everything, words=words, is_sqlite=database.is_sqlite)
        )
        near = await nearest.ids(brand, " ".join(need.words))
        note(f"full text, of {DEPTH}", text, judged, DEPTH)
        note(f"vectors, of {DEPTH}", near, judged, DEPTH)
        note(f"both, of {DEPTH}", fused(text, near[:LOOKED_AT]), judged, DEPTH)
        for way, ids in (("full text", list[str]()), ("both", near)):
            held = await database.read(
                partial(find, brand=brand, currency="USD", need=need, near=ids, is_sqlite=database.is_sqlite)
            )
            note(f"the answer, {way}, of {TOLD}", [match.rows[0].product_id for match in held], judged, TOLD)
    return figures


def interval(values: Sequence[float], samples: int) -> str:
    """The mean, with its 95 % interval by bootstrap."""
    draw = random.Random(1)
    means = sorted(fmean(draw.choices(values, k=len(values))) for _ in range(samples))
    return f"{fmean(values):.3f} ({means[samples * 25 // 1000]:.3f} to {means[samples * 975 // 1000]:.3f})"


def write(title: str, figures: Figures, samples: int) -> None:
    """The table of a catalogue."""
    count = len(next(iter(figures.values())))
    say(f"\n## {title}, {count} needs\n\n| way | nDCG | recall | nDCG above full text |\n|---|---|---|---|\n")
    for way, pairs in figures.items():
        base = figures["the answer, full text, of 5" if way.startswith("the answer") else "full text, of 10"]
        difference = [ours - theirs for (ours, _), (theirs, _) in zip(pairs, base, strict=True)]
        above = interval(difference, samples) if any(difference) else "-"
        say(
            f"| {way} | {interval([pair[0] for pair in pairs], samples)} | "
            f"{interval([pair[1] for pair in pairs], samples)} | {above} |\n"
        )


async def run(samples: int) -> None:
    """Both catalogues."""
    with tempfile.TemporaryDirectory() as directory:
        async with commerce_world(Path(directory)) as world:
            database, model = world.commerce.database, MiniLm()
            nearest = Nearest(database, model)
            catalogues = [("example store", world.brand, collection.store())]
            if collection.RETAIL.exists():
                policy = default_policy("USD")
                retail = await database.change(lambda tx: save_brand(tx, name="Retail", currency="USD", policy=policy))
                await import_feed(database, retail.id, "USD", open_feed(collection.RETAIL.parent / "products.jsonl"))
                catalogues.insert(0, ("tau2 retail", retail.id, collection.retail()))
            for title, brand, needs in catalogues:
                started = time.process_time()
                made = await refresh(database, brand, model)
                spent_ms = (time.process_time() - started) * 1000
                started = time.process_time()
                for judged in needs[:50]:
                    model.embed([judged.need])
                need_ms = (time.process_time() - started) * 1000 / len(needs[:50])
                write(title, await measure(world, brand, needs, nearest), samples)
                say(f"\nCPU: {spent_ms / made:.1f} ms for a product's vector, {need_ms:.1f} ms for a need's\n")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.asking", description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=2_000)
    asyncio.run(run(parser.parse_args().samples))


if __name__ == "__main__":
    main()
