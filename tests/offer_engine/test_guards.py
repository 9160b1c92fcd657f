"""A model is held against the incumbent of the same time: who is worse is found, who is not is left alone at every look."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from offer_engine.judging import guards, intervals
from offer_engine.judging.guards import GROUPINGS, SUBJECT_DECISIONS, Comparison
from offer_engine.judging.intervals import contrasts
from offer_engine.judging.looks import FIRST_MS, LEVEL, Look, look, newest_look
from offer_engine.judging.promotion import Guard, Measured, Reason, Rules, Side, Stage, advance
from offer_engine.judging.standing import WORDS, guard_lines, reason_of, verdict
from offer_engine.judging.watching import Watch
from offer_engine.learning.log import LogInvalid
from offer_engine.market import NOW_MS, Market, Player, Shape
from tests.offer_engine.stages import HOUR_MS, MODEL, Staged, fixed

SHAPE = Shape(arms=4, rounds=1_200, subjects=900)
MARKET = Market.made(SHAPE, seed=11)
WORST, BEST = fixed(MARKET, 0), fixed(MARKET, -1)
LOOK = Look(5, NOW_MS + 30 * 24 * HOUR_MS)
SEEDS = range(50)
Record = dict[str, Any]


def compared(records: Iterable[Record], at: Look = LOOK, groupings: Sequence[str] = ()) -> Comparison:
    comparison = Comparison(MODEL, NOW_MS, at, groupings)
    for record in records:
        comparison.add(record)
    return comparison


def reason(measured: Measured) -> Reason:
    return advance(Stage.RAMP_50, measured, Rules(decisions=100), Reason.PASSED).reason


@cache
def ties() -> list[list[Record]]:
    """Stages of a model that decides as the incumbent does, a decision every six minutes for two days."""
    small = replace(SHAPE, rounds=500, subjects=400)
    of = Staged(Market.made(small, seed=11), BEST, BEST)
    return [[slower(record, 6) for record in of.records(seed)] for seed in SEEDS]


def slower(record: Record, times: int) -> Record:
    moved_ms = (record["decided_ms"] - NOW_MS) * (times - 1)
    outcomes = [
        {**each, "at_ms": each["at_ms"] + moved_ms, "recorded_ms": each["recorded_ms"] + moved_ms}
        for each in record["outcomes"]
    ]
    decided_ms = record["decided_ms"] + moved_ms
    return {**record, "decided_ms": decided_ms, "presented_ms": decided_ms, "outcomes": outcomes}


def moves(records: list[Record]) -> set[Reason]:
    """What looks at a stage come to."""
    last = newest_look(NOW_MS, NOW_MS + 50 * HOUR_MS)
    assert last is not None
    looks = [look(NOW_MS, number) for number in range(1, last.number + 1)]
    return {
        reason(compared((record for record in records if record["decided_ms"] < at.at_ms), at).measured())
        for at in looks
    }


def share_rolled_back() -> float:
    """Of the ties, those that any look found worse."""
    return sum(Reason.GUARD_WORSE in moves(records) for records in ties()) / len(SEEDS)


def test_a_model_that_loses_sales_is_found_worse_and_one_that_gains_them_passes() -> None:
    long = Market.made(Shape(arms=4, rounds=6_000, subjects=3_000), seed=11)
    worst, best = fixed(long, 0), fixed(long, -1)
    bad = compared(Staged(long, worst, best).records(3)).measured()
    assert Rules().worse(bad.guards) == [Guard.REWARD_LOST, Guard.MARGIN_LOST]
    assert reason(bad) is Reason.GUARD_WORSE
    good = compared(Staged(long, best, worst).records(3)).measured()
    assert reason(good) is Reason.PASSED
    assert good.guards[Guard.REWARD_LOST].value == pytest.approx(-bad.guards[Guard.REWARD_LOST].value, abs=0.05)


@pytest.mark.parametrize("model", [BEST, Player()], ids=["as_good", "the_same"])
def test_a_tie_waits(model: Player) -> None:
    measured = compared(Staged(MARKET, model, model).records(3)).measured()
    assert reason(measured) is Reason.GUARD_UNCLEAR


def test_a_model_that_is_no_worse_is_not_taken_back_however_often_it_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guards, "REPLICATES", 50)
    assert share_rolled_back() <= 1 - LEVEL


def test_planted_fault_looks_that_each_claim_the_whole_level_take_good_models_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guards, "REPLICATES", 50)
    monkeypatch.setattr(Look, "level", lambda self, bounds: LEVEL)
    monkeypatch.setattr(intervals, "_bernstein", lambda contributions, *_: np.zeros(contributions.shape[1]))
    assert share_rolled_back() > 2 * (1 - LEVEL)


def test_all_that_looks_may_be_wrong_by_is_no_more_than_the_level() -> None:
    wrong = sum((1 - look(0, number).level(len(Guard))) / 2 * len(Guard) for number in range(1, 400))
    assert 0.99 * (1 - LEVEL) < wrong <= 1 - LEVEL


def test_looks_are_at_set_moments_and_fewer_as_time_goes_on() -> None:
    assert newest_look(1_000, 1_000 + FIRST_MS - 1) is None
    first = newest_look(1_000, 1_000 + FIRST_MS)
    assert first == look(1_000, 1) == Look(1, 1_000 + FIRST_MS)
    year = newest_look(0, 365 * 24 * HOUR_MS)
    assert year is not None
    assert year.number < 40
    for number in range(2, 40):
        assert newest_look(0, look(0, number).at_ms - 1) == look(0, number - 1)


def test_a_look_comes_out_the_same_whenever_it_is_taken_and_in_whatever_order_the_log_is_read() -> None:
    records = list(Staged(MARKET, BEST, WORST).records(3))
    at = look(NOW_MS, 9)
    then = [record for record in records if record["decided_ms"] < at.at_ms]
    known = [
        {**record, "outcomes": [each for each in record["outcomes"] if each["recorded_ms"] <= at.at_ms]}
        for record in then
    ]
    assert compared(known, at).measured().guards == compared(records, at).measured().guards
    later = compared(records[::-1], at).measured()
    assert later.decisions == len([record for record in then if record["model_hash"] == MODEL])


def changed(records: Iterable[Record], change: Callable[[Record], Record], share: float = 0.2) -> list[Record]:
    """The change done to a share of the model's decisions."""
    rng = np.random.default_rng(5)
    return [
        {**record, **change(record)} if record["model_hash"] == MODEL and rng.random() < share else record
        for record in records
    ]


