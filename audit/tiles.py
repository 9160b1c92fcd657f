"""The log on disk: a C2SP tlog-tiles directory, written by one process and readable by any number.

What holds whatever happens between two instructions (``tests/audit/test_tiles_crash.py`` stops it at each):
 1. A checkpoint is signed only when every entry and hash under it is durable.
 2. The checkpoint is replaced in one step, and the caller is answered only when that step is durable.
 3. What was once written under a final name never changes. Entries that an interrupted append left behind must come
    again, in the same order, and others are refused: no size has two roots, even if its checkpoint was seen and lost.
 4. After a failure nothing is taken from memory: the log is read from disk again, and refused unless it gives the
    signed root.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final, Self

from audit.files import DiskFiles, Files
from audit.layout import (
    CHECKPOINT,
    ENTRIES,
    LEVELS_MAXIMUM,
    TILE_WIDTH,
    TILES,
    VERIFIER_KEY,
    BundleBroken,
    Tile,
    beginning,
    pack,
    unpack,
    width_at,
)
from audit.note import Checkpoint, KeyRefused, NoteRefused, Signer, Verifier
from audit.tree import EMPTY_ROOT, HASH_BYTES, CompactRange, consistency_proof, fold, inclusion_proof, leaf_hash

INCOMING: Final = "tmp"  # files are written here and then renamed: no half-written file ever has a tile's name
_CACHED_TILES: Final = 64  # half a megabyte: the upper levels and the neighbourhood of what is being proved
_DISK: Final = DiskFiles()


class LogDamaged(RuntimeError):
    """The log is not what its checkpoint signs, and was left alone. ``cordon-audit verify`` names the bytes."""


class AppendInterrupted(RuntimeError):
    """An append failed part-way. Read ``size`` again (it looks on disk) and append from there."""


class TileReader:
    """Reads a log as its checkpoint has it. Looking up checks lengths only; ``audit.verify`` re-hashes."""

    def __init__(self, directory: Path, checkpoint: Checkpoint, files: Files = _DISK, note: bytes = b"") -> None:
        self.checkpoint = checkpoint
        self.note = note  # the signed checkpoint, when the log was opened by it
        self._directory = directory
        self._files = files
        self._full_tile = lru_cache(maxsize=_CACHED_TILES)(self._read_tile)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """A log by its published key. Raises LogDamaged, KeyRefused and NoteRefused."""
        note, vkey = _DISK.read(directory / CHECKPOINT), _DISK.read(directory / VERIFIER_KEY)
        if note is None or vkey is None:
            raise LogDamaged(f"a log has a {CHECKPOINT} and a {VERIFIER_KEY}")
        checkpoint = Verifier(vkey.decode("utf-8", "replace").removesuffix("\n")).open(note)
        return cls(directory, checkpoint, note=note)

    def entry(self, index: int) -> bytes:
        """The entry at this index. Raises IndexError outside the log, LogDamaged."""
        if not 0 <= index < self.checkpoint.size:
            raise IndexError("the log has no entry of this index")
        bundle, place = divmod(index, TILE_WIDTH)
        return self._bundle(bundle)[place]

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """The entries from start up to, and without, end, read bundle by bundle. Raises IndexError, LogDamaged."""
        if not 0 <= start <= end <= self.checkpoint.size:
            raise IndexError("the log has no entries of these indexes")
        while start < end:
            bundle, place = divmod(start, TILE_WIDTH)
            held = self._bundle(bundle)[place : place + end - start]
            yield from held
            start += len(held)

    def inclusion_proof(self, index: int, size: int) -> list[bytes]:
        """The audit path of an entry in the log as it was at this size. Raises ValueError, LogDamaged."""
        self._require_size(size)
        return inclusion_proof(index, size, self.node)

    def consistency_proof(self, old_size: int, new_size: int) -> list[bytes]:
        """The proof that the log at one size begins with the log at another. Raises ValueError, LogDamaged."""
        self._require_size(new_size)
        return consistency_proof(old_size, new_size, self.node)

    def node(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree (``audit.tree.Node``). Raises LogDamaged."""
        tile_level, height = divmod(level, 8)
        tile_index, offset = divmod(index << height, TILE_WIDTH)
        hashes = self.tile(tile_level, tile_index)
        return fold(hashes[offset * HASH_BYTES : (offset + (1 << height)) * HASH_BYTES])

    def tile(self, level: int, index: int) -> bytes:
        """A hash tile, or the raw bundle at level ENTRIES, as wide as the log has it. Raises LogDamaged."""
        width = min(width_at(level, self.checkpoint.size) - index * TILE_WIDTH, TILE_WIDTH)
        tile = Tile(level, index, width)
        data = self._full_tile(tile) if width == TILE_WIDTH else self._read_tile(tile)
        if level != ENTRIES and len(data) != width * HASH_BYTES:
            raise LogDamaged(f"{tile.path} has another length than the log's size asks for")
        return data

    def _bundle(self, index: int) -> list[bytes]:
        width = min(self.checkpoint.size - index * TILE_WIDTH, TILE_WIDTH)
        try:
            entries = unpack(self.tile(ENTRIES, index))
        except BundleBroken:
            entries = []
        if len(entries) != width:
            raise LogDamaged(
                f"{Tile(ENTRIES, index, width).path} holds another number of entries than the log's size asks for"
            )
        return entries

    def _read_tile(self, tile: Tile) -> bytes:
        data = self._files.read(self._directory / tile.path)
        if data is None and tile.width < TILE_WIDTH:  # a writer at work has filled it meanwhile
            full = self._files.read(self._directory / Tile(tile.level, tile.index).path)
            data = None if full is None else beginning(tile, full)
        if data is None:
            raise LogDamaged(f"{tile.path} is missing")
        return data

    def _require_size(self, size: int) -> None:
        if size > self.checkpoint.size:
            raise ValueError("the log has not signed this size yet")


