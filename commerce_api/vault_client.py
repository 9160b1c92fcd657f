"""The only way to the zone: mutual TLS, a timeout on every call, tokens and money in, states out. No call gives a card."""

import ssl
from pathlib import Path
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from tokenization.wire import CaptureSession, Charge, ChargeRequest, ErrorBody, OpenCaptureSession

CALL_TIMEOUT_SECONDS = 5.0
CHARGE_TIMEOUT_SECONDS = 25.0  # the zone waits up to 10 s for the processor, and looks once more before it answers
CONNECT_TIMEOUT_SECONDS = 2.0
_Model = TypeVar("_Model", bound=BaseModel)


class VaultUnavailable(Exception):
    """The zone did not answer, or not in a form that can be believed. What was asked may or may not have happened."""


class VaultRefused(Exception):
    """The zone refused the call; nothing was done. ``code`` is one of the zone's codes."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class VaultClient:
    """Commerce's calls to the zone."""

    def __init__(self, base_url: str, tls: Path, service: str = "commerce") -> None:
        """``tls`` holds ``ca.crt`` and the service's key and certificate, as `vault-zone identity` writes them."""
        context = ssl.create_default_context(cafile=str(tls / "ca.crt"))
        context.load_cert_chain(tls / f"{service}.crt", tls / f"{service}.key")
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._client = httpx.AsyncClient(
            base_url=base_url,
            verify=context,
            timeout=httpx.Timeout(CALL_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
            trust_env=False,
        )

    async def open_capture(self, asked: OpenCaptureSession) -> CaptureSession:
        """A fresh one-time link. Raises VaultUnavailable, VaultRefused."""
        return await self._call("POST", "/v1/capture-sessions", CaptureSession, asked)

    async def read_capture(self, merchant: str, session: str) -> CaptureSession:
        """Where a capture session stands. Raises VaultUnavailable, VaultRefused."""
        return await self._call("GET", f"/v1/merchants/{merchant}/capture-sessions/{session}", CaptureSession)

    async def charge(self, asked: ChargeRequest) -> Charge:
        """Charges a grant. After VaultUnavailable, ask again with the same payment id: it is the idempotency key."""
        return await self._call("POST", "/v1/charges", Charge, asked, CHARGE_TIMEOUT_SECONDS)

    async def find_charge(self, merchant: str, payment: str) -> Charge | None:
        """Where a charge stands, or None when the zone has none under this payment id. Raises VaultUnavailable."""
        try:
            return await self._call("GET", f"/v1/merchants/{merchant}/charges/{payment}", Charge)
        except VaultRefused as refused:
            if refused.code == "not_found":
                return None
            raise

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

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
            response = await self._client.request(
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
