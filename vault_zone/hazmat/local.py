"""The local provider: merchants' keys in a file, sealed under a root key that custodians bring in shares.

In production the root key is on no disk: the provider starts sealed, and M of the N shares open it until the process ends.
Development has its root key in a file, marked as development's; where the environment is production that file is refused, also
if it merely lies there (I9). What must hold:
 1. Sealed, it serves nothing: every call raises KeyUnavailable.
 2. A root key is accepted only if the keystore's check value says it is the one, and the whole file is what its holder wrote.
 3. A change is on disk before it is used; another process sees it at its next call; a file older than one seen is refused.
 4. destroy() leaves neither the merchant's keys nor the old file's bytes in place, but that they were destroyed.

A wrapped data key, format 2 (format 1 was sealed under the root key itself and opens no more):

    byte 0        format (2)
    bytes 1..8    the merchant's key set: destroyed and made anew, it is another
    bytes 9..12   version of the wrapping key, big end first
    bytes 13..    the data key, sealed (seal.py, format 1) and bound to set, version and KeyContext
"""

import hashlib
import hmac
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from vault_zone.hazmat.files import KeyRefused, create_owner_only, read_owner_only
from vault_zone.hazmat.keystore import SET_BYTES, KeySet, Keystore, Root
from vault_zone.hazmat.keystore_file import KeystoreFile, KeystoreInMemory, KeystorePlace
from vault_zone.hazmat.provider import DataKey, KeyContext, KeyDestroyed, KeyUnavailable
from vault_zone.hazmat.seal import KEY_BYTES, SealBroken, new_key, seal, unseal
from vault_zone.hazmat.shares import Gathering, ShareFault, ShareRefused

T = TypeVar("T")

FORMAT: Final = 2
HEADER_BYTES: Final = 1 + SET_BYTES + 4
MESSAGE_BYTES_MAXIMUM: Final = 64
DEVELOPMENT: Final = "development"
PRODUCTION: Final = "production"
KEYSTORE: Final = "keystore.json"
ROOT_KEY: Final = "root.key"
_ROOT_KIND: Final = "cordon-root-key"


class Progress(NamedTuple):
    """How many shares were given, of how many that are needed."""

    given: int
    needed: int


