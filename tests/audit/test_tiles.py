"""The writer and the reader of a log directory."""

import os
from pathlib import Path

import pytest

from audit.files import DiskFiles
from audit.layout import right_edge
from audit.note import Checkpoint, KeyRefused, Signer, Verifier
from audit.tiles import AppendInterrupted, LogDamaged, TileLog, TileReader
from audit.tree import EMPTY_ROOT, CompactRange, leaf_hash, verify_consistency, verify_inclusion
from audit.verify import verify_log
from tests.audit.logs import ORIGIN, QuickFiles, new_signer, short_entries, write_log


def root_of(entries: list[bytes]) -> bytes:
    tree = CompactRange()
    for entry in entries:
        tree.append(leaf_hash(entry))
    return tree.root()


def files_of(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


def test_a_new_log_is_empty_signed_and_publishes_its_key(log_directory: Path, signer: Signer) -> None:
    log = TileLog(log_directory, signer)
    assert (log.size, log.root) == (0, EMPTY_ROOT)
    assert files_of(log_directory) == {"checkpoint", "log.vkey"}
    assert TileReader.open(log_directory).checkpoint == Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert verify_log(log_directory, at="now").ok


def test_files_of_a_log_lie_where_the_specification_says(log_directory: Path, signer: Signer) -> None:
    write_log(log_directory, signer, short_entries(257), 100)
    assert files_of(log_directory) == {
        "checkpoint",
        "log.vkey",
        "tile/entries/000",
        "tile/entries/001.p/1",
        "tile/0/000",
        "tile/0/001.p/1",
        "tile/1/000.p/1",
    }
    assert (log_directory / "tile/entries/001.p/1").read_bytes() == b"\x00\x0eentry 256 ...."


def test_partial_tiles_stay_until_their_full_tile_is_published(log_directory: Path, signer: Signer) -> None:
    log = write_log(log_directory, signer, short_entries(250), 50)
    assert {f"tile/0/000.p/{width}" for width in (50, 100, 150, 200, 250)} < files_of(log_directory)
    log.append(short_entries(6, 250))
    assert not any(".p/" in path for path in files_of(log_directory) if not path.startswith("tile/1/"))


@pytest.mark.parametrize("group", [1, 7, 255, 256, 257, 520])
def test_the_root_and_the_files_do_not_depend_on_the_grouping(log_directory: Path, signer: Signer, group: int) -> None:
    size = 260 if group == 1 else 520
    entries = short_entries(size)
    log = write_log(log_directory, signer, entries, group)
    assert log.checkpoint == Checkpoint(ORIGIN, size, root_of(entries))
    assert list(log.entries(0, size)) == entries
    assert [log.entry(n) for n in (0, 255, 256, size - 1)] == [entries[n] for n in (0, 255, 256, size - 1)]
    again = TileLog(log_directory, signer)
    assert again.checkpoint == log.checkpoint


def test_a_log_can_be_closed_and_opened_at_every_size(log_directory: Path, signer: Signer) -> None:
    entries = short_entries(260)
    for size, entry in enumerate(entries):
        log = TileLog(log_directory, signer, QuickFiles())
        assert log.size == size
        log.append([entry])
        assert log.root == root_of(entries[: size + 1])


def test_proofs_from_tiles_verify_at_past_and_present_sizes(log_directory: Path, signer: Signer) -> None:
    entries = short_entries(700)
    log = write_log(log_directory, signer, entries, 90)
    for size in (1, 90, 255, 256, 257, 513, 699, 700):
        root = root_of(entries[:size])
        for index in {0, size // 2, size - 1}:
            verify_inclusion(index, size, leaf_hash(entries[index]), log.inclusion_proof(index, size), root)
        verify_consistency(size, 700, log.consistency_proof(size, 700), root, log.root)
    with pytest.raises(ValueError, match="not signed"):
        log.inclusion_proof(0, 701)
    with pytest.raises(ValueError, match="not signed"):
        log.consistency_proof(1, 701)
    for start, end in [(-1, 0), (2, 1), (0, 701)]:
        with pytest.raises(IndexError):
            next(log.entries(start, end))
    with pytest.raises(IndexError):
        log.entry(700)


def test_a_reader_follows_a_tile_that_was_filled_after_the_checkpoint_it_read(
    log_directory: Path, signer: Signer
) -> None:
    entries = short_entries(256)
    log = write_log(log_directory, signer, entries[:200], 200)
    reader = TileReader.open(log_directory)
    log.append(entries[200:])
    assert not (log_directory / "tile/0/000.p/200").exists()
    assert list(reader.entries(0, 200)) == entries[:200]
    verify_inclusion(7, 200, leaf_hash(entries[7]), reader.inclusion_proof(7, 200), root_of(entries[:200]))


def test_an_entry_too_long_is_refused_before_anything_is_written(log_directory: Path, signer: Signer) -> None:
    log = write_log(log_directory, signer, short_entries(3), 3)
    before = files_of(log_directory)
    with pytest.raises(ValueError, match="65,535"):
        log.append([b"fine", bytes(65_536)])
    assert files_of(log_directory) == before
    assert log.append([bytes(65_535)]).size == 4
    assert log.append([]).size == 4


def test_a_key_of_another_log_is_refused(log_directory: Path, signer: Signer, tmp_path: Path) -> None:
    write_log(log_directory, signer, short_entries(3), 3)
    with pytest.raises(KeyRefused, match="another key"):
        TileLog(log_directory, new_signer(tmp_path))


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("checkpoint", "checkpoint"),
        ("log.vkey", "log.vkey"),
        ("tile/entries/001.p/44", "tile/entries/001.p/44"),
        ("tile/0/001.p/44", "tile/0/001.p/44"),
        ("tile/1/000.p/1", "tile/1/000.p/1"),
    ],
)
def test_a_log_with_a_part_of_its_end_missing_or_altered_does_not_open(
    log_directory: Path, signer: Signer, path: str, what: str
) -> None:
    write_log(log_directory, signer, short_entries(300), 300)
    original = (log_directory / path).read_bytes()
    (log_directory / path).write_bytes(original[:-3] + bytes([original[-3] ^ 1]) + original[-2:])
    with pytest.raises((LogDamaged, KeyRefused)):
        TileLog(log_directory, signer)
    (log_directory / path).unlink()
    with pytest.raises(LogDamaged, match=what):
        TileLog(log_directory, signer)
    (log_directory / path).write_bytes(original)
    assert TileLog(log_directory, signer).size == 300


