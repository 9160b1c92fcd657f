"""From rows and checkouts to what agents see (schemas.py). Nothing is computed here that is not in the record (I6)."""

import json
from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy.engine import Row

from commerce_api.brands import Brand
from commerce_api.checkout.confirmation import confirmation_of
from commerce_api.checkout.pricing import Priced
from commerce_api.checkout.service import Checkout
from commerce_api.checkout.states import CheckoutState
from commerce_api.checkout.totals import shipping_price_minor
from commerce_api.links import Links
from commerce_api.policy import ShippingOption
from commerce_api.schemas import (
    AddressGiven,
    AppliedView,
    BuyerGiven,
    CardView,
    CheckoutLineView,
    CheckoutView,
    CompareRowView,
    CompareView,
    MessageView,
    MoneyView,
    OptionView,
    OrderRequestView,
    OrderView,
    ProductView,
    ShippingOptionView,
    Status,
    TotalsView,
    VariantView,
)
from commerce_api.shown import one_line
from tokenization.clock import as_text
from tokenization.money import Money

STATUS_OF: dict[CheckoutState, Status] = {
    CheckoutState.DRAFT: "incomplete",
    CheckoutState.READY: "ready_for_complete",
    CheckoutState.ESCALATED: "requires_escalation",
    CheckoutState.PROCESSING: "complete_in_progress",
    CheckoutState.AUTHENTICATION: "requires_escalation",
    CheckoutState.COMPLETED: "completed",
    CheckoutState.CANCELED: "canceled",
    CheckoutState.EXPIRED: "canceled",
}
_MAY_BE_CONFIRMED = (CheckoutState.READY, CheckoutState.ESCALATED)
_STATE_MESSAGES = {
    CheckoutState.READY: (
        "info",
        "ready",
        "Everything needed is here. Confirm the total with the shopper, then call complete_checkout.",
    ),
    CheckoutState.ESCALATED: (
        "info",
        "payment_handed_off",
        (
            "Give the shopper continue_url to review and pay. Never ask for card details in the conversation. "
            "Then call complete_checkout or get_checkout to learn the outcome."
        ),
    ),
    CheckoutState.PROCESSING: ("info", "payment_in_progress", "The payment is being made. Ask again in a few seconds."),
    CheckoutState.AUTHENTICATION: (
        "info",
        "authentication_required",
        "The shopper's bank wants them to confirm the payment; continue_url leads there.",
    ),
    CheckoutState.EXPIRED: ("info", "expired", "This checkout ran out of time. Create a new one."),
}
# What a shopper is told of a payment that did not come about. Never more than the bank would say.
DECLINE_TEXTS = {
    "insufficient_funds": "The card was declined: insufficient funds. Another card may work.",
    "expired_card": "The card was declined: it has expired. Another card may work.",
    "incorrect_cvc": "The card was declined: the security code does not match. Check it and try again.",
    "authentication_failed": "The bank could not confirm that it is you. Try again or use another card.",
    "authentication_abandoned": "Your bank's confirmation did not come in time. Nothing was charged; pay again to go on.",
    "grant_not_usable": "This payment could not be started: what it was to be paid with has expired, was used, or is for "
    "another purchase. Nothing was charged; another card may work.",
    "security_code_gone": "Too much time passed since the card was entered. Enter it once more; nothing was charged.",
}
_DECLINED = "The card was declined. Nothing was charged; another card may work."


def money_view(amount_minor: int, currency: str) -> MoneyView:
    """An amount for agents and people."""
    return MoneyView(amount_minor=amount_minor, currency=currency, text=Money(amount_minor, currency).text())


def product_view(brand: Brand, rows: "Sequence[Row[Any]]") -> ProductView:
    """A product from the rows of its variants; at least one."""
    first = rows[0]
    return ProductView(
        id=first.product_id,
        title=first.product_title,
        description=first.description[:2000],
        brand=first.brand_name or brand.name,
        categories=json.loads(first.categories),
        image_url=first.image_url,
        variants=[_variant_view(row, brand.currency) for row in rows],
    )


def checkout_view(current: Checkout, links: Links, declined: str | None = None) -> CheckoutView:
    """A checkout for agents. ``declined`` is the code of the last payment that did not come about."""
    currency = current.brand.currency
    subtotal_minor = current.priced.totals.items_minor
    paying = current.state in (CheckoutState.ESCALATED, CheckoutState.AUTHENTICATION, CheckoutState.PROCESSING)
    document = current.document
    return CheckoutView(
        checkout_id=current.id,
        brand=current.brand.id,
        status=STATUS_OF[current.state],
        lines=_lines(current.priced, currency),
        buyer=BuyerGiven(**document["buyer"]) if document.get("buyer") else None,
        shipping_address=AddressGiven(**document["shipping_address"]) if document.get("shipping_address") else None,
        shipping_options=[
            _option(option, subtotal_minor, currency) for option in current.brand.policy.shipping_options
        ],
        shipping_option_id=current.priced.shipping_option_id,
        totals=_totals(current.priced, currency),
        messages=_messages(current, declined),
        confirmation=confirmation_of(current) if current.state in _MAY_BE_CONFIRMED else None,
        continue_url=links.checkout_page(current.brand.id, current.id) if paying else None,
        order_id=current.order_id,
        expires_at=as_text(current.expires_ms),
    )


