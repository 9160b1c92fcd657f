"""The brand's agent for other agents: an A2A 1.0 agent with one skill, to answer a need (A2A protocol, JSON-RPC binding).

``GET /BRAND/.well-known/agent-card.json`` says who it is; ``POST /BRAND/a2a`` takes ``SendMessage`` and answers with a message,
at once: there are no tasks, no streams and no push. It is the agent of ``ask_brand`` (commerce_api/agent_desk.py), behind the
same door, card guard, rates and record.

What holds for a message that is answered:
 1. Its host, origin and content type are taken by the same check as the SDK's endpoint has.
 2. Who sends it may ask: a guest, the brand's own agent, or a token with the scopes of ``ask_brand``.
 3. Its text is data: it reaches the desk as a need and nothing else, and no error repeats it.
 4. It is on record before it is answered (I5).
"""

import json
from dataclasses import dataclass
from typing import Any, Final

import structlog
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from audit.transaction import DatabaseBusy
from commerce_api.app import is_unstorable
from commerce_api.brands import Brand
from commerce_api.checkout.service import Caller
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.links import Links
from commerce_api.runtime import Commerce
from commerce_api.schemas import AskView
from commerce_api.shown import one_line, seen
from mcp_server.bearer import Access
from mcp_server.call_record import Call, CallRecorder
from mcp_server.scopes import need_of
from mcp_server.texts import text_of
from tokenization.edge import Answer, Scope, error_body, header
from tokenization.ids import new_id
from tokenization.logs import cause_of

VERSION: Final = "1.0"
CARD: Final = [".well-known", "agent-card.json"]  # beneath the brand's address
ASK: Final = "ask_brand"  # the tool whose scopes and name in the record it shares
LONGEST: Final = 1_000  # characters of a need, as the tool has it
NOT_FOUND, UNSUPPORTED, VERSION_UNSUPPORTED = -32001, -32004, -32009  # A2A 1.0, error codes
PARSE, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603  # JSON-RPC 2.0
REFUSED: Final = -32000
_TASK_METHODS: Final = frozenset({"GetTask", "CancelTask", "SubscribeToTask"})
_OTHER_METHODS: Final = frozenset(
    {"SendStreamingMessage", "ListTasks", "GetExtendedAgentCard"}
    | {f"{verb}TaskPushNotificationConfig" for verb in ("Create", "Get", "Delete")}
    | {"ListTaskPushNotificationConfigs"}
)
log = structlog.get_logger("mcp_server")


class _Part(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)
    text: str | None = None


class _Message(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)
    parts: list[_Part] = Field(min_length=1, max_length=20)
    contextId: str | None = Field(None, max_length=100)  # noqa: N815  # the protocol's own name


class _Params(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)
    message: _Message


