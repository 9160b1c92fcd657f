"""Feeds as a whole: forms, the shared feeds, progress, memory, and what must hold of every row."""

import contextlib
import gzip
import hashlib
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commerce_api.catalogue.feed import (
    FeedFault,
    FeedForm,
    FeedUnreadable,
    ProductRow,
    RejectCode,
    RejectedRow,
    open_feed,
    read_products,
)
from commerce_api.catalogue.feed_lines import FIXES
from commerce_api.catalogue.feed_rows import REASONS
from commerce_api.catalogue.feed_text import is_plain
from tests.commerce_api.catalogue.feeds import (
    GOOD,
    code_of,
    csv_file,
    csv_text,
    jsonl_file,
    luhn_like,
    one_row,
    product,
    read,
    shared_feed,
    taken,
    variant,
    verdicts,
)
from tokenization.money import MoneyInvalid

ROOT = Path(__file__).parents[3]
FIELD_NAMES = {
    "", "id", "item_group_id", "title", "item_group_title", "description", "link", "url", "image_link", "media",
    "price", "sale_price", "list_price", "availability", "quantity", "options", "variant_options", "brand", "seller",
    "categories", "condition", "variants", "barcodes", "name", "value", "type", "plain", "html", "markdown", "status",
}  # fmt: skip
fast = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def fault_of(path: Path) -> FeedFault:
    with pytest.raises(FeedUnreadable) as raised:
        open_feed(path)
    return raised.value.code


def is_made_of_constants(row: RejectedRow) -> bool:
    """The reason is [variant n: ][field: ]sentence, all from closed sets: nothing of the input can be in it."""
    reason = re.sub(r"^variant [0-9]{1,7}: ", "", row.reason)
    sentence = REASONS[row.code]
    return reason.endswith(sentence) and reason.removesuffix(sentence).removesuffix(": ") in FIELD_NAMES


def assert_is_sound(row: ProductRow | RejectedRow) -> None:
    if isinstance(row, RejectedRow):
        assert is_made_of_constants(row)
        return
    lines = row.description.split("\n") if row.description else []
    texts = [row.variant_id, row.product_id, row.title, row.product_title, *lines, *row.categories]
    texts += [text for pair in row.options for text in pair] + [row.brand_name or "", row.condition or ""]
    assert all(is_plain(text) and unicodedata.is_normalized("NFC", text) for text in texts)
    assert row.variant_id
    assert row.title
    assert 0 < row.price.amount_minor <= 10**11
    assert row.list_price is None or row.price < row.list_price
    assert row.stock_quantity is None or row.stock_quantity >= 0
    assert all(
        url is None or re.match(r"https?://[^@/]+\.[a-z]", url, re.IGNORECASE) for url in (row.url, row.image_url)
    )
    assert not any(luhn_like(text) for text in texts)
    "".join(texts).encode()  # no lone surrogates: a database takes it


def test_the_two_shared_forms_of_one_catalogue_give_the_same_variants() -> None:
    from_csv = taken(read(shared_feed("retail.csv")))
    from_acp = taken(read(shared_feed("retail_acp")))
    assert len(from_csv) == len(from_acp) == 591
    shown = [
        {(row.variant_id, row.product_id, row.title, row.price, row.available, row.availability) for row in rows}
        for rows in (from_csv, from_acp)
    ]
    assert shown[0] == shown[1]
    assert len({row.product_id for row in from_acp}) == 50
    assert open_feed(shared_feed("retail_acp")).target_country == "US"


def test_the_shared_dirty_feed_gets_its_verdict_row_by_row() -> None:
    good = [(line, "taken") for line in range(2, 14)]
    b1_to_b18 = [
        (14, "price_malformed"),  # 12,50 USD
        (15, "price_not_positive"),
        (16, "price_malformed"),  # NaN
        (17, "price_malformed"),  # three decimals of USD
        (18, "currency_unknown"),
        (19, "missing_title"),
        (20, "missing_id"),
        (21, "duplicate_id"),
        (22, "card_like_text"),
        (23, "taken"),  # instructions to a model are text like any other
        (24, "markup_in_text"),
        (25, "url_unsafe"),
        (26, "url_unsafe"),
        (27, "price_malformed"),  # 1e9
        (28, "taken"),  # accents and Chinese, its bidi override removed
        (29, "currency_mismatch"),
        (30, "currency_mismatch"),
        (31, "text_too_long"),
        (32, "availability_unknown"),
        (33, "wrong_column_count"),
        (34, "malformed_csv"),
    ]
    rows = read(shared_feed("dirty.csv"))
    assert verdicts(rows) == good + b1_to_b18
    (b14,) = (row for row in taken(rows) if row.variant_id == "b14")
    assert b14.title == "Café “Noël” evil 灯"


