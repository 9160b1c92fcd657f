"""Which authorization server stands behind a brand: the embedded one, or one of the brand's own, named in a file.

``authorization.json`` in the commerce data directory, read at start; docs/mcp-authorization.md has an example of every field.
"""

import json
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from commerce_api.authorization import scopes
from commerce_api.links import Links

FILE: Final = "authorization.json"
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def _secure(url: str) -> str:
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not (parts.scheme == "https" or local) or not parts.hostname or parts.username or parts.fragment or parts.query:
        raise ValueError("an https address without a query")
    return url


Url = Annotated[str, Field(max_length=500), AfterValidator(_secure)]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]


class AuthorizationRefused(Exception):
    """The file cannot be used as it is. Holds one line for each thing to mend, and no value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class External(_Part):
    """An authorization server of the brand's own. ``scopes`` says, for each of ours, which of its scopes stand for it."""

    issuer: Url
    jwks_url: Url
    audience: Annotated[str, Field(min_length=1, max_length=500)] | None = (
        None  # default: the endpoint itself (RFC 8707)
    )
    algorithms: Annotated[list[Algorithm], Field(min_length=1)] = ["RS256", "ES256"]
    token_type: Literal["at+jwt", "any"] = "at+jwt"
    scopes: dict[str, list[str]] = {}

    def ours(self, theirs: frozenset[str]) -> frozenset[str]:
        """Which of our scopes a token with these has: by the mapping, else by the same name."""
        return frozenset(scope for scope in scopes.MEANINGS if theirs.intersection(self.scopes.get(scope, [scope])))


class BrandAuthorization(_Part):
    """How shoppers sign in to one brand, and whether who did not may buy."""

    external: External | None = None
    guest_checkout: bool = True
    embedded: bool = True


class Authorization(_Part):
    """The file. ``loopback_client_documents`` is for tests on one machine, and is refused in production."""

    brands: dict[str, BrandAuthorization] = {}
    loopback_client_documents: bool = False

    def of(self, brand: str) -> BrandAuthorization:
        """A brand's part, or what holds for those that the file does not name."""
        return self.brands.get(brand, _DEFAULT)


_DEFAULT: Final = BrandAuthorization()


def load_authorization(data: Path, *, production: bool) -> Authorization:
    """What the file says; the defaults where there is none. Raises AuthorizationRefused."""
    try:
        content = (data / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return Authorization()
    try:
        found = Authorization.model_validate(json.loads(content))
    except (ValueError, RecursionError) as failure:
        rules = failure.errors() if isinstance(failure, ValidationError) else []
        broken = [f"{FILE}: {'.'.join(map(str, rule['loc']))}: {rule['type']}" for rule in rules]
        raise AuthorizationRefused(broken or [f"{FILE} is not JSON"]) from None
    unknown = {
        scope
        for part in found.brands.values()
        if part.external is not None
        for scope in part.external.scopes
        if scope not in scopes.MEANINGS
    }
    problems = (
        [f"{FILE}: scopes: there is no such scope here; there are {', '.join(scopes.MEANINGS)}"] if unknown else []
    )
    if production and found.loopback_client_documents:
        problems.append(f"{FILE}: loopback_client_documents is for tests, not for production")
    if problems:
        raise AuthorizationRefused(problems)
    return found


def embedded_issuer(links: Links, brand: str) -> str:
    """The brand's own issuer (RFC 8414, 2): one for each brand, so that what one brand allowed means nothing at another."""
    return f"{links.commerce_url}/{brand}/oauth"
