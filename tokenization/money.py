"""Money as an integer of minor units with its ISO 4217 currency (I7): never a float, never two currencies in one sum."""

import re
from dataclasses import dataclass
from typing import Self

# ISO 4217 active codes of countries' currencies; funds, metals and test codes (XAU, XTS, XXX…) are not money to sell in.
_TWO_DIGITS = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC "
    "CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR "
    "JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD "
    "NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN "
    "SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW ZWG"
)
_EXPONENTS: dict[str, int] = {
    **dict.fromkeys(_TWO_DIGITS.split(), 2),
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
}
_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
MAXIMUM_AMOUNT_MINOR = (
    10**12 - 1
)  # ten digits of major units: above any basket; twelve digits can never be a card number
_AMOUNT = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,3}))?")
_AMOUNT_THEN_CURRENCY = re.compile(r"([0-9.]{1,16})\s*([A-Za-z]{3})")
_CURRENCY_THEN_AMOUNT = re.compile(r"([A-Za-z]{3})\s*([0-9.]{1,16})")


class MoneyInvalid(ValueError):
    """An amount or a currency that Cordon does not take; ``code`` says which rule was broken, never the value."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def exponent(currency: str) -> int:
    """The currency's number of minor-unit digits (ISO 4217). Raises MoneyInvalid(``currency_unknown``)."""
    try:
        return _EXPONENTS[currency]
    except KeyError:
        raise MoneyInvalid("currency_unknown") from None


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An amount of minor units in one currency. Raises MoneyInvalid for a float, a bool, an unknown currency or a bound."""

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.amount_minor) is not int:
            raise MoneyInvalid("amount_not_an_integer")
        if abs(self.amount_minor) > MAXIMUM_AMOUNT_MINOR:
            raise MoneyInvalid("amount_out_of_bounds")
        exponent(self.currency)

    @classmethod
    def zero(cls, currency: str) -> Self:
        """Nothing, in a currency."""
        return cls(0, currency)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``137.17 USD`` or ``USD 137.17``: a plain decimal with at most the currency's digits.

        Raises MoneyInvalid: ``amount_malformed``, ``minor_digits`` (too many decimals), ``currency_unknown``.
        """
        text = text.strip()
        if matched := _AMOUNT_THEN_CURRENCY.fullmatch(text):
            amount, currency = matched.groups()
        elif matched := _CURRENCY_THEN_AMOUNT.fullmatch(text):
            currency, amount = matched.groups()
        else:
            raise MoneyInvalid("amount_malformed")
        return cls.from_major(amount, currency.upper())

    @classmethod
    def from_major(cls, amount: str, currency: str) -> Self:
        """Reads a decimal string of major units, such as ``137.17``, without ever passing through a float."""
        digits = exponent(currency)
        matched = _AMOUNT.fullmatch(amount)
        if not matched:
            raise MoneyInvalid("amount_malformed")
        whole, fraction = matched.group(1), matched.group(2) or ""
        if len(fraction) > digits:
            raise MoneyInvalid("minor_digits")
        return cls(int(whole + fraction.ljust(digits, "0")), currency)

    def __add__(self, other: "Money") -> "Money":
        return Money(self.amount_minor + self._same(other), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.amount_minor - self._same(other), self.currency)

    def __mul__(self, quantity: int) -> "Money":
        if type(quantity) is not int:
            raise MoneyInvalid("amount_not_an_integer")
        return Money(self.amount_minor * quantity, self.currency)

    def __le__(self, other: "Money") -> bool:
        return self.amount_minor <= self._same(other)

    def __lt__(self, other: "Money") -> bool:
        return self.amount_minor < self._same(other)

    def share(self, basis_points: int) -> "Money":
        """This many hundredths of a percent of the amount, rounded half up on the minor unit."""
        return Money((self.amount_minor * basis_points + 5_000) // 10_000, self.currency)

    def _same(self, other: "Money") -> int:
        if other.currency != self.currency:
            raise MoneyInvalid("currency_mismatch")
        return other.amount_minor

    def text(self) -> str:
        """For people: ``$137.17``, ``137.17 CHF``, ``-€5.00``, ``¥1,000``."""
        digits = exponent(self.currency)
        whole, fraction = divmod(abs(self.amount_minor), 10**digits)
        number = f"{whole:,}" + (f".{fraction:0{digits}d}" if digits else "")
        sign = "-" if self.amount_minor < 0 else ""
        symbol = _SYMBOLS.get(self.currency)
        return f"{sign}{symbol}{number}" if symbol else f"{sign}{number} {self.currency}"

    def __str__(self) -> str:
        return self.text()
