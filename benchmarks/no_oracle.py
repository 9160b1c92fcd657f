"""Measures whether a clock tells a card that the zone holds from one that it does not.

    python -m benchmarks.no_oracle [--rounds 400]

For each way to hand a card to the zone, known and unknown cards of the same first eight and last four digits are played by
turns, without limits, on SQLite. Beside the real zone stands one with a planted oracle, which looks a second time for a card
that it did not find. Per row: the median times, and the chance that a known card takes longer than the unknown one of the same
turn, by the clock and by the processor's time, which other work on the machine disturbs less. At 0.50 there is nothing to tell;
the last column is that figure's standard error. Absolute times depend on the machine; the steps of each request are compared
exactly in tests/vault_zone/test_no_oracle.py.
"""

import argparse
import asyncio
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter_ns, process_time_ns
from typing import NamedTuple

from commerce_api.settings import sqlite_url
from tests.vault_zone import test_no_oracle as planted
from tests.vault_zone.guessing import GUESSES, LEAN, OFF, Attacker, Channel
from tests.vault_zone.world import VISA, zone_world
from vault_zone import card_testing


class Took(NamedTuple):
    """From the card to its answer, in milliseconds: by the clock, and of the processor's time."""

    clock: float
    processor: float


async def timed(attacker: Attacker, channel: Channel, number: str) -> Took:
    """What one card took."""
    clock, processor = perf_counter_ns(), process_time_ns()
    await channel(attacker, number)
    return Took((perf_counter_ns() - clock) / 1e6, (process_time_ns() - processor) / 1e6)


async def measured(channel: Channel, rounds: int) -> tuple[list[Took], list[Took]]:
    """The times of known and of unknown cards, by turns, each first as often as second."""
    known: list[Took] = []
    unknown: list[Took] = []
    unknown_numbers = [number for number in GUESSES if number != VISA]
    with tempfile.TemporaryDirectory() as directory:
        async with zone_world(sqlite_url(Path(directory))) as world:
            attacker = await Attacker.at(world, OFF)
            for number in (VISA, *unknown_numbers[-20:]):
                await channel(attacker, number)
            for round_number in range(rounds):
                turns = [(known, VISA), (unknown, unknown_numbers[round_number])]
                for times, number in turns if round_number % 2 else reversed(turns):
                    times.append(await timed(attacker, channel, number))
    return known, unknown


def chance(known: Sequence[float], unknown: Sequence[float]) -> float:
    """How often the known card took longer than the unknown one of its turn."""
    return sum((a > b) + (a == b) / 2 for a, b in zip(known, unknown, strict=True)) / len(known)


def row(name: str, known: Sequence[Took], unknown: Sequence[Took]) -> str:
    """One line of the table."""
    by_clock = chance([took.clock for took in known], [took.clock for took in unknown])
    by_processor = chance([took.processor for took in known], [took.processor for took in unknown])
    medians = [median(took.clock for took in times) for times in (known, unknown)]
    error = 0.5 / math.sqrt(len(known))
    return f"{name:28} {medians[0]:9.2f} {medians[1]:9.2f} {by_clock:9.3f} {by_processor:11.3f} {error:7.3f}\n"


async def run(rounds: int) -> None:
    """Prints the table."""
    sys.stdout.write(f"{'':28} {'known ms':>9} {'other ms':>9} {'by clock':>9} {'by processor':>11} {'error':>6}\n")
    for name, channel in LEAN.items():
        sys.stdout.write(row(name, *await measured(channel, rounds)))
    real = vars(card_testing)["fingerprint_of"]
    vars(card_testing)["fingerprint_of"] = planted.early_for_known_cards
    try:
        sys.stdout.write(row("page, with a planted oracle", *await measured(LEAN["page"], rounds)))
    finally:
        vars(card_testing)["fingerprint_of"] = real


def main() -> None:
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=400)
    asyncio.run(run(min(parser.parse_args().rounds, len(GUESSES) - 1)))


if __name__ == "__main__":
    main()
