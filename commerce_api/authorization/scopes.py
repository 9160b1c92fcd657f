"""What an assistant may be allowed, in the words that the shopper is asked with.

Which tool needs which scope: mcp_server/scopes.py.
"""

from collections.abc import Iterable
from typing import Final

CATALOG_READ: Final = "catalog:read"
CHECKOUT_WRITE: Final = "checkout:write"
ORDERS_READ: Final = "orders:read"
ORDERS_WRITE: Final = "orders:write"
PAYMENT_METHODS_READ: Final = "payment_methods:read"
PAYMENTS_EXECUTE: Final = "payments:execute"
# Scope, and what the consent page says it allows.
MEANINGS: Final = {
    CATALOG_READ: "See products, prices and offers",
    CHECKOUT_WRITE: "Fill a checkout for you, to pay on the shop's secure page",
    ORDERS_READ: "See the orders you place while it is connected",
    ORDERS_WRITE: "Ask the shop to cancel such an order or to take goods back",
    PAYMENT_METHODS_READ: "See which cards you saved: the brand and the last four digits, never the number",
    # Given only together with a limit (commerce_api/assistant_payments.py).
    PAYMENTS_EXECUTE: "Pay for you with a card that you gave to the assistant, up to the limit that you choose here",
}
DEFAULT: Final = " ".join((CATALOG_READ, CHECKOUT_WRITE, ORDERS_READ))  # for a client that names none


def known(text: str | None) -> list[str]:
    """The scopes named in a space-separated text that there are here, in our order. Others are left out (RFC 6749, 3.3)."""
    asked = set((text or "").split())
    return [scope for scope in MEANINGS if scope in asked]


def within(asked: str | None, granted: str | None) -> str:
    """Of the scopes that are asked for, those that were granted; empty where none was."""
    return joined(set(known(asked)) & set(known(granted)))


def without(granted: str | None, scope: str) -> str:
    """What was granted, but for one."""
    return joined(set(known(granted)) - {scope})


def joined(scopes: Iterable[str]) -> str:
    """Scopes as the protocol writes them, in our order."""
    held = set(scopes)
    return " ".join(scope for scope in MEANINGS if scope in held)
