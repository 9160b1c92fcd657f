"""Stripe's stand-in: localstripe as a separate program, behind a proxy that adds what it lacks of Stripe's behaviour.

localstripe (GPL-3.0-or-later) keeps real state for the official client but ignores idempotency keys, accepts refunds beyond
what was captured, lets declining test cards succeed, and refuses many parameters. The proxy mends that, from Stripe's
documentation: https://docs.stripe.com/api/idempotent_requests, https://docs.stripe.com/testing.
"""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.vault_zone.processors.fault_proxy import FaultProxy

PYTHON = Path(__file__).parents[3] / ".venv" / "localstripe" / "bin" / "python"
MISSING = "no localstripe: run deploy/test-needs.sh"
TEST_KEY = "sk_test_localstripe"
# It would write every card to a file in the system's temporary directory, and listen on every address.
_PROGRAM = (
    "import socket, sys\n"
    "from aiohttp import web\n"
    "from localstripe import server\n"
    "server.store.dump_to_disk = lambda: None\n"
    "web.run_app(server.app, sock=socket.socket(fileno=int(sys.argv[1])), print=None, access_log=None)\n"
)
DECLINES = {  # https://docs.stripe.com/testing#declined-payments
    "4000000000000002": "generic_decline",
    "4000000000009995": "insufficient_funds",
    "4000000000000119": "processing_error",
}
CHALLENGE = "4000002500003155"
_NOT_TAKEN = (
    "return_url",
    "off_session",
    "expand",
    "payment_method_options",
    "payment_method_data",
    "created",
    "final_capture",
)
_EVENT_OF = {
    "succeeded": "payment_intent.succeeded",
    "requires_capture": "payment_intent.amount_capturable_updated",
    "requires_action": "payment_intent.requires_action",
    "requires_payment_method": "payment_intent.payment_failed",
    "canceled": "payment_intent.canceled",
}


@contextmanager
def localstripe() -> Iterator[str]:
    """The address of a localstripe with nothing in it. Raises FileNotFoundError where it is not installed."""
    if not PYTHON.is_file():
        raise FileNotFoundError(MISSING)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)  # connections wait until the program takes them up
        handle = listener.fileno()
        program = subprocess.Popen([PYTHON, "-I", "-c", _PROGRAM, str(handle)], pass_fds=[handle], env={})
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        yield address
    finally:
        program.terminate()
        program.wait(timeout=30)


def moves_money(request: Request) -> bool:
    """Whether a request creates, captures or cancels a PaymentIntent, or refunds."""
    return request.method == "POST" and request.url.path.startswith(("/v1/payment_intents", "/v1/refunds"))


