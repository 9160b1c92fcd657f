"""The few things the log asks of a file system, so that tests can stop the machine at any of them."""

import contextlib
import os
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """A directory tree. Every method may raise OSError.

    A written file is durable once write_synced returns; a name (made by rename, remove or make_directory) is durable
    once sync_directory has returned for the directory that holds it. Until then a crash may undo it.
    """

    def read(self, path: Path) -> bytes | None:
        """The file's bytes, or None when there is no such file."""

    def names(self, path: Path) -> list[str]:
        """The names in a directory; none when there is no such directory."""

    def write_synced(self, path: Path, data: bytes) -> None:
        """Makes or overwrites the file and waits until its bytes are durable. A crash may leave any part of them."""

    def rename(self, source: Path, target: Path) -> None:
        """Gives the file its name, in place of whatever had it, in one step."""

    def make_directory(self, path: Path) -> None:
        """Makes one directory unless it is there. Its parent MUST exist."""

    def sync_directory(self, path: Path) -> None:
        """Waits until the directory's names are durable."""

    def remove(self, path: Path) -> None:
        """Removes a file."""

    def remove_directory(self, path: Path) -> None:
        """Removes an empty directory."""


class DiskFiles:
    """Files on this machine."""

    def read(self, path: Path) -> bytes | None:
        """See Files."""
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, path: Path) -> list[str]:
        """See Files."""
        try:
            return os.listdir(path)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def write_synced(self, path: Path, data: bytes) -> None:
        """See Files."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, source: Path, target: Path) -> None:
        """See Files."""
        os.replace(source, target)

    def make_directory(self, path: Path) -> None:
        """See Files."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)

    def sync_directory(self, path: Path) -> None:
        """See Files."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def remove(self, path: Path) -> None:
        """See Files."""
        os.unlink(path)

    def remove_directory(self, path: Path) -> None:
        """See Files."""
        os.rmdir(path)
