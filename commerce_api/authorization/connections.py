"""A shopper's own page: which programs are connected to their account, since when, for what; and the way to end one.

And which passkeys sign them in, with the way to remove one, and to add one behind a code by mail (passkeys.py).

What holds:
 1. Who is shown is the shopper whom the browser is signed in as (browser_session.py): their own grants and passkeys at this
    brand, that stand, and nobody else's. Another's cannot be told from one that is not there.
 2. What is ended opens nothing from that moment on: its refresh tokens are refused, and its access tokens on the next call.
 3. Opening the page changes nothing. What ends a connection is a form from this site, in the shopper's own browser: the cookie
    goes with no other site's form, and where the browser says that a form came from elsewhere, it is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import select
from sqlalchemy.engine import Connection as Reading

from audit.transaction import Transaction
from commerce_api.agents_api import CommerceIn
from commerce_api.authorization import browser_session, grants, passkeys
from commerce_api.authorization.browser_session import Cookie
from commerce_api.authorization.clients import Client
from commerce_api.authorization.endpoints import DeskIn, is_same_site, to_sign_in
from commerce_api.authorization.scopes import MEANINGS, PAYMENTS_EXECUTE, known
from commerce_api.brands import Brand
from commerce_api.errors import CommerceRefusal
from commerce_api.models import oauth_client, oauth_grant
from commerce_api.pages.connections import DONE, Shown, ShownPasskey, render_connections
from commerce_api.pages.render import Asset, Notice, page_headers, passkey_script, render_notice
from commerce_api.runtime import Commerce
from tokenization.clock import as_text
from tokenization.money import Money

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Visit:
    """A shopper at their page: the brand, who they are, and the browser's cookie with its secret."""

    brand: Brand
    shopper: str | None
    cookie: Cookie
    secret: str


async def visit_of(brand: str, request: Request, commerce: CommerceIn, desk: DeskIn) -> Visit:
    """Who is at the page. Raises CommerceRefusal(BRAND_UNKNOWN) where nobody can sign in."""
    found, _ = await desk.realm(brand)
    cookie = Cookie(found.id, commerce.settings.is_https)
    secret, now_ms = cookie.read(request), commerce.clock()

    def look(connection: Reading) -> str | None:
        return browser_session.shopper_of(connection, found.id, secret, now_ms)

    return Visit(found, await commerce.database.read(look), cookie, secret)


async def here(brand: str, request: Request, commerce: CommerceIn, desk: DeskIn) -> Visit | None:
    """As visit_of(); None at a brand that has no such page."""
    try:
        return await visit_of(brand, request, commerce, desk)
    except CommerceRefusal:
        return None


VisitIn = Annotated[Visit | None, Depends(here)]


@router.get("/{brand}/connections")
async def get_connections(brand: str, request: Request, visit: VisitIn, commerce: CommerceIn, desk: DeskIn) -> Response:
    """What is connected; who is not signed in is asked to."""
    if visit is None:
        return _notice(commerce, Notice.NOT_FOUND, 404)
    if visit.shopper is None:
        return await to_sign_in(visit.brand.id, f"/{visit.brand.id}/connections", request, commerce, desk)
    shopper, now_ms = visit.shopper, commerce.clock()

    def look(connection: Reading) -> tuple[list[Mapping[str, Any]], list[Any]]:
        return (
            standing(connection, visit.brand.id, shopper, now_ms),
            passkeys.of_shopper(connection, visit.brand.id, shopper),
        )

    rows, keys = await commerce.database.read(look)
    script = None if desk.passkey_site is None else passkey_script()
    page = render_connections(
        brand_name=visit.brand.name,
        path=f"/{visit.brand.id}/connections",
        connections=[_shown(row, visit.brand) for row in rows],
        passkeys=[
            ShownPasskey(row.id, as_text(row.created_ms), as_text(row.used_ms) if row.used_ms else None) for row in keys
        ],
        may_add=desk.passkey_site is not None and len(keys) < passkeys.MAXIMUM,
        alert=next((alert for name, alert in DONE.items() if name in request.query_params), None),
        script=script,
    )
    return HTMLResponse(page, 200, _headers(commerce, script))


