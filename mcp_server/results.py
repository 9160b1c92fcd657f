"""What a tool gives back: a text that reads well, the same as data, and refusals that an agent can act on.

Clients written on the TypeScript SDK check structured content against the tool's output schema even when ``isError`` is set,
so a refusal that is not in the schema never reaches its agent: every schema here says what a refusal looks like too.
"""

import json
from typing import Any

from mcp_types import Annotations, CallToolResult, TextContent
from pydantic import BaseModel

from commerce_api.errors import CommerceError
from commerce_api.shown import seen
from mcp_server.texts import text_of
from tokenization.edge import CARD_TEXT_CODE, error_body

REFUSAL_CODES = sorted([*(kind.code for kind in CommerceError), CARD_TEXT_CODE])
_REFUSAL: dict[str, Any] = {
    "error": {
        "type": "object",
        "description": "Only in a refusal (isError): what was refused, and what to do about it. Nothing was changed.",
        "properties": {"code": {"type": "string", "enum": REFUSAL_CODES}, "message": {"type": "string"}},
        "required": ["code", "message"],
    },
    "broken": {
        "type": "array",
        "items": {"type": "string"},
        "description": "Only with invalid_request: the arguments to mend, as `path: rule`",
    },
    "retry_after_seconds": {"type": "integer", "description": "Only with rate_limited: when to call again"},
}


def output_schema(view: dict[str, Any]) -> dict[str, Any]:
    """A view's schema, widened by the refusal. The view's own fields stay at the root, where simple clients look for them."""
    fields = {name: value for name, value in view.items() if name != "required"}
    return {
        **fields,
        "properties": {**view["properties"], **_REFUSAL},
        "anyOf": [{"required": view["required"]}, {"required": ["error"]}],
    }


def answer(view: BaseModel) -> CallToolResult:
    """A view as a result: text for people, and the data twice, because many hosts give models the content alone.

    The specification asks for the second (Tools, structured content: SHOULD). It says of whom each is meant. In the data too
    others' texts hold nothing that is not seen; their line breaks stay, for a string there cannot pass for a line of ours.
    """
    content = seen(view.model_dump(mode="json"))
    return CallToolResult(
        content=[
            TextContent(type="text", text=text_of(view), annotations=Annotations(audience=["user", "assistant"])),
            TextContent(
                type="text",
                text=json.dumps(content, separators=(",", ":"), ensure_ascii=False),
                annotations=Annotations(audience=["assistant"]),
            ),
        ],
        structured_content=content,
    )


def refusal(kind: CommerceError, **extra: object) -> CallToolResult:
    """A refusal as a result, with its closed code and what the caller can do."""
    return CallToolResult.model_validate(refusal_as_json(kind.code, kind.message, **extra))


def refusal_as_json(code: str, message: str, **extra: object) -> dict[str, Any]:
    """As refusal(), in the form it has on the wire. ``extra`` names what to mend or when to come back."""
    said = "".join(f" {name}: {_shown(value)}." for name, value in extra.items())
    return {
        "content": [{"type": "text", "text": f"Refused ({code}). {message}{said}"}],
        "structuredContent": {**error_body(code, message), **extra},
        "isError": True,
    }


def told_id(body: bytes) -> int | str | None:
    """The id of a JSON-RPC request. It is the caller's own text: one that could carry something is not repeated."""
    try:
        request_id = json.loads(body)["id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if type(request_id) is int and abs(request_id) <= 2**31:
        return request_id
    return request_id if isinstance(request_id, str) and len(request_id) <= 36 and request_id.isalpha() else None


def _shown(value: object) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
