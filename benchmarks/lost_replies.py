"""What lost replies cost: orders charged twice, by this engine and by the usual ways of calling Stripe, in one run.

    .venv/bin/python -m benchmarks.lost_replies [ORDERS]

The counterpart is localstripe behind the tests' proxy, which keeps Stripe's idempotency keys and drops 30 % of the replies to
PaymentIntent creations after they took effect, the same for everybody. Each strategy charges 120 orders. A strategy's orders
are compared by the processor's record: how often was each charged.
"""

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import stripe
from starlette.requests import Request

from benchmarks.machine import commit_latency, say
from tests.vault_zone.processors.fault_proxy import Fault
from tests.vault_zone.processors.localstripe import TEST_KEY, StripeProxy, localstripe
from tests.vault_zone.processors.sandbox_server.world import served
from tests.vault_zone.world import charge_request, zone_world
from tokenization.clock import now_milliseconds
from vault_zone.charge import ChargeEngine
from vault_zone.processors.registry import Processors
from vault_zone.processors.stripe_connector import StripeProcessor

ORDERS, LOST_PERCENT, TRIES = 120, 30, 3
CARD: Any = {"type": "card", "card": {"number": "4242424242424242", "exp_month": 12, "exp_year": 2034, "cvc": "123"}}


class LossyProxy(StripeProxy):
    """Loses three of every ten replies to charges, which three by chance: the same for every strategy, in order of arrival."""

    def __init__(self, upstream: httpx.AsyncClient, *, keeps_keys: bool) -> None:
        super().__init__(upstream, keeps_keys=keeps_keys)
        self.lost = 0
        self._random = random.Random(2026)  # repeatable, not secret
        self._deck: list[bool] = []

    def draw(self, request: Request) -> None:
        """Decides whether the reply to this request will be lost."""
        if request.method != "POST" or request.url.path != "/v1/payment_intents":
            return
        if not self._deck:
            self._deck = [card < LOST_PERCENT for card in range(5, 100, 10)]
            self._random.shuffle(self._deck)
        if self._deck.pop():
            self.lost += 1
            self.faults.append(Fault.LOSE_REPLY)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.draw(Request(scope))
        await super().__call__(scope, receive, send)


@dataclass
class Result:
    """What became of a strategy's orders."""

    charged: Counter[str] = field(default_factory=Counter)
    believed: set[str] = field(default_factory=set)
    lost: int = 0
    seconds: list[float] = field(default_factory=list)


async def sdk(url: str, order: str, *, retries: int, tries: int, own_key: bool) -> bool:
    """The Stripe client as it is commonly used. True when it says that the order was paid."""
    transport = stripe.HTTPXClient(timeout=30)
    client = stripe.StripeClient(
        TEST_KEY, base_addresses={"api": url}, max_network_retries=retries, http_client=transport
    )
    method = await client.v1.payment_methods.create_async(CARD)
    asked: Any = {
        "amount": 10_905,
        "currency": "usd",
        "confirm": True,
        "payment_method": method.id,
        "metadata": {"order": order},
    }
    try:
        for _ in range(tries):
            try:
                options: Any = {"idempotency_key": order} if own_key else {}
                return (await client.v1.payment_intents.create_async(asked, options)).status == "succeeded"
            except stripe.APIConnectionError:
                continue
        return False
    finally:
        await transport.close_async()  # type: ignore[no-untyped-call]  # the SDK gives it no types


async def measure(url: str, name: str, keeps_keys: bool, orders: int, run: Callable[..., Awaitable[Any]]) -> Result:
    """Runs one strategy against an empty record."""
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as upstream:
        await upstream.delete("/_config/data")
        proxy = LossyProxy(upstream, keeps_keys=keeps_keys)
        async with served(proxy) as front:
            result = Result()
            await run(front, result, orders)
            result.lost = proxy.lost
            for intent in await proxy.intents():
                if intent["status"] == "succeeded":
                    result.charged[intent["metadata"].get("order") or intent["metadata"]["cordon_charge"]] += 1
    twice = sum(count > 1 for count in result.charged.values())
    unnoticed = len(result.charged.keys() - result.believed)
    say(
        f"| {name} | {result.lost} | {len(result.charged)} | **{twice}** | {unnoticed} | "
        f"{statistics.median(result.seconds) * 1000:.0f} ms |\n"
    )
    return result


def by_sdk(**options: Any) -> Callable[[str, Result, int], Awaitable[None]]:
    """A strategy that calls the Stripe client directly."""

    async def run(front: str, result: Result, orders: int) -> None:
        for number in range(orders):
            started = time.perf_counter()
            order = f"order_{number}"
            if await sdk(front, order, **options):
                result.believed.add(order)
            result.seconds.append(time.perf_counter() - started)

    return run


async def by_engine(front: str, result: Result, orders: int) -> None:
    """The charge engine with the Stripe connector. Every charge is asked for twice, as a caller that saw a failure does."""
    with tempfile.TemporaryDirectory() as directory:
        async with zone_world(f"sqlite:///{directory}/zone.sqlite3") as world:
            processor = StripeProcessor(TEST_KEY, "whsec_unused", api_base=front)
            world.clock.now_ms = now_milliseconds()
            engine = ChargeEngine(
                world.database,
                world.keys,
                world.codes,
                Processors(processor),
                clock=world.clock,
                log_is_writable=lambda: True,
            )
            for number in range(orders):
                grant = await world.captured_grant(checkout=f"chk_{number}")
                asked = charge_request(grant, checkout=f"chk_{number}")
                started = time.perf_counter()
                first = await engine.charge(asked, "service:commerce")
                result.seconds.append(time.perf_counter() - started)
                again = await engine.charge(asked, "service:commerce")
                if first.state == again.state == "succeeded":
                    result.believed.add(first.charge)
            await processor.close()


async def main(orders: int) -> int:
    """Prints the table; returns 1 if the engine charged an order twice, or missed one."""
    with tempfile.TemporaryDirectory() as directory:
        say(
            f"commit latency here: {commit_latency(Path(directory))}; {orders} orders, {LOST_PERCENT} % of replies lost\n\n"
        )
    say("| strategy | replies lost | orders charged | charged twice | charged, caller thinks not | median |\n")
    say("|---|---|---|---|---|---|\n")
    with localstripe() as url:
        ours = await measure(url, "this engine, own key, asks the record", True, orders, by_engine)
        await measure(
            url,
            "client retries twice, processor ignores keys",
            False,
            orders,
            by_sdk(retries=2, tries=1, own_key=False),
        )
        await measure(
            url, "client retries twice, its own key each call", True, orders, by_sdk(retries=2, tries=1, own_key=False)
        )
        await measure(
            url,
            "caller tries three times, client's key each",
            True,
            orders,
            by_sdk(retries=0, tries=TRIES, own_key=False),
        )
        await measure(
            url,
            "caller tries three times, the order as key",
            True,
            orders,
            by_sdk(retries=0, tries=TRIES, own_key=True),
        )
    is_exact = sorted(ours.charged.values()) == [1] * orders and ours.believed == ours.charged.keys()
    return int(not is_exact)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else ORDERS)))
