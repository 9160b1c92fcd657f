"""The rules of single fields that every form of feed shares: ids, prices, stock, options, categories, identifiers."""

import re
from collections.abc import Iterable
from typing import Final

from commerce_api.catalogue.feed_rows import Availability, Refusal, RejectCode
from commerce_api.catalogue.feed_text import is_plain, one_line
from tokenization.money import Money, MoneyInvalid

MAXIMUM_ID_CHARACTERS: Final = 128
MAXIMUM_TITLE_CHARACTERS: Final = 300
MAXIMUM_DESCRIPTION_CHARACTERS: Final = 10_000
MAXIMUM_LABEL_CHARACTERS: Final = 200
MAXIMUM_CATEGORY_CHARACTERS: Final = 750  # Google Merchant's limit for product_type
MAXIMUM_OPTIONS: Final = 20
MAXIMUM_CATEGORIES: Final = 20
MAXIMUM_PRICE_MINOR: Final = 10**11  # a tenth of Money's bound, so that a line of ten is still an amount

_MONEY_FAULTS: Final = {
    "amount_malformed": RejectCode.PRICE_MALFORMED,
    "amount_not_an_integer": RejectCode.PRICE_MALFORMED,
    "minor_digits": RejectCode.PRICE_MALFORMED,
    "amount_out_of_bounds": RejectCode.PRICE_OUT_OF_BOUNDS,
    "currency_unknown": RejectCode.CURRENCY_UNKNOWN,
}
_DECIMAL: Final = re.compile(r"[0-9]+(?:\.[0-9]*)?")
_CODE: Final = re.compile("[A-Za-z]{3}")
_LONG_AMOUNT: Final = re.compile(r"[0-9]{13,}(?:\.[0-9]*)?")  # more digits than Money reads
_QUANTITY: Final = re.compile("-?[0-9]{1,9}")
_GTIN: Final = re.compile("[0-9]{8}|[0-9]{12,14}")  # GS1 General Specifications: GTIN-8, -12, -13, -14

_STATES: Final[dict[str, Availability]] = {
    **{state.value.replace("_", ""): state for state in Availability},
    "available": Availability.IN_STOCK,
    "limitedavailability": Availability.LIMITED_STOCK,  # schema.org
    "lowstock": Availability.LIMITED_STOCK,
    "availablefororder": Availability.BACKORDER,  # Meta catalogues
    "presale": Availability.PREORDER,  # schema.org
    "soldout": Availability.OUT_OF_STOCK,  # schema.org
    "unavailable": Availability.OUT_OF_STOCK,
}
_NOT_SOLD: Final = frozenset({Availability.OUT_OF_STOCK, Availability.DISCONTINUED})
_NEEDS_STOCK: Final = frozenset({Availability.IN_STOCK, Availability.LIMITED_STOCK})


def read_id(text: str, field: str, missing: RejectCode = RejectCode.MISSING_ID) -> str:
    """An id without surrounding space. Raises Refusal (``missing``, ``id_malformed``)."""
    text = text.strip()
    if not text:
        raise Refusal(missing, field)
    if len(text) > MAXIMUM_ID_CHARACTERS or not is_plain(text):  # an id is compared, never repaired
        raise Refusal(RejectCode.ID_MALFORMED, field)
    return text


def read_title(text: str, field: str) -> str:
    """A title of at most 300 characters. Raises Refusal (``missing_title`` and those of ``one_line``)."""
    title = one_line(text, field, MAXIMUM_TITLE_CHARACTERS)
    if not title:
        raise Refusal(RejectCode.MISSING_TITLE, field)
    return title


def read_label(text: str, field: str) -> str | None:
    """A short text such as a brand's name, or None. Raises Refusal as ``one_line`` does."""
    return one_line(text, field, MAXIMUM_LABEL_CHARACTERS) or None


