"""From checkout, order and policy to what a page shows. Every amount is the text it came with."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final, NamedTuple

from commerce_api.brands import Brand
from commerce_api.errors import CommerceError
from commerce_api.pages.headers import web_url
from commerce_api.pages.masking import card_spoken, card_text, masked_email, shortened_address
from commerce_api.pages.texts import (
    ALREADY_PAID,
    DECLINED_TITLE,
    GENERAL_PROBLEM,
    NEEDED,
    NOT_ENOUGH,
    PROBLEMS,
    REMARKS,
    Alert,
)
from commerce_api.schemas import (
    CheckoutLineView,
    CheckoutView,
    MessageView,
    OrderView,
    ShippingOptionView,
    TotalsView,
)

_DECLINED: Final = "payment_declined"
_AUTHENTICATION: Final = "authentication_required"
_EXPIRED: Final = "expired"
_OUT_OF_STOCK: Final = "out_of_stock"
_LINE_PATH: Final = re.compile(r"\$\.lines\[([0-9]{1,3})\]")


class Screen(Enum):
    """What the page shows."""

    REVIEW = "review"
    INCOMPLETE = "incomplete"
    BANK = "bank"
    WAITING = "waiting"
    RECEIPT = "receipt"
    CANCELED = "canceled"
    EXPIRED = "expired"


class Line(NamedTuple):
    """A line of the order. ``each`` is the unit price where it is not the total."""

    quantity: int
    title: str
    each: str | None
    total: str


class Fact(NamedTuple):
    """A label with its value; ``spoken`` is what a screen reader says instead."""

    label: str
    value: str
    spoken: str | None = None


class Need(NamedTuple):
    """Something that keeps the order from being paid; ``subject`` is the product it is about."""

    text: str
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """Lines and sums. ``rows`` lead from the lines to ``total``."""

    lines: tuple[Line, ...]
    rows: tuple[Fact, ...]
    total_label: str
    total: str
    included_tax: str | None


@dataclass(frozen=True, slots=True)
class Conditions:
    """The brand's terms, as far as it states them."""

    returns: tuple[str, ...]
    support_url: str | None
    terms_url: str | None
    privacy_url: str | None


def screen_of(checkout: CheckoutView, problem: CommerceError | None, action_url: str | None) -> Screen:
    """What to show. What must hold:

    1. Whoever may have a payment under way gets no way to start a second one.
    2. What is finished stays finished, whatever else was said.
    """
    codes = {message.code for message in checkout.messages}
    if checkout.status == "completed":  # (2)
        return Screen.RECEIPT
    if checkout.status == "canceled":
        return Screen.EXPIRED if _EXPIRED in codes else Screen.CANCELED
    if checkout.status == "incomplete":
        return Screen.INCOMPLETE
    if action_url is not None:  # (1)
        return Screen.BANK
    in_payment = checkout.status == "complete_in_progress" or problem is CommerceError.CHECKOUT_IN_PAYMENT
    if in_payment or _AUTHENTICATION in codes:
        return Screen.WAITING
    # Its time is over, and nothing has swept it yet.
    return Screen.EXPIRED if problem is CommerceError.CHECKOUT_FINISHED else Screen.REVIEW


def alert_of(checkout: CheckoutView, problem: CommerceError | None, screen: Screen) -> Alert | None:
    """The box to show: what went wrong just now, else that the last payment did not go through."""
    if problem is not None:
        return ALREADY_PAID if screen is Screen.RECEIPT else PROBLEMS.get(problem, GENERAL_PROBLEM)
    if screen is Screen.REVIEW:
        for message in checkout.messages:
            if message.code == _DECLINED:
                return Alert(DECLINED_TITLE, message.content)
    return None


def needs_of(checkout: CheckoutView) -> tuple[Need, ...]:
    """What keeps the order from being paid."""
    return tuple(_need(message, checkout.lines) for message in checkout.messages if message.type == "error")


def remarks_of(checkout: CheckoutView) -> tuple[str, ...]:
    """What the shopper asked for and does not get."""
    return tuple(
        REMARKS.get(message.code, message.content)
        for message in checkout.messages
        if message.type == "warning" and message.code != _DECLINED
    )


