"""Renders the checkout's pages and serves their style sheet. Pure: no clock, no network, no settings."""

import base64
import hashlib
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from commerce_api.brands import Brand
from commerce_api.errors import CommerceError
from commerce_api.pages.headers import UnsafeUrl, page_headers, page_path, web_url
from commerce_api.pages.texts import CANCELED, EXPIRED, NOTICES, Notice
from commerce_api.pages.view import (
    Screen,
    alert_of,
    conditions_of,
    facts_of,
    moment_text,
    needs_of,
    remarks_of,
    screen_of,
    summary_of,
)
from commerce_api.schemas import CheckoutView, OrderView

__all__ = [
    "Asset",
    "Notice",
    "UnsafeUrl",
    "page_headers",
    "render_checkout",
    "render_notice",
    "render_template",
    "static_asset",
]

REFRESH_SECONDS: Final = 2  # a charge takes one to three seconds
_HERE: Final = Path(__file__).parent
_STYLESHEET: Final = "checkout.css"
_TEMPLATES: Final = {
    Screen.REVIEW: "review.html",
    Screen.INCOMPLETE: "incomplete.html",
    Screen.BANK: "bank.html",
    Screen.WAITING: "waiting.html",
    Screen.RECEIPT: "receipt.html",
    Screen.CANCELED: "notice.html",
    Screen.EXPIRED: "notice.html",
}
# Characters that turn the writing direction of what follows (Unicode UAX 9): a name may not reorder the page.
_DIRECTION_MARKS: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNPRINTABLE: Final = ("Cc", "Cs")


class Asset(NamedTuple):
    """A static file: its bytes, content type, address and `integrity` value (W3C Subresource Integrity)."""

    content: bytes
    content_type: str | None
    url: str
    integrity: str


def render_checkout(
    *,
    brand: Brand,
    checkout: CheckoutView,
    order: OrderView | None,
    problem: CommerceError | None,
    pay_url: str,
    action_url: str | None,
    opener: str,
) -> str:
    """The checkout as a whole HTML document, as it stands. All texts are untrusted. Raises UnsafeUrl.

    `pay_url` is the path that the pay button posts to, the page's own with `/pay` behind it; `action_url` is where the
    shopper's bank wants them, an https address (http on a loopback host). `opener` is a fresh secret for the browser that
    gets this page: the pay button sends it, and the card page takes it as the proof of who began.
    """
    screen = screen_of(checkout, problem, action_url)
    page_url = page_path(pay_url)
    return _render(
        _TEMPLATES[screen],
        action_url=web_url(action_url),
        alert=alert_of(checkout, problem, screen),
        back_url=None,
        brand_name=brand.name,
        conditions=conditions_of(brand),
        expires_text=moment_text(checkout.expires_at),
        facts=facts_of(checkout, order),
        needs=needs_of(checkout),
        opener=opener,
        notice=EXPIRED if screen is Screen.EXPIRED else CANCELED,
        page_url=page_url,
        pay_url=pay_url,
        refresh=f"{REFRESH_SECONDS}" if problem is None else f"{REFRESH_SECONDS}; url={page_url}",
        remarks=remarks_of(checkout),
        sandbox=order is not None and order.sandbox,
        summary=summary_of(checkout, order),
    )


def render_notice(notice: Notice, *, back_url: str | None = None) -> str:
    """The notice as a whole HTML document. ``back_url`` is linked to, with its host named. Raises UnsafeUrl."""
    return _render(
        "notice.html",
        alert=None,
        back_host=urlsplit(back_url).netloc if back_url else None,
        back_url=web_url(back_url),
        brand_name=None,
        conditions=None,
        notice=NOTICES[notice],
        sandbox=False,
    )


def render_template(template: str, **context: Any) -> str:
    """A template of this package's, for the modules beside this one."""
    return _render(template, **context)


def static_asset(name: str) -> Asset | None:
    """The file that pages name as `/assets/<name>`, such as `checkout.0a1b2c3d.css`; None for any other name."""
    asset = _stylesheet()
    return asset if asset.url == f"/assets/{name}" else None


def _render(template: str, **context: Any) -> str:
    return _templates().get_template(template).render(stylesheet=_stylesheet(), **context)


def _undirected(value: Any) -> Any:
    """A text without control characters and marks of direction; the templates isolate it with <bdi> besides."""
    if type(value) is not str:
        return value
    spaced = (" " if char.isspace() else char for char in value)
    return "".join(
        char for char in spaced if char not in _DIRECTION_MARKS and unicodedata.category(char) not in _UNPRINTABLE
    )


@cache
def _templates() -> Environment:
    return Environment(
        autoescape=True,
        auto_reload=False,
        finalize=_undirected,  # every value that a template shows goes through it
        loader=FileSystemLoader(_HERE),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )


@cache
def _stylesheet() -> Asset:
    content = (_HERE / _STYLESHEET).read_bytes()
    digest = hashlib.sha384(content).digest()
    stem, _, suffix = _STYLESHEET.partition(".")
    return Asset(
        content=content,
        content_type="text/css; charset=utf-8",
        url=f"/assets/{stem}.{digest.hex()[:8]}.{suffix}",
        integrity=f"sha384-{base64.b64encode(digest).decode()}",
    )
