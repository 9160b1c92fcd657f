"""The protocol of the embedded server, on Authlib: the code grant with PKCE, its renewal, revocation, ``iss`` in answers.

One server object for each request, over that request's transaction: what Authlib reads and writes commits together, and a
refusal that changes something (a reused token ends its grant) commits as well, because Authlib answers it and does not raise.

What holds beyond what Authlib sees to:
 1. PKCE with S256, always: without a challenge, or with another method, there is no code (RFC 9700, 2.1.1).
 2. The resource is one of the brand's endpoints, the first of them where none is named. A grant is for that one, and so are
    its tokens: a request for another is refused (RFC 8707).
 3. No parameter comes twice, none in a token request's address, and there is no client secret.
 4. Scopes that are not ours are left out, and what is answered says which were given (RFC 6749, 3.3 and 5.1).
 5. An answer's text is ours (refusals.py): Authlib's own repeat addresses and names.
 6. A token never allows more than its grant. What a renewal asks for has to name something, all of it granted; an empty
    ``scope`` counts as none (RFC 6749, 3.2 and 6). The access token and the answer hold what is in both, and never nothing.
 7. Paying is allowed together with a limit, and else left out of what is granted.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import AuthorizationServer, OAuth2Payload, OAuth2Request
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, RefreshTokenGrant
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc9207 import IssuerParameter

from audit.transaction import Transaction
from commerce_api.authorization import access_tokens, grants
from commerce_api.authorization.clients import Client, registered
from commerce_api.authorization.keys import ALGORITHM, SigningKeys
from commerce_api.authorization.refusals import OAuthError, OAuthRefused, error_named
from commerce_api.authorization.scopes import PAYMENTS_EXECUTE, within, without
from tokenization.ids import is_secret, new_secret

Pairs = Sequence[tuple[str, str]]
MAXIMUM_STATE: Final = 2_000
_ONCE: Final = (
    *("client_id", "redirect_uri", "response_type", "scope", "state", "resource"),
    *("code_challenge", "code_challenge_method"),
)


@dataclass
class Answered:
    """What Authlib answers: a JSON body, or an address that the browser is sent to."""

    status: int
    body: dict[str, Any]
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Realm:
    """A brand's own authorization server, and the endpoints that its tokens may be for."""

    brand: str
    issuer: str
    resources: tuple[str, ...]
    keys: SigningKeys


class _Payload(OAuth2Payload):  # type: ignore[misc]  # Authlib has no types
    def __init__(self, pairs: Pairs) -> None:
        self._lists: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in pairs:
            self._lists[name].append(value)

    @property
    def data(self) -> dict[str, str]:
        return {name: values[0] for name, values in self._lists.items()}

    @property
    def datalist(self) -> "defaultdict[str, list[str]]":
        return self._lists


class _Request(OAuth2Request):  # type: ignore[misc]  # as above
    def __init__(self, method: str, pairs: Pairs) -> None:
        # Authlib looks at the scheme. Whether this side may be spoken to without TLS is the settings' to say.
        super().__init__(method, "https://authorization.invalid/", headers={})
        self.payload = _Payload(pairs)

    @property
    def form(self) -> dict[str, str]:
        found: dict[str, str] = self.payload.data
        return found

    @property
    def args(self) -> dict[str, str]:
        return {}


class _OnlyS256(CodeChallenge):  # type: ignore[misc]  # as above
    """(1)"""

    DEFAULT_CODE_CHALLENGE_METHOD = "S256"
    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        """Refuses a request that has no challenge; Authlib would let it pass."""
        given = grant.request.payload.data
        if not given.get("code_challenge") or given.get("code_challenge_method") != "S256":
            raise OAuth2Error(error=OAuthError.INVALID_REQUEST.code)
        super().validate_code_challenge(grant, redirect_uri)


class _CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc]  # as above
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)

    def generate_authorization_code(self) -> str:
        return new_secret(grants.CODE_PREFIX)

    def save_authorization_code(self, code: str, request: Any) -> None:
        server = self.server
        grants.grant(
            server.tx,
            code,
            brand=server.realm.brand,
            client=request.client.id,
            shopper=request.user,
            scope=request.scope if server.limit_minor else without(request.scope, PAYMENTS_EXECUTE),
            limit_minor=server.limit_minor,
            resource=server.resource_in(request.payload.data),
            redirect_uri=request.payload.redirect_uri,
            challenge=request.payload.data["code_challenge"],
        )

    def query_authorization_code(self, code: str, client: Client) -> grants.Granted | None:
        found = grants.take_code(self.server.tx, self.server.realm.brand, code)
        if found is not None:
            self.server.check_resource(self.request, found)
        return found if found is not None and found.check_client(client) else None

    def delete_authorization_code(self, authorization_code: grants.Granted) -> None:
        grants.spend(self.server.tx, authorization_code)

    def authenticate_user(self, authorization_code: grants.Granted) -> Any:
        return authorization_code.grant


