"""Typed, random ids and secrets that can never be taken for a card number: letters only, 128 bits or more."""

import hashlib
import re
import secrets
from typing import Final

# Sixteen consonants, four bits each: no digit at all (I4: no digits-only run of 13), no vowel, so no accidental word.
_LETTERS: Final = "bcdfghjkmnpqrstv"
_FROM_HEX: Final = str.maketrans("0123456789abcdef", _LETTERS)
_TO_HEX: Final = str.maketrans(_LETTERS, "0123456789abcdef")
_ID: Final = re.compile(r"([a-z]{2,8})_([bcdfghjkmnpqrstv]{32})")
_SECRET: Final = re.compile(r"([a-z]{2,8})_([bcdfghjkmnpqrstv]{64})")


def new_id(prefix: str) -> str:
    """A fresh id such as ``chk_`` + 32 letters (128 random bits from the operating system)."""
    return f"{prefix}_{secrets.token_hex(16).translate(_FROM_HEX)}"


def new_secret(prefix: str) -> str:
    """A fresh bearer secret: 256 random bits, as 64 letters behind a prefix. Store only its digest()."""
    return f"{prefix}_{secrets.token_hex(32).translate(_FROM_HEX)}"


def letters_of(data: bytes) -> str:
    """Bytes in the id alphabet, two letters a byte: for values derived by HMAC."""
    return data.hex().translate(_FROM_HEX)


def bytes_of(letters: str) -> bytes:
    """The bytes that letters_of() wrote. Raises ValueError for a text that it never gives."""
    if not set(letters) <= set(_LETTERS):
        raise ValueError("not in the id alphabet")
    return bytes.fromhex(letters.translate(_TO_HEX))


def is_id(text: str, prefix: str) -> bool:
    """Whether the text has the form of an id with this prefix. Knowing the form grants nothing."""
    matched = _ID.fullmatch(text)
    return matched is not None and matched.group(1) == prefix


def is_secret(text: str, prefix: str) -> bool:
    """Whether the text has the form of a secret with this prefix."""
    matched = _SECRET.fullmatch(text)
    return matched is not None and matched.group(1) == prefix


def digest(secret: str) -> str:
    """SHA-256 of a 256-bit random secret, in letters: what is stored of it. Not for guessable values."""
    return letters_of(hashlib.sha256(secret.encode()).digest())
