"""What the commerce process says when something fails: a closed code, and not a word of what failed."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from audit.transaction import Database, DatabaseBusy
from commerce_api.agent_desk import AgentDesk
from commerce_api.app import commerce_app, conversation_of
from commerce_api.errors import CommerceError
from tests.commerce_api.world import World
from tokenization import logs
from tokenization.edge import App
from tokenization.tally import INTERVAL_SECONDS, Tally

SECRET = "kangaroo"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged, as our programs log it."""
    stream = io.StringIO()
    handlers, level = logging.root.handlers[:], logging.root.level
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.ScrubbedJson())
    logging.root.addHandler(handler)
    structlog.configure(processors=list(logs.PROCESSORS), logger_factory=structlog.stdlib.LoggerFactory())
    yield stream
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


async def answer_when(world: World, failure: Exception, monkeypatch: pytest.MonkeyPatch) -> httpx.Response:
    """What a search answers while the desk fails like this."""

    async def fails(*_: object) -> Any:
        raise failure

    monkeypatch.setattr(AgentDesk, "search_catalog", fails)
    transport = httpx.ASGITransport(commerce_app(world.commerce))
    headers = {"authorization": f"Bearer {await world.agent_key()}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as http:
        return await http.get(f"/agents/v1/{world.brand}/products")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (DatabaseBusy(SECRET), CommerceError.BUSY),
        (OperationalError(SECRET, {}, Exception(SECRET)), CommerceError.BUSY),
        (RuntimeError(SECRET), CommerceError.INTERNAL),
        (ExceptionGroup(SECRET, [ValueError(SECRET)]), CommerceError.INTERNAL),
        (KeyError(SECRET), CommerceError.INTERNAL),
    ],
)
async def test_a_failure_becomes_a_closed_code_and_its_text_goes_nowhere(
    world: World, log: io.StringIO, monkeypatch: pytest.MonkeyPatch, failure: Exception, expected: CommerceError
) -> None:
    answer = await answer_when(world, failure, monkeypatch)
    assert answer.status_code == expected.status
    assert answer.json()["error"] == {"code": expected.code, "message": expected.message}
    assert answer.headers["content-type"] == "application/json"
    assert SECRET not in answer.text
    assert SECRET not in log.getvalue()
    if expected is CommerceError.INTERNAL:
        assert log.getvalue().count("request_failed") == 1
        assert type(failure).__name__ in log.getvalue()


@pytest.mark.anyio
async def test_card_text_is_refused_even_when_that_cannot_be_recorded(
    world: World, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*_: object) -> None:
        raise DatabaseBusy

    monkeypatch.setattr(Database, "change", busy)
    transport = httpx.ASGITransport(commerce_app(world.commerce))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        answer = await http.post("/anything", json={"a": "4242 4242 4242 4242"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "card_text_refused")
    assert "refusal_not_recorded" in log.getvalue()
    assert "4242" not in log.getvalue()


async def refused(world: World, app: App, times: int) -> list[int]:
    """Card text is sent so often; the numbers that are on record then."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
        for _ in range(times):
            assert (await http.post("/anything", json={"a": "4242 4242 4242 4242"})).status_code == 422
    return [json.loads(event.entry)["data"]["count"] for event in await world.events("card_text.refused")]


@pytest.mark.anyio
async def test_a_flood_of_card_text_is_counted_and_does_not_flood_the_record(world: World) -> None:
    app = commerce_app(world.commerce)
    assert await refused(world, app, 40) == [1], "the first at once"
    world.clock.advance(INTERVAL_SECONDS)
    assert await refused(world, app, 1) == [1, 40], "then those that followed, by their number"


@pytest.mark.anyio
async def test_a_planted_tally_that_always_records_would_flood_the_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tally, "count", lambda _: 1)
    assert await refused(world, commerce_app(world.commerce), 5) == [1] * 5


@pytest.mark.anyio
async def test_a_refusal_that_could_not_be_recorded_is_counted_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = commerce_app(world.commerce)

    async def busy(*_: object) -> None:
        raise DatabaseBusy

    with monkeypatch.context() as patch:
        patch.setattr(Database, "change", busy)
        assert await refused(world, app, 1) == []
    world.clock.advance(INTERVAL_SECONDS)
    assert await refused(world, app, 1) == [2]


@given(path=st.text(), client=st.sampled_from([None, ("127.0.0.1", 1), ("::1", 2)]), name=st.binary(max_size=40))
def test_every_request_has_a_conversation_whatever_its_path(
    path: str, client: tuple[str, int] | None, name: bytes
) -> None:
    """An OPTIONS request may have ``*`` for a path."""
    scope = {"path": path, "client": client, "headers": [(b"conversation-id", name)]}
    assert conversation_of(scope)
    assert conversation_of({"headers": []})


def test_conversations_differ_by_brand_client_credential_and_name() -> None:
    def of(path: str = "/a/mcp", client: str = "1", **headers: str) -> str | None:
        told = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        return conversation_of({"path": path, "client": (client, 1), "headers": told})

    different = [
        of(),
        of(path="/b/mcp"),
        of(client="2"),
        of(authorization="Bearer x"),
        of(conversation_id="x"),
        of(mcp_session_id="y"),
    ]
    assert len(set(different)) == len(different)
    assert of() == of(path="/a/other")
