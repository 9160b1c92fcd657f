"""Every route of the internal API × every identity × every merchant: who is not in the policy gets no further."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from audit.store import audit_event
from tests.requirement import requirement
from tests.vault_zone.callers import ask, everybody, peer, policy_of, zone_of
from tests.vault_zone.forward.world import forward_request
from tests.vault_zone.world import ACTOR, MERCHANT, World, capture_request, charge_request, zone_world
from vault_zone.access import EVERY_MERCHANT, AccessPolicy, AccessRefused, Caller, Permission, require
from vault_zone.admission import Admission, Admitted
from vault_zone.app import internal_http
from vault_zone.callers import verbs_of
from vault_zone.capture import open_session
from vault_zone.identity import Identity, Peer, peer_of, serial_letters
from vault_zone.roles import ROLES, Kind, Verb

pytestmark = pytest.mark.anyio
OTHER = "other-brand"
UNKNOWN = "never-seen"
# A body for each route whose merchant stands in it; "MERCHANT" in it is replaced. A route without one fails below.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v1/capture-sessions"): capture_request(merchant="MERCHANT".lower()).model_dump(mode="json"),
    ("POST", "/v1/charges"): charge_request("grt_x", merchant="merchant").model_dump(mode="json"),
    ("POST", "/v1/charges/returned"): {"merchant": "merchant", "payment": "pay_x", "query": ""},
    ("POST", "/v1/modifications"): {
        "request": "req_x",
        "merchant": "merchant",
        "payment": "pay_x",
        "kind": "refund",
    },
    ("POST", "/v1/forwards"): forward_request("grt_x").model_dump(mode="json"),
    ("POST", "/v1/operations"): {"act": "revoke_grants", "merchant": "merchant"},
    ("POST", "/v1/notices/replay"): {"since_ms": 0, "until_ms": 1, "merchant": "merchant"},
}
CALLERS: tuple[str | Peer | None, ...] = (
    None,
    "stranger",
    "operator:commerce",  # an operator's certificate where a service's is listed
    "custodian:commerce",
    "service:key-manager",
    *map(str, everybody().permissions),
)


def routes_of(world: World) -> Iterator[tuple[APIRoute, str]]:
    """Every route of the internal API with each of its methods."""
    for found in iter_route_contexts(internal_http(zone_of(world)).routes):
        route = found.original_route
        if not isinstance(route, APIRoute):
            raise TypeError(f"{route} is not a route that can say its verb")
        for method in sorted(route.methods or ()):
            yield route, method


def call_of(route: APIRoute, method: str, merchant: str) -> tuple[str, str, dict[str, Any] | None]:
    """Method, path and body of a call that concerns the merchant."""
    path = route.path
    for name in route.param_convertors:
        path = path.replace(f"{{{name}}}", merchant if name == "merchant" else f"{name}-x")
    body = BODIES.get((method, route.path))
    return method, path, {**body, "merchant": merchant} if body else None


def names_merchant(route: APIRoute, method: str) -> bool:
    """Whether a call says in path or body which merchant it concerns."""
    return "{merchant}" in route.path or (method, route.path) in BODIES


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A zone on either database."""
    async with zone_world(database_url) as made:
        yield made


async def asked(world: World, service: str | None, method: str, path: str, body: object = None) -> httpx.Response:
    """A call by an identity that is for every merchant."""
    return await ask(zone_of(world), service, method, path, body)


async def recorded(world: World) -> list[dict[str, Any]]:
    """The entries of refused access."""
    rows = await world.database.read(lambda c: c.execute(select(audit_event.c.entry)).scalars().all())
    entries = [json.loads(row) for row in rows]
    return [entry for entry in entries if entry["type"] == "access.refused"]


@requirement("7.2.5", "7.3.3", "7.3.1")
async def test_every_route_says_which_verb_it_is(world: World) -> None:
    assert {f"{method} {route.path}": len(verbs_of(route)) for route, method in routes_of(world)} == {
        f"{method} {route.path}": 1 for route, method in routes_of(world)
    }


