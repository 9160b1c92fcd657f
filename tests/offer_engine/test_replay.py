"""A decision is played again from its record, and comes out the same to the last digit."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offer_engine.decide import Catalogue, Decision, decide
from offer_engine.offers import (
    Audience,
    ContextLine,
    History,
    Known,
    Left,
    Limits,
    NeverDiscounted,
    Offer,
    Rules,
    Verification,
)
from offer_engine.rank import PriorityRanker
from offer_engine.replay import ReplayRefused, context_of, is_same, offers_as_data, offers_from, replay
from tests.offer_engine.test_decide import BASE, LINE, NOW_MS, catalogues, context, lines
from tests.offer_engine.test_rankers import RANKER

regions = st.sampled_from([None, "US", "US-OR", "DE"])
audiences = st.builds(
    Audience,
    regions=st.frozensets(st.sampled_from(["US", "DE"])),
    needs_consent=st.booleans(),
    verification=st.sampled_from(Verification),
    owns=st.frozensets(st.sampled_from(["p1", "p2"])),
    owns_none_of=st.frozensets(st.sampled_from(["p3"])),
)
limits = st.builds(
    Limits,
    budget_minor=st.none() | st.integers(1, 10**6),
    budget_uses=st.none() | st.integers(1, 9),
    per_subject=st.none() | st.integers(1, 3),
    cooldown_days=st.integers(0, 30),
    stacks_with_codes=st.booleans(),
)
knowns = st.builds(
    Known,
    verification=st.sampled_from(Verification),
    consents=st.booleans(),
    owned=st.frozensets(st.sampled_from(["p1", "p3"])),
    history=st.dictionaries(
        st.text("abcdef", min_size=1, max_size=2),
        st.builds(History, st.tuples(st.integers(0, NOW_MS)), st.none() | st.integers(0, NOW_MS), st.integers(0, 3)),
    ),
    memory=st.dictionaries(st.sampled_from(["memory.size", "memory.gift"]), st.floats(0, 10**6)),
)
rules = st.builds(
    Rules,
    paused=st.booleans(),
    maximum_discount_basis_points=st.integers(1, 10_000),
    minimum_margin_basis_points=st.none() | st.integers(-10_000, 10_000),
    never_discounted=st.just(()) | st.just((NeverDiscounted(frozenset({"tea"}), frozenset({"DE"})),)),
)


@settings(deadline=None)
@given(st.data(), lines, catalogues, knowns, rules, regions, st.floats(0, 1, exclude_max=True))
def test_whatever_was_decided_comes_out_again(
    data: st.DataObject,
    over: tuple[ContextLine, ...],
    catalogue: list[Offer],
    known: Known,
    ruled: Rules,
    region: str | None,
    draw: float,
) -> None:
    offers = Catalogue([replace(offer, audience=data.draw(audiences), limits=data.draw(limits)) for offer in catalogue])
    parts = st.none() | st.integers(0, 10**6)
    left = {offer.id: Left(data.draw(parts), 3, data.draw(parts), data.draw(parts)) for offer in offers.offers}
    asked = replace(
        context(over), known=known, rules=ruled, region=region, left=left, has_codes=data.draw(st.booleans())
    )
    for ranker in (PriorityRanker(), RANKER):
        decision = decide(asked, offers, ranker, draw)
        record = json.loads(json.dumps(decision.record()))
        assert context_of(record) == asked
        again = replay(record, offers_from(json.loads(json.dumps(offers_as_data(offers)))), ranker)
        assert json.loads(json.dumps(again.record())) == record


scores = st.floats() | st.floats().map(np.float64) | st.integers()


def scored(over: tuple[ContextLine, ...], catalogue: list[Offer], score: float, name: str) -> Decision:
    """A decision by a ranker that gives each candidate this score, over offers of which one has this id."""
    named = [replace(offer, id=name if place == 0 else offer.id) for place, offer in enumerate(catalogue)]
    decision = decide(context(over), Catalogue(named), PriorityRanker(), 0.5)
    return replace(decision, ranked=tuple(each._replace(score=score) for each in decision.ranked))


@given(lines, catalogues, scores, st.text())
def test_a_record_is_written_down_as_any_reader_would_write_what_it_says(
    over: tuple[ContextLine, ...], catalogue: list[Offer], score: float, name: str
) -> None:
    decision = scored(over, catalogue, score, name)
    assert decision.record_text() == json.dumps(decision.record())


def test_planted_fault_a_number_that_is_written_down_as_python_shows_it_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("offer_engine.decide._number", repr)
    with pytest.raises(json.JSONDecodeError):
        scored((LINE,), [BASE], float("inf"), "o").record()
    with pytest.raises(json.JSONDecodeError):
        scored((LINE,), [BASE], np.float64(0.1), "o").record()


@given(lines, st.integers(0, 10**6))
def test_a_record_of_before_guests_had_a_share_comes_out_again(over: tuple[ContextLine, ...], minor: int) -> None:
    catalogue = Catalogue([replace(BASE, limits=Limits(budget_minor=10**6))])
    record = decide(replace(context(over), left={"o": Left(minor)}), catalogue, PriorityRanker(), 0.5).record()
    record["context"]["left"] = {offer: parts[:2] for offer, parts in record["context"]["left"].items()}
    assert context_of(record).left == {"o": Left(minor)}
    assert is_same(record, replay(record, catalogue, PriorityRanker()))


def test_a_record_of_before_open_offers_were_counted_comes_out_again() -> None:
    known = Known(history={"o": History((NOW_MS,), NOW_MS)})
    catalogue = Catalogue([replace(BASE, limits=Limits(per_subject=1))])
    record = decide(replace(context((LINE,)), known=known), catalogue, PriorityRanker(), 0.5).record()
    history = record["context"]["known"]["history"]
    record["context"]["known"]["history"] = {offer: parts[:2] for offer, parts in history.items()}
    assert is_same(record, replay(record, catalogue, PriorityRanker()))
    record["context"]["known"]["history"] = {"o": [[], None]}
    assert not is_same(record, replay(record, catalogue, PriorityRanker()))


@given(st.data(), lines, catalogues)
def test_it_comes_out_again_from_offers_that_were_kept_in_another_order(
    data: st.DataObject, over: tuple[ContextLine, ...], catalogue: list[Offer]
) -> None:
    kept = json.loads(json.dumps(offers_as_data(Catalogue(data.draw(st.permutations(catalogue))))))
    for ranker in (PriorityRanker(), RANKER):
        record = json.loads(json.dumps(decide(context(over), Catalogue(catalogue), ranker, 0.5).record()))
        shuffled = {**record, "excluded": data.draw(st.permutations(record["excluded"]))}
        again = replay(record, offers_from(data.draw(st.permutations(kept))), ranker)
        assert json.loads(json.dumps(again.record())) == record
        assert is_same(shuffled, again)


@given(lines, catalogues.filter(bool))
def test_planted_fault_an_offer_that_was_left_out_for_another_reason_is_not_the_same(
    over: tuple[ContextLine, ...], catalogue: list[Offer]
) -> None:
    asked = replace(context(over), rules=Rules(paused=True))
    decision = decide(asked, Catalogue(catalogue), PriorityRanker(), 0.5)
    record = json.loads(json.dumps(decision.record()))
    assert is_same(record, decision)
    record["excluded"][0]["reason"] = "budget_spent"
    assert not is_same(record, decision)


@given(lines, catalogues)
def test_other_offers_or_another_ranker_are_refused(over: tuple[ContextLine, ...], catalogue: list[Offer]) -> None:
    record = decide(context(over), Catalogue(catalogue), PriorityRanker(), 0.5).record()
    with pytest.raises(ReplayRefused):
        replay(record, Catalogue(catalogue), RANKER)
    changed = [replace(offer, version=offer.version + 1) for offer in catalogue]
    if changed:
        with pytest.raises(ReplayRefused):
            replay(record, Catalogue(changed), PriorityRanker())


@given(lines, catalogues.filter(bool))
def test_planted_fault_a_record_that_was_changed_does_not_come_out_again(
    over: tuple[ContextLine, ...], catalogue: list[Offer]
) -> None:
    offers = Catalogue(catalogue)
    record = decide(context(over), offers, PriorityRanker(), 0.5).record()
    changed = {**record, "context": {**record["context"], "now_ms": 0}}
    assert replay(changed, offers, PriorityRanker()).record() != record
