"""A card's numbers are of the decisions they say, whoever read them and in how many parts."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offer_engine.features import DEFAULT_SCHEMA, Matrix, Vector
from offer_engine.learning import summary as module
from offer_engine.learning.log import Arms, Batch, Integers
from offer_engine.learning.summary import Summary, SummaryInvalid
from offer_engine.learning.training import Source, count
from offer_engine.market import NOW_MS

WIDTH = DEFAULT_SCHEMA.width


class Knows:
    """Expects of each row the value of its second column."""

    def expects(self, features: Matrix, arm: Integers, arms: Arms) -> Vector:
        return features[:, 1]


def batch(arms: Arms, seed: int, size: int = 400) -> tuple[Batch, np.typing.NDArray[np.bool_]]:
    """Decisions whose reward is their second column and noise; about a third is held out."""
    rng = np.random.default_rng(seed)
    features = rng.random((size, WIDTH))
    each = np.array([arms.code(f"offer-{number}", 0) for number in rng.integers(5, size=size)])
    made = Batch(
        counts=np.ones(size, dtype=np.int64),
        chosen=np.arange(size),
        reward=features[:, 1] + rng.normal(0, 0.1, size),
        subject=rng.integers(2**63, size=size, dtype=np.uint64),
        decided_ms=NOW_MS + np.arange(size),
        features=features,
        arm=each,
        propensity=np.ones(size),
        preferred=np.ones(size),
    )
    return made, rng.random(size) < 0.7


def whole(seeds: list[int]) -> Summary:
    found = Summary(WIDTH, Arms())
    for seed in seeds:
        found.add(*batch(found.arms, seed))
    return found


def test_trained_and_held_out_are_apart_and_together_all() -> None:
    found = Summary(WIDTH, Arms())
    made, trained = batch(found.arms, 1)
    found.add(made, trained)
    assert found.decisions.sum() == trained.sum()
    assert len(found.held_out) == found.held_out_decisions == (~trained).sum()
    np.testing.assert_allclose(sorted(found.held_out[:, -1]), sorted(made.reward[~trained]), rtol=1e-6)
    assert sum(number for number, _ in found.by_offer().values()) == trained.sum()


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 50), min_size=2, max_size=6, unique=True), st.randoms(use_true_random=False))
def test_parts_in_any_order_make_the_summary_of_the_whole(seeds: list[int], shuffled: Random) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HELD_OUT_ROWS", 200)
        together = whole(seeds)
        parts = [Summary.from_bytes(whole([seed]).to_bytes(), WIDTH) for seed in seeds]
        shuffled.shuffle(parts)
        first, *others = parts
        for other in others:
            first.merge(other)
    assert len(first.held_out) == min(200, together.held_out_decisions)
    assert first.held_out_decisions == together.held_out_decisions
    np.testing.assert_array_equal(np.sort(first.keys), np.sort(together.keys))
    assert first.by_offer().keys() == together.by_offer().keys()
    for name, [number, mean] in together.by_offer().items():
        assert first.by_offer()[name] == pytest.approx([number, mean])
    assert first.metrics(Knows()) == pytest.approx(together.metrics(Knows()))


def test_the_sample_is_as_likely_from_the_beginning_as_from_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_OUT_ROWS", 1_000)
    found = Summary(WIDTH, Arms())
    for seed in range(40):
        made, _ = batch(found.arms, seed)
        made.reward[:] = seed
        found.add(made, np.zeros(400, dtype=np.bool_))
    assert len(found.held_out) == 1_000
    assert found.held_out[:, -1].mean() == pytest.approx(19.5, abs=1.5)


def test_a_model_that_knows_is_calibrated_and_one_that_does_not_is_not() -> None:
    found = whole(list(range(10)))
    metrics, tenths = found.metrics(Knows()), found.calibration(Knows())
    assert metrics["rmse"] == pytest.approx(0.1, abs=0.01)
    assert metrics["rmse_of_the_mean"] == pytest.approx(0.3, abs=0.03)
    assert [row[0] for row in tenths] == sorted(row[0] for row in tenths)
    assert all(expected == pytest.approx(seen, abs=0.03) for expected, seen, _ in tenths)
    assert sum(row[2] for row in tenths) == len(found.held_out)

    class Planted(Knows):
        def expects(self, features: Matrix, arm: Integers, arms: Arms) -> Vector:
            return super().expects(features, arm, arms) ** 4

    assert any(abs(expected - seen) > 0.2 for expected, seen, _ in found.calibration(Planted()))


def test_held_out_subjects_are_none_that_were_trained_on(source: Source) -> None:
    alone = count(Source(source.paths, source.schema, source.rule, source.now_ms, (0, 70)))
    others = count(Source(source.paths, source.schema, source.rule, source.now_ms, (70, 100)))
    assert alone.statistics.rows.sum() == alone.summary.decisions.sum() == others.summary.held_out_decisions
    assert alone.summary.held_out_decisions == others.statistics.rows.sum() > 0


@pytest.mark.parametrize("data", [b"", b"PK", whole([1]).to_bytes()[:-400], whole([1]).to_bytes().replace(b"0", b"1")])
def test_bytes_that_are_no_summary_are_refused(data: bytes) -> None:
    with pytest.raises(SummaryInvalid):
        Summary.from_bytes(data, WIDTH)


def test_a_summary_of_other_columns_is_refused() -> None:
    with pytest.raises(SummaryInvalid):
        Summary.from_bytes(whole([1]).to_bytes(), WIDTH + 1)
