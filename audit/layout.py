"""Where the parts of a log lie in its directory, and what an entry bundle looks like (C2SP tlog-tiles)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from audit.tree import HASH_BYTES

CHECKPOINT: Final = "checkpoint"
VERIFIER_KEY: Final = "log.vkey"
TILES: Final = "tile"
ENTRIES: Final = -1  # the level below the leaf hashes: the entries themselves
TILE_WIDTH: Final = 256  # hashes in a full tile, entries in a full bundle
TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES
ENTRY_BYTES_MAXIMUM: Final = 65_535  # the length prefix has 16 bits
BUNDLE_BYTES_MAXIMUM: Final = TILE_WIDTH * (2 + ENTRY_BYTES_MAXIMUM)
# Eight tile levels hold 2**64 leaves, more than a size may say.
LEVELS_MAXIMUM: Final = 8

_PATH = re.compile(r"tile/(entries|[0-7])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class Tile:
    """A tile or an entry bundle: its level (ENTRIES, or 0 to 7), its place in the level, and how much it holds."""

    level: int
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """The path below the log directory: ``tile/0/x001/234``, with ``.p/W`` behind it for a partial one."""
        groups = [f"{self.index % 1000:03d}"]
        rest = self.index // 1000
        while rest:
            groups.append(f"x{rest % 1000:03d}")
            rest //= 1000
        level = "entries" if self.level == ENTRIES else str(self.level)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"{TILES}/{level}/{'/'.join(reversed(groups))}{partial}"

    @property
    def bytes_maximum(self) -> int:
        """More than this no such file holds."""
        return BUNDLE_BYTES_MAXIMUM if self.level == ENTRIES else TILE_BYTES


def tile_of_path(path: str) -> Tile | None:
    """The tile that belongs at this path, or None when none does."""
    matched = _PATH.fullmatch(path)
    if matched is None:
        return None
    level = ENTRIES if matched[1] == "entries" else int(matched[1])
    tile = Tile(level, int(matched[2].replace("/", "").replace("x", "")), int(matched[3] or TILE_WIDTH))
    return tile if tile.path == path else None


def width_at(level: int, size: int) -> int:
    """How many hashes (or entries) a level holds in a log of this size."""
    return size if level == ENTRIES else size >> 8 * level


def right_edge(size: int) -> list[Tile]:
    """The partial bundle and the partial tiles that a log of this size ends with, where it has them."""
    edge = []
    for level in range(ENTRIES, LEVELS_MAXIMUM):
        index, width = divmod(width_at(level, size), TILE_WIDTH)
        if width:
            edge.append(Tile(level, index, width))
    return edge


class BundleBroken(ValueError):
    """The bytes are no entry bundle: from the length prefix at ``offset`` on they cannot be read."""

    def __init__(self, offset: int) -> None:
        super().__init__("a length prefix points outside the bundle")
        self.offset = offset


def pack(entries: Sequence[bytes]) -> bytes:
    """Entries as a bundle, each behind its length in two big-endian bytes. Raises ValueError for one too long."""
    if any(len(entry) > ENTRY_BYTES_MAXIMUM for entry in entries):
        raise ValueError("an entry of a log has at most 65,535 bytes")
    return b"".join([len(entry).to_bytes(2, "big") + entry for entry in entries])


def unpack(bundle: bytes) -> list[bytes]:
    """The entries of a bundle. Raises BundleBroken."""
    entries: list[bytes] = []
    position, end = 0, len(bundle)
    while position < end:
        start = position + 2
        stop = start + int.from_bytes(bundle[position:start], "big")
        if stop > end or start > end:
            raise BundleBroken(position)
        entries.append(bundle[start:stop])
        position = stop
    return entries


def beginning(tile: Tile, full: bytes) -> bytes | None:
    """A partial tile out of the full one that took its place; None when that is broken."""
    if tile.level != ENTRIES:
        return full[: tile.width * HASH_BYTES]
    try:
        return pack(unpack(full)[: tile.width])
    except BundleBroken:
        return None
