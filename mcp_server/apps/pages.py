"""A view as one HTML document, with a brand's name and colours. Pure: no clock, no network, no settings.

What holds for every document:
 1. Nothing outside it is fetched but images of the hosts that the brand names: script and style are in it, and nothing is
    called, framed or sent.
 2. Nothing runs in it but our own script, known by its hash, and no string becomes HTML (Trusted Types): a host's own policy
    allows inline script, so this one comes with the document.
 3. Of the brand's data it holds the name and colours of the policy, escaped. Everything else comes as a tool's result.
"""

import base64
import hashlib
import html
from functools import cache, lru_cache
from pathlib import Path
from string import Template
from typing import Final, NamedTuple

from commerce_api.theme import Theme

_HERE: Final = Path(__file__).parent
_SCRIPTS: Final = ("bridge.js", "elements.js", "catalogue.js", "checkout.js", "order.js", "start.js")
_BREAKS_OUT: Final = ("</script", "<!--", "</style")


class View(NamedTuple):
    """A view: its address, its name for people, and what it says before the first result."""

    name: str
    title: str
    about: str
    waiting: str

    @property
    def uri(self) -> str:
        """The address that tools name and hosts read."""
        return f"ui://cordon/{self.name}.html"


CATALOGUE: Final = View("products", "Products", "Products with price, stock and choice, side by side.", "Looking…")
CHECKOUT: Final = View("checkout", "Checkout", "A checkout: lines, totals, shipping, the way to pay.", "Counting…")
ORDER: Final = View("order", "Order", "A paid order, what was given back and asked for.", "Looking…")
VIEWS: Final = (CATALOGUE, CHECKOUT, ORDER)


@lru_cache(maxsize=256)
def page(view: View, brand_name: str, theme: Theme, handle: str = "checkout_id") -> str:
    """The view's document for a brand. ``handle`` is what complete_checkout calls the checkout's id."""
    script = _script()
    return _read("view.html").substitute(
        title=html.escape(f"{view.title} · {brand_name}"),
        brand=html.escape(brand_name),
        view=view.name,
        handle=handle,
        images=" ".join(theme.image_hosts),
        waiting=view.waiting,
        style=_safe((_HERE / "view.css").read_text(encoding="utf-8") + _theme_style(theme)),
        policy=html.escape(_policy(script, theme)),
        script=script,
    )


def _policy(script: str, theme: Theme) -> str:
    """CSP Level 3. Styles are left open: hosts put fonts and grounds in, and a style takes nothing away."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    images = " ".join(f"https://{host}" for host in theme.image_hosts) or "'none'"
    parts = (
        "default-src 'none'",  # (1)
        f"img-src {images}",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",  # (2)
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
        "form-action 'none'",
        "base-uri 'none'",
    )
    return "; ".join(parts)


def _theme_style(theme: Theme) -> str:
    pairs = zip(theme.light.items(), theme.dark.values(), strict=True)
    return "\n:root {\n" + "".join(f"  {name}: light-dark({light}, {dark});\n" for (name, light), dark in pairs) + "}\n"


@cache
def _script() -> str:
    files = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    return _safe(f'(() => {{\n"use strict";\n{files}}})();')


def _safe(text: str) -> str:
    """Raises ValueError for a text that would end the element it is put into."""
    if any(sign in text.lower() for sign in _BREAKS_OUT):
        raise ValueError("a view's script or style would end its own element")
    return text


@cache
def _read(name: str) -> Template:
    return Template((_HERE / name).read_text(encoding="utf-8"))
