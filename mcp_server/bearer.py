"""The resource server's side of OAuth: who calls, by which token, and whether that is enough for the tool that is called.

What holds for a request that goes on from here:
 1. It carries no token in its address (RFC 6750, 2.3 is refused) and at most one ``Authorization``.
 2. What it presents is right: the brand's agent key, or an access token of this brand's issuer, for this endpoint, in its time
    (commerce_api/authorization/access_tokens.py), whose grant nobody revoked; of its scopes those count that the grant has.
    Presenting nothing makes a guest.
 3. The tool that it calls is one that who calls may call: a guest where guests may (401 else), a token with every scope of the
    tool (403 else, with all of them in one challenge, so that the client can step up).
 4. Who calls is written into the request's scope here and nowhere else; nothing further in reads the header again.

The scopes are looked up by the tool that the body names, in either era of the protocol; brand_server.py asks once more, so that
a body read differently there opens nothing. A token goes no further than this process.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select

from commerce_api.authorization import access_tokens, scopes
from commerce_api.authorization.access_tokens import AccessToken, TokenRefused
from commerce_api.authorization.external import ExternalIssuers
from commerce_api.authorization.issuers import embedded_issuer, load_authorization
from commerce_api.authorization.keys import SigningKeys
from commerce_api.brands import Brand, is_agent_key
from commerce_api.checkout.service import ANONYMOUS, Caller, shopper_principal
from commerce_api.errors import CommerceError
from commerce_api.models import oauth_grant
from commerce_api.runtime import Commerce
from commerce_api.settings import PRODUCTION
from mcp_server.metadata import challenge
from mcp_server.profiles import OPEN, Profile, door_of
from mcp_server.results import refusal_as_json, told_id
from mcp_server.scopes import NEEDS, Need, need_of
from tokenization.edge import Answer, Scope, bearer_of, header
from tokenization.ids import digest

STATE: Final = "cordon.access"
NOT_ALLOWED: Final = -32003  # -32000 to -32019 are left to implementations
_URL_TOKENS: Final = ("access_token=", "id_token=", "refresh_token=")


@dataclass(frozen=True, slots=True)
class Access:
    """Who calls. ``scopes`` is None for the brand's own agent, which needs none; ``shopper`` is who is signed in, and ``grant``
    what they allowed ``client``."""

    principal: str
    scopes: frozenset[str] | None = frozenset()
    shopper: str | None = None
    client: str | None = None
    grant: str | None = None

    @property
    def is_guest(self) -> bool:
        """Whether nothing was presented."""
        return self.principal == ANONYMOUS

    def may_call(self, need: Need, *, guest_checkout: bool) -> bool:
        """Whether this is enough for a tool (3)."""
        if self.scopes is None:
            return True
        return need.lets_in(guest_checkout=guest_checkout) if self.is_guest else need.scopes <= self.scopes


GUEST: Final = Access(ANONYMOUS)


class Refused(Exception):
    """A request that goes no further: how it is answered, with the challenge. ``is_known``: what it presents is right."""

    def __init__(self, answer: Answer, challenge: str, *, is_known: bool = False) -> None:
        super().__init__(answer[0])
        self.answer = answer
        self.challenge = challenge
        self.is_known = is_known
        self.headers: tuple[tuple[bytes, bytes], ...] = ((b"www-authenticate", challenge.encode()),)

    def as_result(self, body: bytes) -> "Refused":
        """The same for a host that looks for it in the result of a call (OpenAI's Apps SDK, tool-level authentication)."""
        failure = self.answer[1]["error"]
        result = refusal_as_json(failure["data"]["code"], failure["message"])
        # A description makes ChatGPT show its way to sign in; without one it does not.
        said = self.challenge.replace("Bearer ", f'Bearer error_description="{_SIGN_IN}", ', 1)
        if "error=" not in self.challenge:
            said = said.replace("Bearer ", 'Bearer error="invalid_token", ', 1)
        result |= {"_meta": {CHALLENGES: [said]}, "resultType": "complete"}
        told = Refused(
            (200, {"jsonrpc": "2.0", "id": told_id(body), "result": result}), self.challenge, is_known=self.is_known
        )
        told.headers = ()
        return told


class Door:
    """Lets requests of every brand in, or says what is missing."""

    def __init__(self, commerce: Commerce) -> None:
        self._commerce = commerce
        settings = commerce.settings
        self.authorization = load_authorization(settings.data, production=settings.environment == PRODUCTION)
        self.keys = SigningKeys(settings.oauth_keys)
        self.external = ExternalIssuers(commerce.clock)

    async def close(self) -> None:
        """Lets connections go."""
        await self.external.close()

    def issuer(self, brand: str) -> str | None:
        """The authorization server that a brand's metadata names, or None where there is none."""
        chosen = self.authorization.of(brand)
        if chosen.external is not None:
            return chosen.external.issuer
        offered = chosen.embedded and self._commerce.settings.can_mail and self.keys.is_there
        return embedded_issuer(self._commerce.links, brand) if offered else None

    async def admit(self, scope: Scope, brand: Brand, body: bytes, profile: Profile = OPEN) -> Access:
        """Who calls. Raises Refused."""
        query = scope.get("query_string", b"").decode("latin-1").lower()
        presented = [value for name, value in scope["headers"] if name == b"authorization"]
        if any(name in query for name in _URL_TOKENS) or len(presented) > 1:  # (1)
            raise self._refused(brand, profile, 400, error="invalid_request")
        access = await self._caller(brand, profile, header(scope, b"authorization"))
        tool, given = tool_called(body)
        if tool in NEEDS:  # others: there is no such tool, as the SDK will say
            self._check(brand, profile, access, need_of(tool, given), body)
        return access

    def _check(self, brand: Brand, profile: Profile, access: Access, need: Need, body: bytes) -> None:
        if access.may_call(need, guest_checkout=self.authorization.of(brand.id).guest_checkout):
            return
        status, error = (401, None) if access.is_guest else (403, "insufficient_scope")
        refused = self._refused(brand, profile, status, error=error, scope=need.text)
        raise refused.as_result(body) if profile.challenges_in_results else refused

    async def _caller(self, brand: Brand, profile: Profile, presented: str | None) -> Access:
        if presented is None:
            return GUEST
        credential = bearer_of(presented)
        if credential is None:
            raise self._refused(brand, profile, 401, error="invalid_token", scope=scopes.DEFAULT)
        if is_agent_key(brand, self._commerce.agent_secret, credential):
            return Access(f"agent:{brand.id}", None)
        try:
            return await self._by_token(brand, profile, credential)
        except TokenRefused:
            raise self._refused(brand, profile, 401, error="invalid_token", scope=scopes.DEFAULT) from None

    async def _by_token(self, brand: Brand, profile: Profile, token: str) -> Access:
        """(2) Raises TokenRefused."""
        issuer, resource = self.issuer(brand.id), self._commerce.links.mcp(brand.id, profile.name) or ""
        if issuer is None:
            raise TokenRefused("issuer")
        now_ms = self._commerce.clock()
        chosen = self.authorization.of(brand.id).external
        if chosen is not None:
            said = await self.external.verify(chosen, token, resource, now_ms)
            shopper = shopper_of(brand.id, issuer, said.subject)
            return Access(shopper_principal(shopper), chosen.ours(said.scopes), shopper, said.client)
        said = access_tokens.verify(self.keys, token, issuer=issuer, audience=resource, now_ms=now_ms)
        granted = await self._granted(brand, said, now_ms)
        held = scopes.within(" ".join(said.scopes), granted)
        return Access(shopper_principal(said.subject), frozenset(held.split()), said.subject, said.client, said.grant)

    async def _granted(self, brand: Brand, said: AccessToken, now_ms: int) -> str:
        """The scopes of the token's grant. What was revoked opens nothing from that moment on, not only when it has run out."""
        query = select(oauth_grant.c.shopper, oauth_grant.c.scope).where(
            oauth_grant.c.id == (said.grant or ""),
            oauth_grant.c.brand == brand.id,
            oauth_grant.c.revoked_ms.is_(None),
            oauth_grant.c.expires_ms > now_ms,
        )
        row = await self._commerce.database.read(lambda connection: connection.execute(query).first())
        if row is None or row.shopper != said.subject:
            raise TokenRefused("revoked")
        return str(row.scope)

    def _refused(
        self, brand: Brand, profile: Profile, status: int, *, error: str | None = None, scope: str | None = None
    ) -> Refused:
        kind = CommerceError.SCOPE_INSUFFICIENT if status == 403 else CommerceError.UNAUTHENTICATED
        code, message = ("invalid_request", _ONE_TOKEN) if status == 400 else (kind.code, kind.message)
        # As the protocol's own error: who cannot sign in reads at least why; who can reads the challenge.
        failure = {"code": NOT_ALLOWED, "message": message, "data": {"code": code}}
        return Refused(
            (status, {"jsonrpc": "2.0", "id": None, "error": failure}),
            challenge(brand, self._commerce.links, error=error, scope=scope, profile=profile),
            is_known=status == 403,
        )


_SIGN_IN: Final = "Sign in to go on"
CHALLENGES: Final = "mcp/www_authenticate"
_ONE_TOKEN: Final = "A token goes into one Authorization header, and never into an address."


def presented(scope: Scope) -> str | None:
    """What a request presents, at the door where it does: what is right at one is not at another. Empty for what never is."""
    said = header(scope, b"authorization")
    if said is None:
        return None
    credential, door = bearer_of(said), door_of(scope["path"])
    return "\0".join((door[0], door[1].name, credential)) if credential is not None and door is not None else ""


def tool_called(body: bytes) -> tuple[str, Collection[str]]:
    """The tool that a request calls, empty where it is no tools/call, and the arguments that are given and not null."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return "", ()
    if not isinstance(request, dict) or request.get("method") != "tools/call":
        return "", ()
    params = request.get("params")
    params = params if isinstance(params, dict) else {}
    name, arguments = params.get("name"), params.get("arguments")
    given = [key for key, value in arguments.items() if value is not None] if isinstance(arguments, dict) else ()
    return name if isinstance(name, str) else "", given


def access_of(request: Any) -> Access:
    """Who sent an HTTP request, as the door found it (4). What no door let in is a guest."""
    scope = getattr(request, "scope", None)
    found = scope.get(STATE) if scope is not None else None
    return found if isinstance(found, Access) else GUEST


def caller_from(request: Any) -> Caller:
    """As access_of(), in the form that the desk takes."""
    access = access_of(request)
    return Caller(access.principal, "mcp", access.grant)


def shopper_of(brand: str, issuer: str, subject: str) -> str:
    """Our id for the subject of another server's: the same each time, and nothing of the subject can be read from it."""
    return "shp_" + digest("\0".join((brand, issuer, subject)))[:32]
