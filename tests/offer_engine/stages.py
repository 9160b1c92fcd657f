"""A stage of a model in the market: shoppers are on a side by their hash, and either policy earns what it would have earned."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from offer_engine.judging.promotion import Side, Stage, side
from offer_engine.market import FixedPlayer, Market, Player, Shape, play, record

MODEL = "a" * 64
HOUR_MS = 3_600_000


def by_worth(of: Market) -> list[int]:
    """The market's arms, the one that earns least first."""
    earned = np.mean([played.chances for played in play(of, Player(), seed=1)], axis=0)
    return [int(arm) for arm in np.argsort(earned)]


@dataclass(frozen=True)
class Staged:
    """Whose decisions, in which market, at which stage; ``name`` is the model's."""

    market: Market
    model: Player
    incumbent: Player
    stage: Stage = Stage.RAMP_50
    name: str = MODEL

    def records(self, seed: int) -> Iterator[dict[str, Any]]:
        """The decisions of the stage, as exported."""
        both = zip(
            play(self.market, self.model, seed),
            play(self.market, self.incumbent, seed),
            play(self.market, Player(), seed),
            strict=True,
        )
        for by_model, by_incumbent, by_chance in both:
            match side(f"psn_{seed}_{by_model.subject}", self.name, self.stage):
                case Side.MODEL:
                    found = {**record(by_model, f"linear:{self.name[:16]}"), "model_hash": self.name}
                case Side.INCUMBENT:
                    found = record(by_incumbent, "priority:1")
                case Side.HOLD_OUT:
                    found = {**record(by_chance, "chance:1"), "exploration": "uniform"}
            yield {**found, "subject": f"psn_{seed}_{by_model.subject}"}


def stark(rounds: int) -> Market:
    """A market in which one arm, the last, pleases nearly everybody and the others nearly nobody."""
    shape = Shape(arms=4, rounds=rounds, subjects=rounds)
    made = Market.made(shape, seed=11)
    return replace(
        made, base=np.array([-2.5, -2.5, -2.5, 2.5]), tastes=0.1 * made.tastes, later_tastes=0.1 * made.tastes
    )


def fixed(of: Market, place: int) -> FixedPlayer:
    """Always the arm in this place by worth: 0 earns least, -1 most."""
    return FixedPlayer(by_worth(of)[place])
