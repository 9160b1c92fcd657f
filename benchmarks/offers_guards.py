"""Measures what the guards of a model's promotion find, and what they find that is not there.

    python -m benchmarks.offers_guards [--seeds 60] [--decisions 3000] [--days 120]

Shoppers buy with a probability that their side has, on record as commerce exports it; at a stage of 50 %, a decision a minute.
False: the share of stages in which any look finds a model worse that is not, with the house's looks, and with looks that each
claim the whole level by a bootstrap alone. Found: how many decisions a side it takes until a loss is found, in the median.
Lasting: the same of the last stage, where the incumbent has 5 %, over so many days of 1,000 decisions; and after how many days
a model that was as good for 200 days and then turns bad is found, with looks that see the last days by themselves and without.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch

import numpy as np

from benchmarks.machine import say
from offer_engine.features import Vector
from offer_engine.judging import guards, intervals, looks
from offer_engine.judging.guards import GROUPS, Comparison
from offer_engine.judging.looks import LEVEL, Look, look, newest_look
from offer_engine.judging.promotion import SHARE_PERCENT, Rules, Side, Stage
from offer_engine.judging.watching import Watch
from offer_engine.market import NOW_MS, STEP_MS

MODEL: Final = "a" * 64
BOUGHT: Final = 0.3
LOSSES: Final = (0.05, 0.1, 0.2)
GOOD_DAYS: Final = 200
DAY_MS: Final = 86_400_000


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


@dataclass(frozen=True, slots=True)
class Lasting:
    """So many days of the last stage, each decision of another shopper. From day ``turns`` on the model loses ``lost``."""

    days: int
    daily: int
    lost: float
    turns: int
    seed: int

    def first_worse(self, from_day: int = 0) -> float | None:
        """The day of the first look from that one on that finds the model worse; None where none does."""
        stage, number = self._decisions(), 1
        while (at := look(0, number, lasts=True)).at_ms <= self.days * DAY_MS:
            number += 1
            if at.at_ms >= from_day * DAY_MS and self._is_worse(at, *stage):
                return at.at_ms / DAY_MS
        return None

    def _decisions(self) -> tuple[Vector, Vector, Vector, Vector]:
        """Moment, whether it is the model's, reward, and group of subjects."""
        rng, count = np.random.default_rng(self.seed), self.days * self.daily
        moments = np.arange(count, dtype=np.float64) * (DAY_MS / self.daily)
        of_model = rng.random(count) < SHARE_PERCENT[Stage.FULL] / 100
        lost = self.lost * (of_model & (moments >= self.turns * DAY_MS))
        bought = rng.random(count) < BOUGHT - lost
        group = rng.integers(0, GROUPS, count)
        return moments, of_model.astype(np.float64), bought.astype(np.float64), group.astype(np.float64)

    def _is_worse(self, at: Look, *stage: Vector) -> bool:
        watch = Watch(MODEL, 0, at)
        for comparison in (watch.whole, *watch.lately.values()):
            _fill(comparison, *stage)
        measured = watch.measured()
        return any(Rules().worse(found) for found in (measured.guards, *measured.lately.values()))


def _fill(comparison: Comparison, moments: Vector, of_model: Vector, reward: Vector, group: Vector) -> None:
    """What adding the decisions one by one would come to."""
    within = (moments >= comparison.began_ms) & (moments < comparison.look.at_ms)
    for side, of_side in ((Side.MODEL, within & (of_model > 0)), (Side.INCUMBENT, within & (of_model == 0))):
        places = group[of_side].astype(int)
        ones = np.bincount(places, minlength=GROUPS).astype(np.float64)
        bought = np.bincount(places, weights=reward[of_side], minlength=GROUPS).astype(np.float64)
        nothing = np.zeros(GROUPS)
        sums = {"reward": bought, "margin": 1_000 * bought, "opt_outs": nothing, "faults": nothing}
        for name, numerators in sums.items():
            comparison._sums[side, name] = guards._Sums(numerators, ones)
        comparison._sums[side, "refunds"] = guards._Sums(nothing, bought)
        comparison.decisions[side] = int(of_side.sum())
    comparison._margins = (-250.0, 1_000.0)


def _say_lasting(seeds: range, days: int) -> None:
    with patch.object(guards, "REPLICATES", 20):
        house = sum(Lasting(days, 1_000, 0.0, 0, seed).first_worse() is not None for seed in seeds)
        say(f"lasting: {house} of {len(seeds)} stays of {days} days in which a model that is no worse was taken back\n")
        for lost in LOSSES[::-1]:
            told = [_found_on(lost, seeds)]
            with patch.object(looks, "LATELY_DAYS", ()):
                told.append(_found_on(lost, seeds))
            say(
                f"a loss of {lost:.2f} after {GOOD_DAYS} good days: found after {told[0]}; seen only whole, {told[1]}\n"
            )


def _found_on(lost: float, seeds: range) -> str:
    """Days since the model turned bad, in the median."""
    stays = [Lasting(2 * GOOD_DAYS, 1_000, lost, GOOD_DAYS, seed) for seed in seeds[:10]]
    after = sorted((stay.first_worse(GOOD_DAYS) or 10**9) - GOOD_DAYS for stay in stays)
    middle = after[len(after) // 2]
    return f"{middle:.0f} days" if middle < GOOD_DAYS else f"more than {GOOD_DAYS} days"


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--decisions", type=int, default=3_000)
    parser.add_argument("--days", type=int, default=120)
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
            f"false: {house} of {len(seeds)} stages; {naive} where each look claims the whole level by a bootstrap alone\n"
        )
        for lost in LOSSES:
            after = sorted(
                found_after(8 * arguments.decisions, lost, seed) or 10**9 for seed in seeds[: max(1, len(seeds) // 6)]
            )
            middle = after[len(after) // 2]
            told = f"{middle:,}" if middle < 10**9 else "more than there were"
            say(f"a loss of {lost:.2f} of {BOUGHT:.2f}: found after {told} decisions of the model\n")
    _say_lasting(range(max(1, len(seeds) // 3)), arguments.days)


if __name__ == "__main__":
    main()
