"""Where a brand's model stands: its stage, what the newest look at it shows, and what comes next."""

from typing import NamedTuple

from sqlalchemy.engine import Connection

from commerce_api.brands import Brand
from commerce_api.offering.export import read_newest
from commerce_api.offering.ramping import DECISIONS_MAXIMUM, RULES, watch_of
from offer_engine.judging.guards import Comparison
from offer_engine.judging.looks import LEVEL, Look, look
from offer_engine.judging.promotion import SHARE_PERCENT, Measured, Move, Reason, Side, Stage, advance
from offer_engine.judging.standing import NEXT, guard_lines
from offer_engine.judging.watching import has_no_end, look_of
from offer_engine.learning.registry import Change, Registry
from tokenization.clock import as_text


class Standing(NamedTuple):
    """A model that has traffic. ``comparison`` is None before the first look at its stage."""

    stage: Change
    look: Look | None
    comparison: Comparison | None
    measured: Measured
    move: Move
    looks_next_ms: int


def standing_of(connection: Connection, brand: Brand, registry: Registry | None, now_ms: int) -> Standing | None:
    """Where the model stands that has traffic; None where none has."""
    history = registry.history() if registry is not None else []
    if not history or not SHARE_PERCENT[Stage(history[-1].stage)]:
        return None
    stage = history[-1]
    newest = look_of(stage, now_ms)
    following = look(stage.at_ms, newest.number + 1 if newest else 1, lasts=has_no_end(stage))
    comparison, measured = None, Measured(0, 0, {})
    if newest is not None:
        watch = watch_of(brand, stage, newest)
        since_ms = newest.sees_from(stage.at_ms)
        for record in read_newest(connection, brand.id, since_ms, newest.at_ms, DECISIONS_MAXIMUM):
            watch.add(record)
        comparison, measured = watch.whole, watch.measured()
    move = advance(Stage(stage.stage), measured, RULES, Reason.PASSED)
    return Standing(stage, newest, comparison, measured, move, following.at_ms)


def told(brand: Brand, standing: Standing | None) -> list[str]:
    """The same in lines, for a terminal of 80 columns."""
    if standing is None:
        return [f"{brand.id}: no model decides; the priorities do"]
    stage = standing.stage
    lines = [
        f"{brand.id}: model {stage.model[:16]}",
        f"  stage      {words(stage.stage)}, {SHARE_PERCENT[Stage(stage.stage)]} % of shoppers, since {_moment(stage.at_ms)}",
    ]
    if standing.look is None or standing.comparison is None:
        return [*lines, f"  first look {_moment(standing.looks_next_ms)}"]
    decisions = standing.comparison.decisions
    lines += [
        f"  look       {standing.look.number}, of {_moment(standing.look.at_ms)}",
        f"  decisions  {decisions[Side.MODEL]:,} of the model, {decisions[Side.INCUMBENT]:,} of the priorities",
        "",
        *guard_lines(standing.measured, RULES),
        f"  Bounds hold at every look and for every guard at once, {LEVEL:.0%} sure.",
        "",
        f"next: {next_step(brand, standing)}",
    ]
    return [*lines, f"      looked at again {_moment(standing.looks_next_ms)}"]


def next_step(brand: Brand, standing: Standing) -> str:
    """What comes next, in words."""
    step = NEXT[standing.move.reason]
    match standing.move.reason:
        case Reason.PASSED:
            return f"{step} to {words(standing.move.stage.value)}, {_who(brand)}"
        case Reason.TOO_FEW_DECISIONS:
            return f"{step}: {standing.measured.decisions:,} of {RULES.decisions:,}"
        case _:
            return step


def words(code: str) -> str:
    """A code in words: ``ramp_5`` is ``ramp 5``."""
    return code.replace("_", " ")


def _who(brand: Brand) -> str:
    return "by itself" if brand.policy.models.ramp == "automatic" else "with offer-engine promote"


def _moment(at_ms: int) -> str:
    return as_text(at_ms)[:16].replace("T", " ") + " UTC"
