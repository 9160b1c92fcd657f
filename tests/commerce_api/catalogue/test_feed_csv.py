"""Merchant-feed CSV: header names, delimiters, quotes, prices, sales and stock."""

import itertools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commerce_api.catalogue.feed import FeedFault, FeedUnreadable, ProductRow, open_feed
from commerce_api.catalogue.feed_csv import MAXIMUM_RECORD_LINES, csv_rows, read_layout
from commerce_api.catalogue.feed_lines import Line
from tests.commerce_api.catalogue.feeds import GOOD, code_of, csv_file, csv_text, one_row, read, taken, verdicts

HEADER = "id,title,price,availability\n"


def row_of(folder: Path, header: str, cells: str, currency: str | None = "USD") -> ProductRow:
    path = folder / "feed.csv"
    path.write_text(f"{header}\n{cells}\n", encoding="utf-8")
    (row,) = read(path, currency)
    assert isinstance(row, ProductRow), row
    return row


def verdicts_of(folder: Path, text: str) -> list[tuple[int, str]]:
    path = folder / "feed.csv"
    path.write_text(HEADER + text, encoding="utf-8", newline="")
    return verdicts(read(path))


def lines_of(text: str) -> Iterator[Line]:
    return (Line(number, part) for number, part in enumerate(text.splitlines(keepends=True), start=1))


