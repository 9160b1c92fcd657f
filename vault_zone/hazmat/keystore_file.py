"""Where a keystore lies: in a file that several processes share, or in memory for tests."""

import os
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from vault_zone.hazmat.files import create_owner_only, read_owner_only, replace_file, writing

_MISSING_FIX = "hold the key ceremony first: `vault-zone ceremony`"


class KeystorePlace(Protocol):
    """The bytes of one keystore."""

    def read(self) -> bytes:
        """The content now; has_changed() is False afterwards until somebody else writes. Raises KeyRefused."""

    def has_changed(self) -> bool:
        """Whether the content may differ from what was last read or written here."""

    def forget(self) -> None:
        """Makes has_changed() true."""

    def writing(self) -> AbstractContextManager[object]:
        """Holds every other writer back."""

    def replace(self, content: bytes, *, overwrite_old: bool) -> None:
        """Replaces the content durably; ``overwrite_old`` as in replace_file(). Raises OSError, and then nothing changed."""


class KeystoreFile:
    """A file of mode 0600. That it changed is seen by its inode, size and time of change: a writer always puts a new file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    def exists(self) -> bool:
        """Whether there is a keystore."""
        return self._path.exists()

    def create(self, content: bytes) -> None:
        """Writes the first content. Raises FileExistsError rather than overwrite a keystore: its cards would be lost."""
        create_owner_only(self._path, content)

    def read(self) -> bytes:
        """As KeystorePlace.read."""
        seen = self._stamp()
        content = read_owner_only(self._path, missing_fix=_MISSING_FIX)
        self._seen = seen
        return content

    def has_changed(self) -> bool:
        """As KeystorePlace.has_changed."""
        return self._seen is None or self._stamp() != self._seen

    def forget(self) -> None:
        """As KeystorePlace.forget."""
        self._seen = None

    def writing(self) -> AbstractContextManager[object]:
        """As KeystorePlace.writing."""
        return writing(self._path)

    def replace(self, content: bytes, *, overwrite_old: bool) -> None:
        """As KeystorePlace.replace."""
        replace_file(self._path, content, overwrite_old=overwrite_old)
        self._seen = self._stamp()

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


class KeystoreInMemory:
    """Content that ends with the process."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._lock = threading.RLock()

    def read(self) -> bytes:
        """As KeystorePlace.read."""
        return self._content

    def has_changed(self) -> bool:
        """As KeystorePlace.has_changed."""
        return False

    def forget(self) -> None:
        """As KeystorePlace.forget."""

    def writing(self) -> AbstractContextManager[object]:
        """As KeystorePlace.writing."""
        return self._lock

    def replace(self, content: bytes, *, overwrite_old: bool) -> None:  # nothing to overwrite
        """As KeystorePlace.replace."""
        self._content = content