def test_other_entries_than_an_interrupted_append_left_are_refused(log_directory: Path, signer: Signer) -> None:
    """Whoever saw the checkpoint of the lost append must never see another root for its size."""
    log = write_log(log_directory, signer, short_entries(5), 5)
    kept = (log_directory / "checkpoint").read_bytes()
    log.append(short_entries(300, 5))
    seen = log.checkpoint
    (log_directory / "checkpoint").write_bytes(kept)  # as after a power cut before its name was durable
    other = [*short_entries(2, 5), b"another history"]
    for group in (other, [*other, *short_entries(400, 8)], [b"x"]):
        with pytest.raises(LogDamaged, match="other entries"):
            TileLog(log_directory, signer, QuickFiles()).append(group)
    log = TileLog(log_directory, signer, QuickFiles())
    assert log.size == 5
    log.append(short_entries(9, 5))
    log.append(short_entries(291, 14))
    assert log.checkpoint == seen
    assert verify_log(log_directory, at="now").ok


def test_without_that_refusal_one_size_would_have_two_roots(log_directory: Path, signer: Signer) -> None:
    class Forgetful(TileLog):
        def _refuse_change(self, *_: object) -> None:
            return None

    log = write_log(log_directory, signer, short_entries(5), 5)
    kept = (log_directory / "checkpoint").read_bytes()
    seen = log.append(short_entries(2, 5))
    (log_directory / "checkpoint").write_bytes(kept)
    forked = Forgetful(log_directory, signer).append([b"another", b"history"])
    assert forked.size == seen.size
    assert forked.root != seen.root


class FullDisk(QuickFiles):
    """Fails at the n-th write, once."""

    def __init__(self, fail_at: int) -> None:
        self._left = fail_at

    def write_synced(self, path: Path, data: bytes) -> None:
        self._left -= 1
        if self._left == 0:
            raise OSError(28, "No space left on device")
        super().write_synced(path, data)