def test_header_names_match_whatever_their_case_and_spaces(tmp_path: Path) -> None:
    row = row_of(
        tmp_path,
        "\ufeffOffer ID;Item Group-Id;NAME;Body (HTML);g:link;Image Link;Price;Availability;"
        "Quantity To Sell on Facebook;Vendor",
        "v1;g1;Kettle;<p>Boils</p>;https://brand.example/p;https://brand.example/i.png;137.17 USD;In Stock;7;Acme",
    )
    assert (row.variant_id, row.product_id, row.title, row.description) == ("v1", "g1", "Kettle", "Boils")
    assert (row.url, row.image_url) == ("https://brand.example/p", "https://brand.example/i.png")
    assert (row.price.amount_minor, row.available, row.stock_quantity, row.brand_name) == (13717, True, 7, "Acme")


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_the_delimiter_is_taken_from_the_header_alone(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "feed.csv"
    path.write_text(csv_text({**GOOD, "title": "a;b,c\td;;;;,,,,"}, delimiter=delimiter), newline="")
    (row,) = read(path)
    assert isinstance(row, ProductRow)
    assert row.title == "a;b,c d;;;;,,,,"


def test_the_best_known_of_two_names_is_read(tmp_path: Path) -> None:
    row = row_of(tmp_path, "sku,id,name,title,price,availability", "s1,v1,short,Long title,5 USD,in_stock")
    assert (row.variant_id, row.title) == ("v1", "Long title")


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "feed.csv"
    path.write_text("id,title,price,Price,availability\nv1,Kettle,1 USD,900 USD,in_stock\n")
    with pytest.raises(FeedUnreadable) as raised:
        open_feed(path)
    assert (raised.value.code, raised.value.columns) == (FeedFault.REPEATED_COLUMNS, ("price",))


def test_options_and_categories_come_from_their_columns(tmp_path: Path) -> None:
    row = row_of(
        tmp_path,
        "id,title,price,availability,Color,size,age group,product_type,google_product_category,"
        "Option1 Name,Option1 Value,custom_variant1_category,custom_variant1_option",
        "v1,Shirt,5 USD,in_stock,red,M,,Clothes &gt; Shirts,212,Fit,slim,,",
    )
    assert row.options == (("Color", "red"), ("Size", "M"), ("Fit", "slim"))
    assert row.categories == ("Clothes > Shirts",)


def test_a_row_alone_is_its_own_group(tmp_path: Path) -> None:
    row = one_row(tmp_path)
    assert isinstance(row, ProductRow)
    assert (row.product_id, row.product_title) == ("v1", "Kettle")
    grouped = one_row(tmp_path, item_group_id="g1", item_group_title="Kettles")
    assert isinstance(grouped, ProductRow)
    assert (grouped.product_id, grouped.product_title) == ("g1", "Kettles")


@pytest.mark.parametrize(
    ("cells", "amount_minor", "currency"),
    [
        ({"price": "137.17 USD"}, 13717, "USD"),
        ({"price": "USD 137.17"}, 13717, "USD"),
        ({"price": "137.1usd"}, 13710, "USD"),
        ({"price": "10"}, 1000, "USD"),
        ({"price": "10", "currency": "jpy"}, 10, "JPY"),
        ({"price": "1.234", "currency": "KWD"}, 1234, "KWD"),
        ({"price": "10.00 EUR", "currency": "EUR"}, 1000, "EUR"),
    ],
)
def test_a_price_takes_its_currency_from_the_cell_then_the_column_then_the_brand(
    tmp_path: Path, cells: dict[str, str], amount_minor: int, currency: str
) -> None:
    row = one_row(tmp_path, currency, **cells)
    assert isinstance(row, ProductRow)
    assert (row.price.amount_minor, row.price.currency) == (amount_minor, currency)


@pytest.mark.parametrize(
    ("price", "code"),
    [
        ("", "price_missing"),
        ("  ", "price_missing"),
        ("free", "price_malformed"),
        ("$5.00", "price_malformed"),
        ("1,299.00 USD", "price_malformed"),
        ("12,50 USD", "price_malformed"),
        ("NaN USD", "price_malformed"),
        ("inf USD", "price_malformed"),
        ("1e9 USD", "price_malformed"),
        ("0x10 USD", "price_malformed"),
        ("1_000 USD", "price_malformed"),
        ("٣ USD", "price_malformed"),
        ("10. USD", "price_malformed"),
        (".5 USD", "price_malformed"),
        ("19.999 USD", "price_malformed"),
        ("1.5 JPY", "price_malformed"),
        ("--5 USD", "price_malformed"),
        ("5 USD USD", "price_malformed"),
        ("0.00 USD", "price_not_positive"),
        ("-0 USD", "price_not_positive"),
        ("-3.00 USD", "price_not_positive"),
        ("1000000000.01 USD", "price_out_of_bounds"),
        ("999999999999 USD", "price_out_of_bounds"),
        ("9" * 40 + " USD", "price_out_of_bounds"),
        ("10 XXX", "currency_unknown"),
        ("10 XAU", "currency_unknown"),
        ("10 EUR", "currency_mismatch"),
    ],
)
def test_a_price_that_is_none_is_refused_by_its_code(tmp_path: Path, price: str, code: str) -> None:
    assert code_of(one_row(tmp_path, price=price)) == code


def test_a_price_without_any_currency_is_refused(tmp_path: Path) -> None:
    assert code_of(one_row(tmp_path, None, price="10")) == "currency_unknown"
    assert code_of(one_row(tmp_path, None, price="10 USD", currency="EUR")) == "currency_mismatch"


def test_a_sale_price_replaces_the_price_which_stays_as_reference(tmp_path: Path) -> None:
    row = one_row(tmp_path, price="20.00 USD", sale_price="15.00 USD")
    assert isinstance(row, ProductRow)
    assert row.list_price is not None
    assert (row.price.amount_minor, row.list_price.amount_minor) == (1500, 2000)


@pytest.mark.parametrize(
    "changes",
    [
        {"sale_price": "20.00 USD"},
        {"sale_price": "25.00 USD"},
        {"sale_price": "15.00 USD", "sale_price_effective_date": "2026-01-01T00:00Z/2026-01-08T00:00Z"},
        {"list_price": "20.00 USD"},
        {"list_price": "5.00 USD"},
    ],
)
def test_a_sale_that_is_none_or_has_dates_leaves_the_price(tmp_path: Path, changes: dict[str, str]) -> None:
    row = one_row(tmp_path, price="20.00 USD", **changes)
    assert isinstance(row, ProductRow)
    assert (row.price.amount_minor, row.list_price) == (2000, None)


def test_a_bad_sale_or_reference_price_refuses_the_row(tmp_path: Path) -> None:
    assert code_of(one_row(tmp_path, sale_price="cheap")) == "price_malformed"
    assert code_of(one_row(tmp_path, sale_price="5 EUR")) == "currency_mismatch"
    assert code_of(one_row(tmp_path, list_price="500 EUR")) == "currency_mismatch"


@pytest.mark.parametrize(
    ("availability", "quantity", "expected"),
    [
        ("in_stock", "", (True, "in_stock", None)),
        ("In Stock", "3", (True, "in_stock", 3)),
        ("in-stock", "0", (False, "out_of_stock", 0)),
        ("https://schema.org/InStock", "", (True, "in_stock", None)),
        ("", "4", (True, "in_stock", 4)),
        ("", "0", (False, "out_of_stock", 0)),
        ("in stock", "-2", (False, "out_of_stock", 0)),
        ("out of stock", "9", (False, "out_of_stock", 9)),
        ("preorder", "0", (True, "preorder", 0)),
        ("available for order", "", (True, "backorder", None)),
        ("DISCONTINUED", "5", (False, "discontinued", 5)),
    ],
)
def test_stock_is_what_both_columns_allow(
    tmp_path: Path, availability: str, quantity: str, expected: tuple[bool, str, int | None]
) -> None:
    row = one_row(tmp_path, availability=availability, quantity=quantity)
    assert isinstance(row, ProductRow)
    assert (row.available, row.availability, row.stock_quantity) == expected


def test_unknown_availability_and_malformed_quantities_are_refused(tmp_path: Path) -> None:
    assert code_of(one_row(tmp_path, availability="maybe", quantity="5")) == "availability_unknown"
    assert code_of(one_row(tmp_path, availability="")) == "availability_unknown"
    for quantity in ("lots", "1.5", "1e3", "٣", "9999999999"):
        assert code_of(one_row(tmp_path, quantity=quantity)) == "quantity_malformed"


def test_a_quoted_cell_may_hold_lines_and_delimiters(tmp_path: Path) -> None:
    rows = read(csv_file(tmp_path, {**GOOD, "description": 'one,\r\n\r\n"two"  three'}, {**GOOD, "id": "v2"}))
    assert [(row.line, row.description) for row in taken(rows)] == [(2, 'one,\n"two" three'), (5, "Boils water")]


def test_an_unclosed_quote_costs_its_own_row_alone(tmp_path: Path) -> None:
    text = 'v1,Kettle,5 USD,in_stock\nv2,"Kettle,5 USD,in_stock\nv3,Kettle,5 USD,in_stock\nv4,"A, b",5 USD,in_stock\n'
    assert verdicts_of(tmp_path, text) == [(2, "taken"), (3, "malformed_csv"), (4, "taken"), (5, "taken")]


def test_stray_quotes_and_column_counts_are_told_apart(tmp_path: Path) -> None:
    text = 'v1,"24" monitor",5 USD,in_stock\nv2,24" monitor,5 USD,in_stock\nv3,Kettle,5 USD\nv4,a,5 USD,in_stock,\n'
    assert verdicts_of(tmp_path, text) == [
        (2, "malformed_csv"),
        (3, "taken"),
        (4, "wrong_column_count"),
        (5, "wrong_column_count"),
    ]


def test_a_lone_return_or_a_cell_above_the_limit_of_the_csv_reader_is_malformed(tmp_path: Path) -> None:
    text = f"v1,Ket\rtle,5 USD,in_stock\nv2,{'x' * 140_000},5 USD,in_stock\nv3,Kettle,5 USD,in_stock\n"
    assert verdicts_of(tmp_path, text) == [(2, "malformed_csv"), (3, "malformed_csv"), (4, "taken")]


def test_a_line_that_is_not_utf8_or_too_long_is_refused_alone_even_inside_quotes(tmp_path: Path) -> None:
    path = tmp_path / "feed.csv"
    good = b"v%d,Kettle,5 USD,in_stock\n"
    path.write_bytes(
        HEADER.encode() + b'v1,"caf\xc3\xa9\n' + b"\xff\n" + good % 2 + b'v3,"' + b"x" * 1_100_000 + b"\n" + good % 4
    )
    assert verdicts(read(path)) == [
        (2, "malformed_csv"),
        (3, "not_utf8"),
        (4, "taken"),
        (5, "line_too_long"),
        (6, "taken"),
    ]


def test_an_unclosed_quote_reads_a_bounded_number_of_lines_ahead() -> None:
    text = HEADER + 'v1,"Kettle,5 USD,in_stock\n' + "v2,Kettle,5 USD,in_stock\n" * 5_000
    taken_from = itertools.count()
    lines = (line for line in lines_of(text) if next(taken_from) >= 0)
    first = next(csv_rows(lines, read_layout(Line(1, HEADER)), None))
    assert code_of(first) == "malformed_csv"
    assert next(taken_from) <= MAXIMUM_RECORD_LINES + 2


@settings(deadline=timedelta(seconds=20), max_examples=5)
@given(line=st.sampled_from(['a","x\n', '"\n', '""",\n', ',"\n', '"",""\n', 'x"\n']))
def test_lines_that_each_leave_a_quote_open_end_in_time(line: str) -> None:
    rows = csv_rows(lines_of(HEADER + line * 3_000), read_layout(Line(1, HEADER)), None)
    assert 0 < sum(1 for _ in rows) <= 3_000
