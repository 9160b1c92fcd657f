"""The published test numbers the sandbox takes, and what each one does. Any other number is refused."""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Behaviour(StrEnum):
    """What a charge on the card comes to."""

    SUCCEED = "succeed"
    DECLINE = "decline"
    CHALLENGE = "challenge"
    CHALLENGE_UNLESS_AGREED = "challenge_unless_agreed"  # not of a charge that the merchant begins
    CHALLENGE_THEN_DECLINE = "challenge_then_decline"
    REFUND_LATER = "refund_later"  # from here on: charges succeed, and then
    REFUND_FAILS = "refund_fails"
    DISPUTE_FRAUDULENT = "dispute_fraudulent"
    DISPUTE_NOT_RECEIVED = "dispute_not_received"
    TIMEOUT_BEFORE = "timeout_before"
    TIMEOUT_AFTER = "timeout_after"
    SLOW = "slow"


class DeclineCode(StrEnum):
    """Why a charge was declined; a closed set."""

    CARD_DECLINED = "card_declined"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    LOST_CARD = "lost_card"
    STOLEN_CARD = "stolen_card"
    EXPIRED_CARD = "expired_card"
    INCORRECT_CVC = "incorrect_cvc"
    PROCESSING_ERROR = "processing_error"
    FRAUD_SUSPECTED = "fraud_suspected"
    AUTHENTICATION_FAILED = "authentication_failed"
    AUTHENTICATION_REQUIRED = "authentication_required"


class Brand(StrEnum):
    """The card scheme, by the name the API gives it."""

    VISA = "visa"
    MASTERCARD = "mastercard"
    AMEX = "amex"
    DISCOVER = "discover"
    DINERS = "diners"
    JCB = "jcb"
    UNIONPAY = "unionpay"


class Source(StrEnum):
    """Where the number is published. What it does here is from there too, except for OWN_MEANING."""

    STRIPE = "https://docs.stripe.com/testing"
    BRAINTREE = "https://developer.paypal.com/braintree/docs/reference/general/testing"


@dataclass(frozen=True, slots=True)
class PublishedCard:
    """One test number. ``decline_code`` is set exactly when the behaviour ends in a decline of the card."""

    number: str
    title: str
    brand: Brand
    behaviour: Behaviour
    decline_code: DeclineCode | None
    source: Source


def _success(number: str, title: str, brand: Brand, source: Source = Source.STRIPE) -> PublishedCard:
    return PublishedCard(number, title, brand, Behaviour.SUCCEED, None, source)


def _decline(number: str, title: str, code: DeclineCode) -> PublishedCard:
    return PublishedCard(number, title, Brand.VISA, Behaviour.DECLINE, code, Source.STRIPE)


def _visa(number: str, title: str, behaviour: Behaviour, source: Source) -> PublishedCard:
    code = DeclineCode.CARD_DECLINED if behaviour is Behaviour.CHALLENGE_THEN_DECLINE else None
    return PublishedCard(number, title, Brand.VISA, behaviour, code, source)


