"""What the merchant's priorities would have made can be told from any decision's record."""

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from offer_engine.decide import Catalogue, decide
from offer_engine.offers import Context, ContextLine, Offer, OfferKind
from offer_engine.rank import ChanceRanker, PriorityRanker, preferred

PRIORITIES, CHANCE = PriorityRanker(), ChanceRanker()
offers = st.builds(
    Offer,
    id=st.sampled_from("abcdef"),
    version=st.integers(1, 3),
    title=st.just("an offer"),
    kind=st.just(OfferKind.PERCENT_OFF),
    currency=st.just("USD"),
    percent_basis_points=st.integers(1, 5_000),
    margin_basis_points=st.integers(0, 9_000),
    priority=st.integers(0, 2),
    minimum_subtotal_minor=st.sampled_from([0, 50_000]),
)


def context(price_minor: int) -> Context:
    lines = (ContextLine("v", "p", frozenset({"tea"}), price_minor, 1),)
    return Context("shop", "psn_a", "USD", lines, now_ms=1_800_000_000_000)


@given(st.lists(offers, max_size=6, unique_by=lambda offer: offer.id), st.integers(1, 100_000), st.floats(0, 0.999))
def test_what_chance_decided_tells_what_the_priorities_would_have(
    made: list[Offer], price_minor: int, draw: float
) -> None:
    decision = decide(context(price_minor), Catalogue(made), CHANCE, draw)
    candidates = json.loads(json.dumps(decision.record()))["candidates"]
    random.Random(draw).shuffle(candidates)
    ranked = decide(context(price_minor), Catalogue(made), PRIORITIES, draw).ranked
    scores = {scored.name: scored.score for scored in ranked}
    first = candidates[preferred(candidates)]["offer"]
    assert first == ranked[0].name or ranked[0].score - scores[first] < 1, "or a margin less than one minor unit apart"


def test_no_offer_is_preferred_to_none() -> None:
    nothing = {"offer": "no_offer", "version": 0, "margin_minor": 0}
    costly = {"offer": "a", "version": 1, "margin_minor": -900, "features": {"priority": 0.0}}
    assert preferred([nothing, costly]) == 1
    assert preferred([nothing]) == 0
