"""Sealing: AES-256-GCM over a card's bytes, bound to the row they belong to.

A row keeps the format it was written in:

    byte 0        format (1 or 2)
    bytes 1..12   nonce, 96 random bits (NIST SP 800-38D, 8.2.2)
    bytes 13..    ciphertext and 128-bit tag

Format 1 seals the bytes as they are. Format 2 first pads them to a multiple of 128 bytes (ISO/IEC 7816-4: 0x80, then zeros), so
that the length of a row does not tell the length of a name or a number.

The associated data is the format's label and the fields that the row must not be moved away from, each with its length, so that
no two lists of fields give the same bytes.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PLAIN = 1  # short secrets of a known length: wrapped keys, security codes
PADDED = 2  # records
KEY_BYTES = 32
NONCE_BYTES = 12
PAD_BYTES = 128
_LABELS = {PLAIN: b"cordon-seal-v1", PADDED: b"cordon-seal-v2"}


class SealBroken(Exception):
    """The sealed bytes do not open under this key for this row: altered, moved, or another key. One failure for all causes."""


def new_key() -> bytes:
    """A fresh 256-bit key from the operating system."""
    return AESGCM.generate_key(bit_length=256)


def seal(key: bytes, plaintext: bytes, bound_to: tuple[str, ...], form: int = PLAIN) -> bytes:
    """Seals the plaintext to the named fields (token, merchant, key id…) in a format."""
    return seal_with_nonce(key, plaintext, bound_to, os.urandom(NONCE_BYTES), form)


def seal_with_nonce(key: bytes, plaintext: bytes, bound_to: tuple[str, ...], nonce: bytes, form: int = PLAIN) -> bytes:
    """As seal(), with the nonce given: for known answers. A nonce must never be used twice under one key."""
    content = _padded(plaintext) if form == PADDED else plaintext
    return bytes([form]) + nonce + AESGCM(key).encrypt(nonce, content, associated_data(bound_to, form))


def unseal(key: bytes, sealed: bytes, bound_to: tuple[str, ...]) -> bytes:
    """Opens what seal() made for the same fields, in the format that its first byte names. Raises SealBroken."""
    if len(sealed) < 1 + NONCE_BYTES + 16 or sealed[0] not in _LABELS:
        raise SealBroken
    form = sealed[0]
    try:
        content = AESGCM(key).decrypt(
            sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :], associated_data(bound_to, form)
        )
    except InvalidTag:
        raise SealBroken from None
    return content.rstrip(b"\0")[:-1] if form == PADDED else content


def associated_data(bound_to: tuple[str, ...], form: int = PLAIN) -> bytes:
    """The format's label and each field behind its length in four bytes, big end first."""
    fields = [part.encode() for part in bound_to]
    return _LABELS[form] + b"".join(len(part).to_bytes(4, "big") + part for part in fields)


def _padded(plaintext: bytes) -> bytes:
    length = (len(plaintext) // PAD_BYTES + 1) * PAD_BYTES
    return (plaintext + b"\x80").ljust(length, b"\0")
