"""The only types that hold card data. What must hold for each of them:

1. No protocol that a log, an error reporter, a serialiser or a debugger calls gives a held value away.
2. A held value leaves by `expose` alone, for a named purpose which its type allows.
3. A value is checked before it is held; a refusal names the field and the rule, never the value, and the traceback
   of a refusal holds no value in the frames of this module.
4. Equality takes the same time whatever the values are (for values of one length).
"""

import enum
import hmac
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import ClassVar, Generic, NoReturn, Self, TypeVar, final

EXPIRY_HORIZON_YEARS = 20  # issuers print at most ten years ahead: twice that is a slip of the finger
NAME_MAX_CHARS = 80
NAME_MAX_DIGITS = 8  # a PAN has 13 at least; "Flat 12" or "III" typed by mistake still passes
PAN_MIN_DIGITS = 13
PAN_MAX_DIGITS = 19  # ISO/IEC 7812-1

# The last place on Earth where a month ends, so that no holder is told a day early that the card has expired.
_LAST_TIME_ZONE = timezone(timedelta(hours=-12))
_JOINERS = "\u200c\u200d"  # format characters that Persian and Indic names need
_HELD = TypeVar("_HELD")


class Exposure(enum.Enum):
    """Why a held value is read. Every call of `expose` names one, so that a search finds all of them."""

    SEAL = "seal"
    PROCESSOR = "processor"
    FINGERPRINT = "fingerprint"


class CardField(enum.StrEnum):
    """The fields of a card, by their names in the form."""

    NUMBER = "number"
    EXPIRY = "expiry"
    CVC = "cvc"
    NAME = "name"
    POSTAL_CODE = "postal_code"
    CRYPTOGRAM = "cryptogram"


class CardProblem(enum.StrEnum):
    """What is wrong with a field. Codes are only ever added."""

    MISSING = "missing"
    NOT_DIGITS = "not_digits"
    WRONG_LENGTH = "wrong_length"
    BRAND_UNKNOWN = "brand_unknown"
    FAILED_CHECK = "failed_check"
    WRONG_FORM = "wrong_form"
    MONTH_INVALID = "month_invalid"
    PAST = "past"
    TOO_FAR = "too_far"
    THREE_DIGITS = "three_digits"
    FOUR_DIGITS = "four_digits"
    TOO_LONG = "too_long"
    CARD_LIKE = "card_like"
    WRONG_CHARACTERS = "wrong_characters"


class CardInvalid(ValueError):
    """A field was refused. The caller can ask the shopper for another value; `field` and `code` say which and why."""

    def __init__(self, field: CardField, code: CardProblem) -> None:
        super().__init__(f"{field.value}: {code.value}")
        self.field = field
        self.code = code


class CardUnreadable(TypeError):
    """Card data was about to be copied, pickled, changed or exposed for a purpose its type does not allow."""


class Brand(enum.StrEnum):
    """The card networks whose numbers are accepted."""

    VISA = "visa"
    MASTERCARD = "mastercard"
    AMEX = "amex"
    DISCOVER = "discover"
    DINERS = "diners"
    JCB = "jcb"
    UNIONPAY = "unionpay"
    MAESTRO = "maestro"


@dataclass(frozen=True, slots=True)
class BrandRule:
    """How a network numbers its cards: inclusive prefix ranges (IIN), number lengths, CVC length and print groups."""

    brand: Brand
    title: str
    prefixes: tuple[tuple[str, str], ...]
    lengths: tuple[int, ...]
    cvc_digits: int = 3
    groups: tuple[int, ...] = (4, 4, 4, 4, 3)

    def claims(self, digits: str) -> bool:
        """True if the number begins in one of the network's ranges."""
        return any(low <= digits[: len(low)] <= high for low, high in self.prefixes if len(digits) >= len(low))