def summary_of(checkout: CheckoutView, order: OrderView | None) -> Summary:
    """Lines and sums: the order's once there is one, else the checkout's."""
    counted = order.totals if order is not None else checkout.totals
    lines = order.lines if order is not None else checkout.lines
    known = order is not None or checkout.shipping_option_id is not None
    return Summary(
        lines=tuple(_line(line) for line in lines),
        rows=tuple(_rows(counted, shipping_known=known)),
        total_label="Total" if known else "Total so far",
        total=counted.total.text,
        included_tax=counted.tax.text if _tax_is_included(counted) else None,
    )


def facts_of(checkout: CheckoutView, order: OrderView | None) -> tuple[Fact, ...]:
    """What else there is to check: payment, delivery and contact, shortened."""
    address = order.shipping_address if order is not None else checkout.shipping_address
    option = order.shipping_option if order is not None else _chosen(checkout)
    order_id = order.order_id if order is not None else checkout.order_id
    facts = []
    if order_id is not None:
        facts.append(Fact("Order number", order_id))
    if order is not None:
        facts.append(Fact("Placed", moment_text(order.placed_at)))
        facts.append(Fact("Paid with", card_text(order.paid_with), card_spoken(order.paid_with)))
    if address is not None:
        facts.append(Fact("Deliver to", shortened_address(address)))
    if option is not None:
        facts.append(Fact("Delivery", f"{option.title}, {days_text(option)}"))
    if checkout.buyer is not None and checkout.buyer.email is not None:
        facts.append(Fact("E-mail", masked_email(checkout.buyer.email)))
    return tuple(facts)


def conditions_of(brand: Brand) -> Conditions:
    """Returns by paragraphs, and the links. Raises UnsafeUrl."""
    text = brand.policy.return_policy_text or ""
    return Conditions(
        returns=tuple(paragraph for line in text.split("\n") if (paragraph := line.strip())),
        support_url=web_url(brand.policy.support_url),
        terms_url=web_url(brand.policy.terms_url),
        privacy_url=web_url(brand.policy.privacy_url),
    )


def moment_text(moment: str) -> str:
    """``22 November 2026, 15:42 UTC`` from RFC 3339; what is not RFC 3339 stays as it is."""
    try:
        parsed = datetime.fromisoformat(moment)
        if parsed.tzinfo is None:
            return moment
        parsed = parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return moment
    return f"{parsed.day} {parsed:%B %Y, %H:%M} UTC"


def days_text(option: ShippingOptionView) -> str:
    """``3–7 days``, ``1 day``, ``same day``."""
    first, last = option.delivery_days_min, option.delivery_days_max
    if last == 0:
        return "same day"
    days = f"{first}–{last}" if first != last else f"{last}"
    return f"{days} {'day' if last == 1 else 'days'}"


def _line(line: CheckoutLineView) -> Line:
    return Line(line.quantity, line.title, line.unit_price.text if line.quantity > 1 else None, line.total.text)


def _rows(counted: TotalsView, *, shipping_known: bool) -> Sequence[Fact]:
    rows = [Fact("Subtotal", counted.items.text)]
    rows += [
        Fact(applied.title, f"−{applied.amount.text}" if applied.amount.amount_minor else "Applied")
        for applied in counted.applied
    ]
    if counted.discount.amount_minor and not counted.applied:
        rows.append(Fact("Discount", f"−{counted.discount.text}"))
    if counted.shipping.amount_minor:
        rows.append(Fact("Delivery", counted.shipping.text))
    else:
        rows.append(Fact("Delivery", "Free" if shipping_known else "Not known yet"))
    if counted.tax.amount_minor and not _tax_is_included(counted):
        rows.append(Fact("Tax", counted.tax.text))
    return rows


def _tax_is_included(counted: TotalsView) -> bool:
    before_tax_minor = counted.items.amount_minor - counted.discount.amount_minor + counted.shipping.amount_minor
    return counted.tax.amount_minor > 0 and counted.total.amount_minor == before_tax_minor


def _chosen(checkout: CheckoutView) -> ShippingOptionView | None:
    return next((option for option in checkout.shipping_options if option.id == checkout.shipping_option_id), None)


def _need(message: MessageView, lines: Sequence[CheckoutLineView]) -> Need:
    if message.code == _OUT_OF_STOCK:
        matched = _LINE_PATH.fullmatch(message.path or "")
        place = int(matched.group(1)) if matched else len(lines)
        return Need(NOT_ENOUGH, lines[place].title if place < len(lines) else None)
    known = NEEDED.get((message.code, message.path)) or NEEDED.get((message.code, None))
    return Need(known or message.content)
