"""Pricing a checkout's document against the catalogue, the policy and the signed offer: what it comes to, what it lacks."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

from sqlalchemy import select
from sqlalchemy.engine import Connection

from commerce_api.brands import Brand
from commerce_api.checkout.totals import Destination, FlatTax, Totals, find_code, totals
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import offer_decision, variant
from commerce_api.offering.terms import rules_of
from commerce_api.policy import DiscountCode, ShippingOption
from commerce_api.regions import region_of
from offer_engine.eligibility import no_longer_applies
from offer_engine.offers import Context, ContextLine, Offer
from offer_engine.snapshot import SnapshotInvalid, open_snapshot
from tokenization.money import MAXIMUM_AMOUNT_MINOR

OFFER_PATH = "$.offer_id"


@dataclass(frozen=True, slots=True)
class PricedLine:
    """A line as priced: unit price and title come from the catalogue."""

    variant_id: str
    product_id: str
    title: str
    quantity: int
    unit_price_minor: int
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps the checkout from being paid (error) or that was left out of it (warning)."""

    severity: str
    code: str
    content: str
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Priced:
    """A checkout's lines, totals and problems at one moment."""

    lines: tuple[PricedLine, ...]
    totals: Totals
    problems: tuple[Problem, ...]
    shipping_option_id: str | None

    @property
    def is_ready(self) -> bool:
        """Whether nothing is missing for payment."""
        return not any(problem.severity == "error" for problem in self.problems)

    def stored(self) -> dict[str, Any]:
        """As JSON data, for the checkout's row and the order."""
        return asdict(self)

    @classmethod
    def restored(cls, stored: dict[str, Any]) -> Self:
        """What stored() gave."""
        return cls(
            lines=tuple(PricedLine(**{**line, "categories": tuple(line["categories"])}) for line in stored["lines"]),
            totals=Totals(**{**stored["totals"], "applied": tuple(tuple(row) for row in stored["totals"]["applied"])}),
            problems=tuple(Problem(**problem) for problem in stored["problems"]),
            shipping_option_id=stored["shipping_option_id"],
        )


def price(
    connection: Connection,
    brand: Brand,
    document: dict[str, Any],
    principal: str,
    offer_key: bytes,
    now_ms: int,
    *,
    strict: bool = False,
) -> Priced:
    """Prices the document now.

    ``strict``, for what is given now: raises CommerceRefusal(SHIPPING_OPTION_UNKNOWN, TOTAL_OUT_OF_BOUNDS). Else, for what was
    given once and does not hold any more, these are problems of the checkout. Raises CommerceRefusal(PRODUCT_UNKNOWN).
    """
    problems: list[Problem] = []
    lines = _lines(connection, brand, document["lines"], problems)
    context_lines = tuple(
        ContextLine(line.variant_id, line.product_id, frozenset(line.categories), line.unit_price_minor, line.quantity)
        for line in lines
    )
    subtotal_minor = sum(line.unit_price_minor * line.quantity for line in lines)
    codes = _codes(brand, document.get("discount_codes") or [], subtotal_minor, now_ms, problems)
    destination = _destination(brand, document.get("shipping_address"), problems)
    context = Context(
        brand.id,
        principal,
        brand.currency,
        context_lines,
        now_ms,
        region=destination.region or destination.country if destination else None,
        rules=rules_of(brand.policy.offer_rules),
        has_codes=bool(codes),
    )
    offer = _offer(connection, document.get("offer_id"), offer_key, context, problems)
    shipping = _shipping(brand, document.get("shipping_option_id"), destination, problems, strict=strict)
    _require_buyer(document, problems)
    counted = totals(
        context_lines,
        codes=codes,
        offer=offer,
        shipping=shipping,
        destination=destination,
        tax=FlatTax(brand.policy.tax),
    )
    if counted.items_minor > MAXIMUM_AMOUNT_MINOR or counted.total_minor > MAXIMUM_AMOUNT_MINOR:
        if strict:
            raise CommerceRefusal(CommerceError.TOTAL_OUT_OF_BOUNDS)
        problems.append(Problem("error", "total_out_of_bounds", CommerceError.TOTAL_OUT_OF_BOUNDS.message, "$.lines"))
    if lines and counted.total_minor <= 0:
        problems.append(Problem("error", "nothing_to_pay", "This checkout comes to nothing; there is nothing to pay."))
    return Priced(lines, counted, tuple(problems), shipping.id if shipping else None)


