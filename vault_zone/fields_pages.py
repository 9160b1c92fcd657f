"""Card fields in a frame of a merchant's page, over HTTP. docs/card-fields.md has the protocol between page and frame.

What holds:
 1. The document is framed by the session's origin alone, and opening it claims nothing.
 2. A claim is made by the proof of the browser that began (openers.py); it travels in the Authorization header, never in a
    cookie, which a browser may not give to a frame, and never in an address.
 3. Only the frame's own script is heard: a request that a browser says came from another site is refused.
 4. No answer holds anything that was typed.
 5. Each submission passes the same defence against card testing as on the card page; answers bring the next one's puzzle.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from sqlalchemy.engine import Connection, Row

from audit.transaction import DatabaseBusy
from tokenization.edge import error_body
from vault_zone.callers import ZoneIn
from vault_zone.capture import FIELDS, LinkRefusal, LinkRefused, OpenLink, find_row, frame_origins
from vault_zone.capture_form import FormRefused, parse_form_body
from vault_zone.card_testing import defence_of
from vault_zone.device import ClientIn
from vault_zone.errors import IS_PAGE
from vault_zone.hazmat.provider import KeyUnavailable
from vault_zone.openers import claim_by_opener
from vault_zone.pages.fields import FieldsView, fields_manifest, frame_headers, render_fields
from vault_zone.pages.render import OPEN_TO_ALL, NoticeKind, NoticeView, render_notice, security_headers
from vault_zone.public_pages import AddressIn, BodyIn
from vault_zone.runtime import Zone
from vault_zone.submission import CardRefused, NotLookedAt, submit_card

router = APIRouter(prefix="/fields")
MANIFEST_CACHE_SECONDS = 300
_BEARER = "Bearer "
_CODE_OF = {
    LinkRefusal.UNKNOWN: ("not_found", 404),
    LinkRefusal.EXPIRED: ("link_expired", 410),
    LinkRefusal.USED: ("link_expired", 410),
    LinkRefusal.ELSEWHERE: ("not_opener", 403),
    LinkRefusal.NOT_OPENER: ("not_opener", 403),
}
_MESSAGES = {
    "not_found": "There are no card fields under this address.",
    "link_expired": "These card fields take no card any more. Ask for new ones.",
    "not_opener": "Only the browser that began may use these card fields. Show its opener again.",
    "not_same_site": "Only the frame of the card fields may ask this.",
    "form_refused": "This is no form of ours.",
    "unavailable": "The card cannot be taken just now. Nothing was kept; send it again in a minute.",
}


def claim_of(request: Request) -> str | None:
    """The claim in the Authorization header (2), or None."""
    value = request.headers.get("authorization", "")
    return value.removeprefix(_BEARER) if value.startswith(_BEARER) and len(value) < 100 else None


def is_own_request(request: Request, zone: Zone) -> bool:
    """Whether the request can be from a script of this site (3): browsers say so, and what says nothing is no browser."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    return origin in (None, zone.settings.capture_url) and site in (None, "same-origin")


ClaimIn = Annotated[str | None, Depends(claim_of)]


@router.get("/manifest.json")
async def get_manifest(zone: ZoneIn) -> Response:
    """The addresses and hashes of the scripts, for merchants' pages and for who watches them (PCI DSS 6.4.3, 11.6.1)."""
    headers = {"Cache-Control": f"public, max-age={MANIFEST_CACHE_SECONDS}", **OPEN_TO_ALL}
    return JSONResponse(fields_manifest(zone.settings.capture_url), headers=headers)


