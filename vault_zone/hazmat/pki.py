"""Who may call the zone: a certificate authority of the zone's own, and the identities it issues for mutual TLS.

A caller is the URI in its certificate's subject alternative name, ``urn:cordon:service:NAME``. Keys are P-256; identities
live 90 days, the authority ten years.
"""

import ipaddress
import os
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

IDENTITY_DAYS = 90
AUTHORITY_DAYS = 3650
SERVICE_URN = "urn:cordon:service:"


def create_authority(directory: Path, now: datetime) -> None:
    """Writes ``ca.key`` (0600) and ``ca.crt``. Raises FileExistsError rather than overwrite."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Cordon zone authority")])
    certificate = (
        _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_pair(directory, "ca", key, certificate)


def issue_identity(authority: Path, directory: Path, service: str, now: datetime, hosts: tuple[str, ...] = ()) -> None:
    """Writes ``NAME.key`` (0600), ``NAME.crt`` and ``ca.crt`` for a service; ``hosts`` only for one that listens.

    Replaces an earlier certificate of that name: that is how an identity is renewed.
    """
    ca_key = serialization.load_pem_private_key((authority / "ca.key").read_bytes(), None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is not a P-256 key")
    ca = x509.load_pem_x509_certificate((authority / "ca.crt").read_bytes())
    ca_public = ca_key.public_key()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, service)])
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(SERVICE_URN + service), *map(_general_name, hosts)]
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
    certificate = (
        _builder(name, ca.subject, key.public_key(), now, IDENTITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_public), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    for stale in (directory / f"{service}.key", directory / f"{service}.crt"):
        stale.unlink(missing_ok=True)
    _write_pair(directory, service, key, certificate)
    if directory != authority:
        (directory / "ca.crt").write_bytes(ca.public_bytes(serialization.Encoding.PEM))


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
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # clocks of two machines differ a little
        .not_valid_after(now + timedelta(days=days))
    )


def _write_pair(directory: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with os.fdopen(os.open(directory / f"{name}.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    (directory / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
