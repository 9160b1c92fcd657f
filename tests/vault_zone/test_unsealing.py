"""A sealed zone answers health and custodians alone; two of them open it, one cannot; sealed again it forgets its keys."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from sqlalchemy import select

from audit.store import audit_event
from tests.requirement import requirement
from tests.vault_zone.callers import ask, zone_of
from tests.vault_zone.keyed import opened, stored
from tests.vault_zone.test_access import routes_of
from tests.vault_zone.world import MERCHANT, VISA, World, charge_request, zone_world
from vault_zone.access import AccessPolicy, Permission
from vault_zone.admission import Admission, Admitted
from vault_zone.app import public_app
from vault_zone.hazmat.ceremony import NewRoot
from vault_zone.hazmat.local import LocalKeys
from vault_zone.hazmat.provider import KeyUnavailable
from vault_zone.identity import Identity
from vault_zone.keyring import KeyRing
from vault_zone.runtime import Zone

pytestmark = pytest.mark.anyio
ANN, BOB = "custodian:ann", "custodian:bob"
POLICY = AccessPolicy(
    {
        Identity.parse(name): Permission(role, frozenset({"*"}))
        for name, role in (
            (ANN, "custodian"),
            (BOB, "custodian"),
            ("service:commerce", "commerce"),
            ("operator:ada", "key_manager"),
        )
    }
)


@dataclass
class Sealed:
    """A zone whose root key is in three shares, two of which open it."""

    world: World
    zone: Zone
    shares: tuple[str, ...]

    async def give(self, who: str, share: str) -> httpx.Response:
        """One custodian's share."""
        return await ask(self.zone, who, "POST", "/v1/unseal", {"share": share})

    async def health(self) -> dict[str, Any]:
        """What the zone says of itself."""
        content: dict[str, Any] = (await ask(self.zone, "service:commerce", "GET", "/v1/health")).json()
        return content

    async def events(self, *kinds: str) -> list[tuple[str, str, str, str]]:
        """Type, actor, outcome and reason of what is on record."""
        rows = await self.world.database.read(lambda c: c.execute(select(audit_event.c.entry)).scalars().all())
        entries = [json.loads(bytes(row)) for row in rows]
        return [
            (entry["type"], entry["actor"], entry["outcome"], entry["data"].get("reason", ""))
            for entry in entries
            if entry["type"] in kinds
        ]


@pytest.fixture
async def sealed(database_url: str, tmp_path: Path) -> AsyncIterator[Sealed]:
    """A sealed zone on either database."""
    new = NewRoot.make(environment="development", threshold=2, shares=3)
    (tmp_path / "keys").mkdir()
    new.install(tmp_path / "keys")
    async with zone_world(database_url) as world:
        provider = LocalKeys.open(tmp_path / "keys", "development")
        world.keys = KeyRing(provider, world.database, world.clock, world.clock.seconds)
        world.engine._keys = world.keys
        zone = zone_of(world, access=Admission(Admitted(POLICY)))
        yield Sealed(world, zone, new.shares)


@requirement("3.7.6")
async def test_a_sealed_zone_answers_health_and_custodians_alone(sealed: Sealed) -> None:
    found = {route.path for route, _ in routes_of(sealed.world)}
    paths = [path.replace("{merchant}", MERCHANT) for path in found] + ["/v1/charges", "/v1/anything"]
    for path in paths:
        answer = await ask(sealed.zone, "service:commerce", "GET", path)
        if path in ("/v1/health", "/v1/unseal", "/v1/seal"):
            assert answer.status_code != 503
        else:
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "zone_sealed")
    health = await sealed.health()
    assert (health["status"], health["sealed"], health["shares_given"], health["shares_needed"]) == (
        "sealed",
        True,
        0,
        2,
    )