_16_TO_19 = (16, 17, 18, 19)
BRAND_RULES: tuple[BrandRule, ...] = (
    BrandRule(Brand.VISA, "Visa", (("4", "4"),), (13, 16, 19)),
    BrandRule(Brand.MASTERCARD, "Mastercard", (("51", "55"), ("2221", "2720")), (16,)),
    BrandRule(Brand.AMEX, "American Express", (("34", "34"), ("37", "37")), (15,), 4, (4, 6, 5)),
    BrandRule(Brand.DISCOVER, "Discover", (("6011", "6011"), ("644", "649"), ("65", "65")), _16_TO_19),
    BrandRule(
        Brand.DINERS,
        "Diners Club",
        (("300", "305"), ("3095", "3095"), ("36", "36"), ("38", "39")),
        (14, *_16_TO_19),
    ),
    BrandRule(Brand.JCB, "JCB", (("3528", "3589"),), _16_TO_19),
    BrandRule(Brand.UNIONPAY, "UnionPay", (("62", "62"), ("81", "81")), _16_TO_19),
    BrandRule(
        Brand.MAESTRO,
        "Maestro",
        (("50", "50"), ("56", "59"), ("61", "61"), ("63", "63"), ("66", "69")),
        tuple(range(PAN_MIN_DIGITS, PAN_MAX_DIGITS + 1)),
    ),
)
"""Ranges do not overlap, so the order of the rows has no meaning."""


def brand_rule(digits: str) -> BrandRule | None:
    """The rule of the network in whose ranges the number begins, or None."""
    return next((rule for rule in BRAND_RULES if rule.claims(digits)), None)


