"""A zone that charges through two processors at once: Stripe's stand-in behind the fault proxy, and Adyen's counterpart."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from tests.vault_zone.authority import issue_to
from tests.vault_zone.callers import ask
from tests.vault_zone.hazmat.harness import secret_file
from tests.vault_zone.processors.adyen_counterpart import API_KEY, HMAC_KEY, MERCHANT_ACCOUNT, AdyenCounterpart, webhook
from tests.vault_zone.processors.connector_suite import Notice
from tests.vault_zone.processors.fault_proxy import Fault
from tests.vault_zone.processors.localstripe import CHALLENGE, MISSING, PYTHON, TEST_KEY, localstripe
from tests.vault_zone.processors.sandbox_server.world import served
from tests.vault_zone.processors.test_stripe import SECRET, StripeCounterpart, stripe_counterpart
from tests.vault_zone.test_public_pages import FORM
from tests.vault_zone.world import MERCHANT, capture_request, charge_request
from tokenization.ids import new_id
from vault_zone import housekeeping
from vault_zone.app import public_app
from vault_zone.cli.main import main
from vault_zone.runtime import Zone, running_zone
from vault_zone.settings import DEVELOPMENT, PROCESSORS_FILE, ZoneSettings

pytestmark = pytest.mark.anyio
IN_EURO = {"name": "in_euro", "when": {"currencies": ["EUR"]}, "processors": ["adyen"]}


@dataclass
class Shop:
    """The running zone, and both processors' own accounts of what was charged."""

    zone: Zone
    stripe: StripeCounterpart
    adyen: AdyenCounterpart

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """What commerce is answered by the internal API."""
        answer = await ask(self.zone, "commerce", method, path, body)
        assert answer.status_code in (200, 201), answer.text
        said: dict[str, Any] = answer.json()
        return said

    async def held(self, currency: str, number: str = FORM["number"]) -> dict[str, Any]:
        """A shopper enters a card on the page; commerce has the amount held. The charge."""
        asked = capture_request(checkout=new_id("chk")).model_copy(update={"currency": currency})
        session = await self.ask("POST", "/v1/capture-sessions", asked.model_dump(mode="json"))
        async with self.browser() as shopper:
            await shopper.get(session["url"])
            done = await shopper.post(session["url"], data={**FORM, "number": number})
            assert done.status_code == 303, done.text
        taken = await self.ask("GET", f"/v1/merchants/{MERCHANT}/capture-sessions/{session['session']}")
        wanted = charge_request(taken["grant"], checkout=asked.checkout, currency=currency, capture="manual")
        return await self.ask("POST", "/v1/charges", wanted.model_dump(mode="json"))

    async def modified(self, charge: dict[str, Any], kind: str, amount_minor: int) -> dict[str, Any]:
        """A capture or refund of a part."""
        fields = {"request": new_id("req"), "merchant": MERCHANT, "payment": charge["payment"], "kind": kind}
        return await self.ask("POST", "/v1/modifications", {**fields, "amount_minor": amount_minor})

    async def ended(self, modification: dict[str, Any]) -> dict[str, Any]:
        """A modification whose reply was lost, once the record was asked."""
        await self.zone.modifications.resolve_unknown()
        return await self.ask("GET", f"/v1/merchants/{MERCHANT}/modifications/{modification['request']}")

    async def told(self, name: str, notices: Sequence[Notice]) -> set[int]:
        """Posts a processor's notices under a name; the statuses that they are answered with."""
        async with self.browser() as processor:
            return {
                (await processor.post(f"/webhooks/{name}", headers=headers, content=body)).status_code
                for headers, body in notices
            }

    async def charge(self, charge: dict[str, Any]) -> dict[str, Any]:
        """The charge as it now stands."""
        return await self.ask("GET", f"/v1/merchants/{MERCHANT}/charges/{charge['payment']}")

    def browser(self) -> httpx.AsyncClient:
        """Whoever reaches the public listener."""
        transport = httpx.ASGITransport(app=cast(Any, public_app(self.zone)))
        return httpx.AsyncClient(transport=transport, base_url=self.zone.settings.capture_url)


def zone_files(data: Path, stripe_url: str, adyen_url: str) -> None:
    """What an operator sets up: the zone, commerce's identity, both processors and which of them is asked."""
    assert main(["init", "--data", str(data)]) == 0
    issue_to(data, "commerce")
    secrets = {"stripe-api": TEST_KEY, "stripe-webhook": SECRET, "adyen-api": API_KEY, "adyen-webhook": HMAC_KEY}
    for name, secret in secrets.items():
        secret_file(data / "keys" / f"{name}.key", secret)
    own = {
        "stripe": {"api_base": stripe_url},
        "adyen": {"api_base": adyen_url, "merchant_account": MERCHANT_ACCOUNT},
    }
    entries = [
        {
            "name": name,
            "kind": name,
            "api_key_file": f"keys/{name}-api.key",
            "webhook_key_file": f"keys/{name}-webhook.key",
            **settings,
        }
        for name, settings in own.items()
    ]
    (data / PROCESSORS_FILE).write_text(json.dumps({"processors": entries}), encoding="utf-8")
    routing = {"rules": [IN_EURO], "default": ["stripe"], "legs_maximum": 1}
    (data / "routing.json").write_text(json.dumps(routing), encoding="utf-8")


