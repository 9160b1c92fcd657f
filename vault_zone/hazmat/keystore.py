"""The local provider's keystore: every merchant's keys, sealed under a root key that is not in it.

Format 1, canonical JSON in one file of mode 0600:

    {"kind": "cordon-keystore", "format": 1, "serial": n, "environment": "...", "root": root key's id,
     "threshold": M, "shares": N, "share_set": the ceremony's number,
     "check": seal of nothing,
     "merchants": {merchant: {"set": 8 random bytes, "mac": sealed key, "wrapping": {"1": sealed key, "2": ...}}},
     "destroyed": [SHA-256 of each merchant's id whose keys were destroyed, in order; absent while there is none],
     "mac": HMAC-SHA-256 of all of the above}

Bytes are hexadecimal. Sealing is seal.py's format 1 under one key derived from the root key, the last "mac" under another
(HKDF-SHA-256, RFC 5869). What must hold:
 1. A sealed key opens for its own merchant, purpose, version and root key's id alone (PCI DSS 3.7.7).
 2. "check" tells the right root key from another before anything is opened with it, and binds environment, M and N.
 3. A file that was not written by a holder of the root key is refused, whatever was changed in it.
 4. A merchant whose keys were destroyed gets none again.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, TypeVar

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vault_zone.hazmat.files import KeyRefused
from vault_zone.hazmat.provider import KeyDestroyed
from vault_zone.hazmat.seal import KEY_BYTES, SealBroken, seal, unseal

T = TypeVar("T")

KIND: Final = "cordon-keystore"
FORMAT: Final = 1
SET_BYTES: Final = 8
_MERCHANTS_FIX: Final = "restore keys/keystore.json from its backup"


class KeySet(NamedTuple):
    """A merchant's keys in clear: versions of the wrapping key, and the MAC key. Destroyed and made anew, it is another set."""

    set_id: bytes
    mac: bytes
    wrapping: Mapping[int, bytes]

    @property
    def newest(self) -> int:
        """The version that wraps now."""
        return max(self.wrapping)

    def __repr__(self) -> str:
        return f"KeySet({self.set_id.hex()}, {len(self.wrapping)} versions)"


