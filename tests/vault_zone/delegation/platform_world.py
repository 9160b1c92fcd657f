"""An agent platform in a test, and what it sends."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import httpx

from tests.vault_zone.callers import zone_of
from tests.vault_zone.world import MERCHANT, START_MS, VISA, World
from tokenization.ids import new_id
from tokenization.money import Money
from vault_zone.app import public_app
from vault_zone.delegation.acp import PATH
from vault_zone.delegation.ucp import PATH as TOKENIZE
from vault_zone.platforms import Protocol, SignatureKey, add_platform

CHECKOUT = "chk_a"
OTHER_MERCHANT = "lantern-row"
CEILING_MINOR = 50_000
CRYPTOGRAM = "gXc5UCLnM6ckD7pjM1TdPA=="


class Agent:
    """A platform with its bearer key, and a connection to the zone's public listener."""

    def __init__(self, client: httpx.AsyncClient, platform: str, bearer: str) -> None:
        self.client = client
        self.platform = platform
        self.bearer = bearer

    async def delegate(self, body: object, key: str | None = None, **headers: str | None) -> httpx.Response:
        """One call of delegate_payment; a header given as None is left out."""
        sent: dict[str, str | None] = {
            "authorization": f"Bearer {self.bearer}",
            "api-version": "2026-04-17",
            "idempotency-key": key or new_id("idem"),
            "content-type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(PATH, content=content, headers={n: v for n, v in sent.items() if v is not None})

    async def tokenize(self, body: object, key: str | None = None, **headers: str | None) -> httpx.Response:
        """One call of UCP's tokenizer, without an idempotency key unless one is given."""
        sent: dict[str, str | None] = {
            "authorization": f"Bearer {self.bearer}",
            "content-type": "application/json",
            "idempotency-key": key,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(
            TOKENIZE, content=content, headers={n: v for n, v in sent.items() if v is not None}
        )


async def an_agent(
    world: World,
    *,
    protocols: tuple[Protocol, ...] = (Protocol.ACP,),
    merchants: tuple[str, ...] = (MERCHANT, OTHER_MERCHANT),
    signature: SignatureKey | None = None,
) -> Agent:
    """A platform that may hand over cards for two merchants."""
    ceiling = Money(CEILING_MINOR, "USD")
    platform, bearer = await world.database.change(
        lambda tx: add_platform(
            tx,
            name="Chat",
            protocols=protocols,
            merchants=merchants,
            signature=signature,
            ceiling=ceiling,
            actor="operator:test",
        )
    )
    return Agent(client_of(world), platform, bearer)


def client_of(world: World) -> httpx.AsyncClient:
    """A connection to the zone's public listener."""
    transport = httpx.ASGITransport(app=cast(Any, public_app(zone_of(world))))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8701")


def moment(now_ms: int) -> str:
    """RFC 3339 in UTC."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def a_request(**changes: Mapping[str, Any] | list[Any] | None) -> dict[str, Any]:
    """A request of ACP that the zone takes; ``changes`` are merged into its objects."""
    body: dict[str, Any] = {
        "payment_method": {
            "type": "card",
            "card_number_type": "fpan",
            "number": VISA,
            "exp_month": "12",
            "exp_year": "2034",
            "name": "Robin Field",
            "cvc": "737",
            "checks_performed": ["avs", "cvv"],
            "iin": "424242",
            "display_card_funding_type": "credit",
            "display_brand": "visa",
            "display_last4": "4242",
            "metadata": {"issuing_bank": "temp"},
        },
        "allowance": {
            "reason": "one_time",
            "max_amount": 10_905,
            "currency": "usd",
            "checkout_session_id": CHECKOUT,
            "merchant_id": MERCHANT,
            "expires_at": moment(START_MS + 900_000),
        },
        "billing_address": {
            "name": "Robin Field",
            "line_one": "1234 Chat Road",
            "line_two": "",
            "city": "Portland",
            "state": "OR",
            "country": "US",
            "postal_code": "97209",
        },
        "risk_signals": [{"type": "card_testing", "score": 10, "action": "manual_review"}],
        "metadata": {"campaign": "q4"},
    }
    return _changed(body, changes)


def a_credential(**changes: Mapping[str, Any] | None) -> dict[str, Any]:
    """A request of UCP's tokenizer that the zone takes; ``changes`` are merged into its objects."""
    body: dict[str, Any] = {
        "credential": {
            "type": "pan",
            "number": VISA,
            "expiry_month": 12,
            "expiry_year": 2034,
            "cvc": "737",
            "name": "Robin Field",
        },
        "binding": {"checkout_id": CHECKOUT, "identity": {"access_token": MERCHANT}},
    }
    return _changed(body, changes)


def _changed(body: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    for name, change in changes.items():
        if isinstance(change, Mapping) and isinstance(body.get(name), dict):
            merged = {**body[name], **change}
            body[name] = {field: value for field, value in merged.items() if value is not ABSENT}
        elif change is ABSENT:
            del body[name]
        else:
            body[name] = change
    return body


ABSENT: Any = object()