PUBLISHED_CARDS: Final[tuple[PublishedCard, ...]] = (
    _success("4242424242424242", "Visa", Brand.VISA),
    _success("4000056655665556", "Visa debit", Brand.VISA),
    _success("4000000000000077", "Visa, funds available at once", Brand.VISA),
    _success("4111111111111111", "Visa", Brand.VISA, Source.BRAINTREE),
    _success("5555555555554444", "Mastercard", Brand.MASTERCARD),
    _success("2223003122003222", "Mastercard, 2-series", Brand.MASTERCARD),
    _success("5105105105105100", "Mastercard prepaid", Brand.MASTERCARD),
    _success("378282246310005", "American Express", Brand.AMEX),
    _success("6011111111111117", "Discover", Brand.DISCOVER),
    _success("3056930009020004", "Diners Club", Brand.DINERS),
    _success("3566002020360505", "JCB", Brand.JCB),
    _success("6200000000000005", "UnionPay", Brand.UNIONPAY),
    _success("6205500000000000004", "UnionPay, 19 digits", Brand.UNIONPAY),
    _decline("4000000000000002", "Declined, no reason given", DeclineCode.CARD_DECLINED),
    _decline("4000000000009995", "Insufficient funds", DeclineCode.INSUFFICIENT_FUNDS),
    _decline("4000000000009987", "Lost card", DeclineCode.LOST_CARD),
    _decline("4000000000009979", "Stolen card", DeclineCode.STOLEN_CARD),
    _decline("4000000000000069", "Expired card", DeclineCode.EXPIRED_CARD),
    _decline("4000000000000127", "Incorrect CVC", DeclineCode.INCORRECT_CVC),
    _decline("4000000000000119", "Processing error", DeclineCode.PROCESSING_ERROR),
    _decline("4100000000000019", "Suspected fraud", DeclineCode.FRAUD_SUSPECTED),
    _visa("4000002760003184", "Authentication always required", Behaviour.CHALLENGE, Source.STRIPE),
    _visa("4000002500003155", "Authentication unless set up", Behaviour.CHALLENGE_UNLESS_AGREED, Source.STRIPE),
    _visa("4000008400001629", "Authenticated, then declined", Behaviour.CHALLENGE_THEN_DECLINE, Source.STRIPE),
    _visa("4000000000007726", "Refund takes its time", Behaviour.REFUND_LATER, Source.STRIPE),
    _visa("4000000000005126", "Refund fails", Behaviour.REFUND_FAILS, Source.STRIPE),
    _visa("4000000000000259", "Disputed as fraudulent", Behaviour.DISPUTE_FRAUDULENT, Source.STRIPE),
    _visa("4000000000002685", "Disputed as not received", Behaviour.DISPUTE_NOT_RECEIVED, Source.STRIPE),
    _visa("4012000077777777", "No reply, no charge", Behaviour.TIMEOUT_BEFORE, Source.BRAINTREE),
    _visa("4009348888881881", "No reply, but charged", Behaviour.TIMEOUT_AFTER, Source.BRAINTREE),
    _visa("4012888888881881", "Slow reply", Behaviour.SLOW, Source.BRAINTREE),
)

# The publisher gives these numbers no behaviour beyond success; the timing is the sandbox's own meaning for them.
OWN_MEANING: Final = frozenset({Behaviour.TIMEOUT_BEFORE, Behaviour.TIMEOUT_AFTER, Behaviour.SLOW})

_BY_NUMBER: Final = MappingProxyType({card.number: card for card in PUBLISHED_CARDS})


def find(number: str) -> PublishedCard | None:
    """The published card with exactly this number, or None: then it may be somebody's real card."""
    return _BY_NUMBER.get(number)


# Issuer ranges, as (first digits from, to, permitted lengths): ISO/IEC 7812-1 and the schemes' published ranges.
_ISSUER_RANGES: Final = (
    ("4", "4", (13, 16, 19)),
    ("51", "55", (16,)),
    ("2221", "2720", (16,)),
    ("34", "34", (15,)),
    ("37", "37", (15,)),
    ("6011", "6011", (16, 17, 18, 19)),
    ("644", "659", (16, 17, 18, 19)),
    ("300", "305", (14, 15, 16, 17, 18, 19)),
    ("36", "36", (14, 15, 16, 17, 18, 19)),
    ("38", "39", (14, 15, 16, 17, 18, 19)),
    ("3528", "3589", (16, 17, 18, 19)),
    ("62", "62", (16, 17, 18, 19)),
    ("81", "81", (16, 17, 18, 19)),
)
_SHORTEST_DIGITS: Final = 13


def luhn_valid(digits: str) -> bool:
    """Whether the check digit is right (ISO/IEC 7812-1, annex B). ``digits`` are ASCII digits."""
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + position % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def holds_card_number(text: str) -> bool:
    """Whether a card number stands anywhere in the text, with up to one space, dot, slash or hyphen between digits."""
    return any(
        any(_is_card_number(run[start : start + length]) for length in range(_SHORTEST_DIGITS, 20))
        for run in _digit_runs(text)
        for start in range(len(run) - _SHORTEST_DIGITS + 1)
    )


def _digit_runs(text: str) -> list[str]:
    runs, gap = [""], 0
    for character in text:
        if character.isdecimal():
            runs[-1] += str(int(character))
            gap = 0
        elif character in " -./\N{NO-BREAK SPACE}" and gap == 0:
            gap = 1
        elif runs[-1]:
            runs.append("")
            gap = 0
    return [run for run in runs if len(run) >= _SHORTEST_DIGITS]


def _is_card_number(digits: str) -> bool:
    in_range = any(
        low <= digits[: len(low)] <= high and len(digits) in lengths for low, high, lengths in _ISSUER_RANGES
    )
    return in_range and luhn_valid(digits)
