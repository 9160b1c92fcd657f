"""What every endpoint of the sandbox does alike: reads a bounded body, asks for the keys, answers in JSON."""

import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from vault_zone.processors.sandbox_server.connection import NoReply
from vault_zone.processors.sandbox_server.errors import ErrorCode, Refusal
from vault_zone.processors.sandbox_server.faults import Faults
from vault_zone.processors.sandbox_server.once import Reply
from vault_zone.processors.sandbox_server.wire import Operation

MAX_BODY_BYTES: Final = 32 * 1024  # ten times the longest body of a charge that the fields allow
MAX_KEY_LENGTH: Final = 255  # as Stripe's API documents for Idempotency-Key

Endpoint = Callable[[Request], Awaitable[Response]]


def json_response(content: dict[str, Any], status: int = 200) -> Response:
    """The answer."""
    return Response(json.dumps(content), status, media_type="application/json")


async def read_body(request: Request) -> bytes:
    """The whole body, bounded. Raises Refusal."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise Refusal(ErrorCode.INVALID_REQUEST, ("the body's length",))
    except ClientDisconnect:
        pass
    else:
        return bytes(body)
    raise Refusal(ErrorCode.INVALID_REQUEST, ("the body's length",))


def idempotency_key(request: Request) -> str:
    """The request's Idempotency-Key. Raises Refusal."""
    key = request.headers.get("Idempotency-Key", "")
    if not 1 <= len(key) <= MAX_KEY_LENGTH:
        raise Refusal(ErrorCode.IDEMPOTENCY_KEY_REQUIRED)
    return key


def keyed(api_key: bytes, endpoint: Endpoint) -> Endpoint:
    """The endpoint, for callers with the API key only. Raises Refusal before anything of the request is read."""

    async def guarded(request: Request) -> Response:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        known = hmac.compare_digest(key.strip().encode(), api_key)
        if scheme.lower() != "bearer" or not known:
            raise Refusal(ErrorCode.UNAUTHENTICATED)
        return await endpoint(request)

    guarded.__name__ = endpoint.__name__
    return guarded


def replied(reply: Reply | None) -> Response:
    """The reply of a key, or the end of the connection where there is to be none."""
    if reply is None:
        return NoReply()
    response = Response(reply.text, media_type="application/json")
    if reply.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


async def answer_query(faults: Faults, operation: Operation, read: Callable[[], dict[str, Any]]) -> Response:
    """What is on record, unless a fault was asked for. Raises Refusal."""
    fault = faults.take(operation)
    if not await faults.before(fault):
        return NoReply()
    content = read()
    return json_response(content) if await faults.after(fault) else NoReply()
