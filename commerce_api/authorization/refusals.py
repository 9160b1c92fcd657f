"""What the authorization server refuses with: the protocol's own codes, each with one constant sentence and no value (I2)."""

from enum import Enum
from typing import Any, NamedTuple


class _Kind(NamedTuple):
    status: int
    description: str


class OAuthError(Enum):
    """A code on the wire is its member's name in lower case (RFC 6749, 4.1.2.1 and 5.2; RFC 7591, 3.2.2; RFC 8707, 2)."""

    INVALID_REQUEST = _Kind(400, "A parameter is missing, given twice, or not of the required form.")
    INVALID_CLIENT = _Kind(400, "There is no such client here. Clients have no secret; they name their client_id.")
    INVALID_GRANT = _Kind(
        400, "The code or refresh token is used, expired, revoked, or not this client's. Sign in again."
    )
    INVALID_SCOPE = _Kind(400, "The scope goes beyond what was allowed.")
    INVALID_TARGET = _Kind(400, "The resource is not one that this server gives access to.")
    INVALID_CLIENT_METADATA = _Kind(400, "The client is not described as a public client that uses codes.")
    INVALID_REDIRECT_URI = _Kind(400, "A redirect address is not https, or http on 127.0.0.1 or localhost.")
    UNAUTHORIZED_CLIENT = _Kind(400, "The client may not ask in this way.")
    UNSUPPORTED_GRANT_TYPE = _Kind(400, "There are authorization_code and refresh_token.")
    UNSUPPORTED_RESPONSE_TYPE = _Kind(400, "There is code.")
    UNSUPPORTED_TOKEN_TYPE = _Kind(400, "There are access_token and refresh_token.")
    ACCESS_DENIED = _Kind(400, "The shopper did not allow it.")
    TEMPORARILY_UNAVAILABLE = _Kind(429, "Too much was asked for in a short time. Wait, then try again.")
    SERVER_ERROR = _Kind(500, "Something failed here that is ours to mend. Try again.")

    @property
    def code(self) -> str:
        """The code on the wire."""
        return self.name.lower()

    @property
    def status(self) -> int:
        """The HTTP status, where it is answered as JSON."""
        return self.value.status

    @property
    def body(self) -> dict[str, Any]:
        """The answer's body."""
        return {"error": self.code, "error_description": self.value.description}


class OAuthRefused(Exception):
    """A refused request of the protocol. Carries its kind and nothing of the request."""

    def __init__(self, kind: OAuthError) -> None:
        super().__init__(kind.code)
        self.kind = kind


def error_named(code: str) -> OAuthError:
    """The member of a code that the library raised; one that is not in the set becomes INVALID_REQUEST."""
    try:
        return OAuthError[code.upper()]
    except KeyError:
        return OAuthError.INVALID_REQUEST