def outcome(kind: str, after_ms: int) -> Callable[[Record], Record]:
    def add(record: Record) -> Record:
        at_ms = record["decided_ms"] + after_ms
        more = {"type": kind, "value_minor": 0, "at_ms": at_ms, "recorded_ms": at_ms, "key": kind}
        return {"outcomes": [*record["outcomes"], more]}

    return add


LONG = list(Staged(Market.made(Shape(arms=4, rounds=8_000, subjects=6_000), 11), BEST, BEST).records(3))


@pytest.mark.parametrize(
    ("guard", "change", "share"),
    [
        (Guard.OPT_OUTS, outcome("declined", 60_000), 0.2),
        (Guard.OPT_OUTS, outcome("dismissed", 60_000), 0.2),
        (Guard.REFUNDS, outcome("refunded", 2 * HOUR_MS), 0.6),
        (Guard.FAULTS, lambda record: {"policy": "priority:1", "model_hash": None, "fell_back": MODEL}, 0.2),
    ],
)
def test_each_guard_sees_its_own_harm(guard: Guard, change: Callable[[Record], Record], share: float) -> None:
    assert reason(compared(LONG).measured()) is Reason.GUARD_UNCLEAR
    found = Rules().worse(compared(changed(LONG, change, share)).measured().guards)
    assert guard in found
    assert Guard.FAULTS not in found or guard is Guard.FAULTS


def harmed(record: Record) -> Record:
    """New shoppers do not buy what the model offers; those who come back do."""
    return {"outcomes": []} if record["context"]["known"]["owned"] == [] else {}


