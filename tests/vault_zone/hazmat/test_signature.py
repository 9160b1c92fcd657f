"""Signatures of platforms: what the key did not sign, in any byte, is not signed; and only two kinds of key are taken."""

import base64
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from tests.requirement import requirement
from vault_zone.hazmat import signature
from vault_zone.hazmat.signature import ED25519, ES256, SignatureKeyRefused, algorithm_of, is_signed_by, verifies

Sign = Callable[[bytes], bytes]


def pem_of(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def raw_es256(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


EDWARDS, CURVE = ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
KEYS: dict[str, tuple[str, Sign]] = {
    ED25519: (pem_of(EDWARDS), EDWARDS.sign),
    ES256: (pem_of(CURVE), lambda message: raw_es256(CURVE, message)),
}
KINDS = pytest.mark.parametrize("kind", KEYS)


@KINDS
def test_what_the_key_signed_is_signed_and_its_algorithm_is_known(kind: str) -> None:
    pem, sign = KEYS[kind]
    text = base64.urlsafe_b64encode(sign(b"message")).decode()
    assert algorithm_of(pem) == kind
    assert is_signed_by(pem, b"message", text)
    assert is_signed_by(pem, b"message", text.rstrip("=")), "with or without padding"
    assert verifies(pem, b"message", sign(b"message"))


@requirement("6.2.4")
@KINDS
@given(message=st.binary(min_size=1, max_size=60), data=st.data())
def test_a_change_of_one_bit_in_message_or_signature_is_refused(kind: str, message: bytes, data: st.DataObject) -> None:
    pem, sign = KEYS[kind]
    signed = sign(message)
    assert verifies(pem, message, signed)
    at, bit = data.draw(st.integers(0, len(message) - 1)), data.draw(st.integers(0, 7))
    assert not verifies(pem, message[:at] + bytes([message[at] ^ (1 << bit)]) + message[at + 1 :], signed)
    where = data.draw(st.integers(0, len(signed) - 1))
    assert not verifies(pem, message, signed[:where] + bytes([signed[where] ^ (1 << bit)]) + signed[where + 1 :])


@KINDS
def test_another_key_of_the_same_kind_signs_nothing_for_this_one(kind: str) -> None:
    other: dict[str, Sign] = {
        ED25519: ed25519.Ed25519PrivateKey.generate().sign,
        ES256: lambda message: raw_es256(ec.generate_private_key(ec.SECP256R1()), message),
    }
    assert not verifies(KEYS[kind][0], b"message", other[kind](b"message"))


@KINDS
@given(
    junk=st.one_of(st.text(max_size=100), st.binary(max_size=66).map(lambda b: base64.urlsafe_b64encode(b).decode()))
)
def test_junk_is_no_signature_and_raises_nothing(kind: str, junk: str) -> None:
    assert not is_signed_by(KEYS[kind][0], b"message", junk)


@KINDS
def test_a_signature_of_another_length_or_in_der_is_none(kind: str) -> None:
    pem, sign = KEYS[kind]
    signed = sign(b"message")
    for raw in (b"", signed[:-1], signed + b"\0", bytes(64), b"\xff" * 64):
        assert not verifies(pem, b"message", raw)
    assert not verifies(KEYS[ES256][0], b"message", CURVE.sign(b"message", ec.ECDSA(SHA256()))), "never DER"


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "no key",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        pem_of(ec.generate_private_key(ec.SECP384R1())),
        pem_of(ec.generate_private_key(ec.SECP256K1())),
        pem_of(rsa.generate_private_key(65537, 2048)),
        EDWARDS.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    ],
    ids=["empty", "text", "broken", "p384", "k1", "rsa", "private"],
)
def test_any_other_key_is_refused(pem: str) -> None:
    with pytest.raises(SignatureKeyRefused) as refused:
        algorithm_of(pem)
    assert str(refused.value) == "", "the refusal holds nothing of the key"
    with pytest.raises(SignatureKeyRefused):
        verifies(pem, b"message", bytes(64))


class SaysYes:
    """A key that verifies whatever it is shown."""

    def verify(self, *_: object) -> None:
        """Raises nothing, so yes."""


@KINDS
def test_a_planted_key_that_says_yes_to_all_is_found(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pem, sign = KEYS[kind]
    assert not verifies(pem, b"other", sign(b"message"))
    monkeypatch.setattr(signature, "Ed25519PublicKey", SaysYes)
    monkeypatch.setattr(signature, "_public_key", lambda _: SaysYes())
    assert verifies(pem, b"other", sign(b"message")), "nothing but the key's own check stands between them"
