"""The hash tree of RFC 6962 section 2.1: appending, roots and proofs, checked as RFC 9162 says (2.1.3.2, 2.1.4.2)."""

from collections.abc import Callable, Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()

# The hash of the complete subtree at (level, index): it covers the 2**level leaves from index * 2**level on.
Node = Callable[[int, int], bytes]


class ProofRefused(ValueError):
    """The proof does not show what it was given for. Ask for one for these very sizes, or treat the log as altered."""


def leaf_hash(entry: bytes) -> bytes:
    """RFC 6962: SHA-256(0x00 || entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def fold(hashes: bytes) -> bytes:
    """The root of a complete subtree from its 1, 2, 4, 8… hashes, given one behind the other."""
    while len(hashes) > HASH_BYTES:
        hashes = b"".join([sha256(b"\x01" + hashes[at : at + 64]).digest() for at in range(0, len(hashes), 64)])
    return hashes


def root_of_edges(edges: Sequence[bytes]) -> bytes:
    """The root from the right edge: the hashes in the unfilled tile of each tile level, lowest level first."""
    root: bytes | None = None
    for edge in edges:
        count = len(edge) // HASH_BYTES
        while count:
            width = count & -count
            subtree = fold(edge[(count - width) * HASH_BYTES : count * HASH_BYTES])
            root = subtree if root is None else node_hash(subtree, root)
            count -= width
    return EMPTY_ROOT if root is None else root


class CompactRange:
    """The least that appending to a tree needs: a hash for each set bit of its size, the largest subtree's first."""

    def __init__(self, size: int = 0, nodes: Sequence[bytes] = ()) -> None:
        """An empty tree, or one restored. Raises ValueError when size and nodes do not belong together."""
        if size < 0 or len(nodes) != size.bit_count():
            raise ValueError("a compact range holds one hash for each set bit of its size")
        self.size = size
        self.nodes = list(nodes)

    @classmethod
    def of(cls, size: int, node: Node) -> "CompactRange":
        """The range of a stored tree of this size."""
        return cls(size, [node(level, index) for level, index in _complete_subtrees(0, size)])

    def append(self, leaf: bytes) -> None:
        """Adds a leaf hash."""
        size, hashed = self.size, leaf
        while size & 1:
            hashed = node_hash(self.nodes.pop(), hashed)
            size >>= 1
        self.nodes.append(hashed)
        self.size += 1

    def root(self) -> bytes:
        """The tree's root; SHA-256 of nothing for the empty tree."""
        if not self.nodes:
            return EMPTY_ROOT
        root = self.nodes[-1]
        for node in reversed(self.nodes[:-1]):
            root = node_hash(node, root)
        return root


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """The audit path for a leaf in a tree of this size (RFC 9162 2.1.3.1). Raises ValueError for an index outside."""
    if not 0 <= index < size:
        raise ValueError("the index is not in a tree of this size")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_hash_of(middle, end, node))
            end = middle
        else:
            proof.append(_hash_of(start, middle, node))
            start = middle
    return proof[::-1]


def consistency_proof(old_size: int, new_size: int, node: Node) -> list[bytes]:
    """The proof that a tree begins with an older one (RFC 9162 2.1.4.1). Raises ValueError unless 0 < old <= new."""
    if not 0 < old_size <= new_size:
        raise ValueError("the older tree has at least one leaf and is no larger than the newer one")
    proof: list[bytes] = []
    start, end = 0, new_size
    while end != old_size:
        middle = start + _split(end - start)
        if old_size <= middle:
            proof.append(_hash_of(middle, end, node))
            end = middle
        else:
            proof.append(_hash_of(start, middle, node))
            start = middle
    if start:  # the old tree is not itself a node of the new one: its last part goes first
        proof.append(_hash_of(start, end, node))
    return proof[::-1]


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Raises ProofRefused unless the leaf hash stands at this index of the tree (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size:
        raise ProofRefused("the index is not in a tree of this size")
    _require_hashes([leaf, root, *proof])
    place, last, hashed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofRefused("the proof is too long")
        if place & 1 or place == last:
            hashed = node_hash(sibling, hashed)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            hashed = node_hash(hashed, sibling)
        place, last = place >> 1, last >> 1
    if last != 0:
        raise ProofRefused("the proof is too short")
    if hashed != root:
        raise ProofRefused("the proof does not lead to the root")


def verify_consistency(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Raises ProofRefused unless the newer tree begins with the older one (RFC 9162 2.1.4.2).

    An older tree without leaves is refused: every tree begins with it, so such a proof shows nothing.
    """
    if not 0 < old_size <= new_size:
        raise ProofRefused("the older tree has at least one leaf and is no larger than the newer one")
    if old_size == new_size:
        if proof or old_root != new_root:
            raise ProofRefused("one size has one root and needs no proof")
        return
    _require_hashes([old_root, new_root, *proof])
    if not proof:
        raise ProofRefused("the proof is too short")
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    place, last = old_size - 1, new_size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofRefused("the proof is too long")
        if place & 1 or place == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        place, last = place >> 1, last >> 1
    if last != 0:
        raise ProofRefused("the proof is too short")
    if old != old_root or new != new_root:
        raise ProofRefused("the proof does not lead to both roots")


def _require_hashes(hashes: Sequence[bytes]) -> None:
    if any(len(hashed) != HASH_BYTES for hashed in hashes):
        raise ProofRefused("every hash has 32 bytes")


def _split(leaves: int) -> int:
    """The largest power of two below the number of leaves: where RFC 6962 divides a tree."""
    return 1 << (leaves - 1).bit_length() - 1


def _hash_of(start: int, end: int, node: Node) -> bytes:
    hashes = [node(level, index) for level, index in _complete_subtrees(start, end)]
    root = hashes.pop()
    while hashes:
        root = node_hash(hashes.pop(), root)
    return root


def _complete_subtrees(start: int, end: int) -> list[tuple[int, int]]:
    """The complete subtrees, largest first, that make up a subtree of RFC 6962's recursion."""
    subtrees = []
    while start < end:
        level = (end - start).bit_length() - 1
        subtrees.append((level, start >> level))
        start += 1 << level
    return subtrees
