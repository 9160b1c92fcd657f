"""``POST /agentic_commerce/delegate_payment`` of the Agentic Commerce Protocol 2026-04-17.

What holds, in this order:
 1. The platform is known by its bearer key; where it has a signature key, the request is signed and fresh.
 2. The version is one that is served, and there is an idempotency key.
 3. The card leaves the parsed body before anything that could fail with a value in its text looks at it.
 4. A request that was answered gets its answer again, even if its card or its allowance has run out since.
 5. The merchant is one of the platform's; the allowance becomes the grant's binding, field by field.
 6. Each card, taken or refused, counts as a try of its merchant's and its platform's (platform_limits).
 7. No answer, event or log holds a value of the request but the headers that the protocol echoes.
"""

import json
from typing import Any

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from tokenization.clock import as_datetime, as_text
from tokenization.edge import App, Receive, Scope, Send
from vault_zone.delegation.acp_body import CARD_NAMES, DelegatePayment, parse_moment
from vault_zone.delegation.acp_errors import AcpError, AcpRefused, path_of
from vault_zone.delegation.desk import Desk, desk_of, is_opaque
from vault_zone.delegation.handover import LONGEST_SECONDS, Binding, Repeatable, Token
from vault_zone.delegation.platform_limits import TRY_LATER_SECONDS
from vault_zone.delegation.sent_card import (
    BodyRefused,
    FieldRefused,
    SentCard,
    canonical,
    parse_json,
    take_card,
    without_proof,
)
from vault_zone.delegation.troubles import Trouble
from vault_zone.hazmat.signature import is_signed_by
from vault_zone.idempotency import key_of
from vault_zone.platforms import Platform, Protocol

PATH = "/agentic_commerce/delegate_payment"
SUPPORTED_VERSIONS = ("2026-04-17",)  # newest first
TIMESTAMP_TOLERANCE_MS = 300_000
TOKEN_PREFIX = "vt"  # nosec B105  # the beginning of every token of the protocol, not a secret
_RETRY_SECONDS = {
    AcpError.IDEMPOTENCY_IN_FLIGHT: 1,
    AcpError.SERVICE_UNAVAILABLE: 1,
    AcpError.TOO_MANY_REQUESTS: TRY_LATER_SECONDS,
}
_ANSWERS = {
    Trouble.UNKNOWN_PLATFORM: AcpRefused(AcpError.UNAUTHORIZED),
    Trouble.IN_FLIGHT: AcpRefused(AcpError.IDEMPOTENCY_IN_FLIGHT),
    Trouble.KEY_CONFLICT: AcpRefused(AcpError.IDEMPOTENCY_CONFLICT),
    Trouble.TAKES_NO_CARDS: AcpRefused(AcpError.INVALID_CARD, "$.allowance.merchant_id", "takes_no_cards"),
    Trouble.TOO_MANY_TRIES: AcpRefused(AcpError.TOO_MANY_REQUESTS),
    Trouble.UNAVAILABLE: AcpRefused(AcpError.SERVICE_UNAVAILABLE),
    Trouble.OURS: AcpRefused(AcpError.INTERNAL_SERVER_ERROR),
}
_KEY = "Idempotency-Key"
router = APIRouter()


async def delegate_payment(request: Request) -> Response:
    """Takes a card and its allowance; answers with a vault token."""
    return await answer(request, desk_of(request))


async def answer(request: Request, desk: Desk) -> Response:
    """As delegate_payment(), for who knows the desk. Raises nothing: each failure has a form in the protocol."""
    echoed = _echoed(request)
    platform: Platform | None = None
    try:
        platform = await desk.platforms.named_by(request.headers.get("authorization"), Protocol.ACP)
        token, merchant = await _take(request, desk, platform, echoed.get(_KEY))
    except AcpRefused as refused:
        return _refusal(refused, echoed)
    except Exception as failure:  # noqa: BLE001  # the protocol has a form for this, and a client that waits for it
        return _refusal(_ANSWERS[await desk.trouble(failure, PATH, Protocol.ACP, platform)], echoed)
    return _created(token, merchant, echoed)


router.add_route(PATH, delegate_payment, methods=["POST"])


class BeforeFramework:
    """Answers the call of the protocol before the framework, which adds nothing to it and costs as much as all the rest.

    It reads its own body and has its own form for every failure. Other methods on its path are the framework's to refuse.
    """

    def __init__(self, app: App, desk: Desk) -> None:
        self._app = app
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST":
            response = await answer(Request(scope, receive), self._desk)
            return await response(scope, receive, send)
        return await self._app(scope, receive, send)


async def _take(request: Request, desk: Desk, platform: Platform, key: str | None) -> tuple[Token, str]:
    _require_version(request.headers.get("api-version"))
    if key is None:
        raise AcpRefused(AcpError.IDEMPOTENCY_KEY_REQUIRED)
    try:
        content = parse_json(await request.body())  # (3)
        if platform.signature is not None:
            _require_signature(request, platform.signature.pem, canonical(content), desk.now_ms())
        again = Repeatable(
            key_of(platform.id, PATH, key), canonical(without_proof(content, "payment_method", CARD_NAMES))
        )
    except BodyRefused:
        raise AcpRefused(AcpError.MALFORMED, "$", "not_json") from None
    merchant = await _merchant(content, desk, platform)
    try:
        sent, asked = read_delegation(content, desk.now_ms())
        binding = binding_of(asked, merchant, desk.now_ms())
    except AcpRefused as refused:
        if (earlier := await desk.handovers.kept(again, merchant)) is not None:  # (4)
            return earlier, merchant
        if refused.error.status == AcpError.INVALID_CARD.status:
            await desk.refuse(
                platform, Protocol.ACP, merchant=merchant, status=refused.error.status, reason=refused.reason()
            )  # (6)
        raise
    token = await desk.handovers.take(platform, Protocol.ACP, binding, sent, prefix=TOKEN_PREFIX, again=again)
    return token, merchant


