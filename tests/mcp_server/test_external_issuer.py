"""An authorization server of the brand's own: its tokens open what its scopes stand for; its keys are read and kept."""

import asyncio
import json
from base64 import urlsafe_b64encode
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from commerce_api.authorization import external
from commerce_api.authorization.access_tokens import TokenRefused, accepted, header_of
from commerce_api.authorization.external import ExternalIssuers, keys_in
from commerce_api.authorization.issuers import AuthorizationRefused, External, load_authorization
from commerce_api.authorization.scopes import CATALOG_READ, CHECKOUT_WRITE, ORDERS_READ
from tests.commerce_api.purchases import lines
from tests.commerce_api.world import MCP_URL, World
from tests.mcp_server.serving import Site, call_body, mcp_site, post
from tests.mcp_server.tokens import token_of, with_keys

pytestmark = pytest.mark.anyio
ISSUER, JWKS = "https://login.brand.example/realm", "https://login.brand.example/realm/keys"
SERVER = {"issuer": ISSUER, "jwks_url": JWKS, "scopes": {CATALOG_READ: ["shop"], CHECKOUT_WRITE: ["buy", "shop.admin"]}}

BRAND_WITH = '{"brands": {"x": {"external": {"issuer": "https://l.example", "jwks_url": "https://l.example", %s}}}}'


class Login:
    """Somebody else's authorization server, as far as its keys go."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"one": RSAKey.generate_key(2048)}
        self.asked: list[str] = []
        self.broken = False
        self.entries: list[Any] | None = None  # what the set holds in place of the keys

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        if self.broken:
            return httpx.Response(503)
        described = [{**key.as_dict(private=False), "kid": name, "use": "sig"} for name, key in self.keys.items()]
        return httpx.Response(200, json={"keys": described if self.entries is None else self.entries})

    def token(
        self, world: World, *, kid: str | None = "one", key: Any = None, typ: str = "at+jwt", **claims: Any
    ) -> str:
        """A token of this server's."""
        now_seconds = world.clock() // 1000
        said = {
            "iss": ISSUER,
            "sub": "user-7",
            "aud": f"{MCP_URL}/{world.brand}/mcp",
            "scope": "shop",
            "iat": now_seconds,
            "exp": now_seconds + 300,
            **claims,
        }
        signing = key or self.keys[kid or "one"]
        head = {"alg": "RS256" if isinstance(signing, RSAKey) else "ES256", "typ": typ, **({"kid": kid} if kid else {})}
        return jwt.encode(head, said, signing, algorithms=["RS256", "ES256"])


def configured(world: World, **changes: Any) -> None:
    """Writes the file that names the server."""
    settings = {"brands": {world.brand: {"external": {**SERVER, **changes}}}}
    (world.directory / "authorization.json").write_text(json.dumps(settings), encoding="utf-8")


async def status(site: Site, token: str, tool: str = "search_catalog") -> int:
    """How a call is answered."""
    arguments: dict[str, Any] = {"lines": lines()} if tool == "create_checkout" else {}
    return (await post(site.endpoint(), call_body(tool, arguments), authorization=f"Bearer {token}")).status_code


@pytest.fixture
def login() -> Login:
    """A server."""
    return Login()


def connected(site: Site, login: Login) -> None:
    """Puts the server where its keys are read from."""
    site.endpoints.door.external = ExternalIssuers(site.world.clock, httpx.MockTransport(login))


async def test_the_metadata_names_the_brands_own_server(world: World) -> None:
    configured(world)
    with_keys(world)
    async with mcp_site(world) as site, httpx.AsyncClient(trust_env=False, verify=False) as http:
        told = (await http.get(f"{site.url}/.well-known/oauth-protected-resource")).json()
    assert told["authorization_servers"] == [ISSUER]


async def test_its_scopes_stand_for_ours_as_the_file_says(world: World, login: Login) -> None:
    configured(world)
    async with mcp_site(world) as site:
        connected(site, login)
        assert await status(site, login.token(world)) == 200
        assert await status(site, login.token(world), "create_checkout") == 403
        for granted in ({"scope": "shop buy"}, {"scope": None, "scp": ["shop.admin"]}, {"scope": ["buy"]}):
            assert await status(site, login.token(world, **granted), "create_checkout") == 200
        # A scope that the file does not map is ours by its own name.
        assert await status(site, login.token(world, scope=ORDERS_READ), "get_order") == 200
        assert await status(site, login.token(world, scope=CATALOG_READ)) == 403
        assert login.asked == [JWKS]  # and the keys were read once