def test_without_a_brand_currency_each_price_keeps_its_own_minor_digits() -> None:
    rows = {row.variant_id: row for row in taken(read(shared_feed("dirty.csv"), currency=None))}
    assert (rows["b15"].price.amount_minor, rows["b15"].price.currency) == (100, "JPY")
    assert (rows["b16"].price.amount_minor, rows["b16"].price.currency) == (1234, "KWD")


def test_the_form_is_found_by_name(tmp_path: Path) -> None:
    plain_csv = csv_file(tmp_path, GOOD)
    plain_jsonl = jsonl_file(tmp_path, product(variant()))
    for plain in (plain_csv, plain_jsonl):
        packed = tmp_path / (plain.name + ".gz")
        packed.write_bytes(gzip.compress(plain.read_bytes()))
        assert open_feed(packed).form is open_feed(plain).form
        assert taken(read(packed)) == taken(read(plain)) != []
    assert open_feed(plain_csv).form is FeedForm.CSV
    assert open_feed(plain_jsonl).form is FeedForm.ACP
    assert taken(read(csv_file(tmp_path, GOOD, name="FEED.TSV"))) == taken(read(plain_csv))


def test_a_directory_needs_products_and_metadata(tmp_path: Path) -> None:
    jsonl_file(tmp_path, product(variant()))
    assert fault_of(tmp_path) is FeedFault.UNKNOWN_FORM
    metadata = tmp_path / "metadata.json"
    for content in ("", "[]", "{}", '{"id": 5}', '{"id": "f", "target_country": "usa"}', "[" * 60_000):
        metadata.write_text(content)
        assert fault_of(tmp_path) is FeedFault.METADATA_INVALID
    metadata.write_text('{"id": "f"}')
    assert open_feed(tmp_path).target_country is None
    assert len(taken(read(tmp_path))) == 1
    (tmp_path / "products.jsonl").unlink()
    assert fault_of(tmp_path) is FeedFault.UNKNOWN_FORM


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    def file(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    text = csv_text(GOOD)
    assert fault_of(tmp_path / "absent.csv") is FeedFault.NOT_FOUND
    assert fault_of(tmp_path / "absent") is FeedFault.NOT_FOUND
    assert fault_of(file("feed.xml", b"<rss/>")) is FeedFault.UNKNOWN_FORM
    assert fault_of(Path("/dev/null.csv")) is FeedFault.NOT_FOUND
    assert fault_of(file("a.csv", text.encode("utf-16"))) is FeedFault.NOT_UTF8
    assert fault_of(file("a.csv", text.encode("utf-16-le"))) is FeedFault.NOT_UTF8
    assert fault_of(file("a.jsonl", b'{"id": "\xff"}\n')) is FeedFault.NOT_UTF8
    assert fault_of(file("a.csv", b"")) is FeedFault.EMPTY
    assert fault_of(file("a.csv", b"\xef\xbb\xbf\r\n \n")) is FeedFault.EMPTY
    assert fault_of(file("a.csv", text.splitlines()[0].encode())) is FeedFault.EMPTY
    assert fault_of(file("a.jsonl", b"\n\n")) is FeedFault.EMPTY
    assert fault_of(file("a.csv.gz", b"no gzip")) is FeedFault.ARCHIVE_DAMAGED
    assert fault_of(file("a.csv", b'"id,title\nx,y\n')) is FeedFault.HEADER_MALFORMED
    assert fault_of(file("a.csv", b"x" * 1_100_000)) is FeedFault.HEADER_MALFORMED


def test_a_device_or_a_pipe_is_not_read(tmp_path: Path) -> None:
    link = tmp_path / "feed.csv"
    link.symlink_to("/dev/zero")
    assert fault_of(link) is FeedFault.UNREADABLE


def test_a_gzip_file_cut_off_is_an_error_and_not_a_shorter_feed(tmp_path: Path) -> None:
    rows = [{**GOOD, "id": f"v{number}", "title": f"Kettle {number * 7919}"} for number in range(20_000)]
    packed = gzip.compress(csv_text(*rows).encode())
    path = tmp_path / "feed.csv.gz"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(FeedUnreadable) as raised:
        read(path)
    assert raised.value.code is FeedFault.ARCHIVE_DAMAGED


def test_missing_columns_are_named_by_their_canonical_names(tmp_path: Path) -> None:
    path = tmp_path / "feed.csv"
    path.write_text("sku,secret header,cost\n1,2,3\n")
    with pytest.raises(FeedUnreadable) as raised:
        open_feed(path)
    assert raised.value.code is FeedFault.MISSING_COLUMNS
    assert raised.value.columns == ("title", "price", "availability")
    assert "title, price, availability" in raised.value.fix
    assert "secret" not in str(raised.value)


def test_every_code_has_its_sentence() -> None:
    assert set(REASONS) == set(RejectCode)
    assert set(FIXES) == set(FeedFault)


def test_an_unknown_brand_currency_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    feed = open_feed(csv_file(tmp_path, GOOD))
    with pytest.raises(MoneyInvalid):
        read_products(feed, currency="XXX", card_like=luhn_like)


@pytest.mark.parametrize("packed", [False, True])
def test_bytes_read_grows_to_the_size_on_disk(tmp_path: Path, packed: bool) -> None:
    noise = (hashlib.sha256(bytes([number % 256, number // 256])).hexdigest() for number in range(5_000))
    text = csv_text(*({**GOOD, "id": f"v{number}", "title": part} for number, part in enumerate(noise))).encode()
    path = tmp_path / ("feed.csv.gz" if packed else "feed.csv")
    path.write_bytes(gzip.compress(text) if packed else text)
    feed = open_feed(path)
    seen = [feed.bytes_read for _ in read_products(feed, currency="USD", card_like=luhn_like)]
    assert feed.size_bytes == path.stat().st_size == feed.bytes_read
    assert seen == sorted(seen)
    assert len(set(seen)) > 1
    read_again = read_products(feed, currency="USD", card_like=luhn_like)
    assert sum(1 for _ in read_again) == 5_000
    assert feed.bytes_read == feed.size_bytes


def test_the_first_row_taken_keeps_its_id(tmp_path: Path) -> None:
    rows = read(
        csv_file(
            tmp_path,
            {**GOOD, "price": "free"},
            {**GOOD, "title": "First"},
            {**GOOD, "title": "Second"},
            {**GOOD, "id": " v1 "},
            {**GOOD, "id": "V1"},
        )
    )
    assert verdicts(rows) == [
        (2, "price_malformed"),
        (3, "taken"),
        (4, "duplicate_id"),
        (5, "duplicate_id"),
        (6, "taken"),
    ]


CARD = "4242 4242 4242 4242"


@pytest.mark.parametrize(
    "changes",
    [
        {"id": CARD},
        {"item_group_id": CARD},
        {"title": f"Lamp {CARD}"},
        {"item_group_title": CARD},
        {"description": "<p>Pay with 4242<b>4242</b>42424242</p>"},
        {"description": "4242\u200b4242\u202e4242\u00ad4242"},
        {"link": "https://brand.example/?card=4242-4242-4242-4242"},
        {"image_link": "https://brand.example/?card=4242%204242%204242%204242"},
        {"color": CARD},
        {"brand": CARD},
        {"condition": CARD},
        {"product_type": f"Lamps > {CARD}"},
    ],
)
def test_card_like_text_is_refused_wherever_it_stands(tmp_path: Path, changes: dict[str, str]) -> None:
    row = one_row(tmp_path, **changes)
    assert code_of(row) == "card_like_text"
    assert "4242" not in repr(row)


def test_a_gtin_that_passes_for_a_card_number_is_left_out_and_its_row_kept(tmp_path: Path) -> None:
    both = next(text for text in (f"{number:013d}" for number in range(4006381000000, 4006381001000)) if _is_both(text))
    row = one_row(tmp_path, gtin=both)
    assert isinstance(row, ProductRow)
    assert row.gtin is None


def _is_both(text: str) -> bool:
    return luhn_like(text) and sum(int(d) * (3 if place % 2 else 1) for place, d in enumerate(reversed(text))) % 10 == 0


NASTY = st.sampled_from(
    [
        "", " ", "v1", "v2", "Kettle", "137.17 USD", "in_stock", "https://brand.example/p", "5", "\u202eevil\u202c",
        "\x00", "<script>", "</p>", "<p>ok</p>", "<!--", "&lt;b&gt;", "&amp;", "e\u0301", "a" + "\u0301\u0316" * 40,
        "\ud800", "🏴\U000e0067", '"', '""', "\n", ",", "\r", "'", "4242424242424242", "x" * 400, "1e9 USD", "-1 USD",
        "1 XXX", "javascript:alert(1)", "http://127.1/", "http://[::1]/", "http://[", "http://a.example:99999/",
        "９９.00 USD", "NaN", "null", "Ignore all",
    ]
)  # fmt: skip
CELL = st.lists(st.one_of(NASTY, st.text(max_size=12)), max_size=3).map("".join)


@fast
@given(
    cells=st.lists(
        st.dictionaries(st.sampled_from([*GOOD, "gtin", "sale_price", "color", "quantity"]), CELL), max_size=4
    )
)
def test_rows_taken_are_sound_and_rejected_rows_tell_nothing(tmp_path: Path, cells: list[dict[str, str]]) -> None:
    path = tmp_path / "feed.csv"
    text = csv_text(
        GOOD | dict.fromkeys(["gtin", "sale_price", "color", "quantity"], ""), *({**GOOD, **row} for row in cells)
    )
    path.write_bytes(text.encode("utf-8", "replace"))
    for row in read(path, None):
        assert_is_sound(row)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), CELL),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["plain", "amount", "currency", "name"]), inner)
    ),
    max_leaves=6,
)
MEMBERS = ["id", "title", "description", "url", "media", "price", "list_price", "availability", "categories", "seller",
           "barcodes", "condition", "variant_options", "variants", "unknown"]  # fmt: skip


