"""The hash tree against RFC 6962's known answers, against its definition, and against altered proofs."""

import json
import os
from base64 import b64decode
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.tree import (
    EMPTY_ROOT,
    CompactRange,
    ProofRefused,
    consistency_proof,
    fold,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of_edges,
    verify_consistency,
    verify_inclusion,
)

SIZES = 300
# The eight leaves that certificate transparency implementations test with, and the roots they give.
CT_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


class Definition:
    """RFC 6962 2.1 word for word over a list of leaves: slow, and obviously right."""

    def __init__(self, leaves: list[bytes]) -> None:
        self._leaves = leaves
        self._known: dict[tuple[int, int], bytes] = {}

    def root(self, start: int, end: int) -> bytes:
        if start == end:
            return sha256(b"").digest()
        if end - start == 1:
            return self._leaves[start]
        if (start, end) not in self._known:
            middle = start + max(1 << n for n in range(12) if 1 << n < end - start)
            self._known[start, end] = node_hash(self.root(start, middle), self.root(middle, end))
        return self._known[start, end]

    def node(self, level: int, index: int) -> bytes:
        return self.root(index << level, (index + 1) << level)


@pytest.fixture(scope="module")
def tree() -> Definition:
    return Definition([leaf_hash(str(number).encode()) for number in range(SIZES)])


def flipped(hashed: bytes) -> bytes:
    return bytes([hashed[0] ^ 1]) + hashed[1:]


def test_the_roots_are_those_of_rfc_6962() -> None:
    tree = CompactRange()
    assert tree.root() == EMPTY_ROOT
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for leaf, root in zip(CT_LEAVES, CT_ROOTS, strict=True):
        tree.append(leaf_hash(bytes.fromhex(leaf)))
        assert tree.root().hex() == root


def test_appending_gives_the_defined_root_at_every_size(tree: Definition) -> None:
    compact = CompactRange()
    for size in range(SIZES):
        assert compact.root() == tree.root(0, size)
        assert CompactRange.of(size, tree.node).nodes == compact.nodes
        compact.append(tree.root(size, size + 1))


def test_a_compact_range_that_does_not_fit_its_size_is_refused() -> None:
    with pytest.raises(ValueError, match="set bit"):
        CompactRange(3, [EMPTY_ROOT])


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 65_535, 65_536, 65_537])
def test_the_root_of_the_right_edge_is_the_root_of_the_tree(size: int) -> None:
    compact = CompactRange()
    edges = [b"", b"", b""]
    for number in range(size):
        leaf = leaf_hash(number.to_bytes(4, "big"))
        compact.append(leaf)
        edges[0] += leaf
        for level, above in pairwise(range(3)):
            if len(edges[level]) == 256 * 32:
                edges[above] += fold(edges[level])
                edges[level] = b""
    assert root_of_edges(edges) == compact.root()


def test_every_inclusion_proof_of_every_small_tree_verifies(tree: Definition) -> None:
    for size in range(1, SIZES + 1):
        root = tree.root(0, size)
        for index in range(size):
            leaf = tree.root(index, index + 1)
            verify_inclusion(index, size, leaf, inclusion_proof(index, size, tree.node), root)


def test_every_consistency_proof_of_every_small_tree_verifies(tree: Definition) -> None:
    for size in range(1, SIZES + 1):
        root = tree.root(0, size)
        for old in range(1, size + 1):
            verify_consistency(old, size, consistency_proof(old, size, tree.node), tree.root(0, old), root)


@given(st.integers(1, SIZES), st.data())
def test_an_altered_inclusion_proof_is_refused(tree: Definition, size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaf, root = tree.root(index, index + 1), tree.root(0, size)
    proof = inclusion_proof(index, size, tree.node)
    altered = [(index, size, flipped(leaf), proof, root), (index, size, leaf, proof, flipped(root))]
    altered += [(size, size, leaf, proof, root), (-1, size, leaf, proof, root), (index, 0, leaf, proof, root)]
    altered += [(index, size, leaf, [*proof, root], root), (index, size, leaf, [root, *proof], root)]
    altered += [(index, size, b"", proof, root), (index, size, leaf, proof, b"")]
    if size > 1:
        at = data.draw(st.integers(0, len(proof) - 1))
        altered += [(index, size, leaf, proof[:-1], root), (index, size, leaf, proof[1:], root)]
        altered += [(index, size, leaf, [*proof[:at], flipped(proof[at]), *proof[at + 1 :]], root)]
        altered += [((index + 1) % size, size, leaf, proof, root)]
    for attempt in altered:
        with pytest.raises(ProofRefused):
            verify_inclusion(*attempt)


@given(st.integers(1, SIZES), st.data())
def test_an_altered_consistency_proof_is_refused(tree: Definition, size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    old_root, root = tree.root(0, old), tree.root(0, size)
    proof = consistency_proof(old, size, tree.node)
    altered = [(old, size, proof, flipped(old_root), root), (old, size, proof, old_root, flipped(root))]
    altered += [(old, size, [*proof, root], old_root, root), (old, size, [root, *proof], old_root, root)]
    altered += [(0, size, [], EMPTY_ROOT, root), (size + 1, size, proof, old_root, root)]
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        altered += [(old, size, proof[:-1], old_root, root), (old, size, proof[1:], old_root, root)]
        altered += [(old, size, [*proof[:at], flipped(proof[at]), *proof[at + 1 :]], old_root, root)]
        altered += [(old, size, proof, root, old_root), (old, size, [], old_root, root)]
    for attempt in altered:
        with pytest.raises(ProofRefused):
            verify_consistency(*attempt)


def test_a_tree_of_one_size_has_one_root(tree: Definition) -> None:
    verify_consistency(7, 7, [], tree.root(0, 7), tree.root(0, 7))
    with pytest.raises(ProofRefused):
        verify_consistency(7, 7, [], tree.root(0, 7), tree.root(0, 6))


def test_proofs_that_cannot_be_are_not_made(tree: Definition) -> None:
    for index, size in [(0, 0), (3, 3), (-1, 3)]:
        with pytest.raises(ValueError, match="index"):
            inclusion_proof(index, size, tree.node)
    for old, new in [(0, 3), (4, 3)]:
        with pytest.raises(ValueError, match="older tree"):
            consistency_proof(old, new, tree.node)


MERKLE_TESTDATA = os.environ.get("CORDON_MERKLE_TESTDATA", "")  # the testdata directory of transparency-dev/merkle


def decides(path: Path) -> bool:
    """Whether we decide a vector as it asks."""
    vector = json.loads(path.read_text(encoding="utf-8"))
    proof = [b64decode(hashed) for hashed in vector["proof"] or []]
    try:
        if "leafIdx" in vector:
            leaf, root = b64decode(vector["leafHash"]), b64decode(vector["root"])
            verify_inclusion(vector["leafIdx"], vector["treeSize"], leaf, proof, root)
        else:
            roots = b64decode(vector["root1"]), b64decode(vector["root2"])
            verify_consistency(vector["size1"], vector["size2"], proof, *roots)
    except ProofRefused:
        return bool(vector["wantErr"])
    return not vector["wantErr"]


if MERKLE_TESTDATA:  # not a skip: the vectors are another project's and are fetched, not kept

    @pytest.mark.parametrize("kind", ["inclusion", "consistency"])
    def test_the_public_test_vectors_are_all_decided_as_they_ask(kind: str) -> None:
        vectors = sorted(Path(MERKLE_TESTDATA, kind).rglob("*.json"))
        assert len(vectors) == 98
        assert [path.name for path in vectors if not decides(path)] == []
