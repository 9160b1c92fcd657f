"""Passkeys: sign-in by a key that the shopper's own device keeps, and shows for this site alone (WebAuthn Level 3).

What holds:
 1. What is signed is 256 random bits of one request in one browser (requests.py), for one use: a try, right or wrong, puts
    others in their place. They end with the request.
 2. A request's may be tried TRIES times. Each try is counted in the transaction that compares. What comes after that
    changes and records nothing.
 3. What is signed names this site's origin, letter for letter, and no other site that frames it; the relying party is its
    host. Where the host can be none (an address in numbers, plain HTTP elsewhere than on localhost) no passkey is offered or
    taken.
 4. The device says that it made sure who holds it (user verification), when a passkey is added and whenever it is used.
 5. A passkey is one shopper's at one brand, though brands share a host and devices know only that: it is looked for among the
    brand's own, and the device has to name the shopper whose it is. Before signing in a page names none; after it, those of the
    shopper at this brand. A passkey that is known already is not taken again, at no brand.
 6. A counter that does not go on is a copy's: it is refused, and that is recorded. Devices that do not count always say zero.
 7. One is added only in a request in which its shopper showed their mailbox, in a browser that is signed in as them. So neither
    a passkey, nor a browser that was left signed in, is enough to make another. A shopper has MAXIMUM at most.
 8. What is stored is the passkey's id, its public key and its counter, whose it is, and when it was added and used. Nobody is
    asked who made the device, and what it says of that is dropped.
 9. Nothing that is answered depends on whether a shopper has an account or a passkey: the page that asks for one is the same
    for everybody, and whatever is refused is refused in the same words.
10. One that was removed opens nothing from that moment on. They go with the account (grants.py).
"""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from fido2 import cbor
from fido2.cose import ES256, RS256, CoseKey, EdDSA
from fido2.server import Fido2Server
from fido2.webauthn import (
    Aaguid,
    AttestationConveyancePreference,
    AttestationObject,
    AttestedCredentialData,
    AuthenticationResponse,
    AuthenticatorAssertionResponse,
    AuthenticatorAttestationResponse,
    AuthenticatorData,
    CollectedClientData,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialUserEntity,
    RegistrationResponse,
    UserVerificationRequirement,
)
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.engine import Connection, Row

from audit.event import Event, EventType
from audit.transaction import Transaction
from commerce_api.authorization.requests import NO_CLIENT, new_challenge
from commerce_api.brands import ORIGIN
from commerce_api.models import oauth_request, passkey, shopper_account
from tokenization.ids import bytes_of, is_id, letters_of, new_id

