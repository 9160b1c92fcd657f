"""Merchant-feed CSV (Google Merchant, Meta, Shopify, OpenAI columns) as product rows. RFC 4180, in bounded memory."""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from commerce_api.catalogue.feed_fields import (
    MAXIMUM_DESCRIPTION_CHARACTERS,
    list_price_above,
    price_from_text,
    read_categories,
    read_gtin,
    read_id,
    read_label,
    read_options,
    read_quantity,
    read_title,
    state_of,
    stock,
)
from commerce_api.catalogue.feed_lines import MAXIMUM_LINE_BYTES, FeedFault, FeedUnreadable, Line
from commerce_api.catalogue.feed_rows import Availability, ProductRow, Refusal, RejectCode, RejectedRow
from commerce_api.catalogue.feed_text import paragraphs
from commerce_api.catalogue.feed_url import safe_url
from tokenization.money import Money

MAXIMUM_RECORD_LINES: Final = 1_000  # an unclosed quote costs at most this many lines read again
_FREE_REREAD_LINES: Final = 100_000  # a hundred such quotes a feed; a feed with more is broken all over, or hostile
_REREAD_PER_LINE: Final = 20
MAXIMUM_COLUMNS: Final = 500
_DELIMITERS: Final = (",", "\t", ";")

# Canonical name: the header names that mean it, best first.
ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "id": ("id", "item_id", "offer_id", "variant_id", "sku", "variant_sku", "retailer_id"),
    "item_group_id": ("item_group_id", "group_id", "parent_id", "product_id", "handle"),
    "title": ("title", "name", "product_name"),
    "item_group_title": ("item_group_title", "group_title"),
    "description": ("description", "body", "body_html", "rich_text_description"),
    "link": ("link", "url", "product_url"),
    "image_link": ("image_link", "image_url", "image", "image_src", "variant_image"),
    "price": ("price", "variant_price"),
    "sale_price": ("sale_price",),
    "sale_price_effective_date": ("sale_price_effective_date",),
    "list_price": ("list_price", "compare_at_price", "variant_compare_at_price"),
    "currency": ("currency", "price_currency", "currency_code"),
    "availability": ("availability", "stock_status"),
    "quantity": (
        "quantity",
        "inventory",
        "stock",
        "inventory_quantity",
        "stock_quantity",
        "variant_inventory_qty",
        "quantity_to_sell_on_facebook",
        "sell_on_google_quantity",
    ),
    "brand": ("brand", "vendor", "brand_name"),
    "condition": ("condition",),
    "gtin": ("gtin", "barcode", "variant_barcode", "upc", "ean"),
}
CATEGORY_COLUMNS: Final = ("product_type", "category", "product_category", "google_product_category", "type")
OPTION_COLUMNS: Final = {
    "color": "Color",
    "colour": "Color",
    "size": "Size",
    "material": "Material",
    "pattern": "Pattern",
    "gender": "Gender",
    "age_group": "Age group",
}
# Columns that hold an option's name, and those that hold its value: Shopify's, then OpenAI's.
OPTION_PAIR_COLUMNS: Final = (
    *((f"option{n}_name", f"option{n}_value") for n in (1, 2, 3)),
    *((f"custom_variant{n}_category", f"custom_variant{n}_option") for n in (1, 2, 3)),
)
_NOT_IN_NAMES: Final = re.compile(r"[\s_\-]+")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the header puts each canonical column."""

    header_line: int
    delimiter: str
    width: int
    columns: dict[str, int]
    categories: tuple[int, ...]
    options: tuple[tuple[str, int], ...]
    option_pairs: tuple[tuple[int, int], ...]


def read_layout(header: Line) -> Layout:
    """Reads the header line; the delimiter is the one that names the most known columns.

    Raises FeedUnreadable: ``header_malformed``, ``missing_columns``, ``repeated_columns``.
    """
    splits = ((delimiter, _split_header(header.text, delimiter)) for delimiter in _DELIMITERS)
    layouts = [_layout(header.number, delimiter, names) for delimiter, names in splits if names]
    if not layouts:
        raise FeedUnreadable(FeedFault.HEADER_MALFORMED)
    layout = max(layouts, key=lambda candidate: len(candidate.columns))
    missing = tuple(name for name in ("id", "title", "price") if name not in layout.columns)
    if not {"availability", "quantity"} & layout.columns.keys():
        missing += ("availability",)
    if missing:
        raise FeedUnreadable(FeedFault.MISSING_COLUMNS, missing)
    _refuse_repeated(layout, _split_header(header.text, layout.delimiter))
    return layout


def csv_rows(lines: Iterable[Line], layout: Layout, brand_currency: str | None) -> Iterator[ProductRow | RejectedRow]:
    """The rows after the header, in file order. Blank lines are passed over."""
    after_header = (line for line in lines if line.number > layout.header_line)
    for record in _records(after_header, layout):
        if isinstance(record, RejectedRow):
            yield record
            continue
        line, cells = record
        try:
            yield _product_row(_Cells(cells, layout), line, brand_currency)
        except Refusal as refusal:
            yield refusal.row(line)


def _records(lines: Iterator[Line], layout: Layout) -> Iterator[tuple[int, list[str]] | RejectedRow]:
    """Records of the header's width, each with the number of its first line.

    What must hold, whatever the quotes:
    (1) a record takes at most MAXIMUM_RECORD_LINES lines and MAXIMUM_LINE_BYTES characters;
    (2) a record over several lines that does not come out well costs its first line only: the others are read again;
    (3) reading again stays linear: past _FREE_REREAD_LINES in the feed, a record takes _REREAD_PER_LINE lines.
    """
    again: deque[Line] = deque()
    reread_lines = 0
    while (first := _next(again, lines)) is not None:
        if first.fault is not None:
            yield Refusal(first.fault).row(first.number)
            continue
        if not first.text.strip():
            continue
        taken = [first]
        spent = reread_lines > _FREE_REREAD_LINES + _REREAD_PER_LINE * first.number
        supply = _supply(taken, again, lines, _REREAD_PER_LINE if spent else MAXIMUM_RECORD_LINES)  # (3)
        reader = csv.reader(supply, delimiter=layout.delimiter, strict=True)
        try:
            cells = next(reader)
            fault = None if len(cells) == layout.width else RejectCode.WRONG_COLUMN_COUNT
        except (csv.Error, StopIteration):
            cells, fault = [], RejectCode.MALFORMED_CSV
        if fault is None:
            yield first.number, cells
            continue
        again.extendleft(reversed(taken[1:]))  # (2)
        reread_lines += len(taken) - 1
        yield Refusal(fault if len(taken) == 1 else RejectCode.MALFORMED_CSV).row(first.number)


def _next(again: deque[Line], lines: Iterator[Line]) -> Line | None:
    return again.popleft() if again else next(lines, None)


def _supply(taken: list[Line], again: deque[Line], lines: Iterator[Line], maximum_lines: int) -> Iterator[str]:
    """Feeds the csv reader, which asks for one more line only while a quote is open; notes each line in ``taken``."""
    yield taken[0].text
    characters = len(taken[0].text)
    while len(taken) < maximum_lines:  # (1)
        line = _next(again, lines)
        if line is None:
            return
        characters += len(line.text)
        if line.fault is not None or characters > MAXIMUM_LINE_BYTES:  # (1)
            again.appendleft(line)
            return
        taken.append(line)
        yield line.text


class _Cells:
    """The cells of one record by canonical column name."""

    __slots__ = ("_cells", "layout")

    def __init__(self, cells: list[str], layout: Layout) -> None:
        self._cells = cells
        self.layout = layout

    def __getitem__(self, name: str) -> str:
        """The cell, or an empty text if the feed has no such column."""
        place = self.layout.columns.get(name)
        return "" if place is None else self._cells[place]

    def categories(self) -> tuple[str, ...]:
        return tuple(self._cells[place] for place in self.layout.categories)

    def options(self) -> Iterator[tuple[str, str]]:
        for name, place in self.layout.options:
            yield name, self._cells[place]
        for name_place, value_place in self.layout.option_pairs:
            yield self._cells[name_place], self._cells[value_place]


def _product_row(cells: _Cells, line: int, brand_currency: str | None) -> ProductRow:
    variant_id = read_id(cells["id"], "id")
    title = read_title(cells["title"], "title")
    price, list_price = _prices(cells, brand_currency)
    available, availability, quantity = _stock(cells)
    group_title = cells["item_group_title"].strip()
    return ProductRow(
        variant_id=variant_id,
        product_id=read_id(cells["item_group_id"].strip() or variant_id, "item_group_id"),
        title=title,
        product_title=read_title(group_title, "item_group_title") if group_title else title,
        description=paragraphs(cells["description"], "description", MAXIMUM_DESCRIPTION_CHARACTERS),
        url=safe_url(cells["link"], "link"),
        image_url=safe_url(cells["image_link"], "image_link"),
        price=price,
        list_price=list_price,
        available=available,
        availability=availability,
        stock_quantity=quantity,
        options=read_options(cells.options()),
        brand_name=read_label(cells["brand"], "brand"),
        categories=read_categories(cells.categories()),
        gtin=read_gtin(cells["gtin"]),
        condition=read_label(cells["condition"].lower(), "condition"),
        line=line,
    )


def _prices(cells: _Cells, brand_currency: str | None) -> tuple[Money, Money | None]:
    """The price asked now and the higher one it replaces, if any.

    A sale price that has dates is not taken: a feed read today does not know when it will be read next, and a price
    that outlives its sale would be a promise nobody made. Such a sale belongs in the policy's offers.
    """

    def money(name: str) -> Money | None:
        if not cells[name].strip():
            return None
        return price_from_text(cells[name], name, column_currency=cells["currency"], brand_currency=brand_currency)

    price = money("price")
    if price is None:
        raise Refusal(RejectCode.PRICE_MISSING, "price")
    sale_price = money("sale_price")
    list_price = list_price_above(price, money("list_price"), "list_price")
    if sale_price is None or cells["sale_price_effective_date"].strip():
        return price, list_price
    regular_price = list_price_above(sale_price, price, "sale_price")
    return (price, list_price) if regular_price is None else (sale_price, regular_price)


def _stock(cells: _Cells) -> tuple[bool, Availability, int | None]:
    quantity = read_quantity(cells["quantity"])
    word = cells["availability"]
    state = state_of(word)
    if state is None and not word.strip() and quantity is not None:
        state = Availability.IN_STOCK
    if state is None:
        raise Refusal(RejectCode.AVAILABILITY_UNKNOWN, "availability")
    return *stock(state, quantity), quantity


def _split_header(text: str, delimiter: str) -> list[str]:
    """Normalised column names; empty if the line is no header in this delimiter."""
    try:
        names = next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []
    return [_normal_name(name) for name in names] if len(names) <= MAXIMUM_COLUMNS else []


def _normal_name(name: str) -> str:
    """Lower case, one underscore for spaces and hyphens, without brackets and Google's ``g:``."""
    plain = name.strip().lower().removeprefix("g:").replace("(", "").replace(")", "")
    return _NOT_IN_NAMES.sub("_", plain).strip("_")


def _layout(header_line: int, delimiter: str, names: list[str]) -> Layout:
    places = {name: place for place, name in reversed(list(enumerate(names)))}
    columns = {
        canonical: next(places[alias] for alias in aliases if alias in places)
        for canonical, aliases in ALIASES.items()
        if any(alias in places for alias in aliases)
    }
    return Layout(
        header_line=header_line,
        delimiter=delimiter,
        width=len(names),
        columns=columns,
        categories=tuple(places[name] for name in CATEGORY_COLUMNS if name in places),
        options=tuple((shown, places[name]) for name, shown in OPTION_COLUMNS.items() if name in places),
        option_pairs=tuple((places[a], places[b]) for a, b in OPTION_PAIR_COLUMNS if a in places and b in places),
    )


def _refuse_repeated(layout: Layout, names: list[str]) -> None:
    """A column that is read and stands twice under one name leaves open which of the two is meant."""
    repeated = tuple(name for name, place in layout.columns.items() if names.count(names[place]) > 1)
    if repeated:
        raise FeedUnreadable(FeedFault.REPEATED_COLUMNS, repeated)
