"""From plain words to a need: bounds, number, day, place, what is not wanted; the words that are left say what is looked for.

No model reads here. What was understood is told back with the answer, so that a wrong reading is seen. Words are data: none of
them chooses a tool, a price or a rule.
"""

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from commerce_api.asking.budget import NO_BUDGET, Budget, read_budget
from commerce_api.asking.days import NO_DEADLINE, Deadline, read_deadline
from commerce_api.asking.places import NO_DESTINATION, Destination, read_destination
from commerce_api.asking.rest import Rest, as_matched
from commerce_api.asking.words import stem, telling, words_of

MAXIMUM_WORDS: Final = 16  # of what is looked for; the first of a longer story
MAXIMUM_QUANTITY: Final = 999
_UNITS: Final = (
    r"%|°|ml|cl|dl|l|litres?|liters?|oz|ounces?|pints?|cups?\b(?=\s+capacity)|cm|mm|m|metres?|meters?|inch(?:es)?|ft|feet|"
    r"foot|kg|g|grams?|lbs?|"
    r"watts?|w|v|volts?|amps?|mah|hours?|hrs?|minutes?|mins?|years?|yrs?|days?|weeks?|months?|people|persons?|guests?|adults?|"
    r"seconds?|piece|pieces|pack|degrees?|megapixels?|mp|gb|tb|hz|slots?|settings?|speeds?|centimet(?:re|er)s?|millimet(?:re|er)s?|"
    r"square|by|x|or|and|to|of|star|stars|in|for|with|at"
)
_COUNTS: Final = {
    name: number
    for number, name in enumerate(
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"], start=1
    )
} | {"a pair of": 2, "a couple of": 2, "a dozen": 12, "half a dozen": 6}
_QUANTITY: Final = re.compile(
    r"(?<![\w.,#$£€¥/-])(?<!size )(?<!model )(?<!number )(?<!for )(?<!set of )(?<!serves )(?<!age )(?<!aged )(?<!version )"
    r"(?P<count>half a dozen|a dozen|a pair of|a couple of|[0-9]{1,3}\b(?:\s*[x×]\b)?|"
    + "|".join(name for name in _COUNTS if " " not in name and name != "one")
    + rf")(?![.,:/-][0-9])\s+(?=(?:[^\W\d_][\w'-]*))(?!(?:{_UNITS})\b)",
    re.IGNORECASE,
)
_LABELLED_QUANTITY: Final = re.compile(r"\b(?:quantity|qty)(?:\s+of|:)?\s*(?P<count>[0-9]{1,3})\b", re.IGNORECASE)
_NEGATION: Final = re.compile(
    r"\b(?:not|no|without|except(?: for)?|excluding|other than|anything but|nothing|never|avoid(?:ing)?|isn't|aren't|"
    r"don't (?:want|like|need)|do not (?:want|like|need)|hates?|allergic to)\s+"
    r"(?:be\s+|in\s+|made\s+(?:of|from|with)\s+|of\s+|with\s+|a\s+|an\s+|any\s+|the\s+|from\s+|too\s+)*"
    r"(?P<words>[^\W\d_][\w-]*(?:\s*(?:,\s*)?(?:\bor\b|\bnor\b|/)\s*(?:in\s+|a\s+|an\s+)?[^\W\d_][\w-]*)*)",
    re.IGNORECASE,
)
_NOT_NEGATED_WORDS: Final = (
    "more less later matter preference much many sooner earlier only just need one longer bigger smaller over "
    "under above below until yet really necessarily"
)
_NOT_NEGATED: Final = frozenset(_NOT_NEGATED_WORDS.split())
_SAID_BY_THE_WAY_WORDS: Final = "sure rush hurry idea problem expensive pricey dear doubt worries thanks"
_SAID_BY_THE_WAY: Final = frozenset(_SAID_BY_THE_WAY_WORDS.split())
_FREE_OF: Final = re.compile(r"\b(?P<word>[^\W\d_]{3,})-free\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Need:
    """What was understood. ``words`` are what is looked for, ``not_wanted`` stems of what is not; money in minor units."""

    words: tuple[str, ...]
    not_wanted: tuple[str, ...] = ()
    budget: Budget = NO_BUDGET
    quantity: int = 1
    deadline: Deadline = NO_DEADLINE
    destination: Destination = NO_DESTINATION

    @property
    def minimum_minor(self) -> int:
        """The lowest price of one piece."""
        return self._each(self.budget.minimum_minor) or 0

    @property
    def maximum_minor(self) -> int | None:
        """The highest price of one piece."""
        return self._each(self.budget.maximum_minor)

    def _each(self, amount_minor: int | None) -> int | None:
        return amount_minor // self.quantity if amount_minor is not None and self.budget.for_all else amount_minor


def understand(text: str, currency: str, today: date) -> Need:
    """Reads a need. ``currency`` is the brand's, ``today`` the brand's day."""
    rest = Rest(" ".join(text.split()))
    deadline = read_deadline(rest, today)
    budget = read_budget(rest, currency)
    not_wanted = _not_wanted(rest)
    destination = read_destination(rest)
    quantity = _quantity(rest)
    words = telling(words_of(rest.text))[:MAXIMUM_WORDS]
    return Need(tuple(words), not_wanted, budget, quantity, deadline, destination)


def _quantity(rest: Rest) -> int:
    found = rest.take(_LABELLED_QUANTITY)
    if found is None:
        found = rest.take(_QUANTITY)
    if found is None:
        return 1
    said = as_matched(found["count"]).strip()
    digits = said.rstrip("x× ")
    number = int(digits) if digits.isdigit() else _COUNTS[said]
    return max(1, min(number, MAXIMUM_QUANTITY))


def _not_wanted(rest: Rest) -> tuple[str, ...]:
    found: list[str] = []
    for match in list(_NEGATION.finditer(rest.text))[::-1]:  # from the end: places before it stay right
        words = [word for word in words_of(match["words"]) if word not in ("or", "nor", "in", "a", "an")]
        if not words or words[0] in _NOT_NEGATED:
            continue
        rest.drop(match)
        found[:0] = telling([word for word in words if word not in _SAID_BY_THE_WAY])
    for match in list(_FREE_OF.finditer(rest.text))[::-1]:
        rest.drop(match)
        found.append(match["word"].lower())
    return tuple(dict.fromkeys(stem(word) for word in found))