def passes_luhn(digits: str) -> bool:
    """True if the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    total = sum(map(int, digits[-1::-2])) + sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return total % 10 == 0


class _Unreadable:
    """Refuses every way out that Python offers a value by itself (1)."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]  # a hash is an oracle for equality

    def __repr__(self) -> str:
        return f"{type(self).__name__}(****)"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise CardUnreadable("card data cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise CardUnreadable("card data cannot be changed")

    def __getstate__(self) -> NoReturn:
        raise CardUnreadable("card data cannot be copied, pickled or serialised")

    def __reduce__(self) -> NoReturn:
        raise CardUnreadable("card data cannot be copied, pickled or serialised")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise CardUnreadable("card data cannot be copied, pickled or serialised")

    def __copy__(self) -> NoReturn:
        raise CardUnreadable("card data cannot be copied, pickled or serialised")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise CardUnreadable("card data cannot be copied, pickled or serialised")

    def _fill(self, **parts: object) -> None:
        for name, part in parts.items():
            object.__setattr__(self, name, part)


class _Shielded(_Unreadable, Generic[_HELD]):
    """One held value. The slot holds a function, so a walker of attributes finds an address and no value (1)."""

    __slots__ = ("__read",)
    __read: Callable[[], _HELD]
    _exposures: ClassVar[frozenset[Exposure]] = frozenset({Exposure.SEAL, Exposure.PROCESSOR})

    def __init__(self, held: _HELD) -> None:
        self._fill(_Shielded__read=lambda: held)

    def expose(self, purpose: Exposure) -> _HELD:
        """The held value, for one purpose. Raises CardUnreadable if the type does not allow that purpose (2)."""
        if purpose not in self._exposures:
            raise CardUnreadable("card data is not exposed for this purpose")
        return self.__read()

    def __eq__(self, other: object) -> bool:  # (4)
        if not isinstance(other, _Shielded) or type(other) is not type(self):
            return NotImplemented
        return hmac.compare_digest(repr(self.__read()).encode(), repr(other.__read()).encode())

    __hash__ = None


@final
class Pan(_Shielded[str]):
    """A primary account number: 13 to 19 digits of a known brand that pass Luhn. Made by `parse` alone.

    `brand` and `last4` may be shown to the holder (PCI DSS 4.0.1, 3.4.1).
    """

    __slots__ = ("brand", "last4")
    brand: Brand
    last4: str
    _exposures = frozenset(Exposure)

    def __init__(self, digits: str, brand: Brand) -> None:
        super().__init__(digits)
        self._fill(brand=brand, last4=digits[-4:])

    @classmethod
    def parse(cls, text: str) -> Self:
        """The number in `text`, where ASCII spaces and dashes may stand between digits. Raises CardInvalid."""
        digits = text.replace(" ", "").replace("-", "")
        del text
        rule = brand_rule(digits)
        problem = _number_problem(digits, rule)
        if rule is None or problem is not None:
            del digits  # (3)
            raise CardInvalid(CardField.NUMBER, problem or CardProblem.BRAND_UNKNOWN)
        return cls(digits, rule.brand)


def _number_problem(digits: str, rule: BrandRule | None) -> CardProblem | None:
    if not digits:
        return CardProblem.MISSING
    if not _all_ascii_digits(digits):
        return CardProblem.NOT_DIGITS
    if not PAN_MIN_DIGITS <= len(digits) <= PAN_MAX_DIGITS:
        return CardProblem.WRONG_LENGTH
    if rule is None:
        return CardProblem.BRAND_UNKNOWN
    if len(digits) not in rule.lengths:
        return CardProblem.WRONG_LENGTH
    return None if passes_luhn(digits) else CardProblem.FAILED_CHECK


def _all_ascii_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


@final
class Cvc(_Shielded[str]):
    """A card verification code: 4 digits for American Express, 3 for the others. Made by `parse` alone."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str, brand: Brand | None) -> Self:
        """The code in `text`; 3 or 4 digits while the brand is not known. Raises CardInvalid."""
        digits = text.strip(" ")
        del text
        problem = _cvc_problem(digits, brand)
        if problem is not None:
            del digits  # (3)
            raise CardInvalid(CardField.CVC, problem)
        return cls(digits)


def _cvc_problem(digits: str, brand: Brand | None) -> CardProblem | None:
    if not digits:
        return CardProblem.MISSING
    if not _all_ascii_digits(digits):
        return CardProblem.NOT_DIGITS
    allowed = {rule.cvc_digits for rule in BRAND_RULES if brand in (None, rule.brand)}
    if len(digits) in allowed:
        return None
    if len(allowed) > 1:
        return CardProblem.WRONG_LENGTH
    return CardProblem.FOUR_DIGITS if allowed == {4} else CardProblem.THREE_DIGITS


@final
class Expiry(_Shielded[tuple[int, int]]):
    """The month and year (four digits) a card is valid to, to the end of that month. `expose` gives (month, year).

    The constructor takes dates that have passed, for cards kept from before; `parse` refuses them.
    """

    __slots__ = ()
    _FORM: ClassVar[re.Pattern[str]] = re.compile(r" *(?:([0-9]{1,2}) *[/-] *|([0-9]{2}) *)([0-9]{2}|[0-9]{4}) *")

    def __init__(self, month: int, year: int) -> None:
        valid = 1 <= month <= 12 and 2000 <= year <= 2099
        held = (month, year)
        del month, year
        if not valid:
            del held  # (3)
            raise CardInvalid(CardField.EXPIRY, CardProblem.MONTH_INVALID)
        super().__init__(held)

    @classmethod
    def parse(cls, text: str, now: datetime) -> Self:
        """The date in `text`: MM/YY, MM / YY, MM-YY, MMYY or with a year of four digits; not past at `now` (aware),
        wherever on Earth the holder is, nor more than 20 years ahead. Raises CardInvalid."""
        date, problem = _read_expiry(text, cls._FORM)
        del text
        problem = problem or _date_problem(date, now)
        if problem is not None:
            del date  # (3)
            raise CardInvalid(CardField.EXPIRY, problem)
        return cls(*date)


def _read_expiry(text: str, form: re.Pattern[str]) -> tuple[tuple[int, int], CardProblem | None]:
    if not text.strip(" "):
        return (0, 0), CardProblem.MISSING
    match = form.fullmatch(text)
    if match is None:
        return (0, 0), CardProblem.WRONG_FORM
    century = 2000 if len(match[3]) == 2 else 0
    return (int(match[1] or match[2]), century + int(match[3])), None


def _date_problem(date: tuple[int, int], now: datetime) -> CardProblem | None:
    if not 1 <= date[0] <= 12:
        return CardProblem.MONTH_INVALID
    months_left = _months_left(date, now)
    if months_left < 0:
        return CardProblem.PAST
    return CardProblem.TOO_FAR if months_left > 12 * EXPIRY_HORIZON_YEARS else None


def _months_left(date: tuple[int, int], now: datetime) -> int:
    today = now.astimezone(_LAST_TIME_ZONE)
    month, year = date
    return 12 * (year - today.year) + month - today.month


@final
class CardholderName(_Shielded[str]):
    """The holder's name: 1 to 80 characters with a letter among them, and too few digits to hide a card number."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """The name in `text`, without the spaces around it. Raises CardInvalid."""
        name = text.strip()
        del text
        problem = _name_problem(name)
        if problem is not None:
            del name  # (3)
            raise CardInvalid(CardField.NAME, problem)
        return cls(name)


def _name_problem(name: str) -> CardProblem | None:
    if not name:
        return CardProblem.MISSING
    if sum(char.isdigit() for char in name) > NAME_MAX_DIGITS:  # digits of every script
        return CardProblem.CARD_LIKE
    if len(name) > NAME_MAX_CHARS:
        return CardProblem.TOO_LONG
    has_letter = any(char.isalpha() for char in name)
    has_control = any(unicodedata.category(char).startswith("C") and char not in _JOINERS for char in name)
    return None if has_letter and not has_control else CardProblem.WRONG_CHARACTERS


@final
class PostalCode(_Shielded[str]):
    """A postal code: 2 to 12 ASCII letters, digits, spaces and dashes."""

    __slots__ = ()
    _FORM: ClassVar[re.Pattern[str]] = re.compile(r"[A-Za-z0-9][A-Za-z0-9 -]{1,11}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The code in `text`, without the spaces around it. Raises CardInvalid."""
        code = text.strip(" ")
        del text
        if cls._FORM.fullmatch(code) is None:
            problem = CardProblem.WRONG_FORM if code else CardProblem.MISSING
            del code  # (3)
            raise CardInvalid(CardField.POSTAL_CODE, problem)
        return cls(code)


@final
class Cryptogram(_Shielded[tuple[str, str | None]]):
    """What proves one use of a network token, and the indicator (ECI) that came with it. `expose` gives (cryptogram, ECI).

    The networks send 20 or 24 bytes in base64, or a dynamic code of three digits or more.
    """

    __slots__ = ()
    _FORM: ClassVar[re.Pattern[str]] = re.compile(r"[A-Za-z0-9+/_=-]{3,64}")
    _INDICATOR: ClassVar[re.Pattern[str]] = re.compile(r"[0-9]{1,2}")

    @classmethod
    def parse(cls, text: str, indicator: str | None = None) -> Self:
        """The cryptogram in `text`. Raises CardInvalid."""
        held = (text.strip(" "), indicator)
        del text, indicator
        problem = cls._problem(*held)
        if problem is not None:
            del held  # (3)
            raise CardInvalid(CardField.CRYPTOGRAM, problem)
        return cls(held)

    @classmethod
    def _problem(cls, cryptogram: str, indicator: str | None) -> CardProblem | None:
        if not cryptogram:
            return CardProblem.MISSING
        if len(cryptogram) > 64:
            return CardProblem.TOO_LONG
        formed = cls._FORM.fullmatch(cryptogram) and (indicator is None or cls._INDICATOR.fullmatch(indicator))
        return None if formed else CardProblem.WRONG_FORM


@final
class Card(_Unreadable):
    """A card without its CVC: what may be kept after authorisation (PCI DSS 4.0.1, 3.3.1)."""

    __slots__ = ("expiry", "name", "pan", "postal_code")
    pan: Pan
    expiry: Expiry
    name: CardholderName | None
    postal_code: PostalCode | None

    def __init__(
        self,
        *,
        pan: Pan,
        expiry: Expiry,
        name: CardholderName | None = None,
        postal_code: PostalCode | None = None,
    ) -> None:
        self._fill(pan=pan, expiry=expiry, name=name, postal_code=postal_code)

    def __eq__(self, other: object) -> bool:  # (4)
        if not isinstance(other, Card):
            return NotImplemented
        pairs = zip(self._parts(), other._parts(), strict=True)
        return sum(mine != theirs for mine, theirs in pairs) == 0  # compares every pair

    __hash__ = None

    def _parts(self) -> tuple[object, ...]:
        return (self.pan, self.expiry, self.name, self.postal_code)


@final
class CapturedCard(_Unreadable):
    """A card as the shopper has just typed it. The CVC is kept apart, for its shorter life."""

    __slots__ = ("card", "cvc")
    card: Card
    cvc: Cvc

    def __init__(self, *, card: Card, cvc: Cvc) -> None:
        self._fill(card=card, cvc=cvc)
