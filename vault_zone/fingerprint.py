"""Whether two cards are the same, for the zone alone: a keyed digest of the whole number, per merchant (PCI DSS 3.5.1.1).

Eight digits of a number and its last four leave a thousand candidates, so whoever may ask "is this the same card?" may ask for
the number. What holds:
 1. The digest is made under a data key of the zone and again under a key that never leaves the provider: neither the zone's
    memory nor the provider alone can test a guess, and the provider sees no number.
 2. It is of one merchant and one key: equal cards of two merchants, or under two epochs, are not equal here.
 3. No answer, page, event or log holds it or depends on it but the limits on tries (velocity).
"""

import hmac
from typing import NamedTuple

from tokenization.ids import letters_of
from vault_zone.card import Exposure, Pan
from vault_zone.key_rows import Purpose
from vault_zone.keyring import KeyRing


class Fingerprint(NamedTuple):
    """The digest, in letters, and the data key it was made with."""

    key_id: str
    digest: str


async def fingerprint_of(keys: KeyRing, merchant: str, pan: Pan) -> Fingerprint:
    """The number's fingerprint under the merchant's active key. Raises KeyUnavailable, KeyDestroyed."""
    key_id, key = await keys.ready(merchant, Purpose.FINGERPRINT)
    blinded = hmac.digest(key, pan.expose(Exposure.FINGERPRINT).encode(), "sha256")
    return Fingerprint(key_id, letters_of(await keys.ask(lambda: keys.provider.mac(merchant, blinded))))  # (1) (2)


def neighbours_of(key: bytes, pan: Pan) -> str:
    """A keyed digest of the first six and last four digits, which every guess at one number shares: for counting guesses."""
    digits = pan.expose(Exposure.FINGERPRINT)
    return letters_of(hmac.digest(key, f"neighbours.{digits[:6]}.{digits[-4:]}".encode(), "sha256"))
