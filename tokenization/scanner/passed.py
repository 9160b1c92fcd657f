"""A memory of texts that a rule passed: most of what clients send is the same each time.

What holds:
 1. It holds digests under a key of this process alone: no text can be read from it, nor one made up that is taken for another.
 2. It is bounded, and empties itself when it is full: a flood of new texts costs time and nothing else.
"""

import hashlib
import secrets
from typing import Final

REMEMBERED: Final = 8_192
LONGEST_CHARS: Final = 256  # a longer text is seldom sent again
_DIGEST_BYTES: Final = 16


class Passed:
    """What was looked at and passed, for one question whose answer depends on the text alone."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._key = secrets.token_bytes(32)
        self._digests: set[bytes] = set()

    def digest(self, text: str) -> bytes:
        """What stands for a text."""
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES, key=self._key).digest()

    def __contains__(self, digest: bytes | None) -> bool:
        return digest in self._digests

    def add(self, digest: bytes) -> None:
        """Remembers it."""
        if len(self._digests) >= self._most:
            self._digests.clear()  # (2)
        self._digests.add(digest)

    def __len__(self) -> int:
        return len(self._digests)
