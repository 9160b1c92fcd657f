"""The hosted checkout page: where a conversation's link leads. The shopper reviews, goes to the card page, comes back.

Opening a page changes nothing, so a chat program that previews links does no harm; only pressing the button does.

What holds for the way to the card page:
 1. Each page that is shown holds a secret of its own in its pay button, the opener. This side stores nothing of it.
 2. The button sends it here in a body; the zone is told its digest with the request for the link.
 3. The same browser shows it to the zone: 307 (RFC 9110, 15.4.8) sends the same body on to the link's claim address. So the
    secret stands in no address, and a link that is forwarded, logged or fetched ahead opens nothing.
 4. A form without an opener makes no link: the page is shown again, with one.
 5. The button says which checkout was shown (checkout/confirmation.py). Where goods, price, address or buyer are others by
    now, no link is made: the page is shown again, as it is.
 6. Nothing of the checkout is shown, and no link made, for a browser that may not open it (checkout_openers.py).
"""

from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from commerce_api import checkout_openers
from commerce_api.agents_api import CommerceIn
from commerce_api.authorization.browser_session import Cookie
from commerce_api.authorization.endpoints import DeskIn, to_sign_in
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.pages.render import (
    Notice,
    page_headers,
    render_checkout,
    render_notice,
    render_template,
    static_asset,
)
from commerce_api.runtime import Commerce
from tokenization.edge import header
from tokenization.ids import is_secret, new_secret
from tokenization.wire import OPENER_PREFIX, QUERY_MAXIMUM

SHOWN = "shown"

router = APIRouter()


@router.get("/{brand}/checkout/{checkout}")
async def get_page(brand: str, checkout: str, request: Request, commerce: CommerceIn) -> Response:
    """The checkout as it stands: review, waiting, receipt, or why it cannot be paid."""
    return await _page(commerce, brand, checkout, request)


@router.post("/{brand}/checkout/{checkout}/pay")
async def post_pay(brand: str, checkout: str, request: Request, commerce: CommerceIn) -> Response:
    """The shopper wants to pay: to the card page, on a link made for this moment and this browser."""
    if not _same_site(request, commerce):
        return _notice(commerce, Notice.NOT_FOUND, 403)
    opener = _opener_in(await request.body())
    if opener is None:  # (4)
        return RedirectResponse(commerce.links.checkout_page(brand, checkout), 303, _headers(commerce))
    if not await _may_open(commerce, brand, checkout, request):  # (6)
        return await _page(commerce, brand, checkout, request)
    try:
        if not await _is_as_shown(commerce, brand, checkout, request.query_params.get(SHOWN)):  # (5)
            return await _page(commerce, brand, checkout, request, CommerceError.CHECKOUT_NOT_READY)
        await commerce.payments.advance(brand, checkout)  # a card may have been captured already
        address = await commerce.payments.capture_link(brand, checkout, opener)  # (2)
    except CommerceRefusal as refusal:
        return await _page(commerce, brand, checkout, request, refusal.kind)
    return RedirectResponse(f"{address}/claim", 307, _headers(commerce))  # (3)


@router.post("/{brand}/checkout/{checkout}/sign-in")
async def post_sign_in(brand: str, checkout: str, request: Request, commerce: CommerceIn, desk: DeskIn) -> Response:
    """A shopper whose checkout it may be signs in, and comes back to the page."""
    if not _same_site(request, commerce):
        return _notice(commerce, Notice.NOT_FOUND, 403)
    return await to_sign_in(brand, f"/{brand}/checkout/{checkout}", request, commerce, desk)


