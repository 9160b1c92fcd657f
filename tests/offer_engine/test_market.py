"""In a market with a known truth learning pays, survives delay where a deterministic policy does not."""

from dataclasses import replace

import numpy as np
import pytest

from offer_engine.exploration import Exploration, ExplorationKind
from offer_engine.market import Curve, FixedPlayer, LinearPlayer, Market, OraclePlayer, Player, Shape, curve, play

SHAPE = Shape(arms=6, rounds=3_000, subjects=300)
SQUARECB = Exploration(ExplorationKind.SQUARECB, sharpness=300.0)


def played(shape: Shape, player: Player, seed: int = 2) -> Curve:
    return curve(Market.made(shape, seed), player, seed)


def test_who_learns_earns_more_than_random_and_the_best_fixed_offer_and_less_than_the_oracle() -> None:
    learned = played(SHAPE, LinearPlayer(SHAPE, SQUARECB)).earned
    fixed = max(played(SHAPE, FixedPlayer(arm)).earned for arm in range(SHAPE.arms))
    assert played(SHAPE, Player()).earned < fixed < learned < played(SHAPE, OraclePlayer()).earned


def test_learning_survives_a_delay_that_a_deterministic_policy_does_not() -> None:
    late = replace(SHAPE, delay=1_000)
    random = played(late, Player()).earned
    assert played(late, LinearPlayer(late, SQUARECB)).earned > 1.2 * random
    assert played(late, LinearPlayer(late, None)).earned < 1.1 * random


def test_who_forgets_keeps_up_with_a_drift() -> None:
    moving = replace(SHAPE, drift=3.0, rounds=6_000)
    keeps, forgets = (LinearPlayer(moving, SQUARECB, forget=forget) for forget in (1.0, 0.995))
    assert played(moving, forgets).regret < played(moving, keeps).regret


def test_offers_that_appear_late_and_budgets_that_run_out_are_kept() -> None:
    shape = replace(SHAPE, newcomers=2, budget=250)
    made = np.zeros(shape.arms, dtype=int)
    for round_ in play(Market.made(shape, 1), LinearPlayer(shape, SQUARECB), seed=1):
        assert round_.number >= shape.rounds // 2 or round_.arms.max() < shape.arms - 2
        made[round_.arms[round_.place]] += 1
    assert made[1:].max() == 250
    assert made[-2:].min() > 0


@pytest.mark.parametrize("player", [Player(), OraclePlayer(), FixedPlayer(1)])
def test_the_shoppers_and_their_coins_are_the_same_whoever_plays(player: Player) -> None:
    market = Market.made(replace(SHAPE, rounds=50), 1)
    for one, other in zip(play(market, player, seed=3), play(market, Player(), seed=3), strict=True):
        assert (one.subject, one.draw) == (other.subject, other.draw)
        np.testing.assert_array_equal(one.chances, other.chances)


def test_a_planted_player_that_peeks_at_rewards_at_once_is_told_from_one_that_waits() -> None:
    at_once, late = (replace(SHAPE, delay=delay) for delay in (0, 1_000))
    assert played(at_once, LinearPlayer(at_once, SQUARECB)).regret < played(late, LinearPlayer(late, SQUARECB)).regret
