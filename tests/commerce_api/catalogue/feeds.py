"""Feeds made for the tests, and a plain stand-in for the card-text scanner."""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from commerce_api.catalogue.feed import ProductRow, RejectedRow, open_feed, read_products

SHARED_FEEDS = Path(__file__).parents[3] / ".." / "shared" / "data" / "feeds"
Verdict = tuple[int, str]
GOOD = {
    "id": "v1",
    "title": "Kettle",
    "description": "Boils water",
    "link": "https://brand.example/p/1",
    "price": "137.17 USD",
    "availability": "in_stock",
}


def shared_feed(name: str) -> Path:
    """A feed this project did not make; skips where it is absent."""
    path = SHARED_FEEDS / name
    if not path.exists():
        pytest.skip("the shared feeds are not beside this checkout")
    return path


def luhn_like(text: str) -> bool:
    """13 to 19 digits, spaces and hyphens between them allowed, that pass the Luhn check."""
    for run in re.finditer(r"(?:[0-9][ -]?){13,19}", text):
        digits = [int(digit) for digit in run.group() if digit.isdigit()]
        doubled = [sum(divmod(digit * 2, 10)) if place % 2 else digit for place, digit in enumerate(reversed(digits))]
        if sum(doubled) % 10 == 0:
            return True
    return False


def read(path: Path, currency: str | None = "USD") -> list[ProductRow | RejectedRow]:
    return list(read_products(open_feed(path), currency=currency, card_like=luhn_like))


def taken(rows: Iterable[ProductRow | RejectedRow]) -> list[ProductRow]:
    return [row for row in rows if isinstance(row, ProductRow)]


def verdicts(rows: Iterable[ProductRow | RejectedRow]) -> list[Verdict]:
    """Line and code of each row; the code of a row that was taken is ``taken``."""
    return [(row.line, "taken" if isinstance(row, ProductRow) else row.code.value) for row in rows]


def csv_text(*rows: Mapping[str, str], delimiter: str = ",") -> str:
    """A CSV with the columns of all rows, absent cells empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def csv_file(folder: Path, *rows: Mapping[str, str], name: str = "feed.csv") -> Path:
    path = folder / name
    path.write_text(csv_text(*rows), encoding="utf-8", newline="")
    return path


def one_row(folder: Path, brand_currency: str | None = "USD", /, **changes: str) -> ProductRow | RejectedRow:
    """The verdict on the good row with some cells changed."""
    (row,) = read(csv_file(folder, {**GOOD, **changes}), brand_currency)
    return row


def code_of(row: ProductRow | RejectedRow) -> str:
    return "taken" if isinstance(row, ProductRow) else row.code.value


def variant(**changes: object) -> dict[str, object]:
    return {
        "id": "v1",
        "title": "Kettle, silver",
        "price": {"amount": 13717, "currency": "USD"},
        "availability": {"available": True, "status": "in_stock"},
        **changes,
    }


def product(*variants: object, **changes: object) -> dict[str, object]:
    return {"id": "p1", "title": "Kettle", "variants": list(variants), **changes}


def jsonl_file(folder: Path, *products: object, name: str = "products.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(entry) + "\n" for entry in products), encoding="utf-8")
    return path


def one_variant(folder: Path, currency: str | None = "USD", **changes: object) -> ProductRow | RejectedRow:
    """The verdict on the good variant with some members changed."""
    (row,) = read(jsonl_file(folder, product(variant(**changes))), currency)
    return row
