"""``POST /ucp/tokenize``: a tokenizer of the Universal Commerce Protocol in its processor's form.

The zone charges what it tokenizes, so there is no ``/detokenize``: a token is resolved inside, by a charge within its binding.

What holds, in this order:
 1. The platform is known by its bearer key; where it has a signature key, the request is signed and fresh (message_signature).
 2. The card leaves the parsed body before anything that could fail with a value in its text looks at it.
 3. A request that was answered gets its answer again under its idempotency key, even if its card has run out since.
 4. The merchant is one of the platform's. UCP sends no amount and no expiry: the ceiling and its currency are those agreed with
    the platform, and the token ends after TOKEN_SECONDS.
 5. Each card, taken or refused, counts as a try of its merchant's and its platform's (platform_limits).
 6. No answer, event or log holds a value of the request.
"""

import json
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vault_zone.delegation.desk import Desk, desk_of, is_opaque
from vault_zone.delegation.handover import Binding, Repeatable, Token
from vault_zone.delegation.message_signature import MessageSignatureRefused, SignedMessage, require_signed
from vault_zone.delegation.platform_limits import TRY_LATER_SECONDS
from vault_zone.delegation.sent_card import BodyRefused, canonical, parse_json, without_proof
from vault_zone.delegation.troubles import Trouble
from vault_zone.delegation.ucp_body import CARD_NAMES, checkout_of, credential_of, merchant_of
from vault_zone.delegation.ucp_errors import UcpError, UcpRefused
from vault_zone.idempotency import key_of
from vault_zone.platforms import Platform, PlatformUnknown, Protocol

BASE_PATH = "/ucp"
PATH = f"{BASE_PATH}/tokenize"
TOKEN_SECONDS = 900  # the tokenization guide advises 5 to 30 minutes
TOKEN_PREFIX = "uct"  # nosec B105  # the beginning of every token of the protocol, not a secret
_RETRY_SECONDS = {
    UcpError.IDEMPOTENCY_IN_FLIGHT: 1,
    UcpError.SERVICE_UNAVAILABLE: 1,
    UcpError.TOO_MANY_REQUESTS: TRY_LATER_SECONDS,
}
_ANSWERS = {
    Trouble.UNKNOWN_PLATFORM: UcpRefused(UcpError.UNAUTHORIZED),
    Trouble.IN_FLIGHT: UcpRefused(UcpError.IDEMPOTENCY_IN_FLIGHT),
    Trouble.KEY_CONFLICT: UcpRefused(UcpError.IDEMPOTENCY_CONFLICT),
    Trouble.TAKES_NO_CARDS: UcpRefused(UcpError.INVALID_CREDENTIAL, "$.binding.identity", "takes_no_cards"),
    Trouble.TOO_MANY_TRIES: UcpRefused(UcpError.TOO_MANY_REQUESTS),
    Trouble.UNAVAILABLE: UcpRefused(UcpError.SERVICE_UNAVAILABLE),
    Trouble.OURS: UcpRefused(UcpError.INTERNAL_ERROR),
}
_RECORDED = (UcpError.INVALID_CREDENTIAL, UcpError.IDENTITY_NOT_ALLOWED)
router = APIRouter()


async def tokenize(request: Request) -> Response:
    """Takes a credential and its binding; answers with a token that one charge of that checkout may use."""
    desk = desk_of(request)
    platform: Platform | None = None
    try:
        platform = await desk.platforms.named_by(request.headers.get("authorization"), Protocol.UCP)
        token = await _take(request, desk, platform)
    except UcpRefused as refused:
        return _refusal(refused)
    except Exception as failure:  # noqa: BLE001  # the protocol has a form for this, and a client that waits for it
        return _refusal(_ANSWERS[await desk.trouble(failure, PATH, Protocol.UCP, platform)])
    return _json(200, {"token": token.id}, {"Idempotent-Replayed": "true"} if token.replayed else {})


router.add_route(PATH, tokenize, methods=["POST"])


async def _take(request: Request, desk: Desk, platform: Platform) -> Token:
    body = await request.body()
    if platform.signature is not None:
        _require_signature(request, body, desk, platform.signature.pem)
    key = request.headers.get("idempotency-key")
    if key is not None and not is_opaque(key):
        raise UcpRefused(UcpError.INVALID_IDEMPOTENCY_KEY)
    try:
        content = parse_json(body)  # (2)
        request_bytes = canonical(without_proof(content, "credential", CARD_NAMES))
    except BodyRefused:
        raise UcpRefused(UcpError.INVALID_REQUEST, "$", "not_json") from None
    again = Repeatable(key_of(platform.id, PATH, key), request_bytes) if key is not None else None
    merchant: str | None = None
    try:
        merchant = merchant_of(content, platform)
        sent = credential_of(content, desk.now_ms())
        binding = binding_of(checkout_of(content), merchant, platform, desk.now_ms())
    except UcpRefused as refused:
        if again and merchant and (earlier := await desk.handovers.kept(again, merchant)) is not None:  # (3)
            return earlier
        if refused.error in _RECORDED:
            await desk.refuse(
                platform, Protocol.UCP, merchant=merchant, status=refused.error.status, reason=refused.reason()
            )  # (5)
        raise
    return await desk.handovers.take(platform, Protocol.UCP, binding, sent, prefix=TOKEN_PREFIX, again=again)


def binding_of(checkout: str, merchant: str, platform: Platform, now_ms: int) -> Binding:
    """What the token may be used for (4). A platform without a ceiling cannot have been added: it is unknown here."""
    if platform.ceiling is None:
        raise PlatformUnknown
    return Binding(merchant, checkout, platform.ceiling, now_ms + TOKEN_SECONDS * 1000)


def _require_signature(request: Request, body: bytes, desk: Desk, pem: str) -> None:
    raw_path: bytes = request.scope.get("raw_path") or request.url.path.encode()
    message = SignedMessage(
        request.method, desk.authority, raw_path.decode("latin-1"), request.url.query, request.headers, body
    )
    try:
        require_signed(message, pem, desk.now_ms())  # (1)
    except MessageSignatureRefused as refused:
        raise UcpRefused(UcpError[refused.code.upper()]) from None


def _refusal(refused: UcpRefused) -> Response:
    later = {"Retry-After": str(_RETRY_SECONDS[refused.error])} if refused.error in _RETRY_SECONDS else {}
    asks = {"WWW-Authenticate": 'Bearer realm="ucp"'} if refused.error is UcpError.UNAUTHORIZED else {}
    return _json(refused.error.status, refused.body(), {**later, **asks})


def _json(status: int, content: dict[str, Any], headers: dict[str, str]) -> Response:
    body = json.dumps(content, separators=(",", ":"))
    return Response(body, status, {**headers, "cache-control": "no-store"}, "application/json")
