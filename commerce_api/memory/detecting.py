"""Facts that a shopper says of themselves in passing, in English: a closed set of rules, each with values of a closed form.

What holds:
 1. Nothing of the text is kept but a value that a rule made: no words of the shopper's.
 2. Of a sentence that speaks of health, belief, origin or the like nothing is kept at all.
 3. Only what is said in the first person, as it is now: no question, no condition, no "used to".
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from commerce_api.memory.classifying import is_payment_data, speaks_of_sensitive
from tokenization.money import MoneyInvalid, exponent

_SENTENCE: Final = re.compile(r"[^.!?\n]+(?:\.[0-9]+[^.!?\n]*)*[.!?\n]?")
_NOT_NOW: Final = re.compile(
    r"\b(?:if|unless|used to|would|don'?t|do not|didn'?t|isn'?t|not|never|no longer|was|were|might|maybe|perhaps|suppose)\b",
    re.IGNORECASE,
)
_CLOTHING: Final = re.compile(
    r"\b(?:i(?:'m| am) (?:a |an )?(?:size )?|i (?:usually |normally |always )?(?:wear|take) (?:a |an )?(?:size )?"
    r"|my (?:clothing |shirt |t-shirt |dress )?size is (?:a |an )?)"
    r"(xxs|xs|s|m|l|xl|xxl|xxxl|small|medium|large|extra[ -]large)\b(?![ -]*(?:fan|dog|cat|family|house))",
    re.IGNORECASE,
)
_SHOE: Final = re.compile(
    r"\b(?:my shoe size is|i (?:usually |normally |always )?(?:wear|take) (?:a )?"
    r"(?:shoe size|size(?= ?[0-9]+(?:\.5)? ?(?:shoes|boots|sneakers|trainers))))"
    r" ?(?P<system>eu|us|uk)? ?(?P<size>[0-9]{1,2}(?:\.5)?)\b",
    re.IGNORECASE,
)
_LANGUAGE: Final = re.compile(
    r"\b(?:please )?(?:write|answer|reply|speak|talk)(?: to me)? in (\w+)\b"
    r"|\bi(?:'d| would)? prefer (?:to (?:speak|write) )?(\w+)\b",
    re.IGNORECASE,
)
_LANGUAGES: Final[Mapping[str, str]] = {
    "english": "en", "german": "de", "french": "fr", "spanish": "es", "italian": "it", "portuguese": "pt", "dutch": "nl",
    "polish": "pl", "swedish": "sv", "danish": "da", "norwegian": "no", "finnish": "fi", "czech": "cs", "greek": "el",
    "turkish": "tr", "japanese": "ja", "chinese": "zh", "korean": "ko", "arabic": "ar", "hindi": "hi", "ukrainian": "uk",
}  # fmt: skip
_DELIVERIES: Final = (
    (
        re.compile(r"\bleave (?:it|the parcel|the package|them) (?:with|at) (?:my|the|a) neighbou?r\b", re.IGNORECASE),
        "neighbour",
    ),
    (
        re.compile(
            r"\bleave (?:it|the parcel|the package|them) (?:at|by|on) (?:my|the) (?:front )?(?:door|porch)\b",
            re.IGNORECASE,
        ),
        "at_the_door",
    ),
    (re.compile(r"\bdeliver (?:it |them )?(?:only )?(?:on|at) (?:the )?weekends?\b", re.IGNORECASE), "weekend"),
    (re.compile(r"\bdeliver (?:it |them )?(?:only )?in the evenings?\b", re.IGNORECASE), "evening"),
    (re.compile(r"\bi need (?:it|them) (?:as (?:fast|soon|quickly) as possible|asap)\b", re.IGNORECASE), "fast"),
)
_BUDGET: Final = re.compile(
    r"\b(?:my budget is|i(?:'ve| have) a budget of|i (?:can|want to|will) spend (?:at most|up to|no more than))"
    r" ?(?:about |around |up to )?(?P<symbol>[$€£¥]|[A-Z]{3} ?)?(?P<amount>[0-9]{1,6}(?:,[0-9]{3})?(?:\.[0-9]{1,3})?)(?![0-9])"
    r" ?(?P<word>dollars|euros?|pounds|yen|[A-Z]{3}\b)?",
    re.IGNORECASE,
)
_CURRENCIES: Final[Mapping[str, str]] = {
    "$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "dollars": "USD", "euro": "EUR", "euros": "EUR",
    "pounds": "GBP", "yen": "JPY",
}  # fmt: skip
# No occasion of a religion, no birth, no couple: they say more of a person than what to sell them.
_GIFT: Final = re.compile(
    r"\b(?:it(?:'s| is)|this is|i need|i(?:'m| am) looking for)(?: for)? an? "
    r"(birthday|wedding|housewarming|graduation|retirement|farewell) (?:gift|present)\b",
    re.IGNORECASE,
)
_SIZES: Final = {"small": "S", "medium": "M", "large": "L", "extra large": "XL", "extra-large": "XL"}


@dataclass(frozen=True, slots=True)
class Detected:
    """A fact that a rule found."""

    key: str
    value: str


def detect(text: str, currency: str) -> tuple[Detected, ...]:
    """What the text says; of each key the last. ``currency`` is the brand's: a budget in another one is not taken."""
    found: dict[str, Detected] = {}
    for sentence in _SENTENCE.findall(text):
        if speaks_of_sensitive(sentence) or is_payment_data(sentence) or "?" in sentence:  # (2) (3)
            continue
        for key, rule in _RULES.items():
            for value in rule(sentence, currency):
                found[key] = Detected(key, value)
    return tuple(found.values())