def order_view(brand: Brand, document: dict[str, Any], requests: "Sequence[Row[Any]]" = ()) -> OrderView:
    """An order for agents and for the receipt. ``requests`` are the rows of what the shopper asked for."""
    refunded_minor = document["refunded_minor"]
    priced = Priced.restored(document["priced"])
    chosen = [option for option in brand.policy.shipping_options if option.id == priced.shipping_option_id]
    return OrderView(
        order_id=document["id"],
        checkout_id=document["checkout"],
        brand=brand.id,
        status=_order_status(document["captured_minor"], refunded_minor),
        placed_at=as_text(document["created_ms"]),
        lines=_lines(priced, brand.currency),
        totals=_totals(priced, brand.currency),
        paid_with=CardView(**document["card"]),
        shipping_address=AddressGiven(**document["shipping_address"]) if document.get("shipping_address") else None,
        shipping_option=_option(chosen[0], priced.totals.items_minor, brand.currency) if chosen else None,
        refunded=money_view(refunded_minor, brand.currency) if refunded_minor else None,
        requests=[order_request_view(brand, row) for row in requests],
        sandbox=document["sandbox"],
    )


def order_request_view(brand: Brand, row: "Row[Any]") -> OrderRequestView:
    """A shopper's request, with the merchant's words about returns."""
    return OrderRequestView(
        request_id=row.id,
        order_id=row.order_id,
        kind=row.kind,
        reason=row.reason,
        state=row.state,
        variant_ids=json.loads(row.variants),
        asked_at=as_text(row.created_ms),
        returns_policy=brand.policy.return_policy_text,
    )


def compare_view(products: Sequence[ProductView]) -> CompareView:
    """Products beside each other, by what their records say."""
    names = list(dict.fromkeys(option.name for product in products for v in product.variants for option in v.options))
    rows = {
        "price": [_price_range(product) for product in products],
        "available": [_availability(product) for product in products],
        "brand": [product.brand for product in products],
        "category": [", ".join(product.categories) or "-" for product in products],
    }
    # An option that is called like one of these would pass for it.
    own = [name for name in names if one_line(name).casefold() not in rows]
    rows |= {name: [_choices(product, name) for product in products] for name in own}
    return CompareView(
        products=list(products), rows=[CompareRowView(name=name, values=values) for name, values in rows.items()]
    )


def _price_range(product: ProductView) -> str:
    ordered = sorted(product.variants, key=lambda variant: variant.price.amount_minor)
    lowest, highest = ordered[0].price, ordered[-1].price
    return lowest.text if lowest == highest else f"{lowest.text} to {highest.text}"


def _availability(product: ProductView) -> str:
    count = sum(variant.available for variant in product.variants)
    return f"{count} of {len(product.variants)} variants"


def _choices(product: ProductView, name: str) -> str:
    found = dict.fromkeys(option.value for v in product.variants for option in v.options if option.name == name)
    return ", ".join(found) or "-"


def _order_status(captured_minor: int, refunded_minor: int) -> Literal["confirmed", "partly_refunded", "refunded"]:
    if not refunded_minor:
        return "confirmed"
    return "refunded" if refunded_minor >= captured_minor else "partly_refunded"


def _variant_view(row: "Row[Any]", currency: str) -> VariantView:
    enough = row.stock is None or row.stock > row.reserved
    return VariantView(
        id=row.id,
        title=row.title,
        price=money_view(row.price_minor, currency),
        list_price=money_view(row.list_price_minor, currency) if row.list_price_minor else None,
        available=bool(row.available) and enough,
        availability=row.availability if enough else "out_of_stock",
        options=[OptionView(name=name, value=value) for name, value in json.loads(row.options)],
        url=row.url,
    )


def _lines(priced: Priced, currency: str) -> list[CheckoutLineView]:
    return [
        CheckoutLineView(
            variant_id=line.variant_id,
            title=line.title,
            quantity=line.quantity,
            unit_price=money_view(line.unit_price_minor, currency),
            total=money_view(line.unit_price_minor * line.quantity, currency),
        )
        for line in priced.lines
    ]


def _totals(priced: Priced, currency: str) -> TotalsView:
    counted = priced.totals
    return TotalsView(
        items=money_view(counted.items_minor, currency),
        discount=money_view(counted.discount_minor, currency),
        shipping=money_view(counted.shipping_minor, currency),
        tax=money_view(counted.tax_minor, currency),
        total=money_view(counted.total_minor, currency),
        applied=[
            AppliedView(id=name, title=title, amount=money_view(taken_minor, currency))
            for name, title, taken_minor in counted.applied
        ],
    )


def _option(option: ShippingOption, subtotal_minor: int, currency: str) -> ShippingOptionView:
    return ShippingOptionView(
        id=option.id,
        title=option.title,
        price=money_view(shipping_price_minor(option, subtotal_minor), currency),
        delivery_days_min=option.delivery_days_min,
        delivery_days_max=option.delivery_days_max,
    )


def _messages(current: Checkout, declined: str | None) -> list[MessageView]:
    messages = [
        MessageView.model_validate(
            {"type": problem.severity, "code": problem.code, "content": problem.content, "path": problem.path}
        )
        for problem in current.priced.problems
    ]
    if declined and current.state is CheckoutState.ESCALATED:
        text = DECLINE_TEXTS.get(declined, _DECLINED)
        messages.append(MessageView(type="warning", code="payment_declined", content=text))
    if current.state in _STATE_MESSAGES:
        kind, code, content = _STATE_MESSAGES[current.state]
        messages.append(MessageView.model_validate({"type": kind, "code": code, "content": content}))
    return messages
