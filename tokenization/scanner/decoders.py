"""Finds encoded runs in a text and rewrites them in clear, one level at a time.

Percent-encoding (RFC 3986 section 2.1, and %uXXXX), HTML character references (HTML Living Standard 13.5), backslash and
``U+`` escapes (JSON, Python, JavaScript, CSS, C), quoted-printable (RFC 2045), tags, base64, base64url and base32 (RFC 4648) at
any alignment, hexadecimal bytes, decimal ASCII codes, hexadecimal integers. A run that does not decode to text is left alone.
Every pattern is linear: no quantifier holds another one over the same characters.
"""

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from tokenization.scanner.finding import Kind
from tokenization.scanner.issuers import SHORTEST_PAN
from tokenization.scanner.passed import LONGEST_CHARS, Passed
from tokenization.scanner.traits import Traits
from tokenization.scanner.views import Edit, View, edited

_PRINTABLE_RUN: Final = re.compile(rb"[\t\n\r -~]{13,}")
_NOT_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_BETWEEN_READINGS: Final = " ; or ; "

_PERCENT: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+|%[uU][0-9A-Fa-f]{4}")
_ENTITY: Final = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,24});?")
_TAG: Final = re.compile(r"<[/!A-Za-z][^<>]{0,120}>")
_ESCAPE: Final = re.compile(
    r"\\{1,8}(?:[uU][dD][89abAB][0-9A-Fa-f]{2}\\{1,8}[uU][dD][c-fC-F][0-9A-Fa-f]{2}"  # a surrogate pair
    r"|u[0-9A-Fa-f]{4}|u\{[0-9A-Fa-f]{1,6}\}|U[0-9A-Fa-f]{8}|x[0-9A-Fa-f]{2}|x\{[0-9A-Fa-f]{1,6}\}|N\{[A-Za-z \-]{3,48}\}"
    r"|[0-7]{3}|3[0-9] ?|[nrt\"'/])"
    r"|(?<![A-Za-z0-9])[uU]\+[0-9A-Fa-f]{4,6}(?![0-9A-Za-z])"
    r"|(?<![A-Za-z0-9])0[xX][0-9A-Fa-f]{2}(?![0-9A-Za-z])"
    r"|(?<![A-Za-z0-9])0[bB]0{0,2}11[01]{4}(?![0-9A-Za-z])"
)
_QUOTED_PRINTABLE: Final = re.compile(r"(?:=3[0-9](?:=\r?\n)?){3,}")
_ASCII_CODES: Final = re.compile(r"(?<![0-9])(?:(?:4[89]|5[0-7])[^0-9]{1,8}){12,}(?:4[89]|5[0-7])(?![0-9])")
_BINARY: Final = re.compile(r"(?<![0-9A-Za-z])(?:0011[01]{4}[ ,;]?){12,}0011[01]{4}(?![0-9A-Za-z])")
_HEX_BYTES: Final = re.compile("[0-9A-Fa-f]{26,}")
_SPACED_HEX_BYTES: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:[0-9A-Fa-f]{2}[ :,\-]{1,2}){12,}[0-9A-Fa-f]{2}(?![0-9A-Za-z])"
)
_HEX_INTEGER: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:0[xX]|#|[Hh][Ee][Xx][ :=]{1,3})([0-9A-Fa-f]{10,16})(?![0-9A-Za-z])"
)
_BASE32: Final = re.compile("[A-Z2-7]{21,}={0,6}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_\-]{18,}(?:\r?\n[A-Za-z0-9+/_\-]+)*={0,2}")
# Three digits always become one of these quartets, so even a short piece shows itself.
_BASE64_DIGITS: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:[M-O][DTjz][AEIMQUYcgk][w-z0-5])+(?:[M-O][AQgw](?:==)?|[M-O][DTjz][AEIMQUYcgk]=?)?"
    r"|[M-O][AQgw]==|[M-O][DTjz][AEIMQUYcgk]=)(?![A-Za-z0-9=])"
)
_UNCASED_HEX: Final = re.compile(r"[0-9a-f\-]+|[0-9A-F\-]+")
_DIGITS: Final = "0123456789"
_LONG_BASE64: Final = b"a" * 18  # 13 digits without padding
_LONG_BASE32: Final = b"a" * 21
_COMMON: Final = bytes(code for code in range(128) if chr(code).isalnum()) + b" .,:;!?-_\"'()[]{}\n"
_BASE64_ALPHABET: Final = bytes(97 if re.match(rb"[A-Za-z0-9+/_\-]", bytes([code])) else 32 for code in range(256))
_BASE32_ALPHABET: Final = bytes(97 if re.match(rb"[A-Z2-7]", bytes([code])) else 32 for code in range(256))
_BASE64_DIGIT: Final = re.compile(r"[M-O](?:[DTjz][AEIMQUYcgk]|[AQgw]=)")
_TO_STANDARD: Final = str.maketrans("-_", "+/", "\r\n")

