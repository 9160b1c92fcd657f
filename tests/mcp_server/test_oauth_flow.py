"""The embedded authorization server as clients and thieves meet it: what leads to a token, and what must not."""

import asyncio
import json
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl
from sqlalchemy import update

from audit.transaction import Transaction
from commerce_api.authorization import access_tokens, client_documents, document_fetches, grants, protocol
from commerce_api.authorization.client_documents import ClientDocuments
from commerce_api.authorization.desk import AuthorizationDesk
from commerce_api.authorization.scopes import DEFAULT, MEANINGS, joined, known
from commerce_api.models import (
    client_document_fetch,
    oauth_client,
    oauth_code,
    oauth_grant,
    oauth_refresh,
    shopper_account,
    sign_in_code,
)
from commerce_api.models import metadata as tables
from tests.commerce_api.authorization.test_client_documents import hosting
from tests.commerce_api.purchases import lines
from tests.commerce_api.world import commerce_world
from tests.mcp_server.oauth_site import (
    CALLBACK,
    SHOPPER,
    OAuthSite,
    Program,
    browser,
    code_for,
    oauth_site,
    parameters,
    pkce,
    program,
    query_of,
    refusal,
    register,
    tokens_for,
)
from tests.mcp_server.serving import LEGACY, MODERN, call_body, code_of, post, structured
from tokenization.ids import new_secret

pytestmark = pytest.mark.anyio


async def get(address: str) -> httpx.Response:
    """A GET that follows nothing."""
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as http:
        return await http.get(address)


async def called(flow: OAuthSite, token: str, tool: str = "search_catalog") -> int:
    """The status that a tool call with a token is answered with."""
    arguments: dict[str, Any] = {"lines": lines()} if tool == "create_checkout" else {}
    return (await post(flow.resource, call_body(tool, arguments), authorization=f"Bearer {token}")).status_code


def error_of(answer: httpx.Response) -> str:
    """The protocol's code in an answer that is to be one of its refusals."""
    assert answer.status_code == 400
    code: str = answer.json()["error"]
    return code


async def test_the_metadata_says_what_the_server_does_and_names_it_letter_for_letter(flow: OAuthSite) -> None:
    answer = await get(f"{flow.commerce_url}/.well-known/oauth-authorization-server/{flow.world.brand}/oauth")
    told = answer.json()
    assert told["issuer"] == flow.issuer
    assert told["code_challenge_methods_supported"] == ["S256"]
    assert told["token_endpoint_auth_methods_supported"] == ["none"]
    assert told["authorization_response_iss_parameter_supported"] is True
    assert told["client_id_metadata_document_supported"] is True
    assert told["response_types_supported"] == ["code"]
    assert {url for name, url in told.items() if name.endswith(("_endpoint", "_uri"))} == {
        f"{flow.issuer}/{name}" for name in ("authorize", "token", "register", "revoke", "jwks")
    }
    assert (await get(f"{flow.commerce_url}/.well-known/oauth-authorization-server/nobody/oauth")).status_code == 404


async def test_the_key_set_verifies_a_token_and_holds_no_private_half(flow: OAuthSite) -> None:
    published = (await get(f"{flow.issuer}/jwks")).json()
    assert all("d" not in key for key in published["keys"])
    token = (await tokens_for(flow, await program(flow)))["access_token"]
    from joserfc.jwk import KeySet

    claims = jwt.decode(token, KeySet.import_key_set(published), algorithms=["ES256"]).claims
    assert (claims["iss"], claims["aud"]) == (flow.issuer, flow.resource)
    assert claims["exp"] - claims["iat"] == access_tokens.LIFETIME_SECONDS <= 900
    assert SHOPPER not in json.dumps(claims)


async def test_a_shopper_signs_in_and_the_client_gets_what_was_allowed_and_no_more(flow: OAuthSite) -> None:
    client = await program(flow)
    told = await tokens_for(flow, client, scope="catalog:read offline_access admin")
    assert told["scope"] == "catalog:read"
    assert told["token_type"] == "Bearer"
    assert await called(flow, told["access_token"]) == 200
    assert await called(flow, told["access_token"], "create_checkout") == 403


