"""Certificates taken back before their time: a revocation list (CRL, RFC 5280, 5) that the authority signs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from vault_zone.hazmat.pki import PkiRefused, milliseconds, open_authority, serial_text, write_whole

LIST_DAYS: Final = 90  # as long as the longest identity; every issue, renewal and revocation writes the list anew
_SKEW: Final = timedelta(minutes=5)
_LISTS: Final = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Revocations:
    """The serials (upper-case hexadecimal) that count no more, and until when the list itself holds."""

    serials: frozenset[str]
    expires_ms: int


def write_revocations(authority: Path, path: Path, revoked: Mapping[str, datetime], now: datetime) -> None:
    """Signs and writes the list: serial → when it was revoked. Raises PkiRefused."""
    key, ca = open_authority(authority)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.subject)
        .last_update(now - _SKEW)
        .next_update(now + timedelta(days=LIST_DAYS))
        .add_extension(x509.CRLNumber(milliseconds(now)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    for serial, since in sorted(revoked.items()):
        one = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(since)
        builder = builder.add_revoked_certificate(one.build())
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def read_revocations(path: Path, authorities: Path, now: datetime) -> Revocations:
    """The list in a file, which every authority of the bundle must have signed its part of. Raises PkiRefused.

    A list that is missing, not signed by the authority, or past its time is refused: it would say nothing about anybody.
    """
    try:
        bundle = x509.load_pem_x509_certificates(authorities.read_bytes())
        lists = [x509.load_pem_x509_crl(found) for found in _LISTS.findall(path.read_bytes())]
    except (OSError, ValueError) as failure:
        raise PkiRefused(f"{path} or {authorities} cannot be read: {type(failure).__name__}") from None
    serials: set[str] = set()
    ends: list[int] = []
    for ca in bundle:
        own = [one for one in lists if one.issuer == ca.subject and _is_signed(one, ca)]
        ending = max((one.next_update_utc for one in own if one.next_update_utc), default=None)
        if ending is None:
            raise PkiRefused(f"{path} holds no revocation list of {ca.subject.rfc4514_string()}")
        if ending <= now:
            raise PkiRefused(f"the revocation list in {path} ended: `vault-zone identity renew` writes it anew")
        serials.update(serial_text(entry.serial_number) for one in own for entry in one)
        ends.append(milliseconds(ending))
    if not ends:
        raise PkiRefused(f"{authorities} holds no authority")
    return Revocations(frozenset(serials), min(ends))


def _is_signed(one: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    public = ca.public_key()
    return isinstance(public, ec.EllipticCurvePublicKey) and one.is_signature_valid(public)
