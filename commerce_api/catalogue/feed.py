"""Reads a product feed: a file or a directory in, product rows and rejected rows out, in file order. No database."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

from commerce_api.catalogue.feed_acp import acp_rows
from commerce_api.catalogue.feed_csv import Layout, csv_rows, read_layout
from commerce_api.catalogue.feed_lines import FeedFault, FeedUnreadable, Line, read_lines
from commerce_api.catalogue.feed_rows import Availability, ProductRow, Refusal, RejectCode, RejectedRow
from commerce_api.catalogue.feed_url import readings
from tokenization.money import exponent

__all__ = [
    "Availability",
    "Feed",
    "FeedFault",
    "FeedForm",
    "FeedUnreadable",
    "ProductRow",
    "RejectCode",
    "RejectedRow",
    "open_feed",
    "read_products",
]

MAXIMUM_PRODUCTS: Final = 1_000_000
_MAXIMUM_METADATA_BYTES: Final = 64 * 1024
_COUNTRY: Final = re.compile("[A-Z]{2}")
_REMEMBERED_TEXTS: Final = 256  # brand, condition, addresses and group texts come again row after row


class FeedForm(StrEnum):
    """The two forms a feed may have."""

    ACP = "acp"
    CSV = "csv"


@dataclass(slots=True)
class Feed:
    """A feed whose head was found in order. ``bytes_read`` grows to ``size_bytes``; both count the file on disk."""

    path: Path
    form: FeedForm
    size_bytes: int
    target_country: str | None = None
    layout: Layout | None = None
    bytes_read: int = 0

    def advance(self, count_bytes: int) -> None:
        """Notes bytes taken from the disk."""
        self.bytes_read += count_bytes


def open_feed(path: Path) -> Feed:
    """Finds the form by name and reads the head: ``metadata.json`` of an ACP directory, the header of a CSV.

    Raises FeedUnreadable; nothing of the feed's text is in it.
    """
    target_country = None
    if path.is_dir():
        target_country = _target_country(path)
        path = _product_file(path)
    form = _form(path)
    head = (line for line in read_lines(path) if line.fault is not None or line.text.strip())
    first, second = next(head, None), next(head, None)
    if first is None:
        raise FeedUnreadable(FeedFault.EMPTY)
    if first.fault is RejectCode.NOT_UTF8 or "\x00" in first.text:  # the second: UTF-16 without a byte-order mark
        raise FeedUnreadable(FeedFault.NOT_UTF8)
    feed = Feed(path, form, path.stat().st_size, target_country)
    if form is FeedForm.CSV:
        feed.layout = _csv_layout(first, second)
    return feed


def read_products(
    feed: Feed, *, currency: str | None, card_like: Callable[[str], bool]
) -> Iterator[ProductRow | RejectedRow]:
    """The feed's rows one by one, in file order, in memory bounded by one line and 16 bytes an id.

    ``currency`` is the one the brand sells in, None to take each row's own; ``card_like`` tells text that reads like a
    card number. Raises MoneyInvalid at once for an unknown ``currency``; while reading, FeedUnreadable
    (``unreadable``, ``archive_damaged``, ``too_large``): the rows had so far are then not the whole feed.

    What must hold of every ProductRow that comes out:
    (1) none of its texts is card-like, percent-encoding undone;
    (2) its price is in the brand's currency, if the brand has one;
    (3) its id is had once: the first row that is taken keeps it.
    """
    if currency is not None:
        exponent(currency)
    feed.bytes_read = 0
    lines = read_lines(feed.path, feed.advance)
    rows = acp_rows(lines) if feed.layout is None else csv_rows(lines, feed.layout, currency)
    return _judged(rows, currency, card_like)


def _judged(
    rows: Iterable[ProductRow | RejectedRow], currency: str | None, card_like: Callable[[str], bool]
) -> Iterator[ProductRow | RejectedRow]:
    remembered = lru_cache(maxsize=_REMEMBERED_TEXTS)(card_like)
    taken: set[bytes] = set()
    for row in rows:
        if isinstance(row, RejectedRow):
            yield row
            continue
        try:
            clean = _without_card_like(row, remembered)  # (1)
            _refuse_other_currency(row, currency)  # (2)
            _take_id(row.variant_id, taken)  # (3)
        except Refusal as refusal:
            yield refusal.row(row.line)
        else:
            yield clean


def _without_card_like(row: ProductRow, card_like: Callable[[str], bool]) -> ProductRow:
    """The row, or Refusal. A GTIN that happens to pass a card's checks is left out and its row kept."""
    for field, text in _texts(row):
        if card_like(text):
            raise Refusal(RejectCode.CARD_LIKE_TEXT, field)
    return replace(row, gtin=None) if row.gtin and card_like(row.gtin) else row


