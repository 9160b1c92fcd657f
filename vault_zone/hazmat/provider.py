"""The port to whatever holds the root of the key hierarchy: a file opened by custodians, a key service, a hardware module.

    root (custodians, service or module) ──▶ wrapping key of a merchant ──wraps──▶ data key (merchant, purpose, epoch)
                                        └──▶ MAC key of a merchant                 └──seals──▶ card record

A merchant's wrapping and MAC keys live in the provider and never in the zone's database, so that destroying them makes every
data key of the merchant unreadable, those in the database's backups included. The provider remembers whose keys it destroyed:
a database put back from before the destruction does not bring the merchant back under new keys either.
"""

from typing import NamedTuple, Protocol


class KeyUnavailable(Exception):
    """The key provider cannot serve this key now. Nothing was sealed or opened; the caller may try again later."""


class KeyDestroyed(KeyUnavailable):
    """The merchant's keys were destroyed, or never made here: what was sealed under them is gone for good."""


class KeyContext(NamedTuple):
    """What a data key is for. A wrapped key opens for its own context and for no other."""

    merchant: str
    purpose: str
    key_id: str


class DataKey(NamedTuple):
    """A fresh 256-bit data key, and its wrapped form for the database. Never printed, never stored in clear."""

    key: bytes
    wrapped: bytes

    def __repr__(self) -> str:
        return "DataKey(****)"


class KeyProvider(Protocol):
    """Makes, wraps and opens data keys under keys that never leave it.

    MUST bind a wrapped key to its whole context. MUST raise KeyUnavailable when it cannot answer, within its own timeout, never
    fall back to another key (I8), and serve again by itself once it can. MUST be safe to call from several threads; a call may
    block, so callers on an event loop use a thread.
    """

    name: str
    is_remote: bool  # a call leaves the process, so callers on an event loop use a thread

    @property
    def is_sealed(self) -> bool:
        """Whether custodians have to open it before it serves anything; every call raises KeyUnavailable until then."""

    def generate(self, context: KeyContext) -> DataKey:
        """A fresh data key; makes the merchant's wrapping key when it is the first. Raises KeyUnavailable, KeyDestroyed."""

    def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        """The data key that generate() or rewrap() gave for the same context. Raises KeyUnavailable, KeyDestroyed."""

    def rewrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        """The same data key under the newest version of the merchant's wrapping key. Raises KeyUnavailable, KeyDestroyed."""

    def mac(self, merchant: str, message: bytes) -> bytes:
        """HMAC-SHA-256 (32 bytes) of at most 64 bytes under the merchant's MAC key; the key is made when first needed, and
        rotate() leaves it alone, so that the same message always gives the same answer. Raises KeyUnavailable, KeyDestroyed.
        """

    def rotate(self, merchant: str) -> None:
        """Begins a new version of the merchant's wrapping key; older versions still open.

        Makes the first for a merchant that has none. Raises KeyUnavailable, KeyDestroyed.
        """

    def destroy(self, merchant: str) -> None:
        """Destroys every version of the merchant's wrapping and MAC keys, and remembers that it did, for ever.

        Afterwards every call for the merchant raises KeyDestroyed, in every process: what was wrapped does not open, and no new
        keys are made, not for one that never had any either. destroy() itself may be repeated, and finishes what was cut off.
        The mark is laid before the keys go, and says nothing of them. Raises KeyUnavailable.
        """

    def check(self) -> None:
        """Returns if the provider can serve now. Raises KeyUnavailable."""

    def close(self) -> None:
        """Lets connections and sessions go."""
