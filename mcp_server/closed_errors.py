"""Protocol errors as a closed set: the SDK's own repeat methods, addresses, names and rejected values of the caller's.

What holds for every JSON-RPC error that leaves, in an answer or in a stream:
 1. Its message is ours, by its code; a code that is not in the set becomes an internal error.
 2. Its data holds only what the protocol needs and what is not the caller's text.
"""

import json
import re
from typing import Any, Final

from mcp_types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    PARSE_ERROR,
    UNSUPPORTED_PROTOCOL_VERSION,
    URL_ELICITATION_REQUIRED,
)

from tokenization.edge import App, Message, Receive, Scope, Send

TOOL_UNKNOWN: Final = "There is no such tool here. Take a name from tools/list."
RESOURCE_UNKNOWN: Final = "There is no such resource here. Take an address from resources/list."
CURSOR_UNKNOWN: Final = "There is no such page. The whole list is on its first one: leave the cursor out."
MESSAGES: Final = {
    PARSE_ERROR: "The body is not JSON.",
    INVALID_REQUEST: "The body is not one request or notification of JSON-RPC 2.0.",
    METHOD_NOT_FOUND: "This server has no such method.",
    INVALID_PARAMS: "The parameters do not have the form that the method asks for.",
    INTERNAL_ERROR: "Something failed here that is ours to mend. Nothing is lost; ask for the state, then try again.",
    HEADER_MISMATCH: "MCP-Protocol-Version, Mcp-Method and Mcp-Name have to say what the body says.",
    MISSING_REQUIRED_CLIENT_CAPABILITY: "The client did not declare what this call needs of it.",
    UNSUPPORTED_PROTOCOL_VERSION: "This server does not speak that version of the protocol.",
    URL_ELICITATION_REQUIRED: "The shopper has to open an address to go on.",
}
_OWN: Final = frozenset({TOOL_UNKNOWN, RESOURCE_UNKNOWN, CURSOR_UNKNOWN})
_KEPT: Final[dict[int, tuple[str, ...]]] = {
    URL_ELICITATION_REQUIRED: ("elicitations",),
    MISSING_REQUIRED_CLIENT_CAPABILITY: ("requiredCapabilities",),
    UNSUPPORTED_PROTOCOL_VERSION: ("supported", "requested"),
    INVALID_PARAMS: ("reason",),
}
_REASON: Final = "invalid_request_state"  # the SDK's one reason
# The protocol asks for the version that was requested, word for word: what has the form of one, and no room for more.
_VERSION: Final = re.compile(r"v?[0-9]{1,4}(?:[.-][0-9]{1,2}){0,2}", re.ASCII)
_SIGN: Final = b'"error"'


class ClosedErrors:
    """Stands between the SDK and the client."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message | None = None

        async def closing(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                if _is_stream(message):
                    return await send(message)
                start = message  # its length may change
                return None
            if message["type"] == "http.response.body":
                message = {**message, "body": close_errors(message.get("body", b""))}
                if start is not None:
                    whole = None if message.get("more_body") else len(message["body"])
                    await send({**start, "headers": _with_length(start, whole)})
                    start = None
            return await send(message)

        return await self._app(scope, receive, closing)


def close_errors(body: bytes) -> bytes:
    """An answer's body, or events of a stream, with closed errors; everything else as it was."""
    if _SIGN not in body:
        return body
    if body.lstrip()[:1] == b"{":
        return _closed(body)
    return b"\n".join(_closed_line(line) for line in body.split(b"\n"))


def _closed_line(line: bytes) -> bytes:
    if not line.startswith(b"data:"):
        return line
    ending = b"\r" if line.endswith(b"\r") else b""
    return b"data: " + _closed(line[5:].strip()) + ending


def _closed(text: bytes) -> bytes:
    try:
        message = json.loads(text)
    except ValueError:
        return text
    if not isinstance(message, dict) or not isinstance(message.get("error"), dict) or "jsonrpc" not in message:
        return text  # a result: its refusals are our own
    message["error"] = _error(message["error"])
    return json.dumps(message, separators=(",", ":")).encode()


def _error(error: dict[str, Any]) -> dict[str, Any]:
    code = error.get("code")
    if not isinstance(code, int) or code not in MESSAGES:
        code = INTERNAL_ERROR  # (1)
    message = error["message"] if error.get("message") in _OWN else MESSAGES[code]
    given = error.get("data")
    data = {name: given[name] for name in _KEPT.get(code, ()) if name in given} if isinstance(given, dict) else {}
    if not _VERSION.fullmatch(str(data.get("requested", ""))):
        data.pop("requested", None)  # (2)
    if data.get("reason") != _REASON:
        data.pop("reason", None)
    return {"code": code, "message": message, **({"data": data} if data else {})}


def _is_stream(start: Message) -> bool:
    headers: list[tuple[bytes, bytes]] = list(start.get("headers", ()))
    return any(name.lower() == b"content-type" and b"event-stream" in value for name, value in headers)


def _with_length(start: Message, length: int | None) -> list[tuple[bytes, bytes]]:
    headers = [(name, value) for name, value in start.get("headers", ()) if name.lower() != b"content-length"]
    return headers if length is None else [*headers, (b"content-length", str(length).encode())]
