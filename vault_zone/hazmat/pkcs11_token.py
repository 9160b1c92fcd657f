"""The hardware provider: merchants' keys in a PKCS#11 token, where they are made and which they cannot leave.

Per merchant, found by label (``cordon/KIND/NAME``) and id (8 bytes of the key set, 4 bytes of version):

    wrap   AES-256, not extractable, wraps and unwraps and does nothing else (AES key wrap, RFC 3394); one object a version
    bind   256-bit generic secret, signs: ties a wrapped data key to its context, which AES key wrap cannot
    mac    256-bit generic secret, signs: KeyProvider.mac

and for a merchant whose keys were destroyed, ``destroyed``, a generic secret that is used for nothing.

What must hold:
 1. A wrapped key is opened only after its HMAC over context, header and wrapped bytes was compared in constant time.
 2. That HMAC has a key of its own: nothing that mac() answers can be taken for one.
 3. A missing key means destroyed only while the token's anchor object is seen; otherwise the token itself is away or another.
 4. The module is used from one thread: it is initialised without locking, and a session holds one operation at a time.
 5. A PIN that the token refused is not tried again, or the token locks itself; the file has to hold another one first.
 6. A merchant whose keys were destroyed gets none again; the mark is laid before they go, under the lock that making takes.

A wrapped data key, format 4:

    byte 0        format (4)
    bytes 1..8    the merchant's key set: destroyed and made anew, it is another
    bytes 9..12   version of the wrapping key, big end first
    bytes 13..52  the data key under AES key wrap
    bytes 53..84  HMAC-SHA-256
"""

import hmac
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, PKCS11Error, Session, Token

from vault_zone.hazmat.files import KeyRefused, read_secret_line, writing
from vault_zone.hazmat.names import key_name_part
from vault_zone.hazmat.one_thread import OneThread, TookTooLong
from vault_zone.hazmat.provider import DataKey, KeyContext, KeyDestroyed, KeyUnavailable
from vault_zone.hazmat.seal import associated_data

T = TypeVar("T")
# What a key can do is mixed in at run time, by its attributes.
Key = Any

FORMAT: Final = 4
SET_BYTES: Final = 8
HEADER_BYTES: Final = 1 + SET_BYTES + 4
WRAPPED_BYTES: Final = 40
TAG_BYTES: Final = 32
MESSAGE_BYTES_MAXIMUM: Final = 64
TIMEOUT_SECONDS: Final = 5.0
ANCHOR: Final = "cordon/anchor"
_MARK: Final = "destroyed"
_STAYS_INSIDE: Final = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}
# Every use is named: what is left out, a token may allow.
_NO_USE: Final = dict.fromkeys(
    (
        Attribute.WRAP,
        Attribute.UNWRAP,
        Attribute.SIGN,
        Attribute.VERIFY,
        Attribute.ENCRYPT,
        Attribute.DECRYPT,
        Attribute.DERIVE,
    ),
    False,
)
_WRAPS_ONLY: Final = {**_STAYS_INSIDE, **_NO_USE, Attribute.WRAP: True, Attribute.UNWRAP: True}
_SIGNS_ONLY: Final = {**_STAYS_INSIDE, **_NO_USE, Attribute.SIGN: True, Attribute.VERIFY: True}
_FOR_A_MOMENT: Final = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True, Attribute.TOKEN: False}
_SECRET_KEYS: Final = {Attribute.CLASS: ObjectClass.SECRET_KEY}
_PIN_REFUSED: Final = (
    pkcs11.exceptions.PinIncorrect,
    pkcs11.exceptions.PinInvalid,
    pkcs11.exceptions.PinLenRange,
    pkcs11.exceptions.PinExpired,
    pkcs11.exceptions.PinLocked,
)
# One thread for each module of this process, whatever number of providers use it. (4)
_threads: dict[str, OneThread] = {}


class TokenPlace(NamedTuple):
    """Where the token is: the vendor's module, the token's label, the file with the user's PIN, a file to lock on."""

    module: Path
    token: str
    pin_file: Path
    lock_file: Path


class _Set(NamedTuple):
    set_id: bytes
    mac: Key
    bind: Key
    wrapping: dict[int, Key]

    @property
    def newest(self) -> int:
        return max(self.wrapping)


