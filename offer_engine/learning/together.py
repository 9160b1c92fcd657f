"""What one machine trains with several (machines.py): the same model on each, from the decisions of all.

A linear model needs their sums alone. Trees need to know the offers of all before they grow, so that an offer has one number
everywhere; then LightGBM sums histograms between the machines.
"""

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from offer_engine.features import Schema
from offer_engine.learning import gbdt
from offer_engine.learning.linear import Statistics
from offer_engine.learning.log import Arms, Reading
from offer_engine.learning.machines import Machines, MachinesApart, gathered
from offer_engine.learning.summary import Summary, SummaryInvalid
from offer_engine.learning.training import (
    COUNTERS,
    Counted,
    Source,
    Told,
    add_reading,
    count_in_processes,
    merge,
    untold,
)

_MOMENTS: Final = ("first_ms", "last_ms")


def count_together(machines: Machines, source: Source, jobs: int, told: Told = untold) -> Counted:
    """The statistics of all machines' files. Raises MachinesApart, LogInvalid, OSError."""
    mine = count_in_processes(source, jobs, told)
    parts = gathered(machines, options_of(source, "linear"), packed(mine.reading, mine.summary, mine.statistics))
    first, *others = [unpacked(part, source) for part in parts]
    for other in others:
        merge(first, other)
    return first


def train_together(
    machines: Machines,
    source: Source,
    jobs: int,
    told: Told = untold,
    grown: Callable[[int], None] = gbdt.no_one,
) -> gbdt.Trained:
    """The trees of all machines' files. Raises ExtraMissing, TooFewRows, MachinesApart, NetworkFailed, LogInvalid, OSError."""
    with gbdt.table_of(source, jobs, told) as table:
        parts = gathered(machines, options_of(source, "boosted"), packed(table.reading, table.summary))
        found = [unpacked(part, source) for part in parts]
        gbdt.require_rows(min(int(part.summary.decisions.sum()) for part in found))  # all refuse, or none
        reading, summary = _summed(found)
        model = gbdt.fitted(source.schema, table.files, summary.arms.names, jobs, machines.lightgbm(), grown)
    return gbdt.Trained(model, reading, summary)


def options_of(source: Source, kind: str) -> str:
    """What must be the same on all machines."""
    rule = source.rule
    windows = [rule.measure.value, rule.purchase_window_ms, rule.reversal_window_ms, rule.reversal]
    options = [
        kind,
        source.schema.hash,
        windows,
        source.now_ms,
        source.trained_share,
        dict(gbdt.PARAMETERS),
        gbdt.ROUNDS,
    ]
    return json.dumps(options)


def packed(reading: Reading, summary: Summary, statistics: Statistics | None = None) -> bytes:
    """Counts, summary and sums as an .npz file without pickles."""
    about = {name: getattr(reading, name) for name in (*COUNTERS, *_MOMENTS)}
    arrays: dict[str, Any] = {
        "about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
        "summary": np.frombuffer(summary.to_bytes(), dtype=np.uint8),
    }
    if statistics is not None:
        statistics.grow()
        names = json.dumps([statistics.arms.names, statistics.arms.categories])
        arrays["offers"] = np.frombuffer(names.encode(), dtype=np.uint8)
        arrays |= {"gram": statistics.gram, "moment": statistics.moment}
        arrays |= {"square": statistics.square, "rows": statistics.rows}
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **arrays)
    return out.getvalue()


def unpacked(data: bytes, source: Source) -> Counted:
    """What ``packed`` gave; without sums where it had none. Raises MachinesApart."""
    reading = source.reading()
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            summary = Summary.from_bytes(arrays["summary"].tobytes(), source.schema.width)
            statistics = _statistics(arrays, source.schema)
        for name in COUNTERS:
            setattr(reading, name, int(about[name]))
        reading.first_ms, reading.last_ms = (None if about[name] is None else int(about[name]) for name in _MOMENTS)
    except (OSError, KeyError, TypeError, ValueError, EOFError, SummaryInvalid, zipfile.BadZipFile) as fault:
        raise MachinesApart("what a machine told is no training") from fault
    return Counted(statistics, reading, summary)


def _statistics(arrays: Any, schema: Schema) -> Statistics:
    found = Statistics(schema.width, Arms())
    if "offers" not in arrays:
        return found
    for name, category in zip(*json.loads(arrays["offers"].tobytes()), strict=True):
        found.arms.code(str(name), int(category))
    found.grow()
    for name in ("gram", "moment", "square", "rows"):
        told = arrays[name] + 0.0
        if told.shape != getattr(found, name).shape or not np.isfinite(told).all():
            raise ValueError("sums of another shape")
        setattr(found, name, told)
    return found


def _summed(parts: Sequence[Counted]) -> tuple[Reading, Summary]:
    first, *others = parts
    for other in others:
        first.summary.merge(other.summary)
        add_reading(first.reading, other.reading)
    return first.reading, first.summary
