"""Finds one card's number in an answer, however it is written. The number is known, so the search is for it and nothing else.

What must hold:
 1. Every view of a text is searched: as it stands, and undone of URL, HTML, JSON, base64, base32 and hexadecimal encoding,
    of look-alike digits and of white space, several layers deep.
 2. In each view digits count and nothing between them does, forwards and backwards; so do the number as an integer in other
    bases, packed or as bytes, and its unkeyed digests (PCI DSS 3.5.1.1: such a digest is undone in seconds).
 3. A text too rich in layers to search in its bounds is told apart, to be withheld like one that holds the number.
"""

import base64
import binascii
import contextlib
import hashlib
import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

_LAYERS: Final = 4
_CHARS_MAXIMUM: Final = 1_000_000  # of all views together: sixteen times the longest answer
_VIEWS_MAXIMUM: Final = 20_000
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_BASE32: Final = re.compile(r"[A-Za-z2-7]{20,}={0,6}")
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2}[\s:,-]?){12,}")
_ESCAPE: Final = re.compile(r"\\u\{?([0-9a-fA-F]{2,6})\}?|\\x([0-9a-fA-F]{2})|\\([0-7]{3})")
_PRINTABLE: Final = re.compile(rb"[ -~]{13,}")  # shorter, they hold no encoded number
_SPACE: Final = re.compile(r"\s+")
_View = tuple[str, bool]  # the text, and whether it is text or bytes that are none
_DIGESTS: Final = ("md5", "sha1", "sha256", "sha384", "sha512", "sha3_256", "blake2b", "blake2s")


class Traces:
    """What one card's number looks like. Its slots hold functions, so a walker of attributes finds no value (I1)."""

    __slots__ = ("_in_view", "_number")

    def __init__(self, number: str) -> None:
        forms = _forms_of(number)
        self._number: Callable[[], str] = lambda: number
        self._in_view: Callable[[str, bool], bool] = forms.are_in

    def __repr__(self) -> str:
        return "Traces(****)"

    def are_in(self, text: str) -> bool:
        """Whether the number is in the text, in any view of it (1). Raises TooManyViews (3)."""
        return any(self._in_view(view, is_text) for view, is_text in views_of(text))

    def shown_by(self, fragments: list[str]) -> int:
        """How many of the number's digits these texts show together, counting runs of three and more, each once."""
        number = self._number()
        shown = [False] * len(number)
        for fragment in sorted(set(fragments), key=len, reverse=True):
            _mark(number, digits_of(fragment), shown)
        return sum(shown)


@dataclass(frozen=True, slots=True)
class _Forms:
    """The ways in which a number is written, for one view (2)."""

    digits: tuple[str, ...] = field(repr=False)
    words: tuple[str, ...] = field(repr=False)
    packed: tuple[str, ...] = field(repr=False)

    def are_in(self, view: str, is_text: bool) -> bool:
        if any(one in view for one in self.packed):
            return True
        if not is_text:  # what stands between digits by chance, in bytes that are no text, means nothing
            return False
        digits, lower = digits_of(view), view.lower()
        return any(one in digits for one in self.digits) or any(one in lower for one in self.words)


def _forms_of(number: str) -> _Forms:
    value = int(number)
    # Not for safety: these are what a careless or hostile answer may hold.
    digests = [hashlib.new(name, number.encode(), usedforsecurity=False).digest() for name in _DIGESTS]
    decimal = bytes.fromhex(number if len(number) % 2 == 0 else f"0{number}")
    big = value.to_bytes(8, "big").lstrip(b"\0")
    return _Forms(
        (number, number[::-1]),
        (f"{value:x}", f"{value:o}", f"{value:b}", *(one.hex() for one in digests)),
        tuple(one.decode("latin-1") for one in (decimal, big, big[::-1], *digests)),
    )


class TooManyViews(Exception):
    """The text has more layers than there is time to search."""


def digits_of(text: str) -> str:
    """The text's digits, of whatever script, and nothing else."""
    if text.isascii():
        return re.sub(r"[^0-9]+", "", text)
    return "".join(str(digit) for char in text if (digit := unicodedata.digit(char, None)) is not None)


def views_of(text: str) -> Iterator[_View]:
    """The text and what it becomes when encodings are undone, breadth first, each with whether it is text.

    Raises TooManyViews.
    """
    seen, layer, chars = {text}, [text], len(text)
    yield text, True
    for _ in range(_LAYERS):
        following: list[str] = []
        for view in layer:
            for undone, is_text in _undone(view):
                if undone in seen:
                    continue
                chars += len(undone)
                seen.add(undone)
                if chars > _CHARS_MAXIMUM or len(seen) > _VIEWS_MAXIMUM:
                    raise TooManyViews
                if is_text:
                    following.append(undone)
                yield undone, is_text
        layer = following


def _undone(view: str) -> Iterator[_View]:
    """The view with one encoding undone. In bytes that are no text no further encoding is looked for."""
    if "%" in view:
        yield unquote(view, encoding="latin-1"), True
    if "&" in view:
        yield html.unescape(view), True
    if "\\" in view:
        yield _ESCAPE.sub(_character, view), True
    if not view.isascii():
        yield unicodedata.normalize("NFKC", view), True
    if _SPACE.search(view):
        yield _SPACE.sub("", view), True
    for token in _BASE64.findall(view):
        yield from _of_base64(token)
    for token in _BASE32.findall(view):
        yield from _decoded(base64.b32decode, token.upper().rstrip("="), 8)
    for token in _HEX.findall(view):
        compact = re.sub(r"[^0-9A-Fa-f]", "", token)
        for begin in (0, 1):
            yield from _texts_in(bytes.fromhex(compact[begin : begin + (len(compact) - begin) // 2 * 2]))


def _of_base64(token: str) -> Iterator[_View]:
    """Read from each of four places: what stands before the encoded text may be in its alphabet too."""
    plain = token.rstrip("=").replace("-", "+").replace("_", "/")
    for begin in range(4):
        yield from _decoded(base64.b64decode, plain[begin:], 4)


def _decoded(decode: Callable[[str], bytes], token: str, group: int) -> Iterator[_View]:
    whole = token[: len(token) // group * group]
    for candidate in (token + "=" * (-len(token) % group), whole):
        with contextlib.suppress(binascii.Error, ValueError):
            yield from _texts_in(decode(candidate))
            return


def _texts_in(data: bytes) -> Iterator[_View]:
    """The text that bytes are; of bytes that are none, they themselves, and the stretches of text among them."""
    if data.isascii():
        yield data.decode("ascii"), True
        return
    yield data.decode("latin-1"), False
    with contextlib.suppress(ValueError):
        yield data.decode("utf-8"), True
        return
    if stretches := _PRINTABLE.findall(data):
        yield b"\n".join(stretches).decode("ascii"), True


def _character(match: re.Match[str]) -> str:
    code = int(match[1] or match[2], 16) if match[3] is None else int(match[3], 8)
    return chr(code) if code <= 0x10FFFF else ""


def _mark(number: str, fragment: str, shown: list[bool]) -> None:
    """Marks the longest stretch of the number that the fragment holds and that nothing marked before."""
    for length in range(min(len(number), len(fragment)), 2, -1):
        for begin in range(len(number) - length + 1):
            if number[begin : begin + length] in fragment and not any(shown[begin : begin + length]):
                shown[begin : begin + length] = [True] * length
                return
