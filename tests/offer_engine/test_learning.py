"""Rewards come late and are taken back; a log is read in batches or not at all; models borrow, add up, hold nobody."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.market_log import block
from offer_engine.exploration import choose
from offer_engine.features import DEFAULT_SCHEMA, Feature, Schema, SchemaRefused
from offer_engine.learning import rewards
from offer_engine.learning.linear import LinearModel, ModelInvalid, Priors, Statistics, fit
from offer_engine.learning.log import Arms, Batch, LogInvalid, Reading
from offer_engine.learning.rewards import DAY_MS, Delays, Measure, RewardRule, Unknown
from offer_engine.market import CONTEXT_NAMES, NOW_MS, Market, Player, Round, Shape, lines, record

SCHEMA = Schema(tuple(Feature(name) for name in CONTEXT_NAMES))
LATER_MS = NOW_MS + 365 * DAY_MS
RULE = RewardRule()
MARKET = Market.made(Shape(arms=4, rounds=600, subjects=80), seed=3)
LOG = list(lines(MARKET, Player(), seed=4))


def decision(**changes: Any) -> dict[str, Any]:
    """The first decision of the market, bought by nobody yet."""
    return {**json.loads(LOG[0]), "outcomes": [], **changes}


def outcome(
    kind: str, days: float, key: str = "", recorded_days: float | None = None, value_minor: int = 4_500
) -> dict[str, Any]:
    at_ms = NOW_MS + int(days * DAY_MS)
    recorded_ms = at_ms if recorded_days is None else NOW_MS + int(recorded_days * DAY_MS)
    return {
        "type": kind,
        "value_minor": value_minor,
        "at_ms": at_ms,
        "recorded_ms": recorded_ms,
        "key": key or f"{kind} {days}",
    }


@pytest.mark.parametrize(
    ("outcomes", "reward"),
    [
        ([], 0.0),
        ([outcome("shown", 0), outcome("declined", 0.1)], 0.0),
        ([outcome("purchased", 2)], 1.0),
        ([outcome("purchased", 2), outcome("purchased", 3)], 1.0),
        ([outcome("purchased_without", 2)], 1.0),
        ([outcome("purchased_without", 2), outcome("refunded", 20)], -0.25),
        ([outcome("purchased", 8)], 0.0),
        ([outcome("purchased", -1)], 0.0),
        ([outcome("purchased", 2), outcome("returned", 20)], -0.25),
        ([outcome("purchased", 2), outcome("refunded", 20)], -0.25),
        ([outcome("purchased", 2), outcome("chargeback", 20)], -0.25),
        ([outcome("purchased", 2), outcome("chargeback", 20), outcome("dispute_won", 90, value_minor=0)], 1.0),
        ([outcome("purchased", 2), outcome("refunded", 20), outcome("refund_returned", 22, value_minor=0)], 1.0),
        ([outcome("refund_returned", 22, value_minor=0), outcome("refunded", 20), outcome("purchased", 2)], 1.0),
        ([outcome("purchased", 2), outcome("refunded", 20), outcome("refund_returned", 22, value_minor=9)], -0.25),
        ([outcome("purchased", 2), outcome("refunded", 20), outcome("dispute_won", 22, value_minor=0)], -0.25),
        (
            [
                outcome("purchased", 2),
                outcome("refunded", 20),
                outcome("refund_returned", 22, value_minor=0),
                outcome("refunded", 23),
            ],
            -0.25,
        ),
        (
            [
                outcome("purchased", 2),
                outcome("refunded", 20),
                outcome("refund_returned", 22, value_minor=0),
                outcome("refunded", 90),
            ],
            1.0,
        ),
        ([outcome("purchased", 2), outcome("returned", 20), outcome("refund_returned", 22, value_minor=0)], -0.25),
        ([outcome("returned", 20), outcome("purchased", 2)], -0.25),
        ([outcome("purchased", 2), outcome("returned", 40)], 1.0),
        ([outcome("returned", 1)], 0.0),
        ([outcome("purchased", 2, "o"), outcome("dismissed", 2, "o", recorded_days=3)], 0.0),
        ([outcome("dismissed", 2, "o", recorded_days=3), outcome("purchased", 2, "o")], 0.0),
        ([outcome("purchased", 2, recorded_days=400)], 0.0),
        (
            [
                outcome("purchased_without", 2, "ord_a"),
                outcome("purchased", 3, "ord_b"),
                outcome("refunded", 4, "refunded:ord_b:1"),
            ],
            1.0,
        ),
        (
            [
                outcome("purchased_without", 2, "ord_a"),
                outcome("purchased", 3, "ord_b"),
                outcome("refunded", 4, "refunded:ord_a:1"),
            ],
            -0.25,
        ),
    ],
)
def test_an_outcome_counts_once_in_its_time_until_it_is_taken_back(
    outcomes: list[dict[str, Any]], reward: float
) -> None:
    assert RULE.reward(decision(outcomes=outcomes), LATER_MS) == reward


@pytest.mark.parametrize("presented_ms", [None, LATER_MS + 1])
def test_what_was_not_shown_is_no_failure(presented_ms: int | None) -> None:
    assert RULE.reward(decision(presented_ms=presented_ms), LATER_MS) is Unknown.NOT_PRESENTED


@pytest.mark.parametrize("outcomes", [[], [outcome("purchased", 1)], [outcome("purchased", 1), outcome("returned", 2)]])
def test_a_young_decision_is_left_out_whatever_it_earned_so_far(outcomes: list[dict[str, Any]]) -> None:
    young, old = NOW_MS + 36 * DAY_MS, NOW_MS + 37 * DAY_MS
    assert RULE.reward(decision(outcomes=outcomes), young) is Unknown.IMMATURE
    assert isinstance(RULE.reward(decision(outcomes=outcomes), old), float)


def test_a_margin_is_that_of_what_was_chosen() -> None:
    rule = replace(RULE, measure=Measure.MARGIN)
    assert rule.reward(decision(outcomes=[outcome("purchased", 1)]), LATER_MS) == 1_000
    assert rule.reward(decision(outcomes=[outcome("purchased_without", 1)]), LATER_MS) == 1_500, "nothing was taken off"
    bare = [
        {**each, "margin_minor": each["margin_minor"] if each["version"] else 0} for each in decision()["candidates"]
    ]
    without = decision(outcomes=[outcome("purchased", 1)], candidates=bare, chosen="no_offer")
    assert rule.reward(without, LATER_MS) == 1_500, "the offers' margin with nothing taken off"
    returned = decision(outcomes=[outcome("purchased", 1), outcome("returned", 2)])
    assert rule.reward(returned, LATER_MS) == -250


def test_young_decisions_weighted_by_their_delays_are_right_on_average() -> None:
    rng = np.random.default_rng(2)
    delays_ms = rng.exponential(2 * DAY_MS, 4_000).clip(max=7 * DAY_MS).astype(int)
    rule = replace(RULE, delays=Delays.of(delays_ms[:2_000].tolist()))
    seen, now_ms = [], NOW_MS + 2 * DAY_MS
    for delay_ms in delays_ms[2_000:]:
        bought = outcome("purchased", delay_ms / DAY_MS)
        seen.append(rule.reward(decision(outcomes=[bought] if rng.random() < 0.4 else []), now_ms))
    assert np.mean(seen) == pytest.approx(0.4, abs=0.05)  # type: ignore[arg-type]
    assert max(map(float, seen)) > 1.3, "nothing was weighted"
    assert rule.reward(decision(), NOW_MS + 3_600_000) is Unknown.IMMATURE


def test_a_planted_count_of_every_outcome_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewards, "latest", lambda outcomes, now_ms: list(outcomes))
    taken_back = [outcome("purchased", 2, "o"), outcome("dismissed", 2, "o", recorded_days=3)]
    assert RULE.reward(decision(outcomes=taken_back), LATER_MS) != 0.0


def reading() -> Reading:
    return Reading(SCHEMA, RULE, LATER_MS)


def test_a_log_is_the_same_in_batches_of_any_size() -> None:
    whole, parts = reading(), reading()
    [together] = whole.batches(LOG)
    pieces = list(parts.batches(LOG, size=37))
    assert max(piece.counts.size for piece in pieces) == 37
    for name in ("counts", "reward", "features", "propensity", "subject", "decided_ms"):
        np.testing.assert_array_equal(
            np.concatenate([getattr(piece, name) for piece in pieces]), getattr(together, name)
        )
    names = [parts.arms.names[arm] for piece in pieces for arm in piece.arm[piece.chosen]]
    assert names == [json.loads(line)["chosen"] for line in LOG]
    assert (whole.used, whole.not_presented, whole.immature) == (600, 0, 0)
    assert together.reward.sum() == sum(bool(json.loads(line)["outcomes"]) for line in LOG)


def test_what_is_left_out_is_counted() -> None:
    reader = reading()
    never_shown = json.dumps(decision(presented_ms=None))
    young = json.dumps(decision(presented_ms=LATER_MS - DAY_MS))
    erased = json.dumps(decision(subject=None, context={"currency": "USD"}))
    renamed = json.dumps(decision(erased=True))  # under a pseudonym of nobody
    mixed = [never_shown, LOG[0], young, "", never_shown, erased, renamed]
    assert sum(batch.counts.size for batch in reader.batches(mixed)) == 1
    assert (reader.lines, reader.used, reader.not_presented, reader.immature, reader.erased) == (6, 1, 2, 1, 2)


def test_a_line_is_read_as_it_was_known_when_it_was_exported() -> None:
    bought = decision(outcomes=[outcome("purchased", 2)])
    early = [json.dumps({**bought, "exported_ms": NOW_MS + 36 * DAY_MS})]
    late = [json.dumps({**bought, "exported_ms": NOW_MS + 38 * DAY_MS})]
    reader = reading()
    assert list(reader.batches(early)) == []
    assert reader.immature == 1
    [batch] = reading().batches(late)
    assert batch.reward.tolist() == [1.0]
    before = Reading(SCHEMA, RULE, NOW_MS + 36 * DAY_MS)
    assert list(before.batches(late)) == [], "it may be read as of an earlier moment"


def broken(line: str, change: str) -> str:
    log = json.loads(line)
    match change:
        case "rounded":
            log["candidates"][0]["propensity"] = 0.3
        case "missing":
            del log["candidates"][0]["propensity"]
        case "negative":
            log["candidates"][0]["propensity"], log["candidates"][1]["propensity"] = -0.25, 0.75
        case "impossible":
            for each in log["candidates"]:
                each["propensity"] = 0.0 if each["offer"] == log["chosen"] else 1 / 3
        case "chosen":
            log["chosen"] = "another"
        case "none":
            log["candidates"] = []
        case "text":
            return line[:-3]
        case "list":
            return "[]"
    return json.dumps(log)


@pytest.mark.parametrize("change", ["rounded", "missing", "negative", "impossible", "chosen", "none", "text", "list"])
def test_a_log_without_exact_propensities_is_refused_by_line_and_without_its_content(change: str) -> None:
    with pytest.raises(LogInvalid, match="line 3 is no decision record") as caught:
        list(reading().batches([*LOG[:2], broken(LOG[2], change), *LOG[3:]]))
    assert "psn_" not in str(caught.value)


def counted(log: list[str], arms: Arms | None = None) -> Statistics:
    reader = reading()
    statistics = Statistics(SCHEMA.width, arms or reader.arms)
    reader.arms = statistics.arms
    for batch in reader.batches(log, size=64):
        statistics.add(batch)
    return statistics


@pytest.mark.parametrize("cut", [0, 1, 299, 600])
def test_statistics_counted_apart_add_up(cut: int) -> None:
    together, first, second = counted(LOG), counted(LOG[:cut]), counted(LOG[cut:])
    first.merge(second)
    order = [together.arms.names.index(name) for name in first.arms.names]
    np.testing.assert_allclose(first.gram, together.gram[order], atol=1e-9)
    np.testing.assert_allclose(first.moment, together.moment[order], atol=1e-9)
    np.testing.assert_allclose(first.rows, together.rows[order])


def test_statistics_taken_out_are_gone() -> None:
    arms = Arms()
    rest, taken = counted(LOG, arms), counted(LOG[:200], arms)
    rest.merge(taken, sign=-1.0)
    expected = counted(LOG[200:], arms)
    np.testing.assert_allclose(rest.gram, expected.gram, atol=1e-9)
    np.testing.assert_allclose(rest.rows, expected.rows)


def synthetic(weights: dict[tuple[str, int], list[float]], rows: int, seed: int = 1) -> Statistics:
    """Rewards that are the offers' weights times (1, x), with a little noise."""
    rng = np.random.default_rng(seed)
    statistics = Statistics(2, Arms())
    for (name, category), weight in weights.items():
        code = statistics.arms.code(name, category)
        features = np.column_stack([np.ones(rows), rng.normal(size=rows)])
        ones = np.ones(rows, dtype=np.int64)
        statistics.add(
            Batch(
                counts=ones,
                chosen=np.arange(rows),
                reward=features @ np.array(weight) + rng.normal(0, 0.1, rows),
                subject=np.arange(rows, dtype=np.uint64),
                decided_ms=ones,
                features=features,
                arm=np.full(rows, code),
                propensity=np.ones(rows),
                preferred=np.ones(rows),
            )
        )
    return statistics


