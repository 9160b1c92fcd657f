"""Text of a product feed made inert: plain, NFC, one meaning for the eye and for the machine."""

import html
import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from commerce_api.catalogue.feed_rows import Refusal, RejectCode

# Characters that are not seen but change what is: controls, soft hyphen, bidi marks and overrides, zero-width space and
# joiners of words, annotation, lone surrogates, non-characters, tags and supplementary variation selectors (which can
# spell a hidden text). Kept: the zero-width (non-)joiner, which Persian, Indic scripts and emoji need.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_TAG_OPENS: Final = re.compile("<[A-Za-z/!?]")
_TAG_MAY_OPEN: Final = re.compile("<[A-Za-z/!?]|&(?:amp;)*(?:lt|#60|#x3c);", re.IGNORECASE)
_ENTITY: Final = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_LONG_MARK_RUN: Final = re.compile(rb"[^\x00]{31}")  # UAX #15, Stream-Safe Text Format: at most 30
_BREAKS_LINE: Final = re.compile("(?:br|p|div|li|ul|ol|dt|dd|tr|td|th|table|h[1-6]|hr|section|article)")
_TAG_NAME: Final = re.compile("[a-z][a-z0-9]*")
_HIDDEN_CONTENT: Final = {
    name: re.compile(f"</{name}[ \t\r\n/>]", re.IGNORECASE) for name in ("script", "style", "template", "title")
}
_MARKUP_PASSES = 3  # exporters escape HTML once or twice; what still opens a tag after that is refused


def one_line(text: str, field: str, limit: int) -> str:
    """A short text on one line. Raises Refusal (``markup_in_text``, ``text_too_long``, ``text_malformed``)."""
    if text.isascii() and text.isprintable() and "<" not in text and "&" not in text:
        cleaned = " ".join(text.split())
    else:
        cleaned = " ".join(_seen(_decoded(text), field).split())
        _refuse_markup(cleaned, field)
    return _within(cleaned, field, limit)


def paragraphs(text: str, field: str, limit: int) -> str:
    """A long text with HTML turned to plain text, its lines kept. Raises Refusal as ``one_line`` does."""
    for _ in range(_MARKUP_PASSES):
        text = _decoded(_without_tags(text))
        if not _TAG_MAY_OPEN.search(text):
            break
    lines = (" ".join(line.split()) for line in _seen(text, field).splitlines())
    cleaned = "\n".join(line for line in lines if line)
    _refuse_markup(cleaned, field)
    return _within(cleaned, field, limit)


def is_plain(text: str) -> bool:
    """Whether ``one_line`` would leave the text as it is, entities aside."""
    return (
        not (_UNSEEN.search(text) or _TAG_OPENS.search(text))
        and " ".join(text.split()) == text
        and (text.isascii() or unicodedata.is_normalized("NFC", text))
    )


def has_unseen(text: str) -> bool:
    """Whether the text holds characters that ``one_line`` would take out."""
    return _UNSEEN.search(text) is not None


def _within(text: str, field: str, limit: int) -> str:
    if len(text) > limit:
        raise Refusal(RejectCode.TEXT_TOO_LONG, field)
    return text


def _refuse_markup(text: str, field: str) -> None:
    if _TAG_OPENS.search(text):
        raise Refusal(RejectCode.MARKUP_IN_TEXT, field)


def _decoded(text: str) -> str:
    """Entities decoded once, only those closed by a semicolon: HTML would read ``Tea&parts`` as one."""
    return _ENTITY.sub(lambda match: html.unescape(match.group()), text) if "&" in text else text


def _seen(text: str, field: str) -> str:
    if text.isascii():
        return _UNSEEN.sub("", text)
    # Ordering a long run of combining marks costs the square of its length in unicodedata.normalize.
    if _LONG_MARK_RUN.search(bytes(map(unicodedata.combining, text))):
        raise Refusal(RejectCode.TEXT_MALFORMED, field)
    return unicodedata.normalize("NFC", _UNSEEN.sub("", text))


def _without_tags(text: str) -> str:
    """The text between tags, comments, scripts and styles.

    Not html.parser: it takes the square of the length for ``<a "<a "…`` and its like. Here every find moves forward,
    and markup that is never closed ends the text, as in a browser.
    """
    return "".join(_pieces(text))


def _pieces(text: str) -> Iterator[str]:
    position = 0
    while opening := _TAG_OPENS.search(text, position):
        yield text[position : opening.start()]
        tag = _TAG_NAME.match(text[opening.start() + 1 : opening.start() + 17].lstrip("/").lower())
        name = tag.group() if tag else ""
        if _BREAKS_LINE.fullmatch(name):
            yield "\n"
        position = _end_of_markup(text, opening.start(), name)
        if position < 0:
            return
    yield text[position:]


def _end_of_markup(text: str, start: int, name: str) -> int:
    """The place after the tag or comment that opens at ``start``, hidden content included; -1 if it is never closed."""
    if text.startswith("<!--", start):
        return _after(text, "-->", start + 4)
    if name in _HIDDEN_CONTENT and text[start + 1] != "/":
        closing = _HIDDEN_CONTENT[name].search(text, start)
        return _after(text, ">", closing.start()) if closing else -1
    return _after(text, ">", start)


def _after(text: str, mark: str, start: int) -> int:
    found = text.find(mark, start)
    return found + len(mark) if found >= 0 else -1
