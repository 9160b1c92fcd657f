"""What every benchmark says of the machine it ran on, and how it says a list of times."""

import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PROBES = 200


def say(text: str) -> None:
    """Writes at once: long work shows how far it is."""
    sys.stdout.write(text)
    sys.stdout.flush()


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many of a hundred are at or below."""
    return sorted(values)[min(len(values) * percent // 100, len(values) - 1)]


def commit_latency(directory: Path) -> str:
    """What one commit costs here: 4 KiB written in place and synced."""
    block = os.urandom(4096)
    handle = os.open(directory / "probe", os.O_RDWR | os.O_CREAT, 0o600)
    took = []
    for _ in range(PROBES):
        started = time.perf_counter()
        os.pwrite(handle, block, 0)
        os.fdatasync(handle)
        took.append((time.perf_counter() - started) * 1000)
    os.close(handle)
    return f"p50 {statistics.median(took):.2f} ms, p99 {percentile(took, 99):.2f} ms"
