"""Who is let in with which token, what each tool needs, and how a client is told what is missing."""

import hmac
import json
import re
from base64 import urlsafe_b64encode
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey
from sqlalchemy import update

from commerce_api.authorization import access_tokens
from commerce_api.authorization.keys import SigningKeys, rotate
from commerce_api.authorization.scopes import (
    CATALOG_READ,
    CHECKOUT_WRITE,
    MEANINGS,
    ORDERS_READ,
    ORDERS_WRITE,
    PAYMENT_METHODS_READ,
)
from commerce_api.errors import CommerceError
from commerce_api.models import checkout as checkout_table
from commerce_api.models import oauth_grant
from mcp_server import bearer
from mcp_server.brand_server import BrandServer
from mcp_server.scopes import MORE, NEEDS
from tests.commerce_api.purchases import lines, ready
from tests.commerce_api.world import MCP_URL, World
from tests.mcp_server.serving import (
    LEGACY,
    LEGACY_HEADERS,
    MODERN,
    Site,
    body,
    call_body,
    client,
    code_of,
    legacy_call,
    mcp_site,
    post,
    raw_exchange,
    result_of,
    structured,
)
from tests.mcp_server.test_door import request_of, status_of
from tests.mcp_server.tokens import grant_of, token_of, with_keys

pytestmark = pytest.mark.anyio
METADATA = ".well-known/oauth-protected-resource"
ALL = tuple(MEANINGS)


@pytest.fixture
async def signing(site: Site) -> Site:
    """The module's site, where there is an authorization server."""
    with_keys(site.world)
    return site


def parameters(answer: httpx.Response) -> dict[str, str]:
    """The parameters of a Bearer challenge (RFC 9110, 11.6.1)."""
    scheme, _, rest = answer.headers["www-authenticate"].partition(" ")
    assert scheme == "Bearer"
    return dict(re.findall(r'(\w+)="([^"]*)"', rest))