def append_until_full(log: TileLog, entries: list[bytes]) -> int:
    taken = 0
    try:
        for start in range(0, len(entries), 100):
            taken = log.append(entries[start : start + 100]).size
    except OSError:
        return taken
    pytest.fail("the disk never filled")


@pytest.mark.parametrize("fail_at", range(3, 13))
def test_after_a_failed_append_the_size_says_what_was_taken(log_directory: Path, signer: Signer, fail_at: int) -> None:
    entries = short_entries(300)
    log = TileLog(log_directory, signer, FullDisk(fail_at))
    taken = append_until_full(log, entries)
    with pytest.raises(AppendInterrupted):
        log.append(entries[taken:])
    assert log.size == taken
    log.append(entries[taken:])
    assert log.root == root_of(entries)
    assert verify_log(log_directory, at="now").ok


def test_a_checkpoint_that_went_back_under_a_running_writer_is_refused(log_directory: Path, signer: Signer) -> None:
    log = TileLog(log_directory, signer, FullDisk(10))
    log.append(short_entries(3))
    older = (log_directory / "checkpoint").read_bytes()
    log.append(short_entries(3, 3))
    with pytest.raises(OSError, match="No space"):
        log.append(short_entries(3, 6))
    (log_directory / "checkpoint").write_bytes(older)
    with pytest.raises(LogDamaged, match="older"):
        _ = log.size


def test_written_files_are_synced_before_they_get_their_name(log_directory: Path, signer: Signer) -> None:
    class Recorder(QuickFiles):
        def __init__(self) -> None:
            self.steps: list[str] = []

        def write_synced(self, path: Path, data: bytes) -> None:
            self.steps.append("write")
            super().write_synced(path, data)

        def rename(self, source: Path, target: Path) -> None:
            self.steps.append("publish" if target.name == "checkpoint" else "name")
            super().rename(source, target)

        def sync_directory(self, path: Path) -> None:
            self.steps.append("sync")
            super().sync_directory(path)

    files = Recorder()
    log = TileLog(log_directory, signer, files)
    log.append(short_entries(2))
    files.steps.clear()
    log.append(short_entries(2, 2))
    assert files.steps == ["write", "write", "name", "name", "sync", "sync", "write", "publish", "sync"]


def test_real_files_can_be_written_read_and_removed(tmp_path: Path) -> None:
    files = DiskFiles()
    files.make_directory(tmp_path / "d")
    files.make_directory(tmp_path / "d")
    files.write_synced(tmp_path / "d" / "a", b"one")
    files.rename(tmp_path / "d" / "a", tmp_path / "d" / "b")
    files.sync_directory(tmp_path / "d")
    assert files.names(tmp_path / "d") == ["b"]
    assert files.read(tmp_path / "d" / "b") == b"one"
    assert files.read(tmp_path / "d" / "a") is None
    assert files.read(tmp_path / "d" / "b" / "c") is None
    assert files.names(tmp_path / "nowhere") == []
    files.remove(tmp_path / "d" / "b")
    files.remove_directory(tmp_path / "d")
    assert os.listdir(tmp_path) == []


def test_the_end_of_a_big_log_is_read_from_all_its_levels(log_directory: Path, signer: Signer) -> None:
    entries = [number.to_bytes(4, "big") for number in range(65_537)]
    tree = CompactRange()
    log = TileLog(log_directory, signer, QuickFiles())
    done = 0
    for size in (65_535, 65_536, 65_537):
        log.append(entries[done:size])
        for entry in entries[done:size]:
            tree.append(leaf_hash(entry))
        done = size
        assert log.root == tree.root()
        again = TileLog(log_directory, signer)
        assert again.checkpoint == log.checkpoint
        assert all((log_directory / tile.path).exists() for tile in right_edge(size))
        verify_inclusion(300, size, leaf_hash(entries[300]), again.inclusion_proof(300, size), tree.root())
        assert verify_log(log_directory, at="now").ok
    note = (log_directory / "checkpoint").read_bytes()
    assert Verifier(signer.vkey).open(note).size == 65_537
