"""The ids that a platform may name: a checkout's and a merchant's. Never anything that could be a card number (I4)."""

import re

from audit.event import looks_like_card

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")


def is_identifier(text: str) -> bool:
    """Whether the text may be the id of a checkout or a merchant."""
    return _IDENTIFIER.fullmatch(text) is not None and not looks_like_card(text)
