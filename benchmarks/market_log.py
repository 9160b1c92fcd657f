"""Logs of any length from the market of offer_engine/market.py, chosen by chance, streamed to gzip files of a part each.

A line is what ``market.record`` gives for its round, to the byte; rounds are drawn by the block, lines come from a template.
"""

import gzip
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np

from offer_engine.market import NOW_MS, STEP_MS, Integers, Market, Round, Shape, arm_name, record

PART_DECISIONS: Final = 250_000
_BLOCK: Final = 10_000
_SHAPE: Final = Shape(arms=8, rounds=0, subjects=200_000)
_LEARNED_MS: Final = 3_600_000  # after the decision a purchase is learned of
_ROUND: Final = 777_777_777  # stands in the template for the round's number, as those below for their values
_SUBJECT: Final = 666_666_666
_CONTEXT: Final = (0.11111111, 0.22222222, 0.33333333, 0.44444444)
_DRAW: Final = 0.55555555


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a log: ``decisions`` rounds from ``first`` on."""

    path: Path
    first: int
    decisions: int


def write_log(folder: Path, decisions: int, processes: int = 2) -> list[Path]:
    """A log of so many decisions in ``folder``, as files of PART_DECISIONS; what is there already is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    firsts = range(0, decisions, PART_DECISIONS)
    parts = [
        Part(folder / f"{decisions}-{first}.jsonl.gz", first, min(PART_DECISIONS, decisions - first))
        for first in firsts
    ]
    missing = [part for part in parts if not part.path.exists()]
    if missing:
        with ProcessPoolExecutor(min(processes, len(missing)), mp_context=get_context("spawn")) as pool:
            list(pool.map(write_part, missing))
    return [part.path for part in parts]


def write_part(part: Part) -> None:
    """The file whole, or not there."""
    unfinished = part.path.with_suffix(".unfinished")
    with gzip.open(unfinished, "wb", compresslevel=1) as out:
        market = Market.made(_SHAPE, 1)
        for first in range(part.first, part.first + part.decisions, _BLOCK):
            count = min(_BLOCK, part.first + part.decisions - first)
            out.write("".join(f"{line}\n" for line in block(market, first, count)).encode())
    unfinished.replace(part.path)


def block(market: Market, first: int, count: int) -> Iterator[str]:
    """So many rounds as exported lines; the same each time."""
    rng = np.random.default_rng([20_261_127, first])
    shape = market.shape
    subject = rng.integers(shape.subjects, size=count)
    context = market.subject_context[subject] + rng.normal(0, 0.3, (count, shape.contexts))
    draw, coin = rng.random((2, count))
    arm = (draw * shape.arms).astype(np.int64)
    chance = 1 / (
        1 + np.exp(-(market.base[arm] + (market.tastes[arm] * context).sum(axis=1) + market.subject_mood[subject]))
    )
    texts = [_template(bought=False), _template(bought=True)]
    names = [arm_name(place) for place in range(shape.arms)]
    columns = zip(
        subject.tolist(), context.tolist(), draw.tolist(), arm.tolist(), (coin < chance).tolist(), strict=True
    )
    for number, (who, around, drawn, place, bought) in enumerate(columns, first):
        at_ms = NOW_MS + number * STEP_MS
        yield texts[bought] % {
            "number": number,
            "at": at_ms,
            "learned": at_ms + _LEARNED_MS,
            "subject": who,
            "draw": drawn,
            "chosen": names[place],
            **{str(name): value for name, value in enumerate(around)},
        }


def sentinel(*, bought: bool) -> Round:
    """The round whose record is the template."""
    arms: Integers = np.arange(_SHAPE.arms)
    vector = np.full(_SHAPE.arms, 1 / _SHAPE.arms)
    return Round(_ROUND, _SUBJECT, np.array(_CONTEXT), arms, vector, _DRAW, 0, bought, vector)


def _template(*, bought: bool) -> str:
    text = json.dumps(record(sentinel(bought=bought), "random"))
    at_ms = NOW_MS + _ROUND * STEP_MS
    values = {
        str(at_ms + _LEARNED_MS): "learned",
        str(at_ms): "at",
        str(_ROUND): "number",
        str(_SUBJECT): "subject",
        str(_DRAW): "draw",
        **{str(value): str(place) for place, value in enumerate(_CONTEXT)},
    }
    for value, name in values.items():
        text = text.replace(value, f"%({name})s")
    return text.replace(f'"chosen": "{arm_name(0)}"', '"chosen": "%(chosen)s"')