def read_options(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Named options; a pair without a name or a value is left out. Raises Refusal (``too_many_values``, text codes)."""
    cleaned = ((read_label(name, "options"), read_label(value, "options")) for name, value in pairs)
    options = tuple((name, value) for name, value in cleaned if name and value)
    if len(options) > MAXIMUM_OPTIONS:
        raise Refusal(RejectCode.TOO_MANY_VALUES, "options")
    return options


def read_categories(texts: Iterable[str]) -> tuple[str, ...]:
    """Category paths, each once; bare taxonomy numbers are left out. Raises Refusal as ``read_options`` does."""
    cleaned = (one_line(text, "categories", MAXIMUM_CATEGORY_CHARACTERS) for text in texts)
    categories = tuple(dict.fromkeys(text for text in cleaned if text and not text.isdigit()))
    if len(categories) > MAXIMUM_CATEGORIES:
        raise Refusal(RejectCode.TOO_MANY_VALUES, "categories")
    return categories


def read_gtin(text: str) -> str | None:
    """The GTIN if its length and check digit are right (GS1), else None: a product sells without one."""
    text = text.strip()
    if not _GTIN.fullmatch(text):
        return None
    weighted = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(reversed(text)))
    return text if weighted % 10 == 0 else None


def price_from_text(text: str, field: str, *, column_currency: str, brand_currency: str | None) -> Money:
    """``137.17 USD``, or ``137.17`` with the currency of the row's column or of the brand.

    Raises Refusal: ``price_malformed``, ``price_not_positive``, ``price_out_of_bounds``, ``currency_unknown``,
    ``currency_mismatch`` (the cell and the currency column name two).
    """
    text, column_currency = text.strip(), column_currency.strip().upper()
    number, named = _split_price(text)
    negative = number.startswith("-")
    if not _DECIMAL.fullmatch(number.removeprefix("-")):
        raise Refusal(RejectCode.PRICE_MALFORMED, field)
    if named and column_currency and named != column_currency:
        raise Refusal(RejectCode.CURRENCY_MISMATCH, field)
    currency = named or column_currency or brand_currency or ""
    if _LONG_AMOUNT.fullmatch(number):
        raise Refusal(RejectCode.PRICE_OUT_OF_BOUNDS, field)
    try:
        price = Money.from_major(number.removeprefix("-"), currency)
    except MoneyInvalid as invalid:
        raise Refusal(_MONEY_FAULTS[invalid.code], field) from None
    if negative:
        raise Refusal(RejectCode.PRICE_NOT_POSITIVE, field)
    return _within_bounds(price, field)


def price_from_minor(amount: object, currency: object, field: str) -> Money:
    """An ACP Price: a JSON integer of minor units and three capitals. Raises Refusal as ``price_from_text`` does."""
    if type(amount) is not int:
        raise Refusal(RejectCode.PRICE_MALFORMED, field)
    if not isinstance(currency, str):
        raise Refusal(RejectCode.CURRENCY_UNKNOWN, field)
    try:
        price = Money(amount, currency)
    except MoneyInvalid as invalid:
        raise Refusal(_MONEY_FAULTS[invalid.code], field) from None
    return _within_bounds(price, field)


def list_price_above(price: Money, reference: Money | None, field: str) -> Money | None:
    """The reference price if it is higher than the price, else None. Raises Refusal (``currency_mismatch``)."""
    if reference is None:
        return None
    if reference.currency != price.currency:
        raise Refusal(RejectCode.CURRENCY_MISMATCH, field)
    return reference if price < reference else None


def read_quantity(text: str) -> int | None:
    """Pieces in stock, None if not counted; oversold (below 0) is 0. Raises Refusal (``quantity_malformed``)."""
    text = text.strip()
    if not text:
        return None
    if not _QUANTITY.fullmatch(text):
        raise Refusal(RejectCode.QUANTITY_MALFORMED, "quantity")
    return max(0, int(text))


def state_of(text: str) -> Availability | None:
    """The state that the word names, whatever its case, spaces, hyphens or schema.org prefix; None if it names none."""
    word = text.strip().lower().removeprefix("https://").removeprefix("http://").removeprefix("schema.org/")
    return _STATES.get(word.replace(" ", "").replace("_", "").replace("-", ""))


def stock(state: Availability, quantity: int | None, *, offered: bool = True) -> tuple[bool, Availability]:
    """Whether the variant can be bought, and its state. Of two signs that differ, the one that does not sell wins."""
    if state in _NEEDS_STOCK and (quantity == 0 or not offered):
        state = Availability.OUT_OF_STOCK
    return offered and state not in _NOT_SOLD, state


def _split_price(text: str) -> tuple[str, str]:
    """The number and the currency, which is empty if the text names none."""
    if _CODE.fullmatch(text[-3:]):
        return text[:-3].rstrip(), text[-3:].upper()
    if _CODE.fullmatch(text[:3]):
        return text[3:].lstrip(), text[:3].upper()
    return text, ""


def _within_bounds(price: Money, field: str) -> Money:
    if price.amount_minor <= 0:
        raise Refusal(RejectCode.PRICE_NOT_POSITIVE, field)
    if price.amount_minor > MAXIMUM_PRICE_MINOR:
        raise Refusal(RejectCode.PRICE_OUT_OF_BOUNDS, field)
    return price
