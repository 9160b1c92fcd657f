"""The number never comes back, however it is written; benign answers come through; a rule that is taken out is missed (I1)."""

import base64
import codecs
import hashlib
import json
import re
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.requirement import requirement
from tests.vault_zone.world import AMEX, VISA, a_card
from vault_zone.card import Cvc
from vault_zone.forward import scrubbing, traces
from vault_zone.forward.placeholders import Parts
from vault_zone.forward.scrubbing import Scrubber
from vault_zone.forward.sending import ANSWER_BYTES_MAXIMUM
from vault_zone.forward.traces import Traces

MASTERCARD = "5555555555554444"
ALLOWED = ("/a", "/b", "/c", "/list/*", "/deep/er")


def scrubber(number: str = MASTERCARD, code: str | None = "737", secrets: tuple[str, ...] = ()) -> Scrubber:
    """For a card with a published test number."""
    return Scrubber(Parts(a_card(number), Cvc.parse(code, None) if code else None), secrets)


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def grouped(text: str, separator: str) -> str:
    return separator.join(text[at : at + 4] for at in range(0, len(text), 4))


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "spaced": lambda n: grouped(n, " "),
    "dashed": lambda n: grouped(n, "-"),
    "every digit apart": " . ".join,
    "with words between": lambda n: grouped(n, " and then "),
    "reversed": lambda n: n[::-1],
    "base64": base64_of,
    "base64 without padding": lambda n: base64_of(n).rstrip("="),
    "base64 of a sentence": lambda n: base64_of(f"card {n} ok"),
    "base64 with something before": lambda n: "tok" + base64_of(n),
    "base64 for URLs": lambda n: base64.urlsafe_b64encode(f"?>~{n}".encode()).decode(),
    "base64 twice": lambda n: base64_of(base64_of(n)),
    "base64 in lines": lambda n: grouped(base64_of(f"card: {n}"), "\n"),
    "base32": lambda n: base64.b32encode(n.encode()).decode(),
    "hexadecimal": lambda n: n.encode().hex(),
    "hexadecimal with colons": lambda n: n.encode().hex(":"),
    "the number in base 16": lambda n: f"{int(n):X}",
    "packed decimal in base64": lambda n: base64.b64encode(b"\x01\x02" + bytes.fromhex(n.zfill(16)) * 2).decode(),
    "big-endian bytes in base64": lambda n: base64.b64encode(int(n).to_bytes(12, "big")).decode(),
    "URL-encoded": lambda n: "".join(f"%{ord(c):02x}" for c in n),
    "URL-encoded twice": lambda n: urllib.parse.quote("".join(f"%{ord(c):02x}" for c in n)),
    "HTML references": lambda n: "".join(f"&#{ord(c)};" for c in n),
    "JSON escapes, escaped": lambda n: "".join(f"\\u{ord(c):04x}" for c in n),
    "full-width digits": lambda n: "".join(chr(0xFF10 + int(c)) for c in n),
    "Arabic-Indic digits": lambda n: "".join(chr(0x0660 + int(c)) for c in n),
    "zero-width characters between": "\u200b".join,
    "JSON in a string": lambda n: json.dumps({"number": n}),
    "base64 of JSON with escapes": lambda n: base64_of('{"n":"' + "".join(f"\\u{ord(c):04x}" for c in n) + '"}'),
    "base64 of full-width digits": lambda n: base64_of("".join(chr(0xFF10 + int(c)) for c in n)),
    "base64 of base64 among other bytes": lambda n: base64.b64encode(
        b"\xff\x00\x01" + base64_of(n).encode() + b"\xfe"
    ).decode(),
    "SHA-256": lambda n: hashlib.sha256(n.encode()).hexdigest(),
    "MD5": lambda n: hashlib.md5(n.encode(), usedforsecurity=False).hexdigest(),
    "SHA-1 in base64": lambda n: base64.b64encode(hashlib.sha1(n.encode(), usedforsecurity=False).digest()).decode(),
}

benign = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def planted(shape: Any, path: list[int], value: Any) -> Any:
    """The shape, with the value put somewhere in it."""
    if isinstance(shape, dict) and shape and path:
        name = sorted(shape)[path[0] % len(shape)]
        return {**shape, name: planted(shape[name], path[1:], value)}
    if isinstance(shape, list) and shape and path:
        at = path[0] % len(shape)
        return [*shape[:at], planted(shape[at], path[1:], value), *shape[at + 1 :]]
    return {"x": shape, "a": value}


