"""A feed's file as numbered lines, however long the file and whatever its bytes, in bounded memory."""

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from commerce_api.catalogue.feed_rows import RejectCode

MAXIMUM_LINE_BYTES: Final = 1024 * 1024
MAXIMUM_FEED_BYTES: Final = 4 * 1024**3  # unpacked: a million products of 4 KiB; also ends a gzip bomb
if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BOM: Final = b"\xef\xbb\xbf"


class FeedFault(StrEnum):
    """Why a whole feed cannot be read. Closed."""

    NOT_FOUND = "not_found"
    UNKNOWN_FORM = "unknown_form"
    UNREADABLE = "unreadable"
    ARCHIVE_DAMAGED = "archive_damaged"
    NOT_UTF8 = "not_utf8"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    METADATA_INVALID = "metadata_invalid"
    HEADER_MALFORMED = "header_malformed"
    MISSING_COLUMNS = "missing_columns"
    REPEATED_COLUMNS = "repeated_columns"


FIXES: Final[dict[FeedFault, str]] = {
    FeedFault.NOT_FOUND: "there is no such file or directory; check the path",
    FeedFault.UNKNOWN_FORM: (
        "give a directory with products.jsonl and metadata.json, or a file that ends in .jsonl, .csv or .tsv; "
        ".gz may follow"
    ),
    FeedFault.UNREADABLE: "the file cannot be read; check that it is a regular file and its permissions",
    FeedFault.ARCHIVE_DAMAGED: "the gzip file is cut off or damaged; make it again",
    FeedFault.NOT_UTF8: "save the file as UTF-8",
    FeedFault.EMPTY: "there are no products in it; write at least one",
    FeedFault.TOO_LARGE: "the feed is above 4 GiB unpacked or 1,000,000 products; split it",
    FeedFault.METADATA_INVALID: (
        "metadata.json must be a JSON object with a text id; target_country, if there is one, has two capitals"
    ),
    FeedFault.HEADER_MALFORMED: (
        "the first line must be the header: column names divided by commas, tabs or semicolons, LF or CRLF at its end"
    ),
    FeedFault.MISSING_COLUMNS: "add the missing columns to the header (docs/feeds.md lists the names that are known)",
    FeedFault.REPEATED_COLUMNS: "the header names a column twice; keep one of each",
}


class FeedUnreadable(Exception):
    """The whole feed cannot be read. ``code`` is closed, ``fix`` says what to do, ``columns`` are canonical names."""

    def __init__(self, code: FeedFault, columns: tuple[str, ...] = ()) -> None:
        self.code = code
        self.columns = columns
        self.fix = f"{FIXES[code]}: {', '.join(columns)}" if columns else FIXES[code]
        super().__init__(f"{code}: {self.fix}")


@dataclass(frozen=True, slots=True)
class Line:
    """One physical line without its byte-order mark; ``fault`` is set, and ``text`` empty, if it cannot be used."""

    number: int
    text: str
    fault: RejectCode | None = None


class _LineSource(Protocol):
    def readline(self, size: int, /) -> bytes: ...


def read_lines(
    path: Path, advance: Callable[[int], None] = lambda _: None, *, maximum_bytes: int = MAXIMUM_FEED_BYTES
) -> Iterator[Line]:
    """The lines of a plain or ``.gz`` file, from 1; ``advance`` is told of bytes taken from the disk.

    Holds one line of at most 1 MiB. A longer one, or one that is not UTF-8, comes with its ``fault``.
    Raises FeedUnreadable: ``not_found``, ``unreadable``, ``archive_damaged``, ``too_large``.
    """
    if not path.exists():
        raise FeedUnreadable(FeedFault.NOT_FOUND)
    if not path.is_file():  # a device or a pipe may never end
        raise FeedUnreadable(FeedFault.UNREADABLE)
    with _faults_named(), _opened(path, advance) as stream:
        number = total_bytes = 0
        while taken := stream.readline(MAXIMUM_LINE_BYTES + 1):
            number += 1
            total_bytes += len(taken)
            if len(taken) > MAXIMUM_LINE_BYTES:
                total_bytes += _skip_line(stream, taken, maximum_bytes - total_bytes)
                line = Line(number, "", RejectCode.LINE_TOO_LONG)
            else:
                line = _decoded(number, taken)
            if total_bytes > maximum_bytes:
                raise FeedUnreadable(FeedFault.TOO_LARGE)
            yield line


def _decoded(number: int, taken: bytes) -> Line:
    if number == 1:
        taken = taken.removeprefix(_BOM)
    try:
        return Line(number, taken.decode("utf-8"))
    except UnicodeDecodeError:
        return Line(number, "", RejectCode.NOT_UTF8)


def _skip_line(stream: _LineSource, taken: bytes, maximum_bytes: int) -> int:
    """Reads on to the end of the line, or past ``maximum_bytes``; the number of bytes skipped."""
    skipped_bytes = 0
    while taken and not taken.endswith(b"\n") and skipped_bytes <= maximum_bytes:
        taken = stream.readline(MAXIMUM_LINE_BYTES)
        skipped_bytes += len(taken)
    return skipped_bytes


class _CountedFile(io.FileIO):
    """A file that tells how many bytes were taken from it."""

    def __init__(self, path: Path, advance: Callable[[int], None]) -> None:
        super().__init__(path, "rb")
        self._advance = advance

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        count = super().readinto(buffer)
        self._advance(count or 0)
        return count


@contextmanager
def _opened(path: Path, advance: Callable[[int], None]) -> Iterator[_LineSource]:
    with io.BufferedReader(_CountedFile(path, advance), buffer_size=64 * 1024) as packed:
        if path.suffix.lower() != ".gz":
            yield packed
            return
        with gzip.GzipFile(fileobj=packed) as unpacked:
            yield unpacked


@contextmanager
def _faults_named() -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise FeedUnreadable(FeedFault.ARCHIVE_DAMAGED) from None
    except OSError:
        raise FeedUnreadable(FeedFault.UNREADABLE) from None
