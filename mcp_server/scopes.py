"""Which tool needs which scopes, and which may be called by who did not sign in: one table, and nothing else decides.

A tool that is not in it can be called by nobody but the brand's own agent. Who is signed in needs every scope of a tool; guests
need none, where they may. A guest's checkout is paid on the hosted page by whoever has its link, as any web shop's is.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from commerce_api.authorization.scopes import (
    CATALOG_READ,
    CHECKOUT_WRITE,
    MEANINGS,
    ORDERS_READ,
    ORDERS_WRITE,
    PAYMENT_METHODS_READ,
    PAYMENTS_EXECUTE,
    joined,
)


@dataclass(frozen=True, slots=True)
class Need:
    """What a call of a tool needs. ``guests``: always, never, or where the brand lets guests buy."""

    scopes: frozenset[str]
    guests: bool | None

    def lets_in(self, *, guest_checkout: bool) -> bool:
        """Whether a guest may call it."""
        return guest_checkout if self.guests is None else self.guests

    @property
    def text(self) -> str:
        """The scopes as a challenge names them: all of them at once."""
        return joined(self.scopes)


def _need(*scopes: str, guests: bool | None) -> Need:
    return Need(frozenset(scopes), guests)


_BROWSING: Final = _need(CATALOG_READ, guests=True)
_BUYING: Final = _need(CHECKOUT_WRITE, guests=None)
NEEDS: Final = {
    "search_catalog": _BROWSING,
    "get_product": _BROWSING,
    "ask_brand": _BROWSING,
    "get_offers": _BROWSING,
    "create_checkout": _BUYING,
    "get_checkout": _BUYING,
    "update_checkout": _BUYING,
    "complete_checkout": _BUYING,
    "cancel_checkout": _BUYING,
    "get_order": _need(ORDERS_READ, guests=None),
    "request_order_change": _need(ORDERS_READ, ORDERS_WRITE, guests=None),
    "get_saved_payment_methods": _need(PAYMENT_METHODS_READ, guests=False),
}
# A call needs more by what is given with it. A guest's token is the platform's word: the zone holds it to its binding.
_PAYING: Final = _need(CHECKOUT_WRITE, PAYMENTS_EXECUTE, guests=None)
# The payment sheet has no word for what it showed: it is for shoppers who signed in, whose checkouts nobody else can change.
_BY_SHEET: Final = _need(CHECKOUT_WRITE, PAYMENTS_EXECUTE, guests=False)
MORE: Final = {("complete_checkout", "payment_token"): _PAYING, ("complete_checkout", "payment_data"): _BY_SHEET}
NOBODY: Final = Need(frozenset(MEANINGS), guests=False)
ALL_SCOPES: Final = joined(MEANINGS)


def need_of(tool: str, given: Collection[str] = ()) -> Need:
    """What a tool needs, called with these arguments."""
    for name in given:
        if (tool, name) in MORE:
            return MORE[(tool, name)]
    return NEEDS.get(tool, NOBODY)
