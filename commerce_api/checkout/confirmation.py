"""What is confirmed before a checkout is paid, as one word: whoever says it has seen the checkout as it stands.

It is a digest of all that a shopper agrees to: goods and their prices, discounts, the way of shipping with its days, tax,
total, address, buyer.
When any of that changes, so does the word, and an older one confirms nothing. It is no secret and opens nothing else.
"""

import hashlib
import json
from typing import Final

from commerce_api.checkout.service import Checkout
from tokenization.ids import letters_of

PREFIX: Final = "cnf"
_AGREED: Final = ("buyer", "shipping_address")


def confirmation_of(current: Checkout) -> str:
    """The word for the checkout as it is priced now."""
    priced = current.priced.stored()
    agreed = {
        "checkout": current.id,
        "currency": current.brand.currency,
        "lines": priced["lines"],
        "totals": priced["totals"],
        "shipping_option": _shipping(current),
        **{name: current.document.get(name) for name in _AGREED},
    }
    text = json.dumps(agreed, sort_keys=True, ensure_ascii=False)
    return f"{PREFIX}_{letters_of(hashlib.sha256(text.encode('utf-8', 'surrogatepass')).digest()[:16])}"


def _shipping(current: Checkout) -> list[str | int] | None:
    """The way of shipping as it is shown: a policy may call another one by the same id."""
    chosen = current.priced.shipping_option_id
    option = next((option for option in current.brand.policy.shipping_options if option.id == chosen), None)
    return [option.id, option.title, option.delivery_days_min, option.delivery_days_max] if option is not None else None
