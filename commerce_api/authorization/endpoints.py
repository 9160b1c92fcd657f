"""The embedded authorization server over HTTP: pages for the shopper's browser, endpoints for clients.

What holds for the pages:
 1. Opening one changes nothing but that a request is kept; what decides is a form, sent by the browser that began, from here.
 2. The cookie is for one request's pages alone, out of reach of scripts, and gone with the request.
 3. A page may send its form here and to the client's own address, nowhere else (CSP form-action).
 4. A refusal that the client must be told goes to its address; where that is not known to be the client's, a page says so here.
    For a client that registered itself, as anybody can, a page links there instead: until the shopper did something, this site
    sends nobody to an address that a stranger chose (RFC 9700, 4.11.2).
"""

import json
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from commerce_api.agents_api import CommerceIn
from commerce_api.authorization.browser_session import Cookie
from commerce_api.authorization.clients import is_local
from commerce_api.authorization.desk import Asked, AuthorizationDesk, SignedIn
from commerce_api.authorization.issuers import embedded_issuer
from commerce_api.authorization.protocol import Answered, RedirectRefused
from commerce_api.authorization.refusals import OAuthError, OAuthRefused
from commerce_api.authorization.requests import path_of
from commerce_api.authorization.scopes import MEANINGS, PAYMENTS_EXECUTE, known
from commerce_api.errors import CommerceRefusal
from commerce_api.pages.authorize import Step, render_step
from commerce_api.pages.render import Asset, Notice, page_headers, passkey_script, render_notice
from commerce_api.runtime import Commerce
from tokenization.addresses import origin_of
from tokenization.edge import header
from tokenization.money import Money

router = APIRouter()
_MAXIMUM_FIELDS = 40
_NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}
_PUBLIC = {"cache-control": "public, max-age=300", "access-control-allow-origin": "*"}


def desk_of(request: Request) -> AuthorizationDesk:
    """The desk."""
    desk: AuthorizationDesk = request.app.state.authorization
    return desk


DeskIn = Annotated[AuthorizationDesk, Depends(desk_of)]


@router.get("/.well-known/oauth-authorization-server/{brand}/oauth")
async def get_metadata(brand: str, desk: DeskIn) -> JSONResponse:
    """RFC 8414."""
    return JSONResponse(await desk.metadata(brand), headers=_PUBLIC)


@router.get("/{brand}/oauth/jwks")
async def get_keys(brand: str, desk: DeskIn) -> JSONResponse:
    """The keys that access tokens are verified with."""
    await desk.realm(brand)
    return JSONResponse(desk.keys.public(), headers=_PUBLIC)


@router.get("/{brand}/oauth/authorize")
async def get_authorize(brand: str, request: Request, commerce: CommerceIn, desk: DeskIn) -> Response:
    """Where a client sends the shopper: a fit request goes on to its pages."""
    try:
        identifier, secret = await desk.begin(brand, _pairs(request.url.query), _host(request, commerce))
    except RedirectRefused as refused:  # (4)
        address = _refusal_address(refused, embedded_issuer(commerce.links, brand))
        if not refused.is_vouched_for:
            return _notice(commerce, Notice.CLIENT_MISTAKEN, refused.kind.status, back_url=address)
        return RedirectResponse(address, 303, _NO_STORE)
    except OAuthRefused as refused:
        limited = refused.kind is OAuthError.TEMPORARILY_UNAVAILABLE
        return _notice(commerce, Notice.TOO_OFTEN if limited else Notice.CLIENT_REFUSED, refused.kind.status)
    except CommerceRefusal:
        return _notice(commerce, Notice.NOT_FOUND, 404)
    return _to_request(commerce, brand, identifier, secret)


async def to_sign_in(brand: str, path: str, request: Request, commerce: Commerce, desk: AuthorizationDesk) -> Response:
    """Sends a shopper to sign in, and from there to a page of this site."""
    try:
        identifier, secret = await desk.begin_for_page(brand, path, _host(request, commerce))
    except OAuthRefused as refused:
        return _notice(commerce, Notice.TOO_OFTEN, refused.kind.status)
    except CommerceRefusal:
        return _notice(commerce, Notice.UNAVAILABLE, 503)
    return _to_request(commerce, brand, identifier, secret)