class Root:
    """A root key, as the two keys derived from it."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise KeyRefused("root_key_malformed", "a root key is 256 bits long")
        self.seal_key = _derived(key, b"cordon-keystore-seal-v1")
        self.mac_key = _derived(key, b"cordon-keystore-mac-v1")

    def __repr__(self) -> str:
        return "Root(****)"


@dataclass(frozen=True, slots=True)
class Keystore:
    """The keystore as it stands in the file: all keys sealed."""

    environment: str
    root_id: str
    threshold: int
    shares: int
    share_set: int
    serial: int
    check: bytes
    mac: bytes = b""
    merchants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    destroyed: frozenset[str] = frozenset()

    @classmethod
    def empty(
        cls, root: Root, *, environment: str, root_id: str, threshold: int = 0, shares: int = 0, share_set: int = 0
    ) -> "Keystore":
        """A keystore without merchants under this root key; M, N and the set are 0 where no ceremony was held."""
        bound = _check_context(environment, root_id, threshold, shares, share_set)
        check = seal(root.seal_key, b"", bound)
        return cls(environment, root_id, threshold, shares, share_set, 1, check)._authenticated(root)

    @classmethod
    def parse(cls, content: bytes) -> "Keystore":
        """Reads a file's content. Raises KeyRefused(keystore_malformed). Nothing is believed yet: see is_under()."""
        try:
            held = json.loads(content)
            if held["kind"] != KIND or held["format"] != FORMAT:
                raise KeyRefused("keystore_malformed", _MERCHANTS_FIX)
            return cls(
                environment=_typed(held["environment"], str),
                root_id=_typed(held["root"], str),
                threshold=_typed(held["threshold"], int),
                shares=_typed(held["shares"], int),
                share_set=_typed(held["share_set"], int),
                serial=_typed(held["serial"], int),
                check=bytes.fromhex(held["check"]),
                mac=bytes.fromhex(held["mac"]),
                merchants=_typed(held["merchants"], dict),
                destroyed=frozenset(_typed(name, str) for name in _typed(held.get("destroyed", []), list)),
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            raise KeyRefused("keystore_malformed", _MERCHANTS_FIX) from None

    def encode(self) -> bytes:
        """The file's content."""
        return _canonical({**self._body(), "mac": self.mac.hex()})

    def is_under(self, root: Root) -> bool:
        """(2) Whether this is the root key of the keystore. Raises KeyRefused(keystore_altered) if it is and (3) fails."""
        try:
            bound = _check_context(self.environment, self.root_id, self.threshold, self.shares, self.share_set)
            unseal(root.seal_key, self.check, bound)
        except SealBroken:
            return False
        if not hmac.compare_digest(self.mac, self._mac(root)):
            raise KeyRefused("keystore_altered", _MERCHANTS_FIX)
        return True

    def open_set(self, root: Root, merchant: str) -> KeySet | None:
        """(1) The merchant's keys in clear, or None if it has none. Raises KeyRefused(keystore_altered)."""
        held = self.merchants.get(merchant)
        if held is None:
            return None
        try:
            set_id = bytes.fromhex(held["set"])
            mac = unseal(root.seal_key, bytes.fromhex(held["mac"]), self._bound(merchant, set_id, "mac", 1))
            wrapping = {
                int(version): unseal(
                    root.seal_key, bytes.fromhex(sealed), self._bound(merchant, set_id, "wrapping", int(version))
                )
                for version, sealed in held["wrapping"].items()
            }
            return KeySet(set_id, mac, wrapping)
        except (SealBroken, ValueError, KeyError, TypeError):
            raise KeyRefused("keystore_altered", _MERCHANTS_FIX) from None

    def with_set(self, root: Root, merchant: str, keys: KeySet) -> "Keystore":
        """The keystore with these keys for the merchant, sealed. Raises KeyDestroyed (4)."""
        if self.has_destroyed(merchant):
            raise KeyDestroyed
        bound = self._bound
        sealed = {
            "set": keys.set_id.hex(),
            "mac": seal(root.seal_key, keys.mac, bound(merchant, keys.set_id, "mac", 1)).hex(),
            "wrapping": {
                str(version): seal(root.seal_key, key, bound(merchant, keys.set_id, "wrapping", version)).hex()
                for version, key in keys.wrapping.items()
            },
        }
        changed = replace(self, merchants={**self.merchants, merchant: sealed}, serial=self.serial + 1)
        return changed._authenticated(root)

    def without(self, root: Root, merchant: str) -> "Keystore":
        """The keystore without the merchant's keys, which remembers that they were destroyed (4)."""
        others = {name: held for name, held in self.merchants.items() if name != merchant}
        destroyed = self.destroyed | {_digest(merchant)}
        return replace(self, merchants=others, destroyed=destroyed, serial=self.serial + 1)._authenticated(root)

    def has_destroyed(self, merchant: str) -> bool:
        """Whether the merchant's keys were destroyed."""
        return _digest(merchant) in self.destroyed

    def remembering(self, root: Root, other: "Keystore") -> "Keystore":
        """The same keystore with what another one remembers as destroyed (4)."""
        return replace(self, destroyed=self.destroyed | other.destroyed)._authenticated(root)

    def at_serial(self, root: Root, serial: int) -> "Keystore":
        """The same keystore with another serial number: it grows with every change."""
        return replace(self, serial=serial)._authenticated(root)

    def _bound(self, merchant: str, set_id: bytes, purpose: str, version: int) -> tuple[str, ...]:
        return ("keystore", self.root_id, merchant, set_id.hex(), purpose, str(version))

    def _body(self) -> dict[str, Any]:
        remembered = {"destroyed": sorted(self.destroyed)} if self.destroyed else {}
        return {
            "kind": KIND,
            "format": FORMAT,
            "serial": self.serial,
            "environment": self.environment,
            "root": self.root_id,
            "threshold": self.threshold,
            "shares": self.shares,
            "share_set": self.share_set,
            "check": self.check.hex(),
            "merchants": self.merchants,
            **remembered,
        }

    def _mac(self, root: Root) -> bytes:
        return hmac.new(root.mac_key, _canonical(self._body()), hashlib.sha256).digest()

    def _authenticated(self, root: Root) -> "Keystore":
        return replace(self, mac=self._mac(root))


def _check_context(environment: str, root_id: str, threshold: int, shares: int, share_set: int) -> tuple[str, ...]:
    return ("keystore-check", root_id, environment, str(threshold), str(shares), str(share_set))


def _digest(merchant: str) -> str:
    return hashlib.sha256(merchant.encode()).hexdigest()


def _typed(value: Any, kind: type[T]) -> T:
    if type(value) is not kind:
        raise TypeError
    return value


def _canonical(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _derived(root: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(root)
