"""The agents' API of a shop whose offers are said by made-up models: real desk, egress and record, scripted providers."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
from sqlalchemy.engine import Row

from commerce_api.app import commerce_app
from commerce_api.brands import save_brand
from commerce_api.models import model_call
from commerce_api.offering.call_report import records_of
from commerce_api.offering.saying import SayingDesk, open_saying
from commerce_api.policy import Policy, load_policy
from offer_engine.models.records import reconcile
from tests.commerce_api.purchases import KETTLE
from tests.commerce_api.world import BRAND, BRAND_NAME, CURRENCY, OFFER_KEY, STORE, World
from tests.offer_engine.fake_provider import FakeTransport, Script, pieces, stream_of
from tokenization.edge import App

OFFERS = f"/agents/v1/{BRAND}/offers"
LINES = [{"variant_id": KETTLE}]
TITLE, PRICE = "15% off kettles and coffee", "$67.15"
MODELS = {
    "models": [
        {
            "name": "local",
            "dialect": "openai",
            "base_url": "https://local.example/v1",
            "model": "small-1",
            "input_micros_per_million": 150_000,
            "output_micros_per_million": 600_000,
        }
    ]
}


@dataclass
class Shop:
    """The application, calls to it with the brand's key, and what the models were asked."""

    world: World
    app: App
    agent: httpx.AsyncClient
    desk: SayingDesk
    transport: FakeTransport

    async def offer(self, lines: Sequence[Mapping[str, Any]] = LINES, **more: Any) -> str:
        """An offer that was made for these lines: its id."""
        answer = await self.agent.post(OFFERS, json={"lines": lines, "deferred": True, **more})
        return str(answer.json()["offers"][0]["offer_id"])

    async def said(self, offer: str, **given: Any) -> httpx.Response:
        """What the shop answers that is asked to say it."""
        return await self.agent.post(f"{OFFERS}/{offer}/said", json=given)

    async def streamed(self, offer: str, **given: Any) -> list[tuple[str, dict[str, Any]]]:
        """The events of a stream: names and data."""
        answer = await self.agent.post(f"{OFFERS}/{offer}/said", json=given, headers={"accept": "text/event-stream"})
        assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
        return events_of(answer.text)


@asynccontextmanager
async def shop(
    world: World, script: Callable[[], Script] | None, wording: str = "free", **policy: Any
) -> AsyncIterator[Shop]:
    """A shop whose policy has this wording; with a script there is a model, which answers by it."""
    await reword(world, offer_wording=wording, **policy)
    path = world.directory / "models.json"
    if script is not None:
        path.write_text(json.dumps(MODELS), encoding="utf-8")
    transport = FakeTransport(lambda _: script() if script is not None else Script(status=500))
    database, clock = world.commerce.database, world.clock
    async with open_saying(path, database, OFFER_KEY, clock, transport) as desk:
        app = commerce_app(replace(world.commerce, saying=desk))
        headers = {"authorization": f"Bearer {await world.agent_key()}"}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8703", headers=headers, timeout=30
        ) as agent:
            yield Shop(world, app, agent, desk, transport)


async def reword(world: World, **changes: Any) -> None:
    """The brand's policy, with changes."""
    document = json.loads(load_policy(STORE / "policy.json").model_dump_json()) | {
        "offer_wording_seconds": 20,
        **changes,
    }
    policy = Policy.model_validate_json(json.dumps(document))
    await world.commerce.database.change(lambda tx: save_brand(tx, name=BRAND_NAME, currency=CURRENCY, policy=policy))


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """A stream of server-sent events, taken apart."""
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def says(words: str) -> Callable[[], Script]:
    """A model that says this."""
    return lambda: stream_of("openai", pieces(words))


async def calls(world: World) -> "list[Row[Any]]":
    """The rows of the record of model calls."""
    return await world.rows(model_call)


async def disagreements(world: World) -> list[str]:
    """Where calls and verdicts on record do not agree."""
    return reconcile(records_of(await calls(world)))
