"""What it takes to decide on an offer, with its record, beside raw scoring of as many candidates in the same run.

    python -m benchmarks.offers_decide [--rounds 300] [--candidates 10 100 1000]

``decide``: eligibility, ranking and draw alone. ``made``: all that get_offers does in its transaction (context from the
records, decision, record, signature, outcome, events), without the commit; ``with commit``: as a caller waits for it. Of
``made`` the table says too what this process computed for it (CPU), and how many statements it sent: both are less at the
mercy of what else runs on the machine than the time is.
``made, known``: the same for a shopper who signed in; ``made, told``: for one whose consent and four facts are in memory too,
and what that is of the former. ``raw``: what LightGBM takes to score as many rows of 50 features (100 trees of 31 leaves, one
thread), where it is installed, and what one product of a matrix and a vector takes. ``decide, boosted``: as ``decide``, ranked
by such trees over the schema's columns; ``its trees``: what LightGBM's own predict takes for the same columns. The kinds take
turns, so what else the machine does meets all; read the ratios.
"""

import argparse
import asyncio
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, thread_time

import numpy as np
from sqlalchemy import Engine, event

from audit.transaction import Transaction
from benchmarks.databases import databases
from benchmarks.machine import commit_latency, percentile, say
from commerce_api.brands import find_brand, save_brand
from commerce_api.checkout.service import ANONYMOUS, Caller, shopper_principal
from commerce_api.memory.asker import asker_of
from commerce_api.memory.consents import give
from commerce_api.memory.facts import NewFact, keep
from commerce_api.offering.making import make_offer
from commerce_api.offering.terms import terms_of
from commerce_api.policy import Policy, load_policy
from commerce_api.schemas import LineGiven
from commerce_api.serve import keep_what_is_loaded
from offer_engine.decide import Ranker, decide
from offer_engine.features import DEFAULT_SCHEMA
from offer_engine.learning.gbdt import BoostedModel, with_offers
from offer_engine.learning.rankers import BoostedRanker
from offer_engine.offers import Context, ContextLine
from offer_engine.serving import PRIORITIES
from tests.commerce_api.purchases import KETTLE
from tests.commerce_api.world import BRAND, BRAND_NAME, CURRENCY, OFFER_KEY, STORE, World, commerce_world

FEATURES = 50
CALLER = Caller(ANONYMOUS, "benchmark")
AGENT = Caller(f"agent:{BRAND}", "benchmark")
REMEMBERED = {"size.clothing": "M", "budget": "USD 80.00", "gift.occasion": "birthday", "delivery.wish": "fast"}
LINES = [LineGiven(variant_id=KETTLE)]


def policy_of(candidates: int) -> Policy:
    """A policy with so many offers, all of which may be made."""
    document = json.loads(load_policy(STORE / "policy.json").model_dump_json())
    document["offers"] = [
        {
            "id": f"offer-{number}",
            "version": 1,
            "title": f"Offer {number}",
            "kind": "percent_off",
            "percent_basis_points": 100 + number % 2_000,
            "priority": number % 1_000,
            "margin_basis_points": 4_000,
            "applies_to": {"categories": ["Kitchen > Kettles"]},
            "limits": {"per_shopper": 3},
        }
        for number in range(candidates)
    ]
    document["memory"] = {
        "wordings": [
            {
                "id": purpose.replace("_", "-"),
                "purpose": purpose,
                "text": "May we remember this, and use it to choose offers?",
            }
            for purpose in ("memory", "personal_offers")
        ]
    }
    return Policy.model_validate_json(json.dumps(document))


def raw_scorers() -> dict[str, Callable[[int], object]]:
    """What scores so many candidates and does nothing else."""
    generator = np.random.default_rng(1)
    rows = generator.random((1_000, FEATURES))
    weights = generator.random(FEATURES)
    found: dict[str, Callable[[int], object]] = {"raw linear": lambda count: np.dot(rows[:count], weights).argmax()}
    try:
        import lightgbm  # type: ignore[import-not-found, unused-ignore]  # an extra
    except ImportError:
        return found
    data = lightgbm.Dataset(rows, label=generator.random(len(rows)))
    model = lightgbm.train({"num_leaves": 31, "verbose": -1, "num_threads": 1}, data, num_boost_round=100)
    return {**found, "raw LightGBM": lambda count: model.predict(rows[:count], num_threads=1)}


def trees(candidates: int) -> BoostedModel:
    """100 trees of 31 leaves over the schema's columns and so many offers, grown on noise: every column is split."""
    import lightgbm  # an extra

    generator = np.random.default_rng(1)
    rows = generator.random((20_000, DEFAULT_SCHEMA.width + 1))
    rows[:, -1] = generator.integers(candidates, size=len(rows))
    data = lightgbm.Dataset(rows, label=generator.random(len(rows)), categorical_feature=[DEFAULT_SCHEMA.width])
    booster = lightgbm.train({"num_leaves": 31, "verbose": -1, "num_threads": 1}, data, num_boost_round=100)
    return BoostedModel.of(
        DEFAULT_SCHEMA, [f"offer-{number}" for number in range(candidates)], booster.model_to_string()
    )


