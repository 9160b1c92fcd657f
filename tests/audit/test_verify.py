"""Whatever is altered in a log directory, the report fails and names the file; where it can be told, the byte and the entry."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.judge import PROBLEMS_MAXIMUM
from audit.layout import ENTRIES, Tile, pack, tile_of_path, unpack
from audit.note import Checkpoint, Signer
from audit.rehash import SUSPECTS_MAXIMUM, read_regular
from audit.tiles import TileLog
from audit.tree import CompactRange, fold, leaf_hash
from audit.verify import NothingToVerify, Report, find_logs, locate, verify_data_dir, verify_log
from tests.audit.logs import ORIGIN, QuickFiles, event_entries, new_signer, short_entries, write_log

AT = "2026-11-22T09:30:00Z"


def verify(directory: Path, kept: bytes | None = None) -> Report:
    return verify_log(directory, at=AT, kept=kept)


def files_of(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


def named(report: Report) -> set[str]:
    return {problem.file for problem in report.problems}


@contextmanager
def altered(path: Path, content: bytes | None) -> Iterator[None]:
    """The file with other content, or gone; as it was afterwards."""
    original = path.read_bytes()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(original)


def with_bit_flipped(data: bytes, offset: int, bit: int) -> bytes:
    return data[:offset] + bytes([data[offset] ^ (1 << bit)]) + data[offset + 1 :]


@pytest.fixture(scope="module")
def small_log(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Path:
    directory = tmp_path_factory.mktemp("small") / "log"
    write_log(directory, signer, [b"the first entry", b"another", b"x"], 2)
    return directory


@pytest.fixture(scope="module")
def wide_log(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Path:
    """Three full bundles, an unfilled one, and partial tiles of earlier sizes."""
    directory = tmp_path_factory.mktemp("wide") / "log"
    write_log(directory, signer, event_entries(830), 31)
    assert {tile.width for path in files_of(directory) if (tile := tile_of_path(path))} > {7, 38, 62, 256}
    return directory


@pytest.fixture(scope="module")
def deep_log(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Path:
    """A log with a full tile at level 1 and an unfilled one at every level up to 2."""
    directory = tmp_path_factory.mktemp("deep") / "log"
    write_log(directory, signer, [number.to_bytes(3, "big") for number in range(66_000)], 33_000)
    return directory


def test_a_whole_log_verifies_and_the_report_says_what_was_covered(wide_log: Path) -> None:
    report = verify(wide_log)
    assert report.ok
    entries = event_entries(830)
    assert (report.entries, report.size, report.entry_bytes) == (830, 830, sum(map(len, entries)))
    assert report.tiles == 4 + 4 + 1
    assert (report.verified_at, report.origin, report.log) == (AT, ORIGIN, "log")
    assert report.first_entry_at == "2025-11-22T08:26:40.000Z"
    assert report.last_entry_at == "2025-11-22T08:26:40.829Z"
    assert report.as_mapping()["ok"] is True


def test_any_flipped_bit_of_any_file_of_a_small_log_is_named_and_nothing_else_is(small_log: Path) -> None:
    for name in files_of(small_log):
        original = (small_log / name).read_bytes()
        for offset in range(len(original)):
            for bit in range(8):
                with altered(small_log / name, with_bit_flipped(original, offset, bit)):
                    report = verify(small_log)
                assert not report.ok, (name, offset, bit)
                assert named(report) == {name}, (name, offset, bit, report.problems)
    assert verify(small_log).ok


def check_flip(directory: Path, name: str, offset: int, bit: int) -> None:
    original = (directory / name).read_bytes()
    with altered(directory / name, with_bit_flipped(original, offset, bit)):
        report = verify(directory)
    assert named(report) == {name}, report.problems
    if (tile := tile_of_path(name)) is None:
        return
    (problem,) = report.problems
    if tile.level != ENTRIES:
        assert problem.offset == offset
        return
    entries, position = unpack(original), 0
    for place, entry in enumerate(entries):
        if offset < position + 2 + len(entry):
            assert problem.entry == tile.index * 256 + place
            assert problem.offset in ({offset, position} if offset < position + 2 else {offset})
            break
        position += 2 + len(entry)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_flipped_bit_of_any_file_is_named_with_its_byte_and_entry(wide_log: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(files_of(wide_log)))
    offset = data.draw(st.integers(0, (wide_log / name).stat().st_size - 1))
    check_flip(wide_log, name, offset, data.draw(st.integers(0, 7)))


@pytest.mark.parametrize(
    "name",
    [
        "tile/entries/000",
        "tile/entries/257.p/208",
        "tile/0/100",
        "tile/0/257.p/208",
        "tile/1/000",
        "tile/1/001.p/1",
        "tile/2/000.p/1",
    ],
)
def test_a_flipped_bit_is_named_at_every_level_of_a_deep_log(deep_log: Path, name: str) -> None:
    check_flip(deep_log, name, (deep_log / name).stat().st_size // 2, 3)


def test_a_verifier_that_trusted_the_tiles_would_see_nothing(wide_log: Path, signer: Signer) -> None:
    """Why every entry is re-hashed: opening the log for writing reads its end alone, and is content."""
    path = wide_log / "tile/entries/000"
    with altered(path, with_bit_flipped(path.read_bytes(), 50, 0)):
        assert TileLog(wide_log, signer, QuickFiles()).size == 830
        assert named(verify(wide_log)) == {"tile/entries/000"}


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_a_replaced_byte_is_told_with_its_former_value(wide_log: Path, data: st.DataObject) -> None:
    path = wide_log / "tile/entries/001"
    original = path.read_bytes()
    offset = data.draw(st.integers(2, len(event_entries(1)[0]) + 1))
    value = data.draw(st.integers(0, 255).filter(lambda byte: byte != original[offset]))
    with altered(path, original[:offset] + bytes([value]) + original[offset + 1 :]):
        (problem,) = verify(wide_log).problems
    assert (problem.offset, problem.entry) == (offset, 256)
    assert problem.what.endswith(f"it is 0x{value:02x}, it was 0x{original[offset]:02x}")


def test_a_missing_file_is_named(wide_log: Path) -> None:
    current = {"tile/entries/003.p/62", "tile/0/003.p/62", "tile/1/000.p/3"}
    for name in files_of(wide_log):
        tile = tile_of_path(name)
        if tile is not None and tile.width < 256 and name not in current:
            continue  # partial tiles of earlier sizes may go
        with altered(wide_log / name, None):
            report = verify(wide_log)
        assert named(report) == {name}, report.problems
        assert "is missing" in report.problems[0].what


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_truncated_or_extended_file_is_named(wide_log: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(files_of(wide_log)))
    original = (wide_log / name).read_bytes()
    content = data.draw(
        st.integers(0, len(original) - 1).map(lambda end: original[:end])
        | st.binary(min_size=1, max_size=80).map(lambda more: original + more)
    )
    with altered(wide_log / name, content):
        report = verify(wide_log)
    assert named(report) == {name}, report.problems
    if tile_of_path(name) is not None:
        offset = report.problems[0].offset
        assert offset is not None
        assert offset <= min(len(content), len(original))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("notes.txt", "does not belong"),
        ("tile/0/x000/001", "does not belong"),
        ("tile/0/000.p/tmp", "does not belong"),
        ("tile/entries/003.p/63", "beyond the signed size"),
        ("tile/0/004", "beyond the signed size"),
        ("tile/5/000.p/1", "beyond the signed size"),
        ("tmp/0", "does not belong"),
        ("deep/er/still", "does not belong"),
    ],
)
def test_an_unexpected_file_is_named(wide_log: Path, tmp_path: Path, name: str, what: str) -> None:
    directory = tmp_path / "log"
    shutil.copytree(wide_log, directory)
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(b"x")
    report = verify(directory)
    assert named(report) == {name}
    assert what in report.problems[0].what


def test_a_link_or_a_pipe_in_the_place_of_a_file_is_named_and_never_waited_for(wide_log: Path, tmp_path: Path) -> None:
    directory = tmp_path / "log"
    shutil.copytree(wide_log, directory)
    (directory / "tile/entries/000").unlink()
    (directory / "tile/entries/000").symlink_to(wide_log / "tile/entries/000")
    (directory / "tile/0/001").unlink()
    os.mkfifo(directory / "tile/0/001")
    (directory / "elsewhere").symlink_to(wide_log)
    assert named(verify(directory)) == {"tile/entries/000", "tile/0/001", "elsewhere"}


def test_an_entry_changed_together_with_its_hash_is_named(wide_log: Path) -> None:
    entries = unpack((wide_log / "tile/entries/001").read_bytes())
    entries[9] = b"another history"
    hashes = b"".join(map(leaf_hash, entries))
    with altered(wide_log / "tile/entries/001", pack(entries)), altered(wide_log / "tile/0/001", hashes):
        assert named(verify(wide_log)) == {"tile/entries/001", "tile/0/001"}
        above = (wide_log / "tile/1/000.p/3").read_bytes()
        with altered(wide_log / "tile/1/000.p/3", above[:32] + fold(hashes) + above[64:]):
            report = verify(wide_log)
            assert "tiles recomputed" in report.problems[0].what
            assert named(report) == {"checkpoint", "tile/1/000.p/2"}  # an earlier partial tile still remembers


def test_a_deep_change_made_together_up_to_its_tile_is_named(deep_log: Path) -> None:
    entries = unpack((deep_log / "tile/entries/003").read_bytes())
    entries[0] = b"new"
    hashes = b"".join(map(leaf_hash, entries))
    above = (deep_log / "tile/1/000").read_bytes()
    above = above[: 3 * 32] + fold(hashes) + above[4 * 32 :]
    with (
        altered(deep_log / "tile/entries/003", pack(entries)),
        altered(deep_log / "tile/0/003", hashes),
        altered(deep_log / "tile/1/000", above),
    ):
        report = verify(deep_log)
    assert named(report) == {"tile/1/000"}
    assert report.problems[0].entry == 0


def test_many_alterations_are_each_named(wide_log: Path) -> None:
    names = ["tile/entries/000", "tile/0/000", "tile/0/002", "tile/entries/001", "log.vkey", "tile/entries/003.p/62"]
    originals = {name: (wide_log / name).read_bytes() for name in names}
    try:
        for name, original in originals.items():
            (wide_log / name).write_bytes(with_bit_flipped(original, len(original) // 2, 1))
        assert set(names) <= named(verify(wide_log))
    finally:
        for name, original in originals.items():
            (wide_log / name).write_bytes(original)


def test_a_log_cut_off_or_put_back_is_refused(tmp_path: Path, signer: Signer) -> None:
    """An older checkpoint with today's tiles is seen here; one with the tiles of its time needs a checkpoint kept elsewhere."""
    directory = tmp_path / "log"
    log = write_log(directory, signer, short_entries(200), 100)
    older = (directory / "checkpoint").read_bytes()
    copied = shutil.copytree(directory, tmp_path / "older")
    log.append(short_entries(100, 200))
    kept = (directory / "checkpoint").read_bytes()
    (directory / "checkpoint").write_bytes(older)
    assert all("older checkpoint was put back" in problem.what for problem in verify(directory).problems)
    assert verify(copied).ok
    report = verify(copied, kept)
    assert named(report) == {"checkpoint"}
    assert "cut off" in report.problems[0].what