_no_base64: Final = (
    Passed()
)  # paths and names in the base64 alphabet, such as those that protocols put into every message
Decoder = Callable[[str], str | None]


def _readable(data: bytes) -> str | None:
    """The bytes as text if that is what they are: UTF-8, or at least one long printable run. UTF-16 loses its zero bytes."""
    data = data.replace(b"\0", b"")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1") if _PRINTABLE_RUN.search(data) else None
    return text if _PRINTABLE_RUN.search(data) or not _NOT_TEXT.search(text) else None


def _percent(run: str) -> str:
    if run[1] in "uU":
        return chr(int(run.lstrip("%uU"), 16))
    return unquote_to_bytes(run).decode(errors="replace")


def _entity(run: str) -> str | None:
    text = html.unescape(run)
    return None if text == run else text


def _tag(_: str) -> str:
    return ""


_SHORT_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "/": "/"}
_HEX_ESCAPE: Final = frozenset("uUxX+")


def _escape(run: str) -> str | None:
    body = run.lstrip("\\")
    if body[0] in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[body[0]]
    if "\\" in body:
        return _surrogate_pair(body)
    if body[0] == "N":
        return _named(body[2:-1])
    body = body.strip(" ,;")
    base, number = _escaped_number(body)
    value = int(number, base)
    return chr(value) if value < 0x110000 else None


def _named(name: str) -> str | None:
    try:
        return unicodedata.lookup(name)
    except KeyError:
        return None


def _escaped_number(body: str) -> tuple[int, str]:
    if body[:2] in {"0b", "0B"}:
        return 2, body[2:]
    if body[:2] in {"0x", "0X", "u+", "U+"}:
        return 16, body[2:]
    if body[0] in _HEX_ESCAPE:
        return 16, body[1:].strip("{}")
    return (8 if len(body) == 3 else 16), body  # \064 is octal (C), \34 is hexadecimal (CSS)


def _surrogate_pair(body: str) -> str:
    high, low = body[1:5], body[-4:]
    return bytes.fromhex(high + low).decode("utf-16-be", errors="replace")


def _quoted_printable(run: str) -> str:
    return binascii.a2b_qp(run).decode("latin-1")


def _ascii_codes(run: str) -> str:
    return "".join(chr(int(code)) for code in re.findall("[0-9]{2}", run))


def _binary(run: str) -> str:
    return "".join(chr(int(code, 2)) for code in re.findall("[01]{8}", run))


def _hex_bytes(run: str) -> str | None:
    digits = re.sub("[^0-9A-Fa-f]", "", run)
    readings = (_readable(bytes.fromhex(digits[shift : len(digits) - (len(digits) - shift) % 2])) for shift in (0, 1))
    return _BETWEEN_READINGS.join(text for text in readings if text) or None


def _hex_integer(run: str) -> str | None:
    match = _HEX_INTEGER.fullmatch(run)
    value = str(int(match[1], 16)) if match else ""
    return value if 13 <= len(value) <= 19 else None


def _base32(run: str) -> str | None:
    body = run.rstrip("=")
    body = body[: len(body) - (len(body) % 8 in {1, 3, 6})]
    return _readable(base64.b32decode(body + "=" * (-len(body) % 8)))