def boosted(candidates: int) -> dict[str, Callable[[int], object]]:
    """A decision by trees, and the trees alone; nothing where LightGBM is not installed."""
    try:
        model = trees(candidates)
    except ImportError:
        return {}
    columns = np.random.default_rng(2).random((candidates + 1, DEFAULT_SCHEMA.width))
    rows = with_offers(columns, np.arange(candidates + 1) % candidates)
    return {
        "its trees": lambda _: model.predict(rows),
        "decide, boosted": pure(candidates, BoostedRanker(model, "a" * 64)),
    }


def pure(candidates: int, ranker: Ranker = PRIORITIES) -> Callable[[int], object]:
    """A decision without a database."""
    offers = terms_of(policy_of(candidates), CURRENCY).offers
    line = ContextLine(KETTLE, "hp-kettle", frozenset({"Kitchen > Kettles"}), 7_900, 1)
    context = Context(BRAND, "psn_x", CURRENCY, (line,), 1_795_000_000_000)
    return lambda _: decide(context, offers, ranker, random.random())  # a benchmark's draw


def remember(tx: Transaction, shoppers: Sequence[str]) -> None:
    """Each agreed to be remembered and to personal offers, and told four facts that count in ranking."""
    brand = find_brand(tx.connection, BRAND)
    for shopper in shoppers:
        asker = asker_of(brand, AGENT, shopper, "signed_in", OFFER_KEY)
        give(tx, asker, "memory", "memory")
        give(tx, asker, "personal_offers", "personal-offers")
        for key, value in REMEMBERED.items():
            keep(tx, asker, NewFact(key, value, "told"))


@dataclass(slots=True)
class Took:
    """What one kind took, call by call: milliseconds, of them computing, and statements that were sent."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    statements: list[int] = field(default_factory=list)


class Statements:
    """How many were sent to any database so far."""

    def __init__(self) -> None:
        self.count = 0
        event.listen(Engine, "before_cursor_execute", self._one_more)

    def _one_more(self, *_: object) -> None:
        self.count += 1


async def measured(world: World, candidates: int, rounds: int, sent: Statements) -> dict[str, Took]:
    """What each kind took."""
    policy = policy_of(candidates)
    database = world.commerce.database
    await database.change(lambda tx: save_brand(tx, name=BRAND_NAME, currency=CURRENCY, policy=policy))
    await database.change(lambda tx: remember(tx, [f"shp_told-{candidates}-{place}" for place in range(rounds)]))
    took = {name: Took() for name in ("made", "with commit", "made, known", "made, told")}

    def making(name: str, caller: Caller) -> Callable[[Transaction], None]:
        def work(tx: Transaction) -> None:
            before, computed, started = sent.count, thread_time(), perf_counter()
            make_offer(tx, find_brand(tx.connection, BRAND), caller, LINES, world.desk.rankers, OFFER_KEY)
            tx.write_events()
            took[name].wall_ms.append((perf_counter() - started) * 1000)
            took[name].cpu_ms.append((thread_time() - computed) * 1000)
            took[name].statements.append(sent.count - before)

        return work

    others = {**raw_scorers(), "decide": pure(candidates), **boosted(candidates)}
    for name, other in others.items():
        took[name] = Took()
        other(candidates)
    for place in range(rounds):
        for name, other in others.items():
            started = perf_counter()
            other(candidates)
            took[name].wall_ms.append((perf_counter() - started) * 1000)
        started = perf_counter()
        await database.change(making("made", CALLER))
        took["with commit"].wall_ms.append((perf_counter() - started) * 1000)
        for name in ("known", "told"):
            shopper = Caller(shopper_principal(f"shp_{name}-{candidates}-{place}"), "benchmark")
            await database.change(making(f"made, {name}", shopper))
    return took


async def run(arguments: argparse.Namespace) -> None:
    """Prints a table for each database."""
    sent = Statements()
    with tempfile.TemporaryDirectory() as folder:
        say(f"one commit here: {commit_latency(Path(folder))}\n")
        with databases(Path(folder)) as both:
            for name, url in both:
                async with commerce_world(Path(folder), url) as world:
                    for candidates in arguments.candidates:
                        table(name, candidates, await measured(world, candidates, arguments.rounds, sent))


def table(name: str, candidates: int, took: dict[str, Took]) -> None:
    """Prints what each kind took, and how much of raw scoring that is."""
    slowest = "raw LightGBM" if "raw LightGBM" in took else "raw linear"
    base = percentile(took[slowest].wall_ms, 50)
    say(f"\n{name}, {candidates} candidates\n")
    for kind, one in took.items():
        p50, p99 = percentile(one.wall_ms, 50), percentile(one.wall_ms, 99)
        say(f"  {kind:15} p50 {p50:8.3f} ms  p99 {p99:8.3f} ms  {p50 / base:6.2f} of {slowest}")
        if one.cpu_ms:
            cpu = f"{percentile(one.cpu_ms, 50):8.3f} / {percentile(one.cpu_ms, 99):8.3f}"
            say(f"  CPU {cpu} ms  statements {percentile(one.statements, 50):.0f}")
        say("\n")
    told, known = percentile(took["made, told"].wall_ms, 50), percentile(took["made, known"].wall_ms, 50)
    say(f"  with four facts in memory a decision takes {told / known:.2f} of one without\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--candidates", type=int, nargs="+", default=[10, 100, 1_000])
    arguments = parser.parse_args()
    keep_what_is_loaded()  # as the server does
    asyncio.run(run(arguments))


if __name__ == "__main__":
    main()