ONE = Schema((Feature("unit_count"),))
TASTES = {("tea-a", 1): [0.5, 1.0], ("tea-b", 1): [0.5, 0.8], ("mug-a", 2): [-0.5, -1.0], ("mug-b", 2): [-0.5, -0.8]}


def test_much_seen_offers_have_their_own_weights() -> None:
    model = fit(synthetic(TASTES, 20_000), ONE)
    for (name, category), weight in TASTES.items():
        np.testing.assert_allclose(model.means[model.lookup([name], [category])[0]], weight, atol=0.02)
    assert model.noise == pytest.approx(0.01, rel=0.1)


def test_a_new_offer_scores_as_its_category_and_one_of_a_new_category_as_all_offers() -> None:
    model = fit(synthetic(TASTES, 20_000), ONE)
    x = np.array([[1.0, 1.0]] * 3)
    tea, mug, other = model.scores(x, model.lookup(["tea-new", "mug-new", "hat"], [1, 2, 3]))
    assert tea == pytest.approx(1.4, abs=0.05)
    assert mug == pytest.approx(-1.4, abs=0.05)
    assert abs(other) < 0.1


def test_a_little_seen_offer_is_drawn_towards_its_category() -> None:
    statistics = synthetic(TASTES, 5_000)
    statistics.merge(synthetic({("tea-new", 1): [-3.0, 0.0]}, 20))
    model = fit(statistics, ONE, Priors(offer=200.0))
    [score] = model.scores(np.array([[1.0, 0.0]]), model.lookup(["tea-new"], [1]))
    assert 0 < score < 0.5


