"""What it costs to have an offer said over the agents' API, against having one decided, in turns of one run.

    python -m benchmarks.saying [--calls 200]

In the process, on SQLite, without a network: by the template, and by a made-up model that answers at once, whose words are read
and whose call is put on record before it is made. The baseline is `POST …/offers`, which decides, signs and writes.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from benchmarks.machine import commit_latency, percentile, say
from commerce_api.offering.saying import Pace
from tests.commerce_api.talking import Shop, disagreements, reword, says, shop
from tests.commerce_api.world import commerce_world
from tests.offer_engine.fake_provider import WORDS

BASELINE = "an offer is decided"


async def measured(at: Shop, calls: int) -> dict[str, list[float]]:
    """Milliseconds of each call, by what it was."""
    seconds = 0.0

    def a_while_later() -> float:
        nonlocal seconds
        seconds += 60
        return seconds

    at.desk.pace = Pace(a_while_later)  # it is the cost that is asked for here, not the limit
    offer = await at.offer()
    took: dict[str, list[float]] = {}

    async def timed(name: str, call: Callable[[], Awaitable[object]]) -> None:
        began = time.perf_counter()
        await call()
        took.setdefault(name, []).append((time.perf_counter() - began) * 1000)

    for wording in ("template", "free"):
        await reword(at.world, offer_wording=wording)
        await at.said(offer)  # a language's words are read once
        for _ in range(calls):
            await timed(BASELINE, at.offer)
            await timed(f"said, {wording}", lambda: at.said(offer))
    return took


async def run(calls: int) -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as directory:
        say(
            f"commit latency: {commit_latency(Path(directory))}\n\n| | p50 | p95 | p50 to the baseline's |\n|---|---|---|---|\n"
        )
        async with commerce_world(Path(directory)) as world:
            async with shop(world, says(WORDS)) as at:
                took = await measured(at, calls)
            problems = await disagreements(world)
    base = median(took[BASELINE])
    for name, times in took.items():
        say(f"| {name} | {median(times):.1f} ms | {percentile(times, 95):.1f} ms | {median(times) / base:.2f} × |\n")
    say(f"\ncalls and verdicts: {problems or 'agree'}\n")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.saying", description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=200)
    asyncio.run(run(parser.parse_args().calls))


if __name__ == "__main__":
    main()
