"""Which addresses a feed may name: public web pages by host name, and nothing that makes a reader's machine act."""

import re
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from commerce_api.catalogue.feed_rows import Refusal, RejectCode
from commerce_api.catalogue.feed_text import has_unseen

MAXIMUM_URL_CHARACTERS: Final = 2_000  # Google Merchant's limit for link
_REFUSED_CHARACTERS: Final = re.compile(r'[\x00-\x20\x7f-\xa0\u2028\u2029\u3000"<>\\^`]')
# The last label begins with a letter: that leaves out every way to write an IPv4 address (decimal, octal, hex, short).
_HOST: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
# RFC 6761, RFC 6762, RFC 8375, ICANN's .internal, and the suffixes that home and company networks use.
_NOT_PUBLIC: Final = frozenset(
    {"localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp", "arpa"}
)


def safe_url(text: str, field: str) -> str | None:
    """The address as written, or None for an empty text. Raises Refusal (``url_unsafe``).

    The host is a name, never an IP address in any spelling. Who fetches it must still check what the name resolves to.
    """
    text = text.strip()
    if not text:
        return None
    if len(text) > MAXIMUM_URL_CHARACTERS or _REFUSED_CHARACTERS.search(text) or has_unseen(text):
        raise Refusal(RejectCode.URL_UNSAFE, field)
    try:
        parts = urlsplit(text)
        safe = parts.scheme in ("http", "https") and "@" not in parts.netloc and _is_public(parts)
    except ValueError:  # an unclosed bracket, a port that is no port, a host that IDNA does not know
        safe = False
    if not safe:
        raise Refusal(RejectCode.URL_UNSAFE, field)
    return text


def readings(url: str) -> tuple[str, ...]:
    """The texts a reader may see in the address: as written and with its percent-encoding undone."""
    return (url, unquote(url)) if "%" in url else (url,)


def _is_public(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if not host.isascii():
        host = host.encode("idna").decode("ascii")  # as browsers do: full-width digits and dots become plain ones
    host = host.removesuffix(".")
    labels = host.lower().rsplit(".", 1)
    return parts.port != 0 and _HOST.fullmatch(host.lower()) is not None and labels[-1] not in _NOT_PUBLIC