async def test_a_server_that_is_slow_holds_up_no_other_brands_tokens(world: World, login: Login) -> None:
    slow = External(issuer="https://slow.example", jwks_url="https://slow.example/keys")
    asked, let_go = asyncio.Event(), asyncio.Event()

    async def answered(request: httpx.Request) -> httpx.Response:
        if request.url.host == "slow.example":
            asked.set()
            await let_go.wait()
        return await login(request)

    issuers, resource = ExternalIssuers(world.clock, httpx.MockTransport(answered)), f"{MCP_URL}/{world.brand}/mcp"
    held = asyncio.create_task(issuers.verify(slow, login.token(world), resource, world.clock()))
    await asked.wait()
    said = await issuers.verify(External.model_validate(SERVER), login.token(world), resource, world.clock())
    assert said.subject == "user-7"
    assert not held.done()
    let_go.set()
    with pytest.raises(TokenRefused):
        await held
    await issuers.close()


@pytest.mark.parametrize("moment", [float("inf"), float("nan"), -float("inf"), 10**400, True, "4000000000", None])
def test_an_expiry_that_is_no_number_of_seconds_is_none(moment: object) -> None:
    claims = {"iss": ISSUER, "aud": JWKS, "sub": "user-7", "exp": moment}
    if moment == 10**400:
        assert accepted(claims, issuer=ISSUER, audience=JWKS, now_ms=0).expires_seconds == moment
        return
    with pytest.raises(TokenRefused):
        accepted(claims, issuer=ISSUER, audience=JWKS, now_ms=0)


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://login.brand.example/other"},
        {"aud": "https://api.brand.example"},
        {"aud": None},
        {"exp": 1_794_999_900},
        {"nbf": 1_795_000_100},
        {"sub": None},
        {"typ": "JWT"},
        {"kid": "two"},
        {"kid": "one", "key": "a stranger's"},
    ],
    ids=str,
)
async def test_a_token_of_its_that_is_wrong_in_one_place_opens_nothing(
    world: World, login: Login, change: dict[str, Any]
) -> None:
    configured(world)
    given = dict(change)
    if given.get("kid") == "two":
        given["key"] = login.keys["one"]
    elif "key" in given:
        given["key"] = RSAKey.generate_key(2048)
    async with mcp_site(world) as site:
        connected(site, login)
        assert await status(site, login.token(world, **given)) == 401
        assert await status(site, login.token(world)) == 200


async def test_our_own_tokens_open_nothing_where_the_brand_has_its_own_server(world: World, login: Login) -> None:
    own = await token_of(world, CATALOG_READ)
    configured(world)
    async with mcp_site(world) as site:
        connected(site, login)
        assert await status(site, own) == 401


async def test_an_audience_and_a_type_may_be_set(world: World, login: Login) -> None:
    configured(world, audience="https://api.brand.example", token_type="any")
    async with mcp_site(world) as site:
        connected(site, login)
        assert await status(site, login.token(world, aud=["x", "https://api.brand.example"], typ="JWT")) == 200
        assert await status(site, login.token(world)) == 401


async def test_only_configured_algorithms_are_taken(world: World, login: Login) -> None:
    configured(world, algorithms=["RS256"])
    login.keys["ec"] = ECKey.generate_key("P-256")
    async with mcp_site(world) as site:
        connected(site, login)
        assert await status(site, login.token(world)) == 200
        assert await status(site, login.token(world, kid="ec")) == 401


def test_a_key_set_never_gives_a_shared_secret() -> None:
    described = [{**OctKey.generate_key(256).as_dict(), "kid": "oct"}, {"kty": "RSA", "kid": "enc", "use": "enc"}]
    assert keys_in(json.dumps({"keys": described}).encode()) == {}


