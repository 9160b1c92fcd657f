"""Looks for a card in files, in the memory of processes, and in recorded traffic; and shows that it would have found it."""

import base64
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK_BYTES = 4 * 1024 * 1024
_WRITABLE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (r\S+) \S+ \S+ \S+\s*(.*)$")


class MemoryUnreadable(Exception):
    """The system does not let this process read that one's memory (not Linux, or not permitted)."""


@dataclass(frozen=True, slots=True)
class Card:
    """What was typed in: the number's digits, and the security code."""

    number: str
    code: str

    def patterns(self) -> dict[str, bytes]:
        """The forms to look for. Three digits stand everywhere by chance, so the code is looked for beside its name."""
        number = self.number
        grouped = [number[place : place + 4] for place in range(0, len(number), 4)]
        forms = {
            "number": number.encode(),
            "number with spaces": " ".join(grouped).encode(),
            "number with dashes": "-".join(grouped).encode(),
            "number in a form body": "+".join(grouped).encode(),
            "number in a URL": "%20".join(grouped).encode(),
            "number in UTF-16": number.encode("utf-16-le"),
            "number in UTF-32": number.encode("utf-32-le"),
            "number in hexadecimal": number.encode().hex().encode(),
            "number reversed": number[::-1].encode(),
        }
        for shift in range(3):  # base64 of a longer text: the number at each of the three places in its groups of bytes
            padded = base64.b64encode(b"\x00" * shift + number.encode())
            forms[f"number in base64 ({shift})"] = padded[4 if shift else 0 : -4]
        forms["code in JSON"] = f'"cvc":"{self.code}"'.encode()
        forms["code in spaced JSON"] = f'"cvc": "{self.code}"'.encode()
        forms["code in a form body"] = f"cvc={self.code}".encode()
        forms["code in Python text"] = f"'cvc': '{self.code}'".encode()
        return forms


def hits(data: bytes, card: Card) -> list[str]:
    """The names of the forms that stand in the data."""
    return [name for name, pattern in card.patterns().items() if pattern in data]


def search_files(root: Path, card: Card) -> dict[Path, list[str]]:
    """The files under a directory in which some form of the card stands."""
    found: dict[Path, list[str]] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            here = _search_blocks(_blocks(path), card)
            if here:
                found[path] = here
    return found


def count_files(root: Path) -> int:
    """How many files a search of this directory reads."""
    return sum(1 for path in root.rglob("*") if path.is_file())


def search_memory(pid: int, card: Card) -> list[str]:
    """The forms that stand in a process's readable memory. Raises MemoryUnreadable."""
    if sys.platform != "linux":
        raise MemoryUnreadable
    return _search_blocks(_memory_blocks(pid), card)


def _search_blocks(blocks: Iterable[bytes], card: Card) -> list[str]:
    found: set[str] = set()
    longest = max(map(len, card.patterns().values()))
    carried = b""
    for block in blocks:
        found.update(hits(carried + block, card))
        carried = block[-longest:]
    return sorted(found)


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except FileNotFoundError:
        return  # a temporary file that went away


def _memory_blocks(pid: int) -> Iterator[bytes]:
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    except OSError:
        raise MemoryUnreadable from None
    try:
        for line in maps.splitlines():
            matched = _WRITABLE.match(line)
            if matched and matched.group(4) not in ("[vvar]", "[vsyscall]"):
                yield from _region(memory, int(matched.group(1), 16), int(matched.group(2), 16))
    finally:
        os.close(memory)


def _region(memory: int, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        try:
            block = os.pread(memory, min(BLOCK_BYTES, end - start), start)
        except OSError:
            return  # a guard page, or a region that has gone
        if not block:
            return
        yield block
        start += len(block)
