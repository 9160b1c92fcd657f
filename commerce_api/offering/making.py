"""An offer is made: decided over the brand's policy and records, written down, and signed, in one transaction.

What holds before an offer is told to anybody:
 1. The decision is on record with all that it could have been, and why not (offer_engine/decide.py).
 2. What it takes off is set aside from its budget; where that is used up in this very moment, it is decided again without it.
 3. It is signed, cut to what was set aside: checkout honours nothing else.
 4. It is signed until OFFER_LIFETIME_SECONDS later or the policy's end of it, whichever comes first; no other moment is told.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import insert

from audit.event import Event, EventType
from audit.transaction import Transaction
from commerce_api.brands import ORIGIN, Brand
from commerce_api.checkout.service import Caller
from commerce_api.models import offer_decision, offer_policy
from commerce_api.offering import budget
from commerce_api.offering.context import known_of, looked_at, subject_of
from commerce_api.offering.outcomes import OFFER_LIFETIME_SECONDS, shown_at_once
from commerce_api.offering.terms import Terms, rules_of, terms_of
from commerce_api.regions import region_of
from commerce_api.schemas import LineGiven, OffersView, OfferView
from commerce_api.views import money_view
from offer_engine.decide import Catalogue, Decision
from offer_engine.offers import Context, ContextLine, Offer, OfferKind, discount_minor
from offer_engine.presenting import templates
from offer_engine.presenting.locales import locale_for
from offer_engine.presenting.sayables import sayable
from offer_engine.presenting.verifier import Grounds
from offer_engine.replay import offers_as_data
from offer_engine.serving import Rankers
from offer_engine.snapshot import Sayable, Snapshot, sign_snapshot
from tokenization.clock import as_text
from tokenization.ids import new_id

_KEEP: Final = insert(offer_policy)  # built once each: every offer that is made asks them
_WRITE: Final = insert(offer_decision)
_SAID: Final = {
    OfferKind.PERCENT_OFF: "It takes this much off these products.",
    OfferKind.AMOUNT_OFF: "It takes this much off these products.",
    OfferKind.FREE_SHIPPING: "Shipping costs nothing with it.",
}


def make_offer(
    tx: Transaction,
    brand: Brand,
    caller: Caller,
    lines: Sequence[LineGiven],
    rankers: Rankers,
    offer_key: bytes,
    *,
    region: str | None = None,
    shopper: str | None = None,
    shown: bool = True,
    locale: str | None = None,
) -> OffersView:
    """The offer for these lines. Raises CommerceRefusal(PRODUCT_UNKNOWN).

    ``region`` is where it would go; ``shopper`` whom the brand's own agent speaks for. Without ``shown`` an offer counts as
    made, and as shown once outcomes.present() is called. ``locale`` is a language tag: the offer is then said in words too.
    """
    terms = terms_of(brand.policy, brand.currency)
    seen = looked_at(tx.connection, brand.id, lines, terms.offers.hash)
    context = _context(tx, brand, caller, seen.lines, terms, offer_key, region, shopper)
    identifier = new_id("off")
    decision = _decided(tx, brand, context, terms, rankers, identifier)
    made, expires_ms = _as_set_aside(decision), _expires_ms(decision.chosen.offer, tx.now_ms)
    if not seen.is_kept:
        _keep(tx, brand.id, terms.offers)
    snapshot = said = None
    if made is not None:
        said = _sayable(brand, made, decision.context, locale, expires_ms)
        signed = Snapshot(identifier, brand.id, caller.principal, expires_ms, made, said)
        snapshot = sign_snapshot(signed, offer_key)  # (3)
    is_shown = shown or made is None  # nothing is shown of no offer: it has happened
    tx.execute(
        _WRITE,
        {
            "id": identifier,
            "brand": brand.id,
            "principal": caller.principal,
            "subject": context.subject,
            "chosen": decision.chosen.name,
            "record": decision.record_text(),
            "snapshot": snapshot,
            "decided_ms": tx.now_ms,
            "presented_ms": tx.now_ms if is_shown else None,
            "slot": caller.channel if is_shown else None,
        },
    )
    tx.record(
        Event(
            type=EventType.OFFER_DECIDED,
            outcome="success",
            actor=caller.principal,
            origin=ORIGIN,
            resource=identifier,
            merchant=brand.id,
            data={"offer": decision.chosen.name, "policy": decision.policy},
        )
    )
    if is_shown:
        shown_at_once(tx, brand.id, identifier, decision.chosen.name, caller.principal)
    text = templates.whole(Grounds(said.locale, (said,), brand.name)) if said is not None and locale else None
    return _view(brand, decision, made, identifier, expires_ms, text)


def _context(
    tx: Transaction,
    brand: Brand,
    caller: Caller,
    lines: tuple[ContextLine, ...],
    terms: Terms,
    key: bytes,
    region: str | None,
    shopper: str | None,
) -> Context:
    subject, verification = subject_of(brand.id, caller, shopper, key)
    return Context(
        brand=brand.id,
        subject=subject,
        currency=brand.currency,
        lines=lines,
        now_ms=tx.now_ms,
        region=_place(brand, region),
        known=known_of(tx.connection, brand, subject, caller, verification, terms, tx.now_ms),
        rules=rules_of(brand.policy.offer_rules, paused=brand.offers_paused),
        left=budget.left_of(tx.connection, brand.id, terms.limited),
    )


def _place(brand: Brand, said: str | None) -> str | None:
    """Where it would go; of a region that is none, its country."""
    if said is None:
        return None
    country, _, region = said.partition("-")
    return region_of(country, region, brand.policy.spoken_of) or country


def _decided(
    tx: Transaction,
    brand: Brand,
    context: Context,
    terms: Terms,
    rankers: Rankers,
    identifier: str,
) -> Decision:
    """(1) (2)"""
    ranker = rankers.of(brand.id, context.subject, brand.policy.offer_rules.hold_out_percent)
    draw = secrets.randbelow(2**53) / 2**53
    while True:
        decision = rankers.decide(ranker, context, terms.offers, draw)
        chosen = decision.chosen.offer
        if chosen is None or chosen.id not in terms.limited:
            return decision
        limits = terms.limited[chosen.id]
        amount_minor, known = decision.context.taken_minor(chosen), context.known
        expires_ms = _expires_ms(chosen, tx.now_ms)
        left = budget.reserve(tx, brand.id, chosen.id, limits, identifier, amount_minor, expires_ms, known.verification)
        if left is None:
            return decision
        context = replace(context, left={**context.left, chosen.id: left})


def _keep(tx: Transaction, brand: str, offers: Catalogue) -> None:
    """The offers that were on the table, so that the decision can be played again (1)."""
    document = json.dumps(offers_as_data(offers))
    tx.execute(_KEEP, {"hash": offers.hash, "brand": brand, "document": document, "first_ms": tx.now_ms})


def _expires_ms(offer: Offer | None, now_ms: int) -> int:
    """(4)"""
    lapses_ms = now_ms + OFFER_LIFETIME_SECONDS * 1000
    return lapses_ms if offer is None or offer.valid_until_ms is None else min(lapses_ms, offer.valid_until_ms)


def _as_set_aside(decision: Decision) -> Offer | None:
    """The chosen offer, taking off at most what was set aside for it (3)."""
    chosen = decision.chosen.offer
    if chosen is None or chosen.limits.budget_minor is None:
        return chosen
    return replace(chosen, maximum_discount_minor=decision.context.taken_minor(chosen))


def _sayable(brand: Brand, made: Offer, context: Context, locale: str | None, expires_ms: int) -> Sayable:
    """What may be said of it, signed with it: figures come from here, whoever finds the words.

    Of an offer without an end nobody says that it is soon over.
    """
    disclosures = next((offer.disclosures for offer in brand.policy.offers if offer.id == made.id), ())
    return sayable(
        made,
        context,
        locale=locale_for(locale or "en"),
        brand=brand.name,
        expires_ms=None if made.valid_until_ms is None else expires_ms,  # (4)
        disclosures=disclosures,
    )


def _view(
    brand: Brand, decision: Decision, made: Offer | None, identifier: str, expires_ms: int, said: str | None
) -> OffersView:
    left_out = [f"{offer}: {reason}" for offer, reason in decision.excluded]
    if made is None:
        return OffersView(offers=[], not_offered=left_out, decision_id=identifier)
    told = OfferView(
        offer_id=identifier,
        title=made.title,
        kind=made.kind.value,
        discount=money_view(discount_minor(made, decision.context.lines), brand.currency),
        expires_at=as_text(expires_ms),
        reason=_SAID[made.kind],
        said=said,
    )
    return OffersView(offers=[told], not_offered=left_out)
