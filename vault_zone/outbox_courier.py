"""Brings notices to commerce: signed, at least once, again until it has them, whoever of the zone's processes comes first."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import structlog

from audit.transaction import Database
from tokenization.clock import Clock
from tokenization.logs import cause_of
from vault_zone.hazmat.provider import KeyDestroyed, KeyUnavailable
from vault_zone.keyring import KeyRing
from vault_zone.outbox import Claimed, claim_due, settle_delivered, settle_failed
from vault_zone.outbox_signing import headers, secret_of

INTERVAL_SECONDS = 0.5
TIMEOUT_SECONDS = 10.0  # a receiver stores the notice and answers; work comes later
CONNECT_TIMEOUT_SECONDS = 3.0
log = structlog.get_logger("vault_zone")


class NoticeCourier:
    """Delivers what is due to one address."""

    def __init__(
        self,
        database: Database,
        keys: KeyRing,
        url: str,
        clock: Clock,
        *,
        authority: Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """``authority``: the certificate that commerce's is checked against, where it is not one that everybody trusts."""
        self._database = database
        self._keys = keys
        self._url = url
        self._clock = clock
        verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=str(authority)) if authority else True
        self._client = httpx.AsyncClient(
            verify=verify,
            timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )

    async def run(self, failed: Callable[[Exception], None]) -> None:
        """Delivers until cancelled."""
        while True:
            try:
                delivered = await self.deliver_due()
            except Exception as failure:  # noqa: BLE001  # the database may be away for a while; the rows wait
                failed(failure)
                delivered = 0
            await asyncio.sleep(0 if delivered else INTERVAL_SECONDS)

    async def deliver_due(self) -> int:
        """One attempt for each notice that is due, some together; returns how many were delivered."""
        claimed = await self._database.maintain(claim_due)
        return sum(await asyncio.gather(*(self._attempt(one) for one in claimed)))

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def _attempt(self, claimed: Claimed) -> bool:
        """Dying between commerce's answer and our mark means that it is told again: at least once, never not at all."""
        status = await self._post(claimed)
        told = claimed.notice
        if status is not None and httpx.codes.is_success(status):
            await self._database.maintain(lambda tx: settle_delivered(tx, told.notice, status))
            return True
        if await self._database.maintain(lambda tx: settle_failed(tx, claimed, status)):
            log.error("notice_abandoned", notice=told.notice, kind=told.kind)
        return False

    async def _post(self, claimed: Claimed) -> int | None:
        """The answer's status, or None when there was none, or nothing could be sent."""
        body = claimed.notice.model_dump_json(exclude_none=True).encode()
        try:
            secret = await secret_of(self._keys, claimed.notice.merchant)
            signed = headers(secret, claimed.notice.notice, self._clock() // 1000, body)
            async with self._client.stream(
                "POST", self._url, content=body, headers={**signed, "content-type": "application/json"}
            ) as answer:  # what it says beside its status is not read
                return answer.status_code
        except (httpx.HTTPError, KeyUnavailable, KeyDestroyed) as failure:
            log.info("notice_not_delivered", cause=cause_of(failure))
            return None
