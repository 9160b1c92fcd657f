"""What the zone tells by itself: a charge, a refund or a dispute moved. Verified, then looked up; nothing else is believed.

What holds for a notice:
 1. It is at most BODY_BYTES long and of the one form there is.
 2. Its signature fits its id, time and body under the secret of the merchant it names, compared in constant time, and its
    time is within TOLERANCE_SECONDS of now.
 3. What it says is only a reason to ask the zone where the charge stands: a repeated, late or replayed one does no harm.
 4. A secret that does not fit any more is asked for anew, once in RENEW_SECONDS at most, whatever is sent here.
 5. Strangers who use up the calls of its address do not hold it up: what proves itself then counts elsewhere (rate_limit.py).
Source: Standard Webhooks specification; the wire form is tokenization.wire.Notice.
"""

import base64
import hmac
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from audit.transaction import Database, DatabaseBusy
from commerce_api.brands import find_brand
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.order_money import refresh
from commerce_api.payment import Payments
from commerce_api.refunds import Refunds
from commerce_api.vault_client import VaultClient, VaultRefused, VaultUnavailable
from tokenization.clock import Clock
from tokenization.edge import Scope, error_body, header
from tokenization.logs import cause_of
from tokenization.wire import Notice

PATH = "/zone/notices"
BODY_BYTES = 4 * 1024
TOLERANCE_SECONDS = 300
RENEW_SECONDS = 5
SECRETS_MAXIMUM = 10_000  # merchants whose secret is held; beyond it the oldest is asked for again
_SIGNED_BY = (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
router = APIRouter(include_in_schema=False)
log = structlog.get_logger("commerce_api")


class NoticeRefused(Exception):
    """The signature, time or form is wrong. It is not acted on."""


class NoticeDesk:
    """Takes notices in."""

    def __init__(self, database: Database, vault: VaultClient, payments: Payments, clock: Clock) -> None:
        self._database = database
        self._vault = vault
        self._payments = payments
        self._refunds = Refunds(database, vault)
        self._clock = clock
        self._secrets: dict[str, tuple[bytes, int]] = {}
        self._asked_ms: dict[str, int] = {}  # when the zone was last asked for a brand's secret

    async def take(self, identifier: str, at_seconds: str, signatures: str, body: bytes) -> None:
        """Verifies and acts. Raises NoticeRefused; CommerceRefusal when it should be sent again."""
        notice = await self._verified(identifier, at_seconds, signatures, body)
        try:
            await self._payments.advance(notice.merchant, notice.checkout)  # (3)
        except CommerceRefusal as refusal:
            if refusal.kind is not CommerceError.CHECKOUT_UNKNOWN:  # made by another caller of the zone
                raise
        await self._payments.late.take_up(notice.merchant, notice.payment)
        if notice.modification is not None:
            await self._refunds.follow(notice.merchant, notice.payment)
        await refresh(self._database, self._vault, notice.merchant, notice.payment)

    async def is_signed(self, scope: Scope, body: bytes) -> bool:
        """Whether a request is a notice that proves itself (5). False too where that cannot be found out just now."""
        if scope["path"] != PATH:
            return False
        identifier, at_seconds, signatures = (header(scope, name) or "" for name in _SIGNED_BY)
        try:
            await self._verified(identifier, at_seconds, signatures, body)
        except (
            NoticeRefused,
            CommerceRefusal,
            DatabaseBusy,
            SQLAlchemyError,
            OSError,
        ):  # OSError: PostgreSQL is not there
            return False
        return True

    async def _verified(self, identifier: str, at_seconds: str, signatures: str, body: bytes) -> Notice:
        notice = _read(body)  # (1)
        if notice.notice != identifier:
            raise NoticeRefused
        await self._verify(notice, at_seconds, signatures, body)
        return notice

    async def _verify(self, notice: Notice, at_seconds: str, signatures: str, body: bytes) -> None:
        if not (at_seconds.isascii() and at_seconds.isdigit() and len(at_seconds) <= 12):
            raise NoticeRefused
        if abs(self._clock() // 1000 - int(at_seconds)) > TOLERANCE_SECONDS:  # (2)
            raise NoticeRefused
        given = [text.removeprefix("v1,") for text in signatures.split(" ")[:8] if text.startswith("v1,")]
        for renew in (False, True):
            secret = await self._secret(notice.merchant, renew=renew)
            signed = hmac.digest(secret, f"{notice.notice}.{at_seconds}.".encode() + body, "sha256")
            expected = base64.b64encode(signed)
            if any(hmac.compare_digest(expected, one.encode("utf-8", "replace")) for one in given):
                return
        raise NoticeRefused

    async def _secret(self, merchant: str, *, renew: bool = False) -> bytes:
        """The merchant's secret, from memory unless it is to be renewed and is older than RENEW_SECONDS (4)."""
        held = self._secrets.get(merchant)
        if held is not None and (not renew or self._clock() - held[1] < RENEW_SECONDS * 1000):
            return held[0]
        try:
            await self._database.read(lambda connection: find_brand(connection, merchant))
        except CommerceRefusal:
            raise NoticeRefused from None  # not a brand of ours: the zone is not troubled with it
        if self._clock() - self._asked_ms.get(merchant, 0) < RENEW_SECONDS * 1000:  # (4)
            if held is None:
                raise NoticeRefused
            return held[0]
        self._asked_ms[merchant] = self._clock()
        try:
            text = await self._vault.notice_secret(merchant)
        except VaultRefused:
            raise NoticeRefused from None
        except VaultUnavailable:
            raise CommerceRefusal(CommerceError.PAYMENT_UNAVAILABLE) from None
        if len(self._secrets) >= SECRETS_MAXIMUM:
            self._secrets.pop(next(iter(self._secrets)))
        secret = base64.b64decode(text.removeprefix("whsec_"))
        self._secrets[merchant] = (secret, self._clock())
        return secret


def desk_of(request: Request) -> NoticeDesk:
    """The running commerce's desk for notices."""
    desk: NoticeDesk = request.app.state.commerce.notices
    return desk


@router.post(PATH)
async def post_notice(request: Request, desk: Annotated[NoticeDesk, Depends(desk_of)]) -> JSONResponse:
    """A notice of the zone: 200 when it was taken; anything else has the zone send it again."""
    headers = request.headers
    try:
        await desk.take(
            headers.get("webhook-id", ""),
            headers.get("webhook-timestamp", ""),
            headers.get("webhook-signature", ""),
            await request.body(),  # bounded by the guard before this
        )
    except NoticeRefused as refused:
        log.warning("notice_refused", cause=cause_of(refused))
        return JSONResponse(error_body("notice_refused", "The signature, its time or the form is not valid."), 400)
    return JSONResponse({"received": True})


def _read(body: bytes) -> Notice:
    if len(body) > BODY_BYTES:
        raise NoticeRefused
    try:
        return Notice.model_validate_json(body)
    except ValidationError:
        raise NoticeRefused from None