def test_a_rewritten_history_signed_by_the_real_key_is_refused_by_a_kept_checkpoint(
    tmp_path: Path, signer: Signer
) -> None:
    entries = short_entries(300)
    for size in (1, 255, 256, 257, 300):
        log = TileLog(tmp_path / f"{size}", signer, QuickFiles())
        log.append(entries[:size])
        kept = (tmp_path / f"{size}" / "checkpoint").read_bytes()
        log.append(entries[size:])
        report = verify(tmp_path / f"{size}", kept)
        assert report.ok, report.problems
        assert report.kept_size == size
        fork = tmp_path / f"fork-{size}"
        write_log(fork, signer, [b"rewritten", *entries[1:]], 100)
        assert verify(fork).ok
        refused = verify(fork, kept)
        assert "history was rewritten" in refused.problems[0].what


def test_a_log_signed_anew_with_another_key_is_refused_by_a_kept_checkpoint(tmp_path: Path, signer: Signer) -> None:
    write_log(tmp_path / "log", signer, short_entries(5), 5)
    kept = (tmp_path / "log" / "checkpoint").read_bytes()
    write_log(tmp_path / "anew", new_signer(tmp_path), short_entries(5), 5)
    assert verify(tmp_path / "anew").ok
    assert named(verify(tmp_path / "anew", kept)) == {"log.vkey"}


