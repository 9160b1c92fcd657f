"""The keys that sign access tokens, as files beside commerce's other keys; the newest signs, those before it still verify.

What holds:
 1. A key is P-256 and made here; its file is for its owner alone. There is no default (I9).
 2. A new key signs from the moment its file is there, in every process that reads the directory.
 3. The key before it verifies until the next rotation, or goes at once with ``drop_previous``: that ends every token under it.
"""

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from joserfc.jwk import ECKey

ALGORITHM: Final = "ES256"
PEPPER: Final = "sign-in.key"
_CURVE: Final = "P-256"
_FILE: Final = re.compile(r"signing-([0-9]{4})\.pem", re.ASCII)
_KEPT: Final = 2


class NoSigningKey(Exception):
    """There is no key to sign with: `cordon oauth rotate-keys` makes one."""


class SigningKeys:
    """The keys of a directory, read again whenever it changes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: object = None
        self._keys: list[tuple[str, ECKey]] = []  # by key id, newest first

    @property
    def is_there(self) -> bool:
        """Whether there is a key: without one no authorization server is offered."""
        return bool(self._current())

    def signing(self) -> tuple[str, ECKey]:
        """The key id and the key that signs now (2). Raises NoSigningKey."""
        keys = self._current()
        if not keys:
            raise NoSigningKey
        return keys[0]

    def find(self, key_id: object) -> ECKey | None:
        """The key of this id, be it the newest or one that only verifies (3)."""
        return next((key for name, key in self._current() if name == key_id), None)

    def public(self) -> dict[str, Any]:
        """The key set that others verify with (RFC 7517): public halves only."""
        extra = {"use": "sig", "alg": ALGORITHM}
        return {"keys": [{**key.as_dict(private=False), "kid": name, **extra} for name, key in self._current()]}

    def pepper(self) -> bytes:
        """The key of the digests in which e-mail addresses and codes are stored. Raises NoSigningKey."""
        try:
            return (self._directory / PEPPER).read_bytes().strip()
        except FileNotFoundError:
            raise NoSigningKey from None

    def _current(self) -> list[tuple[str, ECKey]]:
        try:
            seen = self._directory.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        if seen != self._seen:
            self._keys = [(key.thumbprint(), key) for key in map(_read, reversed(_files(self._directory)))]
            self._seen = seen
        return self._keys


def rotate(directory: Path, *, drop_previous: bool = False) -> str:
    """Makes a new key, and what else the directory lacks (1). Returns its id (RFC 7638)."""
    directory.mkdir(parents=True, mode=0o700, exist_ok=True)
    if not (directory / PEPPER).exists():
        _write(directory / PEPPER, secrets.token_hex(32).encode() + b"\n")
    files = _files(directory)
    number = _number(files[-1]) + 1 if files else 1
    key = ECKey.generate_key(_CURVE)
    _write(directory / f"signing-{number:04}.pem", key.as_pem(private=True))
    for old in _files(directory)[: -1 if drop_previous else -_KEPT]:
        old.unlink()  # (3)
    return key.thumbprint()


def _files(directory: Path) -> list[Path]:
    """Key files, oldest first."""
    return sorted(_named(directory), key=_number)


def _named(directory: Path) -> Iterator[Path]:
    return (path for path in directory.iterdir() if _FILE.fullmatch(path.name))


def _number(path: Path) -> int:
    matched = _FILE.fullmatch(path.name)
    return int(matched.group(1)) if matched else 0


def _read(path: Path) -> ECKey:
    return ECKey.import_key(path.read_bytes())


def _write(path: Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