def test_a_model_that_is_good_for_some_and_bad_for_others_is_seen_by_its_gap() -> None:
    told = [
        {**record, "context": {**record["context"], "known": {"owned": [] if hash_of(record) else ["p"]}}}
        for record in LONG
    ]
    assert compared(told, groupings=["returning"]).measured().guards[Guard.GROUP_GAP].lower <= 0.15
    gap = compared(changed(told, harmed, 1.0), groupings=["returning"]).measured().guards[Guard.GROUP_GAP]
    assert gap.lower > 0.15
    assert compared(changed(told, harmed, 1.0)).measured().guards[Guard.GROUP_GAP].value == 0


def hash_of(record: Record) -> bool:
    return int(record["subject"].rpartition("_")[2]) % 2 == 0


def test_groups_are_a_closed_list_and_no_more_of_a_kind_than_can_be_held_apart() -> None:
    assert set(GROUPINGS) == {"verification", "country", "returning"}
    many = [
        {**record, "context": {**record["context"], "region": f"{chr(65 + place % 26)}{chr(65 + place % 23)}"}}
        for place, record in enumerate(LONG[:1_000])
    ]
    comparison = compared(many, groupings=["country"])
    kinds = {name for _, name in comparison._sums if name.startswith("country:")}
    assert len(kinds) == guards.GROUPS_MAXIMUM + 1


def test_a_guard_that_a_side_has_nothing_to_say_of_is_missing() -> None:
    alone = [record for record in LONG if record["policy"] != "priority:1"]
    measured = compared(alone).measured()
    assert set(measured.guards) == {Guard.FAULTS}
    assert reason(measured) is Reason.GUARD_MISSING
    assert compared([]).measured() == Measured(0, LOOK.at_ms - NOW_MS, {})


def test_a_few_decisions_that_all_came_out_alike_are_no_proof() -> None:
    unlucky = [{**record, "outcomes": []} if record["model_hash"] == MODEL else record for record in LONG]
    of_model = [record for record in unlucky if record["model_hash"] == MODEL][:5]
    others = [record for record in unlucky if record["policy"] == "priority:1"]
    measured = compared([*of_model, *others]).measured()
    assert Rules().worse(measured.guards) == []
    assert Rules().worse(compared(unlucky).measured().guards)


def test_planted_fault_a_range_that_was_merely_seen_takes_five_decisions_for_a_proof(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = intervals._bernstein
    monkeypatch.setattr(intervals, "_bernstein", lambda found, least, tail: honest(found, 0 * least, tail))
    with pytest.raises(AssertionError):
        test_a_few_decisions_that_all_came_out_alike_are_no_proof()


def of_margins(side: Side, number: int, margin_minor: int, kind: str | None) -> Record:
    """A decision for an offer that leaves so much of 50.00, and the purchase that came of it."""
    at_ms = NOW_MS + number
    offered = {"offer": "o", "version": 1, "margin_minor": margin_minor, "discount_minor": 5_000 - margin_minor}
    bought = {"type": kind, "value_minor": 10_000, "at_ms": at_ms, "recorded_ms": at_ms, "key": f"ord_{number}"}
    return {
        "decision_id": f"off_{number}",
        "subject": f"psn_{number}",
        "decided_ms": at_ms,
        "presented_ms": at_ms,
        "verification": "claimed",
        "context": {},
        "candidates": [offered],
        "chosen": "o",
        "policy": "priority:1" if side is Side.INCUMBENT else "linear:a",
        "model_hash": MODEL if side is Side.MODEL else None,
        "outcomes": [bought] if kind else [],
    }


@pytest.mark.parametrize(
    ("margin_minor", "theirs", "ours"),
    [(50, "purchased_without", None), (-5_000, None, "purchased"), (4_950, "purchased", None)],
    ids=["at full price", "at a loss", "with the offer"],
)
def test_a_few_decisions_are_no_proof_of_a_margin_that_was_lost_however_they_earned(
    margin_minor: int, theirs: str | None, ours: str | None
) -> None:
    alike = [of_margins(Side.INCUMBENT, number, margin_minor, theirs) for number in range(12)]
    unlucky = [of_margins(Side.MODEL, number, margin_minor, ours) for number in range(12, 24)]
    measured = compared([*alike, *unlucky]).measured()
    assert measured.guards[Guard.MARGIN_LOST].value > 4_900
    assert Rules().worse(measured.guards) == []


def test_planted_fault_a_range_of_what_offers_leave_takes_purchases_at_full_price_for_a_proof(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        guards, "_margins", lambda record: (0.0, max(abs(each["margin_minor"]) for each in record["candidates"]))
    )
    with pytest.raises(AssertionError):
        test_a_few_decisions_are_no_proof_of_a_margin_that_was_lost_however_they_earned(50, "purchased_without", None)


def test_a_subject_that_asks_without_end_does_not_blind_the_guards() -> None:
    bad = changed(LONG, lambda record: {"outcomes": []}, 1.0)
    busy = next(record for record in bad if record["policy"] == "priority:1" and record["outcomes"])
    crowd = [{**busy, "decision_id": f"off_{number}"} for number in range(5_000)]
    comparison = compared([*bad, *crowd])
    assert comparison.decisions[Side.INCUMBENT] <= compared(bad).decisions[Side.INCUMBENT] + SUBJECT_DECISIONS
    assert Guard.REWARD_LOST in Rules().worse(comparison.measured().guards)


def test_planted_fault_a_subject_that_counts_as_often_as_it_asks_hides_a_bad_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guards, "SUBJECT_DECISIONS", 10**9)
    with pytest.raises(AssertionError):
        test_a_subject_that_asks_without_end_does_not_blind_the_guards()


