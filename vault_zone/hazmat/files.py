"""Key files: read only when nobody else can read them, written so that a crash leaves the old content or the new."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class KeyRefused(Exception):
    """Keys may not be used as they are configured here: ``code`` says why, the text how to mend it. Holds no value."""

    def __init__(self, code: str, fix: str) -> None:
        super().__init__(f"{code}: {fix}")
        self.code = code


def read_owner_only(path: Path, *, missing_fix: str) -> bytes:
    """The content of a file of mode 0600 or stricter. Raises KeyRefused: key_file_missing, key_file_readable_by_others."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise KeyRefused("key_file_readable_by_others", f"chmod 600 {path}")
            return file.read()
    except OSError:
        raise KeyRefused("key_file_missing", missing_fix) from None


def read_secret_line(path: Path) -> str:
    """A secret in a file of its own, without the newline at its end. Raises KeyRefused as read_owner_only(), or if empty."""
    fix = f"put the secret into {path}, readable by its owner only"
    try:
        text = read_owner_only(path, missing_fix=fix).decode().strip()
    except UnicodeDecodeError:
        raise KeyRefused("key_file_malformed", fix) from None
    if not text:
        raise KeyRefused("key_file_malformed", fix)
    return text


def create_owner_only(path: Path, content: bytes) -> None:
    """Writes a new file of mode 0600, durably. Raises FileExistsError rather than overwrite one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        _write_through(file.fileno(), content)
    _sync_directory(path.parent)


def replace_file(path: Path, content: bytes, *, overwrite_old: bool = False) -> None:
    """Replaces the file's content as one step, durably. Raises OSError, and then the old content is still in place.

    ``overwrite_old`` also writes zeros over the bytes that were there. That is the most a program can do: a file system that
    copies on write, a solid-state disk and a backup may each still hold them.
    """
    draft = path.with_name(path.name + ".new")
    old = os.open(path, os.O_WRONLY) if overwrite_old and path.exists() else None
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            _write_through(file.fileno(), content)
        draft.replace(path)
        _sync_directory(path.parent)
        if old is not None:
            _write_through(old, bytes(os.fstat(old).st_size))
    finally:
        if old is not None:
            os.close(old)
        with suppress(OSError):
            draft.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Holds back every other process that writes this file. The lock is a file beside it and ends with the process."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _write_through(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
