"""Delivers events to the webhook URL: signed, at least once, with the same id each time, and across restarts."""

import asyncio
import hashlib
import hmac
import ssl
from typing import Final

import httpx

from vault_zone.processors.sandbox_server.connection import Waiter, news_or
from vault_zone.processors.sandbox_server.logs import Log
from vault_zone.processors.sandbox_server.store import Event, Store
from vault_zone.processors.sandbox_server.timing import Clock

SIGNATURE_HEADER: Final = "Sandbox-Signature"
MAX_ATTEMPTS: Final = 12  # with the delays below, about six minutes: longer than a restart of the receiver
FIRST_RETRY_MILLISECONDS: Final = 1_000
LONGEST_RETRY_MILLISECONDS: Final = 60_000
TIMEOUT_SECONDS: Final = 5.0  # a receiver should store the event and answer; work comes later
BATCH: Final = 64


def signature(secret: bytes, at_seconds: int, body: bytes) -> str:
    """``t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">``: the time is signed, so an old event cannot be replayed."""
    signed = hmac.new(secret, f"{at_seconds}.".encode() + body, hashlib.sha256)
    return f"t={at_seconds},v1={signed.hexdigest()}"


def retry_delay_milliseconds(attempts: int) -> int:
    """How long to wait after so many failed attempts (1 or more): doubling, up to a bound."""
    return min(FIRST_RETRY_MILLISECONDS << (attempts - 1), LONGEST_RETRY_MILLISECONDS)


class Courier:
    """Brings committed events to their receiver, one after another, oldest first."""

    def __init__(
        self,
        *,
        store: Store,
        client: httpx.AsyncClient,
        url: str,
        secret: bytes,
        clock: Clock,
        waiter: Waiter,
        log: Log,
    ) -> None:
        """``client`` must not follow redirects: an event goes to the configured address and nowhere else."""
        self._store = store
        self._client = client
        self._url = url
        self._secret = secret
        self._clock = clock
        self._waiter = waiter
        self._log = log
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Tells that there is an event to deliver."""
        self._news.set()

    async def run(self) -> None:
        """Delivers until cancelled."""
        while True:
            self._news.clear()
            await self.deliver_due()
            await self._until_due()

    async def deliver_due(self) -> None:
        """Tries every event that is due, once."""
        now = self._clock()
        while events := self._store.due_events(now, BATCH):
            for event in events:
                await self._try(event)

    async def _try(self, event: Event) -> None:
        """One attempt. Death between the receiver's answer and our mark means that the event is sent again."""
        status = await self._post(event)
        attempts = event.attempts + 1
        delivered = status is not None and httpx.codes.is_success(status)
        if delivered:
            self._store.mark_delivered(event)
        elif attempts >= MAX_ATTEMPTS:
            self._store.mark_abandoned(event)
        else:
            self._store.postpone(event, self._clock() + retry_delay_milliseconds(attempts))
        self._log("webhook", event_id=event.id, attempt=attempts, status=status, delivered=delivered)

    async def _post(self, event: Event) -> int | None:
        """The receiver's status, or None when it did not answer."""
        body = event.body.encode()
        headers = {
            "Content-Type": "application/json",
            SIGNATURE_HEADER: signature(self._secret, self._clock() // 1000, body),
            "X-Sandbox": "true",
        }
        try:
            return (await self._client.post(self._url, content=body, headers=headers)).status_code
        except httpx.HTTPError:
            return None

    async def _until_due(self) -> None:
        due_at = self._store.next_due_at()
        seconds = None if due_at is None else max(due_at - self._clock(), 0) / 1000
        await news_or(self._news, self._waiter, seconds)


def webhook_client(
    verify: ssl.SSLContext | bool, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """A client for Courier: bounded in time, no redirects, no proxy from the environment."""
    return httpx.AsyncClient(verify=verify, timeout=TIMEOUT_SECONDS, trust_env=False, transport=transport)
