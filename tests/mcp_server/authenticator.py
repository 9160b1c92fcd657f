"""A device that keeps passkeys, in the hands of a test: it says whatever it is told to, and signs it (WebAuthn Level 3, 6)."""

import hashlib
import html
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES256
from fido2.webauthn import Aaguid, AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

from tokenization.ids import bytes_of, letters_of

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


@dataclass
class Device:
    """One that holds a passkey. Each attribute is what it says the next time, right or wrong."""

    origin: str
    host: str
    user_handle: bytes = b""
    counter: int = 1
    flags: int = PRESENT | VERIFIED
    cross_origin: bool = False
    credential: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    algorithm: int = -7
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def made(self, challenge: bytes, kind: str = "webauthn.create") -> dict[str, str]:
        """The form that adds its passkey."""
        public_key = ES256.from_cryptography_key(self.key.public_key())  # type: ignore[no-untyped-call]
        public_key[3] = self.algorithm
        attested = AttestedCredentialData.create(Aaguid.NONE, self.credential, public_key)
        data = self._data(self.flags | ATTESTED, bytes(attested))
        given = {
            "client_data": self._client_data(kind, challenge),
            "attestation_object": AttestationObject.create("none", data, {}),
        }
        return {name: letters_of(value) for name, value in given.items()}

    def shown(self, challenge: bytes, kind: str = "webauthn.get") -> dict[str, str]:
        """The form that signs in with it."""
        client_data, data = self._client_data(kind, challenge), self._data(self.flags, b"")
        signed = bytes(data) + hashlib.sha256(client_data).digest()
        given = {
            "credential": self.credential,
            "client_data": client_data,
            "authenticator_data": bytes(data),
            "signature": self.key.sign(signed, ec.ECDSA(hashes.SHA256())),
            "user_handle": self.user_handle,
        }
        return {name: letters_of(value) for name, value in given.items()}

    def _client_data(self, kind: str, challenge: bytes) -> bytes:
        return bytes(CollectedClientData.create(kind, challenge, self.origin, self.cross_origin))

    def _data(self, flags: int, attested: bytes) -> AuthenticatorData:
        rp_id_hash = hashlib.sha256(self.host.encode()).digest()
        data: Any = AuthenticatorData.create(rp_id_hash, AuthenticatorData.FLAG(flags), self.counter, attested)
        found: AuthenticatorData = data
        return found


def asked(page: httpx.Response) -> dict[str, str]:
    """What a page's form for passkeys tells its script."""
    found = re.search(r'<form [^>]*data-passkey="(?:use|add)"[^>]*>', page.text)
    assert found is not None, page.text
    return {name: html.unescape(value) for name, value in re.findall(r'data-([a-z]+)="([^"]*)"', found.group())}


def challenge_of(page: httpx.Response) -> bytes:
    """What a page wants signed."""
    return bytes_of(asked(page)["challenge"])
