"""Recomputes a log from its entries up: every leaf, every tile, the root. Bounded memory, whatever the log's size."""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from audit.layout import ENTRIES, LEVELS_MAXIMUM, TILE_BYTES, TILE_WIDTH, Tile
from audit.tree import HASH_BYTES, fold, root_of_edges

# Tiles that differ are kept for the judgement, 8 KiB each. A log with more than these is not repaired by naming bytes.
SUSPECTS_MAXIMUM: Final = 256
_PROGRESS_BUNDLES: Final = 256

Progress = Callable[[int, int], None]  # entries done, entries in all


def read_regular(path: Path, bytes_maximum: int) -> bytes | None:
    """The file, or one byte more of it than the maximum; None when there is no regular file. Follows no link.

    Raises PermissionError: what may not be read is not missing.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        raise
    except OSError:  # no such file, or a link in its place
        return None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return None
        wanted = min(status.st_size, bytes_maximum) + 1  # one more than there should be: a file that grows is seen
        data = os.read(handle, wanted)
        while len(data) < wanted and (more := os.read(handle, wanted - len(data))):
            data += more
        return data
    finally:
        os.close(handle)


class LogFiles:
    """The tiles of one log directory; those at its right edge as they were when its checkpoint was read."""

    def __init__(self, directory: Path, edge: Mapping[Tile, bytes | None]) -> None:
        self._directory = directory
        self._edge = edge

    def read(self, tile: Tile) -> bytes | None:
        """The tile's bytes, or None when it is missing."""
        if tile in self._edge:
            return self._edge[tile]
        return read_regular(self._directory / tile.path, tile.bytes_maximum)


def hash_bundle(bundle: bytes) -> tuple[list[bytes], int]:
    """The leaf hashes of a bundle's entries, and where reading ended: its end, or a length that leads outside it."""
    leaves: list[bytes] = []
    position, end = 0, len(bundle)
    while position + 2 <= end:
        start = position + 2
        stop = start + (bundle[position] << 8 | bundle[position + 1])
        if stop > end:
            break
        leaves.append(sha256(b"\x00" + bundle[start:stop]).digest())
        position = stop
    return leaves, position


@dataclass
class Rehashed:
    """What the entries give: the root, and the tiles that they give where the files say otherwise."""

    root: bytes = b""
    kept_root: bytes | None = None  # the root at the size that was asked for besides
    edges: list[bytes] = field(default_factory=lambda: [b""] * LEVELS_MAXIMUM)
    given: dict[Tile, bytes] = field(default_factory=dict)  # by differing hash tile: what the entries give for it
    broken: list[Tile] = field(default_factory=list)  # bundles that are missing or cannot be read as their entries
    not_listed: int = 0
    entries: int = 0
    entry_bytes: int = 0
    tiles: int = 0  # files compared byte by byte, bundles among them
    first: bytes = b""
    last: bytes = b""


def rehash(files: LogFiles, size: int, kept_size: int | None = None, progress: Progress | None = None) -> Rehashed:
    """Re-hashes all entries of a log of this size, and compares every tile with what they give.

    The hashes in its tile stand in for a bundle that cannot be read, so that the levels above can still be judged.
    """
    climb = _Climb(files)
    result = climb.result
    for index in range(-(-size // TILE_WIDTH)):
        width = min(TILE_WIDTH, size - index * TILE_WIDTH)
        bundle, tile = files.read(Tile(ENTRIES, index, width)), files.read(Tile(0, index, width))
        leaves, end = hash_bundle(bundle or b"")
        hashes = b"".join(leaves)
        result.tiles += 1
        if bundle is None or len(leaves) != width or end != len(bundle):
            _note(result, result.broken, Tile(ENTRIES, index, width))
            hashes = tile if tile is not None and len(tile) == width * HASH_BYTES else bytes(width * HASH_BYTES)
        else:
            result.entries += width
            result.entry_bytes += len(bundle) - 2 * width
            result.first = result.first or bundle[2 : 2 + int.from_bytes(bundle[:2], "big")]
            if index * TILE_WIDTH + width == size:
                result.last = _last_entry(bundle, width)
        if kept_size is not None and index == kept_size // TILE_WIDTH:
            result.kept_root = climb.root(hashes[: kept_size % TILE_WIDTH * HASH_BYTES])
        climb.settle(Tile(0, index, width), hashes, tile)
        if progress is not None and index % _PROGRESS_BUNDLES == 0:
            progress(index * TILE_WIDTH, size)
    climb.finish()
    if kept_size == size:
        result.kept_root = result.root
    return result


class _Climb:
    """Carries hashes from level to level, holding one unfilled tile of each."""

    def __init__(self, files: LogFiles) -> None:
        self.result = Rehashed()
        self._files = files
        self._unfilled = [b""] * (LEVELS_MAXIMUM + 1)
        self._filled = [0] * (LEVELS_MAXIMUM + 1)

    def settle(self, tile: Tile, hashes: bytes, found: bytes | None) -> None:
        """Compares a finished tile with its file, and passes a full one's hash on to the level above."""
        self.result.tiles += 1
        if hashes != found:
            if len(self.result.given) < SUSPECTS_MAXIMUM:
                self.result.given[tile] = hashes
            else:
                self.result.not_listed += 1
        if len(hashes) < TILE_BYTES:
            self.result.edges[tile.level] = hashes
            return
        above = tile.level + 1
        self._unfilled[above] += fold(hashes)
        if len(self._unfilled[above]) == TILE_BYTES:
            filled = Tile(above, self._filled[above])
            hashes, self._unfilled[above] = self._unfilled[above], b""
            self._filled[above] += 1
            self.settle(filled, hashes, self._files.read(filled))

    def root(self, leaves: bytes) -> bytes:
        """The root of the tree so far, with these leaf hashes in the unfilled tile of the lowest level."""
        return root_of_edges([leaves, *self._unfilled[1:]])

    def finish(self) -> None:
        """Settles the partial tiles above the lowest level, and the root."""
        for level in range(1, LEVELS_MAXIMUM):
            if hashes := self._unfilled[level]:
                tile = Tile(level, self._filled[level], len(hashes) // HASH_BYTES)
                self.settle(tile, hashes, self._files.read(tile))
        self.result.root = root_of_edges(self.result.edges)


def _note(result: Rehashed, kept: list[Tile], tile: Tile) -> None:
    if len(kept) < SUSPECTS_MAXIMUM:
        kept.append(tile)
    else:
        result.not_listed += 1


def _last_entry(bundle: bytes, width: int) -> bytes:
    position = 0
    for _ in range(width - 1):
        position += 2 + int.from_bytes(bundle[position : position + 2], "big")
    return bundle[position + 2 :]