def _base64(run: str) -> str | None:
    if _UNCASED_HEX.fullmatch(run):  # a UUID, a digest; base64 of text has letters beyond f in both cases
        return None
    digest = _no_base64.digest(run) if len(run) <= LONGEST_CHARS else None
    if digest in _no_base64:
        return None
    body = run.rstrip("=").translate(_TO_STANDARD)
    readings = (_readable(_base64_bytes(body[shift:])) for shift in range(4))
    clear = _BETWEEN_READINGS.join(text for text in readings if text) or None
    if clear is None and digest is not None:
        _no_base64.add(digest)
    return clear


def _base64_bytes(body: str) -> bytes:
    body = body[: len(body) - (len(body) % 4 == 1)]
    return binascii.a2b_base64(body + "=" * (-len(body) % 4))


def _base64_digits(run: str) -> str:
    return _base64_bytes(run.rstrip("=")).decode("latin-1")


_Row = tuple[Kind, re.Pattern[str], Decoder]


def _possible(traits: Traits) -> Iterator[_Row]:
    """The decoders whose pattern can match at all. Earlier ones win where two claim the same characters."""
    text, raw, lower = traits.text, traits.encoded, traits.lower
    rare = raw.translate(None, _COMMON)
    if rare:
        yield from _possible_with_signs(rare, text)
    if b"\\" in rare or "0x" in lower or "0b0" in lower or "0b1" in lower or (b"+" in rare and "u+" in lower):
        yield "escape", _ESCAPE, _escape
    if "0011" in lower:
        yield "escape", _BINARY, _binary
    if b"#" in rare or "0x" in lower or "hex" in lower:
        yield "hex", _HEX_INTEGER, _hex_integer
    if raw.count(b"4") + raw.count(b"5") >= SHORTEST_PAN:
        yield "escape", _ASCII_CODES, _ascii_codes
    if traits.digits >= 2 * SHORTEST_PAN and _repeats_a_digit(text):
        yield "hex", _HEX_BYTES, _hex_bytes
        yield "hex", _SPACED_HEX_BYTES, _hex_bytes
    if _LONG_BASE64 in raw.translate(_BASE64_ALPHABET):
        if _LONG_BASE32 in raw.translate(_BASE32_ALPHABET):
            yield "base64", _BASE32, _base32
        yield "base64", _BASE64, _base64
    if (b"M" in raw or b"N" in raw or b"O" in raw) and _BASE64_DIGIT.search(text):
        yield "base64", _BASE64_DIGITS, _base64_digits


def _possible_with_signs(rare: bytes, text: str) -> Iterator[_Row]:
    if b"%" in rare:
        yield "percent", _PERCENT, _percent
    if b"&" in rare:
        yield "entity", _ENTITY, _entity
    if b"<" in rare:
        yield "entity", _TAG, _tag
    if b"=" in rare and "=3" in text:
        yield "escape", _QUOTED_PRINTABLE, _quoted_printable


def _repeats_a_digit(text: str) -> bool:
    """Whether one digit stands 13 times in the text: in hexadecimal the characters of one script share their first digits."""
    return max(map(text.count, _DIGITS)) >= SHORTEST_PAN


def _runs(traits: Traits) -> Iterator[Edit]:
    for kind, pattern, decoder in _possible(traits):
        for match in pattern.finditer(traits.text):
            replacement = decoder(match[0])
            if replacement is not None and replacement != match[0]:
                yield Edit(match.start(), match.end(), replacement, kind)


def _disjoint(edits: Iterable[Edit]) -> list[Edit]:
    """The edits in order of place, without those that overlap one given earlier."""
    taken: dict[int, Edit] = {}
    covered = bytearray()
    for edit in edits:
        if len(covered) < edit.end:
            covered.extend(bytes(edit.end - len(covered)))
        if 1 not in covered[edit.start : edit.end]:
            covered[edit.start : edit.end] = b"\1" * (edit.end - edit.start)
            taken[edit.start] = edit
    return [taken[start] for start in sorted(taken)]


def decoded(view: View, traits: Traits) -> View | None:
    """The view with every encoded run in clear, one level; None if nothing is encoded. The traits are of its text."""
    edits = _disjoint(_runs(traits))
    return edited(view, edits) if edits else None
