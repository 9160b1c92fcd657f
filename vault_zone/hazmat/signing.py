"""Detached Ed25519 signatures (RFC 8032) over files that two people release, such as the list of forward destinations.

A signature is over ``purpose``, a zero byte and the content, so a signature for one kind of file is none for another.
"""

import base64
import binascii
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key


class SigningKeyRefused(Exception):
    """The key file cannot be used: absent, readable by others, or not an Ed25519 key. Holds what to change."""


def create_signing_key(path: Path) -> str:
    """Makes a private key file of mode 0600 and returns the public half, 44 characters. Raises FileExistsError."""
    key = Ed25519PrivateKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.flush()
        os.fsync(file.fileno())
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def sign_file(path: Path, purpose: str, content: bytes) -> str:
    """The signature, 88 characters, by the key in a file that create_signing_key() made. Raises SigningKeyRefused."""
    try:
        if path.stat().st_mode & 0o077:
            raise SigningKeyRefused("others than its owner can open the signing key: chmod 600 it")
        key = load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise SigningKeyRefused("the signing key is not there: make one with `vault-zone forward key`") from None
    except (ValueError, TypeError):
        raise SigningKeyRefused("the signing key is not an unencrypted Ed25519 key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyRefused("the signing key is not an Ed25519 key")
    return base64.b64encode(key.sign(_message(purpose, content))).decode()


def is_signed(public: str, purpose: str, content: bytes, signature: str) -> bool:
    """Whether the signature is by this key over this purpose and content. False for anything malformed."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
        key.verify(base64.b64decode(signature, validate=True), _message(purpose, content))
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def _message(purpose: str, content: bytes) -> bytes:
    return purpose.encode() + b"\0" + content
