"""The agents' API: who may call, what it refuses, and that a refusal repeats nothing of what was sent."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from commerce_api import agents_api
from commerce_api.app import BODY_BYTES, commerce_app, install_error_handlers
from commerce_api.checkout.service import Caller
from commerce_api.errors import CommerceError
from commerce_api.models import checkout as checkout_table
from commerce_api.models import payment as payment_table
from tests.commerce_api.purchases import KETTLE, lines, ready
from tests.commerce_api.world import World
from tests.tokenization.test_opaque_keys import UNLUCKY

pytestmark = pytest.mark.anyio

CARD = "4242 4242 4242 4242"
PREFIX = "/agents/v1/harbour-pine"


@pytest.fixture
async def web(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """Calls to the whole application, in process, as nobody in particular."""
    transport = httpx.ASGITransport(commerce_app(world.commerce))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8703") as http:
        yield http


@pytest.fixture
async def agent(world: World, web: httpx.AsyncClient) -> httpx.AsyncClient:
    """As above, with the brand's agent key."""
    web.headers["authorization"] = f"Bearer {await world.agent_key()}"
    return web


def routes() -> list[tuple[str, str]]:
    """Every method and path of the agents' API, with something in each place."""
    found = [
        (
            method,
            route.path.format(
                brand="harbour-pine", product="x", checkout="chk_x", order="ord_x", shopper="shp_x", offer="off_x"
            ),
        )
        for route in agents_api.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    ]
    return sorted(found)


def code(answer: httpx.Response) -> str:
    """The closed code of a refusal."""
    told: str = answer.json()["error"]["code"]
    return told


BODIES: dict[str, dict[str, Any]] = {
    "offers": {"lines": lines()},
    "checkouts": ready(),
    "requests": {"kind": "cancel"},
    "compare": {"product_ids": ["hp-mug", "hp-kettle"]},
    "refused": {"how": "declined"},
}


def body_for(method: str, path: str) -> dict[str, Any] | None:
    """A body in order, for the routes that take one."""
    if method == "PATCH":
        return ready()
    return BODIES.get(path.rpartition("/")[2]) if method == "POST" else None


async def test_every_route_needs_the_brands_key(web: httpx.AsyncClient) -> None:
    for presented in (None, "", "Bearer ", "Bearer wrong", "Basic d3Jvbmc6", "cak_wrong"):
        headers = {} if presented is None else {"authorization": presented}
        for method, path in routes():
            answer = await web.request(method, path, json=body_for(method, path), headers=headers)
            assert answer.status_code == 401, (method, path, presented)
            assert code(answer) == CommerceError.UNAUTHENTICATED.code
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_with_the_key_no_route_says_unauthenticated(agent: httpx.AsyncClient) -> None:
    for method, path in routes():
        answer = await agent.request(method, path, json=body_for(method, path))
        assert answer.status_code in (200, 201, 404), (method, path)


