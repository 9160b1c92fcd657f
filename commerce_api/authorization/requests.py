"""A request for access while the shopper is asked: kept here between pages, so that no page carries what the next one trusts.

Besides clients, pages of this site ask: a request without a client is a shopper who signs in for the page that follows.

What holds:
 1. It belongs to the browser that it was begun in, by a cookie that only this request's pages are sent; another browser that
    opens its address sees nothing of it.
 2. It lasts LIFETIME_SECONDS, and ends with the decision; one of a page's, with the sign-in, or with the passkey that is added
    after it. Where that leads is a path of this site, of one of the forms that our own pages ask with.
 3. What a passkey signs in it is 256 random bits, for one use (passkeys.py).
"""

import hmac
import re
import secrets
from typing import Any, Final

from sqlalchemy import delete, func, insert, select
from sqlalchemy.engine import Row

from audit.event import Event, EventType
from audit.transaction import Transaction
from commerce_api.authorization.clients import Client
from commerce_api.authorization.grants import host_of
from commerce_api.authorization.refusals import OAuthError, OAuthRefused
from commerce_api.brands import ORIGIN
from commerce_api.models import oauth_request
from tokenization.ids import digest, is_id, letters_of, new_id, new_secret

LIFETIME_SECONDS: Final = 900  # a code in the mail takes its time
PER_NETWORK_AN_HOUR: Final = 120
COOKIE_PREFIX: Final = "asc"
NO_CLIENT: Final = ""
_PAGES: Final = re.compile(r"/[A-Za-z0-9_-]{1,64}/(checkout/chk_[a-z]{20,40}|connections(\?passkey)?)", re.ASCII)


def open_request(
    tx: Transaction, *, brand: str, network: str, client: Client, grant: Any, resource: str
) -> tuple[str, str]:
    """Keeps a request that was found fit; gives its id and the secret of the browser's cookie. Raises OAuthRefused."""
    given = grant.request.payload.data
    return _keep(
        tx,
        brand=brand,
        network=network,
        client=client.id,
        client_name=client.name,
        redirect_uri=given["redirect_uri"],
        scope=grant.request.scope,
        resource=resource,
        state=given.get("state"),
        code_challenge=given["code_challenge"],
    )


def open_page_request(tx: Transaction, *, brand: str, network: str, path: str) -> tuple[str, str]:
    """As open_request(), for a shopper who signs in to see a page of this site. Raises OAuthRefused."""
    if _PAGES.fullmatch(path) is None:
        raise OAuthRefused(OAuthError.INVALID_REQUEST)
    return _keep(
        tx,
        brand=brand,
        network=network,
        client=NO_CLIENT,
        client_name="",
        redirect_uri=path,
        scope="",
        resource="",
        code_challenge="",
    )


def _keep(tx: Transaction, *, network: str, **said: Any) -> tuple[str, str]:
    recent = select(func.count()).where(
        oauth_request.c.network == network, oauth_request.c.created_ms > tx.now_ms - 3_600_000
    )
    if (tx.execute(recent).scalar() or 0) >= PER_NETWORK_AN_HOUR:
        raise OAuthRefused(OAuthError.TEMPORARILY_UNAVAILABLE)
    identifier, secret = new_id("oar"), new_secret(COOKIE_PREFIX)
    tx.execute(
        insert(oauth_request).values(
            id=identifier,
            browser=digest(secret),
            network=network,
            challenge=new_challenge(),
            passkey_tries=0,
            created_ms=tx.now_ms,
            expires_ms=tx.now_ms + LIFETIME_SECONDS * 1000,
            **said,
        )
    )
    return identifier, secret


def new_challenge() -> str:
    """What a passkey is to sign, as letters (3)."""
    return letters_of(secrets.token_bytes(32))


def find_request(tx: Transaction, brand: str, identifier: str, cookie: str) -> "Row[Any] | None":
    """The request, for the browser that began it (1), in its time (2)."""
    if not is_id(identifier, "oar"):
        return None
    row = tx.execute(
        select(oauth_request).where(
            oauth_request.c.id == identifier, oauth_request.c.brand == brand, oauth_request.c.expires_ms > tx.now_ms
        )
    ).first()
    return row if row is not None and hmac.compare_digest(row.browser, digest(cookie)) else None


def close_request(tx: Transaction, row: "Row[Any]", *, allowed: bool) -> None:
    """Ends the request (2). That it was allowed is recorded with the grant."""
    tx.execute(delete(oauth_request).where(oauth_request.c.id == row.id))
    if not allowed:
        actor = f"shopper:{row.shopper}" if row.shopper else "anonymous"
        tx.record(
            Event(
                type=EventType.AUTHORIZATION_DENIED,
                outcome="success",
                actor=actor,
                origin=ORIGIN,
                resource=row.id,
                merchant=row.brand,
                data=host_of(row.client),
            )
        )


def path_of(row: "Row[Any]") -> str:
    """The path of the request's pages."""
    return f"/{row.brand}/oauth/requests/{row.id}"


def parameters_of(row: "Row[Any]") -> list[tuple[str, str]]:
    """The request as the protocol has it, to be judged once more when the decision is there."""
    given = {
        "response_type": "code",
        "client_id": row.client,
        "redirect_uri": row.redirect_uri,
        "scope": row.scope,
        "resource": row.resource,
        "state": row.state,
        "code_challenge": row.code_challenge,
        "code_challenge_method": "S256",
    }
    return [(name, value) for name, value in given.items() if value is not None]
