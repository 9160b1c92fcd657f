"""What shoppers and processors reach: the card page behind a one-time link, its assets, and processors' webhooks."""

from typing import Annotated, Any
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter, Cookie, Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from audit.event import Event, EventType
from audit.transaction import DatabaseBusy
from tokenization.clock import as_datetime
from tokenization.edge import error_body
from vault_zone.addresses import client_address
from vault_zone.callers import ZoneIn
from vault_zone.capture import PAGE, LinkRefusal, LinkRefused, OpenLink, claim_link, finished_link
from vault_zone.capture_form import FormRefused, SafeValues, parse_form_body
from vault_zone.card_testing import defence_of
from vault_zone.device import ClientIn
from vault_zone.errors import IS_PAGE
from vault_zone.hazmat.provider import KeyUnavailable
from vault_zone.key_rows import ORIGIN
from vault_zone.openers import claim_by_opener
from vault_zone.pages.render import (
    AssetUnknown,
    CardPageView,
    NoticeKind,
    NoticeView,
    asset_headers,
    render_card_page,
    render_notice,
    security_headers,
    static_asset,
)
from vault_zone.processors.port import WebhookRefused
from vault_zone.runtime import Zone
from vault_zone.seal_gate import sealed_answer
from vault_zone.submission import CardRefused, CardTaken, NotLookedAt, submit_card

router = APIRouter()
log = structlog.get_logger("vault_zone")

CLAIM_COOKIE = "cordon_claim"
_NOTICE_OF = {
    LinkRefusal.UNKNOWN: NoticeKind.NOT_FOUND,
    LinkRefusal.EXPIRED: NoticeKind.LINK_EXPIRED,
    LinkRefusal.USED: NoticeKind.LINK_USED,
    LinkRefusal.ELSEWHERE: NoticeKind.OTHER_BROWSER,
    LinkRefusal.NOT_OPENER: NoticeKind.NOT_OPENER,
}
_STATUS_OF = {
    LinkRefusal.UNKNOWN: 404,
    LinkRefusal.EXPIRED: 410,
    LinkRefusal.USED: 410,
    LinkRefusal.ELSEWHERE: 403,
    LinkRefusal.NOT_OPENER: 403,
}
_ASSETS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/css": {}, "text/javascript": {}}}}
ClaimIn = Annotated[str | None, Cookie(alias=CLAIM_COOKIE, max_length=100)]


async def body_of(request: Request) -> bytes:
    """The bounded body; BodyLimit has read it already."""
    return await request.body()


BodyIn = Annotated[bytes, Depends(body_of)]
AddressIn = Annotated[str, Depends(client_address)]


@router.get("/capture/{secret}", **IS_PAGE)
async def get_card_page(secret: str, zone: ZoneIn, address: AddressIn, claim: ClaimIn = None) -> Response:
    """The card page. The first browser to open it claims the link; another one gets a notice."""
    try:
        link, claimed = await zone.database.change(lambda tx: claim_link(tx, secret, claim))
    except LinkRefused as refused:
        finished = await zone.database.read(lambda connection: finished_link(connection, secret, claim))
        if finished is not None:  # the back button, or a reload after the answer was lost
            return _notice_page(zone, NoticeKind.RECEIVED, _way_back(finished), 200)
        return _refusal_page(zone, refused)
    try:
        answer = await _card_page(zone, link, secret, address)
    except LinkRefused as refused:
        return _refusal_page(zone, refused)
    except KeyUnavailable:
        answer = _notice_page(
            zone, NoticeKind.UNAVAILABLE, None, 503
        )  # with the cookie: the link is this browser's already
    _set_claim(answer, zone, secret, claimed)
    return answer


@router.post("/capture/{secret}/claim", **IS_PAGE)
async def post_opener(secret: str, zone: ZoneIn, body: BodyIn) -> Response:
    """Takes the proof of the browser that began, from a form of the page where it did, and goes on to the card page."""
    try:
        opener = parse_form_body(body).get("opener", "")
        claimed = await zone.database.change(lambda tx: claim_by_opener(tx, secret, opener, PAGE))
    except LinkRefused as refused:
        return _refusal_page(zone, refused)
    except FormRefused:
        return _notice_page(zone, NoticeKind.UNAVAILABLE, None, 400)
    except DatabaseBusy:
        return _notice_page(zone, NoticeKind.UNAVAILABLE, None, 503)
    answer = RedirectResponse(f"/capture/{secret}", 303, _headers(zone, None))
    _set_claim(answer, zone, secret, claimed.claim)
    return answer


@router.post("/capture/{secret}", **IS_PAGE)
async def post_card(secret: str, zone: ZoneIn, body: BodyIn, client: ClientIn, claim: ClaimIn = None) -> Response:
    """Takes the card: seals it and sends the shopper back to the merchant, or shows what to mend by field."""
    try:
        submitted = await submit_card(zone, secret, claim, body, client=client)
        if not isinstance(submitted, CardTaken):
            return await _card_page(zone, submitted.link, secret, client.address, submitted)
    except LinkRefused as refused:
        return _refusal_page(zone, refused)
    except FormRefused:
        return _notice_page(zone, NoticeKind.UNAVAILABLE, None, 400)
    except (KeyUnavailable, DatabaseBusy):
        return _notice_page(zone, NoticeKind.UNAVAILABLE, None, 503)
    return RedirectResponse(_way_back(submitted.link), 303, _headers(zone, submitted.link.return_url))


