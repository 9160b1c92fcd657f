"""Says which file was altered, and where, when a log's entries, its tiles and its signed root do not agree.

The signed root is the judge: hashes that lead to it are right, by the strength of SHA-256, and what disagrees with them
was altered. It is followed down from the root, tile by tile, so that many alterations are told apart as far as can be.
"""

from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import product
from typing import Final

from audit.layout import ENTRIES, LEVELS_MAXIMUM, TILE_WIDTH, Tile, width_at
from audit.rehash import LogFiles, Rehashed, hash_bundle
from audit.tree import HASH_BYTES, fold, root_of_edges

PROBLEMS_MAXIMUM: Final = 100  # listed in a report; the rest is counted
_NAMED_ENTRIES: Final = 8  # altered entries of one bundle that are named one by one
_REPAIR_BYTES_MAXIMUM: Final = (
    2_048  # a longer entry is not searched for the one byte: half a million hashes are enough
)
_MASKS: Final = sorted(
    range(1, 256), key=int.bit_count
)  # a single flipped bit is what hardware does, so it is tried first


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one file, with the byte and the entry where they can be told."""

    file: str  # path below the log directory
    what: str
    offset: int | None = None
    entry: int | None = None


class Problems:
    """The list of problems, bounded."""

    def __init__(self) -> None:
        self.listed: list[Problem] = []
        self.not_listed = 0

    def add(self, file: str, what: str, offset: int | None = None, entry: int | None = None) -> None:
        """Adds one, or counts it."""
        if len(self.listed) < PROBLEMS_MAXIMUM:
            self.listed.append(Problem(file, what, offset, entry))
        else:
            self.not_listed += 1


class Judge:
    """Tells right bytes from altered ones."""

    def __init__(self, files: LogFiles, size: int, rehashed: Rehashed, root: bytes | None) -> None:
        """``root`` is what the checkpoint says, or None when nothing can be held against the files but themselves."""
        self._files = files
        self._size = size
        self._rehashed = rehashed
        self._known: dict[tuple[int, int], bytes | None] = {}
        self._edges = self._right_edges(root)
        self.reaches_root = root is None or self._edges is not None

    def report(self, problems: Problems) -> None:
        """Names every bundle and tile that the signed root does not vouch for."""
        for bundle in self._rehashed.broken:
            self._report_bundle(problems, bundle)
        for tile in sorted(self._rehashed.given):
            self._report_tile(problems, tile)
        problems.not_listed += self._rehashed.not_listed

    def report_earlier(self, problems: Problems, earlier: Tile, data: bytes) -> None:
        """Names a partial tile of an earlier size when it is not the beginning of what that tile holds now."""
        right = self._right(max(earlier.level, 0), earlier.index)
        if right is None:
            problems.add(earlier.path, "cannot be checked: what the tile holds now was altered")
            return
        right = right[: earlier.width * HASH_BYTES]
        if earlier.level == ENTRIES:
            _compare_bundle(problems, earlier, data, right)
        elif data != right:
            _compare_tile(problems, earlier, data, right)

    def _report_tile(self, problems: Problems, tile: Tile) -> None:
        """A hash tile that differs from what the entries give: the one, the other, or both were altered."""
        found, given = self._files.read(tile), self._rehashed.given[tile]
        right = self._right(tile.level, tile.index)
        bundle = replace(tile, level=ENTRIES)
        if found is None:
            problems.add(tile.path, "is missing")
        elif right is None:
            problems.add(tile.path, "does not agree with what lies below it, and neither leads to the signed root")
        elif found != right:
            _compare_tile(problems, tile, found, right)
        if given == right:
            return
        if tile.level > 0:
            self._report_below(problems, tile, given, right)
        elif bundle not in self._rehashed.broken:
            self._report_bundle(problems, bundle)

    def _report_bundle(self, problems: Problems, bundle: Tile) -> None:
        data, right = self._files.read(bundle), self._right(0, bundle.index)
        if data is None:
            problems.add(bundle.path, "is missing")
        elif right is None:
            tile = replace(bundle, level=0)
            problems.add(bundle.path, f"does not agree with {tile.path}", entry=bundle.index * TILE_WIDTH)
            if tile not in self._rehashed.given:
                problems.add(tile.path, "does not lead to the signed root")
        else:
            _compare_bundle(problems, bundle, data, right)

    def _report_below(self, problems: Problems, tile: Tile, given: bytes, right: bytes | None) -> None:
        """Names subtrees that agree with themselves but not with this tile: they were altered together."""
        if right is None:
            return
        for slot in range(tile.width):
            at = slot * HASH_BYTES
            below = Tile(tile.level - 1, tile.index * TILE_WIDTH + slot)
            explained = below in self._rehashed.given or replace(below, level=ENTRIES) in self._rehashed.broken
            if given[at : at + HASH_BYTES] != right[at : at + HASH_BYTES] and not explained:
                together = [below] if below.level else [replace(below, level=ENTRIES), below]
                for altered in together:
                    first = below.index * TILE_WIDTH ** (below.level + 1)
                    problems.add(
                        altered.path,
                        f"was altered together with what belongs to it: {tile.path} says otherwise",
                        entry=first,
                    )

    def _right(self, level: int, index: int) -> bytes | None:
        """The bytes of a hash tile that lead to the signed root, or None when none do."""
        place = (level, index)
        if place not in self._known:
            self._known[place] = self._find_right(level, index)
        return self._known[place]

    def _find_right(self, level: int, index: int) -> bytes | None:
        width = min(width_at(level, self._size) - index * TILE_WIDTH, TILE_WIDTH)
        tile = Tile(level, index, width)
        if width < TILE_WIDTH:
            return self._edges[level] if self._edges is not None else self._undisputed(tile)
        above = self._right(level + 1, index // TILE_WIDTH)
        if above is None:
            return self._undisputed(tile)
        at = index % TILE_WIDTH * HASH_BYTES
        for candidate in self._candidates(tile):
            if fold(candidate) == above[at : at + HASH_BYTES]:
                return candidate
        return None

    def _candidates(self, tile: Tile) -> list[bytes]:
        """What a tile may have been: its file, and what the entries give for it."""
        found = self._files.read(tile)
        candidates = [found] if found is not None and len(found) == tile.width * HASH_BYTES else []
        if tile in self._rehashed.given:
            candidates.append(self._rehashed.given[tile])
        return candidates

    def _undisputed(self, tile: Tile) -> bytes | None:
        return None if tile in self._rehashed.given else self._files.read(tile)

    def _right_edges(self, root: bytes | None) -> list[bytes] | None:
        """For each level, the bytes of its partial tile that lead to the root together; None when no choice does."""
        if root is None:
            return None
        choices = []
        for level in range(LEVELS_MAXIMUM):
            index, width = divmod(width_at(level, self._size), TILE_WIDTH)
            choices.append(self._candidates(Tile(level, index, width)) if width else [b""])
        return next((list(edges) for edges in product(*choices) if root_of_edges(edges) == root), None)


def _compare_tile(problems: Problems, tile: Tile, found: bytes, right: bytes) -> None:
    offset = first_difference(found, right)
    if offset == len(right):
        problems.add(tile.path, "is longer than it should be", offset)
    elif offset == len(found):
        problems.add(tile.path, "is cut short", offset)
    else:
        differing = sum(a != b for a, b in zip(found, right, strict=False))
        first = f"the first is {_hex(found[offset])}, it was {_hex(right[offset])}"
        what = f"{_count(differing, 'byte')} of its hashes altered: {first}"
        problems.add(tile.path, what, offset)


def _compare_bundle(problems: Problems, bundle: Tile, data: bytes, right: bytes) -> None:
    """Names the entries whose hashes are not the right ones, and the byte when a single one was altered."""
    leaves, end = hash_bundle(data)
    first_entry = bundle.index * TILE_WIDTH
    altered = [
        n for n, leaf in enumerate(leaves[: bundle.width]) if leaf != right[n * HASH_BYTES : (n + 1) * HASH_BYTES]
    ]
    readable = len(leaves) == bundle.width and end == len(data)
    if not readable:
        _report_unreadable(problems, bundle, data, right, altered[0] if altered else min(len(leaves), bundle.width))
        return
    for place in altered[:_NAMED_ENTRIES]:
        start, stop = _bounds(data, place)
        repaired = _altered_byte(data[start:stop], right[place * HASH_BYTES : (place + 1) * HASH_BYTES])
        what = "the entry was altered"
        if repaired is not None:
            start += repaired[0]
            what = f"one byte of the entry was altered: it is {_hex(data[start])}, it was {_hex(repaired[1])}"
        problems.add(bundle.path, what, start, first_entry + place)
    if len(altered) > _NAMED_ENTRIES:
        next_place = altered[_NAMED_ENTRIES]
        more = f"{_count(len(altered) - _NAMED_ENTRIES, 'more entry', 'more entries')} altered, from this one on"
        problems.add(bundle.path, more, _bounds(data, next_place)[0], first_entry + next_place)


def _report_unreadable(problems: Problems, bundle: Tile, data: bytes, right: bytes, place: int) -> None:
    entry = bundle.index * TILE_WIDTH + place
    if place == bundle.width:
        problems.add(bundle.path, "has bytes behind its last entry", _bounds(data, place)[0] - 2)
        return
    prefix = _bounds(data, place)[0] - 2
    original = _altered_length(data[prefix:], right[place * HASH_BYTES : (place + 1) * HASH_BYTES])
    if original is not None:
        at = prefix + original[0]
        what = f"one byte of the entry's length was altered: it is {_hex(data[at])}, it was {_hex(original[1])}"
        problems.add(bundle.path, what, at, entry)
        return
    problems.add(
        bundle.path, "cannot be read as its entries from this one on: cut short, or a length was altered", prefix, entry
    )


def _bounds(data: bytes, place: int) -> tuple[int, int]:
    """Where the entry at this place of a bundle begins and ends, its length prefix not counted."""
    position = 0
    for _ in range(place):
        position += 2 + int.from_bytes(data[position : position + 2], "big")
    return position + 2, position + 2 + int.from_bytes(data[position : position + 2], "big")


def _altered_length(data: bytes, leaf: bytes) -> tuple[int, int] | None:
    """The one byte of a length prefix which, set back, gives its entry the right hash: its offset and its value."""
    for offset, mask in product(range(min(2, len(data))), _MASKS):
        prefix = bytearray(data[:2])
        prefix[offset] ^= mask
        stop = 2 + int.from_bytes(prefix, "big")
        if stop <= len(data) and sha256(b"\x00" + data[2:stop]).digest() == leaf:
            return offset, prefix[offset]
    return None


def _altered_byte(entry: bytes, leaf: bytes) -> tuple[int, int] | None:
    """The one byte which, set back, gives the entry its right hash again: its offset and its value."""
    if len(entry) > _REPAIR_BYTES_MAXIMUM:
        return None
    for masks in (_MASKS[:8], _MASKS[8:]):
        for offset in range(len(entry)):
            before, after = sha256(b"\x00" + entry[:offset]), entry[offset + 1 :]
            for mask in masks:
                attempt = before.copy()
                attempt.update(bytes([entry[offset] ^ mask]) + after)
                if attempt.digest() == leaf:
                    return offset, entry[offset] ^ mask
    return None


def first_difference(found: bytes, right: bytes) -> int:
    """The offset of the first byte that differs, or the shorter length."""
    return next((n for n, (a, b) in enumerate(zip(found, right, strict=False)) if a != b), min(len(found), len(right)))


def _hex(byte: int) -> str:
    return f"0x{byte:02x}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one} was" if number == 1 else f"{number} {many or one + 's'} were"
