"""Who a shopper is to the records: a pseudonym, keyed by brand."""

import hashlib
import hmac
from typing import Final

from tokenization.ids import letters_of, new_id

PREFIX: Final = "psn"


def pseudonym_of(brand: str, shopper: str, key: bytes) -> str:
    """The pseudonym of a shopper at a brand: the same each time, and of no use at another brand or without the key."""
    derived = hmac.new(key, "\0".join(("offer subject", brand, shopper)).encode(), hashlib.sha256).digest()
    return f"{PREFIX}_{letters_of(derived[:16])}"


def nobody() -> str:
    """A pseudonym of nobody who is known, and never the same again."""
    return new_id(PREFIX)