@router.get("/assets/{name}", response_class=Response, responses=_ASSETS)
async def get_asset(name: str) -> Response:
    """A style sheet or script of the card page, named by the hash of its content."""
    try:
        found = static_asset(name)
    except AssetUnknown:
        return JSONResponse(error_body("not_found", "There is nothing here for this request."), 404)
    return Response(found.body, headers={**asset_headers(name), "content-type": found.content_type})


@router.post("/webhooks/{processor}")
async def post_webhook(processor: str, request: Request, zone: ZoneIn, body: BodyIn) -> Response:
    """A processor's webhook: verified, applied once, acknowledged. One that does not verify changes nothing."""
    connector = zone.processors.get(processor)
    if connector is None:
        return JSONResponse(error_body("not_found", "There is nothing here for this request."), 404)
    try:
        events = connector.read_webhook(dict(request.headers), body, zone.clock())
    except WebhookRefused:
        # Anybody can send these: were each of them an entry of the log, they could fill it.
        if count := zone.refused_webhooks.count():
            await zone.database.change(lambda tx: tx.record(_webhook_refused(connector.name, count)))
        return JSONResponse(error_body("webhook_refused", "The signature or its time is not valid."), 400)
    for event in events:
        await zone.engine.apply_webhook(event, connector.name)
    return JSONResponse({"received": True})


@router.get("/health")
async def get_health(zone: ZoneIn) -> JSONResponse:
    """That the listener answers: 503 while the zone is sealed. What it can do is told on the internal API."""
    if zone.unsealing.is_sealed:
        return JSONResponse({"status": "sealed"}, 503)
    return JSONResponse({"status": "ok" if zone.sequencer.is_writable() else "degraded"})


async def _card_page(
    zone: Zone, link: OpenLink, secret: str, address: str, back: CardRefused | NotLookedAt | None = None
) -> HTMLResponse:
    defence = await defence_of(zone, link, address)
    now_ms = zone.clock()
    again_ms = max(defence.again_ms, back.again_ms if isinstance(back, NotLookedAt) else 0)
    wait_seconds = max(0, -(-(again_ms - now_ms) // 1000))
    status = 200 if back is None else 422 if isinstance(back, CardRefused) else 429
    view = CardPageView(
        merchant_name=link.merchant_name,
        amount_text=link.amount.text(),
        description_lines=list(link.summary),
        action_url=f"/capture/{secret}",
        cancel_url=link.cancel_url,
        expires_text=f"This link works until {as_datetime(link.expires_ms):%H:%M} UTC.",
        sandbox=zone.processors.is_sandbox,
        errors=back.errors if isinstance(back, CardRefused) else None,
        safe_values=back.safe_values if isinstance(back, CardRefused) else SafeValues(),
        puzzle=defence.puzzle,
        too_many_tries=isinstance(back, NotLookedAt),
        wait_seconds=wait_seconds,
        may_save=link.shopper is not None,
    )
    headers = _headers(zone, link.return_url)
    if wait_seconds:
        headers["Retry-After"] = str(wait_seconds)
    return HTMLResponse(render_card_page(view), status, headers)


def _set_claim(answer: Response, zone: Zone, secret: str, claim: str) -> None:
    answer.set_cookie(
        CLAIM_COOKIE,
        claim,
        path=f"/capture/{secret}",
        httponly=True,
        samesite="lax",  # a shopper who comes back by the link in the chat is still the one who opened it
        secure=zone.settings.is_https,
    )


def _way_back(link: OpenLink) -> str:
    separator = "&" if urlsplit(link.return_url).query else "?"
    return f"{link.return_url}{separator}capture_session={link.session}"


def _refusal_page(zone: Zone, refused: LinkRefused) -> HTMLResponse:
    return _notice_page(zone, _NOTICE_OF[refused.refusal], refused.cancel_url, _STATUS_OF[refused.refusal])


def sealed_page(zone: Zone, path: str) -> Response:
    """What a sealed zone answers on this listener: a page to shoppers, a code to programs."""
    if path.startswith(("/capture/", "/fields/")):
        return _notice_page(zone, NoticeKind.UNAVAILABLE, None, 503)
    return sealed_answer()


def _notice_page(zone: Zone, kind: NoticeKind, continue_url: str | None, status: int) -> HTMLResponse:
    view = NoticeView(kind=kind, continue_url=continue_url, sandbox=zone.processors.is_sandbox)
    return HTMLResponse(render_notice(view), status, _headers(zone, None))


def _headers(zone: Zone, return_url: str | None) -> dict[str, str]:
    parts = urlsplit(return_url) if return_url else None
    origin = f"{parts.scheme}://{parts.netloc}" if parts else None
    return security_headers(origin, https=zone.settings.is_https)


def _webhook_refused(processor: str, count: int) -> Event:
    return Event(
        type=EventType.WEBHOOK_REFUSED,
        outcome="failure",
        actor="processor:unverified",
        origin=ORIGIN,
        resource=f"processor:{processor}",
        data={"count": count},
    )