def agent_card(brand: Brand, links: Links) -> dict[str, Any]:
    """Who the brand's agent is, and where it is asked."""
    name = one_line(brand.name)
    return {
        "name": name,
        "description": f"Answers what the store of {name} has for a need: products, delivery, offers, questions.",
        "version": "1",
        "supportedInterfaces": [
            {"url": f"{links.mcp_url}/{brand.id}/a2a", "protocolBinding": "JSONRPC", "protocolVersion": VERSION}
        ],
        "capabilities": {"streaming": False, "pushNotifications": False},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain", "application/json"],
        "skills": [
            {
                "id": "ask",
                "name": "Ask the store",
                "description": "Takes a whole need in plain English and answers from the catalogue. Remembers nothing.",
                "tags": ["shopping"],
                "examples": ["a quiet kettle under $150, in Leeds by Friday"],
            }
        ],
    }


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as the door let it in."""

    scope: Scope
    brand: Brand
    access: Access
    client: str
    body: bytes


class Agent:
    """Answers for every brand."""

    def __init__(self, commerce: Commerce, recorder: CallRecorder, security: TransportSecuritySettings) -> None:
        self._commerce = commerce
        self._recorder = recorder
        self._security = TransportSecurityMiddleware(security)

    async def answer(self, sent: Sent) -> Answer:
        """The answer to a request."""
        refused = await self._security.validate_request(Request(sent.scope), is_post=True)  # (1)
        if refused is not None:
            return refused.status_code, error_body("invalid_request", "Host, Origin or Content-Type is not taken here.")
        try:
            request = json.loads(sent.body)
        except (ValueError, RecursionError):
            return _error(None, PARSE, "This is not JSON.")
        request_id = request.get("id") if isinstance(request, dict) else None
        if isinstance(request_id, bool) or not isinstance(request_id, str | int | None) or len(str(request_id)) > 100:
            request_id = None
        if (
            not isinstance(request, dict)
            or request.get("jsonrpc") != "2.0"
            or not isinstance(request.get("method"), str)
        ):
            return _error(request_id, INVALID_REQUEST, "This is no request of JSON-RPC 2.0.")
        if header(sent.scope, b"a2a-version") not in (None, VERSION):
            return _error(request_id, VERSION_UNSUPPORTED, f"This agent speaks A2A {VERSION}.")
        if request["method"] in _TASK_METHODS:
            return _error(request_id, NOT_FOUND, "There are no tasks here: a message is answered at once.")
        if request["method"] in _OTHER_METHODS:
            return _error(request_id, UNSUPPORTED, "This agent takes SendMessage only.")
        if request["method"] != "SendMessage":
            return _error(request_id, NO_METHOD, "There is no such method here.")
        try:
            message = _Params.model_validate(request.get("params")).message
        except ValidationError:
            return _error(request_id, INVALID_PARAMS, "A message has parts, and a part has a text.")
        need = " ".join(part.text for part in message.parts if part.text).strip()
        if not 1 <= len(need) <= LONGEST:
            return _error(request_id, INVALID_PARAMS, f"Say the need as text, in at most {LONGEST} characters.")
        return await self._asked(sent, request_id, message, need)

    async def _asked(self, sent: Sent, request_id: str | int | None, message: _Message, need: str) -> Answer:
        if not sent.access.may_call(need_of(ASK), guest_checkout=True):  # (2)
            await self._record(sent, CommerceError.SCOPE_INSUFFICIENT.code)
            return _refusal(request_id, CommerceError.SCOPE_INSUFFICIENT)
        try:
            self._recorder.check()
            caller = Caller(sent.access.principal, "a2a")
            told = _message(await self._commerce.desk.ask(sent.brand.id, caller, need), message)
        except CommerceRefusal as refusal:
            await self._record(sent, refusal.kind.code)
            return _refusal(request_id, refusal.kind)
        except (DatabaseBusy, SQLAlchemyError, OSError) as failure:
            if is_unstorable(failure):
                return _error(request_id, INVALID_PARAMS, "The text holds a character that cannot be stored.")
            log.error("database_failed", cause=cause_of(failure))
            return _refusal(request_id, CommerceError.BUSY)
        except Exception as failure:  # noqa: BLE001  # a defect of ours: who asks is told, as the tools tell it
            log.error("asking_failed", cause=cause_of(failure))
            await self._record(sent, CommerceError.INTERNAL.code)
            return _refusal(request_id, CommerceError.INTERNAL, INTERNAL)
        await self._record(sent, None)  # (4)
        return 200, {"jsonrpc": "2.0", "id": request_id, "result": {"message": told}}

    async def _record(self, sent: Sent, refused_with: str | None) -> None:
        await self._recorder.note(
            Call(
                brand=sent.brand.id,
                principal=sent.access.principal,
                client=sent.client,
                software=header(sent.scope, b"user-agent") or "",
                protocol=f"a2a-{VERSION}",
                tool=ASK,
                arguments={},
                refusal=refused_with,
                shopper=sent.access.shopper,
                program=sent.access.client,
            )
        )


def _message(view: AskView, asked: _Message) -> dict[str, Any]:
    """The answer as text and as data. The context is the asker's own word: nothing is kept under it."""
    return {
        "messageId": new_id("msg"),
        "contextId": asked.contextId or new_id("ctx"),
        "role": "ROLE_AGENT",
        "parts": [
            {"text": text_of(view), "mediaType": "text/plain"},
            {"data": seen(view.model_dump(mode="json")), "mediaType": "application/json"},
        ],
    }


def _refusal(request_id: str | int | None, kind: CommerceError, code: int = REFUSED) -> Answer:
    return _error(request_id, code, kind.message, {"code": kind.code})


def _error(request_id: str | int | None, code: int, message: str, data: dict[str, str] | None = None) -> Answer:
    failure: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        failure["data"] = [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": data["code"].upper(), "domain": "cordon"}
        ]
    return 200, {"jsonrpc": "2.0", "id": request_id, "error": failure}