class LocalKeys:
    """Keys in a keystore under a root key: given in shares, or lying in a development file."""

    name = "local"
    is_remote = False

    def __init__(self, place: KeystorePlace, keystore: Keystore, root: Root | None) -> None:
        self._place = place
        self._keystore = keystore
        self._root = root
        self._sets: dict[str, KeySet] = {}
        self._gathering = Gathering(share_set=keystore.share_set, threshold=keystore.threshold)
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"LocalKeys({self._keystore.root_id}, {'sealed' if self.is_sealed else 'open'})"

    @classmethod
    def in_memory(cls) -> "LocalKeys":
        """For tests and benchmarks: a fresh root key and a keystore that ends with the process."""
        root = Root(new_key())
        keystore = Keystore.empty(root, environment=DEVELOPMENT, root_id="root_in_memory")
        return cls(KeystoreInMemory(keystore.encode()), keystore, root)

    @classmethod
    def for_development(cls, directory: Path, environment: str, root_id: str = "root_development") -> "LocalKeys":
        """Opens ``root.key`` and ``keystore.json`` in the directory, and makes what is missing. Raises KeyRefused."""
        if environment != DEVELOPMENT:
            raise KeyRefused("development_key_in_production", "hold a key ceremony: `vault-zone ceremony`")
        if not (directory / ROOT_KEY).exists() and not (directory / KEYSTORE).exists():
            create_development_root(directory, root_id)
        return cls.open(directory, environment)

    @classmethod
    def open(cls, directory: Path, environment: str) -> "LocalKeys":
        """Opens a directory's keystore: sealed, or in development with its root key file. Raises KeyRefused."""
        root_file, place = directory / ROOT_KEY, KeystoreFile(directory / KEYSTORE)
        if root_file.exists():
            root_id, root = _read_development_root(root_file, environment)
            if not place.exists():
                place.create(Keystore.empty(root, environment=environment, root_id=root_id).encode())
        else:
            root = None
        keystore = Keystore.parse(place.read())
        if keystore.environment != environment:
            raise KeyRefused("key_of_another_environment", "hold a key ceremony for this environment")
        if root is not None and not keystore.is_under(root):
            raise KeyRefused("key_of_another_keystore", f"{root_file} and {KEYSTORE} do not belong together")
        return cls(place, keystore, root)

    @property
    def is_sealed(self) -> bool:
        """Whether shares are needed before anything is served."""
        return self._root is None

    @property
    def root_id(self) -> str:
        """The id of the root key that the keystore is under."""
        return self._keystore.root_id

    @property
    def shares(self) -> int:
        """How many shares the root key was given out in; 0 where no ceremony was held."""
        return self._keystore.shares

    def progress(self) -> Progress:
        """How many shares are given. Given and needed are equal once it is open."""
        needed = self._keystore.threshold
        return Progress(len(self._gathering) if self.is_sealed else needed, needed)

    def unseal(self, share: str) -> Progress:
        """Takes one custodian's share; opens with the last that is needed. Raises ShareRefused, KeyRefused."""
        with self._lock:
            if self._root is not None:
                raise ShareRefused(ShareFault.NOT_SEALED)
            self._keystore = Keystore.parse(self._place.read())  # a new ceremony may have been held since
            if not self._gathering.fits(self._keystore.share_set, self._keystore.threshold):
                self._gathering = Gathering(share_set=self._keystore.share_set, threshold=self._keystore.threshold)
            together = self._gathering.add(share)
            if together is not None:
                root = _as_root(together)
                if root is None or not self._keystore.is_under(root):  # (2)
                    raise ShareRefused(ShareFault.WRONG_TOGETHER)
                self._root = root
            return self.progress()

    def seal(self) -> None:
        """Forgets the root key, every opened key, and every share given so far."""
        with self._lock:
            self._root = None
            self._sets.clear()
            self._gathering.forget()

    def reseal(self, new: Keystore, new_root: Root) -> None:
        """Puts every merchant's keys under a new root key (``new``, empty). The old root key and its shares open nothing more.

        Raises KeyUnavailable, and then the old root key is still the one.
        """

        def under_new(keystore: Keystore, root: Root) -> Keystore:
            resealed = new
            for merchant in keystore.merchants:
                if (keys := keystore.open_set(root, merchant)) is not None:
                    resealed = resealed.with_set(new_root, merchant, keys)
            return resealed.remembering(new_root, keystore).at_serial(new_root, keystore.serial + 1)

        with self._lock:
            self._change(under_new, overwrite_old=True, next_root=new_root)

    def generate(self, context: KeyContext) -> DataKey:
        """As KeyProvider.generate."""
        keys, key = self._keys(context.merchant, make=True), new_key()
        return DataKey(key, wrap(keys, key, context))

    def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        """As KeyProvider.unwrap."""
        return unwrap(self._keys(context.merchant), wrapped, context)

    def rewrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        """As KeyProvider.rewrap."""
        keys = self._keys(context.merchant)
        return wrap(keys, unwrap(keys, wrapped, context), context)

    def mac(self, merchant: str, message: bytes) -> bytes:
        """As KeyProvider.mac."""
        if len(message) > MESSAGE_BYTES_MAXIMUM:
            raise ValueError(f"a message has at most {MESSAGE_BYTES_MAXIMUM} bytes")
        return hmac.new(self._keys(merchant, make=True).mac, message, hashlib.sha256).digest()

    def rotate(self, merchant: str) -> None:
        """As KeyProvider.rotate."""

        def with_new_version(keystore: Keystore, root: Root) -> Keystore:
            keys = keystore.open_set(root, merchant) or fresh_set()
            wrapping = {**keys.wrapping, keys.newest + 1: new_key()}
            return keystore.with_set(root, merchant, keys._replace(wrapping=wrapping))

        with self._lock:
            self._change(with_new_version)

    def destroy(self, merchant: str) -> None:
        """As KeyProvider.destroy. (4)"""
        with self._lock:
            self._change(lambda keystore, root: keystore.without(root, merchant), overwrite_old=True)

    def check(self) -> None:
        """As KeyProvider.check."""
        with self._lock:
            self._current()

    def close(self) -> None:
        """Seals it."""
        self.seal()

    def _keys(self, merchant: str, *, make: bool = False) -> KeySet:
        with self._lock:
            keystore, root = self._current()
            if (opened := self._sets.get(merchant)) is not None:
                return opened
            keys = _available(lambda: keystore.open_set(root, merchant))
            if keys is None and (not make or keystore.has_destroyed(merchant)):
                raise KeyDestroyed
            if keys is None:
                # Another process may have made them since: whoever holds the lock on the file looks again.
                made = self._change(
                    lambda latest, key: (
                        latest if merchant in latest.merchants else latest.with_set(key, merchant, fresh_set())
                    )
                )
                keys = _available(lambda: made.open_set(root, merchant))
            if keys is None:
                raise KeyUnavailable
            self._sets[merchant] = keys
            return keys

    def _current(self) -> tuple[Keystore, Root]:
        """The keystore as it stands on disk now, and the root key. Raises KeyUnavailable."""
        root = self._root
        if root is None:
            raise KeyUnavailable  # (1)
        if self._place.has_changed():
            self._take(_available(lambda: Keystore.parse(self._place.read())), root)
        return self._keystore, root

    def _take(self, keystore: Keystore, root: Root) -> None:
        if not _available(
            lambda: keystore.is_under(root)
        ):  # a new ceremony was held: this root key is worth nothing now
            self.seal()
            raise KeyUnavailable
        if keystore.serial < self._keystore.serial:  # (3)
            raise KeyUnavailable
        self._keystore = keystore
        self._sets.clear()

    def _change(
        self,
        change: Callable[[Keystore, Root], Keystore],
        *,
        overwrite_old: bool = False,
        next_root: Root | None = None,
    ) -> Keystore:
        """Changes the keystore as it stands on disk, alone among all processes. Raises KeyUnavailable."""
        with _as_unavailable(), self._place.writing():
            self._place.forget()
            keystore, root = self._current()
            changed = change(keystore, root)
            if changed is not keystore:
                self._place.replace(changed.encode(), overwrite_old=overwrite_old)  # (3)
                self._root = next_root or root
                self._keystore = changed
                self._sets.clear()
            return changed


