"""Signed requests of platforms, ACP's and UCP's: each covered part changed, stale, unsigned or another's is refused."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select
from starlette.datastructures import Headers

from tests.requirement import requirement
from tests.vault_zone.delegation.platform_world import Agent, a_credential, a_request, an_agent, moment
from tests.vault_zone.world import START_MS, World, zone_world
from vault_zone.delegation import acp, message_signature
from vault_zone.delegation.acp import TIMESTAMP_TOLERANCE_MS
from vault_zone.delegation.message_signature import (
    TOLERANCE_SECONDS,
    MessageSignatureRefused,
    SignedMessage,
    require_signed,
)
from vault_zone.delegation.sent_card import canonical
from vault_zone.delegation.ucp import PATH
from vault_zone.hazmat.signature import ED25519
from vault_zone.models import card_grant
from vault_zone.platforms import Protocol, SignatureKey

KEY = Ed25519PrivateKey.generate()
PEM = (
    KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
)
AUTHORITY = "127.0.0.1:8701"
NOW_SECONDS = START_MS // 1000


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A zone on either database."""
    async with zone_world(database_url) as made:
        yield made


@pytest.fixture
async def agent(world: World) -> AsyncIterator[Agent]:
    """A platform of both protocols that signs."""
    made = await an_agent(world, protocols=(Protocol.ACP, Protocol.UCP), signature=SignatureKey(ED25519, PEM))
    async with made.client:
        yield made


async def grants(world: World) -> int:
    return len(await world.database.read(lambda c: c.execute(select(card_grant)).all()))


# ACP: a detached signature over the body's canonical JSON, with a Timestamp beside it.


def acp_signature(body: dict[str, Any], key: Ed25519PrivateKey = KEY) -> str:
    return base64.urlsafe_b64encode(key.sign(canonical(body))).decode()


async def delegate(agent: Agent, body: dict[str, Any], **headers: str | None) -> httpx.Response:
    return await agent.delegate(
        body, **{"signature": acp_signature(a_request()), "timestamp": moment(START_MS), **headers}
    )