async def test_every_route_that_takes_a_merchant_in_its_body_is_walked_with_one(world: World) -> None:
    for route, method in routes_of(world):
        taken = [field.field_info.annotation for field in route.dependant.body_params]
        if any("merchant" in getattr(model, "model_fields", {}) for model in taken):
            assert (method, route.path) in BODIES


def test_a_route_without_a_verb_would_be_seen() -> None:
    async def bare() -> None:
        """A handler that asks nobody who calls."""

    assert verbs_of(APIRoute("/v1/bare", bare)) == []


@requirement("7.2.5", "7.3.3", "10.2.1.4", "7.2.2", "7.3.2")
async def test_an_identity_may_do_what_its_role_says_and_nothing_else(world: World) -> None:
    zone, policy, refused = zone_of(world), everybody(), 0
    for route, method in routes_of(world):
        (verb,) = verbs_of(route)
        for caller in CALLERS:
            answer = await ask(zone, caller, *call_of(route, method, MERCHANT))
            permission = policy.permissions.get(Identity.parse(str(caller))) if caller else None
            has_verb = permission is not None and verb in ROLES[permission.role].verbs
            if not has_verb:
                refused += 1
                assert (answer.status_code, answer.json()["error"]["code"]) == (403, "caller_unknown"), (route, caller)
            elif verb is not Verb.REQUEST_OPERATION:  # there the act asks for a verb of its own as well
                assert answer.status_code != 403, (route.path, caller)
    entries = await recorded(world)
    assert len(entries) >= refused > len(CALLERS)
    assert {entry["data"]["reason"] for entry in entries} == {"no_identity", "not_in_policy", "verb_not_in_role"}


@requirement("7.2.5", "7.3.3")
async def test_another_merchant_is_refused_as_one_that_does_not_exist(world: World) -> None:
    asked_for = capture_request(merchant=OTHER)
    await world.database.change(lambda tx: open_session(tx, asked_for, ACTOR))
    walked = 0
    for role, what in ROLES.items():
        zone = zone_of(world, policy=policy_of(me=f"{role}:{MERCHANT}"))
        me = f"{what.kind}:me"
        for route, method in routes_of(world):
            if not names_merchant(route, method) or not set(verbs_of(route)) <= what.verbs:
                continue
            walked += 1
            real, unreal = [await ask(zone, me, *call_of(route, method, whose)) for whose in (OTHER, UNKNOWN)]
            assert real.status_code == unreal.status_code == 403
            assert (real.content, real.headers) == (unreal.content, unreal.headers)
            if verbs_of(route) != [Verb.REQUEST_OPERATION]:
                assert (await ask(zone, me, *call_of(route, method, MERCHANT))).status_code != 403
    assert walked >= 4


@requirement("7.3.3")
async def test_an_object_of_another_merchant_is_one_that_does_not_exist(world: World) -> None:
    asked_for = capture_request(merchant=OTHER)
    session, _ = await world.database.change(lambda tx: open_session(tx, asked_for, ACTOR))
    zone = zone_of(world, policy=policy_of(mine=f"commerce:{MERCHANT}", theirs=f"commerce:{OTHER}"))
    there = f"/v1/merchants/{OTHER}/capture-sessions/{session.session}"
    assert (await ask(zone, "theirs", "GET", there)).status_code == 200
    real = await ask(zone, "mine", "GET", f"/v1/merchants/{MERCHANT}/capture-sessions/{session.session}")
    unreal = await ask(zone, "mine", "GET", f"/v1/merchants/{MERCHANT}/capture-sessions/cap_x")
    assert real.status_code == unreal.status_code == 404
    assert real.content == unreal.content
    assert (await ask(zone, "mine", "GET", there)).status_code == 403


@requirement("10.2.1.4")
async def test_a_refusal_is_on_record_with_who_what_and_why(world: World) -> None:
    zone = zone_of(world, policy=policy_of(shop=f"commerce:{MERCHANT}"))
    await ask(zone, "shop", "GET", f"/v1/merchants/{OTHER}/charges/pay_x")
    (entry,) = await recorded(world)
    assert (entry["actor"], entry["outcome"]) == ("service:shop", "failure")
    assert entry["data"] == {
        "method": "get",
        "reason": "merchant_not_listed",
        "role": "commerce",
        "route": "/v1/merchants/(merchant)/charges/(payment)",
    }


