"""Access tokens as signed statements (RFC 9068): who allowed which client what, at which endpoint, until when.

What holds for a token that is accepted:
 1. One of the issuer's own keys signed it, with an algorithm that was named beforehand, never one that the token names alone.
 2. It says that it is an access token, so that no other signed statement of the issuer's passes for one.
 3. Its issuer is the one asked for, letter for letter.
 4. Its audience is this endpoint (RFC 8707): a token for another shop, or for another service, opens nothing here.
 5. It has an expiry, which has not come; it is not from the future.
 6. It says for whom it is.
A refusal names the rule that was broken, never a value.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import extract_compact

from commerce_api.authorization.keys import ALGORITHM, SigningKeys
from tokenization.ids import new_id

LIFETIME_SECONDS: Final = 600
TYPES: Final = ("at+jwt", "application/at+jwt")
_MAXIMUM_LENGTH: Final = 8_192
_MAXIMUM_SUBJECT: Final = 255

Rule = Literal["malformed", "signature", "type", "issuer", "audience", "expired", "not_yet", "subject", "revoked"]
Find = Callable[[Mapping[str, Any]], Any]


class TokenRefused(Exception):
    """The token opens nothing. ``rule`` says which of the rules it breaks."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule)
        self.rule = rule


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What an accepted token says. ``scopes`` are as the issuer names them; ``grant`` is ours, where the issuer is."""

    subject: str
    client: str
    scopes: frozenset[str]
    grant: str | None
    expires_seconds: int


def issue(
    keys: SigningKeys, *, issuer: str, subject: str, client: str, scope: str, audience: str, grant: str, now_ms: int
) -> str:
    """A token for ``audience`` that lasts LIFETIME_SECONDS. Raises NoSigningKey."""
    key_id, key = keys.signing()
    now_seconds = now_ms // 1000
    claims = {
        "iss": issuer,
        "sub": subject,
        "aud": audience,
        "client_id": client,
        "scope": scope,
        "grant": grant,
        "iat": now_seconds,
        "exp": now_seconds + LIFETIME_SECONDS,
        "jti": new_id("atk"),
    }
    return jwt.encode({"alg": ALGORITHM, "kid": key_id, "typ": TYPES[0]}, claims, key, algorithms=[ALGORITHM])


def verify(keys: SigningKeys, token: str, *, issuer: str, audience: str, now_ms: int) -> AccessToken:
    """What a token of our own says. Raises TokenRefused. Whether its grant still stands is the caller's to ask."""
    header, claims = opened(token, lambda header: keys.find(header.get("kid")), [ALGORITHM])
    if header.get("typ") not in TYPES:  # (2)
        raise TokenRefused("type")
    return accepted(claims, issuer=issuer, audience=audience, now_ms=now_ms)


def opened(token: str, find: Find, algorithms: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token whose signature is right (1). ``find`` gives the key for a header. Raises TokenRefused."""
    header = header_of(token)
    if header.get("alg") not in algorithms:
        raise TokenRefused("signature")
    key = find(header)
    if key is None:
        raise TokenRefused("signature")
    try:
        decoded = jwt.decode(token, key, algorithms=algorithms)
    except (JoseError, ValueError, TypeError):
        raise TokenRefused("signature") from None
    return header, dict(decoded.claims)


def header_of(token: str) -> dict[str, Any]:
    """What a token says of its key, believed by nobody yet. Raises TokenRefused."""
    if len(token) > _MAXIMUM_LENGTH or token.count(".") != 2:
        raise TokenRefused("malformed")
    try:
        header = dict(extract_compact(token.encode("ascii")).headers())
    except (JoseError, ValueError, TypeError, RecursionError):
        raise TokenRefused("malformed") from None
    if not isinstance(header.get("kid", ""), str):  # RFC 7515, 4.1.4
        raise TokenRefused("malformed")
    return header


def accepted(
    claims: Mapping[str, Any], *, issuer: str, audience: str, now_ms: int, leeway_seconds: int = 0
) -> AccessToken:
    """What the claims say, if they hold here and now. Raises TokenRefused."""
    if claims.get("iss") != issuer:  # (3)
        raise TokenRefused("issuer")
    named = claims.get("aud")
    if audience not in (named if isinstance(named, list) else [named]):  # (4)
        raise TokenRefused("audience")
    now_seconds = now_ms // 1000
    expires_seconds = _number(claims.get("exp"))
    begins_seconds = [_number(claims[name]) for name in ("iat", "nbf") if name in claims]
    if expires_seconds is None or now_seconds >= expires_seconds + leeway_seconds:  # (5)
        raise TokenRefused("expired")
    if any(begins is None or begins > now_seconds + leeway_seconds for begins in begins_seconds):
        raise TokenRefused("not_yet")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= _MAXIMUM_SUBJECT:  # (6)
        raise TokenRefused("subject")
    grant = claims.get("grant")
    return AccessToken(
        subject=subject,
        client=str(claims.get("client_id") or claims.get("azp") or "")[:_MAXIMUM_SUBJECT],
        scopes=scopes_of(claims),
        grant=grant if isinstance(grant, str) else None,
        expires_seconds=int(expires_seconds),
    )


def scopes_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """The token's scopes: ``scope`` as text (RFC 9068), or ``scp`` or ``scope`` as a list, as some servers have it."""
    said = claims.get("scp") if claims.get("scope") is None else claims["scope"]
    parts = said.split() if isinstance(said, str) else said if isinstance(said, list) else []
    return frozenset(part for part in parts if isinstance(part, str))


def _number(value: object) -> float | None:
    """A NumericDate (RFC 7519, 2) that is one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None  # Python's JSON knows Infinity and NaN
