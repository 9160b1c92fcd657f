"""The page on which a shopper sees and ends connections. Pure, as render.py."""

from dataclasses import dataclass

from commerce_api.pages.render import render_template
from commerce_api.pages.texts import Alert
from commerce_api.pages.view import moment_text

ENDED = Alert("The connection is ended", "That program can do nothing more in your name.", "calm")


@dataclass(frozen=True, slots=True)
class Shown:
    """A connection. ``name`` is a registered client's own claim, ``host`` who vouches for one that is an address.

    Both are untrusted. ``since`` and ``until`` are RFC 3339; ``limit`` is a text of money, of what it may spend in all.
    """

    grant: str
    name: str | None
    host: str | None
    since: str
    until: str
    allows: list[str]
    limit: str | None

    @property
    def title(self) -> str:
        """What it is called."""
        return self.name or self.host or "An assistant"

    @property
    def times(self) -> tuple[str, str]:
        """When it began and when it ends by itself."""
        return moment_text(self.since), moment_text(self.until)


def render_connections(*, brand_name: str, path: str, connections: list[Shown], has_ended: bool) -> str:
    """The page as a whole HTML document. ``has_ended``: whether one was ended just now."""
    return render_template(
        "connections.html",
        alert=ENDED if has_ended else None,
        brand_name=brand_name,
        connections=connections,
        path=path,
        sandbox=False,
    )
