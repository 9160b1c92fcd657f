"""A settlement report as a stream of lines, in memory that does not grow with it. What is not a report is refused.

What holds:
 1. A file is read once, line by line; a line is at most LINE_BYTES_MAXIMUM long.
 2. The first line decides whose report it is: the columns that a form needs must all be there, whatever else is.
 3. A line that breaks a rule ends the reading, with its place in the file and the rule, never with what stands there.
 4. Text that looks like a card number ends it as well, in whichever column it stands.
"""

import csv
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from pydantic import ValidationError

from tokenization.ids import letters_of
from tokenization.money import Money, MoneyInvalid
from tokenization.scanner import contains_card
from vault_zone.reconciliation.line import Line, LineType

LINE_BYTES_MAXIMUM: Final = 64 * 1024
_CHUNK: Final = 1024 * 1024


class ReportRefused(Exception):
    """The file is not one that can be read. ``line`` counts from 1, the heading; ``code`` names the rule."""

    def __init__(self, line: int, code: str) -> None:
        super().__init__(f"line {line}: {code}")
        self.line = line
        self.code = code


@dataclass(frozen=True, slots=True)
class Form:
    """A kind of report: the columns it needs, and how a row of it becomes a line. ``read`` raises ValueError with a code."""

    name: str
    processor: str
    columns: frozenset[str]
    read: Callable[[Mapping[str, str]], Line]


def digest_of(file: Path) -> str:
    """SHA-256 of the file, in letters."""
    running = hashlib.sha256()
    with file.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            running.update(chunk)
    return letters_of(running.digest())


def form_of(file: Path, forms: Sequence[Form]) -> Form:
    """(2) The form of the file by its first line. Raises ReportRefused."""
    with _opened(file) as handle:
        try:
            heading = set(next(csv.reader(_bounded(handle)), []))
        except (csv.Error, UnicodeDecodeError):
            raise ReportRefused(1, "not_csv_in_utf8") from None
    for form in forms:
        if form.columns <= heading:
            return form
    raise ReportRefused(1, "columns_missing")


def lines(file: Path, form: Form) -> Iterator[Line]:
    """(1) The lines of the file, one at a time. Raises ReportRefused."""
    with _opened(file) as handle:
        rows = csv.reader(_bounded(handle), strict=True)
        heading: list[str] = []
        try:
            heading = next(rows, [])
            if len(set(heading)) != len(heading):
                raise ReportRefused(1, "columns_repeated")
            for row in rows:
                if row:
                    yield _line(rows.line_num, heading, row, form)
        except (csv.Error, UnicodeDecodeError):
            raise ReportRefused(rows.line_num + 1, "not_csv_in_utf8") from None


def _line(number: int, heading: Sequence[str], row: Sequence[str], form: Form) -> Line:
    if len(row) != len(heading):
        raise ReportRefused(number, "columns_differ_from_heading")
    if any(contains_card(cell) for cell in row):  # (4)
        raise ReportRefused(number, "card_like_text")
    try:
        read = form.read(dict(zip(heading, row, strict=True)))
    except ValidationError as failure:
        names = sorted({str(error["loc"][0]) for error in failure.errors() if error["loc"]})
        raise ReportRefused(number, f"{names[0] if names else 'line'}_malformed") from None
    except ValueError as failure:
        raise ReportRefused(number, str(failure) or "malformed") from None
    if read.net_minor != read.gross_minor - read.fee_minor:
        raise ReportRefused(number, "net_is_not_gross_less_fee")
    if not _sign_fits(read):
        raise ReportRefused(number, "sign_does_not_fit_type")
    return read


def _sign_fits(line: Line) -> bool:
    if line.type in (LineType.CHARGE, LineType.REFUND_FAILURE, LineType.DISPUTE_REVERSAL):
        return line.gross_minor >= 0
    if line.type in (LineType.REFUND, LineType.DISPUTE):
        return line.gross_minor <= 0
    return True


def whole(text: str) -> int:
    """An amount of minor units as a report of the sandbox writes it. Raises ValueError with a code."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 12):
        raise ValueError("amount_malformed")
    return int(text)


def major(text: str, currency: str) -> int:
    """An amount of major units, such as ``-12.30``, in minor ones. Raises ValueError with a code."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    try:
        return sign * Money.from_major(digits, currency).amount_minor
    except MoneyInvalid as invalid:
        raise ValueError(invalid.code) from None


def moment(text: str) -> int:
    """Seconds since 1970 from seconds, milliseconds or ISO 8601; UTC where it does not say. Raises ValueError with a code."""
    if text.isascii() and text.isdigit():
        value = int(text)
        return value // 1000 if value >= 10**11 else value
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("time_malformed") from None
    return int((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp())


def _opened(file: Path) -> TextIO:
    try:
        return file.open(encoding="utf-8-sig", newline="")
    except OSError:
        raise ReportRefused(1, "file_not_readable") from None


def _bounded(handle: TextIO) -> Iterator[str]:
    number = 0
    while text := handle.readline(LINE_BYTES_MAXIMUM + 1):
        number += 1
        if len(text) > LINE_BYTES_MAXIMUM:
            raise ReportRefused(number, "line_too_long")
        yield text
