"""Measures what the guards of a model's promotion find, and what they find that is not there.

    python -m benchmarks.offers_guards [--seeds 60] [--decisions 3000]

Shoppers buy with a probability that their side has, on record as commerce exports it; at a stage of 50 %, a decision a minute.
False: the share of stages in which any look finds a model worse that is not, with the house's looks, and with looks that each
claim the whole level by a bootstrap alone. Found: how many decisions a side it takes until a loss is found, in the median.
"""

import argparse
from collections.abc import Iterator
from typing import Any, Final
from unittest.mock import patch

import numpy as np

from benchmarks.machine import say
from offer_engine.judging import guards, intervals
from offer_engine.judging.guards import Comparison
from offer_engine.judging.looks import LEVEL, Look, look, newest_look
from offer_engine.judging.promotion import Rules, Side
from offer_engine.market import NOW_MS, STEP_MS

MODEL: Final = "a" * 64
BOUGHT: Final = 0.3
LOSSES: Final = (0.05, 0.1, 0.2)


def decisions(count: int, lost: float, seed: int) -> Iterator[dict[str, Any]]:
    """A stage: each decision of another shopper, half of them the model's, who buy less often by ``lost``."""
    rng = np.random.default_rng(seed)
    candidate = {"offer": "a", "version": 1, "margin_minor": 1_000, "discount_minor": 500, "propensity": 1.0}
    for number, (is_model, coin) in enumerate(zip(rng.random(count) < 0.5, rng.random(count), strict=True)):
        at_ms = NOW_MS + number * STEP_MS
        bought = {"type": "purchased", "at_ms": at_ms, "recorded_ms": at_ms, "key": "order", "value_minor": 4_500}
        yield {
            "decided_ms": at_ms,
            "presented_ms": at_ms,
            "subject": f"psn_{seed}_{number}",
            "policy": "linear:a" if is_model else "priority:1",
            "model_hash": MODEL if is_model else None,
            "verification": "anonymous",
            "context": {},
            "candidates": [candidate],
            "chosen": "a",
            "outcomes": [bought] if coin < BOUGHT - lost * is_model else [],
        }


def found_after(count: int, lost: float, seed: int) -> int | None:
    """How many decisions of the model's there were at the first look that found it worse; None where none did."""
    stage = list(decisions(count, lost, seed))
    last = newest_look(NOW_MS, NOW_MS + count * STEP_MS)
    for number in range(1, (last.number if last else 0) + 1):
        at = look(NOW_MS, number)
        comparison = Comparison(MODEL, NOW_MS, at)
        for record in stage[: (at.at_ms - NOW_MS) // STEP_MS]:
            comparison.add(record)
        if Rules().worse(comparison.measured().guards):
            return comparison.decisions[Side.MODEL]
    return None


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--decisions", type=int, default=3_000)
    arguments = parser.parse_args(argv)
    seeds = range(arguments.seeds)
    with patch.object(guards, "REPLICATES", 100):
        house = sum(found_after(arguments.decisions, 0.0, seed) is not None for seed in seeds)
        with (
            patch.object(Look, "level", lambda *_: LEVEL),
            patch.object(intervals, "_bernstein", lambda contributions, *_: np.zeros(contributions.shape[1])),
        ):
            naive = sum(found_after(arguments.decisions, 0.0, seed) is not None for seed in seeds)
        say(
            f"false: {house} of {len(seeds)} stages; {naive} where each look claims the whole level by a bootstrap alone"
        )
        for lost in LOSSES:
            after = sorted(
                found_after(8 * arguments.decisions, lost, seed) or 10**9 for seed in seeds[: max(1, len(seeds) // 6)]
            )
            middle = after[len(after) // 2]
            told = f"{middle:,}" if middle < 10**9 else "more than there were"
            say(f"a loss of {lost:.2f} of {BOUGHT:.2f}: found after {told} decisions of the model\n")


if __name__ == "__main__":
    main()