def _to_request(commerce: Commerce, brand: str, identifier: str, secret: str) -> Response:
    path = f"/{brand}/oauth/requests/{identifier}"
    answer = RedirectResponse(path, 303, _headers(commerce))
    answer.set_cookie(
        _cookie(commerce), secret, path=path, secure=commerce.settings.is_https, httponly=True, samesite="lax"
    )  # (2)
    return answer


@router.get("/{brand}/oauth/requests/{identifier}")
async def get_request(brand: str, identifier: str, request: Request, commerce: CommerceIn, desk: DeskIn) -> Response:
    """The page of a request as it stands: mailbox or passkey, code, a passkey for the next time, consent."""
    return await _page(commerce, desk, brand, identifier, request)


@router.post("/{brand}/oauth/requests/{identifier}/email")
async def post_email(brand: str, identifier: str, request: Request, commerce: CommerceIn, desk: DeskIn) -> Response:
    """The shopper's mailbox: a code goes there."""
    if not is_same_site(request, commerce):
        return _notice(commerce, Notice.NOT_FOUND, 403)
    fields = await _form(request)
    try:
        sent = await desk.send_code(
            brand, identifier, _secret(request, commerce), fields.get("email", ""), _host(request, commerce)
        )
    except OAuthRefused:
        return await _page(commerce, desk, brand, identifier, request, problem="too_many", status=429)
    except CommerceRefusal:
        return _notice(commerce, Notice.NOT_FOUND, 404)
    if not sent:
        return await _page(commerce, desk, brand, identifier, request, problem="email", status=422)
    return RedirectResponse(f"/{brand}/oauth/requests/{identifier}", 303, _headers(commerce))


@router.post("/{brand}/oauth/requests/{identifier}/code")
async def post_code(brand: str, identifier: str, request: Request, commerce: CommerceIn, desk: DeskIn) -> Response:
    """The code from the mail."""
    if not is_same_site(request, commerce):
        return _notice(commerce, Notice.NOT_FOUND, 403)
    fields = await _form(request)
    try:
        entered = await desk.try_code(
            brand, identifier, _secret(request, commerce), fields.get("code", ""), fields.get("passkey", "")
        )
    except CommerceRefusal:
        return _notice(commerce, Notice.NOT_FOUND, 404)
    if entered is None:
        return await _page(commerce, desk, brand, identifier, request, problem="code", status=422)
    return _enter(commerce, brand, identifier, entered)


@router.post("/{brand}/oauth/requests/{identifier}/passkey")
async def post_passkey(brand: str, identifier: str, request: Request, commerce: CommerceIn, desk: DeskIn) -> Response:
    """A passkey, in place of the mailbox and the code."""
    if not is_same_site(request, commerce):
        return _notice(commerce, Notice.NOT_FOUND, 403)
    fields = await _form(request)
    try:
        entered = await desk.try_passkey(brand, identifier, _secret(request, commerce), fields)
    except CommerceRefusal:
        return _notice(commerce, Notice.NOT_FOUND, 404)
    if entered is None:
        return await _page(commerce, desk, brand, identifier, request, problem="passkey", status=422)
    return _enter(commerce, brand, identifier, entered)


@router.post("/{brand}/oauth/requests/{identifier}/passkey/add")
async def post_new_passkey(
    brand: str, identifier: str, request: Request, commerce: CommerceIn, desk: DeskIn
) -> Response:
    """A passkey for the next time."""
    if not is_same_site(request, commerce):
        return _notice(commerce, Notice.NOT_FOUND, 403)
    fields, session = await _form(request), Cookie(brand, commerce.settings.is_https).read(request)
    try:
        onward = await desk.add_passkey(brand, identifier, _secret(request, commerce), session, fields)
    except CommerceRefusal:
        return _notice(commerce, Notice.NOT_FOUND, 404)
    if onward is None:
        return await _page(commerce, desk, brand, identifier, request, problem="not_added", status=422)
    path = f"/{brand}/oauth/requests/{identifier}"
    answer = RedirectResponse(onward, 303, _headers(commerce))
    if onward != path:
        answer.delete_cookie(_cookie(commerce), path=path)
    return answer


