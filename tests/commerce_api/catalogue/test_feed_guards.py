"""Planted faults: each guard of the feed reader is taken out of a copy, and the copy's verdicts must then differ."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commerce_api.catalogue.feeds import GOOD, csv_text, product, variant

ROOT = Path(__file__).parents[3]
PACKAGE = "commerce_api/catalogue"
CARD = "4242 4242 4242 4242"

# Prints one line a row, then how far the reader looked ahead of an open quote, and whether it held a long line.
REPORT = """
import sys, tracemalloc
from pathlib import Path
from commerce_api.catalogue import feed_csv
from commerce_api.catalogue.feed import FeedUnreadable, ProductRow, open_feed, read_products
from commerce_api.catalogue.feed_csv import csv_rows, read_layout
from commerce_api.catalogue.feed_lines import Line, read_lines

def luhn_like(text):
    return "4242" in text

for path in sorted(Path("feeds").iterdir()):
    try:
        for row in read_products(open_feed(path), currency="USD", card_like=luhn_like):
            if isinstance(row, ProductRow):
                shown = (row.variant_id, row.title, row.description, row.url, row.available, row.availability.value)
                print(path.name, row.line, ascii(shown), row.price.amount_minor)
            else:
                print(path.name, row.line, row.reason)
    except FeedUnreadable as unreadable:
        print(path.name, unreadable)

header = Line(1, "id,title,price,availability\\n")
looked_at = []
lines = (looked_at.append(n) or Line(n, '"x\\n' if n == 2 else "x\\n") for n in range(1, 5_000))
next(csv_rows(lines, read_layout(header), None))
print("looked ahead", len(looked_at) > 1_100)

csv_calls = []
supply = feed_csv._supply
def counted_supply(*arguments):
    for text in supply(*arguments):
        csv_calls.append(1)
        yield text
feed_csv._supply = counted_supply
hostile = (Line(n, 'a","x\\n') for n in range(1, 1_500))
rows = sum(1 for row in csv_rows(hostile, read_layout(header), None))
print("linear", rows, len(csv_calls) < 300_000)

tracemalloc.start()
long_line = Path("long.jsonl")
print("lines", [line.fault for line in read_lines(long_line)], tracemalloc.get_traced_memory()[1] > 6_000_000)
try:
    print("lines", len(list(read_lines(long_line, maximum_bytes=1_000_000))))
except FeedUnreadable as unreadable:
    print(unreadable.code)