class StripeProxy(FaultProxy):
    """localstripe with Stripe's idempotency, declines, redirects and bounds of captures and refunds.

    ``keeps_keys`` False: a processor that ignores idempotency keys. ``events`` is what Stripe would notify of.
    """

    def __init__(self, upstream: httpx.AsyncClient, *, keeps_keys: bool = True) -> None:
        super().__init__(upstream, moves_money)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.public_url = "http://127.0.0.1"
        self._keeps_keys = keeps_keys
        self._kept: dict[str, tuple[str, Response | None]] = {}
        self._numbers: dict[str, str] = {}
        self._declined: dict[str, str] = {}
        self._captured: dict[str, int] = {}

    async def answer(self, request: Request, body: bytes) -> Response:
        """As Stripe: a key's first answer again, an error for its second meaning, a conflict while the first is under way."""
        key = request.headers.get("idempotency-key")
        if request.method != "POST" or key is None or not self._keeps_keys:
            return await self._answer(request, dict(parse_qsl(body.decode())))
        meaning = sha256(request.url.path.encode() + b"\n" + body).hexdigest()
        if key in self._kept:
            before, kept = self._kept[key]
            if before != meaning:
                return _error(
                    400, "Keys can only be used with the parameters they were first used with", kind="idempotency_error"
                )
            return kept or _error(409, "in use", code="idempotency_key_in_use")
        self._kept[key] = (meaning, None)
        answer = await self._answer(request, dict(parse_qsl(body.decode())))
        self._kept[key] = (meaning, answer)
        return answer

    async def intents(self) -> list[dict[str, Any]]:
        """Every PaymentIntent there is."""
        found: list[dict[str, Any]] = []
        while True:
            after = {"starting_after": found[-1]["id"]} if found else {}
            page = (await self._upstream("GET", "/v1/payment_intents", {"limit": "100", **after}))[1]
            found += [self._as_stripe(each) for each in page["data"]]
            if not page["has_more"]:
                return found

    async def refunded(self, intent: str) -> int:
        """How much of a PaymentIntent was refunded after its capture."""
        page = (await self._upstream("GET", "/v1/refunds", {"payment_intent": intent, "limit": "100"}))[1]
        return sum(refund["amount"] for refund in page["data"] if refund["metadata"])

    async def authenticate(self, intent: str, *, success: bool) -> None:
        """The shopper comes back from the bank."""
        held = (await self._upstream("GET", f"/v1/payment_intents/{intent}"))[1]
        asked = {"client_secret": held["client_secret"], "success": str(success).lower()}
        await self._upstream("POST", f"/v1/payment_intents/{intent}/_authenticate", asked)
        self._notify(self._as_stripe((await self._upstream("GET", f"/v1/payment_intents/{intent}"))[1]))

    async def _answer(self, request: Request, asked: dict[str, str]) -> Response:
        path = request.url.path
        if request.method == "POST" and path == "/v1/payment_methods":
            status, said = await self._upstream("POST", path, asked)
            if status == 200:
                self._numbers[said["id"]] = asked["card[number]"]
            return JSONResponse(said, status)
        if request.method == "POST" and path == "/v1/payment_intents":
            return await self._create(asked)
        if request.method == "POST" and path == "/v1/refunds":
            return await self._refund(asked)
        if request.method == "POST" and path.endswith("/capture"):
            return await self._capture(path.split("/")[3], asked)
        query = asked if request.method == "POST" else dict(request.query_params)
        status, said = await self._upstream(request.method, path, query)
        if path.endswith("/cancel") and status == 200:
            self._notify(said)
        if isinstance(said.get("data"), list):
            said["data"] = [self._as_stripe(each) for each in said["data"]]
        return JSONResponse(self._as_stripe(said), status)

    async def _create(self, asked: dict[str, str]) -> Response:
        if "payment_method_data[shared_payment_granted_token]" in asked:
            card = {
                "card[number]": "4242424242424242",
                "card[exp_month]": "12",
                "card[exp_year]": "2034",
                "card[cvc]": "123",
            }
            asked["payment_method"] = (await self._upstream("POST", "/v1/payment_methods", {"type": "card", **card}))[
                1
            ]["id"]
        code = DECLINES.get(self._numbers.get(asked.get("payment_method", ""), ""))
        if code is None:
            status, said = await self._upstream("POST", "/v1/payment_intents", asked)
            if status == 200:
                self._notify(self._as_stripe(said))
            return JSONResponse(self._as_stripe(said), status)
        unconfirmed = {k: v for k, v in asked.items() if k != "confirm"}
        status, said = await self._upstream("POST", "/v1/payment_intents", unconfirmed)
        self._declined[said["id"]] = code
        intent = self._as_stripe(said)
        self._notify(intent)
        return _error(
            402,
            "Your card was declined.",
            kind="card_error",
            code="card_declined",
            decline_code=code,
            payment_intent=intent,
        )

    async def _capture(self, intent: str, asked: dict[str, str]) -> Response:
        held = self._as_stripe((await self._upstream("GET", f"/v1/payment_intents/{intent}"))[1])
        wanted = int(asked.get("amount_to_capture", held["amount"]))
        if held["status"] != "requires_capture":
            return _error(400, "not capturable", code="payment_intent_unexpected_state")
        if wanted > held["amount"]:
            return _error(400, "more than authorized", code="amount_too_large")
        marks = {k: asked.pop(k) for k in list(asked) if k.startswith("metadata[")}
        status, said = await self._upstream("POST", f"/v1/payment_intents/{intent}/capture", asked)
        if status != 200:
            return JSONResponse(said, status)
        self._captured[intent] = wanted
        if marks:
            said = (await self._upstream("POST", f"/v1/payment_intents/{intent}", marks))[1]
        self._notify(self._as_stripe(said))
        return JSONResponse(self._as_stripe(said))

    async def _refund(self, asked: dict[str, str]) -> Response:
        intent = self._as_stripe((await self._upstream("GET", f"/v1/payment_intents/{asked['payment_intent']}"))[1])
        left = intent["amount_received"] - await self.refunded(intent["id"])
        if left == 0:
            return _error(400, "has already been refunded", code="charge_already_refunded")
        if int(asked.setdefault("amount", str(left))) > left:
            return _error(400, "greater than unrefunded amount on charge")
        status, said = await self._upstream("POST", "/v1/refunds", asked)
        if status == 200:
            self.events.append(("refund.created", said))
        return JSONResponse(said, status)

    async def _upstream(
        self, method: str, path: str, asked: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        taken = {k: v for k, v in (asked or {}).items() if not k.startswith(_NOT_TAKEN)}
        form = {"content-type": "application/x-www-form-urlencoded", "authorization": f"Bearer {TEST_KEY}"}
        target = f"{path}?{urlencode(taken)}" if method == "GET" and taken else path
        said = await self.upstream.request(
            method, target, content=urlencode(taken) if method == "POST" else None, headers=form
        )
        content: dict[str, Any] = said.json()
        return said.status_code, content

    def _notify(self, intent: dict[str, Any]) -> None:
        kind = _EVENT_OF.get(intent["status"])
        if kind is not None:
            self.events.append((kind, json.loads(json.dumps(intent))))

    def _as_stripe(self, said: dict[str, Any]) -> dict[str, Any]:
        if said.get("object") != "payment_intent":
            return said
        if code := self._declined.get(said["id"]):
            said["status"] = "requires_payment_method"
            said["last_payment_error"] = {"code": "card_declined", "decline_code": code}
        whole = said["amount"] if said["status"] == "succeeded" else 0
        said["amount_received"] = self._captured.get(said["id"], whole)
        said["cancellation_reason"] = None
        if said.get("next_action"):
            url = f"{self.public_url}/acs/{said['id']}"
            said["next_action"] = {"type": "redirect_to_url", "redirect_to_url": {"url": url}}
        return said


def _error(status: int, message: str, *, kind: str = "invalid_request_error", **more: Any) -> Response:
    return JSONResponse({"error": {"type": kind, "message": message, **more}}, status)
