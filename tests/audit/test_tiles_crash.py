"""The power fails at every single step of writing a log: nothing signed is lost, and no size ever has two roots."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

import pytest

from audit.files import Files
from audit.layout import CHECKPOINT
from audit.note import Signer
from audit.tiles import TileLog
from audit.tree import CompactRange, leaf_hash
from audit.verify import verify_log
from tests.audit.logs import QuickFiles, short_entries

# Lost: the step in hand and every name not yet synced are gone. Torn: the same, and half of the file in hand is there.
# Persisted: the step in hand and every name, synced or not, are there.
Fate = Literal["lost", "torn", "persisted"]
FATES: tuple[Fate, ...] = ("lost", "torn", "persisted")
GROUPS = [3, 1, 240, 20, 300, 2]  # over a tile's end, twice, and inside one
ENTRIES = short_entries(sum(GROUPS))


class PowerCut(BaseException):
    """The machine is off: nothing in the writer may catch it."""


class FailingFiles(QuickFiles):
    """A disk on which a name that was not synced may be gone after a power cut (see ``audit.files.Files``)."""

    def __init__(self, cut_at: int, fate: Fate, seen: dict[int, bytes] | None = None) -> None:
        self.steps = 0
        self.seen = {} if seen is None else seen  # every checkpoint that anybody could have read, by size
        self._cut_at = cut_at
        self._fate = fate
        self._undo: list[
            tuple[Path, Callable[[], None]]
        ] = []  # by the directory whose sync would make the name durable

    def write_synced(self, path: Path, data: bytes) -> None:
        self._step(partial(super().write_synced, path, data), torn=partial(tear, path, data))
        self._undo.append((path.parent, partial(path.unlink, missing_ok=True)))

    def rename(self, source: Path, target: Path) -> None:
        before, moved = self.read(target), self.read(source)
        self._step(partial(self._rename, source, target, moved or b""))
        self._undo.append((target.parent, partial(put_back, target, before)))

    def _rename(self, source: Path, target: Path, moved: bytes) -> None:
        super().rename(source, target)
        if target.name == CHECKPOINT:
            lines = moved.split(b"\n")
            assert self.seen.setdefault(int(lines[1]), lines[2]) == lines[2]

    def make_directory(self, path: Path) -> None:
        is_new = not path.exists()
        self._step(partial(super().make_directory, path))
        if is_new:
            self._undo.append((path.parent, partial(shutil.rmtree, path, ignore_errors=True)))

    def remove(self, path: Path) -> None:
        before = self.read(path)
        self._step(partial(super().remove, path))
        self._undo.append((path.parent, partial(put_back, path, before)))

    def remove_directory(self, path: Path) -> None:
        self._step(partial(super().remove_directory, path))
        self._undo.append((path.parent, partial(path.mkdir, exist_ok=True)))

    def sync_directory(self, path: Path) -> None:
        self._step(partial(super().sync_directory, path))
        self._undo = [(parent, undo) for parent, undo in self._undo if parent != path]

    def _step(self, act: Callable[[], object], torn: Callable[[], object] | None = None) -> None:
        self.steps += 1
        if self.steps < self._cut_at:
            act()
            return
        if self.steps == self._cut_at:
            if self._fate == "persisted":
                act()
            else:
                while self._undo:
                    self._undo.pop()[1]()
            if self._fate == "torn" and torn is not None:
                torn()
        raise PowerCut


def tear(path: Path, data: bytes) -> None:
    if path.parent.is_dir():
        path.write_bytes(data[: len(data) // 2])


def put_back(path: Path, before: bytes | None) -> None:
    if before is None:
        path.unlink(missing_ok=True)
    elif path.parent.is_dir():
        path.write_bytes(before)


def append_groups(directory: Path, signer: Signer, files: Files, groups: list[int], acknowledged: list[int]) -> None:
    log = TileLog(directory, signer, files)
    for group in groups:
        log.append(ENTRIES[log.size : log.size + group])
        acknowledged.append(log.size)


def roots() -> Iterator[bytes]:
    tree = CompactRange()
    yield tree.root()
    for entry in ENTRIES:
        tree.append(leaf_hash(entry))
        yield tree.root()


ROOTS = list(roots())


def check_after_power_cut(directory: Path, signer: Signer, files: FailingFiles, acknowledged: list[int]) -> None:
    """What is on disk is a log of a signed size no smaller than the last acknowledged one, and it can go on from there."""
    log = TileLog(directory, signer, QuickFiles())
    assert log.size >= max(acknowledged, default=0)
    assert log.size in {0, *files.seen}
    assert log.root == ROOTS[log.size]
    assert list(log.entries(0, log.size)) == ENTRIES[: log.size]
    for group in (5, 1, 250, 9, len(ENTRIES)):  # replayed in other groups than before
        log.append(ENTRIES[log.size : log.size + group])
        assert log.root == ROOTS[log.size]
    assert log.size == len(ENTRIES)
    report = verify_log(directory, at="now")
    assert report.ok, report.problems


def steps_without_a_cut(directory: Path, signer: Signer) -> int:
    files = FailingFiles(10**9, "lost")
    append_groups(directory, signer, files, GROUPS, [])
    return files.steps


@pytest.mark.parametrize("fate", FATES)
def test_a_power_cut_at_any_step_loses_nothing_signed(tmp_path: Path, signer: Signer, fate: Fate) -> None:
    steps = steps_without_a_cut(tmp_path / "whole", signer)
    assert steps > 100
    for cut_at in range(1, steps + 1):
        directory = tmp_path / f"{cut_at}"
        files, acknowledged = FailingFiles(cut_at, fate), list[int]()
        with pytest.raises(PowerCut):
            append_groups(directory, signer, files, GROUPS, acknowledged)
        check_after_power_cut(directory, signer, files, acknowledged)
        shutil.rmtree(directory)


@pytest.mark.parametrize("fate", FATES)
def test_a_second_power_cut_while_recovering_loses_nothing_either(tmp_path: Path, signer: Signer, fate: Fate) -> None:
    steps = steps_without_a_cut(tmp_path / "whole", signer)
    for cut_at in range(20, steps, 23):
        for again_at in range(1, 30, 4):
            directory = tmp_path / f"{cut_at}-{again_at}"
            files, acknowledged = FailingFiles(cut_at, fate), list[int]()
            with pytest.raises(PowerCut):
                append_groups(directory, signer, files, GROUPS, acknowledged)
            files = FailingFiles(again_at, "lost", files.seen)
            with suppress(PowerCut):  # near the end there may be nothing left to write
                append_groups(directory, signer, files, [7] * 99, acknowledged)
            check_after_power_cut(directory, signer, files, acknowledged)
            shutil.rmtree(directory)


class NeverSyncsNames(FailingFiles):
    """The planted fault: a writer that leaves out the syncing of directories."""

    def sync_directory(self, path: Path) -> None:
        pass


class PublishesFirst(TileLog):
    """The planted fault: a writer that publishes the checkpoint before the tiles under it."""

    def _write(self, contents: dict[Path, bytes]) -> None:
        held = getattr(self, "_held", {})
        if any(path.name == CHECKPOINT for path in contents):
            super()._write(contents)
            super()._write(held)
            self._held: dict[Path, bytes] = {}
        else:
            self._held = {**held, **contents}


def test_a_writer_that_does_not_sync_names_is_caught(tmp_path: Path, signer: Signer) -> None:
    files, acknowledged = NeverSyncsNames(60, "lost"), list[int]()
    with pytest.raises(PowerCut):
        append_groups(tmp_path / "log", signer, files, GROUPS, acknowledged)
    assert acknowledged
    with pytest.raises(AssertionError):
        check_after_power_cut(tmp_path / "log", signer, files, acknowledged)


def test_a_writer_that_publishes_before_the_tiles_are_durable_is_caught(tmp_path: Path, signer: Signer) -> None:
    caught = 0
    for cut_at in range(1, 60):
        directory = tmp_path / f"{cut_at}"
        with suppress(PowerCut):
            PublishesFirst(directory, signer, FailingFiles(cut_at, "persisted")).append(ENTRIES[:300])
        try:
            TileLog(directory, signer, QuickFiles())
        except RuntimeError:
            caught += 1
    assert caught