@requirement("8.6.1")
@pytest.mark.parametrize(
    "headers",
    [
        {"cordon.peer": "service:commerce"},
        {"x-cordon-peer": "service:commerce", "x-forwarded-for": "127.0.0.1", "forwarded": "for=127.0.0.1"},
        {
            "x-client-cert": "urn:cordon:service:commerce",
            "x-ssl-client-s-dn": "CN=commerce",
            "x-forwarded-client-cert": "URI=x",
        },
        {"authorization": "Bearer commerce", "cookie": "cordon.peer=service:commerce"},
    ],
)
async def test_no_header_makes_a_caller_of_anybody(world: World, headers: dict[str, str]) -> None:
    for caller in (None, "stranger"):
        assert (await ask(zone_of(world), caller, "GET", "/v1/health", headers=headers)).status_code == 403


@requirement("8.6.3")
async def test_a_certificate_that_ended_or_was_revoked_does_nothing_more_on_an_open_connection(world: World) -> None:
    zone = zone_of(world)
    assert (await ask(zone, peer("commerce"), "GET", "/v1/health")).status_code == 200
    ended = peer("commerce", expires_ms=world.clock())
    assert (await ask(zone, ended, "GET", "/v1/health")).status_code == 403
    zone.access.state = Admitted(everybody(), revoked=frozenset({"0A"}))
    assert (await ask(zone, peer("commerce"), "GET", "/v1/health")).status_code == 403
    assert (await ask(zone, peer("commerce", serial="0B"), "GET", "/v1/health")).status_code == 200
    assert [entry["data"]["reason"] for entry in await recorded(world)] == ["certificate_ended", "certificate_revoked"]


@requirement("7.3.1")
async def test_without_a_policy_nobody_may_do_anything() -> None:
    assert Admission().caller(peer("commerce"), 0).permission is None


MERCHANTS = ("a", "b", "c", EVERY_MERCHANT)
IDENTITIES = st.builds(Identity, st.sampled_from(Kind), st.sampled_from(["ana", "ben"]))
PERMISSIONS = st.builds(
    Permission, st.sampled_from([*ROLES, "no_role"]), st.frozensets(st.sampled_from(MERCHANTS), max_size=3)
)


@requirement("7.2.5", "7.3.3")
@given(
    st.dictionaries(IDENTITIES, PERMISSIONS, max_size=6),
    IDENTITIES,
    st.sampled_from(Verb),
    st.sampled_from([None, *MERCHANTS]),
)
@requirement("7.3.2")
def test_a_call_is_allowed_exactly_when_the_tables_say_so(
    permissions: dict[Identity, Permission], who: Identity, verb: Verb, merchant: str | None
) -> None:
    expected = False
    if who in permissions and permissions[who].role in ROLES:
        role, listed = ROLES[permissions[who].role], permissions[who].merchants
        expected = role.kind == who.kind and verb in role.verbs
        expected = expected and (merchant is None or merchant in listed or "*" in listed)
    caller = AccessPolicy(permissions).caller(who)
    try:
        assert require(caller, verb, merchant) == str(who)
        allowed = True
    except AccessRefused:
        allowed = False
    assert allowed == expected


@requirement("7.2.1")
def test_nobody_has_every_verb_and_nobody_who_manages_keys_gives_access() -> None:
    assert not [role for role, what in ROLES.items() if what.verbs == frozenset(Verb)]
    managing = ROLES["key_manager"].verbs & {Verb.UNSEAL, Verb.CHARGE, Verb.HAND_OVER_CARD}
    assert managing == frozenset()
    changing = ROLES["auditor"].verbs - {verb for verb in Verb if verb.startswith(("list_", "read_"))}
    assert changing == frozenset()


def test_a_caller_by_default_is_nobody() -> None:
    with pytest.raises(AccessRefused):
        require(Caller(), Verb.READ_HEALTH)


