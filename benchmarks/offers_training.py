"""What training takes on logs of growing size: decisions a second beside reading alone, and memory.

    python -m benchmarks.offers_training [--decisions 1000 … 1000000] [--kinds linear boosted] [--jobs 2] [--folder DIR]

Logs are of offer_engine/market.py, 8 candidates a decision, gzip files of 250,000; they stay in ``--folder`` for another run
(10^7 take 1.3 GB). Each training is ``offer-engine train`` in a process of its own: the time is all that a caller waits, start
included, and the memory that of its largest process; rows that a boosted model keeps in files are not among it. ``reading
alone`` is gzip and JSON of up to 100,000 of the same lines in one process, before each training: a machine that does other
things as well changes between runs, so read the ratio.
"""

import argparse
import gzip
import os
import sys
import tempfile
from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path
from time import perf_counter
from typing import Final

from pydantic_core import from_json

from benchmarks.machine import say
from benchmarks.market_log import write_log

AS_OF_MS: Final = 3_000_000_000_000
READ_ALONE: Final = 100_000
_PROGRAM: Final = "import sys; from offer_engine.cli import main; sys.exit(main())"


def alone(paths: Sequence[Path]) -> float:
    """Decisions a second of reading and parsing, and nothing else."""
    started = perf_counter()
    count = 0
    for line in islice(chain.from_iterable(map(gzip.open, paths)), READ_ALONE):
        from_json(line)
        count += 1
    return count / (perf_counter() - started)


def trained(kind: str, paths: Sequence[Path], jobs: int, registry: Path) -> tuple[float, float]:
    """Seconds and the largest process's MB of one training."""
    command = [sys.executable, "-c", _PROGRAM, "train", *map(str, paths), "--kind", kind, "--jobs", str(jobs)]
    command += ["--registry", str(registry), "--as-of", str(AS_OF_MS)]
    started = perf_counter()
    child = os.posix_spawn(sys.executable, command, os.environ)
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"training a {kind} model ended with {os.waitstatus_to_exitcode(status)}")
    return perf_counter() - started, used.ru_maxrss / 1024


def run(arguments: argparse.Namespace, folder: Path) -> None:
    """Prints a line for each training."""
    say(f"{'decisions':>12}{'kind':>10}{'seconds':>10}{'a second':>11}{'of reading alone':>18}{'MB at most':>12}\n")
    for decisions in arguments.decisions:
        paths = write_log(folder, decisions)
        for kind in arguments.kinds:
            base = alone(paths)
            seconds, largest_mb = trained(kind, paths, arguments.jobs, folder / "models")
            rate = decisions / seconds
            say(f"{decisions:>12,}{kind:>10}{seconds:>10.1f}{rate:>11,.0f}{rate / base:>18.2f}{largest_mb:>12.0f}\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", choices=("linear", "boosted"), default=["linear", "boosted"])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where logs stay (default: a folder that is gone afterwards)")
    arguments = parser.parse_args()
    if arguments.folder:
        run(arguments, arguments.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        run(arguments, Path(folder))


if __name__ == "__main__":
    main()