def leaves(body: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value of a body."""
    if isinstance(body, dict):
        return [found for name in body for found in leaves(body[name], (*path, name))]
    if isinstance(body, list):
        return [found for n, each in enumerate(body) for found in leaves(each, (*path, n))]
    return [path]


def another(body: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    """The body with one value changed."""
    changed: dict[str, Any] = json.loads(json.dumps(body))
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    value = place[path[-1]]
    place[path[-1]] = f"{value}x" if isinstance(value, str) else value + 1
    return changed


@requirement("6.2.4")
@pytest.mark.anyio
async def test_a_signed_request_of_acp_is_taken_and_with_any_value_changed_refused(world: World, agent: Agent) -> None:
    assert (await delegate(agent, a_request())).status_code == 201
    places = leaves(a_request())
    assert len(places) > 25
    for path in places:
        answer = await delegate(agent, another(a_request(), path))
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), path
    for name in a_request():
        without = {key: value for key, value in a_request().items() if key != name}
        assert (await delegate(agent, without)).status_code == 401
    assert await grants(world) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        {"signature": None},
        {"timestamp": None},
        {"signature": ""},
        {"timestamp": "yesterday"},
        {"timestamp": moment(START_MS - TIMESTAMP_TOLERANCE_MS - 1000)},
        {"timestamp": moment(START_MS + TIMESTAMP_TOLERANCE_MS + 1000)},
        {"signature": acp_signature(a_request(), Ed25519PrivateKey.generate())},
    ],
)
async def test_acp_unsigned_stale_or_signed_by_another_is_refused(
    world: World, agent: Agent, headers: dict[str, str | None]
) -> None:
    assert (await delegate(agent, a_request(), **headers)).status_code == 401
    assert await grants(world) == 0


@pytest.mark.anyio
async def test_acp_replayed_gives_the_first_answer_and_no_second_token(world: World, agent: Agent) -> None:
    first = await delegate(agent, a_request(), idempotency_key="k")
    world.clock.advance(60)
    again = await delegate(agent, a_request(), idempotency_key="k")
    assert again.json() == first.json()
    world.clock.advance(TIMESTAMP_TOLERANCE_MS / 1000)
    assert (await delegate(agent, a_request(), idempotency_key="k")).status_code == 401, "and later not even that"
    assert await grants(world) == 1


@pytest.mark.anyio
async def test_a_planted_acp_door_that_asks_for_no_signature_is_found(
    world: World, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acp, "is_signed_by", lambda *_: True)
    assert (await delegate(agent, another(a_request(), ("metadata", "campaign")))).status_code == 201


# UCP: an HTTP message signature (RFC 9421) with a digest of the body (RFC 9530).

COVERED = ("@method", "@authority", "@path", "content-digest", "content-type", "idempotency-key")


def ucp_headers(
    body: bytes,
    *,
    covered: tuple[str, ...] = COVERED,
    parameters: str = f';created={NOW_SECONDS};keyid="platform-a"',
    key: Ed25519PrivateKey = KEY,
    authority: str = AUTHORITY,
    label: str = "sig1",
    **other: str,
) -> dict[str, str]:
    """The headers of a signed request, made by hand from the RFC and not by the code under test."""
    headers = {
        "content-type": "application/json",
        "idempotency-key": "k",
        "content-digest": f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:",
        **{name.replace("_", "-"): value for name, value in other.items()},
    }
    derived = {"@method": "POST", "@authority": authority, "@path": PATH, "@query": "?a=1"}
    shown = " ".join(f'"{name}"' for name in covered)
    lines = [f'"{name}": {derived[name] if name in derived else headers.get(name, "")}' for name in covered]
    base = "\n".join([*lines, f'"@signature-params": ({shown}){parameters}'])
    signed = base64.b64encode(key.sign(base.encode())).decode()
    return {**headers, "signature-input": f"{label}=({shown}){parameters}", "signature": f"{label}=:{signed}:"}


BODY = json.dumps(a_credential()).encode()


async def post(agent: Agent, body: bytes, headers: dict[str, str], path: str = PATH) -> httpx.Response:
    return await agent.client.post(path, content=body, headers={"authorization": f"Bearer {agent.bearer}", **headers})


@requirement("6.2.4")
@pytest.mark.anyio
async def test_a_signed_request_of_ucp_is_taken_and_with_any_covered_part_changed_refused(
    world: World, agent: Agent
) -> None:
    signed = ucp_headers(BODY, ucp_agent='profile="https://a.example"', covered=(*COVERED, "ucp-agent"))
    for path in leaves(a_credential()):
        changed = json.dumps(another(a_credential(), path)).encode()
        answer = await post(agent, changed, signed)
        assert (answer.status_code, answer.json()["code"]) == (400, "digest_mismatch"), path
        digest = f"sha-256=:{base64.b64encode(hashlib.sha256(changed).digest()).decode()}:"
        answer = await post(agent, changed, {**signed, "content-digest": digest})
        assert (answer.status_code, answer.json()["code"]) == (401, "signature_invalid"), path
    for name, value in {
        "content-type": "application/json; charset=utf-8",
        "idempotency-key": "l",
        "ucp-agent": 'profile="https://b.example"',
    }.items():
        answer = await post(agent, BODY, {**signed, name: value})
        assert (answer.status_code, answer.json()["code"]) == (401, "signature_invalid"), name
    assert (await post(agent, BODY, signed, f"{PATH}?a=1")).status_code == 401, "a query that is not covered"
    assert await grants(world) == 0
    assert (await post(agent, BODY, signed)).status_code == 200


@pytest.mark.anyio
async def test_ucp_replayed_gives_the_first_token_and_later_nothing(world: World, agent: Agent) -> None:
    signed = ucp_headers(BODY)
    first = await post(agent, BODY, signed)
    world.clock.advance(TOLERANCE_SECONDS)
    again = await post(agent, BODY, signed)
    assert (again.status_code, again.json()) == (200, first.json())
    world.clock.advance(1)
    assert (await post(agent, BODY, signed)).json()["code"] == "signature_invalid"
    assert await grants(world) == 1


@pytest.mark.anyio
async def test_an_unsigned_request_of_a_platform_that_signs_is_refused(world: World, agent: Agent) -> None:
    answer = await agent.tokenize(a_credential(), key="k")
    assert (answer.status_code, answer.json()["code"]) == (401, "signature_missing")
    assert await grants(world) == 0


def message(headers: dict[str, str], **other: Any) -> SignedMessage:
    parts: dict[str, Any] = {"method": "POST", "authority": AUTHORITY, "path": PATH, "query": "", "body": BODY}
    return SignedMessage(headers=Headers(headers), **{**parts, **other})


def verdict(headers: dict[str, str], now_ms: int = START_MS, **other: Any) -> str:
    try:
        require_signed(message(headers, **other), PEM, now_ms)
    except MessageSignatureRefused as refused:
        return refused.code
    return "signed"


def test_the_form_of_the_rfc_is_taken_with_other_parameters_and_labels() -> None:
    assert verdict(ucp_headers(BODY)) == "signed"
    assert verdict(ucp_headers(BODY, label="ucp")) == "signed"
    expires = f';created={NOW_SECONDS};expires={NOW_SECONDS + 60};nonce="n";tag="t"'
    assert verdict(ucp_headers(BODY, parameters=expires)) == "signed"
    assert verdict(ucp_headers(BODY, covered=(*COVERED, "@query")), query="a=1") == "signed"


@pytest.mark.parametrize("left_out", COVERED)
def test_a_signature_that_does_not_cover_all_it_must_is_refused(left_out: str) -> None:
    covered = tuple(name for name in COVERED if name != left_out)
    assert verdict(ucp_headers(BODY, covered=covered)) == "signature_invalid"


@pytest.mark.parametrize("header", ["ucp-agent", "signature-agent"])
def test_who_names_himself_signs_his_name(header: str) -> None:
    named = {header.replace("-", "_"): 'profile="https://a.example"'}
    assert verdict(ucp_headers(BODY, **named)) == "signature_invalid"  # type: ignore[arg-type]
    assert verdict(ucp_headers(BODY, covered=(*COVERED, header), **named)) == "signed"  # type: ignore[arg-type]


Forge = Callable[[], tuple[dict[str, str], dict[str, Any]]]
FORGERIES: dict[str, Forge] = {
    "another method": lambda: (ucp_headers(BODY), {"method": "PUT"}),
    "another path": lambda: (ucp_headers(BODY), {"path": "/agentic_commerce/delegate_payment"}),
    "signed for another host": lambda: (ucp_headers(BODY, authority="cards.example"), {}),
    "query added": lambda: (ucp_headers(BODY), {"query": "a=1"}),
    "another query": lambda: (ucp_headers(BODY, covered=(*COVERED, "@query")), {"query": "a=2"}),
    "another's key": lambda: (ucp_headers(BODY, key=Ed25519PrivateKey.generate()), {}),
    "no created": lambda: (ucp_headers(BODY, parameters=';keyid="a"'), {}),
    "too old": lambda: (ucp_headers(BODY, parameters=f";created={NOW_SECONDS - TOLERANCE_SECONDS - 1}"), {}),
    "too new": lambda: (ucp_headers(BODY, parameters=f";created={NOW_SECONDS + TOLERANCE_SECONDS + 1}"), {}),
    "expired": lambda: (ucp_headers(BODY, parameters=f";created={NOW_SECONDS};expires={NOW_SECONDS}"), {}),
    "created as text": lambda: (ucp_headers(BODY, parameters=f';created="{NOW_SECONDS}"'), {}),
    "covered twice": lambda: (ucp_headers(BODY, covered=(*COVERED, "content-type")), {}),
    "covers a header that is not there": lambda: (ucp_headers(BODY, covered=(*COVERED, "x-none")), {}),
    "a component that is derived otherwise": lambda: (ucp_headers(BODY, covered=(*COVERED, "@status")), {}),
    "labels differ": lambda: ({**ucp_headers(BODY), "signature": ucp_headers(BODY, label="b")["signature"]}, {}),
    "signature cut": lambda: ({**ucp_headers(BODY), "signature": ucp_headers(BODY)["signature"][:-9] + ":"}, {}),
    "input that is none": lambda: ({**ucp_headers(BODY), "signature-input": "sig1=()"}, {}),
    "two signatures": lambda: (_doubled(ucp_headers(BODY)), {}),
    "later parameters changed": lambda: (_later(ucp_headers(BODY)), {}),
}


def _doubled(headers: dict[str, str]) -> dict[str, str]:
    return {**headers, "signature-input": f"{headers['signature-input']}, {headers['signature-input']}"}


def _later(headers: dict[str, str]) -> dict[str, str]:
    moved = headers["signature-input"].replace(f"created={NOW_SECONDS}", f"created={NOW_SECONDS + 1}")
    return {**headers, "signature-input": moved}


@requirement("6.2.4")
@pytest.mark.parametrize("forgery", FORGERIES)
def test_what_was_not_signed_like_this_is_refused(forgery: str) -> None:
    headers, other = FORGERIES[forgery]()
    assert verdict(headers, **other) == "signature_invalid"


def test_another_body_than_was_digested_is_told_as_that() -> None:
    assert verdict(ucp_headers(BODY), body=BODY + b" ") == "digest_mismatch"


def test_without_either_header_there_is_no_signature() -> None:
    for name in ("signature", "signature-input"):
        assert verdict({n: v for n, v in ucp_headers(BODY).items() if n != name}) == "signature_missing"


@pytest.mark.parametrize(
    ("name", "planted", "found_by"),
    [
        ("verifies", lambda *_: True, "another's key"),
        ("_required", lambda _: [], "query added"),
        ("_is_fresh", lambda *_: True, "too old"),
    ],
)
def test_a_planted_check_that_is_left_out_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, planted: Any, found_by: str
) -> None:
    monkeypatch.setattr(message_signature, name, planted)
    headers, other = FORGERIES[found_by]()
    assert verdict(headers, **other) == "signed"
