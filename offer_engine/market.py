"""A market that exists nowhere, whose truth is known: what a policy earns in it can be held against what is estimated.

Shoppers come back (a subject decides more than once, and is alike each time), offers differ in what they please whom, purchases
are learned of late, tastes drift, offers appear in the middle, and a budget runs out. Nothing in it is data of anybody.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from offer_engine.exploration import Exploration, choose
from offer_engine.features import Matrix, Vector

Integers = npt.NDArray[np.int64]

NO_OFFER: Final = "no_offer"
NOW_MS: Final = 1_795_000_000_000
STEP_MS: Final = 60_000
CONTEXT_NAMES: Final = ("purchases_365d", "offers_declined_30d", "hour_of_day", "verification_level")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a market is like.

    ``delay`` is how many rounds later a purchase is learned of; ``newcomers`` of the offers appear only half-way; ``drift`` is
    how far tastes have moved at the end; ``budget`` is how often each offer may be made (0: no limit).
    """

    arms: int = 12
    contexts: int = len(CONTEXT_NAMES)
    rounds: int = 20_000
    subjects: int = 2_000
    delay: int = 0
    drift: float = 0.0
    newcomers: int = 0
    budget: int = 0
    loyalty: float = 0.5


@dataclass(frozen=True, slots=True)
class Market:
    """The truth. Arm 0 is no offer. A shopper's purchase is a coin with ``chances``."""

    shape: Shape
    tastes: Matrix
    later_tastes: Matrix
    base: Vector
    subject_context: Matrix
    subject_mood: Vector

    @classmethod
    def made(cls, shape: Shape, seed: int) -> "Market":
        """A market drawn from a seed."""
        rng = np.random.default_rng(seed)
        tastes = rng.normal(0, 1.0, (shape.arms, shape.contexts))
        turned = rng.normal(0, 1.0, (shape.arms, shape.contexts))
        return cls(
            shape=shape,
            tastes=tastes,
            later_tastes=tastes + shape.drift * turned,
            base=np.concatenate([[-2.0], rng.normal(-1.4, 0.4, shape.arms - 1)]),
            subject_context=rng.normal(0, 1.0, (shape.subjects, shape.contexts)),
            subject_mood=rng.normal(0, shape.loyalty, shape.subjects),
        )

    def chances(self, round_number: int, subject: int, context: Vector) -> Vector:
        """The probability that the shopper buys, for each arm."""
        moved = round_number / max(self.shape.rounds, 1)
        tastes = (1 - moved) * self.tastes + moved * self.later_tastes
        chances: Vector = 1 / (1 + np.exp(-(self.base + tastes @ context + self.subject_mood[subject])))
        return chances

    def available(self, round_number: int, made: Integers) -> npt.NDArray[np.bool_]:
        """Which arms may be chosen: newcomers from half-way on, and those whose budget is left. No offer always may."""
        there = np.ones(self.shape.arms, dtype=np.bool_)
        if self.shape.newcomers and round_number < self.shape.rounds // 2:
            there[-self.shape.newcomers :] = False
        if self.shape.budget:
            there &= made < self.shape.budget
        there[0] = True
        return there


class Player:
    """A policy that plays a market: propensities for the arms that are there, and what it is told, late."""

    name = "random"

    def propensities(self, context: Vector, arms: Integers) -> Vector:
        """The probability of each of these arms."""
        return np.full(arms.size, 1 / arms.size)

    def learn(self, context: Vector, arm: int, reward: float) -> None:
        """A reward that has become known."""


class FixedPlayer(Player):
    """Always one arm; no offer where that one is not there."""

    def __init__(self, arm: int) -> None:
        self.name = f"fixed {arm}"
        self._arm = arm

    def propensities(self, context: Vector, arms: Integers) -> Vector:
        """All on the arm."""
        wanted = arms == self._arm
        return np.where(wanted if wanted.any() else arms == 0, 1.0, 0.0)


class LinearPlayer(Player):
    """Ridge regression by arm. An exploration makes propensities of its scores; without one it is LinUCB."""

    def __init__(
        self, shape: Shape, exploration: Exploration | None, optimism: float = 1.0, forget: float = 1.0
    ) -> None:
        self.name = "LinUCB" if exploration is None else f"linear, {exploration.kind.value}"
        self._exploration, self._optimism, self._forget = exploration, optimism, forget
        width = shape.contexts + 1
        self._inverse = np.repeat(np.eye(width)[None], shape.arms, axis=0)
        self._moment = np.zeros((shape.arms, width))

    def propensities(self, context: Vector, arms: Integers) -> Vector:
        """The exploration's vector, or all on the best upper bound."""
        x = np.concatenate([[1.0], context])
        inverse = self._inverse[arms]
        scores = np.einsum("aij,aj,i->a", inverse, self._moment[arms], x)
        if self._exploration is not None:
            return self._exploration.propensities(scores)
        scores += self._optimism * np.sqrt(np.einsum("i,aij,j->a", x, inverse, x))
        return np.where(np.arange(arms.size) == scores.argmax(), 1.0, 0.0)

    def learn(self, context: Vector, arm: int, reward: float) -> None:
        """Sherman and Morrison; with ``forget`` below 1 the past fades."""
        x = np.concatenate([[1.0], context])
        inverse = self._inverse[arm] / self._forget
        moved = inverse @ x
        self._inverse[arm] = inverse - np.outer(moved, moved) / (1 + x @ moved)
        self._moment[arm] = self._forget * self._moment[arm] + reward * x