def test_what_is_less_known_is_more_uncertain_and_hope_adds_it() -> None:
    statistics = synthetic({("tea-a", 1): [0.5, 1.0]}, 5_000)
    statistics.merge(synthetic({("tea-b", 1): [0.5, 1.0]}, 50, seed=2))
    model = fit(statistics, ONE)
    x, rows = np.array([[1.0, 0.0]] * 2), model.lookup(["tea-a", "tea-b"], [1, 1])
    hoped = model.scores(x, rows, optimism=1.0) - model.scores(x, rows)
    assert 0 < 2 * hoped[0] < hoped[1]


def test_posterior_draws_are_spread_as_the_posterior_says_and_depend_on_their_seed_alone() -> None:
    model = fit(synthetic(TASTES, 300), ONE)
    [row] = model.lookup(["tea-a"], [1])
    draws = np.array([model.drawn(seed).means[row] for seed in range(2_000)])
    np.testing.assert_allclose(draws.mean(axis=0), model.means[row], atol=0.01)
    np.testing.assert_allclose(np.cov(draws.T), model.covariances[row], rtol=0.2, atol=2e-4)
    np.testing.assert_array_equal(model.drawn(7).means, model.drawn(7).means)


def test_a_model_survives_its_file_to_the_byte() -> None:
    model = fit(synthetic(TASTES, 100), ONE)
    again = LinearModel.from_bytes(model.to_bytes())
    assert again.to_bytes() == model.to_bytes()
    assert again.schema == ONE
    np.testing.assert_array_equal(again.means, model.means)


