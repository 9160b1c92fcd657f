"""The style sheet of the pages that the offer engine's reports are: inline, and known to the page's own policy by its hash."""

import base64
import hashlib
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup


class Style(NamedTuple):
    """The sheet, and what ``style-src`` names it by (CSP Level 3)."""

    text: Markup
    hash: str


def style() -> Style:
    """The sheet as it is."""
    css = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")  # ours; its quotes must stay quotes
    return Style(Markup(css), base64.b64encode(hashlib.sha256(css.encode()).digest()).decode())  # nosec B704
