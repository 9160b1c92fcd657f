"""What every checkout page is sent with, and which addresses may stand in one."""

import re
from typing import Final
from urllib.parse import urlsplit

HSTS_SECONDS: Final = 63_072_000  # two years, the least that browsers' preload lists take
_LOOPBACK: Final = ("localhost", "127.0.0.1")
_ORIGIN: Final = re.compile(r"https://[a-z0-9.-]{1,253}(:[0-9]{1,5})?|http://(localhost|127\.0\.0\.1)(:[0-9]{1,5})?")
_SCRIPT: Final = re.compile(rf"({_ORIGIN.pattern})/assets/[a-z]{{1,20}}\.[0-9a-f]{{8}}\.js")
_PATH: Final = re.compile(r"/[A-Za-z0-9._~-][A-Za-z0-9._~/-]*")
_PAY: Final = "/pay"
_FEATURES_OFF: Final = (
    "accelerometer", "autoplay", "camera", "clipboard-read", "display-capture", "fullscreen",
    "geolocation", "gyroscope", "hid", "magnetometer", "microphone", "midi", "payment", "picture-in-picture",
    "screen-wake-lock", "serial", "usb", "xr-spatial-tracking",
)  # fmt: skip
_PASSKEYS: Final = ("publickey-credentials-create", "publickey-credentials-get")


class UnsafeUrl(ValueError):
    """An address of a kind that no page of ours holds. The caller corrects its settings."""


def page_headers(
    card_page_origin: str | None, *, https: bool = True, passkey_script: str | None = None
) -> dict[str, str]:
    """The headers of every page. What must hold:

    1. Nothing runs, nothing is fetched but our own style sheet (CSP Level 3). Where shoppers sign in, one script of ours runs
       besides, by the whole of its address, and may ask for passkeys; checkout pages name none.
    2. The form posts to this site; Chromium holds the redirect after it to the same list, hence the card page's origin.
    3. The browser says where a form was sent from: with ``no-referrer`` a POST would carry ``Origin: null``.
    4. No other site frames, opens or reads the page, is told its address, or finds it stored.
    5. No header is made of anything but constants and checked addresses. Raises UnsafeUrl.
    """
    if card_page_origin is not None and _ORIGIN.fullmatch(card_page_origin) is None:  # (5)
        raise UnsafeUrl("card_page_origin must be an https origin in lower case, without a path")
    if passkey_script is not None and _SCRIPT.fullmatch(passkey_script) is None:  # (5)
        raise UnsafeUrl("passkey_script must be the address of a script of this site")
    policy = (
        "default-src 'none'",  # (1)
        *([f"script-src {passkey_script}"] if passkey_script else []),  # (1)
        "style-src 'self'",
        "img-src 'none'",
        f"form-action 'self' {card_page_origin}" if card_page_origin else "form-action 'self'",  # (2)
        "frame-ancestors 'none'",  # (4)
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
    headers = {
        "Cache-Control": "no-store",  # (4)
        "Content-Security-Policy": "; ".join(policy),
        "Cross-Origin-Embedder-Policy": "require-corp",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": ", ".join(
            [
                *(f"{feature}=()" for feature in _FEATURES_OFF),
                *(f"{feature}={'(self)' if passkey_script else '()'}" for feature in _PASSKEYS),  # (1)
            ]
        ),
        "Referrer-Policy": "same-origin",  # (3) (4)
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "X-Robots-Tag": "noindex, nofollow",
    }
    if https:  # RFC 6797, section 7.2: not over plain HTTP; a merchant's other subdomains are not ours to decide on
        headers["Strict-Transport-Security"] = f"max-age={HSTS_SECONDS}"
    return headers


def page_path(pay_url: str) -> str:
    """The page's own path, from that of its form: ``/b/checkout/c`` from ``/b/checkout/c/pay``. Raises UnsafeUrl."""
    if _PATH.fullmatch(pay_url) is None or not pay_url.endswith(_PAY):
        raise UnsafeUrl("pay_url must be a path of this site that ends in /pay")
    return pay_url.removesuffix(_PAY)


def web_url(url: str | None) -> str | None:
    """``url`` if it is an absolute https address (http on a loopback host) or None. Raises UnsafeUrl."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UnsafeUrl("a link must be an absolute https URL") from None
    secure = parts.scheme == "https" and bool(parts.hostname)
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not (secure or local):
        raise UnsafeUrl("a link must be an absolute https URL")
    return url