class OraclePlayer(Player):
    """Knows the truth; the bound for everybody else."""

    name = "oracle"

    def __init__(self) -> None:
        self.chances: Vector = np.zeros(0)

    def propensities(self, context: Vector, arms: Integers) -> Vector:
        """All on the arm with the best chance."""
        chances = self.chances[arms]
        return np.where(np.arange(arms.size) == chances.argmax(), 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Round:
    """One decision of a play, and the truth about it. ``chances`` are those of the arms that were there."""

    number: int
    subject: int
    context: Vector
    arms: Integers
    propensities: Vector
    draw: float
    place: int
    bought: bool
    chances: Vector

    @property
    def expected(self) -> float:
        """What the player's vector earns on average here."""
        return float(self.propensities @ self.chances)


def play(market: Market, player: Player, seed: int) -> Iterator[Round]:
    """The market's rounds under a player. Shoppers, contexts and coins depend on the seed alone, not on the player."""
    shape = market.shape
    rng = np.random.default_rng(seed)
    made = np.zeros(shape.arms, dtype=np.int64)
    waiting: deque[tuple[int, Vector, int, float]] = deque()
    for number in range(shape.rounds):
        while waiting and waiting[0][0] <= number:
            _, context, arm, reward = waiting.popleft()
            player.learn(context, arm, reward)
        subject = int(rng.integers(shape.subjects))
        context = market.subject_context[subject] + rng.normal(0, 0.3, shape.contexts)
        draw, coin = rng.random(2)
        arms = np.flatnonzero(market.available(number, made))
        chances = market.chances(number, subject, context)
        if isinstance(player, OraclePlayer):
            player.chances = chances
        vector = player.propensities(context, arms)
        place = choose(vector, draw)
        arm = int(arms[place])
        made[arm] += 1
        bought = bool(coin < chances[arm])
        waiting.append((number + 1 + shape.delay, context, arm, float(bought)))
        yield Round(number, subject, context, arms, vector, float(draw), place, bought, chances[arms])


def arm_name(arm: int) -> str:
    """The offer that an arm stands for."""
    return NO_OFFER if arm == 0 else f"offer-{arm}"


def record(played: Round, policy: str, learned_ms: int = 3_600_000) -> dict[str, Any]:
    """The round as a decision record, as the engine exports them; all margins are 1,000 minor units."""
    decided_ms = NOW_MS + played.number * STEP_MS
    return {
        "decision_id": f"off_{played.number}",
        "decided_ms": decided_ms,
        "brand": "market",
        "subject": f"psn_{played.subject}",
        "session": f"s{played.number}",
        "verification": "anonymous",
        "policy": policy,
        "policy_hash": "market",
        "model_hash": None,
        "feature_schema": None,
        "exploration": "by its player" if played.propensities.min() > 0 else "none",
        "draw": played.draw,
        "context": {
            "currency": "USD",
            "subtotal_minor": 5_000,
            "now_ms": decided_ms,
            "lines": [["variant", 1, 5_000]],
            "features": dict(zip(CONTEXT_NAMES, played.context.tolist(), strict=False)),
        },
        "candidates": [
            {
                "offer": arm_name(int(arm)),
                "version": 1 if arm else 0,
                "discount_minor": 500 if arm else 0,
                "margin_minor": 1_000,
                "expires_ms": None,
                "score": 0.0,
                "propensity": propensity,
                "features": {"discount_minor": 500.0} if arm else {},
            }
            for arm, propensity in zip(played.arms, played.propensities.tolist(), strict=True)
        ],
        "excluded": [],
        "chosen": arm_name(int(played.arms[played.place])),
        "slot": "chat",
        "presented_ms": decided_ms,
        "presentation": {"channel": "chat", "by": "template", "verdict": "grounded"},
        "outcomes": [
            {
                "type": "purchased",
                "value_minor": 4_500,
                "at_ms": decided_ms + learned_ms,
                "recorded_ms": decided_ms + learned_ms,
                "key": f"order-{played.number}",
            }
        ]
        if played.bought
        else [],
    }


def lines(market: Market, player: Player, seed: int) -> Iterator[str]:
    """A play as exported JSON lines."""
    return (json.dumps(record(played, player.name)) for played in play(market, player, seed))


@dataclass(slots=True)
class Curve:
    """Expected reward, and regret against the best arm of each round, added up; ``points`` at every hundredth of the rounds."""

    name: str
    earned: float = 0.0
    regret: float = 0.0
    rounds: int = 0
    points: list[tuple[int, float]] = field(default_factory=list)


def curve(market: Market, player: Player, seed: int, done: Callable[[int], None] = lambda _: None) -> Curve:
    """What a player earns in a market."""
    drawn = Curve(player.name)
    step = max(market.shape.rounds // 100, 1)
    for played in play(market, player, seed):
        drawn.earned += played.expected
        drawn.regret += float(played.chances.max()) - played.expected
        drawn.rounds += 1
        if drawn.rounds % step == 0:
            drawn.points.append((drawn.rounds, drawn.regret))
            done(drawn.rounds)
    return drawn