"""

ROWS = [
    GOOD,
    {**GOOD, "title": "The same id"},
    {**GOOD, "id": "a1", "price": "5.00 EUR"},
    {**GOOD, "id": "a2", "price": "0.00 USD"},
    {**GOOD, "id": "a3", "price": "1000000000.01 USD"},
    {**GOOD, "id": "a4", "price": "-3.00 USD"},
    {**GOOD, "id": "a5", "price": "5.00 USD", "currency": "EUR"},
    {**GOOD, "id": "b1", "title": f"Lamp {CARD}"},
    {**GOOD, "id": "b2", "image_link": "https://brand.example/?n=%34%32%34%32"},
    {**GOOD, "id": "c1", "title": "<b>Lamp</b>"},
    {**GOOD, "id": "c2", "title": "&lt;b&gt;Lamp"},
    {**GOOD, "id": "c3", "title": "\u202eevil\u202c"},
    {**GOOD, "id": "c4", "title": "e\u0301"},
    {**GOOD, "id": "c5", "title": "a" + "\u0316" * 40},
    {**GOOD, "id": "c6", "title": "x" * 301},
    {**GOOD, "id": "c7", "description": "&amp;amp;lt;b&amp;amp;gt;"},
    {**GOOD, "id": "c8", "description": "a<script>b</script>c"},
    {**GOOD, "id": "c\u200b9"},
    {**GOOD, "id": "d1", "link": "ftp://brand.example/"},
    {**GOOD, "id": "d2", "link": "http://169.254.169.254/latest"},
    {**GOOD, "id": "d3", "link": "https://a@brand.example/"},
    {**GOOD, "id": "d4", "link": "http://metadata.google.internal/"},
    {**GOOD, "id": "d5", "link": "https://brand.example/\u202e"},
    {**GOOD, "id": "d6", "link": 'https://brand.example/"x'},
    {**GOOD, "id": "e1", "availability": "in stock", "quantity": "0"},
    {**GOOD, "id": "f1", "sale_price": "5.00 USD", "sale_price_effective_date": "2026-01-01/2026-01-08"},
]
PRODUCTS = [
    product(variant(id="g1", price={"amount": True, "currency": "USD"})),
    product(variant(id="g2", availability={"available": False, "status": "in_stock"})),
    product(variant(id="g3", availability=None)),
]
MUTANTS = [
    ("feed.py", "_take_id(row.variant_id, taken)  # (3)", "pass"),
    ("feed.py", "clean = _without_card_like(row, remembered)  # (1)", "clean = row"),
    ("feed.py", "_refuse_other_currency(row, currency)  # (2)", "pass"),
    ("feed_url.py", 'return (url, unquote(url)) if "%" in url else (url,)', "return (url,)"),
    ("feed_url.py", 'parts.scheme in ("http", "https") and', ""),
    ("feed_url.py", '"@" not in parts.netloc and', ""),
    ("feed_url.py", "and _HOST.fullmatch(host.lower()) is not None", ""),
    ("feed_url.py", "and labels[-1] not in _NOT_PUBLIC", ""),
    ("feed_url.py", "or has_unseen(text)", ""),
    ("feed_url.py", "or _REFUSED_CHARACTERS.search(text)", ""),
    ("feed_text.py", "        _refuse_markup(cleaned, field)", "        pass"),
    ("feed_text.py", "\n    _refuse_markup(cleaned, field)", "\n    pass"),
    ("feed_text.py", "_seen(_decoded(text), field).split()", "_seen(text, field).split()"),
    ("feed_text.py", '_UNSEEN.sub("", text))', "text)"),
    ("feed_text.py", 'unicodedata.normalize("NFC", ', "str("),
    ("feed_text.py", "if _LONG_MARK_RUN.search(", "if not bool("),
    ("feed_text.py", "if len(text) > limit:", "if False:"),
    ("feed_text.py", "if name in _HIDDEN_CONTENT and", "if False and"),
    ("feed_fields.py", "or not is_plain(text)", ""),
    ("feed_fields.py", "if price.amount_minor <= 0:", "if False:"),
    ("feed_fields.py", "if price.amount_minor > MAXIMUM_PRICE_MINOR:", "if False:"),
    ("feed_fields.py", "    if negative:", "    if False:"),
    ("feed_fields.py", "if named and column_currency and named != column_currency:", "if False:"),
    ("feed_fields.py", "(quantity == 0 or not offered)", "not offered"),
    ("feed_fields.py", "(quantity == 0 or not offered)", "quantity == 0"),
    ("feed_acp.py", "    if state is None:\n", "    state = state or Availability.IN_STOCK\n    if False:\n"),
    ("feed_csv.py", 'or cells["sale_price_effective_date"].strip()', ""),
    ("feed_csv.py", "again.extendleft(reversed(taken[1:]))  # (2)", "pass"),
    ("feed_csv.py", "while len(taken) < maximum_lines:  # (1)", "while True:"),
    ("feed_csv.py", "_REREAD_PER_LINE if spent else MAXIMUM_RECORD_LINES", "MAXIMUM_RECORD_LINES"),
    ("feed_lines.py", "stream.readline(MAXIMUM_LINE_BYTES + 1)", "stream.readline(-1)"),
    ("feed_lines.py", "if len(taken) > MAXIMUM_LINE_BYTES:", "if False:"),
    ("feed_lines.py", "if total_bytes > maximum_bytes:", "if False:"),
    (
        "feed_lines.py",
        "except (gzip.BadGzipFile, EOFError, zlib.error):",
        "except EOFError:\n        return\n    except zlib.error:",
    ),
]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages the reader needs, and feeds that try every guard."""
    folder = tmp_path_factory.mktemp("guards")
    for package in ("tokenization", PACKAGE):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "commerce_api" / "__init__.py").touch()
    feeds = folder / "feeds"
    feeds.mkdir()
    broken = 'id,title,price,availability\nv1,"Open,5 USD,in_stock\nv2,Good,5 USD,in_stock\nv3,"A, b",5 USD,in_stock\n'
    (feeds / "a.csv").write_text(csv_text(*ROWS), encoding="utf-8", newline="")
    (feeds / "b.csv").write_text(broken)
    (feeds / "c.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in PRODUCTS))
    (feeds / "d.csv.gz").write_bytes(b"no gzip")
    (folder / "long.jsonl").write_bytes(b"x" * 9_000_000 + b"\nend")
    return folder


def report(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-B", "-c", REPORT], cwd=folder, capture_output=True, text=True, check=False, timeout=100
    )
    return done.stdout + done.stderr[-300:]


@pytest.fixture(scope="module")
def sound_report(workshop: Path) -> str:
    return report(workshop)


def test_the_sound_reader_takes_only_what_it_should(sound_report: str) -> None:
    lines = sound_report.splitlines()
    taken = [line.split("'")[1] for line in lines if "('" in line]
    assert taken == ["v1", "c3", "c4", "c8", "e1", "f1", "v2", "v3", "g2"]
    assert "looked ahead False" in lines
    assert "linear 1498 True" in lines
    assert "Traceback" not in sound_report


@pytest.mark.parametrize(
    ("name", "guard", "hole"), MUTANTS, ids=[f"{name}:{guard.strip()}" for name, guard, _ in MUTANTS]
)
def test_a_reader_without_the_guard_gives_other_verdicts(
    workshop: Path, sound_report: str, name: str, guard: str, hole: str
) -> None:
    path = workshop / PACKAGE / name
    sound = path.read_text()
    assert sound.count(guard) == 1, "the guard to take out is not in the file once"
    path.write_text(sound.replace(guard, hole))
    try:
        faulty_report = report(workshop)
    finally:
        path.write_text(sound)
    assert faulty_report != sound_report
    assert "SyntaxError" not in faulty_report
    assert "NameError" not in faulty_report