@requirement("3.4.1", "3.5.1")
@settings(max_examples=150, deadline=None)
@given(
    encoding=st.sampled_from(sorted(ENCODINGS)),
    number=st.sampled_from([MASTERCARD, VISA, AMEX, "6011111111111117"]),
    shape=benign,
    path=st.lists(st.integers(0, 5), max_size=3),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
)
def test_whatever_the_encoding_and_the_shape_of_the_answer_the_number_never_comes_back(
    encoding: str, number: str, shape: Any, path: list[int], indent: int | None, ascii_only: bool
) -> None:
    document = planted(shape, path, ENCODINGS[encoding](number))
    body = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    told = scrubber(number).scrub("OK", body, ALLOWED)
    assert (told.fields, told.reason) == ({}, "card_echoed")


SHAPES: dict[str, Any] = {
    "a number": int(MASTERCARD),
    "a number with an exponent": float("5.555555555554444e15"),
    "a list of digits": list(MASTERCARD),
    "a list of numbers": [int(c) for c in MASTERCARD],
    "digits with their places": [{"place": at, "digit": digit} for at, digit in enumerate(MASTERCARD)],
    "four fields": {"a": "5555", "b": "5555", "c": "5555", "d": "4444"},
    "fields from the end": {"a": "4444", "b": "5555", "c": "55555555"},
    "two fields": {"a": "55555555", "b": "55554444"},
    "names of members": {MASTERCARD: 1},
    "names of members, split": {"55555555": 1, "55554444": 2},
    "each digit in base64": [base64_of(c) for c in MASTERCARD],
    "halves in base64": [base64_of(MASTERCARD[:8]), base64_of(MASTERCARD[8:])],
    "base64 over two fields": [base64_of(MASTERCARD)[:11], base64_of(MASTERCARD)[11:]],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_number_that_is_split_or_numeric_does_not_come_back(shape: str) -> None:
    body = json.dumps({"list": SHAPES[shape], "deep": {"er": SHAPES[shape]}}).encode()
    assert scrubber().scrub("OK", body, ALLOWED).reason == "card_echoed"
    told = scrubber().scrub("OK", json.dumps(SHAPES[shape]).encode(), ALLOWED)
    assert not told.fields


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32", "utf-7"])
def test_a_body_in_another_character_encoding_does_not_hide_it(encoding: str) -> None:
    text = json.dumps({"a": grouped(MASTERCARD, "\u00b7")}, ensure_ascii=False)
    assert scrubber().scrub("OK", codecs.encode(text, encoding), ALLOWED).reason == "card_echoed"


@pytest.mark.parametrize(
    "head", [f"OK {MASTERCARD}", f"OK\nx-echo: {base64_of(MASTERCARD)}", f"OK\nlocation: /?n={MASTERCARD}"]
)
def test_a_number_in_the_status_line_or_a_header_withholds_the_body(head: str) -> None:
    assert scrubber().scrub(head, b'{"a": "fine"}', ALLOWED).reason == "card_echoed"


CODES: list[Any] = [
    "737",
    737,
    "cvc 737 does not match",
    base64_of("737"),
    b"737".hex(),
    "%37%33%37",
    "7-3-7",
    "\uff17\uff13\uff17",
]


@requirement("3.3.1.2")
@pytest.mark.parametrize("value", CODES)
def test_a_value_that_holds_the_security_code_is_withheld(value: Any) -> None:
    told = scrubber().scrub("OK", json.dumps({"a": value, "b": "fine"}).encode(), ALLOWED)
    assert (told.fields, told.withheld) == ({"/b": "fine"}, ("/a",))


def test_another_cards_number_and_the_zones_own_secret_are_withheld() -> None:
    body = json.dumps({"a": VISA, "b": "key sk_test_bcdfghjk is wrong", "c": "fine"}).encode()
    told = scrubber(secrets=("sk_test_bcdfghjk",)).scrub("OK", body, ALLOWED)
    assert (told.fields, told.withheld) == ({"/c": "fine"}, ("/a", "/b"))


@requirement("3.5.1")
@pytest.mark.parametrize(
    ("fields", "is_told"),
    [
        ({"a": "55555555", "b": "4444"}, True),
        ({"a": "555555", "b": "4444"}, True),
        ({"a": "555555555", "b": "4444"}, False),
        ({"a": "5555555555554"}, False),
        ({"a": "555555", "b": "555555", "c": "4444"}, False),
    ],
)
def test_no_more_of_the_number_is_told_than_truncation_may_leave(fields: dict[str, str], is_told: bool) -> None:
    told = scrubber().scrub("OK", json.dumps(fields).encode(), ALLOWED)
    assert bool(told.fields) == is_told


BENIGN: list[dict[str, Any]] = [
    {"id": "ch_3MmlLrLkdIwHu7ix0snN0B15", "status": "succeeded", "amount": 10905, "created": 1679090539, "last4": "4444"},
    {"pspReference": "WNS7WQ756L2GWR82", "resultCode": "Authorised", "merchantReference": "order-12345"},
    {"id": "pay_mbabizu24mvu3mela5njyhpit4", "approved": True, "auth_code": "643381", "bin": "55555555", "last4": "4444"},
    {"result": {"code": "000.100.110", "description": "Request successfully processed"}, "buildNumber": "20a7f19c"},
    {"id": "6f1ed002ab5595859014ebf0951522d9", "network_transaction_id": "016153570198200", "rate": 1.25},
    {"id": "txn_0192f8c4-7a3e-7b1c-9d6e-2f5a8b4c6d7e", "processed_on": "2026-11-25T10:50:30Z", "avs": None},
]  # fmt: skip


@pytest.mark.parametrize("answer", BENIGN)
def test_processors_ordinary_answers_come_through_whole(answer: dict[str, Any]) -> None:
    flat = {name: value for name, value in answer.items() if not isinstance(value, dict)}
    told = scrubber().scrub(
        "OK\ndate: Wed, 25 Nov 2026 10:50:30 GMT", json.dumps(answer).encode(), tuple(f"/{one}" for one in flat)
    )
    assert told.fields == {
        f"/{name}": str(value) if isinstance(value, float) else value for name, value in flat.items()
    }
    assert (told.withheld, told.reason) == ((), "")


@settings(max_examples=100, deadline=None)
@given(a=st.text(max_size=30) | st.integers(-999, 10**9) | st.none() | st.booleans())
def test_what_holds_nothing_of_the_card_is_told_or_named_as_withheld(a: Any) -> None:
    told = scrubber(code=None).scrub("OK", json.dumps({"a": a}).encode(), ("/a",))
    assert told.fields == {"/a": a} or told.withheld == ("/a",) or told.reason == "card_like"


def test_only_allowed_scalars_are_told_and_no_name_that_the_answer_chose() -> None:
    body = b'{"a": {"secret": 1}, "b": [1], "list": [1, {"x": 2}, "y"], "deep": {"er": true, "other": 1}, "z": 1}'
    told = scrubber().scrub("OK", body, ALLOWED)
    assert told.fields == {"/list/0": 1, "/list/2": "y", "/deep/er": True}
    assert told.withheld == ("/a", "/b", "/list/1")
    assert scrubber().scrub("OK", body, ()).fields == {}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>", "not_json"),
        (b'{"a": NaN}', "not_json"),
        (b'{"a": 1', "not_json"),
        (b"\xff\xfe{", "not_json"),
        (b"[" * 5000, "not_json"),
        (b"[" * 100 + b"]" * 100, "not_json"),
        (b'{"a": 1e999999999}', ""),
        (None, "too_long"),
    ],
)
def test_what_cannot_be_read_is_withheld_whole(body: bytes | None, reason: str) -> None:
    told = scrubber().scrub("OK", body, ("/x",), "too_long")
    assert (told.fields, told.reason) == ({}, reason)


