"""The brand's agent over A2A: the official SDK's client reads its card and asks it, and what it may not do is refused."""

import json
from typing import Any

import httpx
import pytest
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import Message, Part, Role, SendMessageRequest
from google.protobuf.json_format import MessageToDict

from commerce_api import agent_desk
from commerce_api.rates import Limits
from mcp_server.call_record import CallRecorder
from tests.commerce_api.world import World
from tests.mcp_server.serving import Site, client, mcp_site, post, structured
from tokenization.edge import CARD_TEXT_MESSAGE

pytestmark = pytest.mark.anyio

NEED = "a quiet kettle under $150, in Leeds by Friday"
HEADERS = {"content-type": "application/json", "a2a-version": "1.0"}


def body(method: str = "SendMessage", text: Any = NEED, **params: Any) -> bytes:
    """A request as bytes."""
    message = {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": text}]}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": message, **params}}).encode()


def endpoint(site: Site) -> str:
    """Where the brand's agent is asked."""
    return f"{site.url}/{site.world.brand}/a2a"


async def failed(site: Site, content: bytes, **headers: str) -> int:
    """The code of the error that a request is answered with."""
    response = await post(endpoint(site), content, {**HEADERS, **headers})
    assert response.status_code == 200
    code: int = response.json()["error"]["code"]
    return code


async def test_the_official_client_reads_the_card_and_asks(site: Site) -> None:
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as http:
        card = await A2ACardResolver(http, f"{site.url}/{site.world.brand}").get_agent_card()
        card.supported_interfaces[0].url = endpoint(site)  # the tests' server listens on another port than it names
        asking = ClientFactory(ClientConfig(httpx_client=http, streaming=False)).create(card)
        message = Message(message_id="m1", role=Role.ROLE_USER, parts=[Part(text=NEED)], context_id="talk-1")
        [told] = [event async for event in asking.send_message(SendMessageRequest(message=message))]
    answer = MessageToDict(told)["message"]
    assert (answer["role"], answer["contextId"]) == ("ROLE_AGENT", "talk-1")
    text, data = answer["parts"]
    assert text["text"].startswith("What fits: “Drift Electric Kettle - oat” at $79.00")
    assert data["data"]["products"][0]["id"] == "hp-kettle"


async def test_it_is_the_same_agent_as_the_tools(site: Site) -> None:
    told = (await post(endpoint(site), body(text="a kettle"), HEADERS)).json()["result"]["message"]
    async with client(site) as connected:
        by_tool = structured(await connected.call_tool("ask_brand", {"need": "a kettle"}))
    assert told["parts"][1]["data"] == by_tool


async def test_a_message_is_on_record_with_who_sent_it_and_without_its_words(own_site: Site) -> None:
    await post(endpoint(own_site), body(), {**HEADERS, "user-agent": "other-agent/2"})
    [event] = await own_site.world.events("agent.called")
    entry = json.loads(event.entry)
    assert (entry["actor"], entry["resource"]) == ("anonymous", "tool:ask_brand")
    said = entry["data"]
    assert (said["protocol"], said["software"], said["client"]) == ("a2a-1.0", "other-agent/2", "127.0.0.1")
    assert b"kettle" not in event.entry


@pytest.mark.parametrize(
    ("content", "headers", "code"),
    [
        (b"{", {}, -32700),
        (b"[]", {}, -32600),
        (b'{"jsonrpc":"2.0","id":1}', {}, -32600),
        (body("message/send"), {}, -32601),
        (body("GetTask"), {}, -32001),
        (body("SendStreamingMessage"), {}, -32004),
        (body(), {"a2a-version": "0.3"}, -32009),
        (body(text=7), {}, -32602),
        (body(text=""), {}, -32602),
        (body(text="x" * 1_001), {}, -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{"message":{"parts":[]}}}', {}, -32602),
    ],
)
async def test_what_is_no_message_is_refused_with_the_protocols_code(
    site: Site, content: bytes, headers: dict[str, str], code: int
) -> None:
    assert await failed(site, content, **headers) == code


async def test_an_error_repeats_nothing_of_the_request(site: Site) -> None:
    for content in (body("Secret-7"), body(text={"secret-7": 1}), body(text="secret-7 " * 200)):
        assert "secret-7" not in (await post(endpoint(site), content, HEADERS)).text.lower()


async def test_a_card_number_is_refused_before_the_agent_reads_it(own_site: Site) -> None:
    response = await post(endpoint(own_site), body(text="a kettle, my card is 4242 4242 4242 4242"), HEADERS)
    assert response.json()["error"]["message"] == CARD_TEXT_MESSAGE
    assert "4242" not in response.text
    assert await own_site.world.events("agent.called") == []


async def test_a_wrong_key_another_host_and_another_method_are_refused(site: Site) -> None:
    wrong = await post(endpoint(site), body(), {**HEADERS, "authorization": "Bearer cak_wrong"})
    assert wrong.status_code == 401
    assert (await post(endpoint(site), body(), {**HEADERS, "host": "elsewhere.example"})).status_code == 421
    assert (await post(endpoint(site), body(), {**HEADERS, "origin": "https://elsewhere.example"})).status_code == 403
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        assert (await http.get(endpoint(site))).status_code == 405
        assert (await http.get(f"{site.url}/nobody/.well-known/agent-card.json")).status_code == 404
    assert (await post(f"{site.url}/nobody/a2a", body(), HEADERS)).status_code == 404


async def test_too_many_messages_are_refused(world: World) -> None:
    async with mcp_site(world, limits=Limits(0.1, 0.1)) as site:
        statuses = [(await post(endpoint(site), body(), HEADERS)).status_code for _ in range(4)]
    assert 429 in statuses


async def test_a_defect_is_told_in_the_protocols_form_and_is_on_record(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise KeyError("secret-7")

    monkeypatch.setattr(agent_desk, "understand", breaks)
    response = await post(endpoint(own_site), body(), HEADERS)
    told = response.json()
    assert (response.status_code, told["id"], told["error"]["code"]) == (200, 1, -32603)
    assert told["error"]["data"][0]["reason"] == "INTERNAL"
    assert "secret-7" not in response.text
    [event] = await own_site.world.events("agent.called")
    assert json.loads(event.entry)["data"]["reason"] == "internal"


async def test_planted_fault_without_the_record_nothing_is_written(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgets(*_: object) -> None:
        return None

    monkeypatch.setattr(CallRecorder, "note", forgets)
    await post(endpoint(own_site), body(), HEADERS)
    assert await own_site.world.events("agent.called") == []
