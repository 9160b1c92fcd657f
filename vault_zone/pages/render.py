"""Renders the shopper's pages and serves their static files. Pure: no clock, no network, no settings."""

import base64
import enum
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tokenization.ids import letters_of
from vault_zone.capture_form import CONSENT_WORDINGS, CURRENT_WORDING, MESSAGES, FormErrors, Locale, SafeValues
from vault_zone.card import BRAND_RULES
from vault_zone.puzzle import Puzzle

_HERE = Path(__file__).parent
_CSS, _JAVASCRIPT = "text/css; charset=utf-8", "text/javascript; charset=utf-8"
_CONTENT_TYPES = {
    "card.css": _CSS,
    "card.js": _JAVASCRIPT,
    "puzzle.js": _JAVASCRIPT,
    "fields.css": _CSS,
    "fields.js": _JAVASCRIPT,
    "cordon-fields.js": _JAVASCRIPT,
}
LOADER = "cordon-fields.js"  # the one file of ours that other sites' pages load
_HASH_BYTES = 8  # of a file's hash in its name, in letters: a digit there could be taken for one that was typed
_ASSET_PREFIX = "/assets/"
_LOOPBACK = ("localhost", "127.0.0.1")
_ORIGIN = re.compile(r"https://[a-z0-9.-]{1,253}(:[0-9]{1,5})?|http://(localhost|127\.0\.0\.1)(:[0-9]{1,5})?")
SITE_PATH = re.compile(r"/(?:[A-Za-z0-9._~-][A-Za-z0-9._~/?=&%-]*)?")
# Characters that turn the writing direction of what follows (Unicode UAX 9): a name may not reorder the page.
_DIRECTION_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_FEATURES_OFF = (
    "accelerometer", "autoplay", "camera", "clipboard-read", "display-capture", "fullscreen",
    "geolocation", "gyroscope", "hid", "magnetometer", "microphone", "midi", "payment", "picture-in-picture",
    "publickey-credentials-get", "screen-wake-lock", "serial", "usb", "xr-spatial-tracking",
)  # fmt: skip
HSTS_SECONDS = 63_072_000  # two years, the least that browsers' preload lists take
ASSET_CACHE_SECONDS = 31_536_000  # one year: the name holds the content's hash


OPEN_TO_ALL = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}


class UnsafeUrl(ValueError):
    """A link, form target or origin of a kind that a page of ours does not hold. The caller corrects its settings."""


class AssetUnknown(KeyError):
    """No static file has this name with this hash. The caller answers 404."""


class Asset(NamedTuple):
    """A static file: its bytes, content type and `integrity` value (W3C Subresource Integrity)."""

    body: bytes
    content_type: str
    integrity: str


class Link(NamedTuple):
    """How a page names a static file."""

    url: str
    integrity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPageView:
    """What the card page shows. All texts are untrusted. Raises UnsafeUrl.

    `action_url` is a path of the zone's own; `cancel_url` is an absolute https URL (http on a loopback host) or None.
    """

    merchant_name: str
    amount_text: str
    description_lines: Sequence[str]
    action_url: str
    expires_text: str
    sandbox: bool
    cancel_url: str | None = None
    errors: FormErrors | None = None
    safe_values: SafeValues = field(default_factory=SafeValues)
    may_save: bool = False  # whether to offer that the card be saved
    locale: Locale = "en"
    puzzle: Puzzle | None = (
        None  # what the next submission has to bring; its script stands in the page where it asks for bits
    )
    too_many_tries: bool = False  # the submission before was not looked at
    wait_seconds: int = 0  # the next one is not looked at before

    def __post_init__(self) -> None:
        if SITE_PATH.fullmatch(self.action_url) is None:
            raise UnsafeUrl("action_url must be a path of this site")
        _require_web_url(self.cancel_url)


class NoticeKind(enum.Enum):
    """The notices a shopper may meet in place of the card page."""

    LINK_EXPIRED = "link_expired"
    LINK_USED = "link_used"
    OTHER_BROWSER = "other_browser"
    NOT_OPENER = "not_opener"
    UNAVAILABLE = "unavailable"
    RECEIVED = "received"
    NOT_FOUND = "not_found"


class NoticeText(NamedTuple):
    """A notice's words: what happened, what to do now, and the label of the link onward."""

    title: str
    body: str
    action: str
    icon: str
    tone: str


