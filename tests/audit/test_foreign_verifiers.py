"""Verifiers that were written elsewhere read our logs, and agree about an altered one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import metamorphic_log
import pytest
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey
from tlog_scales.tlog import Checkpoint, ConsistencyProofInvalid, InclusionProof, InclusionProofInvalid

from audit.note import Signer
from audit.tiles import TileLog
from audit.tree import leaf_hash
from tests.audit.logs import QuickFiles, event_entries, short_entries, write_log

RECIPE = Path("docs/audit-log.md")
SIZES = [1, 2, 255, 256, 257, 1000]


@pytest.mark.parametrize("size", SIZES)
def test_metamorphic_log_accepts_checkpoint_and_inclusion(log_directory: Path, signer: Signer, size: int) -> None:
    entries = event_entries(size)
    log = write_log(log_directory, signer, entries, 300)
    note = (log_directory / "checkpoint").read_text(encoding="utf-8")
    head = metamorphic_log.checkpoint_verify(note, [signer.vkey])
    assert (head.origin, head.size, head.root) == (signer.origin, size, log.root)
    for index in {0, size // 2, size - 1}:
        proof = log.inclusion_proof(index, size)
        leaf = leaf_hash(entries[index])
        metamorphic_log.checkpoint_verify_inclusion(note, [signer.vkey], index, leaf, proof)
        altered = leaf_hash(entries[index] + b" ")
        with pytest.raises(metamorphic_log.VerifyError):
            metamorphic_log.checkpoint_verify_inclusion(note, [signer.vkey], index, altered, proof)


def test_metamorphic_log_refuses_an_altered_checkpoint(log_directory: Path, signer: Signer) -> None:
    write_log(log_directory, signer, short_entries(11), 11)
    note = (log_directory / "checkpoint").read_text(encoding="utf-8")
    with pytest.raises(metamorphic_log.VerifyError):
        metamorphic_log.checkpoint_verify(note.replace("\n11\n", "\n12\n"), [signer.vkey])


def test_metamorphic_log_and_tlog_scales_accept_growth_and_refuse_a_fork(tmp_path: Path, signer: Signer) -> None:
    log = TileLog(tmp_path / "log", signer, QuickFiles())
    notes, sizes = [], []
    for size in (100, 256, 300, 777):
        log.append(short_entries(size - log.size, log.size))
        notes.append((tmp_path / "log/checkpoint").read_text(encoding="utf-8"))
        sizes.append(size)
    reader = TilesReader(LocalBackend(tmp_path / "log"))
    newest = reader.get_checkpoint()
    for note, size in zip(notes[:-1], sizes[:-1], strict=True):
        proof = log.consistency_proof(size, 777)
        metamorphic_log.checkpoint_verify_consistency(note, notes[-1], [signer.vkey], proof)
        theirs = reader.get_consistency_proof(size, 777)
        theirs.check(Checkpoint.from_text(note).root_hash, newest.root_hash)
        assert theirs.node_hashes == proof
    fork = write_log(tmp_path / "fork", signer, [b"rewritten", *short_entries(776, 1)], 777)
    forked = (tmp_path / "fork/checkpoint").read_text(encoding="utf-8")
    with pytest.raises(metamorphic_log.VerifyError):
        metamorphic_log.checkpoint_verify_consistency(notes[0], forked, [signer.vkey], fork.consistency_proof(100, 777))
    with pytest.raises(ConsistencyProofInvalid):
        reader.get_consistency_proof(100, 777).check(Checkpoint.from_text(notes[0]).root_hash, fork.root)


@pytest.mark.parametrize("size", SIZES)
def test_tlog_scales_reads_the_directory_and_agrees(log_directory: Path, signer: Signer, size: int) -> None:
    entries = event_entries(size)
    log = write_log(log_directory, signer, entries, 300)
    reader = TilesReader(LocalBackend(log_directory))
    checkpoint = reader.get_checkpoint()
    checkpoint.verify(Vkey.from_string(signer.vkey))
    assert reader.calculate_root_hash() == log.root
    for index in {0, size // 2, size - 1}:
        assert reader.get_entry(index) == entries[index]
        proof = reader.get_inclusion_proof(index, size)
        assert proof.node_hashes == log.inclusion_proof(index, size)
        proof.check(leaf_hash(entries[index]), checkpoint.root_hash)
        with pytest.raises(InclusionProofInvalid):
            InclusionProof(index, size, proof.node_hashes).check(leaf_hash(b"altered"), checkpoint.root_hash)


def test_tlog_scales_agrees_on_a_log_of_three_levels(log_directory: Path, signer: Signer) -> None:
    entries = [number.to_bytes(3, "big") for number in range(65_537)]
    log = write_log(log_directory, signer, entries, 65_537)
    reader = TilesReader(LocalBackend(log_directory))
    checkpoint = reader.get_checkpoint()
    assert reader.calculate_root_hash() == log.root
    for index in (0, 300, 65_535, 65_536):
        proof = reader.get_inclusion_proof(index, checkpoint.size)
        proof.check(leaf_hash(entries[index]), log.root)
        assert proof.node_hashes == log.inclusion_proof(index, checkpoint.size)


def test_the_recipe_in_the_documentation_works_as_it_stands(
    log_directory: Path, signer: Signer, tmp_path: Path
) -> None:
    """The indented lines between its heading and its last paragraph, run by a shell in a log's directory."""
    missing = [tool for tool in ("bash", "openssl", "xxd", "base64") if shutil.which(tool) is None]
    if missing or not RECIPE.exists():
        pytest.skip(f"not here: {missing or RECIPE}")
    write_log(log_directory, signer, event_entries(300), 300)
    text = RECIPE.read_text(encoding="utf-8").partition("With tools that we did not write")[2]
    script = "\n".join(line.removeprefix("    ") for line in text.splitlines() if line.startswith("    ") or not line)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TMPDIR": str(tmp_path),
        "LC_ALL": "C.UTF-8",
    }
    for name, content, expected in [("as it is", None, True), ("altered", b"\n301\n", False)]:
        if content is not None:
            path = log_directory / "checkpoint"
            path.write_bytes(path.read_bytes().replace(b"\n300\n", content))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=log_directory,
            env=environment,
            capture_output=True,
            check=False,
        )
        assert (done.returncode == 0) is expected, (name, done.stderr)
    assert b"Signature Verified Successfully" not in done.stdout
