"""A warm parent that forks a zone's charge engine for each line it reads, and the moments at which such a child may die.

``python -m tests.journeys.crash_driver``: a job as JSON in, how its process ended and what it passed by as JSON out. The child
works on a real database and a real sandbox processor, and kills itself with SIGKILL at the moment that the job names by number;
nothing of the product knows of it.
"""

import asyncio
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from audit.transaction import Database, Transaction
from tests.vault_zone.world import a_card, capture_request
from tokenization.clock import monotonic_seconds, now_milliseconds
from tokenization.wire import ChargeRequest, ModificationKind, ModificationRequest
from vault_zone.capture import capture_card, claim_link, open_session
from vault_zone.card import Cvc
from vault_zone.charge import ChargeEngine
from vault_zone.hazmat.opening import open_provider
from vault_zone.keyring import KeyRing
from vault_zone.ledger.chain import seal
from vault_zone.ledger.posting import post
from vault_zone.modifications import Modifications
from vault_zone.processors.port import (
    ModificationAnswer,
    ProcessorAnswer,
    ProcessorCharge,
    ProcessorModification,
)
from vault_zone.processors.registry import Processors
from vault_zone.processors.sandbox import SandboxProcessor
from vault_zone.security_codes import SecurityCodes

MERCHANT, ACTOR, AMOUNT_MINOR = "harbour-pine", "service:commerce", 10_905
LIFETIME_SECONDS = 15.0
TIMEOUT_SECONDS = 30.0  # a bound for a busy machine
T = TypeVar("T")


class Moments:
    """Tells each moment that is passed by, once armed, and dies at the chosen one; 0 is none."""

    def __init__(self, dies_at: int, told: int) -> None:
        self._dies_at, self._told = dies_at, told
        self._passed = 0
        self.armed = False

    def __call__(self, name: str) -> None:
        """The process is there now."""
        if not self.armed:
            return
        self._passed += 1
        os.write(self._told, f"{name}\n".encode())
        if self._passed == self._dies_at:
            os.kill(os.getpid(), signal.SIGKILL)


class DyingDatabase(Database):
    """Passes by a moment before, within and after each change."""

    moments: Moments

    async def change(self, work: Callable[[Transaction], T]) -> T:
        """As Database.change."""

        def watched(tx: Transaction) -> T:
            result = work(tx)
            self.moments("within a transaction")
            return result

        self.moments("before a transaction")
        result = await super().change(watched)
        self.moments("after a commit")
        return result


class DyingProcessor(SandboxProcessor):
    """Passes by a moment before and after each call, and when its last byte has left."""

    moments: Moments

    def watch(self, moments: Moments) -> None:
        """From now on."""
        self.moments = moments

        async def traced(event: str, _: dict[str, Any]) -> None:
            if event == "http11.send_request_body.complete":
                moments("sent")

        async def trace(request: httpx.Request) -> None:
            request.extensions["trace"] = traced

        self._client.event_hooks = {"request": [trace]}

    async def charge(self, request: ProcessorCharge) -> ProcessorAnswer:
        """As Processor.charge."""
        self.moments("before a call")
        answer = await super().charge(request)
        self.moments("after a call")
        return answer

    async def modify(self, request: ProcessorModification) -> ModificationAnswer:
        """As Processor.modify."""
        self.moments("before a call")
        answer = await super().modify(request)
        self.moments("after a call")
        return answer