def test_a_second_signature_in_the_checkpoint_is_a_byte_nobody_vouches_for(wide_log: Path, tmp_path: Path) -> None:
    other = new_signer(tmp_path, "auditor.example/witness")
    path = wide_log / "checkpoint"
    line = other.sign(Checkpoint(other.origin, 1, leaf_hash(b""))).rpartition(b"\n\n")[2]
    with altered(path, path.read_bytes() + line):
        assert named(verify(wide_log)) == {"checkpoint"}


def test_a_damaged_log_is_reported_in_bounds(tmp_path: Path, signer: Signer) -> None:
    directory = tmp_path / "log"
    count = SUSPECTS_MAXIMUM + 50
    log = TileLog(directory, signer, QuickFiles())
    log.append([number.to_bytes(3, "big") for number in range(count * 256)])
    for index in range(count):
        path = directory / Tile(0, index).path
        path.write_bytes(with_bit_flipped(path.read_bytes(), 5, 5))
    report = verify(directory)
    assert len(report.problems) == PROBLEMS_MAXIMUM
    assert report.problems_not_listed == count - PROBLEMS_MAXIMUM


def test_a_log_can_be_verified_while_it_is_written(log_directory: Path, signer: Signer) -> None:
    log = TileLog(log_directory, signer, QuickFiles())
    stop = threading.Event()
    entries = short_entries(20_000)

    def write() -> None:
        size, group = 0, 0
        while not stop.is_set() and size < len(entries):
            group = group % 40 + 1
            size = log.append(entries[size : size + group]).size

    writer = threading.Thread(target=write)
    writer.start()
    try:
        sizes = set()
        for _ in range(40):
            report = verify(log_directory)
            assert report.ok, report.problems
            sizes.add(report.size)
    finally:
        stop.set()
        writer.join()
    assert len(sizes) > 1
    root = CompactRange()
    for entry in entries[: log.size]:
        root.append(leaf_hash(entry))
    assert log.root == root.root()