async def call(site: Site, token: str | None, tool: str, arguments: dict[str, Any] | None = None) -> httpx.Response:
    """A tool call of 2026-07-28."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return await post(site.endpoint(), call_body(tool, arguments or {}), **headers)


async def test_the_metadata_names_the_authorization_server_at_the_path_and_at_the_root(own_site: Site) -> None:
    world = own_site.world
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        before = (await http.get(f"{own_site.url}/{METADATA}")).json()
        with_keys(world)
        at_path = (await http.get(f"{own_site.url}/{METADATA}/{world.brand}/mcp")).json()
        at_root = (await http.get(f"{own_site.url}/{METADATA}")).json()
    assert "authorization_servers" not in before  # nothing is offered that could not sign
    assert at_path == at_root
    assert at_path["resource"] == f"{MCP_URL}/{world.brand}/mcp"
    assert at_path["authorization_servers"] == [f"{world.commerce.links.commerce_url}/{world.brand}/oauth"]
    assert set(at_path["scopes_supported"]) == set(MEANINGS)
    assert "offline_access" not in at_path["scopes_supported"]  # MCP, authorization: never in this list


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "https://other.example/mcp"},
        {"aud": f"{MCP_URL}/harbour-pine/mcp/"},
        {"aud": []},
        {"aud": None},
        {"iss": "https://evil.example/harbour-pine/oauth"},
        {"iss": "http://127.0.0.1:8703/salt-shed/oauth"},
        {"iss": None},
        {"exp": 1_794_999_999},
        {"exp": 1_795_000_000},  # this very second
        {"exp": None},
        {"exp": "never"},
        {"exp": True},
        {"nbf": 1_795_000_001},
        {"iat": 1_795_000_001},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "shp_" + "c" * 32, "shopper": "shp_" + "b" * 32},
        {"grant": "agr_" + "b" * 32},
    ],
    ids=str,
)
async def test_a_token_that_is_wrong_in_one_claim_opens_nothing(signing: Site, change: dict[str, Any]) -> None:
    right = await token_of(signing.world, *ALL)
    assert (await call(signing, right, "search_catalog")).status_code == 200
    wrong = dict(change)
    if "shopper" in wrong:  # a grant of somebody else's
        wrong["grant"] = await grant_of(signing.world, wrong.pop("shopper"))
    answer = await call(signing, await token_of(signing.world, *ALL, **wrong), "search_catalog")
    assert answer.status_code == 401
    assert parameters(answer) == {
        "error": "invalid_token",
        "scope": f"{CATALOG_READ} {CHECKOUT_WRITE} {ORDERS_READ}",
        "resource_metadata": f"{MCP_URL}/{METADATA}/{signing.world.brand}/mcp",
    }


@pytest.mark.parametrize("header", [{"typ": "JWT"}, {"typ": None}, {"kid": "other"}, {"kid": None}], ids=str)
async def test_a_statement_that_is_no_access_token_or_names_no_key_of_ours_opens_nothing(
    signing: Site, header: dict[str, Any]
) -> None:
    token = await token_of(signing.world, *ALL, header=header)
    assert (await call(signing, token, "search_catalog")).status_code == 401


async def test_a_token_that_another_key_signed_opens_nothing(signing: Site) -> None:
    stranger = ECKey.generate_key("P-256")
    assert (await call(signing, await token_of(signing.world, *ALL, key=stranger), "search_catalog")).status_code == 401
    # The classic: the public key, which everybody has, taken for a shared secret.
    key_id, own = with_keys(signing.world).signing()
    claims = (await token_of(signing.world, *ALL)).split(".")[1]
    head = urlsafe_b64encode(json.dumps({"alg": "HS256", "typ": "at+jwt", "kid": key_id}).encode()).decode().rstrip("=")
    mac = hmac.digest(own.as_pem(private=False), f"{head}.{claims}".encode(), "sha256")
    forged = f"{head}.{claims}.{urlsafe_b64encode(mac).decode().rstrip('=')}"
    assert (await call(signing, forged, "search_catalog")).status_code == 401


async def test_an_unsigned_token_opens_nothing(signing: Site) -> None:
    token = await token_of(signing.world, *ALL)
    _, claims, signature = token.split(".")
    none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0"
    for forged in (
        f"{none}.{claims}.",
        f"{none}.{claims}.{signature}",
        token[:-4],
        f"{token}x",
        "..",
        "a.b.c",
        "é.b.c",
    ):
        answer = await raw_exchange(
            signing.url,
            request_of(
                "POST",
                f"/{signing.world.brand}/mcp",
                {"authorization": f"Bearer {forged}".encode().decode("latin-1"), "content-type": "application/json"},
                call_body("search_catalog"),
            )
            .decode("utf-8")
            .encode("utf-8"),
        )
        assert status_of(answer) == 401, forged


async def test_a_revoked_or_lapsed_grant_ends_its_tokens_at_once(signing: Site) -> None:
    world = signing.world
    for change in ({"revoked_ms": world.clock()}, {"expires_ms": world.clock()}):
        grant = await grant_of(world, "shp_" + "b" * 32)
        token = await token_of(world, *ALL, grant=grant)
        assert (await call(signing, token, "search_catalog")).status_code == 200
        ended = update(oauth_grant).where(oauth_grant.c.id == grant).values(**change)
        await world.commerce.database.maintain(lambda tx, ended=ended: tx.execute(ended))  # type: ignore[misc]
        assert (await call(signing, token, "search_catalog")).status_code == 401


async def test_of_a_tokens_scopes_those_count_that_its_grant_has(signing: Site) -> None:
    grant = await grant_of(signing.world, "shp_" + "b" * 32, scope=f"{CATALOG_READ} {ORDERS_READ}")
    token = await token_of(
        signing.world, CATALOG_READ, CHECKOUT_WRITE, grant=grant
    )  # wider in one, narrower in another
    assert (await call(signing, token, "search_catalog")).status_code == 200
    for tool in ("create_checkout", "get_order"):
        assert (await call(signing, token, tool)).status_code == 403


@pytest.mark.parametrize("rule", ["aud", "iss", "exp"])
async def test_planted_fault_a_verifier_that_leaves_out_a_rule_is_found(
    signing: Site, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    """Each rule is what stops its token: with the claims taken as if they were right, it gets in."""
    wrong = {"aud": "https://other.example/mcp", "iss": "https://evil.example", "exp": 1}[rule]
    claims: dict[str, Any] = {rule: wrong}
    token = await token_of(signing.world, *ALL, **claims)
    assert (await call(signing, token, "search_catalog")).status_code == 401
    accepted = access_tokens.accepted

    def lax(claims: dict[str, Any], *, issuer: str, audience: str, now_ms: int) -> access_tokens.AccessToken:
        right = {"iss": issuer, "aud": audience, "exp": now_ms}[rule]
        return accepted({**claims, rule: right}, issuer=issuer, audience=audience, now_ms=now_ms)

    monkeypatch.setattr(access_tokens, "accepted", lax)
    assert (await call(signing, token, "search_catalog")).status_code == 200


@pytest.mark.parametrize("query", ["?access_token=x", "?a=1&ACCESS_TOKEN=x", "?id_token=x", "?refresh_token=x"])
async def test_a_token_in_the_address_is_refused_whatever_else_is_right(signing: Site, query: str) -> None:
    token = await token_of(signing.world, *ALL)
    headers = {"authorization": f"Bearer {token}"}
    answer = await post(signing.endpoint() + query, call_body("search_catalog"), **headers)
    assert answer.status_code == 400
    assert parameters(answer)["error"] == "invalid_request"
    assert (await post(signing.endpoint() + "?a=1", call_body("search_catalog"), **headers)).status_code == 200


async def test_two_authorization_headers_are_refused(signing: Site) -> None:
    token = await token_of(signing.world, *ALL)
    content = call_body("search_catalog")
    twice = f"Bearer {token}\r\nauthorization: Bearer {token}"
    request = request_of("POST", f"/{signing.world.brand}/mcp", {"authorization": twice}, content)
    assert status_of(await raw_exchange(signing.url, request)) == 400


async def test_who_did_not_sign_in_browses_and_is_asked_to_sign_in_for_what_is_theirs(signing: Site) -> None:
    assert (await call(signing, None, "search_catalog", {"query": "mug"})).status_code == 200
    answer = await call(signing, None, "get_saved_payment_methods")
    assert answer.status_code == 401
    asked = parameters(answer)
    assert asked == {
        "scope": PAYMENT_METHODS_READ,
        "resource_metadata": f"{MCP_URL}/{METADATA}/{signing.world.brand}/mcp",
    }  # no error: nothing was presented (RFC 6750, 3.1)
    assert answer.json()["error"]["message"] == CommerceError.UNAUTHENTICATED.message  # for a host that cannot sign in


@pytest.mark.parametrize("tool", sorted(NEEDS))
async def test_a_token_without_one_of_a_tools_scopes_is_told_all_of_them(signing: Site, tool: str) -> None:
    need = NEEDS[tool]
    for missing in need.scopes:
        token = await token_of(signing.world, *(set(ALL) - {missing}))
        answer = await call(signing, token, tool)
        assert answer.status_code == 403
        asked = parameters(answer)
        assert asked["error"] == "insufficient_scope"
        assert set(asked["scope"].split()) == need.scopes
        assert asked["resource_metadata"].endswith("/mcp")
        assert answer.json()["error"]["data"]["code"] == "scope_insufficient"
    assert (await call(signing, await token_of(signing.world, *need.scopes), tool)).status_code == 200


async def test_a_client_of_the_older_era_is_held_to_the_same_scopes(signing: Site) -> None:
    token = await token_of(signing.world, CATALOG_READ)
    headers = {**LEGACY_HEADERS, "authorization": f"Bearer {token}"}
    refused = await post(signing.endpoint(), legacy_call("create_checkout", {"lines": lines()}), headers)
    assert refused.status_code == 403
    assert parameters(refused)["scope"] == CHECKOUT_WRITE
    assert (await post(signing.endpoint(), legacy_call("search_catalog", {}), headers)).status_code == 200


@pytest.mark.parametrize("mode", [MODERN, LEGACY])
async def test_the_list_shows_what_the_token_may_call_and_a_guest_what_signing_in_opens(
    signing: Site, mode: str
) -> None:
    async def names(key: str | None) -> set[str]:
        async with client(signing, mode=mode, key=key) as connected:
            return {tool.name for tool in (await connected.list_tools()).tools}

    assert await names(None) == set(NEEDS)
    assert await names(await signing.world.agent_key()) == set(NEEDS)
    assert await names(await token_of(signing.world, CATALOG_READ)) == {
        *("search_catalog", "get_product", "ask_brand", "get_offers")
    }
    assert await names(await token_of(signing.world, ORDERS_READ, ORDERS_WRITE)) == {
        "get_order",
        "request_order_change",
    }
    assert await names(await token_of(signing.world)) == set()
    assert await names(await token_of(signing.world, *ALL)) == set(NEEDS)


async def test_a_list_that_depends_on_the_token_may_not_be_shared(signing: Site) -> None:
    async def scope_of(token: str | None) -> str:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        told: str = result_of(await post(signing.endpoint(), body("tools/list"), **headers))["result"]["cacheScope"]
        return told

    assert await scope_of(None) == "public"
    assert await scope_of(await token_of(signing.world, CATALOG_READ)) == "private"
    assert await scope_of(None) == "public"


async def test_every_tool_of_a_brand_stands_in_the_table(signing: Site) -> None:
    async with client(signing) as connected:
        assert {tool.name for tool in (await connected.list_tools()).tools} == set(NEEDS)
    assert set().union(*(need.scopes for need in (*NEEDS.values(), *MORE.values()))) == set(MEANINGS)


async def test_a_shopper_sees_their_own_checkouts_and_nobody_elses(signing: Site) -> None:
    one, other = "shp_" + "c" * 32, "shp_" + "d" * 32
    tokens = {
        "one": await token_of(signing.world, *ALL, shopper=one),
        "one again": await token_of(signing.world, *ALL, shopper=one),
        "other": await token_of(signing.world, *ALL, shopper=other),
        "agent": await signing.world.agent_key(),
        "guest": None,
    }
    async with client(signing, key=tokens["one"]) as connected:
        made = {"checkout_id": structured(await connected.call_tool("create_checkout", ready()))["checkout_id"]}
    seen = {}
    for who, token in tokens.items():
        async with client(signing, key=token) as connected:
            seen[who] = code_of(await connected.call_tool("get_checkout", made))
    assert seen == {
        "one": None,
        "one again": None,
        "agent": None,
        "other": "checkout_unknown",
        "guest": "checkout_unknown",
    }


async def test_a_cart_begun_as_a_guest_is_there_after_signing_in(signing: Site) -> None:
    async with client(signing) as guest:
        made = {"checkout_id": structured(await guest.call_tool("create_checkout", ready()))["checkout_id"]}
    async with client(signing, key=await token_of(signing.world, *ALL)) as shopper:
        assert code_of(await shopper.call_tool("get_checkout", made)) is None


async def test_who_is_signed_in_is_the_shopper_and_can_be_nobody_else(signing: Site) -> None:
    own = "shp_" + "f" * 32
    async with client(signing, key=await token_of(signing.world, *ALL, shopper=own)) as connected:
        made = structured(await connected.call_tool("create_checkout", ready()))["checkout_id"]
        posing = await connected.call_tool("create_checkout", ready(shopper="shp_" + "g" * 32))
        methods = await connected.call_tool("get_saved_payment_methods", {})
        others = await connected.call_tool("get_saved_payment_methods", {"shopper": "shp_" + "g" * 32})
    stored = {row.id: json.loads(row.document).get("shopper") for row in await signing.world.rows(checkout_table)}
    assert stored[made] == own
    assert code_of(posing) == "unauthenticated"
    assert (code_of(methods), code_of(others)) == (None, "shopper_unknown")


async def test_a_brand_may_demand_signing_in_before_buying(world: World) -> None:
    with_keys(world)
    settings = {"brands": {world.brand: {"guest_checkout": False}}}
    (world.directory / "authorization.json").write_text(json.dumps(settings), encoding="utf-8")
    async with mcp_site(world) as site:
        assert (await call(site, None, "search_catalog")).status_code == 200
        refused = await call(site, None, "create_checkout", {"lines": lines()})
        assert (refused.status_code, parameters(refused)["scope"]) == (401, CHECKOUT_WRITE)
        token = await token_of(world, CHECKOUT_WRITE)
        assert (await call(site, token, "create_checkout", {"lines": lines()})).status_code == 200


async def test_planted_fault_without_the_door_the_second_lock_still_holds(
    signing: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the two refuses by itself; without both the call goes through."""
    token = await token_of(signing.world, CATALOG_READ)
    monkeypatch.setattr(bearer.Door, "_check", lambda *_: None)
    answer = result_of(await call(signing, token, "create_checkout", {"lines": lines()}))["result"]
    assert answer["structuredContent"]["error"]["code"] == "scope_insufficient"
    monkeypatch.setattr(BrandServer, "_check_scope", lambda *_: None)
    answer = result_of(await call(signing, token, "create_checkout", {"lines": lines()}))["result"]
    assert answer["structuredContent"]["checkout_id"]


async def test_tokens_of_the_key_before_hold_until_it_is_dropped(own_site: Site) -> None:
    world, directory = own_site.world, own_site.world.commerce.settings.oauth_keys
    old = await token_of(world, *ALL)
    rotate(directory)
    new = await token_of(world, *ALL)
    assert [(await call(own_site, token, "search_catalog")).status_code for token in (old, new)] == [200, 200]
    rotate(directory, drop_previous=True)
    assert [(await call(own_site, token, "search_catalog")).status_code for token in (old, new)] == [401, 401]
    assert len(SigningKeys(directory).public()["keys"]) == 1


async def test_the_record_says_on_whose_behalf_a_tool_was_called(signing: Site) -> None:
    shopper = "shp_" + "h" * 32
    await call(signing, await token_of(signing.world, *ALL, shopper=shopper), "create_checkout", {"lines": lines()})
    [event] = [row for row in await signing.world.events("agent.called") if shopper.encode() in row.entry]
    assert f'"actor":"shopper:{shopper}"'.encode() in event.entry