def _clothing(sentence: str, _: str) -> Iterator[str]:
    for said in _affirmed(_CLOTHING, sentence):
        size = said.group(1).lower()
        yield _SIZES.get(size, size.upper())


def _shoe(sentence: str, _: str) -> Iterator[str]:
    for said in _affirmed(_SHOE, sentence):
        size = said["size"]
        if 1 <= int(size.partition(".")[0]) <= 60:
            yield f"{said['system'].upper()} {size}" if said["system"] else size


def _language(sentence: str, _: str) -> Iterator[str]:
    for said in _LANGUAGE.finditer(sentence):
        code = _LANGUAGES.get((said.group(1) or said.group(2)).lower())
        if code and not _is_denied(sentence[: said.start()]):
            yield code


def _delivery(sentence: str, _: str) -> Iterator[str]:
    for rule, value in _DELIVERIES:
        if any(_affirmed(rule, sentence)):
            yield value


def _budget(sentence: str, currency: str) -> Iterator[str]:
    for said in _affirmed(_BUDGET, sentence):
        given = (said["symbol"] or said["word"] or "").strip()
        if _CURRENCIES.get(given.lower(), given.upper() or currency) == currency:
            major, _, fraction = said["amount"].replace(",", "").partition(".")
            try:
                digits = exponent(currency)
            except MoneyInvalid:
                return
            if len(fraction) <= digits:
                yield f"{currency} {int(major)}" + (f".{fraction.ljust(digits, '0')}" if digits else "")


def _gift(sentence: str, _: str) -> Iterator[str]:
    for said in _affirmed(_GIFT, sentence):
        yield said.group(1).lower()


def _affirmed(rule: re.Pattern[str], sentence: str) -> "Iterator[re.Match[str]]":
    return (said for said in rule.finditer(sentence) if not _is_denied(sentence[: said.start()]))  # (3)


def _is_denied(before: str) -> bool:
    return _NOT_NOW.search(before) is not None


_RULES: Final[Mapping[str, Callable[[str, str], Iterator[str]]]] = {
    "size.clothing": _clothing,
    "size.shoe": _shoe,
    "language": _language,
    "delivery.wish": _delivery,
    "budget": _budget,
    "gift.occasion": _gift,
}