@dataclass(frozen=True, slots=True)
class _Edge:
    """All that appending needs: the signed checkpoint, the compact range, and the unfilled bundle and tiles."""

    checkpoint: Checkpoint
    nodes: tuple[bytes, ...]
    bundle: bytes
    tiles: tuple[bytes, ...]  # by level


class TileLog:
    """The writer. One process at a time may hold it; the caller sees to that (``audit.sequencer`` locks)."""

    def __init__(self, directory: Path, signer: Signer, files: Files = _DISK) -> None:
        """Opens the log, or makes it when the directory holds none. Raises LogDamaged, KeyRefused, OSError."""
        self._directory = directory
        self._signer = signer
        self._files = files
        self._verifier = Verifier(signer.vkey)
        self._made: set[Path] = set()
        self._largest = 0  # the largest size this object has published
        self._reader = TileReader(directory, Checkpoint(signer.origin, 0, EMPTY_ROOT), files)
        self._edge: _Edge | None = self._recover()

    @property
    def checkpoint(self) -> Checkpoint:
        """What is signed and published now. Raises LogDamaged when the disk has to be asked and does not give it."""
        if self._edge is None:
            self._edge = self._recover()
        return self._edge.checkpoint

    @property
    def size(self) -> int:
        """How many entries are signed and published."""
        return self.checkpoint.size

    @property
    def root(self) -> bytes:
        """The root over them."""
        return self.checkpoint.root

    def append(self, entries: Sequence[bytes]) -> Checkpoint:
        """Adds entries and returns the checkpoint over them, durable and published. Numbers: module docstring.

        Raises ValueError (an entry is too long; nothing happened), LogDamaged, AppendInterrupted, OSError.
        """
        if self._edge is None:
            raise AppendInterrupted
        before = self._edge
        if not entries:
            return before.checkpoint
        tiles, after = _grow(before, entries)
        self._edge = None  # (4) until the new state is published
        for tile, data in tiles:
            self._refuse_change(tile, data, before.checkpoint.size)  # (3)
        self._write({self._directory / tile.path: data for tile, data in tiles})  # (1)
        self._publish(after.checkpoint)  # (2)
        self._edge = after
        self._remove_partials([tile for tile, _ in tiles if tile.width == TILE_WIDTH])
        return after.checkpoint

    def entry(self, index: int) -> bytes:
        """See TileReader."""
        return self._reader.entry(index)

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """See TileReader."""
        return self._reader.entries(start, end)

    def inclusion_proof(self, index: int, size: int) -> list[bytes]:
        """See TileReader."""
        return self._reader.inclusion_proof(index, size)

    def consistency_proof(self, old_size: int, new_size: int) -> list[bytes]:
        """See TileReader."""
        return self._reader.consistency_proof(old_size, new_size)

    def _recover(self) -> _Edge:
        """(4) The log as it is on disk. What lies there beyond the signed size is left alone, to be written again."""
        self._made.clear()
        for parent in self._make_directory(self._directory):
            self._files.sync_directory(parent)
        incoming = self._directory / INCOMING
        for name in self._files.names(incoming):
            self._files.remove(incoming / name)
        note = self._files.read(self._directory / CHECKPOINT)
        self._check_key(is_new=note is None)
        if note is None:
            note = self._begin()
        try:
            checkpoint = self._verifier.open(note)
        except NoteRefused as refusal:
            raise LogDamaged(f"{CHECKPOINT}: {refusal}") from None
        if checkpoint.size < self._largest:
            raise LogDamaged(f"{CHECKPOINT} is older than one this process has published")
        self._reader = TileReader(self._directory, checkpoint, self._files)
        return self._read_edge(checkpoint)

    def _check_key(self, *, is_new: bool) -> None:
        vkey = (self._signer.vkey + "\n").encode()
        published = self._files.read(self._directory / VERIFIER_KEY)
        if published is None and is_new:
            self._write({self._directory / VERIFIER_KEY: vkey})
        elif published is None:
            raise LogDamaged(f"{VERIFIER_KEY} is missing")
        elif published != vkey:
            raise KeyRefused(
                f"{VERIFIER_KEY} is another key's: give the key this log was begun with, or a new directory"
            )

    def _begin(self) -> bytes:
        if self._files.names(self._directory / TILES):
            raise LogDamaged(f"{CHECKPOINT} is missing, and the log is not empty")
        empty = Checkpoint(self._signer.origin, 0, EMPTY_ROOT)
        self._publish(empty)
        return self._signer.sign(empty)

    def _read_edge(self, checkpoint: Checkpoint) -> _Edge:
        ends = [divmod(width_at(level, checkpoint.size), TILE_WIDTH) for level in range(LEVELS_MAXIMUM)]
        tiles = tuple(self._reader.tile(level, index) if width else b"" for level, (index, width) in enumerate(ends))
        bundle = self._reader.tile(ENTRIES, ends[0][0]) if ends[0][1] else b""
        compact = CompactRange.of(checkpoint.size, self._reader.node)
        if compact.root() != checkpoint.root:
            raise LogDamaged("the tiles at the log's end do not give the signed root")
        try:
            leaves = b"".join([leaf_hash(entry) for entry in unpack(bundle)])
        except BundleBroken:
            leaves = b""
        if leaves != tiles[0]:
            raise LogDamaged(f"{Tile(ENTRIES, *ends[0]).path} does not hold the entries that were signed")
        return _Edge(checkpoint, tuple(compact.nodes), bundle, tiles)

    def _refuse_change(self, tile: Tile, data: bytes, signed_size: int) -> None:
        """(3) What an interrupted append left of this tile, at any width, must agree with what is written now."""
        signed = max(width_at(tile.level, signed_size) - tile.index * TILE_WIDTH, 0)
        partials = self._partials(tile)
        left = [
            (self._directory / replace(tile, width=width).path) for width in self._widths(partials) if width > signed
        ]
        for path in [*left, self._directory / Tile(tile.level, tile.index).path]:
            found = self._files.read(path)
            if found is not None and not found.startswith(data) and not data.startswith(found):
                raise LogDamaged(
                    f"{path.relative_to(self._directory)} was written with other entries than those given now"
                )

    def _partials(self, tile: Tile) -> Path:
        path = self._directory / Tile(tile.level, tile.index).path
        return path.with_name(path.name + ".p")

    def _widths(self, partials: Path) -> list[int]:
        return [
            int(name)
            for name in self._files.names(partials)
            if name.isascii() and name.isdecimal() and 0 < int(name) < TILE_WIDTH
        ]

    def _write(self, contents: dict[Path, bytes]) -> None:
        """(1) Every file under a passing name, synced; then the names; then the names synced."""
        incoming = self._directory / INCOMING
        changed = self._make_directory(incoming)
        for number, data in enumerate(contents.values()):
            self._files.write_synced(incoming / str(number), data)
        for number, path in enumerate(contents):
            changed += [*self._make_directory(path.parent), path.parent]
            self._files.rename(incoming / str(number), path)
        for directory in dict.fromkeys(changed):
            self._files.sync_directory(directory)

    def _publish(self, checkpoint: Checkpoint) -> None:
        """(2) Signs, and replaces the published checkpoint."""
        self._write({self._directory / CHECKPOINT: self._signer.sign(checkpoint)})
        self._largest = checkpoint.size
        self._reader.checkpoint = checkpoint

    def _make_directory(self, path: Path) -> list[Path]:
        """Makes a directory and those above it, unless that was done before; returns where their names must be synced."""
        if path in self._made:
            return []
        is_ours = path.parent.is_relative_to(self._directory)
        above = self._make_directory(path.parent) if is_ours or not path.parent.exists() else []
        self._files.make_directory(path)
        self._made.add(path)
        return [*above, path.parent]

    def _remove_partials(self, full: Sequence[Tile]) -> None:
        """Partial tiles whose full tile is published serve nobody. One that cannot be removed does no harm."""
        with contextlib.suppress(OSError):
            for tile in full:
                partials = self._partials(tile)
                names = self._files.names(partials)
                for name in names:
                    self._files.remove(partials / name)
                if names:
                    self._files.remove_directory(partials)
                self._made.discard(partials)