def test_decisions_of_other_models_other_times_and_nobody_are_passed_over() -> None:
    one = next(record for record in LONG if record["model_hash"] == MODEL)
    for other in (
        {"model_hash": "b" * 64},
        {"model_hash": None, "policy": "priority:1", "fell_back": "b" * 64},
        {"decided_ms": NOW_MS - 1},
        {"decided_ms": LOOK.at_ms},
        {"subject": None},
    ):
        assert sum(compared([{**one, **other}]).decisions.values()) == 0
    assert compared([one]).decisions[Side.MODEL] == 1


def test_uplift_is_over_those_that_chance_decided_for() -> None:
    long = Market.made(Shape(arms=4, rounds=8_000, subjects=4_000), seed=11)
    comparison = compared(Staged(long, fixed(long, -1), fixed(long, 0)).records(3))
    best, worst = comparison.uplift(Side.MODEL), comparison.uplift(Side.INCUMBENT)
    assert best is not None
    assert worst is not None
    assert best.lower <= best.value <= best.upper
    assert worst.value < 0 < best.value
    assert compared([]).uplift(Side.MODEL) is None


def test_a_weighted_sum_of_quotients_has_the_interval_of_a_column_of_its_own() -> None:
    rng = np.random.default_rng(1)
    sums, counts = rng.random((300, 2)), np.ones((300, 2))
    weights, none = np.array([[1.0, -1.0]]), np.zeros(2)
    [difference] = contrasts(sums, counts, weights, none, level=0.9, replicates=200, seed=1)
    [column] = intervals.intervals(sums[:, :1] - sums[:, 1:], counts[:, :1], level=0.9, replicates=200, seed=1)
    assert difference.value == pytest.approx(column.value)
    assert (difference.lower, difference.upper) == pytest.approx((column.lower, column.upper))


def test_a_line_that_is_no_record_stops_the_reading_and_is_not_repeated() -> None:
    for bad in ("{}", "x", "[]", '{"policy": 7}'):
        with pytest.raises(LogInvalid, match=r"^line 2 is no decision record$"):
            Watch(MODEL, NOW_MS, LOOK).add_lines([json.dumps(LONG[0]), bad])


def test_what_is_told_fits_a_terminal_and_says_every_guard() -> None:
    measured = compared(LONG).measured()
    lines = guard_lines(measured, Rules())
    assert max(map(len, lines)) <= 80
    assert len(lines) == 1 + len(Guard) == 1 + len(WORDS)
    assert guard_lines(Measured(0, 0, {}), Rules()) == []
    assert verdict(Guard.FAULTS, Measured(0, 0, {}), Rules()) == "not known"
    bad = compared(changed(LONG, outcome("declined", 60_000))).measured()
    assert reason_of(advance(Stage.CANARY, bad, Rules(), Reason.PASSED), bad, Rules()) == "guard_worse: opt_outs"
