"""A thousand mixed operations against the real programs, and then the search: no card number and no code is anywhere.

What is searched: every file of the data directory (databases with their write-ahead logs, logs, audit logs, keys), the memory
of commerce and of its MCP server, and everything that was said between commerce and the zone. The zone's own memory is not:
Python frees what it held and does not overwrite it. The search is shown to find what is planted.
"""

import asyncio
import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from commerce_api.cli.ports import choose_ports
from commerce_api.cli.stack import Stack
from examples.demo.leaks import Card, MemoryUnreadable, hits, search_files, search_memory
from examples.demo.wiretap import Wiretap
from tests.journeys.running import ROOT, START_SECONDS, cordon
from tests.journeys.test_custodians import ssl_context
from tests.journeys.test_faults import agent_key_of
from tests.requirement import requirement
from tests.vault_zone.delegation.platform_world import a_request, moment
from tests.vault_zone.forward.destination import destination
from tests.vault_zone.forward.world import API_KEY, entry, forward_request
from tests.vault_zone.test_fields_pages import SHOP
from tests.vault_zone.test_openers import OPENER
from tests.vault_zone.test_public_pages import FORM
from tests.vault_zone.world import MERCHANT, capture_request, charge_request
from tokenization.clock import now_milliseconds
from tokenization.ids import digest, new_id
from vault_zone.capture_form import CURRENT_WORDING, SAVE_CARD_FIELD
from vault_zone.delegation.acp import PATH
from vault_zone.forward.allowlist import FORMAT, LIST_FILE, PUBLIC_KEY_FILE, SIGNATURE_FILE, SIGNATURE_PURPOSE
from vault_zone.hazmat.signing import create_signing_key, sign_file

pytestmark = pytest.mark.anyio
CODE, AMEX_CODE = "737", "7373"
CARDS = (
    Card("4242424242424242", CODE),
    Card("5555555555554444", CODE),
    Card("378282246310005", AMEX_CODE),
    Card("4000000000000002", CODE),  # declined
)
TOLD_TO_COMMERCE = "6011111111111117"
AT_ONCE = 8
SEED = 20_261_127
SHOPPER = "shp_robin"
PLAN = {
    "page": 90,
    "fields": 40,
    "delegated": 260,
    "delegated_again": 40,
    "delegated_wrong": 60,
    "charged": 200,
    "charge_unknown": 10,
    "saved_granted": 40,
    "deleted": 15,
    "forwarded": 15,
    "rekeyed": 5,
    "malformed_public": 115,
    "malformed_internal": 60,
    "told_commerce": 50,
}
GOOD = {
    "page": {303},
    "fields": {200},
    "delegated": {201},
    "delegated_again": {201},
    "delegated_wrong": {400, 422},
    "charged": {200, 409},  # a grant on a saved card that was deleted is none any more
    "charge_unknown": {200, 409},
    "saved_granted": {200, 404, 409},  # … nor is a card that was deleted meanwhile
    "deleted": {200, 404},
    "forwarded": {200},
    "rekeyed": {202},
    "malformed_public": {400, 401, 403, 404, 405, 410, 413, 415, 422},
    "malformed_internal": {400, 403, 404, 405, 422},
    "told_commerce": {200, 400, 422},
}