@router.get("/{secret}", **IS_PAGE)
async def get_fields(secret: str, zone: ZoneIn) -> Response:
    """The frame's document, the same for everybody who opens it (1)."""

    def look(connection: Connection) -> "Row[Any] | None":
        row = find_row(connection, secret, FIELDS)
        return row if row is not None and row.frame_origin in frame_origins(connection, row.merchant) else None

    row = await zone.database.read(look)
    if row is None:
        notice = NoticeView(kind=NoticeKind.NOT_FOUND, sandbox=zone.processors.is_sandbox)
        return HTMLResponse(render_notice(notice), 404, security_headers(None, https=zone.settings.is_https))
    view = FieldsView(
        merchant_name=row.merchant_name,
        frame_origin=row.frame_origin,
        path=f"/fields/{secret}",
        sandbox=zone.processors.is_sandbox,
    )
    return HTMLResponse(render_fields(view), headers=frame_headers(row.frame_origin, https=zone.settings.is_https))


@router.post("/{secret}/claim")
async def post_claim(secret: str, zone: ZoneIn, request: Request, body: BodyIn, address: AddressIn) -> Response:
    """Claims the session for the frame that shows the opener (2); says so if its card was taken already."""
    if not is_own_request(request, zone):
        return _refusal(zone, "not_same_site", 403)
    try:
        opener = parse_form_body(body).get("opener", "")
        claimed = await zone.database.change(lambda tx: claim_by_opener(tx, secret, opener, FIELDS))
    except (LinkRefused, FormRefused, KeyUnavailable, DatabaseBusy) as failure:
        return _failed(zone, failure)
    content: dict[str, object] = {"claim": claimed.claim, "session": claimed.link.session}
    if claimed.captured:
        return _answer(zone, {"state": "captured", **content})
    return await _with_defence(zone, claimed.link, address, {"state": "claimed", **content})


@router.post("/{secret}/card")
async def post_card(
    secret: str, zone: ZoneIn, request: Request, body: BodyIn, client: ClientIn, claim: ClaimIn
) -> Response:
    """Takes the card; sent again, it comes to the same end. What is wrong is named by field and code."""
    if not is_own_request(request, zone):
        return _refusal(zone, "not_same_site", 403)
    try:
        submitted = await submit_card(zone, secret, claim, body, client=client, mode=FIELDS)
    except (LinkRefused, FormRefused, KeyUnavailable, DatabaseBusy) as failure:
        return _failed(zone, failure)
    if isinstance(submitted, NotLookedAt):
        return await _with_defence(zone, submitted.link, client.address, {"state": "wait"}, 429, submitted.again_ms)
    if isinstance(submitted, CardRefused):
        problems = {field.value: code.value for field, code in submitted.errors.codes.items()}  # (4)
        return await _with_defence(
            zone, submitted.link, client.address, {"state": "refused", "problems": problems}, 422
        )
    return _answer(zone, {"state": "captured", "session": submitted.link.session})


async def _with_defence(
    zone: Zone, link: OpenLink, address: str, content: dict[str, object], status: int = 200, again_ms: int = 0
) -> JSONResponse:
    """The answer with the puzzle for the next submission, and how long it has to wait (5)."""
    try:
        defence = await defence_of(zone, link, address)
    except (LinkRefused, KeyUnavailable) as failure:
        return _failed(zone, failure)
    wait_seconds = max(0, -(-(max(defence.again_ms, again_ms) - zone.clock()) // 1000))
    return _answer(zone, {**content, "puzzle": defence.puzzle._asdict(), "wait_seconds": wait_seconds}, status)


def _failed(zone: Zone, failure: Exception) -> JSONResponse:
    if isinstance(failure, LinkRefused):
        return _refusal(zone, *_CODE_OF[failure.refusal])
    if isinstance(failure, FormRefused):
        return _refusal(zone, "form_refused", 400)
    return _refusal(zone, "unavailable", 503)


def _refusal(zone: Zone, code: str, status: int) -> JSONResponse:
    return _answer(zone, error_body(code, _MESSAGES[code]), status)


def _answer(zone: Zone, content: dict[str, object], status: int = 200) -> JSONResponse:
    return JSONResponse(content, status, security_headers(None, https=zone.settings.is_https))
