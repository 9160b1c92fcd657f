"""The ACP feed: its schema's members, its types, and what one bad variant or product costs."""

import json
from pathlib import Path

import pytest

from commerce_api.catalogue.feed import ProductRow
from tests.commerce_api.catalogue.feeds import (
    SHARED_FEEDS,
    code_of,
    jsonl_file,
    one_variant,
    product,
    read,
    variant,
    verdicts,
)

EXAMPLES = SHARED_FEEDS.parents[1] / "specs/acp-2026-04-17/examples/2026-04-17/examples.feed.json"
FULL = variant(
    description={"html": "<p>Silver&nbsp;one</p>"},
    url="https://brand.example/p/1?v=1",
    barcodes=[{"type": "MPN", "value": "4006381333931"}, {"type": "GTIN", "value": "4006381333931"}],
    list_price={"amount": 15000, "currency": "USD"},
    categories=[{"value": "Home > Kitchen", "taxonomy": "merchant"}, {"value": "730", "taxonomy": "google"}],
    condition=["New", "sealed"],
    variant_options=[{"name": "Color", "value": "silver"}, {"name": "Size", "value": ""}],
    media=[{"type": "video", "url": "javascript:0"}, {"type": "image", "url": "https://brand.example/i.png"}],
    seller={"name": "Acme", "links": []},
    marketplace={"name": "Elsewhere"},
    unit_price={"amount": 1},
    unheard_of=[1, {"two": 3}],
)


def test_every_member_of_the_schema_finds_its_place(tmp_path: Path) -> None:
    (row,) = read(jsonl_file(tmp_path, product(FULL, description={"plain": "All kettles"})))
    assert isinstance(row, ProductRow)
    assert (row.variant_id, row.product_id, row.title, row.product_title) == ("v1", "p1", "Kettle, silver", "Kettle")
    assert (row.description, row.url, row.image_url) == (
        "Silver one",
        "https://brand.example/p/1?v=1",
        "https://brand.example/i.png",
    )
    assert row.list_price is not None
    assert (row.price.amount_minor, row.list_price.amount_minor) == (13717, 15000)
    assert (row.categories, row.condition, row.gtin) == (("Home > Kitchen",), "new", "4006381333931")
    assert (row.options, row.brand_name, row.stock_quantity) == ((("Color", "silver"),), "Acme", None)


def test_a_variant_takes_from_its_product_what_it_does_not_say(tmp_path: Path) -> None:
    shared = {
        "description": "All kettles",
        "url": "https://brand.example/p/1",
        "media": [{"type": "image", "url": "https://brand.example/k.png"}],
    }
    (row,) = read(jsonl_file(tmp_path, product(variant(), **shared)))
    assert isinstance(row, ProductRow)
    assert (row.description, row.url) == ("All kettles", "https://brand.example/p/1")
    assert row.image_url == "https://brand.example/k.png"


def test_the_plain_description_is_preferred(tmp_path: Path) -> None:
    row = one_variant(tmp_path, description={"markdown": "**m**", "html": "<b>h</b>", "plain": "p"})
    assert isinstance(row, ProductRow)
    assert row.description == "p"


def test_a_product_of_the_published_examples_is_read(tmp_path: Path) -> None:
    if not EXAMPLES.exists():
        pytest.skip("the published ACP examples are not beside this checkout")
    published = json.loads(EXAMPLES.read_text())["upsert_products_request_single_product"]["products"]
    (row,) = read(jsonl_file(tmp_path, *published))
    assert isinstance(row, ProductRow)
    assert (row.variant_id, row.available, row.gtin) == ("sku124-red-m", False, "00012345600029")


def test_a_bad_variant_rejects_itself_alone_and_says_which_it_is(tmp_path: Path) -> None:
    rows = read(jsonl_file(tmp_path, product(variant(id="a"), variant(id="b", title=""), 5, variant(id="c"))))
    assert verdicts(rows) == [(1, "taken"), (1, "missing_title"), (1, "wrong_type"), (1, "taken")]
    assert not isinstance(rows[1], ProductRow)
    assert rows[1].reason.startswith("variant 2: title: ")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"id": ""}, "missing_id"),
        ({"id": None}, "missing_id"),
        ({"id": 5}, "wrong_type"),
        ({"title": "<script>"}, "markup_in_text"),
        ({"title": ["Kettle"]}, "wrong_type"),
        ({"url": "data:text/html,x"}, "url_unsafe"),
        ({"description": "x" * 10_001}, "text_too_long"),
        ({"variants": []}, "variants_missing"),
        ({"variants": None}, "variants_missing"),
        ({"variants": {"id": "v1"}}, "wrong_type"),
    ],
)
def test_a_bad_product_rejects_its_line_once(tmp_path: Path, changes: dict[str, object], code: str) -> None:
    rows = read(
        jsonl_file(tmp_path, {**product(variant(id="a"), variant(id="b")), **changes}, product(variant(id="c")))
    )
    assert verdicts(rows) == [(1, code), (2, "taken")]


