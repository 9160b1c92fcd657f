"""Detached signatures of agent platforms' requests: Ed25519 (RFC 8032) and ES256 as raw r and s (RFC 7518, 3.4)."""

import base64
import binascii
import re

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

ED25519 = "ed25519"
ES256 = "es256"
SIGNATURE_BYTES = 64
_BASE64URL = re.compile(r"[A-Za-z0-9_-]{86}(==)?")  # 64 bytes


class SignatureKeyRefused(ValueError):
    """The text is no public key of a kind that is taken: Ed25519, or ECDSA over P-256, in PEM."""


def algorithm_of(pem: str) -> str:
    """Which algorithm a public key signs with. Raises SignatureKeyRefused."""
    key = _public_key(pem)
    return ED25519 if isinstance(key, Ed25519PublicKey) else ES256


def is_signed_by(pem: str, message: bytes, signature: str) -> bool:
    """Whether the base64url signature over the message is the key's. Raises SignatureKeyRefused for a key that is none."""
    if not _BASE64URL.fullmatch(signature):
        return False
    try:
        raw = base64.urlsafe_b64decode(signature.rstrip("=") + "==")
    except binascii.Error:
        return False
    return verifies(pem, message, raw)


def verifies(pem: str, message: bytes, raw: bytes) -> bool:
    """Whether the 64 bytes are the key's signature over the message. Raises SignatureKeyRefused for a key that is none."""
    key = _public_key(pem)
    if len(raw) != SIGNATURE_BYTES:
        return False
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(raw, message)
        else:
            half = SIGNATURE_BYTES // 2
            r, s = int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
            key.verify(encode_dss_signature(r, s), message, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _public_key(pem: str) -> Ed25519PublicKey | EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise SignatureKeyRefused from None
    if isinstance(key, Ed25519PublicKey):
        return key
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key
    raise SignatureKeyRefused