def _texts(row: ProductRow) -> Iterator[tuple[str, str]]:
    """Every text of the row that a reader may see, with the name of its field; the GTIN is judged apart."""
    yield "id", row.variant_id
    yield "item_group_id", row.product_id
    yield "title", row.title
    yield "item_group_title", row.product_title
    yield "description", row.description
    yield from (("link", text) for text in readings(row.url or ""))
    yield from (("image_link", text) for text in readings(row.image_url or ""))
    yield from (("options", f"{name} {value}") for name, value in row.options)
    yield from (("categories", text) for text in row.categories)
    yield "brand", row.brand_name or ""
    yield "condition", row.condition or ""


def _refuse_other_currency(row: ProductRow, currency: str | None) -> None:
    if currency is not None and row.price.currency != currency:
        raise Refusal(RejectCode.CURRENCY_MISMATCH, "price")


def _take_id(variant_id: str, taken: set[bytes]) -> None:
    digest = blake2b(variant_id.encode(), digest_size=16).digest()
    if digest in taken:
        raise Refusal(RejectCode.DUPLICATE_ID, "id")
    if len(taken) >= MAXIMUM_PRODUCTS:
        raise FeedUnreadable(FeedFault.TOO_LARGE)
    taken.add(digest)


def _form(path: Path) -> FeedForm:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    form = {".jsonl": FeedForm.ACP, ".csv": FeedForm.CSV, ".tsv": FeedForm.CSV}.get(suffixes[-1] if suffixes else "")
    if form is None:
        raise FeedUnreadable(FeedFault.UNKNOWN_FORM if path.exists() else FeedFault.NOT_FOUND)
    return form


def _product_file(directory: Path) -> Path:
    for name in ("products.jsonl", "products.jsonl.gz"):
        if (directory / name).exists():
            return directory / name
    raise FeedUnreadable(FeedFault.UNKNOWN_FORM)


def _target_country(directory: Path) -> str | None:
    """``target_country`` of an ACP FeedMetadata, whose ``id`` is required."""
    metadata = directory / "metadata.json"
    if not metadata.is_file():
        raise FeedUnreadable(FeedFault.UNKNOWN_FORM)
    try:
        with metadata.open("rb") as stream:
            parsed = json.loads(stream.read(_MAXIMUM_METADATA_BYTES))
    except OSError:
        raise FeedUnreadable(FeedFault.UNREADABLE) from None
    except (ValueError, RecursionError):
        raise FeedUnreadable(FeedFault.METADATA_INVALID) from None
    country = parsed.get("target_country") if isinstance(parsed, dict) and isinstance(parsed.get("id"), str) else 0
    if country is None:
        return None
    if not isinstance(country, str) or not _COUNTRY.fullmatch(country):
        raise FeedUnreadable(FeedFault.METADATA_INVALID)
    return country


def _csv_layout(header: Line, first_row: Line | None) -> Layout:
    if header.fault is not None:
        raise FeedUnreadable(FeedFault.HEADER_MALFORMED)
    layout = read_layout(header)
    if first_row is None:
        raise FeedUnreadable(FeedFault.EMPTY)
    return layout