async def test_planted_fault_a_route_without_the_dependency_is_noticed(world: World) -> None:
    """The walk calls what the router holds: a route that forgot to ask for the key would answer otherwise."""
    app = FastAPI()
    app.state.commerce = world.commerce
    app.include_router(agents_api.router)
    app.dependency_overrides[agents_api.agent_of] = lambda: Caller(f"agent:{world.brand}", "agents_api")
    install_error_handlers(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
        answers = [await http.request(method, path, json=body_for(method, path)) for method, path in routes()]
    assert 401 not in {answer.status_code for answer in answers}


async def test_the_walk_sees_every_route(web: httpx.AsyncClient) -> None:
    assert len(routes()) == 14
    assert ("POST", f"{PREFIX}/checkouts/chk_x/complete") in routes()


async def test_the_key_of_another_brand_opens_nothing(world: World, web: httpx.AsyncClient) -> None:
    key = await world.agent_key(await world.add_brand("Salt Shed"))
    headers = {"authorization": f"Bearer {key}"}
    assert (await web.get(f"{PREFIX}/products", headers=headers)).status_code == 401
    assert (await web.get("/agents/v1/salt-shed/products", headers=headers)).status_code == 200


async def test_a_brand_that_is_not_there_is_told_apart_from_a_wrong_key_by_nobody(agent: httpx.AsyncClient) -> None:
    answer = await agent.get("/agents/v1/nobody/products")
    wrong = await agent.get(f"{PREFIX}/products", headers={"authorization": "Bearer wrong"})
    assert (answer.status_code, answer.content) == (wrong.status_code, wrong.content)


async def test_blanks_around_the_key_do_no_harm(world: World, web: httpx.AsyncClient) -> None:
    headers = {"authorization": f"  bearer   {await world.agent_key()} \t"}
    assert (await web.get(f"{PREFIX}/products", headers=headers)).status_code == 200


HOSTILE: dict[str, bytes] = {
    "a value that is too long": json.dumps(ready(buyer={"name": "kangaroo" * 40})).encode(),
    "a name that nobody asked for": json.dumps(ready(kangaroo=1)).encode(),
    "a value in a list": json.dumps(ready(discount_codes=[["kangaroo"]])).encode(),
    "an empty object in a line": b'{"lines": [{}], "offer_id": "kangaroo"}',
    "JSON cut off": b'{"lines": [{"variant_id": "kangaroo',
    "no JSON": b"kangaroo",
    "a number for a text": b'{"lines": [{"variant_id": 77665544, "quantity": "kangaroo"}]}',
    "a NUL in an id": b'{"lines": [{"variant_id": "kangaroo\\u0000"}]}',
    "a lone surrogate": b'{"offer_id": "kangaroo\\ud800"}',
    "bytes that are no text": b'{"offer_id": "kangaroo\xff"}',
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_body_of_the_wrong_form_is_refused_without_an_echo(agent: httpx.AsyncClient, content: bytes) -> None:
    answer = await agent.post(f"{PREFIX}/checkouts", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert code(answer) == CommerceError.INVALID_REQUEST.code
    assert answer.json()["broken"]
    assert "kangaroo" not in answer.text
    assert "77665544" not in answer.text


CARDS: dict[str, bytes] = {
    "a card where a name goes": json.dumps(ready(buyer={"name": CARD})).encode(),
    "a card as a name": json.dumps({CARD.replace(" ", ""): 1}).encode(),
    "a card in a list": json.dumps({"discount_codes": [CARD]}).encode(),
    "a card as a number": b'{"lines": [{"variant_id": "x", "quantity": 4242424242424242}]}',
    "a card in JSON cut off": b'{"buyer": {"name": "4242 4242 4242 4242',
}


@pytest.mark.parametrize("content", CARDS.values(), ids=CARDS.keys())
async def test_a_card_in_a_body_is_refused_recorded_and_not_repeated(
    world: World, agent: httpx.AsyncClient, content: bytes
) -> None:
    answer = await agent.post(f"{PREFIX}/checkouts", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert code(answer) == "card_text_refused"
    assert "4242" not in answer.text
    assert len(await world.events("card_text.refused")) == 1
    assert await world.rows(checkout_table) == []


@pytest.mark.parametrize(
    "path", [f"/products?query={CARD}", "/products?query=4242%204242+4242-4242", "/products/4242424242424242"]
)
async def test_a_card_in_an_address_is_refused(agent: httpx.AsyncClient, path: str) -> None:
    answer = await agent.get(PREFIX + path)
    assert (answer.status_code, code(answer)) == (422, "card_text_refused")


async def test_a_card_split_over_searches_is_refused(agent: httpx.AsyncClient) -> None:
    """Searches have no body: what is asked for in the address is speech as well."""
    answers = [await agent.get(f"{PREFIX}/products", params={"query": "4242 4242"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 422]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/products/none", CommerceError.PRODUCT_UNKNOWN),
        ("/checkouts/none", CommerceError.CHECKOUT_UNKNOWN),
        ("/checkouts/chk_" + "b" * 32, CommerceError.CHECKOUT_UNKNOWN),
        ("/checkouts/%00", CommerceError.CHECKOUT_UNKNOWN),
        ("/orders/none", CommerceError.ORDER_UNKNOWN),
        ("/orders/ord_" + "b" * 32, CommerceError.ORDER_UNKNOWN),
    ],
)
async def test_what_is_not_there_is_not_found(agent: httpx.AsyncClient, path: str, expected: CommerceError) -> None:
    answer = await agent.get(PREFIX + path)
    assert (answer.status_code, code(answer)) == (404, expected.code)


async def test_another_brands_checkout_is_not_found(world: World, agent: httpx.AsyncClient) -> None:
    made = (await agent.post(f"{PREFIX}/checkouts", json=ready())).json()
    key = await world.agent_key(await world.add_brand("Salt Shed"))
    stranger = {"authorization": f"Bearer {key}"}
    answer = await agent.get(f"/agents/v1/salt-shed/checkouts/{made['checkout_id']}", headers=stranger)
    assert (answer.status_code, code(answer)) == (404, CommerceError.CHECKOUT_UNKNOWN.code)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("DELETE", "/products", "GET"), ("POST", "/products/x", "GET"), ("GET", "/checkouts", "POST")],
)
async def test_another_method_is_refused_and_the_right_one_is_named(
    agent: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    """RFC 9110, 15.5.6: a 405 names the methods that there are."""
    answer = await agent.request(method, PREFIX + path)
    assert (answer.status_code, code(answer)) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/agents/v2/harbour-pine/products", "/docs", "/redoc", "/nowhere/at/all"])
async def test_what_is_no_address_of_ours_is_not_found(agent: httpx.AsyncClient, path: str) -> None:
    answer = await agent.get(path)
    assert (answer.status_code, code(answer)) == (404, "not_found")


async def test_the_idempotency_header_gives_the_same_checkout_and_refuses_another_content(
    world: World, agent: httpx.AsyncClient
) -> None:
    key = {"idempotency-key": "order-of-robin"}
    made = [(await agent.post(f"{PREFIX}/checkouts", json=ready(), headers=key)) for _ in range(2)]
    other = await agent.post(f"{PREFIX}/checkouts", json=ready(lines=lines(KETTLE)), headers=key)
    assert [answer.status_code for answer in made] == [201, 201]
    assert made[0].json() == made[1].json()
    assert len(await world.rows(checkout_table)) == 1
    assert (other.status_code, code(other)) == (422, CommerceError.IDEMPOTENCY_CONFLICT.code)


@pytest.mark.parametrize("key", UNLUCKY)
async def test_a_uuid_that_reads_like_a_card_is_a_key_and_is_stored_nowhere(
    world: World, agent: httpx.AsyncClient, key: str
) -> None:
    for _ in range(2):
        answer = await agent.post(f"{PREFIX}/checkouts", json=ready(), headers={"idempotency-key": key})
        assert answer.status_code == 201
    assert len(await world.rows(checkout_table)) == 1
    stored = "".join([str(await world.rows(table)) for table in checkout_table.metadata.sorted_tables])
    assert answer.json()["checkout_id"] in stored, "the search would find what is stored"
    assert key not in stored


async def test_a_card_is_no_key(world: World, agent: httpx.AsyncClient) -> None:
    answer = await agent.post(f"{PREFIX}/checkouts", json=ready(), headers={"idempotency-key": CARD})
    assert (answer.status_code, code(answer)) == (422, "card_text_refused")
    assert await world.rows(checkout_table) == []


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_an_idempotency_key_out_of_bounds_is_refused(agent: httpx.AsyncClient, key: str) -> None:
    answer = await agent.post(f"{PREFIX}/checkouts", json=ready(), headers={"idempotency-key": key})
    assert (answer.status_code, code(answer)) == (422, CommerceError.INVALID_REQUEST.code)


@pytest.mark.parametrize("currency", ["EUR", "usd", "XXX"])
async def test_another_currency_is_refused(agent: httpx.AsyncClient, currency: str) -> None:
    answer = await agent.post(f"{PREFIX}/checkouts", json=ready(currency=currency))
    expected = CommerceError.INVALID_REQUEST if currency == "usd" else CommerceError.CURRENCY_MISMATCH
    assert (answer.status_code, code(answer)) == (422, expected.code)
    assert (await agent.post(f"{PREFIX}/checkouts", json=ready(currency="USD"))).status_code == 201


async def test_a_body_over_the_limit_is_refused(agent: httpx.AsyncClient) -> None:
    answer = await agent.post(f"{PREFIX}/checkouts", content=b"x" * (BODY_BYTES + 1))
    assert (answer.status_code, code(answer)) == (413, "body_too_large")


async def test_a_purchase_from_search_to_order(world_on_each: World) -> None:
    world = world_on_each
    transport = httpx.ASGITransport(commerce_app(world.commerce))
    headers = {"authorization": f"Bearer {await world.agent_key()}"}
    base = "http://127.0.0.1:8703" + PREFIX
    async with httpx.AsyncClient(transport=transport, base_url=base, headers=headers) as agent:
        found = (await agent.get("/products", params={"query": "kettle"})).json()["products"]
        variant = found[0]["variants"][0]["id"]
        offer = (await agent.post("/offers", json={"lines": lines(variant, 1)})).json()["offers"][0]["offer_id"]
        made = (await agent.post("/checkouts", json={"lines": lines(variant, 1), "offer_id": offer})).json()
        own = f"/checkouts/{made['checkout_id']}"
        changed = (await agent.patch(own, json=ready(lines=lines(variant, 1)))).json()
        handed = (await agent.post(f"{own}/complete")).json()
        await world.commerce.payments.capture_link(world.brand, made["checkout_id"])
        world.vault.capture()
        paid = (await agent.get(own)).json()
        order = (await agent.get(f"/orders/{paid['order_id']}")).json()
        late = await agent.post(f"{own}/cancel")
    assert made["status"] == "incomplete"
    assert changed["status"] == "ready_for_complete"
    assert changed["totals"]["discount"]["amount_minor"] > 0
    assert handed["continue_url"].endswith(own.removeprefix("/checkouts"))
    assert paid["status"] == "completed"
    assert order["totals"]["total"] == changed["totals"]["total"]
    assert (late.status_code, code(late)) == (409, CommerceError.CHECKOUT_FINISHED.code)
    assert len(await world.rows(payment_table)) == 1


@pytest.mark.parametrize("path", ["/products?query=mug%00", "/products/%00", "/products/mug%00", "/checkouts/%00"])
async def test_a_nul_character_is_no_failure_of_ours_on_either_database(world_on_each: World, path: str) -> None:
    """PostgreSQL stores none in a text."""
    transport = httpx.ASGITransport(commerce_app(world_on_each.commerce))
    headers = {"authorization": f"Bearer {await world_on_each.agent_key()}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as http:
        assert (await http.get(PREFIX + path)).status_code in (200, 404, 422)
        sent = ready(buyer={"name": "Robin\0", "email": "a@shopper.example"}, lines=lines("mug\0"), offer_id="\0")
        answer = await http.post(f"{PREFIX}/checkouts", json=sent, headers={"idempotency-key": "k"})
        assert answer.status_code in (201, 404, 422)
