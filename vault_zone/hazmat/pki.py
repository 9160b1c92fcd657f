"""Who may call the zone: a certificate authority of the zone's own, and the identities it issues for mutual TLS.

A caller is the one URI in its certificate's subject alternative name, ``urn:cordon:KIND:NAME``. Keys are P-256. Identities live
a day unless told otherwise, and 90 days at most; the authority ten years. Its key is needed to issue, renew and revoke, and at
no other time: the directory can lie on a medium that is kept apart.
"""

import ipaddress
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

IDENTITY_HOURS = 24
IDENTITY_HOURS_MAXIMUM = 90 * 24
AUTHORITY_DAYS = 3650
SERVICE = "service"
_SKEW = timedelta(minutes=5)  # clocks of two machines differ a little


class PkiRefused(ValueError):
    """The files do not serve for what was asked. Says which, and holds nothing secret."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate as the inventory knows it. ``serial`` is upper-case hexadecimal, as OpenSSL writes it."""

    serial: str
    issued_ms: int
    expires_ms: int
    hosts: tuple[str, ...]
    urns: tuple[str, ...]


def create_authority(directory: Path, now: datetime) -> None:
    """Writes ``ca.key`` (0600) and ``ca.crt``. Raises FileExistsError rather than overwrite."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Cordon zone authority")])
    certificate = (
        _builder(name, name, key.public_key(), now, timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(directory / "ca.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(_pem(key))
    write_whole(directory / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM))


def issue_identity(
    authority: Path,
    directory: Path,
    name: str,
    now: datetime,
    hosts: tuple[str, ...] = (),
    *,
    kind: str = SERVICE,
    hours: int = IDENTITY_HOURS,
) -> Issued:
    """Writes ``NAME.key`` (0600), ``NAME.crt`` and ``ca.crt``; ``hosts`` only for a service that listens.

    A certificate with hosts serves for listening, one without for calling, never both. Replaces an earlier certificate of that
    name, each file in one step: that is how an identity is renewed. Raises PkiRefused.
    """
    if not 1 <= hours <= IDENTITY_HOURS_MAXIMUM:
        raise PkiRefused(f"a certificate lives 1 to {IDENTITY_HOURS_MAXIMUM} hours")
    ca_key, ca = open_authority(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"urn:cordon:{kind}:{name}")]
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    certificate = (
        _builder(subject, ca.subject, key.public_key(), now, timedelta(hours=hours))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName([*names, *map(_general_name, hosts)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if directory != authority:
        write_whole(directory / "ca.crt", ca.public_bytes(serialization.Encoding.PEM))
    write_whole(directory / f"{name}.key", _pem(key))
    write_whole(directory / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM))
    return _issued(certificate)


def read_certificate(path: Path) -> Issued:
    """What a certificate's file says. Raises PkiRefused."""
    try:
        return _issued(x509.load_pem_x509_certificate(path.read_bytes()))
    except (OSError, ValueError) as failure:
        raise PkiRefused(f"{path} is not a certificate that can be read: {type(failure).__name__}") from None


def open_authority(directory: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """The authority's key and certificate, for what signs with it. Raises PkiRefused."""
    try:
        key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
    except (OSError, ValueError) as failure:
        raise PkiRefused(f"there is no authority in {directory} that can be read: {type(failure).__name__}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise PkiRefused(f"ca.key and ca.crt in {directory} do not belong together")
    return key, certificate


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a file in one step, mode 0600: a reader finds the old or the new, and a crash leaves one of them."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def serial_text(number: int) -> str:
    """A serial number as OpenSSL writes it, so that both sides compare the same text."""
    text = f"{number:X}"
    return text if len(text) % 2 == 0 else f"0{text}"


def milliseconds(moment: datetime) -> int:
    """Milliseconds since the Unix epoch."""
    return int(moment.timestamp()) * 1000


def _issued(certificate: x509.Certificate) -> Issued:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    hosts = (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress)))
    return Issued(
        serial_text(certificate.serial_number),
        milliseconds(certificate.not_valid_before_utc + _SKEW),
        milliseconds(certificate.not_valid_after_utc),
        hosts,
        tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
    )