@dataclass
class Outside:
    """Everybody outside of the zone: shoppers, platforms, commerce, operators; and what was recorded."""

    stack: Stack
    tap: Wiretap
    public: httpx.AsyncClient
    commerce: httpx.AsyncClient  # through the recorder
    direct: httpx.AsyncClient  # as commerce, past the recorder: for what commerce's own code never sends
    operator: httpx.AsyncClient
    bearer: str
    agent: httpx.AsyncClient
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))
    grants: list[tuple[str, str, int]] = field(default_factory=list)  # id, checkout, ceiling
    saved: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)

    def card(self) -> Card:
        """One of the cards."""
        return self.chance.choice(CARDS)

    async def page(self) -> int:
        """A shopper types a card on the page, and half of them have it saved."""
        checkout, shopper = new_id("chk"), SHOPPER if self.chance.random() < 0.5 else None
        url, session = await self._opened(checkout, shopper=shopper)
        async with httpx.AsyncClient(trust_env=False, timeout=START_SECONDS) as browser:
            await browser.get(url)
            answer = await browser.post(url, data=self._form(saves=shopper is not None))
        await self._take_grant(session, checkout, shopper)
        return answer.status_code

    async def fields(self) -> int:
        """A shopper types a card into fields in a frame."""
        checkout = new_id("chk")
        asked = {"mode": "fields", "frame_origin": SHOP, "opener_digest": digest(OPENER)}
        url, session = await self._opened(checkout, **asked)
        begun = (await self.public.post(f"{url}/claim", data={"opener": OPENER})).json()
        bearing = {"authorization": f"Bearer {begun['claim']}"}
        answer = await self.public.post(f"{url}/card", data=self._form(saves=False), headers=bearing)
        await self._take_grant(session, checkout, None)
        return answer.status_code

    async def delegated(self) -> int:
        """A platform hands over a card."""
        answer, checkout = await self._delegate(self.card(), new_id("idem"))
        self.grants.append((answer.json()["id"], checkout, 10_905))
        return answer.status_code

    async def delegated_again(self) -> int:
        """A platform sends a request twice."""
        card, key, checkout = self.card(), new_id("idem"), new_id("chk")
        until = {"expires_at": moment(now_milliseconds() + 600_000)}
        first, _ = await self._delegate(card, key, checkout, allowance=until)
        again, _ = await self._delegate(card, key, checkout, allowance=until)
        assert first.json()["id"] == again.json()["id"]
        return again.status_code

    async def delegated_wrong(self) -> int:
        """A platform sends a card with something wrong about it."""
        number = self.card().number
        wrong: dict[str, Any] = self.chance.choice(
            [
                {"payment_method": {"number": number[:-1] + str((int(number[-1]) + 1) % 10)}},
                {"payment_method": {"exp_year": "2019"}},
                {"payment_method": {"number": number, "note": number}},
                {"allowance": {"max_amount": number}},
                {"metadata": {number: number}},
                {"payment_method": {"number": int(number)}},
                {"risk_signals": [number]},
            ]
        )
        answer, _ = await self._delegate(self.card(), new_id("idem"), **wrong)
        return answer.status_code if answer.status_code != 201 else 422  # metadata is free text, and is not kept

    async def charged(self) -> int:
        """Commerce charges a grant."""
        return await self._charge()

    async def charge_unknown(self) -> int:
        """The processor takes the money and its reply is lost."""
        key = (self.stack.data / "zone" / "keys" / "processor-api.key").read_text(encoding="utf-8").strip()
        async with httpx.AsyncClient(trust_env=False, headers={"authorization": f"Bearer {key}"}) as processor:
            fault = {"mode": "drop_after", "times": 1}
            await processor.post(f"{self.stack.url('processor')}/sandbox/faults", json=fault)
        return await self._charge()

    async def saved_granted(self) -> int:
        """Commerce asks for a grant on a saved card, and charges it."""
        checkout = new_id("chk")
        asked = {
            "token": self.chance.choice(self.saved),
            "shopper": SHOPPER,
            "checkout": checkout,
            "amount_minor": 10_905,
            "currency": "USD",
        }
        made = await self.commerce.post(f"/v1/merchants/{MERCHANT}/grants", json=asked)
        if made.status_code == 404:  # deleted meanwhile
            return 200
        self.grants.append((made.json()["grant"], checkout, 10_905))
        return await self._charge()

    async def deleted(self) -> int:
        """A shopper has a saved card deleted."""
        token = self.saved.pop() if len(self.saved) > 5 else self.saved[0]
        path = f"/v1/merchants/{MERCHANT}/shoppers/{SHOPPER}/cards/{token}"
        return (await self.commerce.delete(path)).status_code

    async def forwarded(self) -> int:
        """Commerce has a card put into a request of its own."""
        handed_over, checkout = await self._delegate(self.card(), new_id("idem"))
        grant = handed_over.json()["id"]  # with its code, which a saved card has not
        asked = forward_request(grant, idempotency_key=new_id("idk"), checkout=checkout)
        return (await self.commerce.post("/v1/forwards", json=asked.model_dump(mode="json"))).status_code

    async def rekeyed(self) -> int:
        """An operator begins a new key and has every card sealed anew."""
        path = f"/v1/merchants/{MERCHANT}"
        await self.operator.post(f"{path}/keys/rotate", json={"purpose": "sealing"})
        return (await self.operator.post(f"{path}/rekeyings")).status_code

    async def malformed_public(self) -> int:
        """Somebody sends a card to the public listener where none belongs."""
        number = self.card().number
        ways: list[Callable[[], Awaitable[httpx.Response]]] = [
            lambda: self.public.post(PATH, content=f'{{"payment_method": {{"number": "{number}"'.encode()),
            lambda: self.public.post(PATH, json={"number": number}, headers=self._bearing(number)),
            lambda: self.public.post(f"/capture/{number}", data={"number": number, "cvc": CODE}),
            lambda: self.public.get(f"/capture/{number}?number={number}", cookies=None),
            lambda: self.public.post(f"/fields/{new_id('lnk')}/card", json={"number": number, "cvc": CODE}),
            lambda: self.public.put(f"/webhooks/{number}", content=number.encode() * 40),
            lambda: self.public.post("/webhooks/sandbox", content=number.encode(), headers={"x-note": number}),
            lambda: self.public.get(f"/nowhere/{number}", headers={"user-agent": number}),
        ]
        return (await self.chance.choice(ways)()).status_code

    async def malformed_internal(self) -> int:
        """A defect of commerce's would send a card to the internal API."""
        number = self.card().number
        ways: list[Callable[[], Awaitable[httpx.Response]]] = [
            lambda: self.direct.post("/v1/charges", json={"grant": number, "card": {"number": number, "cvc": CODE}}),
            lambda: self.direct.post("/v1/capture-sessions", content=number.encode()),
            lambda: self.direct.get(f"/v1/merchants/{number}/charges/{number}"),
            lambda: self.direct.get(f"/v1/merchants/{MERCHANT}/grants?checkout={number}"),
        ]
        return (await self.chance.choice(ways)()).status_code

    async def told_commerce(self) -> int:
        """An assistant asks commerce for products, and sometimes with a card in its words, which is refused.

        That card is none of those that are looked for afterwards: Python's freed memory holds what was refused for a while.
        """
        number = TOLD_TO_COMMERCE
        ways: list[Callable[[], Awaitable[httpx.Response]]] = [
            lambda: self.agent.get("/products", params={"query": "kettle"}),
            lambda: self.agent.get("/products", params={"query": f"pay with {number}"}),
            lambda: self.agent.post("/checkouts", json={"lines": [], "note": number}),
        ]
        return (await self.chance.choice(ways)()).status_code

    async def _opened(self, checkout: str, **other: Any) -> tuple[str, str]:
        asked = capture_request(checkout=checkout, **other).model_dump(mode="json")
        made = (await self.commerce.post("/v1/capture-sessions", json=asked)).json()
        return made["url"], made["session"]

    def _form(self, *, saves: bool) -> dict[str, str]:
        card = self.card()
        form = {**FORM, "number": card.number, "cvc": card.code}
        return {**form, SAVE_CARD_FIELD: CURRENT_WORDING} if saves else form

    async def _take_grant(self, session: str, checkout: str, shopper: str | None) -> None:
        found = (await self.commerce.get(f"/v1/merchants/{MERCHANT}/capture-sessions/{session}")).json()
        self.grants.append((found["grant"], checkout, 10_905))
        if shopper:
            self.saved.append(found["token"])

    async def _delegate(
        self, card: Card, key: str, checkout: str | None = None, **changes: Any
    ) -> tuple[httpx.Response, str]:
        checkout = checkout or new_id("chk")
        allowance = {"expires_at": moment(now_milliseconds() + 900_000), "checkout_session_id": checkout}
        method = {"number": card.number, "cvc": card.code, "display_last4": card.number[-4:]}
        body = a_request(
            **{
                **changes,
                "payment_method": {**method, **changes.get("payment_method", {})},
                "allowance": {**allowance, **changes.get("allowance", {})},
            }
        )
        return await self.public.post(PATH, json=body, headers=self._bearing(key)), checkout

    def _bearing(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.bearer}", "api-version": "2026-04-17", "idempotency-key": key}

    async def _charge(self) -> int:
        grant, checkout, ceiling = self.grants.pop(self.chance.randrange(len(self.grants)))
        asked = charge_request(grant, checkout=checkout, amount_minor=ceiling)
        answer = await self.commerce.post("/v1/charges", json=asked.model_dump(mode="json"))
        self.states[answer.json().get("state", "refused")] += 1
        return answer.status_code


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[tuple[Stack, Wiretap]]:
    """The whole of Cordon, with a recorder between commerce and the zone, and a list of one destination; not started."""
    data = tmp_path / "data"
    ports, _ = choose_ports(0)
    made = Stack(data, ports, {"zone": None, "commerce": None})
    with ExitStack() as closing:
        made.set_up()
        closing.callback(made.stop)
        made.issue_identity("wiretap", data / "wiretap", host="127.0.0.1")
        tap = Wiretap.between_sides(ports["internal"], data / "wiretap", data / "commerce" / "tls")
        closing.enter_context(tap.running())
        made.zone_url_for_commerce = f"https://127.0.0.1:{tap.port}"
        made.set_programs()
        file = data / "zone" / "limits.json"
        usual = json.loads(file.read_text(encoding="utf-8"))["*"]
        wide = {kind: {**limit, "maximum": limit["maximum"] * 1_000} for kind, limit in usual.items()}
        unbounded = {kind: {"window_seconds": 3600, "maximum": 1_000_000} for kind in ("merchant", "platform")}
        file.write_text(json.dumps({"*": {**wide, **unbounded}}), encoding="utf-8")
        yield made, tap