def test_progress_is_told_and_ends_within_the_log(deep_log: Path) -> None:
    told: list[tuple[int, int]] = []
    assert verify_log(deep_log, at=AT, progress=lambda done, size: told.append((done, size))).ok
    assert told == [(0, 66_000), (65_536, 66_000)]


def test_every_log_under_a_data_directory_is_found_and_verified(tmp_path: Path, signer: Signer) -> None:
    for name in ("zone/log", "commerce/log", "b/c"):
        write_log(tmp_path / name, signer, short_entries(3), 3)
    (tmp_path / "b/c/checkpoint").unlink()
    (tmp_path / "b/c/log.vkey").unlink()  # its tiles still tell that a log was here
    reports = verify_data_dir(tmp_path, at=AT)
    assert {report.log: report.ok for report in reports} == {"zone/log": True, "commerce/log": True, "b/c": False}
    assert named(next(report for report in reports if not report.ok)) == {"checkpoint", "log.vkey"}


def test_a_directory_that_is_itself_a_log_goes_by_its_own_name(tmp_path: Path, signer: Signer) -> None:
    write_log(tmp_path / "ledger", signer, short_entries(3), 3)
    assert find_logs(tmp_path / "ledger") == {"ledger": tmp_path / "ledger"}


def test_a_kept_checkpoint_is_held_against_the_log_of_its_origin(tmp_path: Path, signer: Signer) -> None:
    other = new_signer(tmp_path, "cordon.example/other")
    write_log(tmp_path / "data/one", signer, short_entries(3), 3)
    write_log(tmp_path / "data/two", other, short_entries(4), 3)
    kept = (tmp_path / "data/two/checkpoint").read_bytes()
    assert [report.kept_size for report in verify_data_dir(tmp_path / "data", at=AT, kept=kept)] == [None, 4]
    with pytest.raises(NothingToVerify, match="none of the logs"):
        verify_data_dir(tmp_path / "data", at=AT, kept=b"cordon.example/third\n1\n")


def test_where_there_is_no_log_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NothingToVerify, match="is not a directory: give"):
        verify_data_dir(tmp_path / "nowhere", at=AT)
    with pytest.raises(NothingToVerify, match="Start the service once"):
        verify_data_dir(tmp_path, at=AT)
    with pytest.raises(NothingToVerify, match="is not a directory"):
        verify(tmp_path / "nowhere")


def test_a_problem_is_located_in_words(small_log: Path) -> None:
    path = small_log / "tile/entries/000.p/3"
    with altered(path, with_bit_flipped(path.read_bytes(), 4, 0)):
        (problem,) = verify(small_log).problems
    assert locate(problem) == "tile/entries/000.p/3, byte 4, entry 0"


def test_reading_is_bounded_whatever_the_file_holds(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(100))
    assert read_regular(tmp_path / "big", 10) == bytes(11)
    assert read_regular(tmp_path / "big", 100) == bytes(100)
    assert read_regular(tmp_path, 10) is None
