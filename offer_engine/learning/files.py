"""Exported decisions on disk: plain or gzip, read line by line, with how far the reading is."""

import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

_TELL_EVERY: Final = 1_000  # lines
_BUFFER_BYTES: Final = 1 << 20


def size_bytes(paths: Sequence[Path]) -> int:
    """The files' bytes together, as they lie on disk. Raises OSError."""
    return sum(path.stat().st_size for path in paths)


def read_lines(paths: Sequence[Path], told: Callable[[int], None] = lambda _: None) -> Iterator[bytes]:
    """The files' lines, one file after the other. ``told`` hears now and then how many bytes are done. Raises OSError."""
    done = 0
    for path in paths:
        with path.open("rb") as raw, _plain(path, raw) as text:
            for number, line in enumerate(text):
                yield line
                if number % _TELL_EVERY == 0:
                    told(done + raw.tell())
        done += path.stat().st_size
        told(done)


def _plain(path: Path, raw: BinaryIO) -> BinaryIO:
    """The text of a file. Its lines are found in C, also where it is packed."""
    if path.suffix != ".gz":
        return raw
    return io.BufferedReader(gzip.GzipFile(fileobj=raw), _BUFFER_BYTES)
