"""``python -m tests.simulation``: plays seeds, tells of the first that breaks, and how to see it again."""

import argparse
import multiprocessing
import os
import sys
import time

from tests.simulation.history import History
from tests.simulation.playing import CHUNK, play_all
from tests.simulation.store import Disk
from tests.simulation.template import make_template

TRACE_LINES = 60


def main() -> int:
    """Returns 0 when every seed held, 1 at the first that did not."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description="Plays the charge engine's histories."
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="one history, told step by step")
    which.add_argument("--seeds", metavar="FROM:TO", help="many, on every core")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _one(arguments.seed)
    first, last = (int(part) for part in arguments.seeds.split(":"))
    return _many(range(first, last), arguments.jobs)


def _one(seed: int) -> int:
    history = History(make_template(), Disk(), seed)
    try:
        history.play()
    except BaseException as failure:  # noqa: BLE001  # whatever it is, it is what the seed shows
        sys.stdout.write(
            "\n".join([*history.trace[-TRACE_LINES:], f"seed {seed}: {type(failure).__name__}: {failure}", ""])
        )
        return 1
    sys.stdout.write("\n".join([*history.trace, f"seed {seed} holds after {history.steps} steps", ""]))
    return 0


def _many(seeds: range, jobs: int) -> int:
    began, played, steps, crashes = time.monotonic(), 0, 0, 0
    chunks = [range(at, min(at + CHUNK, seeds.stop)) for at in range(seeds.start, seeds.stop, CHUNK)]
    with multiprocessing.Pool(jobs) as pool:
        for count, chunk_steps, chunk_crashes, failure in pool.imap_unordered(play_all, chunks):
            played, steps, crashes = played + count, steps + chunk_steps, crashes + chunk_crashes
            if failure is not None:
                seed, text = failure
                sys.stdout.write(f"\nseed {seed} breaks: {text}\nsee it: python -m tests.simulation --seed {seed}\n")
                pool.terminate()
                return 1
            rate = played / (time.monotonic() - began)
            sys.stdout.write(f"\r{played:,} of {len(seeds):,} histories, {rate:.0f} a second ")
            sys.stdout.flush()
    minutes = (time.monotonic() - began) / 60
    sys.stdout.write(
        f"\r{played:,} histories hold: {steps:,} steps checked, {crashes:,} crashes, {minutes:.1f} minutes on {jobs} cores\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
