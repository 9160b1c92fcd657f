"""The scripts of pages on which a card is entered: which, why, and the content that was approved (PCI DSS 6.4.3).

A script that changes is approved anew: read the change, then put its new hash here.
"""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class PageScript:
    """A script of a payment page. ``integrity`` is the approved content, as the page names it (W3C SRI, sha384)."""

    path: str
    reason: str
    integrity: str


# Where pages of payment lie. Any script file below one of these has to be in the inventory.
PAGE_DIRECTORIES: Final = ("vault_zone/pages", "commerce_api/pages")

PAGE_SCRIPTS: Final = (
    PageScript(
        path="vault_zone/pages/card.js",
        reason="Groups digits while they are typed, names what is wrong beside its field, sends the form once, and "
        "puts what 3-D Secure asks of a browser into a hidden field. It makes no request, stores nothing, and the form works "
        "without it.",
        integrity="sha384-OOv32QU9z3PtvR+7vBikQ5sVDqNnbDuY+k6Hzg9WtA/p7WYqN0qnql4yFIFbAF99",
    ),
    PageScript(
        path="vault_zone/pages/puzzle.js",
        reason="Finds the number that makes card testing in bulk cost something, where a page asks for it. It reads one seed "
        "and writes one hidden field; it makes no request, stores nothing, and the form works without it.",
        integrity="sha384-vA0azBslGkE93vryaBqsnQdpBw8+N1KS7K3LTieicpgeF6EBKk8ocZguwU2m8iZh",
    ),
    PageScript(
        path="vault_zone/pages/fields.js",
        reason="Sends the card fields of a frame to its own site, and tells the page that frames it how tall and how far they "
        "are. It speaks to one origin, which the server named; no message holds a value, and nothing is stored.",
        integrity="sha384-biJkygBnrpdqBw9TkQ4Bm+NYbyoGuzEIoIO4MHJB4XflVawoA6zH8EG3orGG66+H",
    ),
    PageScript(
        path="vault_zone/pages/cordon-fields.js",
        reason="Runs in the merchant's page: makes the frame and passes messages. No card data reaches it; the page names its "
        "hash, so that a browser runs this content or none.",
        integrity="sha384-+qX5xeJ4stVoOGZs2FPVXdqkBy3UzSvdZQT+MIoBWfGqKYYs2fg/OZpkHBW8TLQO",
    ),
    PageScript(
        path="commerce_api/pages/passkeys.js",
        reason="Runs where shoppers sign in to commerce, on no page of payment: asks the browser for a passkey and sends it "
        "with a form. It makes no request, stores nothing, and signing in by a code works without it.",
        integrity="sha384-9CEuVU7QWe6XVuJNJhNc1Gof4iXDL2zZVCIBwAPu0JaK6DHL9gk3IqdiMMUwKdzP",
    ),
)


def integrity(content: bytes) -> str:
    """The ``integrity`` value of a file's content."""
    return f"sha384-{base64.b64encode(hashlib.sha384(content).digest()).decode()}"


def script_problems(root: Path, inventory: tuple[PageScript, ...] = PAGE_SCRIPTS) -> list[str]:
    """What does not agree between the inventory and the files of a checkout; nothing when all does."""
    listed = {script.path: script.integrity for script in inventory}
    present = {
        path.relative_to(root).as_posix(): integrity(path.read_bytes())
        for directory in PAGE_DIRECTORIES
        for path in sorted((root / directory).rglob("*"))
        if path.suffix in (".js", ".mjs")
    }
    unlisted = [f"{path} is not in the inventory: list it with its reason" for path in sorted(present.keys() - listed)]
    gone = [f"{path} is in the inventory and does not exist" for path in sorted(listed.keys() - present)]
    changed = [
        f"{path} is not what was approved: read the change, then set its integrity to {present[path]}"
        for path in sorted(present.keys() & listed)
        if present[path] != listed[path]
    ]
    return [*unlisted, *gone, *changed]
