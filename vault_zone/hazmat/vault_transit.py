"""The key-service provider: merchants' keys in the Transit engine of HashiCorp Vault or OpenBao.

Two keys per merchant (``PREFIX-wrap-NAME``, ``PREFIX-mac-NAME``), AES-256-GCM. The wrapping key is derived: Vault makes the key
that wraps from it and from the call's context (HKDF), so a wrapped key opens for its own KeyContext alone. Of the other key
only the HMAC is used, always of version 1, so rotation leaves it alone. Nothing of either leaves Vault. What must hold:
 1. "Destroyed" is said only when Vault itself says that the merchant's key does not exist, or is not the one that wrapped; a
    mount that is not there says nothing of keys.
 2. The two keys come and go together: the MAC key is made first and deleted last.
 3. A third key, ``PREFIX-destroyed-NAME``, is used for nothing: that it exists says that the merchant's keys were destroyed. It
    is made before they go, and looked for before and after any are made.

A wrapped data key, format 3:

    byte 0       format (3)
    bytes 1..8   the merchant's key set, which is HMAC(MAC key, a label): destroyed and made anew, it is another
    bytes 9..    Vault's own text, ``vault:v1:…``
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import hvac
from hvac.exceptions import InvalidPath, InvalidRequest

from tokenization.clock import monotonic_seconds
from vault_zone.hazmat.names import key_name_part
from vault_zone.hazmat.provider import DataKey, KeyContext, KeyDestroyed, KeyUnavailable
from vault_zone.hazmat.seal import KEY_BYTES, associated_data
from vault_zone.hazmat.vault_session import VaultPlace, VaultSession

T = TypeVar("T")

FORMAT: Final = 3
SET_BYTES: Final = 8
HEADER_BYTES: Final = 1 + SET_BYTES
MESSAGE_BYTES_MAXIMUM: Final = 64
KEY_TYPE: Final = "aes256-gcm96"
_SET_LABEL: Final = b"cordon-key-set-v1"
_MAC_VERSION: Final = 1
_CIPHERTEXT: Final = b"vault:v"


class VaultKeys:
    """Keys in Vault's Transit engine."""

    name = "vault"
    is_remote = True
    is_sealed = False

    def __init__(self, place: VaultPlace, now_seconds: Callable[[], float] = monotonic_seconds) -> None:
        self._place = place
        self._session = VaultSession(place, now_seconds)
        self._sets: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"VaultKeys({self._place.mount})"

    def generate(self, context: KeyContext) -> DataKey:
        """As KeyProvider.generate."""

        def made() -> DataKey:
            set_id = self._set_of(context.merchant)
            data = self._call(
                lambda transit, mount: transit.generate_data_key(
                    self._name("wrap", context.merchant),
                    key_type="plaintext",
                    context=_context(set_id, context),
                    bits=KEY_BYTES * 8,
                    mount_point=mount,
                )
            )
            return DataKey(_key(data), bytes([FORMAT]) + set_id + _ciphertext(data))

        return self._making(context.merchant, made)

    def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        """As KeyProvider.unwrap."""
        ciphertext = _ciphertext_in(wrapped)
        return _key(
            self._on_existing(
                wrapped,
                context.merchant,
                lambda transit, mount: transit.decrypt_data(
                    self._name("wrap", context.merchant),
                    ciphertext,
                    context=_context(wrapped[1:HEADER_BYTES], context),
                    mount_point=mount,
                ),
            )
        )

    def rewrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        """As KeyProvider.rewrap. The data key does not leave Vault."""
        ciphertext = _ciphertext_in(wrapped)
        data = self._on_existing(
            wrapped,
            context.merchant,
            lambda transit, mount: transit.rewrap_data(
                self._name("wrap", context.merchant),
                ciphertext,
                context=_context(wrapped[1:HEADER_BYTES], context),
                mount_point=mount,
            ),
        )
        return wrapped[:HEADER_BYTES] + _ciphertext(data)

    def mac(self, merchant: str, message: bytes) -> bytes:
        """As KeyProvider.mac."""
        if len(message) > MESSAGE_BYTES_MAXIMUM:
            raise ValueError(f"a message has at most {MESSAGE_BYTES_MAXIMUM} bytes")
        return self._making(merchant, lambda: self._mac(merchant, message))

    def rotate(self, merchant: str) -> None:
        """As KeyProvider.rotate."""
        self._making(
            merchant,
            lambda: self._call(
                lambda transit, mount: transit.rotate_key(self._name("wrap", merchant), mount_point=mount)
            ),
        )

    def destroy(self, merchant: str) -> None:
        """As KeyProvider.destroy."""
        self._sets.pop(merchant, None)
        try:
            self._create(self._name("destroyed", merchant), derived=False)  # (3)
        except (InvalidRequest, InvalidPath):
            raise KeyUnavailable from None
        self._delete_both(merchant)

    def _delete_both(self, merchant: str) -> None:
        for kind in ("wrap", "mac"):  # (2)
            if self._exists(kind, merchant):
                try:
                    self._delete(self._name(kind, merchant))
                except (InvalidRequest, InvalidPath):
                    if self._exists(kind, merchant):
                        raise KeyUnavailable from None

    def check(self) -> None:
        """As KeyProvider.check: the token is good and Vault answers for the mount."""
        try:
            self._call(lambda transit, mount: transit.read_key(f"{self._place.key_prefix}-check", mount_point=mount))
        except InvalidPath as failure:
            if not _is_missing_key(failure):
                raise KeyUnavailable from None
        except InvalidRequest:
            raise KeyUnavailable from None

    def close(self) -> None:
        """As KeyProvider.close."""
        self._sets.clear()
        self._session.close()

    def _call(self, work: Callable[[Any, str], Any]) -> Mapping[str, Any]:
        def on(client: hvac.Client) -> Any:
            return work(client.secrets.transit, self._place.mount)

        return self._session.call(on)

    def _name(self, kind: str, merchant: str) -> str:
        return f"{self._place.key_prefix}-{kind}-{key_name_part(merchant)}"

    def _set_of(self, merchant: str) -> bytes:
        if merchant not in self._sets:
            self._sets[merchant] = self._mac(merchant, _SET_LABEL)[:SET_BYTES]
        return self._sets[merchant]

    def _mac(self, merchant: str, message: bytes) -> bytes:
        data = self._call(
            lambda transit, mount: transit.generate_hmac(
                self._name("mac", merchant),
                _base64(message),
                key_version=_MAC_VERSION,
                algorithm="sha2-256",
                mount_point=mount,
            )
        )
        mac = _decoded(str(data.get("hmac", "")).removeprefix(f"vault:v{_MAC_VERSION}:"))
        if len(mac) != 32:
            raise KeyUnavailable
        return mac

    def _making(self, merchant: str, work: Callable[[], T]) -> T:
        """Runs work that may be the first for a merchant: where a key is missing, both are made, and it runs again."""
        try:
            return work()
        except (InvalidRequest, InvalidPath):
            self._sets.pop(merchant, None)
        if self._exists("destroyed", merchant):  # (3)
            raise KeyDestroyed
        try:
            for kind, derived in (("mac", False), ("wrap", True)):  # (2) making a key that exists changes nothing
                self._create(self._name(kind, merchant), derived=derived)
            if self._exists("destroyed", merchant):  # (3) meanwhile, by another process
                self._delete_both(merchant)
                raise KeyDestroyed
            return work()
        except (InvalidRequest, InvalidPath):
            raise KeyUnavailable from None

    def _create(self, name: str, *, derived: bool) -> None:
        self._call(
            lambda transit, mount: transit.create_key(
                name,
                key_type=KEY_TYPE,
                derived=derived,
                exportable=False,
                allow_plaintext_backup=False,
                mount_point=mount,
            )
        )

    def _delete(self, name: str) -> None:
        self._call(
            lambda transit, mount: transit.update_key_configuration(name, deletion_allowed=True, mount_point=mount)
        )
        self._call(lambda transit, mount: transit.delete_key(name, mount_point=mount))

    def _on_existing(self, wrapped: bytes, merchant: str, work: Callable[[Any, str], Any]) -> Mapping[str, Any]:
        try:
            return self._call(work)
        except (InvalidRequest, InvalidPath):
            self._sets.pop(merchant, None)
        if not self._exists("wrap", merchant):
            raise KeyDestroyed  # (1)
        try:
            set_id = self._set_of(merchant)
        except (InvalidRequest, InvalidPath):
            raise KeyDestroyed from None
        if wrapped[1:HEADER_BYTES] != set_id:
            raise KeyDestroyed
        raise KeyUnavailable

    def _exists(self, kind: str, merchant: str) -> bool:
        try:
            self._call(lambda transit, mount: transit.read_key(self._name(kind, merchant), mount_point=mount))
        except InvalidPath as failure:
            if _is_missing_key(failure):
                return False
            raise KeyUnavailable from None
        except InvalidRequest:
            raise KeyUnavailable from None
        return True


def _context(set_id: bytes, context: KeyContext) -> str:
    return _base64(associated_data(("vault-data-key", set_id.hex(), *context)))


def _is_missing_key(failure: InvalidPath) -> bool:
    return not failure.errors  # for a mount that is not there Vault says so


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise KeyUnavailable from None


def _key(data: Mapping[str, Any]) -> bytes:
    key = _decoded(str(data.get("plaintext", "")))
    if len(key) != KEY_BYTES:
        raise KeyUnavailable
    return key


def _ciphertext(data: Mapping[str, Any]) -> bytes:
    ciphertext = str(data.get("ciphertext", "")).encode()
    if not ciphertext.startswith(_CIPHERTEXT):
        raise KeyUnavailable
    return ciphertext


def _ciphertext_in(wrapped: bytes) -> str:
    text = wrapped[HEADER_BYTES:]
    if wrapped[:1] != bytes([FORMAT]) or not text.startswith(_CIPHERTEXT) or not text.isascii():
        raise KeyUnavailable
    return text.decode()
