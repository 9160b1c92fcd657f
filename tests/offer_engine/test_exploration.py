"""What is logged as a probability is the probability: closed form, floored, whole, and the one that is drawn from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offer_engine import exploration
from offer_engine.exploration import Exploration, ExplorationKind, choose, effective_floor

score_lists = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80)
rules = st.builds(
    Exploration,
    kind=st.sampled_from(ExplorationKind),
    sharpness=st.floats(0, 1e6),
    floor=st.floats(exploration.MINIMUM_FLOOR, 0.5),
)


@given(rules, score_lists)
def test_every_arm_keeps_its_floor_and_the_vector_is_whole(rule: Exploration, scores: list[float]) -> None:
    vector = rule.propensities(np.array(scores))
    assert vector.dtype == np.float64
    assert abs(vector.sum() - 1) < 1e-12
    assert (vector >= effective_floor(rule.floor, len(scores)) * (1 - 1e-12)).all()
    assert vector[np.argmax(scores)] >= vector.max() - 1e-12


@given(rules, score_lists)
def test_the_order_in_which_offers_come_changes_nothing(rule: Exploration, scores: list[float]) -> None:
    order = np.random.default_rng(len(scores)).permutation(len(scores))
    there = rule.propensities(np.array(scores))
    back = rule.propensities(np.array(scores)[order])
    np.testing.assert_allclose(back, there[order], rtol=1e-9, atol=1e-15)


@given(rules, score_lists)
def test_a_better_score_is_never_less_likely(rule: Exploration, scores: list[float]) -> None:
    vector = rule.propensities(np.array(scores))
    by_score = vector[np.argsort(scores)]
    assert (np.diff(by_score) >= -1e-12).all()


@given(rules, st.lists(st.tuples(*[st.floats(-10, 10)] * 4), min_size=1, max_size=5))
def test_many_decisions_at_once_are_each_as_by_itself(rule: Exploration, scores: list[tuple[float, ...]]) -> None:
    together = rule.propensities(np.array(scores))
    for row, alone in zip(together, scores, strict=True):
        np.testing.assert_allclose(row, rule.propensities(np.array(alone)), rtol=1e-12)


@pytest.mark.parametrize("kind", list(ExplorationKind))
def test_offers_are_drawn_as_often_as_the_log_says(kind: ExplorationKind) -> None:
    vector = Exploration(kind, sharpness=8.0, floor=0.02).propensities(np.array([0.3, 0.1, 0.3, -0.2, 0.0]))
    draws = (np.arange(20_000) + 0.5) / 20_000  # evenly spread: the frequencies are exact to one in 20,000
    drawn = np.bincount([choose(vector, draw) for draw in draws], minlength=5) / 20_000
    np.testing.assert_allclose(drawn, vector, atol=1 / 20_000)


@given(rules, score_lists, st.floats(0, 1, exclude_max=True))
def test_a_draw_always_finds_an_arm_that_can_be_chosen(rule: Exploration, scores: list[float], draw: float) -> None:
    vector = rule.propensities(np.array(scores))
    assert vector[choose(vector, draw)] > 0


def test_an_arm_with_no_probability_is_never_drawn() -> None:
    vector = np.array([0.0, 0.5, 0.0, 0.5, 0.0])
    assert {choose(vector, draw) for draw in np.linspace(0, 1, 101)[:-1]} == {1, 3}


@pytest.mark.parametrize("scores", [[], [float("nan"), 0.0], [float("inf")]])
def test_scores_that_are_no_scores_are_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one arm"):
        Exploration().propensities(np.array(scores, dtype=np.float64))


@pytest.mark.parametrize("floor", [0.0, 0.009, 0.6, float("nan")])
def test_a_floor_that_would_spoil_the_log_is_refused(floor: float) -> None:
    with pytest.raises(ValueError, match="floor"):
        Exploration(floor=floor)


@pytest.mark.parametrize("sharpness", [-1.0, float("inf"), float("nan")])
def test_a_sharpness_that_is_no_number_is_refused(sharpness: float) -> None:
    with pytest.raises(ValueError, match="sharpness"):
        Exploration(sharpness=sharpness)


def test_a_planted_lost_floor_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploration, "effective_floor", lambda floor, arms: 0.0)
    vector = Exploration(ExplorationKind.SOFTMAX, sharpness=1e6).propensities(np.array([0.0, 1.0]))
    assert vector.min() < effective_floor(0.02, 2)
