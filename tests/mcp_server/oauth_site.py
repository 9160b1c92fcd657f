"""Both programs of the commerce side on loopback ports, at the addresses that they name: what an OAuth flow goes through.

And a shopper's browser, as far as the pages need one: it follows addresses, keeps cookies, fills in forms.
"""

import base64
import hashlib
import html
import json
import re
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx

from commerce_api.app import commerce_app
from commerce_api.authorization.desk import AuthorizationDesk
from commerce_api.authorization.mail import Letter
from commerce_api.links import Links
from commerce_api.rates import Limits, Rates
from mcp_server.app import BrandEndpoints, mcp_app
from mcp_server.bearer import presented
from tests.commerce_api.world import World
from tests.mcp_server.serving import STATE_KEYS, Site, serving
from tests.mcp_server.tokens import with_keys
from tokenization.clock import monotonic_seconds

SHOPPER = "robin@shopper.example"
CALLBACK = "http://127.0.0.1:33418/callback"


@dataclass
class Mailbox:
    """Where letters arrive: at once, in memory."""

    letters: list[Letter] = field(default_factory=list)

    def take(self, letter: Letter) -> None:
        """As Courier.take."""
        self.letters.append(letter)

    @property
    def code(self) -> str:
        """The code in the newest letter."""
        found = re.search(r"^    ([A-Z]{4}-[A-Z]{4})$", self.letters[-1].text, re.MULTILINE)
        assert found is not None
        return found.group(1)


@dataclass
class OAuthSite:
    """Both programs, and the shoppers' mailboxes."""

    world: World
    mcp: Site
    commerce_url: str
    mailbox: Mailbox
    desk: AuthorizationDesk

    @property
    def issuer(self) -> str:
        """The brand's authorization server."""
        return f"{self.commerce_url}/{self.world.brand}/oauth"

    @property
    def resource(self) -> str:
        """The brand's endpoint."""
        return self.mcp.endpoint()


@asynccontextmanager
async def oauth_site(world: World, host: str = "127.0.0.1") -> AsyncIterator[OAuthSite]:
    """Serves both programs over a world whose links name where they are, as ``host`` calls this machine."""
    with_keys(world)
    ports = [free_port(), free_port()]
    public, mcp = (f"http://{host}:{port}" for port in ports)
    settings = replace(world.commerce.settings, public_url=public, mcp_url=mcp)
    links = Links(public, mcp)
    payments = replace(world.commerce.payments, links=links)
    desk = replace(world.commerce.desk, links=links, payments=payments)
    world.commerce = replace(world.commerce, settings=settings, links=links, payments=payments, desk=desk)
    mailbox = Mailbox()
    app: Any = commerce_app(world.commerce, Limits(1e6, 1e6))
    inner = app._app._app._app._app  # the guards around it keep nothing of their own
    inner.state.authorization.courier = mailbox
    endpoints = BrandEndpoints(world.commerce, STATE_KEYS, Rates(monotonic_seconds, presented, Limits(1e6, 1e6)))
    try:
        async with serving(app, ports[0]), serving(mcp_app(world.commerce, endpoints), ports[1]):
            yield OAuthSite(world, Site(mcp, world, endpoints), public, mailbox, inner.state.authorization)
    finally:
        await endpoints.close()


