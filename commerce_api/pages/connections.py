"""The page on which a shopper sees and ends connections, and passkeys. Pure, as render.py."""

from dataclasses import dataclass
from typing import Final

from commerce_api.pages.render import Asset, render_template
from commerce_api.pages.texts import Alert
from commerce_api.pages.view import moment_text

# What was done just now, as the page's address says.
DONE: Final = {
    "ended": Alert("The connection is ended", "That program can do nothing more in your name.", "calm"),
    "added": Alert("The passkey is added", "Next time you can sign in with it.", "calm"),
    "removed": Alert(
        "The passkey is removed",
        "It signs nobody in any more. Your device may still list it: delete it there too.",
        "calm",
    ),
}


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


@dataclass(frozen=True, slots=True)
class ShownPasskey:
    """A passkey. ``added`` and ``used`` are RFC 3339; the latter None where it never was."""

    passkey: str
    added: str
    used: str | None

    @property
    def times(self) -> tuple[str, str | None]:
        """When it was added and used last."""
        return moment_text(self.added), moment_text(self.used) if self.used else None


def render_connections(
    *,
    brand_name: str,
    path: str,
    connections: list[Shown],
    passkeys: list[ShownPasskey],
    may_add: bool,
    alert: Alert | None,
    script: Asset | None,
) -> str:
    """The page as a whole HTML document. ``alert``: what was done just now; ``may_add``: whether a passkey may be added.

    ``script`` is None on a site that takes no passkeys.
    """
    return render_template(
        "connections.html",
        alert=alert,
        brand_name=brand_name,
        connections=connections,
        may_add=may_add,
        passkeys=passkeys,
        path=path,
        sandbox=False,
        script=script,
    )
