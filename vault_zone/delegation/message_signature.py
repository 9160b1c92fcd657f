"""Signed HTTP requests of UCP platforms: RFC 9421 with a digest of the body by RFC 9530, as UCP's "Message Signatures" has it.

What must hold for a signed request:
 1. There is one signature, and what is not of the strict form below is refused rather than guessed at.
 2. It covers method, authority, path, query where there is one, digest and type of the body, the idempotency key, and the two
    headers that name the sender where they are sent.
 3. The authority is the zone's own public one, whatever the request calls it: what was signed for another host is refused.
 4. The digest is the SHA-256 of the bytes that were received, not of what a parser makes of them.
 5. ``created`` is there and at most TOLERANCE_SECONDS away, ``expires``, if there, is not past. UCP leaves both to us.
 6. The signature is the platform's own key's. ``keyid`` chooses nothing: a platform has one key.
Replay: the idempotency key is required and covered, so a request that is sent again gets the first answer and does nothing.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass

from starlette.datastructures import Headers

from vault_zone.hazmat.signature import verifies

TOLERANCE_SECONDS = 300
_NAME = r"[a-z*][a-z0-9_.*-]{0,63}"
_COMPONENT = r"\"@?[a-z][a-z0-9-]{0,63}\""
_VALUE = r"(?:\"[\x20\x21\x23-\x5b\x5d-\x7e]{0,512}\"|[0-9]{1,15})"
_INPUT = re.compile(rf"({_NAME})=(\(({_COMPONENT}(?: {_COMPONENT})*)\)((?:;{_NAME}={_VALUE})*))")
_PARAMETER = re.compile(rf";({_NAME})=({_VALUE})")
_SIGNATURE = re.compile(rf"({_NAME})=:([A-Za-z0-9+/]{{86}}==):")
_WITH_A_BODY = ("@method", "@authority", "@path", "content-digest", "content-type", "idempotency-key")
_WHERE_SENT = ("ucp-agent", "signature-agent")


class MessageSignatureRefused(Exception):
    """The request is not signed as it must be. ``code`` is UCP's: signature_missing, signature_invalid or digest_mismatch."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """What of a request can be signed. ``authority`` is the zone's own; ``query`` is without its question mark."""

    method: str
    authority: str
    path: str
    query: str
    headers: Headers
    body: bytes


def require_signed(message: SignedMessage, pem: str, now_ms: int) -> None:
    """Raises MessageSignatureRefused, and SignatureKeyRefused for a key that is none."""
    given, signatures = message.headers.getlist("signature-input"), message.headers.getlist("signature")
    if not given or not signatures:
        raise MessageSignatureRefused("signature_missing")
    read = _INPUT.fullmatch(given[0].strip())
    signed = _SIGNATURE.fullmatch(signatures[0].strip())
    if len(given) > 1 or len(signatures) > 1 or not read or not signed or read[1] != signed[1]:  # (1)
        raise MessageSignatureRefused("signature_invalid")
    covered = read[3].replace('"', "").split(" ")
    if len(set(covered)) != len(covered) or not set(_required(message)) <= set(covered):  # (2)
        raise MessageSignatureRefused("signature_invalid")
    if not _is_fresh(dict(_PARAMETER.findall(read[4])), now_ms):  # (5)
        raise MessageSignatureRefused("signature_invalid")
    digest = base64.b64encode(hashlib.sha256(message.body).digest()).decode()
    if not hmac.compare_digest(_value(message, "content-digest").encode(), f"sha-256=:{digest}:".encode()):  # (4)
        raise MessageSignatureRefused("digest_mismatch")
    lines = [f'"{name}": {_value(message, name)}' for name in covered]
    base = "\n".join([*lines, f'"@signature-params": {read[2]}'])
    if not verifies(pem, base.encode(), base64.b64decode(signed[2])):  # (6)
        raise MessageSignatureRefused("signature_invalid")


def _required(message: SignedMessage) -> list[str]:
    query = ["@query"] if message.query else []
    return [*_WITH_A_BODY, *query, *(name for name in _WHERE_SENT if name in message.headers)]


def _is_fresh(parameters: dict[str, str], now_ms: int) -> bool:
    created, expires = parameters.get("created", ""), parameters.get("expires", "")
    if not created.isdigit() or abs(int(created) * 1000 - now_ms) > TOLERANCE_SECONDS * 1000:
        return False
    return not expires or (expires.isdigit() and int(expires) * 1000 > now_ms)


def _value(message: SignedMessage, name: str) -> str:
    """A component's value (RFC 9421, 2.1 and 2.2). Raises MessageSignatureRefused for one that is not there."""
    derived = {
        "@method": message.method.upper(),
        "@authority": message.authority,  # (3)
        "@path": message.path,
        "@query": f"?{message.query}",
    }
    if name in derived:
        return derived[name]
    values = message.headers.getlist(name)
    if not values:  # also any other derived component: the platform has no need of them
        raise MessageSignatureRefused("signature_invalid")
    return ", ".join(value.strip() for value in values)
