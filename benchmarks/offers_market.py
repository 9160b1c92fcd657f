"""Measures the offer engine's learning in a market whose truth is known, and what learning and scoring cost.

    python -m benchmarks.offers_market [--part regret|coverage|training|scoring] [--rounds 10000] [--logs 200] [--out FILE.html]

Regret: random, the best fixed offer, LinUCB, our rule and the oracle, in one market with the same shoppers: rewards at
once, late, with drift, with offers that appear in the middle, with budgets. Coverage: how often intervals hold the truth, over
so many logs. Training: decisions read and learned a second, and memory. Scoring: what our ranker takes beside the raw model.
Absolute times depend on the machine and on what else it does; compare the ratios.
"""

import argparse
import json
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Final

import numpy as np

from benchmarks.machine import percentile, say
from benchmarks.regret_page import Curves, regret_page
from offer_engine.decide import Catalogue, decide
from offer_engine.exploration import Exploration, ExplorationKind
from offer_engine.features import DEFAULT_SCHEMA, Feature, Schema, assemble, context_features, offer_features
from offer_engine.judging.estimators import Estimator
from offer_engine.judging.judge import Judge, from_lines
from offer_engine.judging.policies import LinearPolicy
from offer_engine.judging.support import Needs
from offer_engine.learning.gbdt import BoostedModel, train, with_offers
from offer_engine.learning.linear import LinearModel, Statistics, fit
from offer_engine.learning.log import Reading
from offer_engine.learning.rankers import LinearRanker
from offer_engine.learning.rewards import DAY_MS, RewardRule
from offer_engine.learning.training import Source, count
from offer_engine.market import (
    CONTEXT_NAMES,
    NOW_MS,
    Curve,
    FixedPlayer,
    LinearPlayer,
    Market,
    OraclePlayer,
    Player,
    Shape,
    curve,
    lines,
    play,
)
from offer_engine.offers import Context, ContextLine, Offer, OfferKind

LATER_MS: Final = NOW_MS + 3_650 * DAY_MS
SQUARECB: Final = Exploration(ExplorationKind.SQUARECB, sharpness=500.0, floor=0.01)
SEEDS: Final = 3
PLAYERS: Final = ("random", "best fixed", "LinUCB", "SquareCB", "forgets", "oracle")
RAW_SCHEMA: Final = Schema(tuple(Feature(name) for name in CONTEXT_NAMES))