NOTICES: Mapping[Locale, Mapping[NoticeKind, NoticeText]] = {
    "en": {
        NoticeKind.LINK_EXPIRED: NoticeText(
            "This link has expired",
            "Payment links stay open for a short time. Go back to your conversation and ask for a new one.",
            "Go back",
            "clock",
            "calm",
        ),
        NoticeKind.LINK_USED: NoticeText(
            "This link was already used",
            "Each link takes one card, once. Go back to your conversation to see your order or to ask for a new link.",
            "Go back",
            "check",
            "calm",
        ),
        NoticeKind.OTHER_BROWSER: NoticeText(
            "This link is open in another browser",
            "To protect you, a payment link works only in the browser that opened it first. Carry on there, or go back "
            "to your conversation and ask for a new link.",
            "Go back",
            "lock",
            "calm",
        ),
        NoticeKind.NOT_OPENER: NoticeText(
            "Open this page from where you began",
            "To protect you, a payment page works only in the browser in which you began to pay. Go back to your order "
            "there and choose to pay again.",
            "Go back",
            "lock",
            "calm",
        ),
        NoticeKind.UNAVAILABLE: NoticeText(
            "We cannot take your card just now",
            "Please wait a minute and open your link again. If that does not help, go back to your conversation and "
            "ask how your order stands before you pay again.",
            "Go back",
            "notice",
            "warning",
        ),
        NoticeKind.RECEIVED: NoticeText(
            "Payment details received",
            "Your card details are safe with us, and the assistant has not seen them. Go back to finish your order.",
            "Continue",
            "check",
            "good",
        ),
        NoticeKind.NOT_FOUND: NoticeText(
            "We cannot find this page",
            "Check that you opened the whole link, or go back to your conversation and ask for a new one.",
            "Go back",
            "notice",
            "calm",
        ),
    }
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeView:
    """A notice, and where its link leads. `merchant_name` is untrusted. Raises UnsafeUrl."""

    kind: NoticeKind
    merchant_name: str | None = None
    continue_url: str | None = None
    sandbox: bool = False
    locale: Locale = "en"

    def __post_init__(self) -> None:
        _require_web_url(self.continue_url)


def render_card_page(view: CardPageView) -> str:
    """The card form as a whole HTML document. It never holds a number or a security code that was typed."""
    errors = {error.field.value: error for error in view.errors.shown(view.locale)} if view.errors else {}
    template = templates().get_template("card.html")
    return template.render(
        action_url=view.action_url,
        amount_text=undirected(view.amount_text),
        brands=brands_json(),
        cancel_url=view.cancel_url,
        consent_text=CONSENT_WORDINGS[CURRENT_WORDING][view.locale] if view.may_save else "",
        consent_wording=CURRENT_WORDING,
        description_lines=[undirected(line) for line in view.description_lines],
        errors=errors,
        expires_text=undirected(view.expires_text),
        locale=view.locale,
        merchant_name=undirected(view.merchant_name),
        messages=messages_json(view.locale),
        safe_values=view.safe_values,
        sandbox=view.sandbox,
        puzzle=view.puzzle,
        puzzle_script=link_to("puzzle.js") if view.puzzle and view.puzzle.bits else None,
        script=link_to("card.js"),
        stylesheet=link_to("card.css"),
        too_many_tries=view.too_many_tries,
        wait_text=wait_text(view.wait_seconds),
    )


def render_notice(view: NoticeView) -> str:
    """The notice as a whole HTML document, without scripts."""
    template = templates().get_template("notice.html")
    return template.render(
        continue_url=view.continue_url,
        locale=view.locale,
        merchant_name=undirected(view.merchant_name or ""),
        notice=NOTICES[view.locale][view.kind],
        sandbox=view.sandbox,
        stylesheet=link_to("card.css"),
    )


def static_asset(name: str) -> Asset:
    """The file that pages name as `/assets/<name>`, such as `card.bcdfghjkmnpqrstv.js`. Raises AssetUnknown."""
    asset = _assets().get(name)
    if asset is None:
        raise AssetUnknown
    return asset


def asset_url(source: str) -> str:
    """The URL of a static file such as `card.js`, with the hash of its content. Raises AssetUnknown."""
    return link_to(source).url


def asset_headers(name: str = "") -> dict[str, str]:
    """The headers of a static file. Other sites may load the loader of the card fields, and check its hash; no other file."""
    headers = {
        "Cache-Control": f"public, max-age={ASSET_CACHE_SECONDS}, immutable",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    return {**headers, **OPEN_TO_ALL} if name == asset_url(LOADER).removeprefix(_ASSET_PREFIX) else headers


def security_headers(return_origin: str | None, *, https: bool = True) -> dict[str, str]:
    """The headers of every page. What must hold:

    1. Scripts and styles come from this site alone, and none stands in the page (CSP Level 3).
    2. The form posts to this site; Chromium holds redirects after it to the same list, hence `return_origin`.
    3. No other site frames, opens or reads the page, and nothing stores it.
    4. No header is made of anything but constants and a checked origin. Raises UnsafeUrl.
    """
    if return_origin is not None:  # (4)
        require_origin(return_origin)
    policy = (
        "default-src 'none'",  # (1)
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",  # (3)
        f"form-action 'self' {return_origin}" if return_origin else "form-action 'self'",  # (2)
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
    headers = {
        "Cache-Control": "no-store",  # (3)
        "Content-Security-Policy": "; ".join(policy),
        "Cross-Origin-Embedder-Policy": "require-corp",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": ", ".join(f"{feature}=()" for feature in _FEATURES_OFF),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "X-Robots-Tag": "noindex, nofollow",
    }
    if https:  # RFC 6797, section 7.2: not over plain HTTP
        headers["Strict-Transport-Security"] = f"max-age={HSTS_SECONDS}; includeSubDomains"
    return headers


def require_origin(origin: str) -> None:
    """Raises UnsafeUrl unless this is an origin as browsers write it: https, or http on this machine, without a path."""
    if _ORIGIN.fullmatch(origin) is None:
        raise UnsafeUrl("an origin must be https in lower case, without a path")


def wait_text(seconds: int) -> str:
    """How long to wait before the next try, for the shopper; empty for no wait."""
    if seconds <= 0:
        return ""
    if seconds < 100:
        return f"Please wait {seconds} {'second' if seconds == 1 else 'seconds'}, then send the form again."
    return f"Please wait {-(-seconds // 60)} minutes, then send the form again."


def _require_web_url(url: str | None) -> None:
    if url is None:
        return
    parts = urlsplit(url)
    secure = parts.scheme == "https" and bool(parts.hostname)
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not (secure or local):
        raise UnsafeUrl("a link must be an absolute https URL")


def undirected(text: str) -> str:
    """`text` without control characters and marks of direction; the templates isolate it with <bdi> besides."""
    return "".join(char for char in text if char not in _DIRECTION_MARKS and unicodedata.category(char) != "Cc")


@cache
def templates() -> Environment:
    """The pages' templates: every value is escaped, and one that is missing is an error."""
    return Environment(
        autoescape=True,
        auto_reload=False,
        loader=FileSystemLoader(_HERE),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )


@cache
def _assets() -> dict[str, Asset]:
    assets = {}
    for source, content_type in _CONTENT_TYPES.items():
        body = (_HERE / source).read_bytes()
        digest = hashlib.sha384(body).digest()
        stem, _, suffix = source.partition(".")
        integrity = f"sha384-{base64.b64encode(digest).decode()}"
        assets[f"{stem}.{letters_of(digest[:_HASH_BYTES])}.{suffix}"] = Asset(body, content_type, integrity)
    return assets


@cache
def link_to(source: str) -> Link:
    """How a page names a static file such as `card.js`. Raises AssetUnknown."""
    stem, _, suffix = source.partition(".")
    for name, asset in _assets().items():
        if name.startswith(f"{stem}.") and name.endswith(f".{suffix}"):
            return Link(_ASSET_PREFIX + name, asset.integrity)
    raise AssetUnknown


@cache
def messages_json(locale: Locale) -> dict[str, str]:
    """For each field its messages by code, for the page's script."""
    return {
        card_field.value: json.dumps({problem.value: text for problem, text in texts.items()})
        for card_field, texts in MESSAGES[locale].items()
    }


@cache
def brands_json() -> str:
    """The card networks' rules, for the page's script."""
    return json.dumps(
        [
            {
                "id": rule.brand.value,
                "title": rule.title,
                "prefixes": rule.prefixes,
                "lengths": rule.lengths,
                "cvc": rule.cvc_digits,
                "groups": rule.groups,
            }
            for rule in BRAND_RULES
        ]
    )
