"""Notices are signed as Standard Webhooks messages (v1: HMAC-SHA-256), so that any of its libraries verifies them.

The secret is derived from the merchant's active key for this purpose, never stored, and changes when that key is rotated.
Source: Standard Webhooks specification, sections "Signature scheme" and "Webhook Headers".
"""

import base64
import hmac

from vault_zone.key_rows import Purpose
from vault_zone.keyring import KeyRing

_LABEL = b"cordon notices v1"


async def secret_of(keys: KeyRing, merchant: str) -> bytes:
    """The merchant's secret, 32 bytes. Raises KeyUnavailable, KeyDestroyed."""
    _, key = await keys.ready(merchant, Purpose.WEBHOOK)
    return hmac.digest(key, _LABEL, "sha256")


def as_text(secret: bytes) -> str:
    """``whsec_`` and base64."""
    return "whsec_" + base64.b64encode(secret).decode("ascii")


def headers(secret: bytes, identifier: str, at_seconds: int, body: bytes) -> dict[str, str]:
    """The three headers that prove a message's id, time and body."""
    signed = hmac.digest(secret, f"{identifier}.{at_seconds}.".encode() + body, "sha256")
    return {
        "webhook-id": identifier,
        "webhook-timestamp": str(at_seconds),
        "webhook-signature": "v1," + base64.b64encode(signed).decode("ascii"),
    }