def create_development_root(directory: Path, root_id: str) -> None:
    """Writes a development root key file. Raises FileExistsError rather than overwrite one: its cards would be lost."""
    content = {"kind": _ROOT_KIND, "id": root_id, "environment": DEVELOPMENT, "key": new_key().hex()}
    create_owner_only(directory / ROOT_KEY, json.dumps(content).encode() + b"\n")


def fresh_set() -> KeySet:
    """New keys for a merchant."""
    return KeySet(os.urandom(SET_BYTES), new_key(), {1: new_key()})


def wrap(keys: KeySet, key: bytes, context: KeyContext) -> bytes:
    """The data key under the newest version of the wrapping key, in format 2."""
    return header(keys.set_id, keys.newest) + seal(keys.wrapping[keys.newest], key, _bound(keys, keys.newest, context))


def unwrap(keys: KeySet, wrapped: bytes, context: KeyContext) -> bytes:
    """What wrap() was given. Raises KeyUnavailable, and KeyDestroyed for what is under another set of the merchant's keys."""
    if len(wrapped) <= HEADER_BYTES or wrapped[0] != FORMAT:
        raise KeyUnavailable
    if wrapped[1 : 1 + SET_BYTES] != keys.set_id:
        raise KeyDestroyed
    version = int.from_bytes(wrapped[1 + SET_BYTES : HEADER_BYTES], "big")
    if version not in keys.wrapping:
        raise KeyUnavailable
    try:
        return unseal(keys.wrapping[version], wrapped[HEADER_BYTES:], _bound(keys, version, context))
    except SealBroken:
        raise KeyUnavailable from None


def header(set_id: bytes, version: int) -> bytes:
    """What stands before the sealed data key."""
    return bytes([FORMAT]) + set_id + version.to_bytes(4, "big")


def _bound(keys: KeySet, version: int, context: KeyContext) -> tuple[str, ...]:
    return ("data-key", keys.set_id.hex(), str(version), *context)


def _as_root(key: bytes) -> Root | None:
    return Root(key) if len(key) == KEY_BYTES else None


def _read_development_root(path: Path, environment: str) -> tuple[str, Root]:
    if environment != DEVELOPMENT:
        raise KeyRefused(
            "development_key_in_production", f"remove {path} and hold a key ceremony: `vault-zone ceremony`"
        )
    content = read_owner_only(path, missing_fix="run `vault-zone init` first")
    fix = "restore the root key file from its backup"
    try:
        held = json.loads(content)
        root_id, made_for, key = held["id"], held["environment"], bytes.fromhex(held["key"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise KeyRefused("key_file_malformed", fix) from None
    if made_for != environment:
        raise KeyRefused("key_of_another_environment", "make keys for this environment with `vault-zone init`")
    if len(key) != KEY_BYTES or type(root_id) is not str:
        raise KeyRefused("key_file_malformed", fix)
    return root_id, Root(key)


@contextmanager
def _as_unavailable() -> Iterator[None]:
    """A disk that fails, and a keystore that is missing, altered or malformed now, are KeyUnavailable until mended."""
    try:
        yield
    except (OSError, KeyRefused):
        raise KeyUnavailable from None


def _available(read: Callable[[], T]) -> T:
    with _as_unavailable():
        return read()
