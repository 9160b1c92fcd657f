"""Sealing: AES-256-GCM over a card's bytes, bound to the row they belong to.

Format 1, the only one so far; a row keeps the format it was written in:

    byte 0        format (1)
    bytes 1..12   nonce, 96 random bits (NIST SP 800-38D, 8.2.2)
    bytes 13..    ciphertext and 128-bit tag

The associated data is a fixed label and the fields that the row must not be moved away from, each with its length, so that no
two lists of fields give the same bytes.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FORMAT = 1
KEY_BYTES = 32
NONCE_BYTES = 12
_LABEL = b"cordon-seal-v1"


class SealBroken(Exception):
    """The sealed bytes do not open under this key for this row: altered, moved, or another key. One failure for all causes."""


def new_key() -> bytes:
    """A fresh 256-bit key from the operating system."""
    return AESGCM.generate_key(bit_length=256)


def seal(key: bytes, plaintext: bytes, bound_to: tuple[str, ...]) -> bytes:
    """Seals the plaintext to the named fields (token, merchant, key id…)."""
    return seal_with_nonce(key, plaintext, bound_to, os.urandom(NONCE_BYTES))


def seal_with_nonce(key: bytes, plaintext: bytes, bound_to: tuple[str, ...], nonce: bytes) -> bytes:
    """As seal(), with the nonce given: for known answers. A nonce must never be used twice under one key."""
    return bytes([FORMAT]) + nonce + AESGCM(key).encrypt(nonce, plaintext, associated_data(bound_to))


def unseal(key: bytes, sealed: bytes, bound_to: tuple[str, ...]) -> bytes:
    """Opens what seal() made for the same fields. Raises SealBroken."""
    if len(sealed) < 1 + NONCE_BYTES + 16 or sealed[0] != FORMAT:
        raise SealBroken
    try:
        return AESGCM(key).decrypt(sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :], associated_data(bound_to))
    except InvalidTag:
        raise SealBroken from None


def associated_data(bound_to: tuple[str, ...]) -> bytes:
    """The label and each field behind its length in four bytes, big end first."""
    fields = [part.encode() for part in bound_to]
    return _LABEL + b"".join(len(part).to_bytes(4, "big") + part for part in fields)
