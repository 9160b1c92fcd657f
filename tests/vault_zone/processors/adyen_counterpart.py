"""A small counterpart of Adyen's Checkout API, in the shapes of its documentation: payments, captures, cancels, refunds.

It keeps a record, honours idempotency keys, answers modifications with "received" and tells their outcome by signed webhooks.
Source: https://docs.adyen.com/api-explorer/Checkout/72 and https://docs.adyen.com/development-resources/webhooks.
"""

import itertools
import json
from base64 import b64encode
from hashlib import sha256
from hmac import digest
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

MERCHANT_ACCOUNT = "CordonTest"
HMAC_KEY = (
    "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"  # the example key of Adyen's documentation
)
API_KEY = "adyen-key-for-tests"
# Adyen's test platform refuses by the holder's name; here published numbers do: https://docs.adyen.com/development-resources/testing.
REFUSES = {"4000000000009995": ("Not enough balance", "12"), "4000000000000119": ("Issuer Unavailable", "9")}
CHALLENGE = "4000002500003155"


class AdyenCounterpart:
    """The record, and the application that serves it."""

    def __init__(self) -> None:
        self.payments: dict[str, dict[str, Any]] = {}
        self.items: list[dict[str, Any]] = []
        self._kept: dict[str, tuple[bytes, Response]] = {}
        self._numbers = itertools.count(1)
        self.app = Starlette(
            routes=[
                Route("/v72/payments", self._pay, methods=["POST"]),
                Route("/v72/payments/details", self._details, methods=["POST"]),
                Route("/v72/payments/{held}/captures", self._capture, methods=["POST"]),
                Route("/v72/payments/{held}/cancels", self._cancel, methods=["POST"]),
                Route("/v72/payments/{held}/refunds", self._refund, methods=["POST"]),
            ]
        )

    def authenticate(self, reference: str, *, success: bool) -> None:
        """The shopper comes back from the bank."""
        [payment] = [p for p in self.payments.values() if p["reference"] == reference]
        payment["state"] = "authorised" if success else "refused"
        payment["captured"] = payment["value"] if success else 0
        self._tell("AUTHORISATION", payment["psp"], payment, success, reason="" if success else "3D Not Authenticated")

    def bring_back(self, reference: str, *, success: bool) -> str:
        """What the bank adds to the address at which the shopper comes back; nothing is decided before it is sent here."""
        [payment] = [p for p in self.payments.values() if p["reference"] == reference]
        payment["success"] = success
        return f"X6XtfGC3!{payment['psp']}"

    async def _details(self, request: Request) -> Response:
        if request.headers.get("x-api-key") != API_KEY:
            return _error(401, "000", "HTTP Status Response - Unauthorized")
        result = json.loads(await request.body())["details"]["redirectResult"]
        payment = self.payments.get(result.removeprefix("X6XtfGC3!"))
        if payment is None:
            return _error(422, "101", "Invalid redirectResult")
        success = payment["success"]
        if payment["state"] == "waiting":
            self.authenticate(payment["reference"], success=success)
        said = {"pspReference": payment["psp"], "merchantReference": payment["reference"]}
        refused = {"refusalReason": "3D Not Authenticated", "refusalReasonCode": "11"}
        return JSONResponse(
            {**said, "resultCode": "Authorised"} if success else {**said, **refused, "resultCode": "Refused"}
        )

    async def _pay(self, request: Request) -> Response:
        return await self._once(request, self._paid)

    def _paid(self, asked: dict[str, Any], held: str) -> Response:
        for needed in ("merchantAccount", "reference", "amount", "paymentMethod", "returnUrl"):
            if needed not in asked:
                return _error(422, "130", f"Required field {needed} is not provided")
        psp, number = self._psp(), asked["paymentMethod"]["number"]
        is_held = asked.get("additionalData", {}).get("manualCapture") == "true"
        payment = {"psp": psp, "reference": asked["reference"], "refunded": 0, "captured": 0, **asked["amount"]}
        self.payments[psp] = payment
        if number == CHALLENGE:
            payment["state"] = "waiting"
            action = {"type": "redirect", "method": "GET", "url": f"https://checkoutshopper-test.adyen.com/acs/{psp}"}
            return JSONResponse({"resultCode": "RedirectShopper", "action": action})
        if number in REFUSES:
            payment["state"] = "refused"
            reason, code = REFUSES[number]
            self._tell("AUTHORISATION", psp, payment, False, reason=reason)
            said = {"resultCode": "Refused", "refusalReason": reason, "refusalReasonCode": code}
            return JSONResponse({"pspReference": psp, "merchantReference": asked["reference"], **said})
        payment["state"] = "authorised"
        payment["captured"] = 0 if is_held else payment["value"]
        self._tell("AUTHORISATION", psp, payment, True)
        return JSONResponse({"pspReference": psp, "resultCode": "Authorised", "merchantReference": asked["reference"]})

    async def _capture(self, request: Request) -> Response:
        def work(asked: dict[str, Any], held: str) -> Response:
            payment, wanted = self.payments[held], asked["amount"]["value"]
            done = payment["state"] == "authorised" and payment["captured"] + wanted <= payment["value"]
            payment["captured"] += wanted if done else 0
            return self._received("CAPTURE", asked, payment, done, wanted, "Insufficient balance on payment")

        return await self._once(request, work)

    async def _cancel(self, request: Request) -> Response:
        def work(asked: dict[str, Any], held: str) -> Response:
            payment = self.payments[held]
            done = payment["state"] == "authorised" and payment["captured"] == 0
            payment["state"] = "cancelled" if done else payment["state"]
            return self._received("CANCELLATION", asked, payment, done, payment["value"], "Transaction not cancellable")

        return await self._once(request, work)

    async def _refund(self, request: Request) -> Response:
        def work(asked: dict[str, Any], held: str) -> Response:
            payment, wanted = self.payments[held], asked["amount"]["value"]
            done = payment["refunded"] + wanted <= payment["captured"]
            payment["refunded"] += wanted if done else 0
            return self._received("REFUND", asked, payment, done, wanted, "Insufficient balance on payment")

        return await self._once(request, work)

    async def _once(self, request: Request, work: Any) -> Response:
        body, key = await request.body(), request.headers.get("idempotency-key", "")
        if request.headers.get("x-api-key") != API_KEY:
            return _error(401, "000", "HTTP Status Response - Unauthorized")
        if key in self._kept:
            before, kept = self._kept[key]
            return kept if before == body else _error(422, "704", "request already processed or in progress")
        asked = json.loads(body)
        if asked.get("merchantAccount") != MERCHANT_ACCOUNT:
            return _error(403, "901", "Invalid Merchant Account")
        held = request.path_params.get("held", "")
        if held and held not in self.payments:
            return _error(422, "167", "Original pspReference required for this operation")
        answer: Response = work(asked, held)
        self._kept[key] = (body, answer)
        return answer

    def _received(
        self, event: str, asked: dict[str, Any], payment: dict[str, Any], done: bool, value: int, reason: str
    ) -> Response:
        psp = self._psp()
        about = {**payment, "reference": asked["reference"], "value": value}
        self._tell(event, psp, about, done, original=payment["psp"], reason="" if done else reason)
        said = {"merchantAccount": MERCHANT_ACCOUNT, "pspReference": psp, "status": "received"}
        return JSONResponse({**said, "paymentPspReference": payment["psp"], "reference": asked["reference"]}, 201)

    def _tell(
        self, event: str, psp: str, about: dict[str, Any], success: bool, *, original: str = "", reason: str = ""
    ) -> None:
        item = {
            "pspReference": psp,
            "merchantAccountCode": MERCHANT_ACCOUNT,
            "merchantReference": about["reference"],
            "amount": {"value": about["value"], "currency": about["currency"]},
            "eventCode": event,
            "success": str(success).lower(),
            "eventDate": "2026-11-27T00:00:00+01:00",
            "reason": reason,
            **({"originalReference": original} if original else {}),
        }
        self.items.append(item)

    def _psp(self) -> str:
        return f"PSP{next(self._numbers):06d}TEST"


def webhook(*items: dict[str, Any], key: str = HMAC_KEY) -> bytes:
    """A standard webhook with these items, signed as Adyen signs: HMAC-SHA-256 over eight fields with colons between."""
    return json.dumps({"live": "false", "notificationItems": [_signed(item, key) for item in items]}).encode()


def _signed(item: dict[str, Any], key: str) -> dict[str, Any]:
    words = [
        item["pspReference"],
        item.get("originalReference", ""),
        item["merchantAccountCode"],
        item["merchantReference"],
        str(item["amount"]["value"]),
        item["amount"]["currency"],
        item["eventCode"],
        item["success"],
    ]
    signature = b64encode(digest(bytes.fromhex(key), ":".join(words).encode(), sha256)).decode()
    more = {**item.get("additionalData", {}), "hmacSignature": signature}
    return {"NotificationRequestItem": {**item, "additionalData": more}}


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"status": status, "errorCode": code, "message": message, "errorType": "validation"}, status)