def _enter(commerce: Commerce, brand: str, identifier: str, entered: SignedIn) -> Response:
    """Goes on with a shopper who signed in."""
    path = f"/{brand}/oauth/requests/{identifier}"
    answer = RedirectResponse(entered.page or (f"{path}?passkey" if entered.may_add else path), 303, _headers(commerce))
    if entered.page is not None:
        answer.delete_cookie(_cookie(commerce), path=path)
    Cookie(brand, commerce.settings.is_https).write(answer, entered.session)
    return answer


@router.post("/{brand}/oauth/requests/{identifier}/decision")
async def post_decision(brand: str, identifier: str, request: Request, commerce: CommerceIn, desk: DeskIn) -> Response:
    """The shopper's decision, which goes to the client (3)."""
    if not is_same_site(request, commerce):
        return _notice(commerce, Notice.NOT_FOUND, 403)
    fields = await _form(request)
    decision = fields.get("decision")
    if decision not in ("allow", "deny"):
        return await _page(commerce, desk, brand, identifier, request)
    try:
        chosen = fields.get("limit", "")
        limit_minor = int(chosen) if chosen.isascii() and chosen.isdecimal() and len(chosen) < 13 else None
        secret = _secret(request, commerce)
        address = await desk.decide(brand, identifier, secret, allow=decision == "allow", limit_minor=limit_minor)
    except (CommerceRefusal, OAuthRefused, RedirectRefused):
        return _notice(commerce, Notice.NOT_FOUND, 404)
    if not address:
        return await _page(commerce, desk, brand, identifier, request)
    answer = RedirectResponse(address, 303, _headers(commerce, address))
    answer.delete_cookie(_cookie(commerce), path=f"/{brand}/oauth/requests/{identifier}")
    return answer


@router.post("/{brand}/oauth/token")
async def post_token(brand: str, request: Request, desk: DeskIn) -> JSONResponse:
    """A code or a refresh token for an access token."""
    pairs = await _client_form(request)
    return _answer(Answered(400, OAuthError.INVALID_REQUEST.body) if pairs is None else await desk.token(brand, pairs))


@router.post("/{brand}/oauth/revoke")
async def post_revoke(brand: str, request: Request, desk: DeskIn) -> JSONResponse:
    """Ends what a token stands for (RFC 7009)."""
    pairs = await _client_form(request)
    refused = Answered(400, OAuthError.INVALID_REQUEST.body)
    return _answer(refused if pairs is None else await desk.revocation(brand, pairs))


@router.post("/{brand}/oauth/register")
async def post_register(brand: str, request: Request, commerce: CommerceIn, desk: DeskIn) -> JSONResponse:
    """A client registers itself (RFC 7591)."""
    try:
        document: Any = json.loads(await request.body())
    except (ValueError, RecursionError):
        document = None
    try:
        record = await desk.register(brand, document, _host(request, commerce))
    except OAuthRefused as refused:
        return _answer(Answered(refused.kind.status, refused.kind.body))
    return _answer(Answered(201, record))


async def _page(
    commerce: Commerce,
    desk: AuthorizationDesk,
    brand: str,
    identifier: str,
    request: Request,
    *,
    problem: str | None = None,
    status: int = 200,
) -> HTMLResponse:
    try:
        asked = await desk.look(brand, identifier, _secret(request, commerce))
    except CommerceRefusal:
        asked = None
    if asked is None:
        return _notice(commerce, Notice.REQUEST_ENDED, 404)
    step = _step_of(asked, request, problem)
    path = path_of(asked.row)
    script = None if desk.passkey_site is None or step is Step.CONSENT else passkey_script()
    content = render_step(
        step=step,
        brand_name=asked.brand.name,
        client_name=None if asked.is_for_a_page else asked.row.client_name,
        client_host=asked.client.host,
        redirect_host=urlsplit(asked.row.redirect_uri).netloc,
        is_local=is_local(urlsplit(asked.row.redirect_uri)),
        allows=[MEANINGS[scope] for scope in known(asked.row.scope) if scope != PAYMENTS_EXECUTE],
        limits=_limits(asked),
        path=path,
        problem=problem,
        passkey=asked.passkey,
        script=script,
        onward=asked.row.redirect_uri.partition("?")[0] if asked.is_for_a_page else path,
    )
    back = None if asked.is_for_a_page else asked.row.redirect_uri
    return HTMLResponse(content, status, _headers(commerce, back, script))


