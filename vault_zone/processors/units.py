"""Amounts as a processor counts them, where it counts in other units than ISO 4217: a hundred times too much otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass

from tokenization.money import Money, exponent


class AmountUnsayable(ValueError):
    """The amount is finer than the processor's unit: it cannot be asked for. Nothing was sent."""


@dataclass(frozen=True, slots=True)
class Units:
    """A processor's exceptions from ISO 4217: how many digits it counts behind the point, by currency."""

    digits: Mapping[str, int]

    def of(self, money: Money) -> int:
        """The amount in the processor's units. Raises AmountUnsayable."""
        return _counted(money.amount_minor, exponent(money.currency), self._digits(money.currency))

    def money(self, amount: object, currency: object) -> Money:
        """The processor's amount as money. Raises MoneyInvalid, and AmountUnsayable for one finer than a minor unit."""
        code = currency.upper() if isinstance(currency, str) else ""
        if type(amount) is not int:
            raise AmountUnsayable(code)
        return Money(_counted(amount, self._digits(code), exponent(code)), code)

    def _digits(self, currency: str) -> int:
        return self.digits.get(currency, exponent(currency))


def _counted(amount: int, digits: int, wanted: int) -> int:
    """The same amount with another number of digits behind the point."""
    for _ in range(digits, wanted):
        amount *= 10
    for _ in range(wanted, digits):
        amount, rest = divmod(amount, 10)
        if rest:
            raise AmountUnsayable
    return amount
