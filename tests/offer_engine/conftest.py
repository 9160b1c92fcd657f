"""A small market's log, and boosted trees of it."""

import pytest

from offer_engine.features import DEFAULT_SCHEMA
from offer_engine.learning import gbdt
from offer_engine.learning.rewards import DAY_MS, RewardRule
from offer_engine.learning.training import Source
from offer_engine.market import NOW_MS, Market, Player, Shape, lines

SHAPE = Shape(arms=3, rounds=3_000, subjects=900)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A log of a small market."""
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    path.write_text("\n".join(lines(Market.made(SHAPE, seed=11), Player(), seed=5)), encoding="utf-8")
    return Source((path,), DEFAULT_SCHEMA, RewardRule(), NOW_MS + 365 * DAY_MS)


@pytest.fixture(scope="module")
def trained(source: Source) -> gbdt.Trained:
    """The trees of that log."""
    return gbdt.train(source)
