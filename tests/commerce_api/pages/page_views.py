"""Checkouts and orders for the tests of the pages, and the page as a reader of HTML sees it."""

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

from commerce_api.brands import Brand
from commerce_api.errors import CommerceError
from commerce_api.pages.render import render_checkout
from commerce_api.policy import Policy, default_policy
from commerce_api.schemas import (
    AddressGiven,
    AppliedView,
    BuyerGiven,
    CardView,
    CheckoutLineView,
    CheckoutView,
    MessageView,
    MoneyView,
    OrderView,
    ShippingOptionView,
    TotalsView,
)
from tokenization.money import Money

VOID = {"meta", "link", "input", "br"}
PAGE_URL = "/fernhill-outfitters/checkout/chk_test"
PAY_URL = f"{PAGE_URL}/pay"
OPENER = "opn_" + "bcdf" * 16
BANK_URL = "https://bank.example/confirm/1"
DECLINED_TEXT = "The card was declined: insufficient funds. Another card may work."
RETURNS = "Send anything back within 30 days, unworn.\nWe pay the way back in the US."


def usd(amount_minor: int) -> MoneyView:
    """An amount as the views make it."""
    return MoneyView(amount_minor=amount_minor, currency="USD", text=Money(amount_minor, "USD").text())


def brand(name: str = "Fernhill Outfitters", **policy: Any) -> Brand:
    """A brand with returns, help and terms, or with what a test changes of its policy."""
    usual: dict[str, Any] = {
        **default_policy("USD").model_dump(),
        "support_url": "https://fernhill.example/help",
        "terms_url": "https://fernhill.example/terms",
        "privacy_url": "https://fernhill.example/privacy",
        "return_policy_text": RETURNS,
    }
    return Brand("fernhill-outfitters", name, "USD", Policy.model_validate({**usual, **policy}), 1)


def bare_brand() -> Brand:
    """A brand that states no terms."""
    return brand(support_url=None, terms_url=None, privacy_url=None, return_policy_text=None)


def lines() -> list[CheckoutLineView]:
    """A jacket and two pairs of socks."""
    return [
        line("Alder trail jacket, moss, size M", 1, 11_900),
        line("Merino hiking socks", 2, 1_800),
    ]


def line(title: str, quantity: int, unit_minor: int) -> CheckoutLineView:
    """A line with its sum."""
    return CheckoutLineView(
        variant_id="v", title=title, quantity=quantity, unit_price=usd(unit_minor), total=usd(unit_minor * quantity)
    )


def totals(**changed: Any) -> TotalsView:
    """What the usual lines come to: 10 % off, delivery and tax on top."""
    usual: dict[str, Any] = {
        "items": usd(15_500),
        "discount": usd(1_550),
        "shipping": usd(500),
        "tax": usd(1_264),
        "total": usd(15_714),
        "applied": [AppliedView(id="ten", title="10% off your order", amount=usd(1_550))],
    }
    return TotalsView(**{**usual, **changed})


def address(**changed: Any) -> AddressGiven:
    """An address of which most must not be shown."""
    usual: dict[str, Any] = {
        "name": "Ada Quillfeather",
        "line1": "1742 Larkspur Lane",
        "line2": "Apartment 9",
        "city": "Portland",
        "region": "OR",
        "postal_code": "97205",
        "country": "US",
    }
    return AddressGiven(**{**usual, **changed})


def option(**changed: Any) -> ShippingOptionView:
    """Standard shipping."""
    usual: dict[str, Any] = {
        "id": "standard",
        "title": "Standard shipping",
        "price": usd(500),
        "delivery_days_min": 3,
        "delivery_days_max": 7,
    }
    return ShippingOptionView(**{**usual, **changed})


def checkout(status: str = "requires_escalation", **changed: Any) -> CheckoutView:
    """A usual checkout, with what a test changes of it."""
    usual: dict[str, Any] = {
        "checkout_id": "chk_test",
        "brand": "fernhill-outfitters",
        "status": status,
        "lines": lines(),
        "buyer": BuyerGiven(name="Ada Quillfeather", email="ada.quillfeather@example.com"),
        "shipping_address": address(),
        "shipping_options": [option()],
        "shipping_option_id": "standard",
        "totals": totals(),
        "messages": [],
        "expires_at": "2026-11-22T15:42:00.000Z",
    }
    return CheckoutView(**{**usual, **changed})


def order(**changed: Any) -> OrderView:
    """The order that the usual checkout becomes."""
    usual: dict[str, Any] = {
        "order_id": "ord_k3v9q2m7x4",
        "checkout_id": "chk_test",
        "brand": "fernhill-outfitters",
        "status": "confirmed",
        "placed_at": "2026-11-22T15:20:07.120Z",
        "lines": lines(),
        "totals": totals(),
        "paid_with": CardView(brand="visa", last4="4242"),
        "shipping_address": address(),
        "shipping_option": option(),
        "sandbox": True,
    }
    return OrderView(**{**usual, **changed})


def message(code: str, content: str = "", path: str | None = None, kind: str = "info") -> MessageView:
    """A message as agents see it."""
    return MessageView.model_validate({"type": kind, "code": code, "content": content, "path": path})


DECLINED = message("payment_declined", DECLINED_TEXT, kind="warning")
AUTHENTICATION = message("authentication_required", "The shopper's bank wants them to confirm.")
EXPIRED = message("expired", "This checkout ran out of time. Create a new one.")
LACKING = [
    message("missing", "Add where it should be shipped.", "$.shipping_address", "error"),
    message("missing", "Add the buyer's e-mail address for the receipt.", "$.buyer.email", "error"),
    message("out_of_stock", "There is not enough of this product left.", "$.lines[1]", "error"),
    message("discount_code_invalid", "This code does not hold here.", "$.discount_codes[0]", "warning"),
]


def incomplete() -> CheckoutView:
    """A checkout that lacks address and e-mail, and of which something is sold out."""
    return checkout(
        "incomplete",
        buyer=None,
        shipping_address=None,
        shipping_option_id=None,
        totals=totals(shipping=usd(0), tax=usd(0), total=usd(13_950)),
        messages=LACKING,
    )


def page(
    shown: CheckoutView | None = None,
    *,
    of: Brand | None = None,
    paid: OrderView | None = None,
    problem: CommerceError | None = None,
    action_url: str | None = None,
) -> str:
    """The page of a checkout."""
    return render_checkout(
        brand=of or brand(),
        checkout=shown or checkout(),
        order=paid,
        problem=problem,
        pay_url=PAY_URL,
        action_url=action_url,
        opener=OPENER,
    )


class Document(HTMLParser):
    """Elements with their attributes and own text. Raises AssertionError where tags do not match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == [], self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute of {tag} stands twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self._open[-1] if self._open else "", data.strip()))

    @property
    def structure(self) -> list[tuple[str, tuple[str, ...]]]:
        """Every element with the names of its attributes: what no text may change."""
        return [(tag, tuple(attrs)) for tag, attrs in self.elements]

    @property
    def text(self) -> str:
        """What is read, on one line."""
        return " ".join(text for tag, text in self.texts if tag != "title")

    def all(
        self, tag: str, where: Callable[[dict[str, str | None]], bool] = lambda _: True
    ) -> list[dict[str, str | None]]:
        """The attributes of every element of one kind."""
        return [attrs for name, attrs in self.elements if name == tag and where(attrs)]

    def values(self, attribute: str) -> list[str]:
        """Every value of an attribute, wherever it stands."""
        return [attrs[attribute] or "" for _, attrs in self.elements if attribute in attrs]