def _limits(asked: Asked) -> list[tuple[int, str]]:
    """What the shopper may let the client spend, where it asks to pay and the brand lets it: amounts with their texts."""
    offered = asked.brand.policy.assistant_payments
    if offered is None or PAYMENTS_EXECUTE not in known(asked.row.scope):
        return []
    return [(limit, Money(limit, asked.brand.currency).text()) for limit in sorted(offered.limits_minor)]


def _step_of(asked: Asked, request: Request, problem: str | None) -> Step:
    if asked.row.shopper is not None:
        adds = asked.is_for_a_page or problem == "not_added" or (problem is None and "passkey" in request.query_params)
        return Step.PASSKEY if adds else Step.CONSENT
    if problem == "passkey":
        return Step.EMAIL
    again = problem is None and "again" in request.query_params
    return Step.CODE if asked.has_code and not again else Step.EMAIL


def _refusal_address(refused: RedirectRefused, issuer: str) -> str:
    """The client's address with the refusal and who refuses (RFC 9207)."""
    said = {"error": refused.kind.code, "error_description": refused.kind.body["error_description"], "iss": issuer}
    if refused.state:
        said["state"] = refused.state
    joint = "&" if "?" in refused.redirect_uri else "?"
    return f"{refused.redirect_uri}{joint}{urlencode(said)}"


def _answer(answered: Answered) -> JSONResponse:
    return JSONResponse(answered.body, answered.status, {**_NO_STORE, "access-control-allow-origin": "*"})


def _notice(commerce: Commerce, notice: Notice, status: int, *, back_url: str | None = None) -> HTMLResponse:
    return HTMLResponse(render_notice(notice, back_url=back_url), status, _headers(commerce))


def _headers(commerce: Commerce, client_address: str | None = None, script: Asset | None = None) -> dict[str, str]:
    """(3)"""
    parts = urlsplit(client_address) if client_address else None
    origin = f"{parts.scheme}://{parts.netloc.lower()}" if parts else None
    address = None if script is None else f"{commerce.settings.public_url}{script.url}"
    return page_headers(origin, https=commerce.settings.is_https, passkey_script=address)


def _cookie(commerce: Commerce) -> str:
    return "__Secure-cordon-sign-in" if commerce.settings.is_https else "cordon-sign-in"


def _secret(request: Request, commerce: Commerce) -> str:
    return request.cookies.get(_cookie(commerce), "")


def _host(request: Request, commerce: Commerce) -> str:
    """The shopper's or client's address."""
    forwarded = request.headers.getlist("x-forwarded-for")
    return origin_of(request.client.host if request.client else None, forwarded, commerce.settings.trusted_proxies)


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=_MAXIMUM_FIELDS)
    except ValueError:
        return []


async def _form(request: Request) -> dict[str, str]:
    return dict(_pairs((await request.body()).decode("utf-8", "replace")))


async def _client_form(request: Request) -> list[tuple[str, str]] | None:
    """A client's form; None where it is none, or where something stands in the address (RFC 6749, 3.2)."""
    content_type = (header(request.scope, b"content-type") or "").partition(";")[0].strip().lower()
    if request.url.query or content_type != "application/x-www-form-urlencoded":
        return None
    return _pairs((await request.body()).decode("utf-8", "replace"))


def is_same_site(request: Request, commerce: Commerce) -> bool:
    """Whether a form was sent from a page of this site, as far as the browser says (1)."""
    origin, site = header(request.scope, b"origin"), header(request.scope, b"sec-fetch-site")
    return origin in (None, commerce.settings.public_url) and site in (None, "same-origin", "none")
