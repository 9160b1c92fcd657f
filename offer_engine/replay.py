"""A decision played again from its record: the same context, offers and draw give the same decision, or the record is not true.

What is needed is all in the record but two things, each named there by a hash: the offers that were on the table, and the model
that ranked them.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from offer_engine.decide import Catalogue, Decision, Ranker, decide
from offer_engine.offers import (
    Audience,
    Context,
    ContextLine,
    History,
    Known,
    Left,
    Limits,
    NeverDiscounted,
    Offer,
    OfferKind,
    Rules,
    Verification,
)


class ReplayRefused(ValueError):
    """The offers or the ranker that are given are not those of the record."""


def replay(record: Mapping[str, Any], offers: Catalogue, ranker: Ranker) -> Decision:
    """The decision as it comes out again. Raises ReplayRefused."""
    if record.get("erased"):
        raise ReplayRefused("what was known of the shopper was erased at their wish")
    if record["policy_hash"] != offers.hash or record["policy"] != f"{ranker.name}:{ranker.version}":
        raise ReplayRefused("other offers, or another ranker, than the record's")
    decision = decide(context_of(record), offers, ranker, record["draw"])
    return replace(
        decision, fell_back=record.get("fell_back")
    )  # what happened to the model then is the record's to say


def is_same(record: Mapping[str, Any], again: Decision) -> bool:
    """Whether a decision came out again as the record has it.

    Which offers were left out is a set: its order says nothing. What a record leaves out of its context is as the default is.
    """
    return _content(again.record()) == _content(record)


def _content(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **record,
        "excluded": {each["offer"]: each["reason"] for each in record["excluded"]},
        "context": (context_of(record), record["context"]["features"]),
    }


def context_of(record: Mapping[str, Any]) -> Context:
    """The context that a decision was made in."""
    said = record["context"]
    known, rules = said["known"], said["rules"]
    return Context(
        brand=record["brand"],
        subject=record["subject"],
        currency=said["currency"],
        lines=tuple(
            ContextLine(variant, product, frozenset(categories), price_minor, quantity, in_stock)
            for variant, quantity, price_minor, product, categories, in_stock in said["lines"]
        ),
        now_ms=said["now_ms"],
        region=said["region"],
        known=Known(
            verification=Verification[record["verification"].upper()],
            consents=known["consents"],
            owned=frozenset(known["owned"]),
            history={offer: History(tuple(shown_ms), *more) for offer, (shown_ms, *more) in known["history"].items()},
            memory=known.get("memory", {}),
        ),
        rules=Rules(
            **{
                **rules,
                "never_discounted": tuple(
                    NeverDiscounted(frozenset(categories), frozenset(regions))
                    for categories, regions in rules["never_discounted"]
                ),
            }
        ),
        left={offer: Left(*parts) for offer, parts in said["left"].items()},
        has_codes=said["has_codes"],
    )


def offers_as_data(offers: Catalogue) -> list[dict[str, Any]]:
    """The offers as JSON data, to be kept under their hash."""
    return [_plain(asdict(offer)) for offer in offers.offers]


def offers_from(data: list[dict[str, Any]]) -> Catalogue:
    """What offers_as_data() gave."""
    return Catalogue([_offer(each) for each in data])


def _offer(data: dict[str, Any]) -> Offer:
    audience, limits = data["audience"], data["limits"]
    return Offer(
        **{
            **data,
            "kind": OfferKind(data["kind"]),
            "product_ids": frozenset(data["product_ids"]),
            "categories": frozenset(data["categories"]),
            "audience": Audience(
                regions=frozenset(audience["regions"]),
                needs_consent=audience["needs_consent"],
                verification=Verification(audience["verification"]),
                owns=frozenset(audience["owns"]),
                owns_none_of=frozenset(audience["owns_none_of"]),
            ),
            "limits": Limits(**limits),
        }
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return sorted(value) if isinstance(value, frozenset) else value
