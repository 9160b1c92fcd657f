"""Idempotency keys that are UUIDs: random, so some of them read like a card, and taken unread all the same.

What holds for a key that no scanner reads:
 1. It is a whole canonical UUID: hexadecimal digits of one case as 8-4-4-4-12, with a version and the variant of RFC 9562, and
    a letter among them. Anything else is read as every text is.
 2. It stands where such a key stands: the header, the first JSON member of that name, the address of what was forwarded.
 3. It is stored as a digest alone (commerce_api/idempotency.py, vault_zone/idempotency.py, vault_zone/forward/records.py), and
    goes into no log, event or model.

A card can be put into such a key only by who builds it for that: its thirteenth digit is the version's and the variant follows.
"""

import re
from typing import Final

HEADER: Final = b"idempotency-key"
_FORM: Final = (
    "(?=[0-9-]{0,35}[a-f])[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"  # RFC 9562, 4 and 5
)
_UUID: Final = re.compile(f"{_FORM}|{_FORM.replace('a-f', 'A-F').replace('89ab', '89AB')}")
_MEMBER: Final = re.compile(
    rb'("(?i:idempotency[_-]?key)"[ \t\r\n]{0,8}:[ \t\r\n]{0,8}")(?:' + _UUID.pattern.encode("ascii") + rb')(?=")'
)
_MARK: Final = b"dempotency"  # in every spelling of the member's name that is taken
_FORWARDS: Final = "/forwards"
_PUT_IN_PLACE: Final = rb"\1uuid"  # it holds nothing of a card, and keeps its neighbours apart


def is_opaque_key(text: str) -> bool:
    """Whether the text is a canonical UUID (1). Lower or upper case, not both."""
    return _UUID.fullmatch(text) is not None


def without_key(body: bytes, content_type: str | None) -> bytes:
    """A JSON body with the key that is a UUID taken out of it (2), for the scanner to read; any other body as it is."""
    if _MARK not in body or "json" not in (content_type or "").lower():
        return body
    return _MEMBER.sub(_PUT_IN_PLACE, body, count=1)


def path_without_key(path: str) -> str:
    """The path without a last segment that is such a key, where a key is what is looked for (2)."""
    before, _, last = path.rpartition("/")
    return before if before.endswith(_FORWARDS) and is_opaque_key(last) else path
