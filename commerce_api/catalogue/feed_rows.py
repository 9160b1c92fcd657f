"""What a product feed yields: product rows, rejected rows, and the closed sets of words that both use."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tokenization.money import Money


class Availability(StrEnum):
    """Fulfilment states known to ACP 2026-04-17 (``Availability.status``)."""

    IN_STOCK = "in_stock"
    LIMITED_STOCK = "limited_stock"
    BACKORDER = "backorder"
    PREORDER = "preorder"
    OUT_OF_STOCK = "out_of_stock"
    DISCONTINUED = "discontinued"


class RejectCode(StrEnum):
    """Why a row was not taken. Closed: a new cause gets a new member and a sentence in REASONS."""

    LINE_TOO_LONG = "line_too_long"
    NOT_UTF8 = "not_utf8"
    MALFORMED_CSV = "malformed_csv"
    MALFORMED_JSON = "malformed_json"
    WRONG_COLUMN_COUNT = "wrong_column_count"
    WRONG_TYPE = "wrong_type"
    VARIANTS_MISSING = "variants_missing"
    MISSING_ID = "missing_id"
    ID_MALFORMED = "id_malformed"
    DUPLICATE_ID = "duplicate_id"
    MISSING_TITLE = "missing_title"
    TEXT_TOO_LONG = "text_too_long"
    TEXT_MALFORMED = "text_malformed"
    MARKUP_IN_TEXT = "markup_in_text"
    CARD_LIKE_TEXT = "card_like_text"
    TOO_MANY_VALUES = "too_many_values"
    URL_UNSAFE = "url_unsafe"
    PRICE_MISSING = "price_missing"
    PRICE_MALFORMED = "price_malformed"
    PRICE_NOT_POSITIVE = "price_not_positive"
    PRICE_OUT_OF_BOUNDS = "price_out_of_bounds"
    CURRENCY_UNKNOWN = "currency_unknown"
    CURRENCY_MISMATCH = "currency_mismatch"
    AVAILABILITY_UNKNOWN = "availability_unknown"
    QUANTITY_MALFORMED = "quantity_malformed"


REASONS: Final[dict[RejectCode, str]] = {
    RejectCode.LINE_TOO_LONG: "the line is longer than 1 MiB; split the product or shorten its texts",
    RejectCode.NOT_UTF8: "the line is not UTF-8; save the file as UTF-8",
    RejectCode.MALFORMED_CSV: (
        "the quotes do not match; put quotes round the whole cell and write a quote inside it twice, "
        "at most 1,000 lines and 128 KiB in one cell"
    ),
    RejectCode.MALFORMED_JSON: "the line is not one JSON object; write one product a line, without NaN or Infinity",
    RejectCode.WRONG_COLUMN_COUNT: "the row has not as many cells as the header; quote cells that hold the delimiter",
    RejectCode.WRONG_TYPE: "the JSON type is not the one of the ACP feed schema",
    RejectCode.VARIANTS_MISSING: "the product has no variants; write at least one",
    RejectCode.MISSING_ID: "there is no id; give every variant its own",
    RejectCode.ID_MALFORMED: "an id is at most 128 visible characters, as a string, with no < before a letter",
    RejectCode.DUPLICATE_ID: "an earlier row of this feed has the same id and was taken; give every variant its own",
    RejectCode.MISSING_TITLE: "there is no title; write one",
    RejectCode.TEXT_TOO_LONG: "the text is too long; shorten it (docs/feeds.md lists the limits)",
    RejectCode.TEXT_MALFORMED: "more than 30 combining marks follow one letter; write the text without them",
    RejectCode.MARKUP_IN_TEXT: "the text holds an HTML tag; write plain text, and a space after a < that is meant",
    RejectCode.CARD_LIKE_TEXT: "the text reads like a payment card number; remove it, card data has no place here",
    RejectCode.TOO_MANY_VALUES: "the list is too long; keep at most 20 options and 20 categories",
    RejectCode.URL_UNSAFE: (
        "the address is not a public http or https address with a host name and no user name; "
        "numeric, local and internal hosts are refused"
    ),
    RejectCode.PRICE_MISSING: "there is no price; write one such as 137.17 USD (ACP: amount and currency)",
    RejectCode.PRICE_MALFORMED: (
        "write digits, a point, no more decimals than the currency has, a space and the currency: 137.17 USD "
        "(ACP: amount is a whole number of minor units)"
    ),
    RejectCode.PRICE_NOT_POSITIVE: "the price is not above zero",
    RejectCode.PRICE_OUT_OF_BOUNDS: "the price is above 100,000,000,000 minor units",
    RejectCode.CURRENCY_UNKNOWN: "the currency is missing or is not one of ISO 4217; write its three letters",
    RejectCode.CURRENCY_MISMATCH: "the price is in another currency than the brand sells in, or names two",
    RejectCode.AVAILABILITY_UNKNOWN: (
        "write in_stock, limited_stock, backorder, preorder, out_of_stock or discontinued, or a quantity"
    ),
    RejectCode.QUANTITY_MALFORMED: "the quantity is not a whole number of at most nine digits",
}


@dataclass(frozen=True, slots=True)
class ProductRow:
    """One sellable variant. Its texts are NFC and plain: no control, bidi or invisible characters, no HTML tags."""

    variant_id: str
    product_id: str
    title: str
    product_title: str
    description: str
    url: str | None
    image_url: str | None
    price: Money
    list_price: Money | None
    available: bool
    availability: Availability
    stock_quantity: int | None  # None: the feed does not count the stock
    options: tuple[tuple[str, str], ...]
    brand_name: str | None
    categories: tuple[str, ...]
    gtin: str | None
    condition: str | None
    line: int  # the line the row began on, from 1


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was not taken, and what to change. ``reason`` is made of constants alone, never of the feed's text."""

    line: int
    code: RejectCode
    reason: str


class Refusal(Exception):
    """Raised by the field rules to give up the row at hand; ``field`` is a constant name, never input."""

    def __init__(self, code: RejectCode, field: str = "") -> None:
        super().__init__(code.value)
        self.code = code
        self.field = field

    def row(self, line: int, *, variant: int | None = None) -> RejectedRow:
        """The rejected row; ``variant`` is the place of the variant within its product, from 1."""
        where = f"variant {variant}: " if variant is not None else ""
        what = f"{self.field}: " if self.field else ""
        return RejectedRow(line, self.code, f"{where}{what}{REASONS[self.code]}")