async def test_the_way_to_a_token_and_its_end_on_either_database(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world, oauth_site(world) as flow:
        client = await program(flow)
        first = await tokens_for(flow, client)
        second = (await client.refresh(first["refresh_token"])).json()
        assert await called(flow, second["access_token"], "create_checkout") == 200
        world.clock.advance(grants.GRACE_SECONDS)
        assert error_of(await client.refresh(first["refresh_token"])) == "invalid_grant"
        assert await called(flow, second["access_token"]) == 401
        world.clock.advance(grants.GRANT_SECONDS * 10)
        await world.commerce.database.maintain(grants.forget_old)
        assert await world.rows(oauth_grant) == await world.rows(shopper_account) == []


async def test_a_code_is_taken_once_and_a_refresh_token_has_its_successors_however_many_ask_at_once(
    tmp_path: Path, database_url: str
) -> None:
    async with commerce_world(tmp_path, database_url) as world, oauth_site(world) as flow:
        client = await program(flow)
        code = await code_for(flow, client)
        taken = await asyncio.gather(*(client.exchange(code) for _ in range(4)))
        assert sorted(answer.status_code for answer in taken) == [200, 400, 400, 400]
        token = (await tokens_for(flow, client))["refresh_token"]
        renewed = await asyncio.gather(*(client.refresh(token) for _ in range(grants.SUCCESSORS + 1)))
        assert sorted(answer.status_code for answer in renewed) == [200] * grants.SUCCESSORS + [429]
        world.clock.advance(grants.PACE_SECONDS)
        successors = [answer.json()["refresh_token"] for answer in renewed if answer.status_code == 200]
        assert (await client.refresh(successors[0])).status_code == 200
        _, grant = await world.rows(oauth_grant)  # the first one ended with its code's second coming
        left = [row for row in await world.rows(oauth_refresh) if row.grant_id == grant.id and row.used_ms is None]
        assert len(left) == 1


async def test_answers_say_who_answers_and_give_the_state_back(flow: OAuthSite) -> None:
    client = await program(flow)
    async with browser(flow) as shopper:
        await shopper.open(client.address())
        await shopper.sign_in()
        allowed = await shopper.decide()
        await shopper.open(client.address())
        denied = await shopper.decide("deny") if "decision" in shopper.page.text else {}  # type: ignore[union-attr]
        if not denied:
            await shopper.sign_in()
            denied = await shopper.decide("deny")
        refused = refusal(await shopper.http.get(client.address(response_type="token")))
    assert allowed.keys() == {"code", "state", "iss"}
    assert (denied["error"], refused["error"]) == ("access_denied", "unsupported_response_type")
    for told in (allowed, denied, refused):
        assert told["iss"] == flow.issuer
        assert told["state"] == "a state of the client's"


async def test_mix_up_a_code_of_one_brands_server_is_worth_nothing_at_anothers(flow: OAuthSite) -> None:
    other = await flow.world.add_brand("Salt Shed")
    client = await program(flow)
    code = await code_for(flow, client)
    elsewhere = f"{flow.commerce_url}/{other}/oauth/token"
    said = {
        "grant_type": "authorization_code",
        "client_id": client.id,
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": client.verifier,
    }
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        assert (await http.post(elsewhere, data=said)).status_code == 400
    token = (await client.exchange(code)).json()["access_token"]
    crossed = await post(flow.mcp.endpoint(other), call_body("search_catalog"), authorization=f"Bearer {token}")
    assert crossed.status_code == 401
    assert await called(flow, token) == 200


@pytest.mark.parametrize(
    "change",
    [
        {"code_challenge": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"code_challenge": "short"},
        {"code_challenge": None, "code_challenge_method": None},
    ],
    ids=str,
)
async def test_pkce_cannot_be_left_out_or_weakened(flow: OAuthSite, change: dict[str, str | None]) -> None:
    client = await program(flow)
    assert refusal(await get(client.address(**change)))["error"] == "invalid_request"


@pytest.mark.parametrize("verifier", [None, "", "x" * 43, "short"], ids=str)
async def test_a_code_without_its_verifier_is_worth_nothing(flow: OAuthSite, verifier: str | None) -> None:
    client = await program(flow)
    code = await code_for(flow, client)
    assert error_of(await client.exchange(code, code_verifier=verifier)) in ("invalid_request", "invalid_grant")
    assert (await client.exchange(code)).status_code == 200


async def test_planted_fault_without_our_rule_a_request_without_pkce_is_taken(
    flow: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await program(flow)
    weak = client.address(code_challenge_method="plain")
    assert refusal(await get(weak))["error"] == "invalid_request"
    monkeypatch.setattr(protocol._OnlyS256, "validate_code_challenge", lambda *_: None)
    assert (await get(weak)).headers["location"].startswith("/")


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/callback",
        f"{CALLBACK}/../x",
        f"{CALLBACK}?x=1",
        f"{CALLBACK}#x",
        "http://127.0.0.1.evil.example:33418/callback",
        "http://user@127.0.0.1:33418/callback",
        "https://127.0.0.1:33418/callback",
        "http://localhost:33418/callback",
        "javascript:alert(1)",
        "",
        None,
    ],
    ids=str,
)
async def test_an_address_that_is_not_the_clients_is_never_gone_to(flow: OAuthSite, uri: str | None) -> None:
    client = await program(flow)
    answer = await get(client.address(redirect_uri=uri))
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "evil.example" not in answer.text


async def test_a_stranger_sends_nobody_on_from_the_shops_address_before_they_did_something(flow: OAuthSite) -> None:
    """Anybody may register an address and send out links that provoke a refusal (RFC 9700, 4.11.2)."""
    client = await program(flow, redirect_uris=["https://evil.example/landing"])
    changes: list[dict[str, str | None]] = [
        {"resource": "https://bank.example/mcp"},
        {"response_type": "token"},
        {"code_challenge": None},
    ]
    for change in changes:
        answer = await get(client.address(**change, state='"><script>alert(1)</script>'))
        assert refusal(answer)["state"] == '"><script>alert(1)</script>'
        assert "<script" not in answer.text
        assert "Go back to <bdi>evil.example</bdi>" in answer.text
    async with browser(flow) as shopper:  # who saw whom they deal with, and decided, is sent on
        await shopper.open(client.address())
        await shopper.sign_in()
        assert (await shopper.decide("deny"))["error"] == "access_denied"