def zone_command(data: Path, *words: str) -> str:
    """A command of vault-zone on the stack's zone."""
    command = [sys.executable, "-m", "vault_zone", *words, "--data", str(data / "zone")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=START_SECONDS, cwd=ROOT)
    return done.stdout


def publish_destination(forward: Path, outside: Path, port: int, authority: bytes) -> None:
    """The signed list of forward destinations, as an operator would put it there."""
    (forward / "secrets").mkdir(parents=True)
    secret = forward / "secrets" / "acquirer.key"
    secret.touch(mode=0o600)
    secret.write_text(API_KEY + "\n", encoding="ascii")
    (forward / "ca.crt").write_bytes(authority)
    (forward / PUBLIC_KEY_FILE).write_text(create_signing_key(outside / "signing.key"), encoding="ascii")
    listed = [entry(port, timeout_seconds=30)]
    content = json.dumps({"format": FORMAT, "serial": 1, "destinations": listed}).encode()
    (forward / LIST_FILE).write_bytes(content)
    signature = sign_file(outside / "signing.key", SIGNATURE_PURPOSE, content)
    (forward / SIGNATURE_FILE).write_text(signature, encoding="ascii")


@asynccontextmanager
async def outside(stack: Stack, tap: Wiretap) -> AsyncIterator[Outside]:
    """Starts the programs and lets everybody in."""
    data = stack.data
    identity = data / "operator"
    zone_command(data, "identity", "operator:ann", "--role", "key_manager", "--out", str(identity))
    zone_command(data, "merchants", "origins", MERCHANT, "--add", SHOP)
    said = zone_command(data, "platforms", "add", "Chat", "--protocol", "acp", "--merchant", MERCHANT)
    bearer = re.search(r"plk_\w+", said)
    store = ROOT / "examples" / "harbour-and-pine"
    added = cordon("brand", "add", "Harbour & Pine", "--feed", str(store / "products.csv"), "--data", str(data))
    assert added.returncode == 0, added.stderr
    await asyncio.to_thread(stack.start)
    quiet: dict[str, Any] = {"trust_env": False, "timeout": START_SECONDS}
    tls, internal = data / "commerce" / "tls", stack.url("internal")
    recorder = ssl_context(tls, "commerce")
    agent_url = f"{stack.url('commerce')}/agents/v1/{MERCHANT}"
    async with (
        httpx.AsyncClient(base_url=stack.url("capture"), **quiet) as public,
        httpx.AsyncClient(base_url=f"https://127.0.0.1:{tap.port}", verify=recorder, **quiet) as commerce,
        httpx.AsyncClient(base_url=internal, verify=ssl_context(tls, "commerce"), **quiet) as direct,
        httpx.AsyncClient(base_url=internal, verify=ssl_context(identity, "ann"), **quiet) as operator,
        httpx.AsyncClient(
            base_url=agent_url, headers={"authorization": f"Bearer {agent_key_of(data)}"}, **quiet
        ) as agent,
    ):
        assert bearer is not None, said
        yield Outside(stack, tap, public, commerce, direct, operator, bearer.group(), agent)