class _RefreshGrant(RefreshTokenGrant):  # type: ignore[misc]  # as above
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)
    INCLUDE_NEW_REFRESH_TOKEN = True

    def _validate_token_scope(self, token: grants.Granted) -> None:
        """(6) Authlib finds every scope of a blank text granted."""
        given = self.request.payload.scope
        if given and not set() < set(given.split()) <= set(token.get_scope().split()):
            raise OAuth2Error(error=OAuthError.INVALID_SCOPE.code)

    def authenticate_refresh_token(self, refresh_token: str) -> grants.Granted | None:
        found = grants.take_refresh(self.server.tx, self.server.realm.brand, refresh_token, self.request.client.id)
        if found is not None:
            self.server.check_resource(self.request, found)
        if found is not None and grants.is_early(self.server.tx, found):
            raise OAuth2Error(error=OAuthError.TEMPORARILY_UNAVAILABLE.code)
        return found

    def authenticate_user(self, refresh_token: grants.Granted) -> Any:
        return refresh_token.grant

    def revoke_old_credential(self, refresh_token: grants.Granted) -> None:
        """save_token() did, before there was another one."""


class _WithinGrant(BearerTokenGenerator):  # type: ignore[misc]  # as above
    """(6)"""

    def generate(self, grant_type: str, client: Client, user: Any = None, scope: str | None = None, **more: Any) -> Any:
        held = within(scope, user.scope)
        if not held:
            raise OAuth2Error(error=OAuthError.INVALID_SCOPE.code)
        return super().generate(grant_type, client, user, held, **more)

    def __call__(self, **given: Any) -> Any:
        return self.generate(**given)


@dataclass(frozen=True, slots=True)
class _Revocable:
    row: Any

    def check_client(self, client: Client) -> bool:
        return bool(self.row.client == client.id)


class _Revocation(RevocationEndpoint):  # type: ignore[misc]  # as above
    CLIENT_AUTH_METHODS = ("none",)

    def query_token(self, token_string: str, token_type_hint: str | None) -> _Revocable | None:
        server = self.server
        if is_secret(token_string, grants.REFRESH_PREFIX):
            row = grants.grant_of_refresh(server.tx, server.realm.brand, token_string)
        else:
            row = grants.find_grant(server.tx, server.realm.brand, server.grant_in(token_string))
        return None if row is None else _Revocable(row)

    def revoke_token(self, token: _Revocable, request: Any) -> None:
        grants.revoke(self.server.tx, token.row, "client")


class _Issuer(IssuerParameter):  # type: ignore[misc]  # as above
    def __init__(self, server: "BrandAuthorizationServer") -> None:
        self._issuer = server.realm.issuer
        super().__call__(server)

    def get_issuer(self) -> str:
        return self._issuer