class Pkcs11Keys:
    """Keys in a token. Sessions that are lost are opened again, with a new login, as often as a call needs one."""

    name = "pkcs11"
    is_remote = False
    is_sealed = False

    def __init__(self, place: TokenPlace, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._place = place
        self._timeout_seconds = timeout_seconds
        self._session: Session | None = None
        self._sets: dict[str, _Set] = {}
        self._was_open = False
        self._refused_pin: str | None = None
        self._thread = _threads.setdefault(str(place.module), OneThread(f"pkcs11 {place.module.name}"))

    def __repr__(self) -> str:
        return f"Pkcs11Keys({self._place.token})"

    def generate(self, context: KeyContext) -> DataKey:
        """As KeyProvider.generate."""

        def made(session: Session) -> DataKey:
            keys = self._find(session, context.merchant) or self._make(session, context.merchant)
            key = session.generate_key(KeyType.AES, 256, template=_FOR_A_MOMENT)
            try:
                return DataKey(bytes(key[Attribute.VALUE]), _wrap(keys, key, context))
            finally:
                key.destroy()

        return self._do(made)

    def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        """As KeyProvider.unwrap."""

        def opened(session: Session) -> bytes:
            key = self._open(session, wrapped, context)
            try:
                return bytes(key[Attribute.VALUE])
            finally:
                key.destroy()

        return self._do(opened)

    def rewrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        """As KeyProvider.rewrap. The data key does not leave the token."""

        def rewrapped(session: Session) -> bytes:
            self._sets.pop(context.merchant, None)  # another process may have rotated
            key = self._open(session, wrapped, context)
            try:
                return _wrap(self._sets[context.merchant], key, context)
            finally:
                key.destroy()

        return self._do(rewrapped)

    def mac(self, merchant: str, message: bytes) -> bytes:
        """As KeyProvider.mac."""
        if len(message) > MESSAGE_BYTES_MAXIMUM:
            raise ValueError(f"a message has at most {MESSAGE_BYTES_MAXIMUM} bytes")

        def maced(session: Session) -> bytes:
            keys = self._sets.get(merchant) or self._find(session, merchant) or self._make(session, merchant)
            return _hmac(keys.mac, message)

        return self._do(maced)

    def rotate(self, merchant: str) -> None:
        """As KeyProvider.rotate."""

        def rotated(session: Session) -> None:
            if self._find(session, merchant) is None:
                self._make(session, merchant)
            with writing(self._place.lock_file):
                latest = self._find(session, merchant)
                if latest is None:  # destroyed meanwhile
                    raise KeyDestroyed
                _make_wrapping_key(session, merchant, latest.set_id, latest.newest + 1)
            self._sets.pop(merchant, None)

        self._do(rotated)

    def destroy(self, merchant: str) -> None:
        """As KeyProvider.destroy."""

        def destroyed(session: Session) -> None:
            self._sets.pop(merchant, None)
            self._see_anchor(session)
            with writing(self._place.lock_file):
                if not _objects(session, _label(_MARK, merchant)):  # (6)
                    _make_secret(session, _label(_MARK, merchant))
                for kind in ("wrap", "bind", "mac"):  # the MAC key last: while it is there, the work is not done
                    for key in _objects(session, _label(kind, merchant)):
                        key.destroy()

        self._do(destroyed)

    def check(self) -> None:
        """As KeyProvider.check."""
        self._do(self._see_anchor)

    def close(self) -> None:
        """Logs out and closes the session."""
        with suppress(TookTooLong):
            self._thread.call(self._let_go, timeout_seconds=self._timeout_seconds)

    def _do(self, work: Callable[[Session], T]) -> T:
        """Runs the work on the module's thread: again with a new session, and once more with the module started anew."""

        def run() -> T:
            for mend in (self._let_go, self._restart_module):
                try:
                    return work(self._opened())
                except _PIN_REFUSED:
                    raise
                except PKCS11Error:
                    mend()
            return work(self._opened())

        try:
            return self._thread.call(run, timeout_seconds=self._timeout_seconds)
        except (PKCS11Error, KeyRefused, OSError, TookTooLong):
            raise KeyUnavailable from None

    def _opened(self) -> Session:
        if self._session is None:
            token = pkcs11.lib(str(self._place.module)).get_token(token_label=self._place.token)
            session = self._log_in(token)
            if not self._was_open:
                _lay_anchor(session, self._place.lock_file)
            self._session, self._was_open = session, True
        return self._session

    def _log_in(self, token: Token) -> Session:
        """(5)"""
        pin = read_secret_line(self._place.pin_file)
        if pin == self._refused_pin:
            raise KeyUnavailable
        try:
            return token.open(rw=True, user_pin=pin)
        except pkcs11.exceptions.UserAlreadyLoggedIn:  # by another provider of this process: a login is the process's
            return token.open(rw=True)
        except _PIN_REFUSED:
            self._refused_pin = pin
            raise

    def _let_go(self) -> None:
        self._sets.clear()
        session, self._session = self._session, None
        if session is not None:
            with suppress(PKCS11Error):
                session.close()

    def _restart_module(self) -> None:
        self._let_go()
        with suppress(PKCS11Error):
            pkcs11.lib(str(self._place.module)).reinitialize()

    def _see_anchor(self, session: Session) -> None:
        """(3) Raises KeyUnavailable when the token is not the one that was there at the start, or is no longer there."""
        if not _objects(session, ANCHOR):
            self._let_go()
            raise pkcs11.exceptions.TokenNotPresent

    def _find(self, session: Session, merchant: str) -> _Set | None:
        macs = {bytes(key[Attribute.ID])[:SET_BYTES]: key for key in _objects(session, _label("mac", merchant))}
        binds = {bytes(key[Attribute.ID])[:SET_BYTES]: key for key in _objects(session, _label("bind", merchant))}
        whole = sorted(macs.keys() & binds.keys())
        if not whole:
            self._see_anchor(session)
            return None
        set_id = whole[0]
        wrapping = {
            int.from_bytes(identity[SET_BYTES:], "big"): key
            for key in _objects(session, _label("wrap", merchant))
            if (identity := bytes(key[Attribute.ID])).startswith(set_id)
        }
        if not wrapping:
            self._see_anchor(session)
            return None
        self._sets[merchant] = _Set(set_id, macs[set_id], binds[set_id], wrapping)
        return self._sets[merchant]

    def _make(self, session: Session, merchant: str) -> _Set:
        with writing(self._place.lock_file):
            if found := self._find(session, merchant):
                return found
            if _objects(session, _label(_MARK, merchant)):
                raise KeyDestroyed  # (6)
            for kind in ("wrap", "bind", "mac"):  # what a crash or an unfinished destroy() left
                for key in _objects(session, _label(kind, merchant)):
                    key.destroy()
            set_id = os.urandom(SET_BYTES)
            _make_wrapping_key(session, merchant, set_id, 1)
            for kind in ("bind", "mac"):
                _make_secret(session, _label(kind, merchant), _id(set_id, 1))
            made = self._find(session, merchant)
        if made is None:
            raise pkcs11.exceptions.TokenNotPresent
        return made

    def _open(self, session: Session, wrapped: bytes, context: KeyContext) -> Key:
        if len(wrapped) != HEADER_BYTES + WRAPPED_BYTES + TAG_BYTES or wrapped[0] != FORMAT:
            raise KeyUnavailable
        version = int.from_bytes(wrapped[1 + SET_BYTES : HEADER_BYTES], "big")
        keys = self._sets.get(context.merchant)
        if keys is None or keys.set_id != wrapped[1 : 1 + SET_BYTES] or version not in keys.wrapping:
            keys = self._find(session, context.merchant)
        if keys is None or keys.set_id != wrapped[1 : 1 + SET_BYTES]:
            raise KeyDestroyed
        if version not in keys.wrapping:
            raise KeyUnavailable
        body, tag = wrapped[:-TAG_BYTES], wrapped[-TAG_BYTES:]
        if not hmac.compare_digest(_tag(keys, body, context), tag):  # (1)
            raise KeyUnavailable
        key: Key = keys.wrapping[version].unwrap_key(
            ObjectClass.SECRET_KEY,
            KeyType.AES,
            body[HEADER_BYTES:],
            mechanism=Mechanism.AES_KEY_WRAP,
            template=_FOR_A_MOMENT,
        )
        return key


def _lay_anchor(session: Session, lock_file: Path) -> None:
    """(3) Marks a token that holds nothing of ours yet; one that held something and lost its mark is not marked anew."""
    with writing(lock_file):
        if not _objects(session, ANCHOR):
            if any(str(key[Attribute.LABEL]).startswith("cordon/") for key in session.get_objects(_SECRET_KEYS)):
                raise pkcs11.exceptions.TokenNotRecognised
            _make_secret(session, ANCHOR)


def _make_secret(session: Session, label: str, identity: bytes | None = None) -> None:
    session.generate_key(KeyType.GENERIC_SECRET, 256, label=label, id=identity, store=True, template=_SIGNS_ONLY)


def _make_wrapping_key(session: Session, merchant: str, set_id: bytes, version: int) -> None:
    session.generate_key(
        KeyType.AES,
        256,
        label=_label("wrap", merchant),
        id=_id(set_id, version),
        store=True,
        template=_WRAPS_ONLY,
    )


def _objects(session: Session, label: str) -> list[Key]:
    return list(session.get_objects({**_SECRET_KEYS, Attribute.LABEL: label}))


def _label(kind: str, merchant: str) -> str:
    return f"cordon/{kind}/{key_name_part(merchant)}"


def _id(set_id: bytes, version: int) -> bytes:
    return set_id + version.to_bytes(4, "big")


def _wrap(keys: _Set, key: Key, context: KeyContext) -> bytes:
    wrapped = keys.wrapping[keys.newest].wrap_key(key, mechanism=Mechanism.AES_KEY_WRAP)
    body = bytes([FORMAT]) + _id(keys.set_id, keys.newest) + bytes(wrapped)
    return body + _tag(keys, body, context)


def _tag(keys: _Set, body: bytes, context: KeyContext) -> bytes:
    return _hmac(keys.bind, associated_data(("pkcs11-data-key", *context, body.hex())))  # (2)


def _hmac(key: Key, message: bytes) -> bytes:
    return bytes(key.sign(message, mechanism=Mechanism.SHA256_HMAC))
