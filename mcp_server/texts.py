"""Views as text that reads well to people and models alike. Every figure and id is the view's own (I6).

What merchants and buyers wrote stands between quotation marks, on one line and bounded (commerce_api/shown.py): a title cannot
begin a line of its own, and cannot pass for what is said here. Plain values ("oat", "300 ml") stand without.
"""

import json
import re
from functools import singledispatch
from typing import Final

from pydantic import BaseModel

from commerce_api.schemas import (
    AskedProductView,
    AskView,
    CheckoutView,
    ComparedView,
    CompareView,
    OffersView,
    OfferView,
    OrderRequestView,
    OrderView,
    ProductView,
    SavedMethodsView,
    SearchView,
    TotalsView,
    VariantView,
)
from commerce_api.shown import quoted
from mcp_server.sheet import SheetView

_VARIANTS_SHOWN = 6
_DESCRIPTION_LENGTH = 400
_VALUE_LENGTH = 80
_PLAIN: Final = re.compile(r"[^\W_]+(?:[ .,'&/+%-]{1,3}[^\W_]+){0,5}", re.UNICODE)
_STATUS = {
    "incomplete": "is not complete yet",
    "ready_for_complete": "is ready: confirm the total with the shopper, then hand it over",
    "requires_escalation": "waits for the shopper",
    "complete_in_progress": "is being paid",
    "completed": "is paid",
    "canceled": "was canceled or ran out of time",
}


@singledispatch
def text_of(view: BaseModel) -> str:
    """The view as text. Raises TypeError for a view that has none."""
    raise TypeError(f"no text for {type(view).__name__}")


@text_of.register
def _(view: SearchView) -> str:
    if not view.products:
        return "Nothing was found. Try fewer or other words, or a wider price range."
    found = [f"{place}. {_headline(product)}" for place, product in enumerate(view.products, 1)]
    more = f"There may be more: search again with offset {view.next_offset}." if view.next_offset is not None else ""
    return _lines(_count(len(view.products), "product") + " found, best first:", *found, more)


@text_of.register
def _(view: ProductView) -> str:
    described = quoted(view.description, _DESCRIPTION_LENGTH) if view.description else ""
    variants = [f"- {_variant(variant)}" for variant in view.variants]
    return _lines(f"{quoted(view.title)} ({_value(view.brand)})", described, "Variants:", *variants)


@text_of.register
def _(view: ComparedView) -> str:
    compared = _comparison(view.comparison) if view.comparison is not None else ""
    return _lines(text_of.dispatch(ProductView)(view), compared)


def _comparison(view: CompareView) -> str:
    columns = " | ".join(quoted(product.title) for product in view.products)
    rows = [f"- {_value(row.name)}: {' | '.join(map(_value, row.values))}" for row in view.rows]
    return _lines(f"Compared: {columns}", *rows)


@text_of.register
def _(view: AskView) -> str:
    products = [f"{place}. {_asked(product)}" for place, product in enumerate(view.products, 1)]
    step = view.next_step
    to_call = (
        f"Next: {step.tool} {json.dumps(step.arguments, ensure_ascii=False)}. {step.why}" if step is not None else ""
    )
    offers = [f"Take the offer with offer_id {offer.offer_id}, until {offer.expires_at}." for offer in view.offers]
    return _lines(view.answer, *products, *offers, to_call)


@text_of.register
def _(view: OffersView) -> str:
    if not view.offers:
        named = f" Name decision_id {view.decision_id} in a checkout." if view.decision_id else ""
        return f"There is no offer for these products now. Promise none.{named}"
    return _lines(
        *(
            f"Offer: {quoted(offer.title)}{_off(offer)}, until {offer.expires_at}. {offer.reason} "
            f"Take it with offer_id {offer.offer_id}."
            for offer in view.offers
        )
    )


