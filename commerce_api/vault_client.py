"""The only way to the zone: mutual TLS, a timeout on every call, tokens and money in, states out. No call gives a card."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import httpx
import structlog
from pydantic import BaseModel, ValidationError

from tokenization.clock import monotonic_seconds
from tokenization.logs import cause_of
from tokenization.wire import (
    CaptureSession,
    CardSummary,
    Charge,
    ChargeRequest,
    ErrorBody,
    Modification,
    ModificationRequest,
    NoticeSecret,
    OpenCaptureSession,
    ReturnRequest,
)

CALL_TIMEOUT_SECONDS = 5.0
CHARGE_TIMEOUT_SECONDS = 25.0  # the zone waits up to 10 s for the processor, and looks once more before it answers
CONNECT_TIMEOUT_SECONDS = 2.0
LOOK_SECONDS = 5.0  # how often, at most, the certificate's files are looked at
log = structlog.get_logger("commerce_api")
_Model = TypeVar("_Model", bound=BaseModel)


class SavedCard(BaseModel):
    """What may be shown of a card that a shopper saved. Its token stays in the zone's answer: nothing here needs it."""

    card: CardSummary
    saved_ms: int


class SavedCards(BaseModel):
    """The zone's answer."""

    cards: tuple[SavedCard, ...]


class VaultUnavailable(Exception):
    """The zone did not answer, or not in a form that can be believed. What was asked may or may not have happened."""


class VaultRefused(Exception):
    """The zone refused the call; nothing was done. ``code`` is one of the zone's codes."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class VaultClient:
    """Commerce's calls to the zone.

    Certificates are short-lived, so the files are looked at before a call, every few seconds at most: new ones are taken for
    new connections, and calls under way end on the old. Files that do not serve leave the old ones in use.
    """

    def __init__(
        self,
        base_url: str,
        tls: Path,
        service: str = "commerce",
        now_seconds: Callable[[], float] = monotonic_seconds,
    ) -> None:
        """``tls`` holds ``ca.crt`` and the service's key and certificate, as `vault-zone identity` writes them."""
        self._base_url = base_url
        self._files = (tls / "ca.crt", tls / f"{service}.crt", tls / f"{service}.key")
        self._now_seconds = now_seconds
        self._seen = _signature(self._files)
        self._looked_seconds = now_seconds()
        self._client = self._connect()
        self._leaving: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    async def open_capture(self, asked: OpenCaptureSession) -> CaptureSession:
        """A fresh one-time link. Raises VaultUnavailable, VaultRefused."""
        return await self._call("POST", "/v1/capture-sessions", CaptureSession, asked)

    async def read_capture(self, merchant: str, session: str) -> CaptureSession:
        """Where a capture session stands. Raises VaultUnavailable, VaultRefused."""
        return await self._call("GET", f"/v1/merchants/{merchant}/capture-sessions/{session}", CaptureSession)

    async def charge(self, asked: ChargeRequest) -> Charge:
        """Charges a grant. After VaultUnavailable, ask again with the same payment id: it is the idempotency key."""
        return await self._call("POST", "/v1/charges", Charge, asked, CHARGE_TIMEOUT_SECONDS)

    async def returned(self, asked: ReturnRequest) -> Charge:
        """Where a charge stands whose shopper came back from the bank. Raises VaultUnavailable, VaultRefused."""
        return await self._call("POST", "/v1/charges/returned", Charge, asked, CHARGE_TIMEOUT_SECONDS)

    async def find_charge(self, merchant: str, payment: str) -> Charge | None:
        """Where a charge stands, or None when the zone has none under this payment id. Raises VaultUnavailable."""
        try:
            return await self._call("GET", f"/v1/merchants/{merchant}/charges/{payment}", Charge)
        except VaultRefused as refused:
            if refused.code == "not_found":
                return None
            raise

    async def modify(self, asked: ModificationRequest) -> Modification:
        """Captures, voids or refunds. After VaultUnavailable, ask again with the same request: it is the idempotency key."""
        return await self._call("POST", "/v1/modifications", Modification, asked, CHARGE_TIMEOUT_SECONDS)

    async def find_modification(self, merchant: str, request: str) -> Modification | None:
        """Where a modification stands, or None when the zone has none of this request. Raises VaultUnavailable."""
        try:
            return await self._call("GET", f"/v1/merchants/{merchant}/modifications/{request}", Modification)
        except VaultRefused as refused:
            if refused.code == "not_found":
                return None
            raise

    async def saved_cards(self, merchant: str, shopper: str) -> tuple[SavedCard, ...]:
        """What may be shown of the shopper's saved cards. Raises VaultUnavailable, VaultRefused."""
        path = f"/v1/merchants/{merchant}/shoppers/{quote(shopper, safe='')}/cards"
        return (await self._call("GET", path, SavedCards)).cards

    async def notice_secret(self, merchant: str) -> str:
        """What the zone signs the merchant's notices with now. Raises VaultUnavailable, VaultRefused."""
        return (await self._call("GET", f"/v1/merchants/{merchant}/notice-secret", NoticeSecret)).secret

    async def close(self) -> None:
        """Closes the connections."""
        self._closing.set()
        await asyncio.gather(*self._leaving)
        await self._client.aclose()

    def _connect(self) -> httpx.AsyncClient:
        authority, certificate, key = self._files
        context = ssl.create_default_context(cafile=str(authority))
        context.load_cert_chain(certificate, key)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return httpx.AsyncClient(
            base_url=self._base_url,
            verify=context,
            timeout=httpx.Timeout(CALL_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
            trust_env=False,
        )

    def _renewed(self) -> httpx.AsyncClient:
        """The client for a call, with the certificates of now."""
        now_seconds = self._now_seconds()
        if now_seconds - self._looked_seconds < LOOK_SECONDS:
            return self._client
        self._looked_seconds = now_seconds
        if (seen := _signature(self._files)) == self._seen:
            return self._client
        try:
            client = self._connect()
        except (ssl.SSLError, OSError) as failure:  # also while only one of two files has been replaced
            log.warning("certificates_not_taken", cause=cause_of(failure))
            return self._client
        old, self._client, self._seen = self._client, client, seen
        leaving = asyncio.create_task(_leave(old, self._closing))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        return client

    async def _call(
        self,
        method: str,
        path: str,
        answer: type[_Model],
        asked: BaseModel | None = None,
        timeout_seconds: float = CALL_TIMEOUT_SECONDS,
    ) -> _Model:
        content = asked.model_dump_json().encode() if asked is not None else None
        try:
            response = await self._renewed().request(
                method,
                path,
                content=content,
                headers={"content-type": "application/json"} if content else {},
                timeout=httpx.Timeout(timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS),
            )
        except httpx.HTTPError:
            raise VaultUnavailable from None
        try:
            if response.is_success:
                return answer.model_validate_json(response.content)
            code = ErrorBody.model_validate_json(response.content).error.code
        except ValidationError:
            raise VaultUnavailable from None
        if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise VaultUnavailable
        raise VaultRefused(code)


def _signature(files: tuple[Path, ...]) -> tuple[object, ...]:
    """What changes when one of the files does; a file that is missing for a moment counts as a change."""
    return tuple(path.stat().st_mtime_ns if path.exists() else None for path in files)


async def _leave(client: httpx.AsyncClient, closing: asyncio.Event) -> None:
    """Closes a client once the last call that may be under way on it has ended, or everything ends."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(closing.wait(), CHARGE_TIMEOUT_SECONDS + CONNECT_TIMEOUT_SECONDS)
    await client.aclose()