@fast
@given(
    variants=st.lists(
        st.one_of(JSON, st.dictionaries(st.sampled_from(MEMBERS), JSON).map(lambda m: variant(**m))), max_size=3
    ),
    changes=st.dictionaries(st.sampled_from(MEMBERS), JSON),
)
def test_variants_taken_are_sound_and_rejected_ones_tell_nothing(
    tmp_path: Path, variants: list[object], changes: dict[str, object]
) -> None:
    path = jsonl_file(tmp_path, product(*variants, **changes))
    for row in read(path, None):
        assert_is_sound(row)


@fast
@given(
    content=st.binary(max_size=400),
    name=st.sampled_from(["f.csv", "f.tsv", "f.jsonl", "f.csv.gz", "f.jsonl.gz"]),
    wrap=st.booleans(),
)
def test_any_bytes_end_in_rows_or_in_a_named_fault(tmp_path: Path, content: bytes, name: str, wrap: bool) -> None:
    if wrap:
        content = (b"id,title,price,availability\n" if "jsonl" not in name else b"{}\n") + content
        content = gzip.compress(content) if name.endswith(".gz") else content
    path = tmp_path / name
    path.write_bytes(content)
    with contextlib.suppress(FeedUnreadable):
        assert all(is_made_of_constants(row) for row in read(path, None) if isinstance(row, RejectedRow))


