"""ACP's flat errors: ``{type, code, message, param?, supported_versions?}``. None of them holds a value of the request (I1).

``type`` is always one of the published schema's. Its ``code`` has no member for a missing authorization, a version and a
failure of ours; for those the published OpenAPI's examples and the protocol's text use the codes that stand here.
"""

from enum import Enum
from typing import Any, NamedTuple


class _Kind(NamedTuple):
    status: int
    type: str
    message: str


class AcpError(Enum):
    """The refusals. A code is the member's name in lower case, but where ``code`` says otherwise."""

    UNAUTHORIZED = _Kind(401, "invalid_request", "The bearer key is missing, unknown or revoked.")
    SIGNATURE_INVALID = _Kind(401, "invalid_request", "Signature and Timestamp are required and must verify.")
    MISSING_API_VERSION = _Kind(400, "invalid_request", "The API-Version header is required.")
    UNSUPPORTED_API_VERSION = _Kind(400, "invalid_request", "This API-Version is not supported.")
    IDEMPOTENCY_KEY_REQUIRED = _Kind(
        400, "invalid_request", "The Idempotency-Key header is required: 1 to 255 visible characters, not card-like."
    )
    MALFORMED = _Kind(400, "invalid_request", "The request does not have the form of the published schema.")
    INVALID_CARD = _Kind(422, "invalid_request", "The card, or what it may be used for, cannot be taken.")
    BLOCKED = _Kind(422, "invalid_request", "A risk signal says that this payment is blocked.")
    IDEMPOTENCY_CONFLICT = _Kind(
        422, "invalid_request", "The Idempotency-Key was used with a different request. A new request needs a new key."
    )
    IDEMPOTENCY_IN_FLIGHT = _Kind(
        409, "invalid_request", "A request with this Idempotency-Key is under way. Send it again in a moment."
    )
    TOO_MANY_REQUESTS = _Kind(429, "rate_limit_exceeded", "Too many tries. Nothing was done. Try again later.")
    SERVICE_UNAVAILABLE = _Kind(503, "service_unavailable", "Nothing was done. Send the same request again.")
    INTERNAL_SERVER_ERROR = _Kind(
        500, "processing_error", "Something failed here that is ours to mend. Send the same request again."
    )

    @property
    def code(self) -> str:
        """The code on the wire. The schema has one code for all that is wrong with a body."""
        if self in (AcpError.MALFORMED, AcpError.BLOCKED):
            return AcpError.INVALID_CARD.code
        return "unauthorized" if self is AcpError.SIGNATURE_INVALID else self.name.lower()

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value.status


class AcpRefused(Exception):
    """A refused request. ``param`` is an RFC 9535 path to the field, ``rule`` the rule that it broke."""

    def __init__(self, error: AcpError, param: str | None = None, rule: str | None = None) -> None:
        super().__init__(error.code)
        self.error = error
        self.param = param
        self.rule = rule

    def reason(self) -> str:
        """Field and rule, for the record."""
        return f"{(self.param or '').removeprefix('$.')} {self.rule or self.error.code}".strip()

    def body(self, supported_versions: tuple[str, ...]) -> dict[str, Any]:
        """The error as JSON."""
        kind: _Kind = self.error.value
        message = f"{kind.message} ({self.rule})" if self.rule else kind.message
        body: dict[str, Any] = {"type": kind.type, "code": self.error.code, "message": message}
        if self.param:
            body["param"] = self.param
        if self.error in (AcpError.MISSING_API_VERSION, AcpError.UNSUPPORTED_API_VERSION):
            body["supported_versions"] = list(supported_versions)
        return body


def path_of(location: tuple[int | str, ...]) -> str:
    """An RFC 9535 path to a place in a body. A name that is not the schema's own is not written: it came with the request."""
    path = "$"
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step.isascii() and step.isidentifier() and step in KNOWN_NAMES:
            path += f".{step}"
        else:
            break
    return path


_NAMES = """
payment_method allowance billing_address risk_signals metadata type card_number_type number exp_month exp_year name cvc
cryptogram eci_value checks_performed iin display_card_funding_type display_wallet_type display_brand display_last4
virtual reason max_amount currency checkout_session_id merchant_id expires_at line_one line_two city state country
postal_code score action
"""
KNOWN_NAMES = frozenset(_NAMES.split())
