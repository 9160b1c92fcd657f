"""Who a caller is: the one URI in its certificate's subject alternative name, ``urn:cordon:KIND:NAME`` (RFC 5280, 4.2.1.6).

What holds for a peer that is named:
 1. Its certificate holds exactly one URI, and the URI has our form. Common names and DNS names say nothing about a caller.
 2. Name and kind are of a closed alphabet, so that they can stand in the record.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from tokenization.ids import letters_of
from vault_zone.roles import Kind

URN: Final = "urn:cordon:"
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_DIGITS_MAXIMUM: Final = 8  # a name is never a number that could be taken for a card's
_SERIAL_DIGITS_MAXIMUM: Final = 40  # RFC 5280, 4.1.2.2: at most 20 octets


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """A service, an operator or a custodian by name. As text: ``service:commerce``."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @property
    def urn(self) -> str:
        """As it stands in a certificate."""
        return f"{URN}{self}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``KIND:NAME``; a NAME alone is a service. Raises ValueError."""
        kind, _, name = text.rpartition(":")
        if not _NAME.fullmatch(name) or sum(letter.isdigit() for letter in name) > _DIGITS_MAXIMUM:  # (2)
            raise ValueError("a name is 1 to 32 of a-z, 0-9 and -, begins with a letter, and holds at most 8 digits")
        if kind not in ("", *Kind):
            raise ValueError(f"an identity is NAME or KIND:NAME, and KIND one of {', '.join(Kind)}")
        return cls(Kind(kind or Kind.SERVICE), name)


@dataclass(frozen=True, slots=True)
class Peer:
    """What a verified client certificate says: who it is, which certificate, and until when it holds."""

    identity: Identity
    serial: str  # upper-case hexadecimal, as OpenSSL writes it
    expires_ms: int


def peer_of(certificate: Mapping[str, object] | None) -> Peer | None:
    """The peer a verified certificate names (``ssl.SSLSocket.getpeercert`` form), or None (1)."""
    names = certificate.get("subjectAltName", ()) if certificate else ()
    if not certificate or not isinstance(names, tuple):
        return None
    uris = [value for kind, value in names if kind == "URI"]
    if len(uris) != 1 or not uris[0].startswith(URN):  # (1)
        return None
    kind, _, name = uris[0].removeprefix(URN).partition(":")
    serial, ends = certificate.get("serialNumber"), certificate.get("notAfter")
    if kind not in tuple(Kind) or not isinstance(serial, str) or not isinstance(ends, str):
        return None
    try:
        return Peer(Identity.parse(f"{kind}:{name}"), serial, ssl.cert_time_to_seconds(ends) * 1000)
    except ValueError:
        return None


def serial_letters(serial: str) -> str:
    """A hexadecimal serial number in letters, for the record: its digits could be taken for a card number."""
    return letters_of(bytes.fromhex(serial.rjust(_SERIAL_DIGITS_MAXIMUM, "0")))