async def _merchant(content: dict[str, Any], desk: Desk, platform: Platform) -> str:
    """The merchant that the allowance names, if it is one of the platform's (5)."""
    allowance = content.get("allowance")
    merchant = allowance.get("merchant_id") if isinstance(allowance, dict) else None
    if not isinstance(merchant, str):
        raise AcpRefused(AcpError.MALFORMED, "$.allowance.merchant_id", "missing")
    if merchant not in platform.merchants:
        refused = AcpRefused(AcpError.INVALID_CARD, "$.allowance.merchant_id", "not_of_this_platform")
        await desk.refuse(platform, Protocol.ACP, merchant=None, status=refused.error.status, reason=refused.reason())
        raise refused
    return merchant


def read_delegation(content: dict[str, Any], now_ms: int) -> tuple[SentCard, DelegatePayment]:
    """The card and the rest of the body. Raises AcpRefused."""
    method, address = content.get("payment_method"), content.get("billing_address")
    if not isinstance(method, dict):
        raise AcpRefused(AcpError.MALFORMED, "$.payment_method", "missing")
    refused: FieldRefused | None = None
    sent: SentCard | None = None
    try:
        sent = take_card(
            method,
            CARD_NAMES,
            is_network_token=method.get("card_number_type") == "network_token",
            postal_code=address.get("postal_code") if isinstance(address, dict) else None,
            now=as_datetime(now_ms),
        )
    except FieldRefused as failure:
        refused = failure
    for name in CARD_NAMES.fields():
        method.pop(name, None)
    try:
        asked = DelegatePayment.model_validate(content)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False, include_context=False)[0]
        raise AcpRefused(AcpError.MALFORMED, path_of(first["loc"]), first["type"]) from None
    if refused is not None or sent is None:
        name, code = (refused.name, refused.code) if refused else ("number", "missing")
        malformed = code in ("not_text", "missing") and name != CARD_NAMES.cryptogram
        error = AcpError.MALFORMED if malformed else AcpError.INVALID_CARD
        raise AcpRefused(error, f"$.payment_method.{name}", code)
    if any(signal.action == "blocked" for signal in asked.risk_signals):
        raise AcpRefused(AcpError.BLOCKED, "$.risk_signals", "blocked")
    return sent, asked


def binding_of(asked: DelegatePayment, merchant: str, now_ms: int) -> Binding:
    try:
        expires_ms = parse_moment(asked.allowance.expires_at)
    except ValueError:
        raise AcpRefused(AcpError.MALFORMED, "$.allowance.expires_at", "not_a_moment") from None
    if expires_ms <= now_ms:
        raise AcpRefused(AcpError.INVALID_CARD, "$.allowance.expires_at", "past")
    if expires_ms > now_ms + LONGEST_SECONDS * 1000:
        raise AcpRefused(AcpError.INVALID_CARD, "$.allowance.expires_at", "more_than_a_day_ahead")
    return Binding(merchant, asked.allowance.checkout_session_id, asked.allowance.ceiling, expires_ms)


def _require_version(version: str | None) -> None:
    if version is None:
        raise AcpRefused(AcpError.MISSING_API_VERSION)
    if version not in SUPPORTED_VERSIONS:
        raise AcpRefused(AcpError.UNSUPPORTED_API_VERSION)


def _require_signature(request: Request, pem: str, signed: bytes, now_ms: int) -> None:
    """The signature is over the body's canonical JSON; the protocol leaves the Timestamp outside of it (1)."""
    signature, timestamp = request.headers.get("signature", ""), request.headers.get("timestamp", "")
    try:
        is_fresh = abs(parse_moment(timestamp) - now_ms) <= TIMESTAMP_TOLERANCE_MS
    except ValueError:
        is_fresh = False
    if not is_fresh or not is_signed_by(pem, signed, signature):
        raise AcpRefused(AcpError.SIGNATURE_INVALID)


def _echoed(request: Request) -> dict[str, str]:
    """The headers that the answer repeats; one that is card-like or too long is not, and counts as not sent (2)."""
    names = {_KEY: "idempotency-key", "Request-Id": "request-id"}
    found = {name: request.headers.get(header, "") for name, header in names.items()}
    return {name: value for name, value in found.items() if is_opaque(value)}


def _created(token: Token, merchant: str, echoed: dict[str, str]) -> Response:
    content = {
        "id": token.id,
        "created": as_text(token.created_ms),
        "metadata": {"source": "agent_checkout", "merchant_id": merchant},
    }
    replayed = {"Idempotent-Replayed": "true"} if token.replayed else {}
    return _json(201, content, {**echoed, **replayed})


def _refusal(refused: AcpRefused, echoed: dict[str, str]) -> Response:
    later = {"Retry-After": str(_RETRY_SECONDS[refused.error])} if refused.error in _RETRY_SECONDS else {}
    asks = {"WWW-Authenticate": "Bearer"} if refused.error is AcpError.UNAUTHORIZED else {}
    return _json(refused.error.status, refused.body(SUPPORTED_VERSIONS), {**echoed, **later, **asks})


def _json(status: int, content: dict[str, Any], headers: dict[str, str]) -> Response:
    body = json.dumps(content, separators=(",", ":"))
    return Response(body, status, {**headers, "cache-control": "no-store"}, "application/json")