def test_an_answer_with_too_many_layers_to_search_is_withheld_whole() -> None:
    layered = "".join(base64_of(base64_of(base64_of(str(at) * 40))) for at in range(ANSWER_BYTES_MAXIMUM // 60))
    told = scrubber().scrub("OK", json.dumps({"a": "fine", "b": layered}).encode(), ALLOWED)
    assert (told.fields, told.reason) == ({}, "not_searchable")


def test_a_long_ordinary_answer_comes_through() -> None:
    rows = [{"id": f"itm_{at:x}", "text": "abc def 5 4", "n": at} for at in range(ANSWER_BYTES_MAXIMUM // 50)]
    body = json.dumps({"a": "fine", "rows": rows}).encode()
    assert len(body) > ANSWER_BYTES_MAXIMUM * 0.9
    assert scrubber().scrub("OK", body, ALLOWED).fields == {"/a": "fine"}


def test_nothing_that_holds_the_number_shows_it() -> None:
    made = scrubber()
    shown = f"{made!r}{Traces(MASTERCARD)!r}{[getattr(Traces(MASTERCARD), name) for name in Traces.__slots__]}"
    assert MASTERCARD not in shown


@pytest.mark.parametrize(
    ("part", "encoding"),
    [
        ("_BASE64", "base64"),
        ("_HEX", "hexadecimal"),
        ("_BASE32", "base32"),
        ("_ESCAPE", "JSON escapes, escaped"),
        ("_LAYERS", "base64 twice"),
    ],
)
def test_the_encodings_would_be_missed_without_their_part(
    part: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = ENCODINGS[encoding](MASTERCARD)
    assert Traces(MASTERCARD).are_in(text)
    monkeypatch.setattr(traces, part, 1 if part == "_LAYERS" else re.compile(r"(?!)"))
    assert not Traces(MASTERCARD).are_in(text)


def test_a_split_number_would_be_missed_without_the_rule_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"a": "555555555", "b": "4444"}).encode()
    monkeypatch.setattr(scrubbing, "_digits_allowed", lambda length: length)
    assert scrubber().scrub("OK", body, ALLOWED).fields