async def test_a_program_on_the_shoppers_machine_may_take_another_port(flow: OAuthSite) -> None:
    client = await program(flow)
    other_port = CALLBACK.replace("33418", "51712")
    client.redirect_uri = other_port
    assert (await client.exchange(await code_for(flow, client))).status_code == 200


@pytest.mark.parametrize(
    "change", [{"redirect_uri": "http://127.0.0.1:51712/callback"}, {"redirect_uri": None}], ids=str
)
async def test_a_code_goes_with_the_address_that_it_was_sent_to(flow: OAuthSite, change: dict[str, str | None]) -> None:
    client = await program(flow)
    code = await code_for(flow, client)
    assert error_of(await client.exchange(code, **change)) == "invalid_grant"


async def test_a_code_of_another_client_is_worth_nothing(flow: OAuthSite) -> None:
    one, other = await program(flow), await program(flow, client_name="Beech")
    code = await code_for(flow, one)
    thief = Program(flow, other.id, one.verifier, one.challenge)
    assert error_of(await thief.exchange(code)) == "invalid_grant"
    assert error_of(await one.exchange(code, client_id="acl_" + "b" * 32)) == "invalid_client"
    assert (await one.exchange(code)).status_code == 200


async def test_a_code_that_comes_twice_ends_everything_that_it_began(flow: OAuthSite) -> None:
    client = await program(flow)
    code = await code_for(flow, client)
    told = (await client.exchange(code)).json()
    assert await called(flow, told["access_token"]) == 200
    assert error_of(await client.exchange(code)) == "invalid_grant"
    assert await called(flow, told["access_token"]) == 401
    assert error_of(await client.refresh(told["refresh_token"])) == "invalid_grant"
    [event] = await flow.world.events("authorization.revoked")
    assert b'"reason":"reused"' in event.entry


async def test_a_code_lasts_a_minute(flow: OAuthSite) -> None:
    client = await program(flow)
    code = await code_for(flow, client)
    flow.world.clock.advance(grants.CODE_SECONDS)
    assert error_of(await client.exchange(code)) == "invalid_grant"