@requirement("3.4.1", "7.2.6")
async def test_no_answer_of_the_api_has_a_field_for_a_card_number(world: World) -> None:
    schema = (await asked(world, "commerce", "GET", "/openapi.json")).text.lower()
    assert not [word for word in ('"number"', '"pan"', '"cvc"', '"cvv"', '"card_number"') if word in schema]


async def test_card_like_text_is_refused_at_the_zones_inner_door_too(world: World) -> None:
    body = {**capture_request().model_dump(mode="json"), "merchant_name": "4242 4242 4242 4242"}
    answer = await asked(world, "commerce", "POST", "/v1/capture-sessions", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "card_text_refused")
    assert "4242" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"merchant": ["378282246310005"]},
        {"378282246310005": 1},
        {"amount_minor": "one"},
        {},
        [],
    ],
)
async def test_a_malformed_request_is_answered_without_its_values(world: World, body: object) -> None:
    answer = await asked(world, "commerce", "POST", "/v1/charges", body)
    assert answer.status_code == 422
    assert "378282246310005" not in answer.text
    assert set(answer.json()) <= {"error", "broken"}


async def test_a_return_address_that_is_not_safe_is_refused(world: World) -> None:
    for address in ("http://shop.example/back", "https://user@shop.example/"):
        body = {**capture_request().model_dump(mode="json"), "return_url": address}
        assert (await asked(world, "commerce", "POST", "/v1/capture-sessions", body)).status_code == 422


NAMED = {"serialNumber": "0A", "notAfter": "Nov 26 10:00:00 2026 GMT"}


@requirement("8.6.1")
@pytest.mark.parametrize(
    "names",
    [
        (("URI", "urn:cordon:service:commerce"), ("URI", "urn:cordon:service:monitor")),
        (("URI", "urn:cordon:service:commerce"), ("URI", "https://shop.example")),
        (("URI", "urn:cordon:service:commerce"), ("URI", "urn:cordon:service:commerce")),
        (("DNS", "commerce"),),
        (("DNS", "urn:cordon:service:commerce"),),
        (("email", "urn:cordon:service:commerce"),),
        (("URI", "urn:cordon:robot:commerce"),),
        (("URI", "urn:cordon:service:"),),
        (("URI", "urn:cordon::commerce"),),
        (("URI", "urn:cordon:service:Commerce"),),
        (("URI", "URN:CORDON:SERVICE:commerce"),),
        (("URI", "urn:cordon:service:commerce "),),
        (("URI", "urn:cordon:service:commerce\n"),),
        (("URI", "urn:cordon:service:commerce:ana"),),
        (("URI", "urn:cordon:operator:service:commerce"),),
        (("URI", "urn:cordon:service:c4242424242424242"),),
        (("URI", "urn:cordon:service:" + "a" * 33),),
        (),
    ],
)
def test_a_certificate_that_does_not_say_exactly_one_identity_says_none(names: tuple[tuple[str, str], ...]) -> None:
    assert peer_of({**NAMED, "subjectAltName": names, "subject": ((("commonName", "commerce"),),)}) is None


def test_the_identity_is_the_one_uri_of_a_certificate() -> None:
    found = peer_of({**NAMED, "subjectAltName": (("URI", "urn:cordon:operator:ana"), ("DNS", "localhost"))})
    assert found == Peer(Identity(Kind.OPERATOR, "ana"), "0A", 1_795_687_200_000)
    assert peer_of({}) is None
    assert peer_of(None) is None


@given(st.integers(min_value=1, max_value=2**159))
def test_a_serial_in_the_record_has_no_digit(serial: int) -> None:
    assert not any(letter.isdigit() for letter in serial_letters(f"{serial:X}"))


def test_key_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "vault_zone", "init", "--data", str(tmp_path / "zone")], check=True, capture_output=True
    )
    secret = list((tmp_path / "zone").rglob("*.key"))
    assert len(secret) >= 6
    assert [path for path in secret if path.stat().st_mode & 0o077] == []
