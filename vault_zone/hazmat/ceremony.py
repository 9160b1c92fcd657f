"""A new root key for the local provider, made in shares: it is never whole anywhere but in this process's memory."""

from dataclasses import dataclass, field
from pathlib import Path

from tokenization.ids import new_id
from vault_zone.hazmat.files import KeyRefused
from vault_zone.hazmat.keystore import Keystore, Root
from vault_zone.hazmat.keystore_file import KeystoreFile
from vault_zone.hazmat.local import KEYSTORE, PRODUCTION, ROOT_KEY
from vault_zone.hazmat.seal import new_key
from vault_zone.hazmat.shares import share_set_of, split


@dataclass(frozen=True, slots=True)
class NewRoot:
    """A root key that is in force nowhere yet, and its shares. Give the shares out first, then install() or reseal()."""

    root_id: str
    threshold: int
    shares: tuple[str, ...] = field(repr=False)
    _keystore: Keystore = field(repr=False)
    _root: Root = field(repr=False)

    @classmethod
    def make(cls, *, environment: str, threshold: int, shares: int) -> "NewRoot":
        """A fresh root key of 256 bits in so many shares. Raises ValueError unless 2 <= threshold <= shares <= 16."""
        key, root_id = new_key(), new_id("root")
        given = split(key, threshold=threshold, shares=shares)
        root = Root(key)
        keystore = Keystore.empty(
            root,
            environment=environment,
            root_id=root_id,
            threshold=threshold,
            shares=shares,
            share_set=share_set_of(given[0]),
        )
        return cls(root_id, threshold, tuple(given), keystore, root)

    def install(self, directory: Path) -> None:
        """Writes the first keystore of this directory. Raises KeyRefused: one is there, or a development root key is."""
        refuse_if_keys_exist(directory, self._keystore.environment)
        try:
            KeystoreFile(directory / KEYSTORE).create(self._keystore.encode())
        except FileExistsError:
            raise _exists(directory) from None

    def for_reseal(self) -> tuple[Keystore, Root]:
        """What LocalKeys.reseal() takes."""
        return self._keystore, self._root


def refuse_if_keys_exist(directory: Path, environment: str) -> None:
    """Raises KeyRefused(keystore_exists, development_key_in_production)."""
    if environment == PRODUCTION and (directory / ROOT_KEY).exists():
        raise KeyRefused("development_key_in_production", f"remove {directory / ROOT_KEY}: it is a development key")
    if (directory / KEYSTORE).exists() or (directory / ROOT_KEY).exists():
        raise _exists(directory)


def _exists(directory: Path) -> KeyRefused:
    return KeyRefused(
        "keystore_exists", f"{directory} holds keys already; `vault-zone ceremony reshare` gives new shares"
    )