async def test_a_refresh_token_is_replaced_and_coming_twice_ends_the_grant(flow: OAuthSite) -> None:
    client = await program(flow)
    first = await tokens_for(flow, client)
    second = (await client.refresh(first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    flow.world.clock.advance(grants.PACE_SECONDS)
    third = (await client.refresh(second["refresh_token"])).json()
    assert await called(flow, third["access_token"]) == 200
    assert error_of(await client.refresh(first["refresh_token"])) == "invalid_grant"  # the thief, or the robbed
    assert await called(flow, third["access_token"]) == 401
    assert error_of(await client.refresh(third["refresh_token"])) == "invalid_grant"


async def test_planted_fault_without_reuse_detection_the_thief_and_the_robbed_both_go_on(
    flow: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants, "revoke", lambda *_: None)
    client = await program(flow)
    first = await tokens_for(flow, client)
    second = (await client.refresh(first["refresh_token"])).json()
    flow.world.clock.advance(grants.PACE_SECONDS)
    await client.refresh(first["refresh_token"])
    assert (await client.refresh(second["refresh_token"])).status_code == 200


async def test_a_renewal_whose_answer_was_lost_is_asked_for_again_within_seconds(flow: OAuthSite) -> None:
    client = await program(flow)
    first = await tokens_for(flow, client, scope="catalog:read checkout:write")
    [before] = await flow.world.rows(oauth_grant)
    lost = (await client.refresh(first["refresh_token"])).json()
    flow.world.clock.advance(grants.GRACE_SECONDS - 1)
    assert error_of(await client.refresh(first["refresh_token"], scope="orders:read")) == "invalid_scope"
    again = (await client.refresh(first["refresh_token"])).json()
    assert again["refresh_token"] not in (lost["refresh_token"], first["refresh_token"])
    assert again["scope"] == first["scope"]
    assert await called(flow, again["access_token"], "create_checkout") == 200
    assert await flow.world.rows(oauth_grant) == [before]
    flow.world.clock.advance(grants.PACE_SECONDS)
    assert (await client.refresh(again["refresh_token"])).status_code == 200
    assert error_of(await client.refresh(lost["refresh_token"])) == "invalid_grant"  # not lost after all, then: stolen


@pytest.mark.parametrize("after_seconds", [0, grants.GRACE_SECONDS - 1, grants.GRACE_SECONDS])
async def test_a_thief_who_comes_within_the_grace_is_found_out_by_the_next_renewal_but_one(
    flow: OAuthSite, after_seconds: int
) -> None:
    client = await program(flow)
    first = await tokens_for(flow, client)
    own = (await client.refresh(first["refresh_token"])).json()
    stolen = (await client.refresh(first["refresh_token"])).json()
    flow.world.clock.advance(grants.PACE_SECONDS)
    own = (await client.refresh(own["refresh_token"])).json()
    flow.world.clock.advance(after_seconds)
    assert error_of(await client.refresh(stolen["refresh_token"])) == "invalid_grant"
    assert await called(flow, own["access_token"]) == 401  # which of the two is the thief nobody knows
    assert b'"reason":"reused"' in (await flow.world.events("authorization.revoked"))[-1].entry


async def test_planted_fault_with_successors_that_live_on_side_by_side_the_thief_is_not_found_out(
    flow: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spend_alone(tx: Transaction, granted: grants.Granted) -> None:
        row = oauth_refresh.c.digest == granted.row.digest
        tx.execute(update(oauth_refresh).where(row).values(used_ms=tx.now_ms))

    client = await program(flow)
    first = await tokens_for(flow, client)
    monkeypatch.setattr(grants, "spend", spend_alone)
    own = (await client.refresh(first["refresh_token"])).json()
    stolen = (await client.refresh(first["refresh_token"])).json()
    flow.world.clock.advance(grants.PACE_SECONDS)
    await client.refresh(own["refresh_token"])
    flow.world.clock.advance(grants.GRACE_SECONDS)
    assert (await client.refresh(stolen["refresh_token"])).status_code == 200


async def test_the_grace_is_the_same_clients_alone_and_over_in_seconds_and_with_the_successors(flow: OAuthSite) -> None:
    client, other = await program(flow), await program(flow, client_name="Beech")
    token = (await tokens_for(flow, client))["refresh_token"]
    answers = [(await client.refresh(token)).status_code for _ in range(grants.SUCCESSORS + 1)]
    assert answers == [200] * grants.SUCCESSORS + [429]
    assert error_of(await other.refresh(token)) == "invalid_grant"
    assert b'"reason":"reused"' in (await flow.world.events("authorization.revoked"))[-1].entry
    token = (await tokens_for(flow, client))["refresh_token"]
    await client.refresh(token)
    flow.world.clock.advance(grants.GRACE_SECONDS)
    assert error_of(await client.refresh(token)) == "invalid_grant"
    assert len(await flow.world.events("authorization.revoked")) == 2


async def test_a_grant_is_renewed_once_in_ten_seconds_and_trying_earlier_uses_nothing_up(flow: OAuthSite) -> None:
    client = await program(flow)
    token = (await tokens_for(flow, client))["refresh_token"]
    flow.world.clock.advance(1)
    token = (await client.refresh(token)).json()["refresh_token"]  # the first one may follow the code at once
    before = await flow.world.events()
    for _ in range(grants.PACE_SECONDS):
        answer = await client.refresh(token)
        assert (answer.status_code, answer.json()["error"]) == (429, "temporarily_unavailable")
        flow.world.clock.advance(1)
    assert await flow.world.events() == before
    assert (await client.refresh(token)).status_code == 200
    assert len(await flow.world.rows(oauth_refresh)) == 3


async def test_refresh_tokens_are_deleted_a_day_after_their_time(flow: OAuthSite) -> None:
    client = await program(flow)
    token = (await tokens_for(flow, client))["refresh_token"]
    kept = []
    for days in (1, 29, 1, 1):  # the first one lasts 30 days
        flow.world.clock.advance(days * 86_400)
        token = (await client.refresh(token)).json()["refresh_token"]
        await flow.world.commerce.database.maintain(grants.forget_old)
        kept.append(len(await flow.world.rows(oauth_refresh)))
    assert kept == [2, 3, 4, 4]  # on the day after the 31st the first one goes


async def test_a_refresh_token_is_its_clients_and_never_gives_more(flow: OAuthSite) -> None:
    client, other = await program(flow), await program(flow, client_name="Beech")
    told = await tokens_for(flow, client)
    assert error_of(await other.refresh(told["refresh_token"])) == "invalid_grant"
    assert error_of(await client.refresh(told["refresh_token"], scope="orders:read")) == "invalid_scope"
    narrower = (await client.refresh(told["refresh_token"], scope="catalog:read")).json()
    assert narrower["scope"] == "catalog:read"
    assert await called(flow, narrower["access_token"], "create_checkout") == 403


async def scopes_renewed(flow: OAuthSite, client: Program, granted: str, said: bytes | None) -> tuple[int, set[str]]:
    """What a fresh grant's renewal is answered with: the status, and all scopes that its answer and its token name."""
    fields = {"grant_type": "refresh_token", "client_id": client.id, "refresh_token": new_secret("art")}

    def work(tx: Transaction) -> None:
        code = new_secret("acd")
        grants.grant(
            tx,
            code,
            brand=flow.world.brand,
            client=client.id,
            shopper="shp_" + "b" * 32,
            scope=granted,
            resource=flow.resource,
            redirect_uri=CALLBACK,
            challenge=client.challenge,
        )
        row = grants.take_code(tx, flow.world.brand, code)
        assert row is not None
        grants.spend(tx, row)
        grants.keep_refresh(tx, row.grant.id, fields["refresh_token"], row.grant.expires_ms)

    await flow.world.commerce.database.change(work)
    content = urlencode(fields).encode() + (b"" if said is None else b"&scope=" + said)
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as http:
        answer = await http.post(
            f"{flow.issuer}/token", content=content, headers={"content-type": "application/x-www-form-urlencoded"}
        )
    told = answer.json()
    if answer.status_code != 200:
        assert told["error"] == "invalid_scope"
        return answer.status_code, set()
    claims = json.loads(urlsafe_b64decode(told["access_token"].split(".")[1] + "=="))
    return 200, set(told["scope"].split()) | set(claims["scope"].split())


NAMES_NOTHING = [
    b"%20",
    b"%09",
    b"+",
    b"%2B",
    b"%20+%09",
    b"%C2%A0",
    b"%00",
    b"admin",
    b"catalog:read+admin",
    b"openid",
]


@pytest.mark.parametrize("said", NAMES_NOTHING)
async def test_a_renewal_that_names_nothing_that_was_granted_is_refused(flow: OAuthSite, said: bytes) -> None:
    assert await scopes_renewed(flow, await program(flow), "catalog:read", said) == (400, set())


@pytest.mark.parametrize("said", [None, b""])
async def test_a_renewal_that_leaves_the_scope_out_gets_what_was_granted(flow: OAuthSite, said: bytes | None) -> None:
    granted = "orders:read payment_methods:read"
    assert await scopes_renewed(flow, await program(flow), granted, said) == (200, set(granted.split()))


async def test_the_second_lock_holds_where_the_first_is_open(flow: OAuthSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted fault: Authlib's own look at a renewal's scope, which finds a blank text within anything."""
    monkeypatch.delattr(protocol._RefreshGrant, "_validate_token_scope")
    for said in NAMES_NOTHING:
        status, told = await scopes_renewed(flow, await program(flow), "catalog:read", said)
        assert told <= {"catalog:read"}, said
        assert status == 200 if told else status == 400


async def test_the_first_lock_holds_where_the_second_is_open(flow: OAuthSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted fault: a generator that gives the usual scopes where none is named, as Authlib's does."""
    monkeypatch.setattr(protocol, "within", lambda asked, _: joined(known(asked)) or DEFAULT)
    for said in NAMES_NOTHING:
        assert await scopes_renewed(flow, await program(flow), "catalog:read", said) == (400, set()), said


async def test_planted_fault_without_either_a_blank_scope_gives_what_nobody_allowed(
    flow: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(protocol._RefreshGrant, "_validate_token_scope")
    monkeypatch.setattr(protocol, "within", lambda asked, _: joined(known(asked)) or DEFAULT)
    status, told = await scopes_renewed(flow, await program(flow), "catalog:read", b"%20")
    assert (status, told) == (200, set(DEFAULT.split()))


async def test_a_renewal_never_gives_more_than_the_grant(flow: OAuthSite) -> None:
    client, loop = await program(flow), asyncio.get_running_loop()
    words = st.sampled_from([*MEANINGS, "admin", "", " ", "\t", "+", "\u00a0", "\x00", "catalog:read\x00"]) | st.text(
        max_size=5
    )

    @settings(max_examples=60, deadline=None)
    @given(st.sets(st.sampled_from(list(MEANINGS)), min_size=1), st.none() | st.lists(words, max_size=4))
    def never_more(granted: set[str], asked: list[str] | None) -> None:
        said = None if asked is None else quote(" ".join(asked).encode("utf-8", "replace")).encode()
        answered = asyncio.run_coroutine_threadsafe(scopes_renewed(flow, client, joined(granted), said), loop)
        _, told = answered.result(30)
        assert told <= granted
        assert told <= set(" ".join(asked).split()) or not "".join(asked) if asked is not None else told == granted

    await asyncio.to_thread(never_more)


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [(grants.IDLE_SECONDS, 1), (grants.IDLE_SECONDS - 1, grants.GRANT_SECONDS // grants.IDLE_SECONDS)],
)
async def test_a_grant_ends_unused_or_in_its_time_whatever_renews_it(flow: OAuthSite, seconds: int, steps: int) -> None:
    client = await program(flow)
    token = (await tokens_for(flow, client))["refresh_token"]
    for _ in range(steps):
        flow.world.clock.advance(seconds)
        answer = await client.refresh(token)
        if answer.status_code == 200:
            token = answer.json()["refresh_token"]
    flow.world.clock.advance(steps)  # the seconds that the last step fell short
    assert error_of(await client.refresh(token)) == "invalid_grant"


async def test_an_access_token_is_short_lived(flow: OAuthSite) -> None:
    token = (await tokens_for(flow, await program(flow)))["access_token"]
    flow.world.clock.advance(access_tokens.LIFETIME_SECONDS - 1)
    assert await called(flow, token) == 200
    flow.world.clock.advance(1)
    assert await called(flow, token) == 401


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_revoking_either_token_ends_both_at_once(flow: OAuthSite, kind: str) -> None:
    client, other = await program(flow), await program(flow, client_name="Beech")
    told = await tokens_for(flow, client)
    assert (await other.post("revoke", {"client_id": other.id, "token": told[kind]})).status_code == 400
    assert await called(flow, told["access_token"]) == 200
    answer = await client.post("revoke", {"client_id": client.id, "token": told[kind], "token_type_hint": kind})
    assert answer.status_code == 200
    assert await called(flow, told["access_token"]) == 401
    assert error_of(await client.refresh(told["refresh_token"])) == "invalid_grant"
    unknown = await client.post("revoke", {"client_id": client.id, "token": "nothing"})
    assert (unknown.status_code, unknown.json()) == (200, {})


@pytest.mark.parametrize("endpoint", ["token", "revoke"])
async def test_nothing_of_a_token_request_may_stand_in_the_address(flow: OAuthSite, endpoint: str) -> None:
    client = await program(flow)
    told = await tokens_for(flow, client)
    said = {"client_id": client.id, "grant_type": "refresh_token", "refresh_token": told["refresh_token"]}
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        in_address = await http.post(
            f"{flow.issuer}/{endpoint}", params={"refresh_token": told["refresh_token"]}, data=said
        )
        as_get = await http.get(f"{flow.issuer}/{endpoint}", params=said)
        as_json = await http.post(f"{flow.issuer}/{endpoint}", json=said)
    assert (in_address.status_code, as_get.status_code, as_json.status_code) == (400, 405, 400)
    assert (await client.refresh(told["refresh_token"])).status_code == 200  # it was not used up


async def test_parameters_that_come_twice_are_refused(flow: OAuthSite) -> None:
    client = await program(flow)
    assert (await get(f"{client.address()}&redirect_uri={CALLBACK}")).status_code == 400
    code = await code_for(flow, client)
    twice = f"grant_type=authorization_code&code={code}&code={code}&client_id={client.id}"
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        answer = await http.post(
            f"{flow.issuer}/token", content=twice, headers={"content-type": "application/x-www-form-urlencoded"}
        )
    assert error_of(answer) == "invalid_request"


async def test_a_token_is_for_this_brands_endpoint_alone(flow: OAuthSite) -> None:
    client = await program(flow)
    refused = refusal(await get(client.address(resource="https://bank.example/mcp")))
    assert (refused["error"], refused["iss"]) == ("invalid_target", flow.issuer)
    code = await code_for(flow, client)
    assert error_of(await client.exchange(code, resource="https://bank.example/mcp")) == "invalid_target"
    assert (await client.exchange(code, resource=flow.resource)).status_code == 200


async def test_a_request_belongs_to_the_browser_that_it_was_begun_in(flow: OAuthSite) -> None:
    client = await program(flow)
    async with browser(flow) as shopper, browser(flow) as thief:
        page = await shopper.open(client.address())
        address = str(page.url)
        stolen = await thief.open(address)
        assert stolen.status_code == 404
        for action in ("email", "code", "decision"):
            thief.page = shopper.page if action == "email" else thief.page
            answer = await thief.http.post(f"{address}/{action}", data={"email": SHOPPER, "decision": "allow"})
            assert answer.status_code in (404, 422), action
        assert flow.mailbox.letters == []
        await shopper.sign_in()
        assert "decision" not in (await thief.open(address)).text


async def test_a_form_of_another_site_is_refused(flow: OAuthSite) -> None:
    client = await program(flow)
    async with browser(flow) as shopper:
        await shopper.open(client.address())
        page = shopper.page
        answer = await shopper.send("email", origin="https://evil.example", email=SHOPPER)
        assert answer.status_code == 403
        shopper.page = page
        await shopper.sign_in()
        page = shopper.page
        assert (await shopper.send("decision", origin="null", decision="allow")).status_code == 403
        shopper.page = page
        assert (await shopper.decide())["code"]


@pytest.mark.parametrize("asked", [0, 1])
async def test_the_warning_goes_by_the_address_that_the_code_is_sent_to(flow: OAuthSite, asked: int) -> None:
    client = await program(flow, redirect_uris=["https://acorn.example/cb", CALLBACK])
    async with browser(flow) as shopper:
        await shopper.open(client.address(redirect_uri=["https://acorn.example/cb", CALLBACK][asked]))
        page = await shopper.sign_in()
    assert ("This is a program on your own computer" in page.text) == bool(asked)


async def test_nobody_allows_anything_without_having_signed_in(flow: OAuthSite) -> None:
    client = await program(flow)
    async with browser(flow) as shopper:
        page = await shopper.open(client.address())
        answer = await shopper.http.post(f"{page.url}/decision", data={"decision": "allow"})
        assert "location" not in answer.headers
    assert await flow.world.rows(oauth_grant) == []


async def test_the_decision_is_made_once(flow: OAuthSite) -> None:
    client = await program(flow)
    async with browser(flow) as shopper:
        page = await shopper.open(client.address())
        await shopper.sign_in()
        await shopper.decide()
        again = await shopper.http.post(f"{page.url}/decision", data={"decision": "allow"})
        assert again.status_code == 404
    assert len(await flow.world.rows(oauth_grant)) == 1


async def test_the_same_mailbox_is_the_same_shopper_and_another_is_another(flow: OAuthSite) -> None:
    client = await program(flow)
    subjects = []
    for mailbox in (SHOPPER, SHOPPER.upper(), "kit@shopper.example"):
        await tokens_for(flow, client, mailbox)
        subjects.append((await flow.world.rows(oauth_grant))[-1].shopper)
    stored = {row.id: row for row in await flow.world.rows(oauth_grant)}
    assert len({row.shopper for row in stored.values()}) == 2
    assert len(await flow.world.rows(shopper_account)) == 2


async def test_no_secret_and_no_mailbox_is_stored_or_recorded(flow: OAuthSite) -> None:
    client = await program(flow)
    code = await code_for(flow, client)
    typed = flow.mailbox.code.replace("-", "").lower()
    told = (await client.exchange(code)).json()
    secrets = [SHOPPER, code, typed, told["access_token"], told["refresh_token"], "shopper.example"]
    stored = [str(row) for table in tables.tables.values() for row in await flow.world.rows(table)]
    assert [row for row in stored for secret in secrets if secret in row] == []
    assert len(await flow.world.rows(oauth_code)) == len(await flow.world.rows(oauth_refresh)) == 1  # digests are there
    assert [row.tries for row in await flow.world.rows(sign_in_code)] == [1]


async def test_what_was_done_is_on_record(flow: OAuthSite) -> None:
    client = await program(flow)
    await client.refresh((await tokens_for(flow, client))["refresh_token"])
    kinds = [row.type for row in await flow.world.events()]
    assert kinds[-6:] == [
        *("client.registered", "sign_in.code_sent", "sign_in.succeeded", "authorization.granted"),
        *("authorization.used", "authorization.used"),
    ]


@pytest.mark.parametrize(
    "document",
    [
        {"redirect_uris": []},
        {"redirect_uris": ["http://shop.example/cb"]},
        {"redirect_uris": ["cursor://callback"]},
        {"redirect_uris": ["https://a.example/cb#f"]},
        {"redirect_uris": "https://a.example/cb"},
        {"redirect_uris": ["https://a.example/cb"] * 11},
        {"token_endpoint_auth_method": "client_secret_basic"},
        {"grant_types": ["client_credentials"]},
        {"response_types": ["token"]},
    ],
    ids=str,
)
async def test_what_is_no_public_client_is_not_registered(flow: OAuthSite, document: dict[str, Any]) -> None:
    answer = await register(flow, **document)
    assert error_of(answer) in ("invalid_redirect_uri", "invalid_client_metadata")


async def test_new_clients_are_limited_for_each_brand_and_network(
    flow: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commerce_api.authorization.clients.REGISTRATIONS_PER_HOUR", 2)
    names = [f"Acorn {number}" for number in range(3)]
    assert [(await register(flow, client_name=name)).status_code for name in names] == [201, 201, 429]
    assert (await register(flow, client_name=names[0])).status_code == 201  # one that is known already
    other = await flow.world.add_brand("Salt Shed")
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as http:
        elsewhere = await http.post(
            f"{flow.commerce_url}/{other}/oauth/register", content=json.dumps({"redirect_uris": [CALLBACK]})
        )
    assert elsewhere.status_code == 201  # what was done at one brand limits no other
    flow.world.clock.advance(3_600)
    assert (await register(flow, client_name=names[2])).status_code == 201


async def test_who_registers_the_same_twice_is_the_same_client(flow: OAuthSite) -> None:
    first = (await register(flow)).json()
    flow.world.clock.advance(2 * 86_400)
    assert [(await register(flow)).json() for _ in range(40)] == [first] * 40
    [row] = await flow.world.rows(oauth_client)
    assert row.used_ms - row.created_ms == 2 * 86_400_000  # it came again, and is kept for that
    assert len(await flow.world.events("client.registered")) == 1
    others: list[dict[str, Any]] = [
        {"client_name": "Beech"},
        {"redirect_uris": [f"{CALLBACK}2"]},
        {"redirect_uris": [CALLBACK, f"{CALLBACK}2"]},
    ]
    ids = {(await register(flow, **other)).json()["client_id"] for other in others}
    assert len(ids - {first["client_id"]}) == 3


async def test_who_registers_the_same_at_once_is_the_same_client_on_either_database(
    tmp_path: Path, database_url: str
) -> None:
    async with commerce_world(tmp_path, database_url) as world, oauth_site(world) as flow:
        answers = await asyncio.gather(*(register(flow) for _ in range(6)))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["client_id"] for answer in answers}) == len(await world.rows(oauth_client)) == 1


async def test_a_client_of_another_brand_is_none_here(flow: OAuthSite) -> None:
    client = await program(flow)
    other = await flow.world.add_brand("Salt Shed")
    address = client.address().replace(f"/{flow.world.brand}/oauth", f"/{other}/oauth")
    assert (await get(address)).status_code == 400


async def test_a_client_that_is_its_documents_address_needs_no_registration(flow: OAuthSite) -> None:
    async with hosting() as host:
        host.says({"client_id": host.id, "client_name": "Acorn", "redirect_uris": ["https://acorn.example/cb"]})
        verifier, challenge = pkce()
        client = Program(flow, host.id, verifier, challenge, "https://acorn.example/cb")
        assert (await get(client.address())).status_code == 400  # loopback is out of reach, as in production
        assert host.requests == []
        flow.desk._documents = ClientDocuments(flow.world.clock, loopback=True)
        async with browser(flow) as shopper:
            await shopper.open(client.address())
            page = await shopper.sign_in()
            assert "<bdi>127.0.0.1</bdi>" in page.text  # who vouches for it
            assert "acorn.example" in page.text  # where the shopper is sent back to
            code = (await shopper.decide())["code"]
        told = (await client.exchange(code)).json()
        assert await called(flow, told["access_token"]) == 200
        assert (await client.refresh(told["refresh_token"])).status_code == 200
        assert parameters(await get(client.address(response_type="token")))["error"] == "unsupported_response_type"
        other = client.address(redirect_uri="https://evil.example/cb")
        assert (await get(other)).status_code == 400


async def test_who_has_documents_fetched_too_often_is_told_to_try_again(
    flow: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_documents, "BURST", 1)
    flow.desk._documents = ClientDocuments(flow.world.clock, loopback=True)
    async with hosting() as host:
        verifier, challenge = pkce()
        client = Program(flow, host.id, verifier, challenge, "https://acorn.example/cb")
        assert (await get(client.address())).status_code == 303
        other = Program(flow, f"{host.id}x", verifier, challenge, "https://acorn.example/cb")
        assert (await get(other.address())).status_code == 429
        assert len(host.requests) == 1
        flow.world.clock.advance(client_documents.REFILL_SECONDS)
        assert (await get(other.address())).status_code == 400  # it was fetched, and is about another address


async def begun_at_two_processes(flow: OAuthSite, port: str) -> list[int]:
    """How requests are answered that name a document each, half of them at one process and half at another."""
    verifier, challenge = pkce()
    answers = []
    for process in range(2):
        flow.desk._documents = AuthorizationDesk(flow.world.commerce)._documents
        flow.desk._documents._loopback = True
        for number in range(document_fetches.MAXIMUM // 2 + 1):
            client = Program(flow, f"{port}{process}-{number}", verifier, challenge)
            answers.append((await get(client.address())).status_code)
    return answers


async def test_the_fetches_of_a_network_are_counted_over_all_processes_on_either_database(
    tmp_path: Path, database_url: str
) -> None:
    async with commerce_world(tmp_path, database_url) as world, oauth_site(world) as flow, hosting() as host:
        assert await begun_at_two_processes(flow, host.id) == [400] * document_fetches.MAXIMUM + [429] * 2
        world.clock.advance(document_fetches.WINDOW_SECONDS)
        assert 429 not in (await begun_at_two_processes(flow, f"{host.id}x"))[: document_fetches.MAXIMUM]
        world.clock.advance(document_fetches.KEPT_SECONDS + 1)
        await world.commerce.database.maintain(grants.forget_old)
        assert await world.rows(client_document_fetch) == []


async def test_planted_fault_processes_that_count_alone_let_more_through(
    flow: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_fetches, "may_begin", lambda *_: True)
    async with hosting() as host:
        assert 429 not in await begun_at_two_processes(flow, host.id)


class Memory:
    """The SDK's token store, in memory."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@pytest.mark.parametrize("mode", [MODERN, LEGACY])
async def test_the_official_sdks_client_signs_in_steps_up_and_refreshes(flow: OAuthSite, mode: str) -> None:
    """Discovery, registration, PKCE, ``iss``, resource, step-up and refresh, all by the SDK itself over HTTP."""
    world = flow.world
    configured = {"brands": {world.brand: {"guest_checkout": False}}}
    flow.mcp.endpoints.door.authorization = flow.mcp.endpoints.door.authorization.model_validate(configured)
    store, opened = Memory(), list[str]()
    landed: dict[str, str] = {}

    async def redirect(address: str) -> None:
        opened.append(address)
        async with browser(flow) as shopper:
            await shopper.open(address)
            await shopper.sign_in()
            landed.update(await shopper.decide())

    async def callback() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(code=landed["code"], state=landed["state"], iss=landed["iss"])

    provider = OAuthClientProvider(
        flow.resource,
        OAuthClientMetadata(redirect_uris=[AnyUrl(CALLBACK)], client_name="Acorn"),
        store,
        redirect_handler=redirect,
        callback_handler=callback,
    )
    async with (
        httpx2.AsyncClient(auth=provider, trust_env=False, verify=False, timeout=30) as http,
        Client(streamable_http_client(flow.resource, http_client=http), mode=mode, cache=None) as connected,
    ):
        assert code_of(await connected.call_tool("search_catalog", {"query": "mug"})) is None
        assert opened == []  # who browses is not asked to sign in
        made = structured(await connected.call_tool("create_checkout", {"lines": lines()}))
        assert made["checkout_id"]
        assert len(opened) == 1
        assert query_of(opened[0])["resource"] == [flow.resource]
        await connected.call_tool("get_saved_payment_methods", {})  # asks for a further scope
        assert len(opened) == 2
        assert set(query_of(opened[1])["scope"][0].split()) >= {"checkout:write", "payment_methods:read"}
        before = store.tokens
        assert before is not None
        world.clock.advance(access_tokens.LIFETIME_SECONDS)
        provider.context.token_expiry_time = 1.0  # the SDK's clock is the machine's: it is told that the time has come
        assert code_of(await connected.call_tool("get_checkout", {"checkout_id": made["checkout_id"]})) is None
        assert store.tokens is not None
        assert store.tokens.refresh_token != before.refresh_token
        assert len(opened) == 2  # renewed without asking
    assert set((store.tokens.scope or "").split()) <= set(MEANINGS)


async def test_a_shoppers_grant_is_theirs_alone_and_pkce_pairs_do_not_meet(flow: OAuthSite) -> None:
    client = await program(flow)
    code = await code_for(flow, client)
    verifier, _ = pkce()
    assert error_of(await client.exchange(code, code_verifier=verifier)) == "invalid_grant"