@dataclass(eq=False)
class BrandAuthorizationServer(AuthorizationServer):  # type: ignore[misc]  # as above
    """A brand's server over one transaction. ``client`` is one that was looked up before it began, ``limit_minor`` what the
    shopper who decides lets it spend."""

    tx: Transaction
    realm: Realm
    client: Client | None = None
    limit_minor: int | None = None

    def __post_init__(self) -> None:
        super().__init__()
        self.register_grant(_CodeGrant, [_OnlyS256(required=True)])
        self.register_grant(_RefreshGrant)
        self.register_endpoint(_Revocation)
        self.register_extension(_Issuer)
        generator = _WithinGrant(self._access_token, self._refresh_token, access_tokens.LIFETIME_SECONDS)
        self.register_token_generator("default", generator)

    def begin(self, pairs: Pairs) -> Any:
        """The code grant that a shopper is to be asked about. Raises RedirectRefused; OAuthRefused where nobody can be told."""
        request = _Request("GET", pairs)
        given = request.payload.data
        if any(len(request.payload.datalist.get(name, ())) > 1 for name in _ONCE):  # (3)
            raise OAuthRefused(OAuthError.INVALID_REQUEST)
        client = self.query_client(given.get("client_id", ""))
        redirect_uri = given.get("redirect_uri", "")
        if client is None:
            raise OAuthRefused(OAuthError.INVALID_CLIENT)
        if not client.check_redirect_uri(redirect_uri):
            raise OAuthRefused(OAuthError.INVALID_REDIRECT_URI)
        state = given.get("state", "")
        if len(state) > MAXIMUM_STATE or "\0" in state:  # what cannot be stored; it is printable ASCII (RFC 6749, A.5)
            raise OAuthRefused(OAuthError.INVALID_REQUEST)
        if self.resource_in(given) not in self.realm.resources:  # (2)
            raise RedirectRefused(OAuthError.INVALID_TARGET, redirect_uri, given.get("state"), client)
        try:
            grant = self.get_consent_grant(request)
        except OAuth2Error as failure:
            raise RedirectRefused(error_named(failure.error), redirect_uri, given.get("state"), client) from None
        return grant

    def decide(self, grant: Any, shopper: str | None) -> str:
        """Where the browser goes with the decision: with a code, or with ``access_denied``."""
        answered: Answered = self.create_authorization_response(grant.request, grant_user=shopper, grant=grant)
        return answered.location or ""

    def token(self, pairs: Pairs) -> Answered:
        """The answer of the token endpoint."""
        request = _Request("POST", pairs)
        refused = self._unfit(request)
        if refused is not None:
            return Answered(refused.status, refused.body)
        answered: Answered = self.create_token_response(request)
        return answered

    def revocation(self, pairs: Pairs) -> Answered:
        """The answer of the revocation endpoint (RFC 7009): the same for a token that is not there."""
        request = _Request("POST", pairs)
        refused = self._unfit(request)
        if refused is not None:
            return Answered(refused.status, refused.body)
        answered: Answered = self.create_endpoint_response(_Revocation.ENDPOINT_NAME, request)
        return answered

    def _unfit(self, request: _Request) -> OAuthError | None:
        """(2) (3)"""
        if any(len(values) > 1 for values in request.payload.datalist.values()):
            return OAuthError.INVALID_REQUEST
        if self.resource_in(request.form) not in self.realm.resources:
            return OAuthError.INVALID_TARGET
        return None

    def resource_in(self, given: dict[str, str]) -> str:
        """The endpoint that a request is about."""
        return given.get("resource", self.realm.resources[0])

    def check_resource(self, request: Any, found: grants.Granted) -> None:
        """A code or refresh token gives tokens for its own endpoint only (2). Raises OAuth2Error."""
        if request.form.get("resource", found.grant.resource) != found.grant.resource:
            raise OAuth2Error(error=OAuthError.INVALID_TARGET.code)

    def query_client(self, client_id: str) -> Client | None:
        """The client of this id. One whose id is an address needs no look at its document where a code or token binds it."""
        if self.client is not None and self.client.id == client_id:
            return self.client
        if client_id.startswith(("https://", "http://")):
            return Client(client_id, "", ())
        return registered(self.tx, self.realm.brand, client_id)

    def save_token(self, token: dict[str, Any], request: Any) -> None:
        """Stores the refresh token, and records that tokens are given."""
        row, renewed = request.user, getattr(request, "refresh_token", None)
        if renewed is not None:
            grants.spend(self.tx, renewed)
        grants.keep_refresh(self.tx, row.id, token["refresh_token"], row.expires_ms)
        grants.note_use(self.tx, row, request.payload.grant_type)

    def grant_in(self, token: str) -> str:
        """The grant of an access token of ours, be it past its time; empty for anything else."""
        try:
            _, claims = access_tokens.opened(token, lambda header: self.realm.keys.find(header.get("kid")), [ALGORITHM])
        except access_tokens.TokenRefused:
            return ""
        return str(claims.get("grant", "")) if claims.get("iss") == self.realm.issuer else ""

    def send_signal(self, name: str, *_: Any, **__: Any) -> None:
        """Nobody listens."""

    def create_oauth2_request(self, request: _Request) -> _Request:
        """It is one already."""
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> Answered:
        """Authlib's answer, with our texts (5)."""
        location = dict(headers).get("Location")
        if isinstance(body, dict) and "error" in body:
            kind = error_named(body["error"])
            return Answered(kind.status, kind.body)
        return Answered(status, body if isinstance(body, dict) else {}, location)

    def _access_token(self, *, client: Client, grant_type: str, user: Any, scope: str) -> str:
        return access_tokens.issue(
            self.realm.keys,
            issuer=self.realm.issuer,
            subject=user.shopper,
            client=client.id,
            scope=scope,
            audience=user.resource,
            grant=user.id,
            now_ms=self.tx.now_ms,
        )

    def _refresh_token(self, **_: Any) -> str:
        return new_secret(grants.REFRESH_PREFIX)


class RedirectRefused(Exception):
    """A refusal that the client is told, at an address that is the client's. The message is the code alone.

    ``is_vouched_for``: whether some host says that the address is the client's; one that registered itself says so itself.
    """

    def __init__(self, kind: OAuthError, redirect_uri: str, state: str | None, client: Client) -> None:
        super().__init__(kind.code)
        self.kind, self.redirect_uri, self.state = kind, redirect_uri, state
        self.is_vouched_for = client.host is not None