class Child:
    """One process of the zone: the engine as ``vault-zone serve`` builds it, under a clock that may be moved on."""

    def __init__(self, job: dict[str, Any], moments: Moments) -> None:
        self.job, self.moments = job, moments
        self.asked: dict[str, str] = {}
        self.later_ms = 0
        self.database = DyingDatabase.open(job["database"], self.now_ms)
        self.database.moments = moments
        self.processor = DyingProcessor(
            job["processor"],
            job["api_key"],
            b"a webhook secret that nobody uses",
            timeout_seconds=TIMEOUT_SECONDS,
            request_lifetime_seconds=LIFETIME_SECONDS,
        )
        self.processor.watch(moments)
        self.keys = KeyRing(open_provider(Path(job["keys"]), "development"), self.database, self.now_ms)
        self.codes = SecurityCodes(monotonic_seconds)
        processors = Processors(self.processor)
        self.engine = ChargeEngine(
            self.database,
            self.keys,
            self.codes,
            processors,
            clock=self.now_ms,
            log_is_writable=lambda: True,
            books=post,
        )
        self.modifications = Modifications(
            self.database, processors, clock=self.now_ms, log_is_writable=lambda: True, books=post
        )

    def now_ms(self) -> int:
        """The moment by this process's clock."""
        return now_milliseconds() + self.later_ms

    async def run(self) -> None:
        """Does the job's acts, one after the other."""
        for asked in self.job["acts"]:
            self.asked, self.moments.armed = asked, False
            await self.do(asked["act"])
        await self.processor.close()
        await self.database.close()

    async def do(self, act: str) -> None:
        """Does one act, under the keys that it was asked with."""
        if act == "recover":
            await self.recover()
        elif act == "charge":
            asked = self.charge_request(await self.granted(), "automatic")
            self.moments.armed = True
            await self.engine.charge(asked, ACTOR)
        else:
            if await self.engine.find(MERCHANT, self.asked["payment"]) is None:
                capture = "automatic" if act == "refund" else "manual"
                await self.engine.charge(self.charge_request(await self.granted(), capture), ACTOR)
            asked_of_it = ModificationRequest(
                request=self.asked["request"],
                merchant=MERCHANT,
                payment=self.asked["payment"],
                kind=ModificationKind(act),
            )
            self.moments.armed = True
            await self.modifications.modify(asked_of_it, ACTOR)

    async def recover(self) -> None:
        """What a zone does at start, and then once a second, until a request cannot take effect any more."""
        self.moments.armed = True
        await self.engine.recover()
        await self.modifications.recover()
        self.later_ms = int(LIFETIME_SECONDS * 1000) + 1000
        await self.engine.resolve_unknown()
        await self.modifications.resolve_unknown()
        await seal(self.database)

    async def granted(self) -> str:
        """A shopper enters a card for the checkout; the grant that comes of it."""
        asked = capture_request(checkout=self.asked["checkout"], amount_minor=AMOUNT_MINOR, merchant=MERCHANT)
        _, secret = await self.database.change(lambda tx: open_session(tx, asked, ACTOR))
        _, claim = await self.database.change(lambda tx: claim_link(tx, secret, None))
        card = a_card()
        _, grant = await self.keys.change(lambda tx: capture_card(tx, self.keys, secret=secret, claim=claim, card=card))
        self.codes.hold(grant, Cvc.parse("737", None))
        return grant

    def charge_request(self, grant: str, capture: str) -> ChargeRequest:
        """The charge of the job's payment."""
        fields = {
            "payment": self.asked["payment"],
            "checkout": self.asked["checkout"],
            "grant": grant,
            "capture": capture,
        }
        other = {"amount_minor": AMOUNT_MINOR, "currency": "USD", "return_url": "http://127.0.0.1:8704/return"}
        return ChargeRequest.model_validate({**fields, **other, "merchant": MERCHANT})


def forked(job: dict[str, Any]) -> dict[str, Any]:
    """Does the job in a process of its own: its exit code (-9: killed) and the moments it passed by."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reads)
            asyncio.run(Child(job, Moments(job["dies_at"], writes)).run())
        except BaseException:  # noqa: BLE001  # whatever it is, the child must not go on as a second parent
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writes)
    with open(reads, "rb") as told:
        moments = told.read().decode().splitlines()
    _, status = os.waitpid(child, 0)
    return {"ended": os.waitstatus_to_exitcode(status), "moments": moments}


def main() -> None:
    """A line in, a line out."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(forked(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
