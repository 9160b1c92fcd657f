"""The card fields that a merchant's page frames: their document, its headers, and what the page must name. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from vault_zone.capture_form import Locale
from vault_zone.pages.render import (
    LOADER,
    SITE_PATH,
    UnsafeUrl,
    brands_json,
    link_to,
    messages_json,
    require_origin,
    security_headers,
    templates,
    undirected,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldsView:
    """The document that a merchant's page frames. `merchant_name` is untrusted. Raises UnsafeUrl.

    `frame_origin` is the origin of that page; `path` is where this session's fields are on this site.
    """

    merchant_name: str
    frame_origin: str
    path: str
    sandbox: bool
    locale: Locale = "en"

    def __post_init__(self) -> None:
        require_origin(self.frame_origin)
        if SITE_PATH.fullmatch(self.path) is None:
            raise UnsafeUrl("path must be a path of this site")


FRAME_STATES: Mapping[Locale, Mapping[str, str]] = {
    "en": {
        "captured": "Your card details were received.",
        "link_expired": "These card fields have timed out. Reload the page to get new ones.",
        "not_opener": "These card fields belong to another tab or browser. Carry on there, or reload this page.",
        "not_found": "These card fields cannot be found. Reload the page to get new ones.",
        "wait": "Please wait {seconds} seconds, then send your card again.",
        "again": "There were many tries in a short time. Nothing was charged. Please send your card again.",
        "unreachable": "We could not reach the payment service. Check your connection and send again: you pay once.",
        "unavailable": "We cannot take your card just now. Wait a minute and send again: you pay once.",
    }
}
"""What the frame says of each state it can be in, by the codes of docs/card-fields.md."""


def render_fields(view: FieldsView) -> str:
    """The card fields as a whole HTML document. It is the same for whoever opens it: nothing is claimed by it."""
    return (
        templates()
        .get_template("fields.html")
        .render(
            brands=brands_json(),
            errors={},
            frame_origin=view.frame_origin,
            frame_script=link_to("fields.js"),
            frame_stylesheet=link_to("fields.css"),
            locale=view.locale,
            merchant_name=undirected(view.merchant_name),
            messages=messages_json(view.locale),
            path=view.path,
            puzzle_script=link_to("puzzle.js"),
            sandbox=view.sandbox,
            script=link_to("card.js"),
            states=json.dumps(FRAME_STATES[view.locale]),
            stylesheet=link_to("card.css"),
        )
    )


def fields_manifest(base_url: str) -> dict[str, object]:
    """What a merchant's page has to name: the loader's address and integrity, and those of the frame's own files."""

    def entry(source: str) -> dict[str, str]:
        link = link_to(source)
        return {"url": base_url + link.url, "integrity": link.integrity}

    frame = ("card.css", "card.js", "puzzle.js", "fields.css", "fields.js")
    return {"protocol": 1, "loader": entry(LOADER), "frame": {source: entry(source) for source in frame}}


def frame_headers(frame_origin: str, *, https: bool = True) -> dict[str, str]:
    """The headers of the card fields' document. What must hold, beside (1), (3) and (4) of security_headers():

    1. Pages of `frame_origin` alone may frame it; a page under Cross-Origin-Embedder-Policy may, too.
    2. Its scripts talk to this site alone, and no form is sent by the browser itself.
    """
    require_origin(frame_origin)
    headers = security_headers(None, https=https)
    del headers["X-Frame-Options"]  # it knows no origin; frame-ancestors has replaced it (CSP Level 3, 6.4.2.2)
    policy = headers["Content-Security-Policy"]
    for before, after in (
        ("frame-ancestors 'none'", f"frame-ancestors {frame_origin}"),  # (1)
        ("connect-src 'none'", "connect-src 'self'"),  # (2)
        ("form-action 'self'", "form-action 'none'"),  # (2)
    ):
        policy = policy.replace(before, after)
    return {**headers, "Content-Security-Policy": policy, "Cross-Origin-Resource-Policy": "cross-origin"}