def test_a_model_s_file_holds_no_subject() -> None:
    data = fit(counted(LOG), SCHEMA).to_bytes()
    assert b"psn_" in LOG[0].encode()
    assert b"psn_" not in data
    assert b"offer-1" in data


def test_a_file_that_is_no_model_is_refused() -> None:
    whole = fit(counted(LOG), SCHEMA).to_bytes()
    for data in (b"", b"PK\x03\x04", b"x" * 100, whole[:-200], whole[200:]):
        with pytest.raises(ModelInvalid):
            LinearModel.from_bytes(data)


def test_a_model_s_file_with_a_feature_that_none_may_use_is_refused() -> None:
    data = fit(counted(LOG), SCHEMA).to_bytes()
    assert data.count(b"purchases_365d") == 1
    planted = LinearModel.from_bytes(data)
    object.__setattr__(planted.schema.features[0], "name", "gender")
    with pytest.raises(SchemaRefused):
        LinearModel.from_bytes(planted.to_bytes())


def test_statistics_of_another_schema_are_refused() -> None:
    with pytest.raises(ValueError, match="another schema"):
        fit(counted(LOG), DEFAULT_SCHEMA)


def test_only_what_was_chosen_reads_as_the_chosen_rows_of_all() -> None:
    [everything] = Reading(SCHEMA, RULE, LATER_MS).batches(LOG, size=10_000)
    [chosen] = Reading(SCHEMA, RULE, LATER_MS, only_chosen=True).batches(LOG, size=10_000)
    np.testing.assert_array_equal(chosen.features, everything.features[everything.chosen])
    np.testing.assert_array_equal(chosen.propensity, everything.propensity[everything.chosen])
    np.testing.assert_array_equal(chosen.reward, everything.reward)
    assert set(chosen.counts) == {1}


@pytest.mark.parametrize("planted", ["x", None, [1.0], float("nan"), 1e999])
def test_a_feature_that_is_no_number_ends_the_reading_in_one_sentence(planted: object) -> None:
    broken = json.loads(LOG[0])
    broken["context"]["features"]["hour_of_day"] = planted
    with pytest.raises(LogInvalid, match="up to line 1 "):
        list(Reading(SCHEMA, RULE, LATER_MS).batches([json.dumps(broken)]))


def test_a_long_log_s_lines_are_the_market_s_records() -> None:
    market = Market.made(Shape(arms=8, rounds=0, subjects=200_000), 1)
    for line in block(market, 1_000_000, 50):
        said = json.loads(line)
        number = int(said["decision_id"].removeprefix("off_"))
        place = [each["offer"] for each in said["candidates"]].index(said["chosen"])
        around = np.array(list(said["context"]["features"].values()))
        vector = np.full(8, 1 / 8)
        subject = int(said["subject"].removeprefix("psn_"))
        bought = bool(said["outcomes"])
        played = Round(number, subject, around, np.arange(8), vector, said["draw"], place, bought, vector)
        assert line == json.dumps(record(played, "random"))
        assert choose(vector, said["draw"]) == place
