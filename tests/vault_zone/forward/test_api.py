"""Over the internal API: what may be asked, what comes back, and that cards stay outside."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from tests.vault_zone.forward.world import ForwardWorld, forward_request, forward_world
from tests.vault_zone.test_access import as_peer, zone_of
from tests.vault_zone.world import MERCHANT
from vault_zone.app import internal_app

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[ForwardWorld]:
    """A zone on either database, with a destination."""
    async with forward_world(database_url, tmp_path) as made:
        yield made


async def asked(world: ForwardWorld, method: str, path: str, body: object = None) -> httpx.Response:
    zone = replace(zone_of(world.zone), forwards=world.engine)
    transport = httpx.ASGITransport(app=cast(Any, as_peer(internal_app(zone), "commerce")))
    async with httpx.AsyncClient(transport=transport, base_url="https://zone") as client:
        return await client.request(method, path, json=body)


async def test_a_card_is_forwarded_and_asked_about_over_the_api(world: ForwardWorld) -> None:
    request = forward_request(await world.zone.captured_grant()).model_dump(mode="json")
    answer = await asked(world, "POST", "/v1/forwards", request)
    assert answer.status_code == 200
    assert answer.json()["fields"] == {"/id": "ch_abc", "/status": "succeeded", "/last4": "4242"}
    assert (await asked(world, "GET", f"/v1/merchants/{MERCHANT}/forwards/idk_a")).json() == answer.json()
    assert (await asked(world, "GET", f"/v1/merchants/{MERCHANT}/forwards/idk_b")).status_code == 404
    assert (await asked(world, "GET", "/v1/merchants/another/forwards/idk_a")).status_code == 404


@pytest.mark.parametrize(
    ("other", "status", "code"),
    [
        ({"body": {"source": {"number": "4242424242424242"}}}, 422, "card_text_refused"),
        ({"body": {"source": {"number": "{{card.pin}}"}}}, 422, "placeholder_refused"),
        ({"url": "https://elsewhere.example"}, 422, "invalid_request"),
        ({"destination": "elsewhere"}, 404, "destination_unknown"),
        ({"checkout": "chk_b"}, 409, "grant_not_usable"),
        ({"headers": {"cookie": "a"}}, 422, "forward_request_refused"),
    ],
)
async def test_refusals_have_a_code_and_hold_nothing_of_the_request(
    world: ForwardWorld, other: dict[str, Any], status: int, code: str
) -> None:
    request = forward_request(await world.zone.captured_grant()).model_dump(mode="json")
    answer = await asked(world, "POST", "/v1/forwards", {**request, **other})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "elsewhere" not in answer.text
    assert not world.there.seen