UNREADABLE: list[Any] = [
    None,
    "RSA",
    {"kty": ["RSA"]},
    {"kty": "RSA"},
    {"kty": "RSA", "n": "!", "e": "AQAB"},
    {"kty": "RSA", "n": "AQ", "e": "AQ"},
    {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"},
    {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
    {"kty": "OKP", "crv": "Ed1", "x": "AA"},
    {**RSAKey.generate_key(2048).as_dict(private=False), "kid": ["one"]},
]


def test_an_entry_that_cannot_be_read_keeps_no_other_from_verifying(login: Login) -> None:
    described = {**login.keys["one"].as_dict(private=False), "kid": "one"}
    for entry in UNREADABLE:
        for entries in ([entry, described], [described, entry]):
            assert list(keys_in(json.dumps({"keys": entries}).encode())) == ["one"], entry


@pytest.mark.parametrize("kid", [["one"], {"one": 1}, 7, None, True], ids=str)
async def test_a_key_id_that_is_no_text_is_malformed(world: World, login: Login, kid: object) -> None:
    configured(world)
    head = urlsafe_b64encode(json.dumps({"alg": "RS256", "typ": "at+jwt", "kid": kid}).encode()).decode().rstrip("=")
    async with mcp_site(world) as site:
        connected(site, login)
        right = login.token(world)
        forged = ".".join((head, *right.split(".")[1:]))
        with pytest.raises(TokenRefused, match="malformed"):
            header_of(forged)
        assert await status(site, forged) == 401
        assert login.asked == []  # it makes no traffic either
        assert await status(site, right) == 200


async def test_a_rotation_is_taken_up_at_once_and_made_up_ids_make_no_traffic(world: World, login: Login) -> None:
    configured(world)
    async with mcp_site(world) as site:
        connected(site, login)
        assert await status(site, login.token(world)) == 200
        login.keys = {"two": RSAKey.generate_key(2048)}
        stranger = RSAKey.generate_key(2048)
        for number in range(3):
            assert await status(site, login.token(world, kid=f"made-up-{number}", key=stranger)) == 401
        assert len(login.asked) == 1
        world.clock.advance(external.REFRESH_SECONDS)
        assert await status(site, login.token(world, kid="two")) == 200
        assert len(login.asked) == 2
        assert await status(site, login.token(world, kid="one", key=stranger)) == 401


async def test_keys_are_read_again_in_time_and_known_ones_outlive_an_outage_for_a_day(
    world: World, login: Login
) -> None:
    configured(world)
    async with mcp_site(world) as site:
        connected(site, login)
        await status(site, login.token(world))
        world.clock.advance(external.KEEP_SECONDS)
        await status(site, login.token(world))
        assert len(login.asked) == 2
        login.broken = True
        world.clock.advance(external.STALE_SECONDS - 60)
        assert await status(site, login.token(world)) == 200
        world.clock.advance(61)
        assert await status(site, login.token(world)) == 401
        login.broken = False
        world.clock.advance(external.REFRESH_SECONDS)
        assert await status(site, login.token(world)) == 200


@pytest.mark.parametrize(("entries", "status_then"), [([{"kty": "RSA", "kid": "x"}, 7], 200), ([], 401)], ids=str)
async def test_a_set_that_cannot_be_read_takes_no_key_back_and_an_empty_one_does(
    world: World, login: Login, entries: list[Any], status_then: int
) -> None:
    configured(world)
    async with mcp_site(world) as site:
        connected(site, login)
        assert await status(site, login.token(world)) == 200
        login.entries = entries
        world.clock.advance(external.KEEP_SECONDS)
        assert await status(site, login.token(world)) == status_then
        assert len(login.asked) == 2


async def test_the_same_subject_is_the_same_shopper_of_one_brand_only(world: World, login: Login) -> None:
    from mcp_server.bearer import shopper_of

    one = shopper_of(world.brand, ISSUER, "user-7")
    assert one == shopper_of(world.brand, ISSUER, "user-7")
    others = {shopper_of("salt-shed", ISSUER, "user-7"), shopper_of(world.brand, f"{ISSUER}2", "user-7")}
    assert one not in others | {shopper_of(world.brand, ISSUER, "user-8")}
    assert "user" not in one
    assert len(one) == 36


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"brandz": {}}',
        '{"brands": {"x": {"external": {"issuer": "http://l.example", "jwks_url": "https://l.example"}}}}',
        '{"brands": {"x": {"external": {"issuer": "https://l.example"}}}}',
        *(
            BRAND_WITH % more
            for more in ('"algorithms": ["HS256"]', '"algorithms": ["none"]', '"scopes": {"a": []}', '"key": 1')
        ),
    ],
)
async def test_a_file_that_cannot_be_used_stops_the_start_and_is_not_repeated(world: World, content: str) -> None:
    (world.directory / "authorization.json").write_text(content, encoding="utf-8")
    with pytest.raises(AuthorizationRefused) as refused:
        load_authorization(world.directory, production=False)
    assert refused.value.problems
    assert "l.example" not in str(refused.value)


async def test_loopback_documents_are_refused_in_production(world: World) -> None:
    (world.directory / "authorization.json").write_text('{"loopback_client_documents": true}', encoding="utf-8")
    assert load_authorization(world.directory, production=False).loopback_client_documents
    with pytest.raises(AuthorizationRefused):
        load_authorization(world.directory, production=True)


def test_a_server_of_the_brands_own_is_described_by_its_issuer_and_keys() -> None:
    server = External.model_validate(SERVER)
    assert server.ours(frozenset({"buy", "else"})) == {CHECKOUT_WRITE}
