"""What may be said of an offer, worked out once, when its snapshot is signed: every figure a model or a template will show.

A percentage is said only where it is what the basket gets. Where a maximum, a budget or the products that the offer is about
make it less, the amount is said instead.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any, Final

from offer_engine.offers import Context, Offer, OfferKind, discount_minor
from offer_engine.presenting.locales import templates
from offer_engine.snapshot import Sayable
from tokenization.clock import as_datetime
from tokenization.money import exponent

_SYMBOLS: Final = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
_LONGEST_TEXT: Final = 200
_LONGEST_DISCLOSURES: Final = 4


def sayable(
    offer: Offer,
    context: Context,
    *,
    locale: str,
    brand: str,
    expires_ms: int | None = None,
    licences: Sequence[str] = (),
    disclosures: Sequence[str] = (),
) -> Sayable:
    """The texts of an offer for this context. ``licences`` are those the merchant grants besides what the offer itself does."""
    formats = templates(locale)
    said = formats["values"]
    taken_minor = discount_minor(offer, context.lines)
    values = {"title": plain(offer.title)}
    money = {"money": _money(taken_minor, offer.currency, formats)}
    granted = set(licences)
    if offer.kind is OfferKind.FREE_SHIPPING:
        values["benefit"] = said["free_shipping"]
        granted.add("free_shipping")
    else:
        is_percent = offer.kind is OfferKind.PERCENT_OFF and taken_minor == _share_minor(offer, context)
        percent = _percent(offer.percent_basis_points, formats)
        values["benefit"] = (
            said["percent_off"].format(percent=percent) if is_percent else said["amount_off"].format(**money)
        )
        granted.add("discount")
    if taken_minor > 0:
        regular = _money(context.subtotal_minor, offer.currency, formats)
        values["saving"] = said["saving"].format(**money)
        values["regular_price"] = said["regular_price"].format(money=regular)
    left = _money(context.subtotal_minor - taken_minor, offer.currency, formats)
    values["price"] = said["price"].format(money=left)
    if offer.minimum_subtotal_minor > 0:
        least = _money(offer.minimum_subtotal_minor, offer.currency, formats)
        values["minimum"] = said["minimum"].format(money=least)
    if expires_ms is not None:
        values["expires"] = said["expires"].format(date=_date(expires_ms, formats))
        granted.add("timed")
    told = tuple(plain(text) for text in disclosures[:_LONGEST_DISCLOSURES])
    return Sayable(locale, plain(brand), tuple(values.items()), tuple(sorted(granted)), told)


def _share_minor(offer: Offer, context: Context) -> int:
    """What the percentage would take off the whole basket, rounded as discount_minor() does."""
    return (context.subtotal_minor * offer.percent_basis_points + 5_000) // 10_000


def plain(text: str) -> str:
    """A merchant's text on one line: nothing that is not seen, no braces, and of a bounded length."""
    kept = "".join(" " if unicodedata.category(c)[0] in "ZC" else c for c in text if c not in "{}")
    return " ".join(kept.split())[:_LONGEST_TEXT]


def _money(amount_minor: int, currency: str, formats: dict[str, Any]) -> str:
    digits = exponent(currency)
    whole, fraction = divmod(amount_minor, 10**digits)
    amount = f"{whole:,}".replace(",", formats["group"])
    if digits:
        amount += f"{formats['decimal']}{fraction:0{digits}d}"
    symbol = _SYMBOLS.get(currency)
    text: str = formats["money"] if symbol else "{amount} {symbol}"
    return text.format(amount=amount, symbol=symbol or currency)


def _percent(basis_points: int, formats: dict[str, Any]) -> str:
    whole, fraction = divmod(basis_points, 100)
    number = str(whole) + (f"{formats['decimal']}{fraction:02d}".rstrip("0") if fraction else "")
    text: str = formats["percent"]
    return text.format(number=number)


def _date(milliseconds: int, formats: dict[str, Any]) -> str:
    moment = as_datetime(milliseconds)
    text: str = formats["date"]
    return text.format(
        day=moment.day, month=formats["months"][moment.month - 1], year=moment.year, time=f"{moment:%H:%M}"
    )