def _grow(edge: _Edge, entries: Sequence[bytes]) -> tuple[list[tuple[Tile, bytes]], _Edge]:
    """The tiles to write for these entries, and the edge afterwards. Raises ValueError for too long an entry."""
    size = edge.checkpoint.size
    written, bundle = _fill(ENTRIES, size, edge.bundle, [pack([entry]) for entry in entries])
    hashes = [leaf_hash(entry) for entry in entries]
    compact = CompactRange(size, edge.nodes)
    for leaf in hashes:
        compact.append(leaf)
    tiles = list(edge.tiles)
    for level in range(LEVELS_MAXIMUM):
        filled, tiles[level] = _fill(level, width_at(level, size), tiles[level], hashes)
        written += filled
        hashes = [fold(data) for tile, data in filled if tile.width == TILE_WIDTH]
    checkpoint = Checkpoint(edge.checkpoint.origin, compact.size, compact.root())
    return written, _Edge(checkpoint, tuple(compact.nodes), bundle, tuple(tiles))


def _fill(level: int, position: int, held: bytes, pieces: Sequence[bytes]) -> tuple[list[tuple[Tile, bytes]], bytes]:
    """Puts pieces into a level's unfilled tile and on; returns the tiles to write and what the unfilled one holds."""
    tiles = []
    index, width = divmod(position, TILE_WIDTH)
    rest = list(pieces)
    while rest:
        taken, rest = rest[: TILE_WIDTH - width], rest[TILE_WIDTH - width :]
        held, width = held + b"".join(taken), width + len(taken)
        tiles.append((Tile(level, index, width), held))
        if width == TILE_WIDTH:
            index, width, held = index + 1, 0, b""
    return tiles, held
