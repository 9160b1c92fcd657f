"""Cards for tests: the numbers that networks and processors publish for testing, and numbers made at test time."""

from datetime import UTC, datetime

from hypothesis import strategies as st

from vault_zone.card import BRAND_RULES, Brand, BrandRule, CardholderName, Cvc, Expiry, Pan, PostalCode

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

PUBLISHED_NUMBERS = {
    "4242 4242 4242 4242": Brand.VISA,
    "5555 5555 5555 4444": Brand.MASTERCARD,
    "2223 0031 2200 3222": Brand.MASTERCARD,
    "3782 822463 10005": Brand.AMEX,
    "6011 1111 1111 1117": Brand.DISCOVER,
    "3056 9300 0902 0004": Brand.DINERS,
    "3622 720627 1667": Brand.DINERS,
    "3566 0020 2036 0505": Brand.JCB,
    "6200 0000 0000 0005": Brand.UNIONPAY,
}


def with_check_digit(payload: str) -> str:
    """`payload` and the digit that makes the whole pass Luhn. Written apart from the shipped check."""
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(payload))]
    return payload + str(-sum(value - 9 if value > 9 else value for value in doubled) % 10)


@st.composite
def numbers_of(draw: st.DrawFn, rule: BrandRule, ending: str | None = None) -> str:
    """Digits of a valid number of one brand; with `ending`, the check digit sits just before it."""
    low, high = draw(st.sampled_from(rule.prefixes))
    prefix = str(draw(st.integers(int(low), int(high))))
    length = draw(st.sampled_from(rule.lengths))
    middle = draw(st.text("0123456789", min_size=length - len(prefix) - 1, max_size=length - len(prefix) - 1))
    if ending is None:
        return with_check_digit(prefix + middle)
    head = (prefix + middle)[: length - len(ending) - 1]
    return next(
        candidate for digit in "0123456789" if _is_checked(candidate := f"{head}{digit}{ending}")
    )  # one of ten digits fits


def _is_checked(number: str) -> bool:
    return with_check_digit(number[:-1]) == number


def numbers() -> st.SearchStrategy[str]:
    """Digits of a valid number of any brand."""
    return st.sampled_from(BRAND_RULES).flatmap(numbers_of)


def names() -> st.SearchStrategy[str]:
    """Names that are accepted."""
    return st.text(st.characters(categories=["L"]), min_size=1, max_size=40).map(lambda text: f"{text} Lovelace")


def pans() -> st.SearchStrategy[Pan]:
    """Numbers of one brand with one ending, so that what may be shown of them is alike."""
    return numbers_of(BRAND_RULES[0], "4242").map(Pan.parse)


def cvcs() -> st.SearchStrategy[Cvc]:
    """Security codes of three digits."""
    return st.text("0123456789", min_size=3, max_size=3).map(lambda text: Cvc.parse(text, None))


def expiries() -> st.SearchStrategy[Expiry]:
    """Dates of any card, expired ones too."""
    return st.builds(Expiry, st.integers(1, 12), st.integers(2000, 2099))


def cardholder_names() -> st.SearchStrategy[CardholderName]:
    """Names as the zone holds them."""
    return names().map(CardholderName.parse)


def postal_codes() -> st.SearchStrategy[PostalCode]:
    """Postal codes as the zone holds them."""
    return st.from_regex(r"\A[A-Z0-9]{2,12}\Z").map(PostalCode.parse)