PLAIN = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z", "M"], exclude_characters="<&"), min_size=1, max_size=30
)


@fast
@given(
    catalogue=st.dictionaries(
        PLAIN.filter(is_plain), st.tuples(PLAIN.filter(is_plain), st.integers(1, 10**11)), min_size=1, max_size=8
    )
)
def test_one_catalogue_reads_the_same_from_every_form(tmp_path: Path, catalogue: dict[str, tuple[str, int]]) -> None:
    catalogue = {key: value for key, value in catalogue.items() if not luhn_like(key) and not luhn_like(value[0])}
    rows = [
        {**GOOD, "id": key, "title": title, "price": f"{amount // 100}.{amount % 100:02d} USD"}
        for key, (title, amount) in catalogue.items()
    ] or [GOOD]
    products = [
        product(
            variant(
                id=row["id"],
                title=row["title"],
                price={"amount": int(row["price"][:-4].replace(".", "")), "currency": "USD"},
            )
        )
        for row in rows
    ]
    readings = [taken(read(csv_file(tmp_path, *rows))), taken(read(jsonl_file(tmp_path, *products)))]
    shown = [[(row.variant_id, row.title, row.price) for row in reading] for reading in readings]
    assert shown[0] == shown[1]
    assert len(shown[0]) == len(rows)


HUNDRED_THOUSAND = """
import resource, sys
from pathlib import Path
from commerce_api.catalogue.feed import ProductRow, open_feed, read_products
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = read_products(open_feed(Path(sys.argv[1])), currency="USD", card_like=lambda text: False)
count = sum(isinstance(row, ProductRow) for row in rows)
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_hundred_thousand_rows_pass_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "feed.csv"
    with path.open("w", newline="") as stream:
        stream.write("id,title,description,link,price,availability\n")
        stream.writelines(
            f'v{number},Kettle {number},"Boils, {number} times {"x" * 200}",https://brand.example/p/{number},'
            f"{number % 900 + 1}.{number % 100:02d} USD,in stock\n"
            for number in range(100_000)
        )
    done = subprocess.run(
        [sys.executable, "-c", HUNDRED_THOUSAND, path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    count, grown_kib = map(int, done.stdout.split())
    assert count == 100_000
    assert grown_kib < 40 * 1024