def regret(rounds: int, out: Path | None) -> None:
    """The curves' ends, as reward per round, mean of SEEDS markets; with ``out`` the curves of the first as a page."""
    base = Shape(rounds=rounds)
    shapes = {
        "at once": base,
        f"{rounds // 40} rounds late": replace(base, delay=rounds // 40),
        f"{rounds // 4} rounds late": replace(base, delay=rounds // 4),
        "drift": replace(base, drift=2.0),
        "4 of 12 offers from half-way": replace(base, newcomers=4),
        f"each offer {rounds // 8} times": replace(base, budget=rounds // 8),
    }
    say(f"reward a round, {base.arms} offers, {rounds:,} rounds, mean of {SEEDS} markets\n")
    say(f"{'':30}{''.join(f'{name:>11}' for name in PLAYERS)}\n")
    first: dict[str, Curves] = {}
    for name, shape in shapes.items():
        found = [_players(shape, seed) for seed in range(SEEDS)]
        means = [float(np.mean([run[place].earned / rounds for run in found])) for place in range(len(PLAYERS))]
        say(f"{name:30}{''.join(f'{mean:11.3f}' for mean in means)}\n")
        first[name] = {player: each.points for player, each in zip(PLAYERS, found[0], strict=True)}
    if out is not None:
        out.write_text(regret_page(first, rounds), encoding="utf-8")


def _players(shape: Shape, seed: int) -> list[Curve]:
    market = Market.made(shape, seed)
    fixed = [curve(market, FixedPlayer(arm), seed) for arm in range(shape.arms)]
    best = max(fixed, key=lambda each: each.earned)
    players = [
        Player(),
        LinearPlayer(shape, None),
        LinearPlayer(shape, SQUARECB),
        LinearPlayer(shape, SQUARECB, forget=0.998),
        OraclePlayer(),
    ]
    random, *others = [curve(market, player, seed) for player in players]
    return [random, best, *others]


def coverage(logs: int) -> None:
    """How often the 95 % interval holds the truth, for a fixed offer and for a learned policy, by estimator."""
    shape = Shape(arms=4, rounds=800, subjects=250)
    judge = Judge(needs=Needs((0.5, 1.5), 30.0, 5.0, 10), replicates=300)
    held: Counter[tuple[str, Estimator, str]] = Counter()
    told: Counter[tuple[str, Estimator]] = Counter()
    for seed in range(logs):
        market = Market.made(shape, seed)
        behaviour = LinearPlayer(replace(shape, delay=100), Exploration(ExplorationKind.SOFTMAX, 4.0, 0.05))
        policy = _learned(market, seed + 10_000)
        log = list(lines(market, behaviour, seed))
        reading = Reading(RAW_SCHEMA, RewardRule(), LATER_MS)
        judgement = judge.judge(reading, from_lines(reading, lambda log=log: log), [policy])  # type: ignore[misc]  # mypy infers no type for a default
        for name, truth in _truths(market, policy, seed).items():
            for estimator, interval in judgement.verdicts[name].values.items():
                told[name, estimator] += 1
                held[name, estimator, "bootstrap"] += interval.bootstrap_lower <= truth <= interval.bootstrap_upper
                held[name, estimator, "floor"] += interval.lower <= truth <= interval.upper
        say(f"\r{seed + 1} of {logs} logs")
    say(f"\rshare of {logs} logs whose 95 % interval holds the truth; what was logged adapts as it goes\n")
    for (name, estimator), number in told.items():
        shares = [100 * held[name, estimator, kind] / number for kind in ("bootstrap", "floor")]
        say(
            f"{name:16}{estimator.value:10} bootstrap {shares[0]:5.1f} %   with floor {shares[1]:5.1f} %   of {number}\n"
        )


def _learned(market: Market, seed: int) -> LinearPolicy:
    """Trained on another log of the same market."""
    reading = Reading(RAW_SCHEMA, RewardRule(), LATER_MS)
    statistics = Statistics(RAW_SCHEMA.width, reading.arms)
    for batch in reading.batches(lines(market, Player(), seed)):
        statistics.add(batch)
    return LinearPolicy(fit(statistics, RAW_SCHEMA), Exploration(ExplorationKind.SOFTMAX, 15.0, 0.05))


def _truths(market: Market, policy: LinearPolicy, seed: int) -> dict[str, float]:
    """What each earns in the log's rounds: by the chances, not by the coins."""
    fixed, learned = [], []
    names = ["no_offer", *(f"offer-{arm}" for arm in range(1, market.shape.arms))]
    rows = policy.model.lookup(names, [0] * len(names))
    for played in play(market, Player(), seed):
        fixed.append(played.chances[1])
        x = np.tile(np.concatenate([[1.0], played.context]), (len(names), 1))
        learned.append(float(policy.exploration.propensities(policy.model.scores(x, rows)) @ played.chances))
    return {"always offer-1": float(np.mean(fixed)), "model": float(np.mean(learned))}


def training(sizes: tuple[int, ...]) -> None:
    """Decisions a second and this process's largest memory, for logs of growing size: memory must not grow with them."""
    with tempfile.TemporaryDirectory() as folder:
        pool = list(lines(Market.made(Shape(arms=8, rounds=5_000, subjects=2_000), 1), Player(), 1))
        for size in sizes:
            path = Path(folder) / f"{size}.jsonl"
            with path.open("w", encoding="utf-8") as out:
                for number in range(size):
                    out.write(f"{pool[number % len(pool)]}\n")
            source = Source((path,), DEFAULT_SCHEMA, RewardRule(), LATER_MS)
            started = perf_counter()
            counted = count(source)
            fit(counted.statistics, DEFAULT_SCHEMA)
            took = perf_counter() - started
            started = perf_counter()
            with path.open("rb") as raw:
                for line in raw:
                    json.loads(line)
            parsing = perf_counter() - started
            say(
                f"linear   {size:>9,} decisions of 8 candidates, {path.stat().st_size / 1e6:7.1f} MB: "
                f"{size / took:9,.0f}/s, JSON alone {size / parsing:9,.0f}/s, {_memory_mb():5.0f} MB at most\n"
            )
        started = perf_counter()
        train(source)
        say(
            f"boosted  {size:>9,} decisions: {size / (perf_counter() - started):9,.0f}/s, {_memory_mb():5.0f} MB at most\n"
        )


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def scoring() -> None:
    """p50 and p99 in ms of processor time: the raw models, features, the ranker with its propensities, and a whole decision."""
    line = ContextLine("v", "p", frozenset({"tea"}), 5_000, 1)
    context = Context("shop", "psn_1", "USD", (line,), NOW_MS)
    linear = _learned_default()
    boosted = _boosted_default()
    heads = ("linear, raw", "features", "ranker", "decide", "trees, raw", "trees + features")
    say(f"{'candidates':>10}{'':4}" + "".join(f"{head:>19}" for head in heads) + "\n")
    for size in (10, 100, 1_000):
        offers = [_offer(number) for number in range(size)]
        catalogue = Catalogue(offers)
        ranker = LinearRanker(linear, "a" * 64, SQUARECB)
        known = {name: np.array([float(value)]) for name, value in context_features(context).items()}
        counts = np.array([size])
        names = [offer.id for offer in offers]

        def columns() -> np.typing.NDArray[np.float64]:
            return assemble(DEFAULT_SCHEMA, known, offer_features(context, offers), counts)  # noqa: B023

        matrix = columns()
        rows = linear.lookup(names, [0] * size)
        places = boosted.places(names)
        timed = [  # each is called here and now, with this size's columns (B023)
            _times(lambda: linear.scores(matrix, rows)),  # noqa: B023
            _times(columns),
            _times(lambda: ranker.rank(context, offers)),  # noqa: B023
            _times(lambda: decide(context, catalogue, ranker, 0.5)),  # noqa: B023
            _times(lambda: boosted.predict(with_offers(matrix, places))),  # noqa: B023
            _times(lambda: boosted.predict(with_offers(columns(), places))),  # noqa: B023
        ]
        say(f"{size:>10}{'':4}" + "".join(f"{p50:>11.3f} /{p99:6.2f}" for p50, p99 in timed) + "\n")


def _times(work: Callable[[], object], repeats: int = 200) -> tuple[float, float]:
    took = []
    for _ in range(repeats):
        started = process_time()
        work()
        took.append((process_time() - started) * 1_000)
    return percentile(took, 50), percentile(took, 99)


def _offer(number: int) -> Offer:
    categories = frozenset({f"category-{number % 20}"}) if number % 3 else frozenset()
    return Offer(
        f"offer-{number}", 1, "An offer", OfferKind.PERCENT_OFF, "USD", 500 + number % 1_000, categories=categories
    )


def _default_log(rounds: int) -> Iterator[str]:
    return lines(Market.made(Shape(arms=12, rounds=rounds, subjects=2_000), 1), Player(), 1)


def _learned_default() -> LinearModel:
    reading = Reading(DEFAULT_SCHEMA, RewardRule(), LATER_MS)
    statistics = Statistics(DEFAULT_SCHEMA.width, reading.arms)
    for batch in reading.batches(_default_log(3_000)):
        statistics.add(batch)
    return fit(statistics, DEFAULT_SCHEMA)


def _boosted_default() -> BoostedModel:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        path.write_text("\n".join(_default_log(5_000)), encoding="utf-8")
        return train(Source((path,), DEFAULT_SCHEMA, RewardRule(), LATER_MS)).model


def main() -> int:
    """Runs one part or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("regret", "coverage", "training", "scoring"))
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--logs", type=int, default=200)
    parser.add_argument("--out", type=Path, help="a page with the regret curves")
    arguments = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "scoring": scoring,
        "training": lambda: training((1_000, 10_000, 100_000)),
        "regret": lambda: regret(arguments.rounds, arguments.out),
        "coverage": lambda: coverage(arguments.logs),
    }
    for name, part in parts.items():
        if arguments.part in (None, name):
            say(f"\n{name}\n")
            part()
    return 0


if __name__ == "__main__":
    sys.exit(main())