@router.post("/{brand}/connections/{grant}/end")
async def post_end(brand: str, grant: str, request: Request, visit: VisitIn, commerce: CommerceIn) -> Response:
    """Ends a connection (2)."""
    if not is_same_site(request, commerce):  # (3)
        return _notice(commerce, Notice.NOT_FOUND, 403)
    if visit is None or visit.shopper is None:
        return _notice(commerce, Notice.REQUEST_ENDED, 404)
    shopper = visit.shopper
    ended = await commerce.database.change(lambda tx: end(tx, visit.brand.id, shopper, grant))
    if not ended:
        return _notice(commerce, Notice.NOT_FOUND, 404)
    return RedirectResponse(f"/{visit.brand.id}/connections?ended", 303, _headers(commerce))


@router.post("/{brand}/connections/passkeys/{passkey}/remove")
async def post_remove(brand: str, passkey: str, request: Request, visit: VisitIn, commerce: CommerceIn) -> Response:
    """Removes a passkey."""
    if not is_same_site(request, commerce):  # (3)
        return _notice(commerce, Notice.NOT_FOUND, 403)
    if visit is None or visit.shopper is None:
        return _notice(commerce, Notice.REQUEST_ENDED, 404)
    shopper = visit.shopper
    if not await commerce.database.change(lambda tx: passkeys.remove(tx, visit.brand.id, shopper, passkey)):
        return _notice(commerce, Notice.NOT_FOUND, 404)
    return RedirectResponse(f"/{visit.brand.id}/connections?removed", 303, _headers(commerce))


@router.post("/{brand}/connections/passkeys")
async def post_passkeys(brand: str, request: Request, visit: VisitIn, commerce: CommerceIn, desk: DeskIn) -> Response:
    """Signs the shopper in by a code anew, to add a passkey behind it."""
    if not is_same_site(request, commerce):  # (3)
        return _notice(commerce, Notice.NOT_FOUND, 403)
    if visit is None or desk.passkey_site is None:
        return _notice(commerce, Notice.NOT_FOUND, 404)
    return await to_sign_in(visit.brand.id, f"/{visit.brand.id}/connections?passkey", request, commerce, desk)


@router.post("/{brand}/connections/sign-out")
async def post_sign_out(brand: str, request: Request, visit: VisitIn, commerce: CommerceIn) -> Response:
    """Signs the browser out; what is connected stays so."""
    if not is_same_site(request, commerce):  # (3)
        return _notice(commerce, Notice.NOT_FOUND, 403)
    if visit is None:
        return _notice(commerce, Notice.NOT_FOUND, 404)
    await commerce.database.maintain(lambda tx: browser_session.end(tx, visit.brand.id, visit.secret))
    answer = _notice(commerce, Notice.SIGNED_OUT, 200)
    visit.cookie.remove(answer)
    return answer


def standing(connection: Reading, brand: str, shopper: str, now_ms: int) -> list[Mapping[str, Any]]:
    """A shopper's grants that stand, newest first, each with the name of its client where that registered itself (1)."""
    query = (
        select(oauth_grant, oauth_client.c.name)
        .outerjoin(oauth_client, oauth_client.c.id == oauth_grant.c.client)
        .where(
            oauth_grant.c.brand == brand,
            oauth_grant.c.shopper == shopper,
            oauth_grant.c.revoked_ms.is_(None),
            oauth_grant.c.expires_ms > now_ms,
        )
        .order_by(oauth_grant.c.created_ms.desc(), oauth_grant.c.id)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def end(tx: Transaction, brand: str, shopper: str, identifier: str) -> bool:
    """Ends a shopper's own grant (2); False where they have none of this id (1)."""
    row = grants.find_grant(tx, brand, identifier)
    if row is None or row.shopper != shopper:
        return False
    grants.revoke(tx, row, "shopper")
    return True


def _shown(row: Mapping[str, Any], brand: Brand) -> Shown:
    limit = row["limit_minor"]
    return Shown(
        grant=row["id"],
        name=row["name"],
        host=Client(row["client"], "", ()).host,
        since=as_text(row["created_ms"]),
        until=as_text(row["expires_ms"]),
        allows=[MEANINGS[scope] for scope in known(row["scope"]) if scope != PAYMENTS_EXECUTE],
        limit=None if limit is None else Money(limit, brand.currency).text(),
    )


def _notice(commerce: Commerce, notice: Notice, status: int) -> HTMLResponse:
    return HTMLResponse(render_notice(notice), status, _headers(commerce))


def _headers(commerce: Commerce, script: Asset | None = None) -> dict[str, str]:
    address = None if script is None else f"{commerce.settings.public_url}{script.url}"
    return page_headers(None, https=commerce.settings.is_https, passkey_script=address)