async def test_shoppers_meet_a_page_and_programs_a_code(sealed: Sealed) -> None:
    transport = httpx.ASGITransport(app=cast(Any, public_app(sealed.zone)))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8701") as outside:
        page = await outside.get("/capture/lnk_x")
        assert (page.status_code, page.headers["content-type"].split(";")[0]) == (503, "text/html")
        for path in ("/webhooks/fake", "/agentic_commerce/delegate_payment", "/ucp/tokenize"):
            answer = await outside.post(path, content=b"{}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "zone_sealed")
        assert ((await outside.get("/health")).status_code, (await outside.get("/health")).json()) == (
            503,
            {"status": "sealed"},
        )


@requirement("3.7.6", "10.2.1.1")
async def test_two_custodians_open_it_and_each_share_is_on_record(sealed: Sealed) -> None:
    first = await sealed.give(ANN, sealed.shares[0])
    assert first.json() == {"sealed": True, "given": 1, "needed": 2}
    second = await sealed.give(BOB, sealed.shares[2])
    assert second.json() == {"sealed": False, "given": 2, "needed": 2}
    assert (await sealed.health())["status"] == "ok"
    assert await sealed.events("share.given", "zone.unsealed") == [
        ("share.given", ANN, "success", ""),
        ("share.given", BOB, "success", ""),
        ("zone.unsealed", BOB, "success", ""),
    ]
    token = await stored(sealed.world)
    assert await opened(sealed.world, token) == VISA


@requirement("3.7.6")
async def test_one_custodian_with_two_shares_does_not_open_it(sealed: Sealed) -> None:
    await sealed.give(ANN, sealed.shares[0])
    again = await sealed.give(ANN, sealed.shares[1])
    assert (again.status_code, again.json()["error"]["code"]) == (409, "share_given_already")
    assert (await sealed.health())["sealed"]
    assert (await sealed.give(BOB, sealed.shares[1])).json()["sealed"] is False


@pytest.mark.parametrize("who", ["service:commerce", "operator:ada", "custodian:stranger", None])
async def test_nobody_but_custodians_is_asked_for_a_share(sealed: Sealed, who: str | None) -> None:
    answer = await ask(sealed.zone, who, "POST", "/v1/unseal", {"share": sealed.shares[0]})
    assert answer.status_code == 403
    assert (await sealed.health())["shares_given"] == 0


async def test_what_is_no_good_share_is_told_apart_and_not_counted(sealed: Sealed) -> None:
    other = NewRoot.make(environment="development", threshold=2, shares=2).shares[0]
    mistyped = " ".join(["academic", *sealed.shares[0].split()[1:]])
    for share, status, code in (
        ("one two three", 422, "share_mistyped"),
        (mistyped, 422, "share_mistyped"),
        (other, 409, "share_of_another_ceremony"),
    ):
        answer = await sealed.give(ANN, share)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert not any(word in answer.text for word in (share.split()[5:6] or ["three"]) if len(word) > 5)
    assert (await sealed.health())["shares_given"] == 0
    await sealed.give(ANN, sealed.shares[0])
    assert (await sealed.give(BOB, sealed.shares[0])).json()["error"]["code"] == "share_given_already"


@requirement("3.7.6")
async def test_a_custodian_seals_it_at_once_and_no_key_is_left_in_memory(sealed: Sealed) -> None:
    await sealed.give(ANN, sealed.shares[0])
    await sealed.give(BOB, sealed.shares[1])
    token = await stored(sealed.world)
    grant = await sealed.world.captured_grant()
    assert (await ask(sealed.zone, "operator:ada", "POST", "/v1/seal")).status_code == 403
    assert (await ask(sealed.zone, ANN, "POST", "/v1/seal")).json() == {"sealed": True, "given": 0, "needed": 2}
    with pytest.raises(KeyUnavailable):
        await opened(sealed.world, token)
    with pytest.raises(KeyUnavailable):
        await sealed.world.engine.charge(charge_request(grant), "service:commerce")
    assert sealed.world.processor.calls == 0
    await sealed.give(BOB, sealed.shares[1])
    await sealed.give(ANN, sealed.shares[0])
    assert await opened(sealed.world, token) == VISA
    charged = await sealed.world.engine.charge(charge_request(grant), "service:commerce")
    assert charged.state == "succeeded", "the code was kept for the charge that was refused"


async def test_a_zone_that_no_custodian_opens_is_not_sealed(database_url: str) -> None:
    async with zone_world(database_url) as world:
        zone = zone_of(world, access=Admission(Admitted(POLICY)))
        for path, code in (("/v1/unseal", "not_sealed"), ("/v1/seal", "not_sealable")):
            body = {"share": "x"} if path == "/v1/unseal" else None
            answer = await ask(zone, ANN, "POST", path, body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, code)


async def test_a_gate_that_is_left_open_would_be_seen(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted fault: the gate lets everything through."""
    monkeypatch.setattr("vault_zone.seal_gate.SealGate.__call__", lambda self, *call: self._app(*call))
    answer = await ask(sealed.zone, "operator:ada", "GET", f"/v1/merchants/{MERCHANT}/keys")
    assert answer.status_code == 200