@pytest.mark.parametrize(
    ("price", "code"),
    [
        (None, "price_missing"),
        ({}, "price_missing"),
        ("137.17 USD", "wrong_type"),
        ({"amount": 137.17, "currency": "USD"}, "price_malformed"),
        ({"amount": 100.0, "currency": "USD"}, "price_malformed"),
        ({"amount": True, "currency": "USD"}, "price_malformed"),
        ({"amount": "100", "currency": "USD"}, "price_malformed"),
        ({"amount": None, "currency": "USD"}, "price_malformed"),
        ({"amount": 0, "currency": "USD"}, "price_not_positive"),
        ({"amount": -5, "currency": "USD"}, "price_not_positive"),
        ({"amount": 10**11 + 1, "currency": "USD"}, "price_out_of_bounds"),
        ({"amount": 10**30, "currency": "USD"}, "price_out_of_bounds"),
        ({"amount": 100, "currency": "usd"}, "currency_unknown"),
        ({"amount": 100, "currency": "XXX"}, "currency_unknown"),
        ({"amount": 100, "currency": None}, "currency_unknown"),
        ({"amount": 100}, "currency_unknown"),
        ({"amount": 100, "currency": "EUR"}, "currency_mismatch"),
    ],
)
def test_a_price_that_is_none_is_refused_by_its_code(tmp_path: Path, price: object, code: str) -> None:
    assert code_of(one_variant(tmp_path, price=price)) == code


@pytest.mark.parametrize(
    ("availability", "expected"),
    [
        ({"available": True, "status": "in_stock"}, (True, "in_stock")),
        ({"available": True}, (True, "in_stock")),
        ({"status": "limited_stock"}, (True, "limited_stock")),
        ({"available": True, "status": "in two weeks"}, (True, "in_stock")),
        ({"available": False, "status": "in_stock"}, (False, "out_of_stock")),
        ({"available": True, "status": "out_of_stock"}, (False, "out_of_stock")),
        ({"available": False, "status": "preorder"}, (False, "preorder")),
    ],
)
def test_of_two_signs_the_one_that_does_not_sell_wins(
    tmp_path: Path, availability: object, expected: tuple[bool, str]
) -> None:
    row = one_variant(tmp_path, availability=availability)
    assert isinstance(row, ProductRow)
    assert (row.available, row.availability) == expected


def test_availability_that_is_absent_or_unknown_is_not_assumed(tmp_path: Path) -> None:
    for availability in (None, {}, {"status": "in two weeks"}):
        assert code_of(one_variant(tmp_path, availability=availability)) == "availability_unknown"
    assert code_of(one_variant(tmp_path, availability={"available": "yes"})) == "wrong_type"


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        '"text"',
        "{",
        '{"id": NaN}',
        "[" * 200_000,
        '{"a":' * 100_000,
        '{"id": ' + "9" * 5_000 + "}",
        "{} {}",
    ],
)
def test_a_line_that_is_no_json_object_is_refused_and_the_next_one_read(tmp_path: Path, line: str) -> None:
    path = tmp_path / "products.jsonl"
    path.write_text(f"{line}\n\n{json.dumps(product(variant()))}\n")
    assert verdicts(read(path)) == [(1, "malformed_json"), (3, "taken")]


def test_a_line_above_one_mebibyte_is_refused_and_the_next_one_read(tmp_path: Path) -> None:
    path = jsonl_file(tmp_path, product(variant(), padding="x" * 3_000_000), product(variant()))
    assert verdicts(read(path)) == [(1, "line_too_long"), (2, "taken")]


def test_lone_surrogates_never_reach_a_row(tmp_path: Path) -> None:
    path = tmp_path / "products.jsonl"
    path.write_text(json.dumps(product(variant(title="Ket\ud800tle"), variant(id="\udfff"))))
    rows = read(path)
    assert [code_of(row) for row in rows] == ["taken", "id_malformed"]
    assert isinstance(rows[0], ProductRow)
    assert rows[0].title == "Kettle"


def test_lists_are_bounded(tmp_path: Path) -> None:
    options = [{"name": f"n{number}", "value": "v"} for number in range(21)]
    assert code_of(one_variant(tmp_path, variant_options=options)) == "too_many_values"
    categories = [{"value": f"c{number}"} for number in range(21)]
    assert code_of(one_variant(tmp_path, categories=categories)) == "too_many_values"
    assert code_of(one_variant(tmp_path, categories=categories[:20] * 2)) == "taken"