async def play(everybody: Outside) -> None:
    """The plan in a random order that is the same each time, AT_ONCE operations at a time; those first that others need."""
    first = ["page"] * 30 + ["delegated"] * 60
    rest = [name for name, count in (Counter(PLAN) - Counter(first)).items() for _ in range(count)]
    everybody.chance.shuffle(rest)
    for names in (first, rest):
        waiting = iter(names)

        async def work(waiting: Iterator[str] = waiting) -> None:
            for name in waiting:
                status = await getattr(everybody, name)()
                assert status in GOOD[name], f"{name} was answered {status}"
                everybody.done[name] += 1

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(work())


def found_anywhere(stack: Stack, tap: Wiretap) -> list[str]:
    """Where any of the cards is: files, memory of commerce, traffic between the sides."""
    places = []
    recorded = tap.bytes_recorded()
    for card in CARDS:
        places += [f"{path.name}: {forms}" for path, forms in search_files(stack.data, card).items()]
        places += [f"traffic: {form}" for form in hits(recorded, card)]
        for name, pid in stack.pids().items():
            if name in ("commerce", "mcp"):
                places += [f"memory of {name}: {form}" for form in search_memory(pid, card)]
    return places


@requirement("3.3.1", "3.5.1")
@pytest.mark.timeout(600)
async def test_after_a_thousand_operations_no_card_and_no_code_is_anywhere(
    stack: tuple[Stack, Wiretap], tmp_path: Path
) -> None:
    programs, tap = stack
    async with destination(tmp_path / "there") as there:
        authority = (tmp_path / "there" / "ca.crt").read_bytes()
        publish_destination(programs.data / "zone" / "forward", tmp_path / "outside", there.port, authority)
        async with outside(programs, tap) as everybody:
            await play(everybody)
            assert everybody.done == Counter(PLAN)
            assert everybody.done.total() == 1_000
            assert everybody.states["succeeded"] > 100
            assert everybody.states["declined"] > 20
        assert len(there.seen) == PLAN["forwarded"]
    assert len(tap.bytes_recorded()) > 300_000, "the recorder was not between the sides"
    try:
        assert await asyncio.to_thread(found_anywhere, programs, tap) == []
    except MemoryUnreadable:
        pytest.skip("this system lets no process read another's memory")
    planted = programs.data / "zone" / "planted.sqlite3-wal"
    planted.write_bytes(b"\x00" * 4096 + CARDS[1].number.encode())
    tap.recorded.append(f'{{"cvc": "{AMEX_CODE}"}}'.encode())
    found = await asyncio.to_thread(found_anywhere, programs, tap)
    assert any(place.startswith(planted.name) for place in found)
    assert "traffic: code in spaced JSON" in found