@router.get("/{brand}/checkout/{checkout}/return")
async def get_return(brand: str, checkout: str, request: Request, commerce: CommerceIn) -> Response:
    """Back from the card page or the bank: takes the payment as far as it goes, then shows where it stands.

    The address proves nothing and carries no outcome; what happened is asked of the zone, which may have to tell the processor
    what the bank added to the address.
    """
    query = request.url.query
    try:
        await commerce.payments.advance(brand, checkout, query=query if len(query) <= QUERY_MAXIMUM else "")
    except CommerceRefusal as refusal:
        if refusal.kind is not CommerceError.PAYMENT_UNAVAILABLE:
            return await _page(commerce, brand, checkout, request, refusal.kind)
    # Never straight on to the bank: browsers hold the whole chain of redirects after the card form to its form-action.
    return RedirectResponse(commerce.links.checkout_page(brand, checkout), 303, _headers(commerce))


@router.get("/assets/{name}")
async def get_asset(name: str) -> Response:
    """A style sheet of the pages, named by the hash of its content."""
    found = static_asset(name)
    if found is None:
        return HTMLResponse("", 404)
    return Response(
        found.content,
        media_type=found.content_type,
        headers={"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"},
    )


@router.get("/health")
async def get_health() -> dict[str, str]:
    """That the listener answers."""
    return {"status": "ok"}


async def _is_as_shown(commerce: Commerce, brand: str, checkout: str, shown: str | None) -> bool:
    """Whether what can still be confirmed is what the page showed; True too where a program says nothing of that."""
    if shown is None:
        return True
    now = (await commerce.desk.get_checkout(brand, None, checkout)).confirmation
    return now is None or now == shown


async def _may_open(commerce: Commerce, brand: str, checkout: str, request: Request) -> bool:
    session = Cookie(brand, commerce.settings.is_https).read(request)
    return await checkout_openers.may_open(commerce, brand, checkout, session)


async def _page(
    commerce: Commerce, brand: str, checkout: str, request: Request, problem: CommerceError | None = None
) -> HTMLResponse:
    try:
        known = await commerce.desk.brand(brand)
        if not await _may_open(commerce, brand, checkout, request):  # (6)
            return _sign_in_first(commerce, known.name, f"/{brand}/checkout/{checkout}")
        view = await commerce.desk.get_checkout(brand, None, checkout)
        order = await commerce.desk.get_order(brand, None, view.order_id) if view.order_id else None
    except CommerceRefusal as refusal:
        if refusal.kind in (CommerceError.CHECKOUT_UNKNOWN, CommerceError.BRAND_UNKNOWN):
            return _notice(commerce, Notice.NOT_FOUND, 404)
        return _notice(commerce, Notice.UNAVAILABLE, 503)
    action_url = await commerce.payments.action_url(checkout)
    content = render_checkout(
        brand=known,
        checkout=view,
        order=order,
        problem=problem,
        pay_url=f"/{brand}/checkout/{checkout}/pay",
        action_url=action_url,
        opener=new_secret(OPENER_PREFIX),  # (1)
    )
    status = 200 if problem is None else problem.status
    return HTMLResponse(content, status, _headers(commerce, commerce.settings.capture_url))


def _sign_in_first(commerce: Commerce, brand_name: str, path: str) -> HTMLResponse:
    content = render_template("sign_in_first.html", alert=None, brand_name=brand_name, path=path, sandbox=False)
    return HTMLResponse(content, 403, _headers(commerce))


def _notice(commerce: Commerce, notice: Notice, status: int) -> HTMLResponse:
    return HTMLResponse(render_notice(notice), status, _headers(commerce))


def _headers(commerce: Commerce, card_page_origin: str | None = None) -> dict[str, str]:
    return page_headers(card_page_origin, https=commerce.settings.is_https)


def _opener_in(body: bytes) -> str | None:
    """The opener that the pay button sent, and nothing else: the body goes on to the zone as it is."""
    try:
        fields = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=1)
    except ValueError:
        return None
    (opener,) = fields.get("opener", [""])
    return opener if is_secret(opener, OPENER_PREFIX) else None


def _same_site(request: Request, commerce: Commerce) -> bool:
    """Browsers say where a form was sent from; another site's form is refused. Programs that are not browsers say nothing."""
    origin = header(request.scope, b"origin")
    site = header(request.scope, b"sec-fetch-site")
    return origin in (None, commerce.settings.public_url) and site in (None, "same-origin", "none")
