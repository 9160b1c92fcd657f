"""A UUID as an idempotency key is taken whatever its digits say; a card is refused there in every other form."""

import json
import re
from typing import Any
from uuid import RFC_4122, UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.tokenization.test_edge import Inner, arriving, guard, run, scope_of
from tokenization import opaque_keys
from tokenization.edge import Scope
from tokenization.opaque_keys import is_opaque_key, path_without_key, without_key
from tokenization.scanner import contains_card

CARD = "4242424242424242"
# Random ones that the scanner reads as cards, and two that were built to hold a test number.
UNLUCKY = (
    "4351a015-2143-4649-9f00-52bd2a76fe7d",
    "55555555-5555-4444-a5af-199498b17d43",
    "a6f8ff62-0970-4893-8453-81b248408382",
    "42424242-4242-4242-aaaa-aaaaaaaaaaaa",
)
REFUSED = {
    "the number itself": CARD,
    "in groups": "4242-4242-4242-4242",
    "behind a word": f"order-{CARD}",
    "digits alone": "42424242-4242-4242-8000-000000000000",
    "without dashes": UNLUCKY[3].replace("-", ""),
    "in braces": f"{{{UNLUCKY[3]}}}",
    "as a URN": f"urn:uuid:{UNLUCKY[3]}",
    "of no version": "40000000-0000-0002-aaaa-aaaaaaaaaaaa",
    "of another variant": "42424242-4242-4242-4242-aaaaaaaaaaaa",
    "of two cases": "42424242-4242-4242-aaaA-aaaaaaaaaaaa",
    "with more behind it": f"{UNLUCKY[3]} {CARD}",
    "two at once": f"{UNLUCKY[3]}, {UNLUCKY[3]}",
    "in other digits": UNLUCKY[3].translate({ord(str(n)): 0x0660 + n for n in range(10)}),
}


def status(scope: Scope, body: bytes = b"") -> int:
    """What a request gets that passes a guard: 204 from the application, else the guard's refusal."""
    return run(guard(Inner()), scope, arriving([body])).status


def call(key: str, **more: Any) -> bytes:
    """A tool's call over JSON-RPC."""
    given = {"idempotency_key": key, **more}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"arguments": given}}).encode()


JSON: Scope = scope_of(content_type="application/json")


@pytest.mark.parametrize("key", [form(key) for key in UNLUCKY for form in (str, str.upper)])
def test_a_uuid_that_reads_like_a_card_is_taken_wherever_a_key_stands(key: str) -> None:
    assert contains_card(key)
    assert status(scope_of(idempotency_key=key)) == 204
    for name in ("idempotency_key", "idempotency-key", "idempotencyKey"):
        assert status(JSON, json.dumps({"a": 1, "meta": {name: key}, "b": "two"}, indent=1).encode()) == 204
    assert status(JSON, call(key)) == 204
    assert status(scope_of(path=f"/v1/merchants/harbour-pine/forwards/{key}")) == 204


@given(key=st.uuids() | st.uuids(version=4))
@example(key=UUID(UNLUCKY[0]))
def test_a_random_uuid_is_always_taken_as_a_key(key: UUID) -> None:
    text = str(key)
    is_of_rfc_9562 = key.variant == RFC_4122 and key.version in range(1, 9)
    assert is_opaque_key(text) == (is_of_rfc_9562 and re.search("[a-f]", text) is not None)
    if is_opaque_key(text):
        assert status(scope_of(idempotency_key=text, content_type="application/json"), call(text)) == 204


@pytest.mark.parametrize("key", REFUSED.values(), ids=REFUSED.keys())
def test_a_card_as_a_key_in_any_other_form_is_refused(key: str) -> None:
    headers = {**scope_of(), "headers": [(opaque_keys.HEADER, key.encode("utf-8"))]}
    assert status(JSON, call(key)) == 422
    if key.isascii():  # a header is read as Latin-1
        assert status(headers) == 422


PLACES: dict[str, tuple[Scope, bytes]] = {
    "another header": (scope_of(user_agent=UNLUCKY[3]), b""),
    "query": (scope_of(query=f"idempotency_key={UNLUCKY[3]}".encode()), b""),
    "path": (scope_of(path=f"/checkouts/{UNLUCKY[3]}"), b""),
    "path, not last": (scope_of(path=f"/forwards/{UNLUCKY[3]}/x"), b""),
    "another member": (JSON, json.dumps({"note": UNLUCKY[3]}).encode()),
    "a member's name": (JSON, json.dumps({UNLUCKY[3]: "idempotency_key"}).encode()),
    "a second member": (JSON, json.dumps([{"idempotency_key": UNLUCKY[3]}] * 2).encode()),
    "a list": (JSON, json.dumps({"idempotency_key": [UNLUCKY[3]]}).encode()),
    "a text that looks like a member": (
        JSON,
        json.dumps({"note": json.dumps({"idempotency_key": UNLUCKY[3]})}).encode(),
    ),
    "beside it": (JSON, call(UNLUCKY[3], note=CARD)),
    "around it": (JSON, call(UNLUCKY[3], note="4242 4242", more="4242 4242")),
    "no JSON": (scope_of(content_type="text/plain"), call(UNLUCKY[3])),
    "a form": (scope_of(content_type="application/x-www-form-urlencoded"), f"idempotency_key={UNLUCKY[3]}".encode()),
}


@pytest.mark.parametrize(("scope", "body"), PLACES.values(), ids=PLACES.keys())
def test_anywhere_else_a_uuid_is_read_as_what_it_says(scope: Scope, body: bytes) -> None:
    assert status(scope, body) == 422


def test_planted_where_any_key_is_taken_unread_cards_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenization.opaque_keys.is_opaque_key", lambda _: True)
    passed = [key for key in REFUSED.values() if key.isascii() and status(scope_of(idempotency_key=key)) == 204]
    assert CARD in passed
    monkeypatch.setattr("tokenization.opaque_keys._MARK", b"")
    monkeypatch.setattr("tokenization.opaque_keys._MEMBER", re.compile(rb'("\w+"\s*:\s*")[0-9a-f-]+(?=")'))
    assert status(*PLACES["another member"]) == 204


@given(body=st.binary(max_size=200) | st.builds(call, st.text(max_size=40)))
def test_only_a_uuid_is_taken_out_of_a_body(body: bytes) -> None:
    assert without_key(body, None) == body
    read = without_key(body, "application/json")
    assert read == body or len(read) == len(body) - len(UNLUCKY[0]) + len("uuid")


@given(path=st.text(max_size=80))
def test_only_a_uuid_is_taken_off_a_path(path: str) -> None:
    assert path.startswith(path_without_key(path))
    assert path_without_key(f"/forwards/{path}") in {f"/forwards/{path}", "/forwards"}
