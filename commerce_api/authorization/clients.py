"""Client programs: who they say they are, and where a shopper may be sent back to.

Every client is a public one: it has no secret, and its proof is PKCE and the address that it gets its codes at. Two kinds:
a client whose id is the address of its metadata document (client_documents.py), and one that registered itself (RFC 7591), for
programs written before such documents.

What holds for an address that codes are sent to:
 1. It is https, or http on this very machine (RFC 8252, 7.3); no user, no fragment, no odd characters. Private schemes are not
    taken: any program may claim them.
 2. It is one of the client's, letter for letter; only the port of one on this machine may differ: programs take a free one.
What holds for a program that registers itself:
 3. Who says the same twice is the same client and gets the same id: a hosted assistant, which registers for each shopper
    from a few addresses, makes one row. The id is no secret and proves nothing, so it may be guessed.
 4. New clients are counted, for each brand and network: REGISTRATIONS_PER_HOUR. What one brand's shoppers do limits no other's.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from sqlalchemy import func, insert, select, update

from audit.event import Event, EventType
from audit.transaction import Transaction
from commerce_api.authorization.refusals import OAuthError, OAuthRefused
from commerce_api.authorization.scopes import DEFAULT, joined, known
from commerce_api.brands import ORIGIN
from commerce_api.models import oauth_client
from tokenization.ids import is_id, letters_of

MAXIMUM_NAME: Final = 60
MAXIMUM_REDIRECTS: Final = 10
MAXIMUM_URL: Final = 500
REGISTRATIONS_PER_HOUR: Final = 30  # new ones, at one brand from one network
UNUSED_SECONDS: Final = 90 * 86_400
CLIENT_PREFIX: Final = "acl"  # of the id of one that registered itself
_LOCAL: Final = ("127.0.0.1", "localhost")
_CHARACTERS: Final = re.compile(r"[A-Za-z0-9:/?#\[\]@!$&'()*+,;=%._~-]+", re.ASCII)
HOST: Final = re.compile(r"[a-z0-9.-]{1,253}", re.ASCII)
_AUTH_METHODS: Final = (None, "none")
_GRANTS: Final = ("authorization_code", "refresh_token")


@dataclass(frozen=True, slots=True)
class Client:
    """A public client. The methods are those that Authlib asks of one."""

    id: str
    name: str
    redirect_uris: tuple[str, ...]

    @property
    def host(self) -> str | None:
        """The host that vouches for it, where its id is an address."""
        return urlsplit(self.id).hostname if self.id.startswith(("https://", "http://")) else None

    def get_client_id(self) -> str:
        """The id."""
        return self.id

    def get_default_redirect_uri(self) -> None:
        """None: the client has to say where."""

    def get_allowed_scope(self, scope: str | None) -> str:
        """Of what was asked for, the scopes that there are; the usual ones where none of them is (RFC 6749, 3.3)."""
        return joined(known(scope)) or DEFAULT

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """(1) (2)"""
        return is_redirect_uri(redirect_uri) and any(_same(own, redirect_uri) for own in self.redirect_uris)

    def check_endpoint_auth_method(self, method: str, _: str) -> bool:
        """There are no secrets."""
        return method == "none"

    def check_response_type(self, response_type: str) -> bool:
        """Codes alone."""
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        """Codes and what renews them."""
        return grant_type in _GRANTS


def is_redirect_uri(uri: object) -> bool:
    """Whether codes may be sent there (1)."""
    if not isinstance(uri, str) or len(uri) > MAXIMUM_URL or not _CHARACTERS.fullmatch(uri) or "#" in uri:
        return False
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if host is None or not HOST.fullmatch(host) or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or is_local(parts)


def is_local(parts: SplitResult) -> bool:
    """Whether an address is of the machine that the browser runs on, where any program may pose as the client."""
    return parts.scheme == "http" and parts.hostname in _LOCAL


def _same(own: str, given: str) -> bool:
    """(2)"""
    if own == given:
        return True
    one, other = urlsplit(own), urlsplit(given)
    return is_local(one) and is_local(other) and _without_port(one) == _without_port(other)


def _without_port(parts: SplitResult) -> tuple[str | None, str, str]:
    return parts.hostname, parts.path, parts.query


def described(document: Any, *, identifier: str) -> Client:
    """The client that its metadata describes (RFC 7591, 2). Raises INVALID_CLIENT_METADATA, INVALID_REDIRECT_URI."""
    if not isinstance(document, dict):
        raise OAuthRefused(OAuthError.INVALID_CLIENT_METADATA)
    uris = document.get("redirect_uris")
    if not isinstance(uris, list) or not 1 <= len(uris) <= MAXIMUM_REDIRECTS or not all(map(is_redirect_uri, uris)):
        raise OAuthRefused(OAuthError.INVALID_REDIRECT_URI)
    if document.get("token_endpoint_auth_method") not in _AUTH_METHODS or "client_secret" in document:
        raise OAuthRefused(OAuthError.INVALID_CLIENT_METADATA)
    if not _within(document.get("grant_types"), _GRANTS) or not _within(document.get("response_types"), ("code",)):
        raise OAuthRefused(OAuthError.INVALID_CLIENT_METADATA)
    return Client(identifier, shown_name(document.get("client_name")), tuple(uris))


def _within(given: Any, allowed: Sequence[str]) -> bool:
    """Whether a list leaves at least one of what is allowed; none given is as good."""
    return given is None or (isinstance(given, list) and any(item in allowed for item in given))


def shown_name(text: object) -> str:
    """What a client calls itself, made fit to be shown; it proves nothing."""
    name = " ".join(text.split()) if isinstance(text, str) else ""
    return "".join(char for char in name if char.isprintable())[:MAXIMUM_NAME].strip() or "An assistant"


def register(tx: Transaction, brand: str, document: Any, network: str) -> dict[str, Any]:
    """Registers a client (RFC 7591, 3), or finds it where it did so before, and gives its record. Raises OAuthRefused."""
    said = described(document, identifier="")
    client = Client(_id_of(brand, said), said.name, said.redirect_uris)
    since_ms: int | None = tx.execute(select(oauth_client.c.created_ms).where(oauth_client.c.id == client.id)).scalar()
    if since_ms is None:
        _add(tx, brand, client, network)
    else:
        registered(tx, brand, client.id)  # (3) which notes that it is in use
    return {
        "client_id": client.id,
        "client_id_issued_at": (tx.now_ms if since_ms is None else since_ms) // 1000,
        "client_name": client.name,
        "redirect_uris": list(client.redirect_uris),
        "grant_types": list(_GRANTS),
        "response_types": ["code"],
        "token_endpoint_auth_method": _AUTH_METHODS[1],
    }


def _id_of(brand: str, said: Client) -> str:
    """(3)"""
    text = json.dumps([brand, said.name, *said.redirect_uris])
    return f"{CLIENT_PREFIX}_{letters_of(hashlib.sha256(text.encode()).digest()[:16])}"


def _add(tx: Transaction, brand: str, client: Client, network: str) -> None:
    """Raises OAuthRefused(TEMPORARILY_UNAVAILABLE) (4)."""
    recent = select(func.count()).where(
        oauth_client.c.brand == brand,
        oauth_client.c.network == network,
        oauth_client.c.created_ms > tx.now_ms - 3_600_000,
    )
    if (tx.execute(recent).scalar() or 0) >= REGISTRATIONS_PER_HOUR:
        raise OAuthRefused(OAuthError.TEMPORARILY_UNAVAILABLE)
    tx.execute(
        insert(oauth_client).values(
            id=client.id,
            brand=brand,
            name=client.name,
            redirect_uris=json.dumps(client.redirect_uris),
            network=network,
            created_ms=tx.now_ms,
            used_ms=tx.now_ms,
        )
    )
    tx.record(
        Event(
            type=EventType.CLIENT_REGISTERED,
            outcome="success",
            actor="anonymous",
            origin=ORIGIN,
            resource=client.id,
            merchant=brand,
            data={"count": len(client.redirect_uris)},
        )
    )


def registered(tx: Transaction, brand: str, identifier: str) -> Client | None:
    """A client that registered itself at this brand; notes that it is in use."""
    if not is_id(identifier, CLIENT_PREFIX):
        return None
    row = tx.execute(
        select(oauth_client.c.name, oauth_client.c.redirect_uris, oauth_client.c.used_ms).where(
            oauth_client.c.id == identifier, oauth_client.c.brand == brand
        )
    ).first()
    if row is None:
        return None
    if tx.now_ms - row.used_ms > 86_400_000:  # once a day is enough to know that it lives
        tx.execute(update(oauth_client).where(oauth_client.c.id == identifier).values(used_ms=tx.now_ms))
    return Client(identifier, row.name, tuple(json.loads(row.redirect_uris)))
