"""What a price may be, in words: "under $150", "between 50 and 80 euros", "about £40", "$90 for all of them"."""

import re
from dataclasses import dataclass
from typing import Final

from commerce_api.asking.rest import Rest, as_matched
from tokenization.money import MAXIMUM_AMOUNT_MINOR, Money, MoneyInvalid

_AROUND_BASIS_POINTS: Final = 2_000  # "about 100" is told back as 80 to 120
_NUMBER: Final = r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]{1,2})?|[0-9]{1,9}(?:\.[0-9]{1,2})?"
_SYMBOL: Final = r"(?:US|C|CA|A|AU|NZ|HK|S)?\$|[£€¥₹]|\b(?:usd|eur|gbp|cad|aud|nzd|chf|jpy|cny|inr|sek|nok|dkk|pln)\b"
_WORD: Final = (
    r"(?:(?:us |canadian |australian )?dollars?|bucks?|euros?|pounds?(?: sterling)?|quid|francs?|yen|yuan|rupees?|"
    r"kron(?:or|er|a|e)|zloty|usd|eur|gbp|cad|aud|nzd|chf|jpy|cny|inr|sek|nok|dkk|pln)\b|[£€¥₹$]"
)
_AMOUNT: Final = rf"(?:(?P<symbolN>{_SYMBOL})\s?)?(?P<numberN>{_NUMBER})(?P<kiloN>k\b)?(?:\s?(?P<wordN>{_WORD}))?"
_BEGINS: Final = r"(?<![\w.])(?<![0-9],)"  # a number, and never one within another: "1,000,000" is read once
# After a number without a currency only these may follow: "under 2 litres" is no budget.
_ENDS: Final = (
    r"(?![\w%°\"”-])(?=\s*(?:$|[.,;:!?)|]|(?:and|or|but|for|in|by|to|please|with|without|that|which|who|each|apiece|per|"
    r"total|altogether|all|max|maximum|tops|delivered|shipped|before|including|if|not|no|is|so|i|on)\b))"
)


def _pattern(before: str, *, amounts: int = 1, between: str = "") -> "re.Pattern[str]":
    parts = [_AMOUNT.replace("N>", f"{number}>") for number in range(amounts)]
    last = amounts - 1
    ends = rf"(?(symbol{last})(?!\w)|(?(word{last})(?!\w)|{_ENDS}))"
    return re.compile(before + between.join(parts) + ends, re.IGNORECASE)


_RANGES: Final = (
    _pattern(r"(?:\b(?:between|from)\s+)", amounts=2, between=r"\s*(?:and|to|-|–|until)\s*"),
    _pattern(_BEGINS, amounts=2, between=r"\s*(?:-|–|\bto\b)\s*"),
)
_NOT_MORE: Final = (
    r"\b(?:under|below|less than|cheaper than|no more than|not more than|not over|up to|at most|max(?:imum)?(?: of)?|within|"
    r"(?:my |a |our |the )?budget(?: of| is|:)?(?: about| around)?|(?:can|could|will|want to|to) spend(?: up to)?)\s+"
)
_NOT_LESS: Final = (
    r"\b(?:over|above|more than|at least|no less than|not less than|from|min(?:imum)?(?: of)?|starting at)\s+"
)
_NEAR: Final = r"\b(?:about|around|roughly|approximately|approx\.?|near|some|circa|~)\s*"
_MOST, _LEAST, _ABOUT = _pattern(_NOT_MORE), _pattern(_NOT_LESS), _pattern(_NEAR)
_BARE: Final = _pattern(rf"(?:\bfor\s+)?{_BEGINS}")
_ALL_TOGETHER: Final = re.compile(
    r"\b(?:in total|total|altogether|all together|all in|for (?:all|both|the lot))\b", re.IGNORECASE
)
_CODES: Final = {
    "£": "GBP",
    "€": "EUR",
    "₹": "INR",
    "euro": "EUR",
    "pound": "GBP",
    "pound sterling": "GBP",
    "quid": "GBP",
    "us$": "USD",
    "c$": "CAD",
    "ca$": "CAD",
    "a$": "AUD",
    "au$": "AUD",
    "nz$": "NZD",
    "hk$": "HKD",
    "s$": "SGD",
    "us dollar": "USD",
    "canadian dollar": "CAD",
    "australian dollar": "AUD",
    "franc": "CHF",
    "yen": "JPY",
    "yuan": "CNY",
    "rupee": "INR",
    "kronor": "SEK",
    "krona": "SEK",
    "kroner": "NOK",
    "krone": "NOK",
    "zloty": "PLN",
}
_DOLLARS: Final = frozenset({"USD", "CAD", "AUD", "NZD", "SGD", "HKD", "MXN", "TWD", "JMD", "BBD", "BSD", "TTD", "XCD"})


