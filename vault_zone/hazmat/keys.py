"""Keys: a provider that wraps data keys, and the data keys of each merchant that it wraps.

    root key (provider) ──wraps──▶ data key (merchant, purpose, epoch) ──seals──▶ card record

The provider is a port. ``LocalKeys`` is the development provider: the root key lies in a file that only its owner may read,
marked with the environment it was made for; production refuses a development file (I9).
"""

import hmac
import json
import os
from dataclasses import dataclass
from pathlib import Path

from vault_zone.hazmat.provider import DataKey, KeyContext, KeyDestroyed, KeyUnavailable
from vault_zone.hazmat.seal import KEY_BYTES, SealBroken, new_key, seal, unseal


class KeyRefused(Exception):
    """The key file may not be used here: ``code`` says why (missing, readable by others, of another environment, malformed)."""

    def __init__(self, code: str, fix: str) -> None:
        super().__init__(f"{code}: {fix}")
        self.code = code


@dataclass(frozen=True, slots=True)
class RootKeyFile:
    """What a local root key file says of itself, besides the key."""

    path: Path
    environment: str


class LocalKeys:
    """A root key in a file of mode 0600."""

    name = "local"
    is_remote = False

    def __init__(self, root_key: bytes, key_id: str) -> None:
        self._root_key = root_key
        self._key_id = key_id
        self._destroyed: set[str] = set()

    def __repr__(self) -> str:
        return f"LocalKeys({self._key_id})"

    @classmethod
    def create(cls, path: Path, *, environment: str, key_id: str) -> "LocalKeys":
        """Makes a root key file. Raises FileExistsError rather than overwrite one: its cards would be lost."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        content = json.dumps(
            {"kind": "cordon-root-key", "id": key_id, "environment": environment, "key": new_key().hex()}
        )
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(content + "\n")
            file.flush()
            os.fsync(file.fileno())
        return cls.open(path, environment=environment)

    @classmethod
    def open(cls, path: Path, *, environment: str) -> "LocalKeys":
        """Opens a root key file. Raises KeyRefused: absent, readable by others, made for another environment, malformed."""
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            raise KeyRefused("key_file_missing", "run `vault-zone init` first") from None
        if mode & 0o077:
            raise KeyRefused("key_file_readable_by_others", "chmod 600 the root key file")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            key, made_for, key_id = bytes.fromhex(content["key"]), content["environment"], content["id"]
        except (ValueError, KeyError, TypeError):
            raise KeyRefused("key_file_malformed", "restore the root key file from its backup") from None
        if len(key) != KEY_BYTES:
            raise KeyRefused("key_file_malformed", "restore the root key file from its backup")
        if made_for != environment:
            raise KeyRefused("key_of_another_environment", "make keys for this environment with `vault-zone init`")
        return cls(key, key_id)

    def generate(self, context: KeyContext) -> DataKey:
        """See KeyProvider.generate."""
        key = new_key()
        return DataKey(key, seal(self._of(context.merchant, "wrap"), key, ("wrap", self._key_id, *context)))

    def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        """See KeyProvider.unwrap."""
        try:
            return unseal(self._of(context.merchant, "wrap"), wrapped, ("wrap", self._key_id, *context))
        except SealBroken:
            raise KeyUnavailable from None

    def rewrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        """See KeyProvider.rewrap."""
        return seal(self._of(context.merchant, "wrap"), self.unwrap(wrapped, context), ("wrap", self._key_id, *context))

    def mac(self, merchant: str, message: bytes) -> bytes:
        """See KeyProvider.mac."""
        return hmac.digest(self._of(merchant, "mac"), message, "sha256")

    def rotate(self, merchant: str) -> None:
        """See KeyProvider.rotate."""

    def destroy(self, merchant: str) -> None:
        """See KeyProvider.destroy."""
        self._destroyed.add(merchant)

    def check(self) -> None:
        """See KeyProvider.check."""

    def close(self) -> None:
        """See KeyProvider.close."""

    def _of(self, merchant: str, use: str) -> bytes:
        if merchant in self._destroyed:
            raise KeyDestroyed
        return hmac.digest(self._root_key, f"{use}:{merchant}".encode(), "sha256")
