"""Renders the checkout's pages and serves their style sheet. Pure: no clock, no network, no settings."""

import base64
import hashlib
import re
import unicodedata
from functools import cache, lru_cache
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
from commerce_api.theme import Theme

__all__ = [
    "Asset",
    "Notice",
    "UnsafeUrl",
    "page_headers",
    "passkey_script",
    "render_checkout",
    "render_notice",
    "render_template",
    "static_asset",
]

REFRESH_SECONDS: Final = 2  # a charge takes one to three seconds
_HERE: Final = Path(__file__).parent
_STYLESHEET: Final = "checkout.css"
_STYLESHEET_NAME: Final = re.compile(r"checkout\.[0-9a-f]{8}(?:\.([0-9a-f]{6})\.([0-9a-f]{6}))?\.css", re.ASCII)
_PASSKEY_SCRIPT: Final = "passkeys.js"
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
        theme=brand.policy.theme,
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
        shown=checkout.confirmation,
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
    """The file that pages name as `/assets/<name>`, such as `checkout.0a1b2c3d.css`; None for any other name.

    A brand's accents stand in the name, `checkout.0a1b2c3d.7a1fa2.c77fe6.css`: any that could be read make a style sheet.
    """
    script = passkey_script()
    if script.url == f"/assets/{name}":
        return script
    matched = _STYLESHEET_NAME.fullmatch(name)
    if matched is None:
        return None
    try:
        asset = _stylesheet(*(f"#{colour}" for colour in matched.groups() if colour))
    except ValueError:  # accents that no policy could name
        return None
    return asset if asset.url == f"/assets/{name}" else None


def _render(template: str, theme: Theme | None = None, **context: Any) -> str:
    accents = (theme.light["--accent"], theme.dark["--accent"]) if theme is not None else ()
    return _templates().get_template(template).render(stylesheet=_stylesheet(*accents), **context)


def _undirected(value: Any) -> Any:
    """A text without control characters and marks of direction; the templates isolate it with <bdi> besides."""
    if type(value) is not str:
        return value
    spaced = (" " if char.isspace() else char for char in value)
    return "".join(
        char for char in spaced if char not in _DIRECTION_MARKS and unicodedata.category(char) not in _UNPRINTABLE
    )


def _accented(theme: Theme) -> str:
    """On screens alone: what is printed stays black."""
    light, dark = (
        "".join(f" {name}: {colour};" for name, colour in each.items()) for each in (theme.light, theme.dark)
    )
    return (
        f"\n@media screen {{\n  :root {{{light} }}\n}}\n"
        f"\n@media screen and (prefers-color-scheme: dark) {{\n  :root {{{dark} }}\n}}\n"
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
def passkey_script() -> Asset:
    """The script of the pages on which shoppers sign in, for the pages that name it."""
    return _asset(_PASSKEY_SCRIPT, (_HERE / _PASSKEY_SCRIPT).read_bytes(), "text/javascript; charset=utf-8")


@lru_cache(maxsize=256)
def _stylesheet(*accents: str) -> Asset:
    """The style sheet, with a brand's accents for the light and the dark scheme. Raises ValueError for unreadable ones."""
    content = (_HERE / _STYLESHEET).read_bytes()
    if accents:
        content += _accented(Theme(accent=accents[0], accent_dark=accents[1])).encode()
    return _asset(_STYLESHEET, content, "text/css; charset=utf-8", *(accent.removeprefix("#") for accent in accents))


def _asset(name: str, content: bytes, content_type: str, *variant: str) -> Asset:
    """A file under its name with the hash of its content, and what makes it a variant, in it."""
    digest = hashlib.sha384(content).digest()
    stem, _, suffix = name.partition(".")
    parts = [stem, digest.hex()[:8], *variant, suffix]
    return Asset(
        content=content,
        content_type=content_type,
        url=f"/assets/{'.'.join(parts)}",
        integrity=f"sha384-{base64.b64encode(digest).decode()}",
    )
