"""Numbers of other standards that may pass the Luhn check by chance, recognised by their own form or check digit.

Consulted only for a number that is otherwise a card, so it costs nothing elsewhere. Each rule asks for evidence that a card
number can hardly bear by accident; a label alone ("order no.") never excuses anything but a 13-digit number.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from tokenization.scanner.lexicon import NOT_CARD_LABELS

_LABEL_CHARS: Final = 24
_IBAN_START: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}")
_NOT_ALPHANUMERIC: Final = re.compile(r"[ .\-]")
# ISO 13616 registry: characters of an IBAN by country.
_IBAN_CHARS: Final[dict[str, int]] = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FO GL NL",
        19: "MK SI",
        20: "AT BA EE KZ LT LU XK",
        21: "CH CR HR LI LV",
        22: "BG BH DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU",
        31: "MT SC",
        32: "LC",
    }.items()
    for country in countries.split()
}
_USPS_DIGITS: Final = (20, 22, 26)  # USPS Publication 199: service bar codes begin 91 to 95
_USPS_START: Final = re.compile("9[1-5]")
# Amazon order numbers (3-7-7).
_ORDER_SHAPES: Final = frozenset({(3, 7, 7)})
_SHARE_OF_STEPS: Final = 0.7
_FEWEST_COLONS: Final = 3
_YEARS: Final = range(1900, 2100)


def is_in_iban(text: str, start: int, end: int) -> bool:
    """Whether the span lies in an IBAN: ISO 13616 length of its country and ISO 7064 MOD 97-10 check."""
    for match in _IBAN_START.finditer(text, max(0, start - 40), end):
        length = _IBAN_CHARS.get(match[0][:2].upper())
        candidate, stop = _take(text, match.start(), length or 0)
        if length == len(candidate) and stop >= end and _passes_mod_97(candidate):
            return True
    return False


def _take(text: str, start: int, length: int) -> tuple[str, int]:
    """The next ``length`` letters and digits, spaces and dashes left out, and where they end."""
    taken: list[str] = []
    position = start
    while position < len(text) and len(taken) < length:
        character = text[position]
        if character.isascii() and character.isalnum():
            taken.append(character.upper())
        elif not _NOT_ALPHANUMERIC.match(character):
            break
        position += 1
    return "".join(taken), position


def _passes_mod_97(iban: str) -> bool:
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


def is_postal_barcode(digits: str, start: int, end: int) -> bool:
    """Whether a USPS number of 20, 22 or 26 digits with a right GS1 check digit begins at ``start`` and reaches ``end``."""
    if not _USPS_START.match(digits, start):
        return False
    codes = (digits[start : start + length] for length in _USPS_DIGITS if start + length >= end)
    return any(len(code) in _USPS_DIGITS and _passes_gs1(code) for code in codes)


def _passes_gs1(code: str) -> bool:
    values = [int(digit) for digit in reversed(code)]
    return (sum(values[::2]) + 3 * sum(values[1::2])) % 10 == 0


def is_labelled_otherwise(text: str, start: int) -> bool:
    """Whether a barcode's or telephone's label, or a leading plus sign (E.164), comes right before a 13-digit number."""
    return (
        text[start - 1 : start] == "+" or NOT_CARD_LABELS.search(text[max(0, start - _LABEL_CHARS) : start]) is not None
    )


def is_fraction(text: str, start: int, end: int) -> bool:
    """Whether the run is the fraction of a decimal number such as 0.48372… (one point, at most three digits before it)."""
    before = re.search(r"(?<![0-9A-Za-z.])[0-9]{1,3}\.\Z", text[max(0, start - 6) : start])
    return before is not None and re.match(r"\.?[0-9]", text[end : end + 2]) is None


def are_other_numbers(groups: Sequence[str], gaps: Sequence[str]) -> bool:
    """Whether several digit groups are evidently several numbers: a series, times, dates, decimals."""
    return _is_series(groups) or _are_times(groups, gaps) or _are_dates(groups) or _are_decimals(groups, gaps)


def is_order_number(groups: Sequence[str], gaps: Sequence[str]) -> bool:
    """Whether the groups have the form of a marketplace's order number."""
    return tuple(map(len, groups)) in _ORDER_SHAPES and set(gaps) == {"-"}


def _is_series(groups: Sequence[str]) -> bool:
    """Four or more numbers with one step that is not zero, as sizes have; six or more that mostly have, as calendars do."""
    steps = [int(after) - int(before) for before, after in pairwise(groups)]
    most = max(map(steps.count, set(steps) - {0}), default=0)
    return (len(groups) >= 4 and most == len(steps)) or (len(groups) >= 6 and most >= _SHARE_OF_STEPS * len(steps))


def _are_times(groups: Sequence[str], gaps: Sequence[str]) -> bool:
    """Times of day: three or more colons, other signs between, and two digits below sixty on both sides of every colon."""
    colons = [index for index, gap in enumerate(gaps) if gap == ":"]
    if len(colons) < _FEWEST_COLONS or len(colons) == len(gaps):
        return False
    beside = {index + side for index in colons for side in (0, 1)}
    return all(len(groups[index]) == 2 and int(groups[index]) < 60 for index in beside)


def _are_dates(groups: Sequence[str]) -> bool:
    if len(groups) % 3 == 0 and all(_is_date(*groups[at : at + 3]) for at in range(0, len(groups), 3)):
        return True
    return all(map(_is_compact_date, groups))


def _is_compact_date(digits: str) -> bool:
    if len(digits) != len("20261122"):
        return False
    return _is_date(digits[:2], digits[2:4], digits[4:]) or _is_date(digits[:4], digits[4:6], digits[6:])


def _is_date(first: str, second: str, third: str) -> bool:
    """Day, month, year in any of the three usual orders."""
    year, day = (first, third) if len(first) == 4 else (third, first)
    months = (second, day) if len(first) != 4 else (second,)
    in_range = len(year) == 4 and int(year) in _YEARS and 1 <= int(day) <= 31 and 1 <= int(second) <= 31
    return in_range and any(1 <= int(month) <= 12 for month in months)


def _are_decimals(groups: Sequence[str], gaps: Sequence[str]) -> bool:
    """Numbers with a point inside and something else between, in either phase: prices, coordinates, vectors."""
    return any(_alternates(groups[phase:], gaps[phase:]) for phase in (0, 1)) if len(groups) > 2 else False


def _alternates(groups: Sequence[str], gaps: Sequence[str]) -> bool:
    pointed, between = gaps[::2], gaps[1::2]
    return set(pointed) == {"."} and "." not in between and all(len(whole) <= 3 for whole in groups[::2])