TRIES: Final = 5
MAXIMUM: Final = 10
ALGORITHMS: Final = (ES256.ALGORITHM, EdDSA.ALGORITHM, RS256.ALGORITHM)  # as the page's script asks for them
CREDENTIAL_BYTES: Final = range(16, 1024)  # of a passkey's id (WebAuthn Level 3, 4, "Credential ID")
_PUBLIC_KEY_BYTES_MAXIMUM: Final = 1024
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Site:
    """Where passkeys are made and shown: this site's origin, and the host that they are for (3)."""

    origin: str
    host: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A passkey that a browser shows, as it came (Authenticator Assertion Response)."""

    credential: bytes
    client_data: bytes
    authenticator_data: bytes
    signature: bytes
    user_handle: bytes

    @classmethod
    def read(cls, fields: dict[str, str]) -> "Shown | None":
        """From a form with each in letters; None for any other."""
        names = ("credential", "client_data", "authenticator_data", "signature", "user_handle")
        return _read(lambda: cls(*(bytes_of(fields[name]) for name in names)))


@dataclass(frozen=True, slots=True)
class Made:
    """A passkey that a browser made, as it came (Authenticator Attestation Response)."""

    client_data: bytes
    attestation_object: bytes

    @classmethod
    def read(cls, fields: dict[str, str]) -> "Made | None":
        """As Shown.read."""
        return _read(lambda: cls(bytes_of(fields["client_data"]), bytes_of(fields["attestation_object"])))


def site_of(public_url: str) -> Site | None:
    """The site that shoppers reach under this address; None where there can be no passkeys (3)."""
    parts = urlsplit(public_url)
    host = parts.hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        secure = parts.scheme == "https" or host == "localhost"
        return Site(f"{parts.scheme}://{parts.netloc}", host) if host and secure else None
    return None


def offered(connection: Connection, site: Site, request: "Row[Any]") -> dict[str, str] | None:
    """What a page's script needs for a passkey in a request as it stands; None where none can be used or added.

    ``host`` and ``challenge``, and where one would be added ``user`` and the ``known`` ones; in letters, but for the host.
    """
    if not _is_open(request):
        return None
    asked = {"host": site.host, "challenge": str(request.challenge)}
    if request.shopper is None:
        return asked  # (9)
    known = of_shopper(connection, request.brand, request.shopper)
    if len(known) >= MAXIMUM:
        return None
    told = " ".join(letters_of(row.credential) for row in known)
    return {**asked, "user": letters_of(request.shopper.encode()), "known": told}


def wants_one(connection: Connection, request: "Row[Any]", shopper: str, there: str) -> bool:
    """Whether to ask a shopper who signed in by code to add one: who came for that, and who has none yet.

    ``there``: where the browser's script says that passkeys can be kept, ``here`` or ``elsewhere``; anything else is nowhere.
    """
    count = len(of_shopper(connection, request.brand, shopper))
    came = request.redirect_uri.endswith("?passkey") and request.client == NO_CLIENT
    return (there == "here" and count == 0) or (came and there in ("here", "elsewhere") and count < MAXIMUM)


def sign_in(tx: Transaction, site: Site, request: "Row[Any]", shown: Shown) -> str | None:
    """The shopper whose passkey it is; notes who it is in the request. None for whatever is not right."""
    if request.shopper is not None or not _is_open(request):
        return None
    _take_challenge(tx, request)
    row = tx.execute(
        select(passkey).where(passkey.c.brand == request.brand, passkey.c.credential == shown.credential)  # (5)
    ).first()
    data = None if row is None else _read(lambda: _assertion(site, request.challenge, shown, row.public_key))
    if row is None or data is None or shown.user_handle != row.shopper.encode():  # (5)
        _refused(tx, request, "passkey")
        return None
    if data.counter <= row.sign_count and (data.counter, row.sign_count) != (0, 0):  # (6)
        _refused(tx, request, "counter", row)
        return None
    account = (shopper_account.c.id == row.shopper, shopper_account.c.brand == request.brand)
    if tx.execute(update(shopper_account).where(*account).values(seen_ms=tx.now_ms)).rowcount != 1:  # (10)
        _refused(tx, request, "account", row)
        return None
    tx.execute(update(passkey).where(passkey.c.id == row.id).values(sign_count=data.counter, used_ms=tx.now_ms))
    # Nothing more is taken in this request: neither another passkey nor a new one (7).
    _note(tx, request, {"shopper": row.shopper, "challenge": None})
    _record(tx, EventType.PASSKEY_USED, request, row.id, row.shopper, {})
    _record(tx, EventType.SIGNED_IN, request, request.id, row.shopper, {"reason": "passkey"})
    return str(row.shopper)


def add(tx: Transaction, site: Site, request: "Row[Any]", signed_in: str | None, made: Made) -> bool:
    """Adds a passkey for the shopper of a request. ``signed_in``: whom the browser is signed in as (7)."""
    shopper = request.shopper
    if shopper is None or shopper != signed_in or not _is_open(request):  # (7)
        return False
    count = len(of_shopper(tx.connection, request.brand, shopper))
    if count >= MAXIMUM:  # (7)
        return False
    _take_challenge(tx, request)
    found = _read(lambda: _registration(site, request.challenge, made))
    same = select(func.count()).select_from(passkey)
    if found is None or tx.execute(same.where(passkey.c.credential == found.credential)).scalar():  # (5)
        _refused(tx, request, "registration")
        return False
    identifier = new_id("psk")
    tx.execute(
        insert(passkey).values(
            id=identifier,
            brand=request.brand,
            shopper=shopper,
            credential=found.credential,
            public_key=found.public_key,
            sign_count=found.sign_count,
            created_ms=tx.now_ms,
        )
    )
    _note(tx, request, {"challenge": None})
    _record(tx, EventType.PASSKEY_REGISTERED, request, identifier, shopper, {"count": count + 1})
    return True


def remove(tx: Transaction, brand: str, shopper: str, identifier: str) -> bool:
    """Removes a shopper's own passkey (10); False where they have none of this id."""
    own = (passkey.c.id == identifier, passkey.c.brand == brand, passkey.c.shopper == shopper)
    if not is_id(identifier, "psk") or tx.execute(delete(passkey).where(*own)).rowcount != 1:
        return False
    tx.record(_event(EventType.PASSKEY_REMOVED, brand, identifier, shopper, {}))
    return True


def of_shopper(connection: Connection, brand: str, shopper: str) -> "list[Row[Any]]":
    """A shopper's passkeys at a brand, the oldest first."""
    own = select(passkey).where(passkey.c.shopper == shopper, passkey.c.brand == brand)
    return list(connection.execute(own.order_by(passkey.c.created_ms, passkey.c.id)))


