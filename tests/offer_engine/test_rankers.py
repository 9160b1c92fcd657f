"""A learned ranker draws with the probabilities it logs, is the one its name says, and keeps nobody waiting."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offer_engine.decide import Catalogue, decide
from offer_engine.exploration import Exploration, ExplorationKind
from offer_engine.features import DEFAULT_SCHEMA, assemble, category_number, context_features, offer_features
from offer_engine.learning.linear import LinearModel, ModelInvalid, Statistics, fit
from offer_engine.learning.log import Arms, Reading
from offer_engine.learning.rankers import LinearRanker, load_ranker
from offer_engine.learning.registry import Change, HistoryMoved, ModelKind, ModelMissing, Registry
from offer_engine.learning.rewards import DAY_MS, RewardRule
from offer_engine.offers import NO_OFFER, ContextLine, Offer, OfferKind
from tests.offer_engine.test_decide import NOW_MS, catalogues, context, lines


def offer(name: str, category: str, percent: int) -> Offer:
    return Offer(
        name, 1, name, OfferKind.PERCENT_OFF, "USD", percent_basis_points=percent, categories=frozenset({category})
    )


TEA = ContextLine("v", "p", frozenset({"tea"}), 5_000, 1)
TWO = [offer("small", "tea", 500), offer("large", "tea", 2_000)]


def model(seed: int = 1) -> LinearModel:
    """Fitted on a few hundred made-up rewards: large is taken, small is not."""
    statistics = Statistics(DEFAULT_SCHEMA.width, Arms())
    rng = np.random.default_rng(seed)
    for name, taken in (("small", 0.1), ("large", 0.6), (NO_OFFER, 0.05)):
        code = statistics.arms.code(name, category_number("tea") if name != NO_OFFER else 0)
        statistics.grow()
        x = rng.normal(0, 0.1, (300, DEFAULT_SCHEMA.width)) + np.eye(1, DEFAULT_SCHEMA.width)
        y = (rng.random(300) < taken).astype(np.float64)
        statistics.gram[code], statistics.moment[code] = x.T @ x, x.T @ y
        statistics.square[code], statistics.rows[code] = y @ y, 300
    return fit(statistics, DEFAULT_SCHEMA)


MODEL = model()
RANKER = LinearRanker(MODEL, "a" * 64, Exploration(ExplorationKind.SOFTMAX, sharpness=10.0, floor=0.05))


@settings(deadline=None)
@given(lines, catalogues, st.floats(0, 1, exclude_max=True))
def test_every_candidate_and_no_offer_has_its_floor_and_the_vector_is_whole(
    over: tuple[ContextLine, ...], catalogue: list[Offer], draw: float
) -> None:
    decision = decide(context(over), Catalogue(catalogue), RANKER, draw)
    propensities = [scored.propensity for scored in decision.ranked]
    assert abs(sum(propensities) - 1) < 1e-9
    assert min(propensities) >= min(0.05, 0.5 / len(propensities)) * 0.999_999
    assert NO_OFFER in [scored.name for scored in decision.ranked]
    assert [scored.score for scored in decision.ranked] == sorted((s.score for s in decision.ranked), reverse=True)
    assert decide(context(over), Catalogue(catalogue[::-1]), RANKER, draw).chosen.name == decision.chosen.name


def test_offers_are_drawn_as_often_as_the_record_says() -> None:
    draws = (np.arange(2_000) + 0.5) / 2_000
    decisions = [decide(context((TEA,)), Catalogue(TWO), RANKER, draw) for draw in draws]
    for scored in decisions[0].ranked:
        drawn = sum(decision.chosen.name == scored.name for decision in decisions) / 2_000
        assert drawn == pytest.approx(scored.propensity, abs=1 / 1_000)
    assert decisions[0].ranked[0].name == "large"


def test_a_record_can_be_learned_from() -> None:
    decision = decide(context((TEA,)), Catalogue(TWO), RANKER, 0.3)
    record = {**decision.record(), "decided_ms": NOW_MS, "presented_ms": NOW_MS, "outcomes": []}
    reading = Reading(DEFAULT_SCHEMA, RewardRule(), NOW_MS + 60 * DAY_MS)
    [batch] = reading.batches([json.dumps(record)])
    assert (record["exploration"], record["model_hash"]) == ("softmax", "a" * 64)
    assert record["feature_schema"] == DEFAULT_SCHEMA.hash
    known = {name: np.array([value], dtype=np.float64) for name, value in context_features(context((TEA,))).items()}
    offers = [scored.offer for scored in decision.ranked if scored.offer]
    place = [scored.name for scored in decision.ranked].index(NO_OFFER)
    columns = {name: np.insert(each, place, 0.0) for name, each in offer_features(context((TEA,)), offers).items()}
    np.testing.assert_array_equal(batch.features, assemble(DEFAULT_SCHEMA, known, columns, np.array([3])))
    assert batch.propensity.tolist() == [scored.propensity for scored in decision.ranked]
    assert reading.arms.names[batch.arm[batch.chosen[0]]] == decision.chosen.name


ABOUT: dict[str, Any] = {
    "trained_ms": NOW_MS,
    "trained_by": "a test",
    "data_from_ms": NOW_MS - DAY_MS,
    "data_until_ms": NOW_MS,
    "decisions": 900,
    "left_out": {"immature": 3},
    "measure": "conversion",
    "features": [feature.name for feature in DEFAULT_SCHEMA.features],
    "schema_hash": DEFAULT_SCHEMA.hash,
    "offers": 3,
}


def test_a_ranker_is_the_model_that_its_name_says(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    card = registry.add(MODEL.to_bytes(), ModelKind.LINEAR, ABOUT)
    ranker = load_ranker(registry, registry.find(card.model[:8]), RANKER.rule)
    assert ranker.version == card.model[:16]
    assert ranker.rank(context((TEA,)), TWO) == RANKER.rank(context((TEA,)), TWO)
    assert registry.add(MODEL.to_bytes(), ModelKind.LINEAR, {**ABOUT, "trained_by": "somebody else"}) == card
    assert registry.cards() == [card]


def test_a_model_s_file_that_was_changed_is_not_loaded(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    card = registry.add(MODEL.to_bytes(), ModelKind.LINEAR, ABOUT)
    path = tmp_path / "models" / f"{card.model}.npz"
    path.write_bytes(model(seed=2).to_bytes())
    with pytest.raises(ModelInvalid):
        registry.load(card.model)
    path.unlink()
    with pytest.raises(ModelMissing):
        registry.load(card.model)


@pytest.mark.parametrize("name", ["", "b" * 64, "../../etc/passwd", "A" * 64, "a" * 63])
def test_a_model_that_is_not_there_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelMissing):
        Registry(tmp_path).load(name)


def test_the_history_only_grows_and_survives_a_line_that_was_cut_short(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    assert registry.history() == []
    first, second = (Change(NOW_MS + n, "a" * 64, "canary", "ops", "a test") for n in range(2))
    registry.record(first)
    with (tmp_path / "history.jsonl").open("a", encoding="utf-8") as history:
        history.write(json.dumps(asdict(second))[:40])
    assert registry.history() == [first]
    registry.record(second)
    assert registry.history() == [first, second]


def test_of_several_that_add_a_line_behind_the_same_one_one_does(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    changes = [Change(NOW_MS + n, "a" * 64, "canary", f"ops {n}", "a test") for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        added = [
            future.exception() is None for future in [pool.submit(registry.record_after, c, None) for c in changes]
        ]
    assert added.count(True) == 1
    [line] = registry.history()
    assert line == changes[added.index(True)]
    with pytest.raises(HistoryMoved):
        registry.record_after(changes[0], None)
    registry.record_after(changes[1], line)
    assert registry.history() == [line, changes[1]]
