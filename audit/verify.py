"""Checks a log directory against itself and its signature, and names what was altered.

What must hold for a log to verify (each is checked on every byte, none by sample):
 1. ``log.vkey`` is a verifier key whose hash fits it, and ``checkpoint`` bears its signature and not a byte besides.
 2. The entries, every one re-hashed, give the signed root.
 3. Every tile is, byte by byte, what the entries give.
 4. The directory holds nothing else but partial tiles of earlier sizes, and those are beginnings of today's tiles.
 5. A checkpoint kept elsewhere, if one is given, bears the same key's signature, and the entries give its root at its
    size.

A log that is being written to can be verified meanwhile: what is checked is the log as its checkpoint was at the start.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from audit.judge import Judge, Problem, Problems, first_difference
from audit.layout import (
    CHECKPOINT,
    ENTRIES,
    TILE_WIDTH,
    TILES,
    VERIFIER_KEY,
    Tile,
    beginning,
    right_edge,
    tile_of_path,
    width_at,
)
from audit.note import NOTE_BYTES_MAXIMUM, Checkpoint, KeyRefused, NoteRefused, Verifier, is_bare
from audit.rehash import LogFiles, Progress, Rehashed, read_regular, rehash

_Identity = tuple[int, int] | None

_VKEY_BYTES_MAXIMUM: Final = 1_000
_SNAPSHOT_TRIES: Final = 20  # a writer at work may replace the log's end while it is read
_UNSIGNED: Final = (
    "lies beyond the signed size: an append was cut off (start the service once), or an older checkpoint was put back"
)
_SETTLE_SECONDS: Final = 0.05
_SETTLE_TRIES: Final = 20  # a writer's append takes milliseconds; after a second what lies there is no append under way


class NothingToVerify(ValueError):
    """There is no log where one was expected; the message says what was looked for and what to do."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification covered and what it found. The log is whole when there are no problems."""

    log: str  # the directory's name below the data directory
    verified_at: str  # as it was passed in
    origin: str
    size: int
    root: str  # hexadecimal, as the entries give it
    entries: int  # re-hashed
    entry_bytes: int
    tiles: int  # files compared byte by byte
    first_entry_at: str
    last_entry_at: str
    kept_size: int | None  # the size of the checkpoint kept elsewhere, when one was given
    problems: tuple[Problem, ...]
    problems_not_listed: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems and not self.problems_not_listed

    def as_mapping(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return {"ok": self.ok, **asdict(self)}


def verify_log(
    directory: Path, *, at: str, name: str = "", kept: bytes | None = None, progress: Progress | None = None
) -> Report:
    """Verifies one log directory, whatever it finds there. Numbers as in the module's docstring.

    Raises NothingToVerify when there is no such directory, OSError when it may not be read.
    ``at`` is the date for the report; ``kept`` a checkpoint of this log that was kept elsewhere.
    """
    if not directory.is_dir():
        raise NothingToVerify(f"{directory} is not a directory: give the directory of a log")
    problems = Problems()
    head, edge = _snapshot(directory)
    size = (
        head.checkpoint.size if head.checkpoint is not None and not head.is_checkpoint_bad else _size_on_disk(directory)
    )
    kept_checkpoint = _open_kept(problems, head, kept)
    files = LogFiles(directory, edge)
    rehashed = rehash(files, size, kept_checkpoint.size if kept_checkpoint is not None else None, progress)  # (2)
    for problem in head.problems:  # (1)
        offset = _altered_at(head, size, rehashed.root) if problem.file == CHECKPOINT else None
        problems.add(problem.file, problem.what, offset)
    judge = _judge(problems, head, files, size, rehashed)
    judge.report(problems)  # (3)
    _check_other_files(problems, directory, size, judge, head)  # (4)
    if kept_checkpoint is not None:
        _compare_kept(problems, kept_checkpoint, size, rehashed)  # (5)
    return Report(
        log=name or directory.name,
        verified_at=at,
        origin=head.checkpoint.origin if head.checkpoint is not None else "",
        size=size,
        root=rehashed.root.hex(),
        entries=rehashed.entries,
        entry_bytes=rehashed.entry_bytes,
        tiles=rehashed.tiles,
        first_entry_at=_time_of(rehashed.first),
        last_entry_at=_time_of(rehashed.last),
        kept_size=kept_checkpoint.size if kept_checkpoint is not None else None,
        problems=tuple(problems.listed),
        problems_not_listed=problems.not_listed,
    )


def verify_data_dir(
    data_dir: Path, *, at: str, kept: bytes | None = None, progress: Callable[[str, int, int], None] | None = None
) -> list[Report]:
    """Verifies every log under a data directory. A kept checkpoint is held against the log of its origin.

    Raises NothingToVerify when there is no such directory, no log in it, or none that the kept checkpoint is of.
    """
    logs = find_logs(data_dir)
    keeper = _log_of(kept, logs) if kept is not None else None
    return [
        verify_log(
            log,
            at=at,
            name=name,
            kept=kept if log == keeper else None,
            progress=None if progress is None else partial(progress, name),
        )
        for name, log in logs.items()
    ]


def _log_of(kept: bytes, logs: Mapping[str, Path]) -> Path:
    """The log that the kept checkpoint is of: the one of its origin, or the only one."""
    chosen = [log for log in logs.values() if len(logs) == 1 or kept.startswith(_origin_of(log).encode() + b"\n")]
    if len(chosen) != 1:
        raise NothingToVerify(
            "the kept checkpoint is of none of the logs in this directory: its first line names its log"
        )
    return chosen[0]


def find_logs(data_dir: Path) -> dict[str, Path]:
    """The logs under a data directory, by name (their path below it). Raises NothingToVerify."""
    if not data_dir.is_dir():
        raise NothingToVerify(
            f"{data_dir} is not a directory: give the data directory that the service was started with"
        )
    logs = {}
    for parent, directories, names in os.walk(data_dir):
        if CHECKPOINT in names or VERIFIER_KEY in names or TILES in directories:
            name = Path(parent).relative_to(data_dir).as_posix()
            logs[data_dir.resolve().name if name == "." else name] = Path(parent)
            directories.clear()
        directories.sort()
    if not logs:
        raise NothingToVerify(
            f"no log under {data_dir}: a log is a directory with a {CHECKPOINT} and a {VERIFIER_KEY}. "
            "Start the service once, or give the directory that it keeps its data in"
        )
    return logs


@dataclass(frozen=True, slots=True)
class _Head:
    """The key and the checkpoint, as far as they can be read."""

    note: bytes | None
    verifier: Verifier | None
    checkpoint: Checkpoint | None
    is_checkpoint_bad: bool  # its signature, form or absence; not: there is no key to check it with
    problems: tuple[Problem, ...] = ()


def _snapshot(directory: Path) -> tuple[_Head, dict[Tile, bytes | None]]:
    """The checkpoint, with the bundle and tiles that its log ends with, read before a writer replaces them."""
    for _ in range(_SNAPSHOT_TRIES):
        head = _read_head(directory)
        size = head.checkpoint.size if head.checkpoint is not None else 0
        edge = {tile: _read_partial(directory, tile) for tile in right_edge(size)}
        if None not in edge.values() or read_regular(directory / CHECKPOINT, NOTE_BYTES_MAXIMUM) == head.note:
            break
    return head, edge


def _read_partial(directory: Path, tile: Tile) -> bytes | None:
    """The partial tile, or its bytes in the full one that took its place."""
    data = read_regular(directory / tile.path, tile.bytes_maximum)
    if data is None:
        full = read_regular(directory / Tile(tile.level, tile.index).path, tile.bytes_maximum)
        data = beginning(tile, full) if full is not None else None
    return data


def _read_head(directory: Path) -> _Head:
    """(1)"""
    problems = []
    verifier = None
    try:
        verifier = _read_key(read_regular(directory / VERIFIER_KEY, _VKEY_BYTES_MAXIMUM))
    except KeyRefused as refusal:
        problems.append(Problem(VERIFIER_KEY, str(refusal)))
    note = read_regular(directory / CHECKPOINT, NOTE_BYTES_MAXIMUM)
    if note is None:
        problems.append(Problem(CHECKPOINT, "is missing"))
        return _Head(None, verifier, None, True, tuple(problems))
    try:
        checkpoint = verifier.open(note) if verifier is not None else _claimed(note)
        if not is_bare(note):
            problems.append(
                Problem(
                    CHECKPOINT, "holds more than the log's own signature: keep other signatures in a copy elsewhere"
                )
            )
        return _Head(note, verifier, checkpoint, False, tuple(problems))
    except NoteRefused as refusal:
        problems.append(Problem(CHECKPOINT, str(refusal)))
    try:
        return _Head(note, verifier, _claimed(note), True, tuple(problems))
    except NoteRefused:
        return _Head(note, verifier, None, True, tuple(problems))


def _read_key(text: bytes | None) -> Verifier:
    if text is None:
        raise KeyRefused("is missing")
    if text[-1:] != b"\n" or not text.isascii():
        raise KeyRefused("is not a line with a verifier key")
    return Verifier(text[:-1].decode("ascii"))


def _claimed(note: bytes) -> Checkpoint:
    """What a checkpoint says, whoever signed it."""
    return Checkpoint.parse(note.partition(b"\n\n")[0].decode("utf-8", "replace") + "\n")


def _altered_at(head: _Head, size: int, root: bytes) -> int | None:
    """The first byte of a bad checkpoint that key and entries speak against; None when it is in the signature."""
    if head.note is None or head.verifier is None:
        return None
    origin = head.verifier.origin
    asked = f"{Checkpoint(origin, size, root).text()}\n\u2014 {origin} ".encode()
    offset = first_difference(head.note, asked)
    return offset if offset < len(asked) else None


def _judge(problems: Problems, head: _Head, files: LogFiles, size: int, rehashed: Rehashed) -> Judge:
    """(2) The checkpoint's root is the judge, unless the checkpoint itself is bad and nothing leads to its root."""
    judge = Judge(files, size, rehashed, head.checkpoint.root if head.checkpoint is not None else None)
    if judge.reaches_root:
        return judge
    if not head.is_checkpoint_bad:
        what = "signs a root that neither the entries nor the tiles give: entries were replaced and tiles recomputed"
        problems.add(CHECKPOINT, what)
    return Judge(files, size, rehashed, None)


def _size_on_disk(directory: Path) -> int:
    """The size that the bundles speak of, for a log whose checkpoint does not."""
    size = 0
    for path in _walk(directory):
        tile = tile_of_path(path)
        if tile is not None and tile.level == ENTRIES:
            size = max(size, tile.index * TILE_WIDTH + tile.width)
    return size


def _check_other_files(problems: Problems, directory: Path, size: int, judge: Judge, head: _Head) -> None:
    """(4) Files beside the log's own; those that an append under way explains are waited for."""
    extra: dict[str, _Identity] = {}
    for path in _walk(directory):
        tile = tile_of_path(path)
        if path in (CHECKPOINT, VERIFIER_KEY) or (tile is not None and _is_current(tile, size)):
            continue
        if tile is None or not _is_earlier(tile, size):
            extra[path] = _identity(directory / path)
            continue
        data = read_regular(directory / path, tile.bytes_maximum)
        if data is not None:  # a writer at work removes them when their tile is full
            judge.report_earlier(problems, tile, data)
    for path in _settled(directory, extra, head):
        problems.add(path, _UNSIGNED if tile_of_path(path) is not None else "does not belong to a log")


def _settled(directory: Path, extra: dict[str, _Identity], head: _Head) -> dict[str, _Identity]:
    """The extra files that are still there, and still extra, once a writer had the time to sign or remove them."""
    for _ in range(_SETTLE_TRIES if head.verifier is not None and not head.is_checkpoint_bad else 0):
        extra = {
            path: identity
            for path, identity in extra.items()
            if identity is not None and identity == _identity(directory / path)
        }
        if not extra:
            break
        time.sleep(_SETTLE_SECONDS)
        now = _read_head(directory)
        size = now.checkpoint.size if now.checkpoint is not None and not now.is_checkpoint_bad else 0
        extra = {path: identity for path, identity in extra.items() if not _is_signed(tile_of_path(path), size)}
    return extra


def _identity(path: Path) -> _Identity:
    """Tells a file from another one that comes to have its name; None when there is no such file."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_ctime_ns


def _is_current(tile: Tile, size: int) -> bool:
    """Whether a log of this size has this very tile."""
    whole, width = divmod(width_at(tile.level, size), TILE_WIDTH)
    return tile.index < whole if tile.width == TILE_WIDTH else (tile.index, tile.width) == (whole, width)


def _is_earlier(tile: Tile, size: int) -> bool:
    """Whether a log may have had this partial tile on its way to this size."""
    return tile.width < TILE_WIDTH and _is_signed(tile, size)


def _is_signed(tile: Tile | None, size: int) -> bool:
    return tile is not None and tile.index * TILE_WIDTH + tile.width <= width_at(tile.level, size)


def _walk(directory: Path) -> Iterator[str]:
    """Every file below the directory that is not a directory itself, as a path below it."""
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        # A writer at work removes the partial tiles of a filled one, with their directory.
        with suppress(FileNotFoundError), os.scandir(directory / prefix) as found:
            for item in found:
                path = f"{prefix}{item.name}"
                if item.is_dir(follow_symlinks=False):
                    waiting.append(f"{path}/")
                else:
                    yield path


def _open_kept(problems: Problems, head: _Head, kept: bytes | None) -> Checkpoint | None:
    """(5)"""
    if kept is None or head.verifier is None:
        return None
    try:
        return head.verifier.open(kept)
    except NoteRefused as refusal:
        problems.add(
            VERIFIER_KEY, f"does not open the checkpoint kept elsewhere ({refusal}): one of the two was replaced"
        )
        return None


def _compare_kept(problems: Problems, kept: Checkpoint, size: int, rehashed: Rehashed) -> None:
    """(5)"""
    if kept.size > size:
        problems.add(
            CHECKPOINT,
            f"the log has {size} entries, and the checkpoint kept elsewhere {kept.size}: entries were cut off",
        )
    elif rehashed.kept_root != kept.root:
        problems.add(
            CHECKPOINT,
            f"the first {kept.size} entries are not those of the checkpoint kept elsewhere: history was rewritten",
        )


def _origin_of(directory: Path) -> str:
    head = _read_head(directory)
    if head.verifier is not None:
        return head.verifier.origin
    return head.checkpoint.origin if head.checkpoint is not None else ""


def _time_of(entry: bytes) -> str:
    """When the entry says that it happened, or nothing for an entry of another form."""
    try:
        read = json.loads(entry)
    except ValueError:
        return ""
    at = read.get("at") if isinstance(read, dict) else None
    return at if isinstance(at, str) and at.isascii() and at.isprintable() else ""


def locate(problem: Problem) -> str:
    """Where a problem is, for a person: the file, the byte, the entry."""
    byte = f", byte {problem.offset}" if problem.offset is not None else ""
    entry = f", entry {problem.entry}" if problem.entry is not None else ""
    return f"{problem.file}{byte}{entry}"