@dataclass(frozen=True, slots=True)
class Budget:
    """Bounds in minor units of the brand's currency, of one piece or of all together.

    ``other_currency`` is what an amount was named in that is not the brand's: it bounds nothing then, and is not converted.
    """

    minimum_minor: int | None = None
    maximum_minor: int | None = None
    for_all: bool = False
    other_currency: str | None = None


NO_BUDGET: Final = Budget()


def read_budget(rest: Rest, currency: str) -> Budget:
    """Takes what is said of money out of the text. An amount without a currency is in the brand's."""
    for pattern in _RANGES:
        found = pattern.search(rest.text)
        # Two bare numbers with a dash may be a size; between or from, or a currency, make them money.
        if found is not None and (found[0][0].isalpha() or _has_currency(found)):
            rest.drop(found)
            return _bounded(rest, currency, found, (0, 1))
    maximum, minimum = rest.take(_MOST), rest.take(_LEAST)
    if minimum is not None or maximum is not None:
        read = _bounded(rest, currency, maximum, (None, 0)) if maximum is not None else NO_BUDGET
        if minimum is None:
            return read
        least = _bounded(rest, currency, minimum, (0, None))
        return Budget(
            least.minimum_minor,
            read.maximum_minor,
            read.for_all or least.for_all,
            read.other_currency or least.other_currency,
        )
    near = _ABOUT.search(rest.text)
    if near is not None:
        rest.drop(near)
        about = _bounded(rest, currency, near, (0, 0))
        return _widened(about)
    bare = next((found for found in _BARE.finditer(rest.text) if _has_currency(found)), None)
    if bare is None:
        return NO_BUDGET
    rest.drop(bare)
    return _bounded(rest, currency, bare, (None, 0))


def _bounded(rest: Rest, currency: str, found: "re.Match[str]", places: tuple[int | None, int | None]) -> Budget:
    for_all = rest.take(_ALL_TOGETHER) is not None
    named = {code for place in (0, 1) if (code := _currency(found, place, currency)) is not None}
    if named - {currency}:
        return Budget(for_all=for_all, other_currency=min(named - {currency}))
    lowest, highest = (_amount_minor(found, place, currency) if place is not None else None for place in places)
    if lowest is not None and highest is not None and lowest > highest:
        lowest, highest = highest, lowest
    return Budget(lowest, highest, for_all)


def _widened(about: Budget) -> Budget:
    if about.minimum_minor is None or about.maximum_minor is None:
        return about
    by_minor = about.minimum_minor * _AROUND_BASIS_POINTS // 10_000
    return Budget(about.minimum_minor - by_minor, about.maximum_minor + by_minor, about.for_all, about.other_currency)


def _has_currency(found: "re.Match[str]") -> bool:
    return any(value for name, value in found.groupdict().items() if name.startswith(("symbol", "word")))


def _currency(found: "re.Match[str]", place: int, own: str) -> str | None:
    groups = found.groupdict()
    said = as_matched(groups.get(f"symbol{place}") or groups.get(f"word{place}") or "").strip()
    if not said:
        return None
    if said == "$" or said.rstrip("s") in ("dollar", "buck"):
        return own if own in _DOLLARS else "USD"
    if said == "¥":
        return own if own in ("JPY", "CNY") else "JPY"
    return _CODES.get(said) or _CODES.get(said.removesuffix("s")) or said.upper()


def _amount_minor(found: "re.Match[str]", place: int, currency: str) -> int | None:
    number = found.group(f"number{place}").replace(",", "")
    try:
        amount_minor = Money.from_major(number, currency).amount_minor
    except MoneyInvalid:  # more decimals than the currency has
        return None
    return min(amount_minor * (1_000 if found.group(f"kilo{place}") else 1), MAXIMUM_AMOUNT_MINOR)