def free_port() -> int:
    """A port of loopback that was free just now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def pkce() -> tuple[str, str]:
    """A verifier and its challenge (RFC 7636)."""
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    return verifier, base64.urlsafe_b64encode(digest).decode().rstrip("=")


@dataclass
class Browser:
    """A shopper's browser at the authorization server's pages."""

    site: OAuthSite
    http: httpx.AsyncClient
    page: httpx.Response | None = None

    async def open(self, address: str) -> httpx.Response:
        """Opens an address and goes where it leads, as far as this site goes."""
        self.page = await self._followed(await self.http.get(address))
        return self.page

    async def send(self, action: str, origin: str | None = None, **fields: str) -> httpx.Response:
        """Sends the form of the page that posts to ``action``."""
        assert self.page is not None
        found = re.search(rf'action="([^"]+/{action}(?:\?[^"]*)?)"', self.page.text)
        assert found is not None, self.page.text
        headers = {"origin": origin or self.site.commerce_url}
        answer = await self.http.post(self.site.commerce_url + found.group(1), data=fields, headers=headers)
        self.page = await self._followed(answer)
        return self.page

    async def sign_in(self, mailbox: str = SHOPPER) -> httpx.Response:
        """From the first page to the consent page."""
        await self.send("email", email=mailbox)
        return await self.send("code", code=self.site.mailbox.code)

    async def decide(self, decision: str = "allow") -> dict[str, str]:
        """The parameters that the client is sent."""
        answer = await self.send("decision", decision=decision)
        assert answer.status_code == 303, answer.text
        return parameters(answer)

    async def _followed(self, answer: httpx.Response) -> httpx.Response:
        while answer.is_redirect and answer.headers["location"].startswith("/"):
            answer = await self.http.get(self.site.commerce_url + answer.headers["location"])
        return answer


@asynccontextmanager
async def browser(site: OAuthSite) -> AsyncIterator[Browser]:
    """A fresh one."""
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as http:
        yield Browser(site, http)


def parameters(answer: httpx.Response) -> dict[str, str]:
    """The query of the address that an answer leads to."""
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


def refusal(answer: httpx.Response) -> dict[str, str]:
    """The parameters of the address that a page with a refusal links to, and leads nobody to by itself."""
    assert (answer.status_code, answer.headers.get("location")) == (400, None)
    assert "http-equiv" not in answer.text
    found = re.search(r'<a href="([^"]+)" rel="noreferrer">Go back', answer.text)
    assert found is not None, answer.text
    return dict(parse_qsl(urlsplit(html.unescape(found.group(1))).query))


@dataclass
class Program:
    """A client: registered, with its verifier, and what it says to the server."""

    site: OAuthSite
    id: str
    verifier: str
    challenge: str
    redirect_uri: str = CALLBACK

    def address(self, **changes: str | None) -> str:
        """Where it sends the shopper; a change to None leaves a parameter out."""
        said = {
            "response_type": "code",
            "client_id": self.id,
            "redirect_uri": self.redirect_uri,
            "scope": "catalog:read checkout:write",
            "state": "a state of the client's",
            "resource": self.site.resource,
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
            **changes,
        }
        return f"{self.site.issuer}/authorize?{urlencode({k: v for k, v in said.items() if v is not None})}"

    async def exchange(self, code: str, **changes: str | None) -> httpx.Response:
        """Gives in a code."""
        return await self.token(
            grant_type="authorization_code",
            code=code,
            **{"redirect_uri": self.redirect_uri, "code_verifier": self.verifier, **changes},
        )

    async def refresh(self, token: str, **changes: str | None) -> httpx.Response:
        """Gives in a refresh token."""
        return await self.token(grant_type="refresh_token", refresh_token=token, **changes)

    async def token(self, **said: str | None) -> httpx.Response:
        """A request of the token endpoint."""
        return await self.post("token", {"client_id": self.id, **said})

    async def post(self, endpoint: str, said: dict[str, str | None]) -> httpx.Response:
        """A form to an endpoint."""
        given = {name: value for name, value in said.items() if value is not None}
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as http:
            return await http.post(f"{self.site.issuer}/{endpoint}", data=given)


async def register(site: OAuthSite, **document: Any) -> httpx.Response:
    """A registration request (RFC 7591)."""
    said = {"redirect_uris": [CALLBACK], "client_name": "Acorn", "token_endpoint_auth_method": "none", **document}
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as http:
        return await http.post(f"{site.issuer}/register", content=json.dumps(said))


async def program(site: OAuthSite, **document: Any) -> Program:
    """A client that registered itself."""
    answer = await register(site, **document)
    assert answer.status_code == 201, answer.text
    verifier, challenge = pkce()
    record = answer.json()
    return Program(site, record["client_id"], verifier, challenge, record["redirect_uris"][0])


async def code_for(site: OAuthSite, client: Program, mailbox: str = SHOPPER, **changes: str | None) -> str:
    """A code that a shopper gave a client."""
    async with browser(site) as shopper:
        await shopper.open(client.address(**changes))
        await shopper.sign_in(mailbox)
        return (await shopper.decide())["code"]


async def tokens_for(site: OAuthSite, client: Program, mailbox: str = SHOPPER, **changes: str | None) -> dict[str, Any]:
    """The tokens that a shopper gave a client."""
    answer = await client.exchange(await code_for(site, client, mailbox, **changes))
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def query_of(address: str) -> dict[str, list[str]]:
    """An address's query."""
    return parse_qs(urlsplit(address).query)
