"""Boosted trees are an extra: they bend where a linear model cannot, and without the library say how to get it."""

import sys
from pathlib import Path

import numpy as np
import pytest

from offer_engine.exploration import Exploration
from offer_engine.features import DEFAULT_SCHEMA
from offer_engine.learning import gbdt
from offer_engine.learning.gbdt import BoostedModel, BoostedPolicy, ExtraMissing, TooFewRows
from offer_engine.learning.linear import ModelInvalid
from offer_engine.learning.log import Batch
from offer_engine.learning.training import Source


def batch_of(source: Source, trained: gbdt.Trained) -> Batch:
    [batch] = source.reading().batches(source.paths[0].read_text(encoding="utf-8").splitlines(), size=10_000)
    return batch


def test_trees_expect_more_where_more_was_bought(source: Source, trained: gbdt.Trained) -> None:
    batch, arms = batch_of(source, trained), trained.reading.arms
    scores = trained.model.scores(batch, arms)[batch.chosen]
    high = scores > np.median(scores)
    assert batch.reward[high].mean() > batch.reward[~high].mean() + 0.2
    assert scores.mean() == pytest.approx(batch.reward.mean(), abs=0.02)


def test_a_policy_of_trees_has_exact_propensities(source: Source, trained: gbdt.Trained) -> None:
    batch, arms = batch_of(source, trained), trained.reading.arms
    vector = BoostedPolicy(trained.model, Exploration(floor=0.05)).probabilities(batch, arms)
    np.testing.assert_allclose(np.add.reduceat(vector, batch.starts), 1.0)
    assert vector.min() >= 0.05 * 0.999_999


def test_trees_survive_their_file_and_score_the_same(source: Source, trained: gbdt.Trained) -> None:
    batch, arms = batch_of(source, trained), trained.reading.arms
    again = BoostedModel.from_bytes(trained.model.to_bytes())
    np.testing.assert_array_equal(again.scores(batch, arms), trained.model.scores(batch, arms))
    assert b"psn_" not in trained.model.to_bytes()


def test_an_offer_that_trees_never_saw_has_a_score(trained: gbdt.Trained) -> None:
    rows = gbdt.with_offers(np.zeros((1, DEFAULT_SCHEMA.width)), trained.model.places(["hat"]))
    assert rows[0, -1] == -1
    assert np.isfinite(trained.model.predict(rows)).all()


@pytest.mark.parametrize("cut", ["", "{}\ntree", "[]", '{"format": "other", "schema": [], "offers": []}\n'])
def test_a_file_that_is_no_boosted_model_is_refused(cut: str) -> None:
    with pytest.raises(ModelInvalid):
        BoostedModel.from_bytes(cut.encode())


def test_trees_of_other_columns_than_the_schema_s_are_refused(trained: gbdt.Trained) -> None:
    first, _, text = trained.model.to_bytes().partition(b"\n")
    planted = first.replace(b'{"buckets": 0, "form": "number", "name": "margin_share", "scale": 1.0}', b"")
    assert planted != first
    with pytest.raises(ModelInvalid):
        BoostedModel.from_bytes(planted.replace(b", ]", b"]") + b"\n" + text)


def test_without_the_library_it_says_how_to_get_it(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ExtraMissing, match=r"pip install 'cordon\[offers\]'"):
        gbdt.train(source)


def test_too_few_decisions_for_trees_are_refused(source: Source, tmp_path: Path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(source.paths[0].read_text(encoding="utf-8").splitlines()[:50]), encoding="utf-8")
    with pytest.raises(TooFewRows, match="there are 50"):
        gbdt.train(Source((few,), source.schema, source.rule, source.now_ms))