def _lines(
    connection: Connection, brand: Brand, wanted: list[dict[str, Any]], problems: list[Problem]
) -> tuple[PricedLine, ...]:
    if not wanted:
        problems.append(Problem("error", "missing", "Add at least one product.", "$.lines"))
        return ()
    rows = {
        row.id: row
        for row in connection.execute(
            select(variant).where(
                variant.c.brand == brand.id, variant.c.id.in_([line["variant_id"] for line in wanted])
            )
        )
    }
    lines = []
    for place, line in enumerate(wanted):
        row = rows.get(line["variant_id"])
        if row is None:
            raise CommerceRefusal(CommerceError.PRODUCT_UNKNOWN)
        if not row.available or (row.stock is not None and row.stock < line["quantity"]):
            problems.append(
                Problem("error", "out_of_stock", "There is not enough of this product left.", f"$.lines[{place}]")
            )
        lines.append(
            PricedLine(
                row.id, row.product_id, row.title, line["quantity"], row.price_minor, tuple(json.loads(row.categories))
            )
        )
    return tuple(lines)


def _offer(
    connection: Connection, decision: str | None, offer_key: bytes, context: Context, problems: list[Problem]
) -> Offer | None:
    if decision is None:
        return None
    signed = connection.execute(
        select(offer_decision.c.snapshot).where(
            offer_decision.c.id == decision, offer_decision.c.brand == context.brand
        )
    ).scalar_one_or_none()
    try:
        snapshot = open_snapshot(
            signed or "", offer_key, brand=context.brand, subject=context.subject, now_ms=context.now_ms
        )
    except SnapshotInvalid:
        problems.append(
            Problem("warning", "offer_invalid", "The offer no longer holds. Ask for offers again.", OFFER_PATH)
        )
        return None
    if context.region is None and snapshot.offer.audience.regions:
        return snapshot.offer  # where it goes is not said yet, and without that nothing is paid
    if no_longer_applies(snapshot.offer, context) is not None:
        problems.append(
            Problem("warning", "offer_not_applicable", "The offer does not apply to these products.", OFFER_PATH)
        )
        return None
    return snapshot.offer


def _codes(
    brand: Brand, texts: list[str], subtotal_minor: int, now_ms: int, problems: list[Problem]
) -> list[DiscountCode]:
    found: list[DiscountCode] = []
    for place, text in enumerate(texts):
        code = find_code(brand.policy, text, subtotal_minor, now_ms)
        if code is None:
            problems.append(
                Problem(
                    "warning", "discount_code_invalid", "This code does not hold here.", f"$.discount_codes[{place}]"
                )
            )
        elif code not in found:
            found.append(code)
    return found


def _destination(brand: Brand, address: dict[str, Any] | None, problems: list[Problem]) -> Destination | None:
    if address is None:
        problems.append(Problem("error", "missing", "Add where it should be shipped.", "$.shipping_address"))
        return None
    if address["country"] not in brand.policy.ships_to:
        problems.append(
            Problem(
                "error", "country_not_served", "The brand does not ship to this country.", "$.shipping_address.country"
            )
        )
    country = address["country"]
    region = region_of(country, address.get("region") or "", brand.policy.spoken_of)
    if region is None and brand.policy.tax.tells_regions_apart(country):
        problems.append(
            Problem(
                "warning",
                "region_not_known",
                "Give the region as its code of ISO 3166-2, such as CA; the tax is the country's until then.",
                "$.shipping_address.region",
            )
        )
    return Destination(country, region)


def _shipping(
    brand: Brand, chosen: str | None, destination: Destination | None, problems: list[Problem], *, strict: bool
) -> ShippingOption | None:
    if destination is None:
        return None
    cheapest = min(brand.policy.shipping_options, key=lambda option: option.price_minor)
    if chosen is None:
        return cheapest
    for option in brand.policy.shipping_options:
        if option.id == chosen:
            return option
    if strict:
        raise CommerceRefusal(CommerceError.SHIPPING_OPTION_UNKNOWN)
    message = CommerceError.SHIPPING_OPTION_UNKNOWN.message
    problems.append(Problem("error", "shipping_option_unknown", message, "$.shipping_option_id"))
    return cheapest


def _require_buyer(document: dict[str, Any], problems: list[Problem]) -> None:
    if not (document.get("buyer") or {}).get("email"):
        problems.append(Problem("error", "missing", "Add the buyer's e-mail address for the receipt.", "$.buyer.email"))
