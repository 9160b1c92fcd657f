"""UCP's protocol errors on the tokenizer: an HTTP status and ``{code, content, path?}``. None of them holds a value (I1).

Codes for signatures are those of UCP's "Message Signatures". The tokenizer's own document has none, so the others name what the
caller can do. ``path`` is an RFC 9535 path to the field, as in UCP's messages.
"""

from enum import Enum
from typing import NamedTuple


class _Kind(NamedTuple):
    status: int
    content: str


class UcpError(Enum):
    """The refusals. A code is the member's name in lower case."""

    UNAUTHORIZED = _Kind(401, "The bearer key is missing, unknown or revoked.")
    SIGNATURE_MISSING = _Kind(401, "This platform's requests are signed (RFC 9421), with an idempotency key.")
    SIGNATURE_INVALID = _Kind(401, "The signature does not verify, is stale, or does not cover what it must.")
    DIGEST_MISMATCH = _Kind(400, "Content-Digest is not the SHA-256 of the body.")
    INVALID_IDEMPOTENCY_KEY = _Kind(400, "An Idempotency-Key is 1 to 255 visible characters, not card-like.")
    INVALID_REQUEST = _Kind(400, "The request does not have the form of the published schema.")
    IDENTITY_NOT_ALLOWED = _Kind(403, "The identity is not one that this platform may tokenize for.")
    INVALID_CREDENTIAL = _Kind(422, "The credential cannot be taken.")
    IDEMPOTENCY_CONFLICT = _Kind(
        409, "The Idempotency-Key was used with a different request. A new request needs a new key."
    )
    IDEMPOTENCY_IN_FLIGHT = _Kind(409, "A request with this Idempotency-Key is under way. Send it again in a moment.")
    TOO_MANY_REQUESTS = _Kind(429, "Too many tries. Nothing was done. Try again later.")
    SERVICE_UNAVAILABLE = _Kind(503, "Nothing was done. Send the same request again.")
    INTERNAL_ERROR = _Kind(500, "Something failed here that is ours to mend. Send the same request again.")

    @property
    def code(self) -> str:
        """The code on the wire."""
        return self.name.lower()

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value.status


class UcpRefused(Exception):
    """A refused request. ``path`` leads to the field, ``rule`` is the rule that it broke."""

    def __init__(self, error: UcpError, path: str | None = None, rule: str | None = None) -> None:
        super().__init__(error.code)
        self.error = error
        self.path = path
        self.rule = rule

    def reason(self) -> str:
        """Field and rule, for the record."""
        return f"{(self.path or '').removeprefix('$.')} {self.rule or self.error.code}".strip()

    def body(self) -> dict[str, str]:
        """The error as JSON."""
        kind: _Kind = self.error.value
        content = f"{kind.content} ({self.rule})" if self.rule else kind.content
        return {"code": self.error.code, "content": content, **({"path": self.path} if self.path else {})}