@dataclass(frozen=True, slots=True)
class _Found:
    credential: bytes
    public_key: bytes
    sign_count: int


def _assertion(site: Site, challenge: str, shown: Shown, public_key: bytes) -> AuthenticatorData:
    """What the device said, once it is verified. Raises whatever the library does."""
    client_data, data = CollectedClientData(shown.client_data), AuthenticatorData(shown.authenticator_data)
    _refuse_frames(client_data)
    server = _server(site)
    _, state = server.authenticate_begin(
        user_verification=UserVerificationRequirement.REQUIRED, challenge=bytes_of(challenge)
    )
    response = AuthenticatorAssertionResponse(
        client_data=client_data, authenticator_data=data, signature=shown.signature, user_handle=shown.user_handle
    )
    server.authenticate_complete(
        state,
        [AttestedCredentialData.create(Aaguid.NONE, shown.credential, _key_of(public_key))],
        AuthenticationResponse(raw_id=shown.credential, response=response),
    )
    return data


def _registration(site: Site, challenge: str, made: Made) -> _Found:
    """As _assertion()."""
    client_data, attested = CollectedClientData(made.client_data), AttestationObject(made.attestation_object)
    _refuse_frames(client_data)
    found = attested.auth_data.credential_data
    if found is None or len(found.credential_id) not in CREDENTIAL_BYTES:
        raise ValueError("no passkey")
    public_key = cbor.encode(found.public_key)
    if found.public_key.get(3) not in ALGORITHMS or len(public_key) > _PUBLIC_KEY_BYTES_MAXIMUM:
        raise ValueError("no such algorithm was asked for")
    server = _server(site)
    _, state = server.register_begin(
        PublicKeyCredentialUserEntity(id=b"shopper", name=""),
        user_verification=UserVerificationRequirement.REQUIRED,
        challenge=bytes_of(challenge),
    )
    server.register_complete(
        state,
        RegistrationResponse(
            raw_id=found.credential_id,
            response=AuthenticatorAttestationResponse(client_data=client_data, attestation_object=attested),
        ),
    )
    return _Found(found.credential_id, public_key, attested.auth_data.counter)


def _key_of(public_key: bytes) -> CoseKey:
    return CoseKey.parse(cast("Mapping[int, Any]", cbor.decode(public_key)))


def _server(site: Site) -> Fido2Server:
    """(3) (8)"""
    return Fido2Server(
        PublicKeyCredentialRpEntity(id=site.host, name=site.host),
        attestation=AttestationConveyancePreference.NONE,
        verify_origin=lambda origin: origin == site.origin,
    )


def _refuse_frames(client_data: CollectedClientData) -> None:
    if client_data.cross_origin is not False:  # (3)
        raise ValueError("made in a frame of another site's")


def _is_open(request: "Row[Any]") -> bool:
    """Whether a passkey may be tried in the request (2)."""
    return request.challenge is not None and (request.passkey_tries or 0) < TRIES


def _take_challenge(tx: Transaction, request: "Row[Any]") -> None:
    """(1) (2)"""
    _note(tx, request, {"challenge": new_challenge(), "passkey_tries": (request.passkey_tries or 0) + 1})


def _note(tx: Transaction, request: "Row[Any]", values: dict[str, Any]) -> None:
    tx.execute(update(oauth_request).where(oauth_request.c.id == request.id).values(values))


def _read(work: Callable[[], T]) -> T | None:
    """What comes of bytes that a stranger sent; None where they are not what they should be."""
    try:
        return work()
    except Exception:  # noqa: BLE001  # the library has no one way to say so
        return None


def _refused(tx: Transaction, request: "Row[Any]", reason: str, row: "Row[Any] | None" = None) -> None:
    resource, data = (request.id, {}) if row is None else (row.id, {"shopper": row.shopper})
    _record(tx, EventType.PASSKEY_REFUSED, request, resource, None, {**data, "reason": reason})


def _record(
    tx: Transaction, kind: EventType, request: "Row[Any]", resource: str, shopper: str | None, data: dict[str, Any]
) -> None:
    said = data if shopper is None or kind is EventType.SIGNED_IN else {"shopper": shopper, **data}
    tx.record(_event(kind, request.brand, resource, shopper, said))


def _event(kind: EventType, brand: str, resource: str, shopper: str | None, data: dict[str, Any]) -> Event:
    return Event(
        type=kind,
        outcome="failure" if kind is EventType.PASSKEY_REFUSED else "success",
        actor="anonymous" if shopper is None else f"shopper:{shopper}",
        origin=ORIGIN,
        resource=resource,
        merchant=brand,
        data=data,
    )
