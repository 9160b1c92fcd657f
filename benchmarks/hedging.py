"""Measures what a delayed second call does to the time of first words, in made-up time, against providers with long tails.

    python -m benchmarks.hedging [--calls 20000] [--seed 1]

Both providers answer after a lognormal time (median 457 ms); 3 % of the calls take several seconds more (exponential, mean
4 s), and 0.5 % stall for 30 s. The two are independent. The router, the egress and the parsers are the real ones; only the
provider and the clock are not, so the figures do not depend on the machine. The tails are assumed: compare the rows.
"""

import argparse
import asyncio
import sys
from dataclasses import replace
from random import Random

import httpx

from offer_engine.models.records import CallOpened, Occasion, Record, reconcile
from offer_engine.models.router import Router
from tests.offer_engine.fake_provider import WORDS, FakeTransport, Script, stream_of
from tests.offer_engine.models.world import PROMPT, Kept, egress_of, spec
from tests.offer_engine.virtual_time import loop_seconds, run_virtually

_MEDIAN_LOG = -0.783  # of seconds
_SIGMA = 0.4


def first_words_seconds(rng: Random) -> float:
    """How long a provider takes with its first words."""
    seconds = rng.lognormvariate(_MEDIAN_LOG, _SIGMA)
    kind = rng.random()
    if kind < 0.005:
        return 30.0
    return seconds + (rng.expovariate(1 / 4.0) if kind < 0.035 else 0.0)


def measured(calls: int, seed: int, *, hedges: bool) -> tuple[list[float], float, list[Record]]:
    """The times to the first words, sorted; extra calls for each; and the records."""
    rng = Random(seed)
    kept = Kept()
    good = stream_of("openai", [WORDS])

    def script(_: httpx.Request) -> Script:
        return replace(good, before_seconds=first_words_seconds(rng))

    async def talk() -> list[float]:
        egress = egress_of(FakeTransport(script), kept, stall_seconds=100.0)
        router = Router([spec("openai", "first"), spec("openai", "second")], egress, loop_seconds, hedges=hedges)
        times = []
        for _ in range(calls):
            answer = router.ask(PROMPT, Occasion("benchmark"))
            began = loop_seconds()
            words = aiter(answer.words())
            await anext(words)
            times.append(loop_seconds() - began)
            async for _ in words:
                pass
            answer.judged("ok")
            await asyncio.sleep(1.0)
        return times

    times = sorted(run_virtually(talk()))
    opened = sum(isinstance(record, CallOpened) for record in kept.records)
    return times, (opened - calls) / calls, kept.records


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    sys.stdout.write("| second call | p50 | p95 | p99 | p99.9 | extra calls |\n|---|---|---|---|---|---|\n")
    for name, hedges in (("none", False), ("after the learnt p95", True)):
        times, extra, records = measured(chosen.calls, chosen.seed, hedges=hedges)
        figures = [f"{times[min(int(len(times) * part), len(times) - 1)]:.2f} s" for part in (0.5, 0.95, 0.99, 0.999)]
        sys.stdout.write(f"| {name} | {' | '.join(figures)} | {extra:.1%} |\n")
        if problems := reconcile(records):
            sys.stdout.write(f"calls and verdicts do not agree: {problems[:3]}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
