"""The signed snapshot of an offer: the only form in which checkout honours one (I6). Text that was said binds nobody.

    ofr2.<claims>.<HMAC-SHA-256 over "ofr2.<claims>">      both parts in letters, four bits each

What holds for a snapshot that open_snapshot() returns:
 1. It was signed with this brand side's key, and not a byte was changed since.
 2. It is for this brand and this subject.
 3. Its time is not over.

What may be said of the offer is part of it: prices as text, the title, the words it licenses, what must be told with it. A
presentation takes its figures from there and from nowhere else.
"""

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

from offer_engine.offers import Audience, Limits, Offer, OfferKind
from tokenization.ids import letters_of

_PREFIX = "ofr2"
_FROM_LETTERS = str.maketrans("bcdfghjkmnpqrstv", "0123456789abcdef")
MAXIMUM_LENGTH = 4_000_000  # an offer for ten thousand products


class SnapshotInvalid(Exception):
    """The token is altered, foreign or past its time. The caller asks for offers again."""


@dataclass(frozen=True, slots=True)
class Sayable:
    """What may be said of an offer, in one language.

    ``values`` are texts by field (offer_engine/presenting/slots.py), finished to the last sign. ``licences`` are the kinds of
    claims that the offer allows (the keys of ``claims`` in presenting/words). ``disclosures`` must be told with it.
    """

    locale: str
    brand: str
    values: tuple[tuple[str, str], ...]
    licences: tuple[str, ...] = ()
    disclosures: tuple[str, ...] = ()

    def value(self, field: str) -> str | None:
        """The text of a field, or None if the offer has none."""
        if field == "disclosure":
            return " ".join(self.disclosures) or None
        return dict(self.values).get(field)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An offer as it was made to one subject, until it expires: all of it that is asked again when it is used.

    Whom it may be made to, and how much of it there is, was settled when it was made.
    """

    decision: str
    brand: str
    subject: str
    expires_ms: int
    offer: Offer
    sayable: Sayable | None = None


def sign_snapshot(snapshot: Snapshot, key: bytes) -> str:
    """The snapshot as a token."""
    offer = snapshot.offer
    claims: dict[str, Any] = {
        "d": snapshot.decision,
        "b": snapshot.brand,
        "s": snapshot.subject,
        "x": snapshot.expires_ms,
        "i": offer.id,
        "v": offer.version,
        "t": offer.title,
        "k": offer.kind.value,
        "c": offer.currency,
        "p": offer.percent_basis_points,
        "a": offer.amount_minor,
        "m": offer.maximum_discount_minor,
        "r": sorted(offer.product_ids),
        "g": sorted(offer.categories),
        "u": offer.minimum_subtotal_minor,
        "n": offer.margin_basis_points,
        "e": sorted(offer.audience.regions),
        "w": offer.limits.stacks_with_codes,
    }
    said = snapshot.sayable
    if said is not None:
        claims["y"] = [said.locale, said.brand, dict(said.values), sorted(said.licences), list(said.disclosures)]
    body = letters_of(json.dumps(claims, separators=(",", ":")).encode())
    return f"{_PREFIX}.{body}.{_signature(body, key)}"


def open_snapshot(token: str, key: bytes, *, brand: str, subject: str, now_ms: int) -> Snapshot:
    """The snapshot in a token. Raises SnapshotInvalid."""
    parts = token.split(".") if len(token) <= MAXIMUM_LENGTH else []
    if (
        len(parts) != 3
        or parts[0] != _PREFIX
        or not hmac.compare_digest(_signature(parts[1], key).encode(), parts[2].encode())
    ):
        raise SnapshotInvalid  # (1)
    claims = json.loads(bytes.fromhex(parts[1].translate(_FROM_LETTERS)))
    if claims["b"] != brand or claims["s"] != subject or claims["x"] <= now_ms:  # (2) (3)
        raise SnapshotInvalid
    offer = Offer(
        id=claims["i"],
        version=claims["v"],
        title=claims["t"],
        kind=OfferKind(claims["k"]),
        currency=claims["c"],
        percent_basis_points=claims["p"],
        amount_minor=claims["a"],
        maximum_discount_minor=claims["m"],
        product_ids=frozenset(claims["r"]),
        categories=frozenset(claims["g"]),
        minimum_subtotal_minor=claims["u"],
        margin_basis_points=claims["n"],
        audience=Audience(regions=frozenset(claims["e"])),
        limits=Limits(stacks_with_codes=claims["w"]),
    )
    sayable = None
    if "y" in claims:
        locale, name, values, licences, disclosures = claims["y"]
        sayable = Sayable(locale, name, tuple(values.items()), tuple(licences), tuple(disclosures))
    return Snapshot(claims["d"], claims["b"], claims["s"], claims["x"], offer, sayable)


def _signature(body: str, key: bytes) -> str:
    return letters_of(hmac.new(key, f"{_PREFIX}.{body}".encode(), hashlib.sha256).digest())