@text_of.register
def _(view: CheckoutView) -> str:
    goods = [f"- {line.quantity} × {quoted(line.title)}: {line.total.text}" for line in view.lines]
    notes = [f"{message.type.capitalize()}: {message.content}" for message in view.messages]
    link = f"The shopper reviews and pays here: {view.continue_url}" if view.continue_url else ""
    order = f"Order: {view.order_id}" if view.order_id else ""
    head = f"Checkout {view.checkout_id} {_STATUS[view.status]}."
    return _lines(head, *goods, _totals(view.totals), link, order, *notes)


@text_of.register
def _(view: SheetView) -> str:
    notes = [f"{message.type.capitalize()}: {message.content}" for message in view.messages]
    link = f"The shopper can pay here: {view.continue_url}" if view.continue_url else ""
    order = f"Order: {view.order.id}" if view.order else ""
    return _lines(f"Checkout {view.id} is {view.status.replace('_', ' ')}.", link, order, *notes)


@text_of.register
def _(view: OrderView) -> str:
    goods = [f"- {line.quantity} × {quoted(line.title)}: {line.total.text}" for line in view.lines]
    shipping = view.shipping_option
    way = (
        f"Shipping: {quoted(shipping.title)}, {shipping.delivery_days_min} to {shipping.delivery_days_max} days."
        if shipping
        else ""
    )
    refunded = f"Given back so far: {view.refunded.text}." if view.refunded and view.refunded.amount_minor else ""
    requests = [
        f"{request.kind.capitalize()} request {request.request_id}: {request.state}." for request in view.requests
    ]
    paid = f"Paid with {view.paid_with.brand} ending {view.paid_with.last4}."
    head = f"Order {view.order_id} of {view.placed_at[:10]} is {view.status.replace('_', ' ')}."
    return _lines(head, *goods, _totals(view.totals), paid, way, refunded, *requests)


@text_of.register
def _(view: OrderRequestView) -> str:
    said = f"The request to {view.kind} order {view.order_id} is {view.state}: {view.request_id}."
    promise = "The merchant decides on it; no money has moved. Look at the order later to see what came of it."
    return _lines(
        said,
        promise if view.state == "open" else "",
        quoted(view.returns_policy, _DESCRIPTION_LENGTH) if view.returns_policy else "",
    )


@text_of.register
def _(view: SavedMethodsView) -> str:
    if not view.methods:
        return "The shopper has no saved payment method here. They can save one on the payment page."
    shown = [f"- {method.brand} ending {method.last4}, saved {method.saved_at[:10]}" for method in view.methods]
    return _lines("Saved payment methods, to show only; the shopper chooses on the payment page:", *shown)


def _off(offer: OfferView) -> str:
    return f", {offer.discount.text} off" if offer.discount.amount_minor else ""


def _headline(product: ProductView) -> str:
    shown = [_variant(variant) for variant in product.variants[:_VARIANTS_SHOWN]]
    more = len(product.variants) - len(shown)
    rest = [f"and {more} more variants: get_product"] if more > 0 else []
    return f"{quoted(product.title)} ({product.id}): {'; '.join(shown + rest)}"


def _asked(product: AskedProductView) -> str:
    return f"{_headline(product)}. {'Fits' if product.fits else 'Does not fit all of it'}: {'; '.join(product.why)}."


def _variant(variant: VariantView) -> str:
    options = ", ".join(_value(option.value) for option in variant.options)
    stock = "" if variant.available else f", {variant.availability.replace('_', ' ')}"
    was = f" (was {variant.list_price.text})" if variant.list_price else ""
    return f"{options or quoted(variant.title)} {variant.price.text}{was}{stock} [{variant.id}]"


def _value(text: str) -> str:
    """A short text of others, between quotation marks unless it is plain words and figures."""
    return text if len(text) <= _VALUE_LENGTH and _PLAIN.fullmatch(text) else quoted(text, _VALUE_LENGTH)


def _totals(totals: TotalsView) -> str:
    parts = [f"items {totals.items.text}"]
    parts += [f"{quoted(applied.title)} −{applied.amount.text}" for applied in totals.applied]
    parts += [f"shipping {totals.shipping.text}", f"tax {totals.tax.text}"]
    return f"Total {totals.total.text} ({', '.join(parts)})."


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _lines(*parts: str) -> str:
    return "\n".join(part for part in parts if part)
