"""The sandbox's pages: the authentication page a shopper is sent to, and the list of test cards."""

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vault_zone.processors.sandbox_server.cards import (
    OWN_MEANING,
    PUBLISHED_CARDS,
    Behaviour,
    Brand,
    DeclineCode,
    PublishedCard,
    Source,
)
from vault_zone.processors.sandbox_server.objects import Charge, Status
from vault_zone.processors.sandbox_server.timing import Timing

TEMPLATES: Final = Path(__file__).parent / "templates"

_BRAND_NAMES: Final = MappingProxyType(
    {
        Brand.VISA: "Visa",
        Brand.MASTERCARD: "Mastercard",
        Brand.AMEX: "American Express",
        Brand.DISCOVER: "Discover",
        Brand.DINERS: "Diners Club",
        Brand.JCB: "JCB",
        Brand.UNIONPAY: "UnionPay",
    }
)

# ISO 4217: currencies whose minor unit is not a hundredth.
_NO_MINOR_UNIT: Final = frozenset(
    [
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    ]
)
_THOUSANDTHS: Final = frozenset(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"])


def display_amount(amount_minor: int, currency: str) -> str:
    """``EUR 1,234.50``: the amount in major units, by the currency's ISO 4217 exponent."""
    exponent = 0 if currency in _NO_MINOR_UNIT else 3 if currency in _THOUSANDTHS else 2
    major, minor = divmod(amount_minor, 10**exponent)
    return f"{currency} {major:,}.{minor:0{exponent}d}" if exponent else f"{currency} {major:,}"


def display_number(number: str) -> str:
    """The digits in the groups in which they are embossed."""
    if len(number) in {14, 15}:
        return f"{number[:4]} {number[4:10]} {number[10:]}"
    return " ".join(number[start : start + 4] for start in range(0, len(number), 4))


def return_address(charge: Charge) -> str:
    """The merchant's return URL with our caller's reference added to its query."""
    parts = urlsplit(charge.return_url)
    separator = "&" if parts.query else ""
    query = f"{parts.query}{separator}reference={quote(charge.reference, safe='')}"
    return urlunsplit(parts._replace(query=query))


def page_policy(form_target: str = "") -> str:
    """The Content-Security-Policy of a page: own style and icon, no script at all, no frame.

    Browsers apply form-action to the redirect after a form too (CSP 3, 6.4.1), so the merchant's origin is in it.
    """
    parts = urlsplit(form_target)
    # A host-source cannot be an IPv6 address (CSP 3, 2.3.1); its scheme is then the closest that can be said.
    origin = f"{parts.scheme}:" if ":" in (parts.hostname or "") else f"{parts.scheme}://{parts.netloc}"
    forms = f"'self' {origin}" if form_target else "'none'"
    return (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action {forms}"
    )


@dataclass(frozen=True, slots=True)
class _Row:
    number: str
    title: str
    outcome: str


@dataclass(frozen=True, slots=True)
class _Group:
    title: str
    note: str
    rows: tuple[_Row, ...]


class Pages:
    """Renders the pages. Everything that came from outside is escaped by the template engine."""

    def __init__(self, timing: Timing) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._groups = _groups(timing)

    def index(self) -> str:
        """The list of test cards."""
        return self._environment.get_template("index.html").render(
            groups=self._groups, stripe=Source.STRIPE, braintree=Source.BRAINTREE
        )

    def challenge(self, charge: Charge) -> str:
        """The authentication page; once the challenge has ended, the way back to the merchant."""
        return self._environment.get_template("acs.html").render(
            merchant=charge.merchant,
            amount=display_amount(charge.amount_minor, charge.currency),
            brand=_BRAND_NAMES[Brand(charge.brand)],
            last4=charge.last4,
            waiting=charge.status is Status.REQUIRES_ACTION,
            succeeded=charge.status is Status.SUCCEEDED,
            authorized=charge.status is Status.AUTHORIZED,
            given_up=charge.status in {Status.VOIDED, Status.EXPIRED},
            authentication_failed=charge.decline_code == DeclineCode.AUTHENTICATION_FAILED,
            return_address=return_address(charge),
        )

    def problem(self, title: str, advice: str) -> str:
        """A page that says what is wrong and what to do about it."""
        return self._environment.get_template("problem.html").render(title=title, advice=advice)


def _groups(timing: Timing) -> tuple[_Group, ...]:
    challenges = {Behaviour.CHALLENGE, Behaviour.CHALLENGE_UNLESS_AGREED, Behaviour.CHALLENGE_THEN_DECLINE}
    afterwards = {
        *(Behaviour.REFUND_LATER, Behaviour.REFUND_FAILS),
        *(Behaviour.DISPUTE_FRAUDULENT, Behaviour.DISPUTE_NOT_RECEIVED),
    }
    return (
        _group(
            "Succeed",
            "The charge succeeds at once, or is authorized if it is to be captured later.",
            {Behaviour.SUCCEED},
            timing,
        ),
        _group("Decline", "The charge is declined with the code shown.", {Behaviour.DECLINE}, timing),
        _group("Authenticate", "The shopper is sent to an authentication page first.", challenges, timing),
        _group("Come back", "The charge succeeds; its refund or its shopper has more to say.", afterwards, timing),
        _group(
            "Misbehave",
            "Timing that only this sandbox gives to these numbers, to rehearse lost and late replies.",
            set(OWN_MEANING),
            timing,
        ),
    )


def _group(title: str, note: str, behaviours: set[Behaviour], timing: Timing) -> _Group:
    cards = [card for card in PUBLISHED_CARDS if card.behaviour in behaviours]
    rows = tuple(_Row(display_number(card.number), card.title, outcome_text(card, timing)) for card in cards)
    return _Group(title, note, rows)


def outcome_text(card: PublishedCard, timing: Timing) -> str:
    """What a charge on the card does, in the words of the page."""
    waits = (timing.timeout_hold_seconds, timing.slow_seconds, timing.refund_seconds)
    hold, slow, refund = (f"{seconds:g}\N{NO-BREAK SPACE}s" for seconds in waits)
    texts = {
        Behaviour.SUCCEED: "succeeded",
        Behaviour.DECLINE: f"declined: {card.decline_code}",
        Behaviour.CHALLENGE: "succeeded once authenticated",
        Behaviour.CHALLENGE_UNLESS_AGREED: "succeeded once authenticated, or at once if the merchant begins it",
        Behaviour.REFUND_LATER: f"succeeded; a refund is pending for {refund}, then succeeds",
        Behaviour.REFUND_FAILS: f"succeeded; a refund is pending for {refund}, then fails",
        Behaviour.DISPUTE_FRAUDULENT: "succeeded, then disputed: fraudulent",
        Behaviour.DISPUTE_NOT_RECEIVED: "succeeded, then disputed: product_not_received",
        Behaviour.CHALLENGE_THEN_DECLINE: f"declined after authentication: {card.decline_code}",
        Behaviour.TIMEOUT_BEFORE: f"not charged; silence for {hold}, then the connection closes",
        Behaviour.TIMEOUT_AFTER: f"charged; silence for {hold}, then the connection closes",
        Behaviour.SLOW: f"charged; the reply comes after {slow}",
    }
    return texts[card.behaviour]
