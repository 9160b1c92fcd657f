"""What the page tells of a person: whoever holds its link may read it, so it shows enough to recognise, not to learn."""

from typing import Final

from commerce_api.schemas import AddressGiven, CardView

HIDDEN: Final = "•••"
_POSTAL_CODE_SHOWN: Final = 3  # a district, not a street: the outward half of GB and CA codes, a US sectional centre
_LAST4: Final = 4
_BRAND_TITLES: Final = {
    "visa": "Visa",
    "mastercard": "Mastercard",
    "amex": "American Express",
    "discover": "Discover",
    "diners": "Diners Club",
    "jcb": "JCB",
    "unionpay": "UnionPay",
    "maestro": "Maestro",
}


def masked_email(email: str) -> str:
    """``a•••@example.com``: the domain and one character, or none of a name that has only one."""
    name, _, domain = email.rpartition("@")
    return f"{name[:1] if len(name) > 1 else ''}{HIDDEN}@{domain}"


def shortened_address(address: AddressGiven) -> str:
    """City, region, the beginning of the postal code, country: ``Portland, OR 97•••, US``. No name, no street."""
    code = address.postal_code.strip()
    shown = code[: min(_POSTAL_CODE_SHOWN, len(code) // 2)].strip()
    district = " ".join(part for part in (address.region, f"{shown}{HIDDEN}") if part)
    return ", ".join((address.city, district, address.country))


def card_text(card: CardView) -> str:
    """``Visa •••• 4242``, and never more digits than the last four (PCI DSS 3.4.1)."""
    return f"{brand_title(card)} •••• {card.last4[-_LAST4:]}"


def card_spoken(card: CardView) -> str:
    """The same for a screen reader: ``Visa ending in 4242``."""
    return f"{brand_title(card)} ending in {card.last4[-_LAST4:]}"


def brand_title(card: CardView) -> str:
    """The network's name; ``Card`` for one that is not known here."""
    return _BRAND_TITLES.get(card.brand, "Card")