@asynccontextmanager
async def shop_over(stripe: StripeCounterpart, data: Path, database_url: str) -> AsyncIterator[Shop]:
    """The zone as `vault-zone serve` runs it, between commerce, a shopper and both processors."""
    adyen = AdyenCounterpart()
    async with served(adyen.app) as adyen_url:
        zone_files(data, stripe.url, adyen_url)
        settings = ZoneSettings(
            data=data,
            environment=DEVELOPMENT,
            database_url=database_url,
            capture_host="127.0.0.1",
            capture_port=8701,
            capture_url="http://127.0.0.1:8701",
            internal_host="127.0.0.1",
            internal_port=8702,
            processor_url=None,
            charge_timeout_seconds=10,
        )
        async with running_zone(settings) as zone:
            yield Shop(zone, stripe, adyen)


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    """The zone; nothing but a webhook ends what is unknown, since it does not ask by itself."""
    if not PYTHON.is_file():
        pytest.skip(MISSING)
    monkeypatch.setattr(housekeeping, "INTERVAL_SECONDS", 3600.0)
    with localstripe() as url:
        async with stripe_counterpart(url) as stripe, shop_over(stripe, tmp_path / "zone", database_url) as made:
            yield made


async def test_a_card_is_held_captured_in_part_and_refunded_at_stripe_though_replies_are_lost(shop: Shop) -> None:
    shop.stripe.fault(Fault.LOSE_REPLY)
    charge = await shop.held("USD")
    assert charge["state"] == "authorized"

    shop.stripe.fault(Fault.LOSE_REPLY)
    captured = await shop.ended(await shop.modified(charge, "capture", 4_000))
    assert (captured["state"], captured["charge"]["captured_minor"]) == ("succeeded", 4_000)

    shop.stripe.fault(Fault.LOSE_REPLY)
    refunded = await shop.ended(await shop.modified(charge, "refund", 1_500))
    assert (refunded["state"], refunded["charge"]["refunded_minor"]) == ("succeeded", 1_500)

    assert await shop.stripe.charges(charge["charge"]) == 1
    assert await shop.stripe.moved(charge["charge"]) == (4_000, 1_500)
    assert not shop.adyen.payments


async def test_what_the_shoppers_bank_and_stripes_own_dashboard_do_arrives_by_webhook_and_once(shop: Shop) -> None:
    charge = await shop.held("USD", CHALLENGE)
    assert charge["state"] == "action_required"
    await shop.stripe.authenticate(charge["charge"], success=True)
    assert await shop.told("stripe", await shop.stripe.notices()) == {200}
    assert (await shop.charge(charge))["state"] == "authorized"

    await shop.modified(charge, "capture", 4_000)
    [intent] = await shop.stripe.under(charge["charge"])
    async with httpx.AsyncClient(base_url=shop.stripe.url, trust_env=False) as dashboard:
        asked = {"payment_intent": intent["id"], "amount": "1500", "metadata[by]": "dashboard"}
        assert (await dashboard.post("/v1/refunds", data=asked)).status_code == 200
    for _ in range(2):  # what was applied is not applied again
        assert await shop.told("stripe", await shop.stripe.notices()) == {200}
        stands = await shop.charge(charge)
        assert (stands["state"], stands["captured_minor"], stands["refunded_minor"]) == ("succeeded", 4_000, 1_500)


async def test_each_processor_gets_its_own_charges_and_is_believed_under_its_own_name_alone(shop: Shop) -> None:
    at_stripe, at_adyen = await shop.held("USD"), await shop.held("EUR")
    assert [at_stripe["state"], at_adyen["state"]] == ["authorized", "authorized"]
    assert len(await shop.stripe.under(at_stripe["charge"])) == 1
    assert [payment["currency"] for payment in shop.adyen.payments.values()] == ["EUR"]

    captured = await shop.modified(at_adyen, "capture", 10_905)
    assert captured["state"] == "accepted"
    by_stripe = await shop.stripe.notices()
    by_adyen: list[Notice] = [({}, webhook(item)) for item in shop.adyen.items]
    assert await shop.told("stripe", by_adyen) == {400}
    assert await shop.told("adyen", by_stripe) == {400}
    assert await shop.told("sandbox", [*by_stripe, *by_adyen]) == {404}
    assert (await shop.charge(at_adyen))["captured_minor"] == 0
    assert await shop.told("adyen", by_adyen) == {200}
    assert (await shop.charge(at_adyen))["captured_minor"] == 10_905
    assert (await shop.charge(at_stripe))["captured_minor"] == 0
