"""Offers in commerce: from the brand's policy to the engine, and from its decision to the record and the signed snapshot."""

import json
import secrets
from collections.abc import Sequence

from sqlalchemy import insert, select

from audit.event import Event, EventType
from audit.transaction import Transaction
from commerce_api.brands import ORIGIN, Brand
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import offer_decision, variant
from commerce_api.policy import Offer as PolicyOffer
from commerce_api.schemas import LineGiven, OffersView, OfferView
from commerce_api.views import money_view
from offer_engine.decide import Decision, Ranker, decide
from offer_engine.offers import Context, ContextLine, Offer, OfferKind, discount_minor
from offer_engine.snapshot import Snapshot, sign_snapshot
from tokenization.clock import as_text
from tokenization.ids import new_id

OFFER_LIFETIME_SECONDS = 1800  # as long as a conversation that leads to a checkout
_SAID = {
    OfferKind.PERCENT_OFF: "It takes this much off these products.",
    OfferKind.AMOUNT_OFF: "It takes this much off these products.",
    OfferKind.FREE_SHIPPING: "Shipping costs nothing with it.",
}


def make_offer(
    tx: Transaction, brand: Brand, principal: str, lines: Sequence[LineGiven], ranker: Ranker, offer_key: bytes
) -> OffersView:
    """Decides, records the decision durably, and gives the offer as it was signed. Raises CommerceRefusal(PRODUCT_UNKNOWN)."""
    context = Context(
        brand=brand.id,
        subject=principal,
        currency=brand.currency,
        lines=_context_lines(tx, brand, lines),
        now_ms=tx.now_ms,
    )
    offers = [engine_offer(offer, brand.currency) for offer in brand.policy.offers]
    draw = secrets.randbelow(2**53) / 2**53
    decision = decide(context, offers, ranker, draw)
    identifier = new_id("off")
    expires_ms = tx.now_ms + OFFER_LIFETIME_SECONDS * 1000
    chosen = decision.chosen.offer
    snapshot = None
    if chosen is not None:
        snapshot = sign_snapshot(Snapshot(identifier, brand.id, principal, expires_ms, chosen), offer_key)
    tx.execute(
        insert(offer_decision).values(
            id=identifier,
            brand=brand.id,
            principal=principal,
            chosen=decision.chosen.name,
            record=json.dumps(decision.record()),
            snapshot=snapshot,
            decided_ms=tx.now_ms,
        )
    )
    tx.record(
        Event(
            type=EventType.OFFER_DECIDED,
            outcome="success",
            actor=principal,
            origin=ORIGIN,
            resource=identifier,
            merchant=brand.id,
            data={"offer": decision.chosen.name, "policy": decision.policy},
        )
    )
    return _view(brand, decision, identifier, expires_ms)


def engine_offer(offer: PolicyOffer, currency: str) -> Offer:
    """The engine's form of a policy's offer."""
    return Offer(
        id=offer.id,
        version=offer.version,
        title=offer.title,
        kind=OfferKind(offer.kind),
        currency=currency,
        percent_basis_points=offer.percent_basis_points or 0,
        amount_minor=offer.amount_minor or 0,
        maximum_discount_minor=offer.maximum_discount_minor,
        product_ids=frozenset(offer.applies_to.product_ids),
        categories=frozenset(offer.applies_to.categories),
        minimum_subtotal_minor=offer.applies_to.minimum_subtotal_minor,
        valid_from_ms=int(offer.valid_from.timestamp() * 1000) if offer.valid_from else 0,
        valid_until_ms=int(offer.valid_until.timestamp() * 1000) if offer.valid_until else None,
        priority=offer.priority,
        margin_basis_points=offer.margin_basis_points or 0,
    )


def _context_lines(tx: Transaction, brand: Brand, lines: Sequence[LineGiven]) -> tuple[ContextLine, ...]:
    rows = {
        row.id: row
        for row in tx.execute(
            select(variant).where(variant.c.brand == brand.id, variant.c.id.in_([line.variant_id for line in lines]))
        )
    }
    if any(line.variant_id not in rows for line in lines):
        raise CommerceRefusal(CommerceError.PRODUCT_UNKNOWN)
    return tuple(
        ContextLine(
            variant_id=line.variant_id,
            product_id=rows[line.variant_id].product_id,
            categories=frozenset(json.loads(rows[line.variant_id].categories)),
            unit_price_minor=rows[line.variant_id].price_minor,
            quantity=line.quantity,
        )
        for line in lines
    )


def _view(brand: Brand, decision: Decision, identifier: str, expires_ms: int) -> OffersView:
    left_out = [f"{offer}: {reason}" for offer, reason in decision.excluded]
    chosen = decision.chosen.offer
    if chosen is None:
        return OffersView(offers=[], not_offered=left_out)
    made = OfferView(
        offer_id=identifier,
        title=chosen.title,
        kind=chosen.kind.value,
        discount=money_view(discount_minor(chosen, decision.context.lines), brand.currency),
        expires_at=as_text(expires_ms),
        reason=_SAID[chosen.kind],
    )
    return OffersView(offers=[made], not_offered=left_out)
