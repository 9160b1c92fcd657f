"""The connector to Adyen, by its official client. docs/connectors.md says what it promises, with sources.

What must hold of a charge:
 1. It is one request under our reference as idempotency key; nothing is retried, and it ends within its timeout.
 2. What is not a definite answer is UNKNOWN. Adyen has no record that can be asked by our reference: its notice ends it.
 3. No error of the client leaves here, and none is given what was sent: it would keep the card.
 4. What a shopper brings back from the bank ends the charge that it is of, whichever it was brought back to.
The client blocks, so each call has a thread. One that runs out of time is left to its own timeout, and its answer is dropped.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

from Adyen import AdyenClient
from Adyen.exceptions import AdyenError
from Adyen.services.checkout.modifications_api import ModificationsApi
from Adyen.services.checkout.payments_api import PaymentsApi

from audit.threads import for_thread
from tokenization.ids import digest
from tokenization.wire import Initiator, ModificationKind
from vault_zone.card import Exposure
from vault_zone.device import Device
from vault_zone.processors.adyen_objects import (
    HOLD,
    REASON_NOT_REPRESENTABLE,
    UNITS,
    details_answer,
    modification_answer,
    modification_refused,
    payment_answer,
    payment_refused,
)
from vault_zone.processors.adyen_transport import AdyenTransport, NotAnswered, NotSent
from vault_zone.processors.adyen_webhooks import read_events
from vault_zone.processors.port import (
    Feature,
    ModificationAnswer,
    ModificationOutcome,
    Outcome,
    ProcessorAnswer,
    ProcessorCharge,
    ProcessorEvent,
    ProcessorModification,
)
from vault_zone.processors.units import AmountUnsayable

_Answer = TypeVar("_Answer", ProcessorAnswer, ModificationAnswer)
THREADS: Final = 32  # charges under way at once; what is more waits for a thread, and within its own timeout
QUERY_FIELDS_MAXIMUM: Final = 20  # of a shopper's return: ours, Adyen's, and some that others add
_RECURRING: Final[Mapping[Initiator, tuple[str, str]]] = {
    Initiator.SHOPPER: ("Ecommerce", "CardOnFile"),
    Initiator.MERCHANT_UNSCHEDULED: ("ContAuth", "UnscheduledCardOnFile"),
    Initiator.MERCHANT_RECURRING: ("ContAuth", "Subscription"),
}


class AdyenProcessor:
    """Speaks for one merchant account at Adyen.

    ``live_endpoint_prefix`` None: Adyen's test platform. ``hmac_key``: hexadecimal, of the standard webhook. ``api_base`` is
    another address in tests alone, on this machine. Raises ValueError for an address that a card must not be sent to.
    """

    # Nothing is concluded from absence where there is no record to ask, so this is never waited for.
    request_lifetime_seconds = 600.0
    # https://docs.adyen.com/online-payments/capture: most schemes' authorizations expire in 7 days.
    authorization_lifetime_seconds = 7 * 86_400.0
    features = frozenset(
        {
            Feature.MANUAL_CAPTURE,
            Feature.PARTIAL_CAPTURE,
            Feature.PARTIAL_REFUND,
            Feature.MERCHANT_INITIATED,
            Feature.NETWORK_TOKEN,
        }
    )

    def __init__(
        self,
        api_key: str,
        merchant_account: str,
        hmac_key: str,
        *,
        name: str = "adyen",
        live_endpoint_prefix: str | None = None,
        api_base: str | None = None,
        timeout_seconds: float = 30.0,
    ) -> None:
        if api_base is not None and urlsplit(api_base).hostname not in ("127.0.0.1", "::1"):
            raise ValueError("another address than Adyen's is this machine, in a test")
        self.name = name
        self.is_sandbox = live_endpoint_prefix is None
        self._merchant_account = merchant_account
        self._hmac_key = hmac_key
        self._timeout_seconds = timeout_seconds
        self._transport = AdyenTransport(timeout_seconds, api_base)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="adyen")
        client = AdyenClient(
            xapikey=api_key,
            platform="test" if self.is_sandbox else "live",
            live_endpoint_prefix=live_endpoint_prefix,
        )
        client.http_client, client.http_init = self._transport, True
        self._payments, self._modifications = PaymentsApi(client), ModificationsApi(client)

    async def charge(self, request: ProcessorCharge) -> ProcessorAnswer:
        """One request, its reference as the idempotency key. See Processor.charge."""
        try:
            body = self._payment(request)
        except AmountUnsayable:
            return ProcessorAnswer(Outcome.NEVER_SENT, decline_code=REASON_NOT_REPRESENTABLE)
        return await self._asked(
            lambda: payment_answer(
                self._payments.payments(body, idempotency_key=request.reference).message, capture=request.capture
            ),
            payment_refused,
            ProcessorAnswer(Outcome.NEVER_SENT, may_go_elsewhere=True),
            ProcessorAnswer(Outcome.UNKNOWN),
        )

    async def find(
        self, reference: str, processor_charge: str | None = None, begun_ms: int | None = None
    ) -> ProcessorAnswer | None:
        """UNKNOWN: there is nothing to ask (2). See Processor.find."""
        return ProcessorAnswer(Outcome.UNKNOWN)

    async def end_authentication(self, reference: str, query: str, *, capture: bool) -> ProcessorAnswer:
        """Adyen ends a redirect only by /payments/details. See EndsByReturn.

        Source: https://docs.adyen.com/online-payments/build-your-integration, "Handle the redirect".
        """
        try:
            (result,) = parse_qs(query, max_num_fields=QUERY_FIELDS_MAXIMUM)["redirectResult"]
        except (KeyError, ValueError):
            return ProcessorAnswer(Outcome.UNKNOWN)
        unknown = ProcessorAnswer(Outcome.UNKNOWN)
        return await self._asked(
            lambda: details_answer(  # (4)
                self._payments.payments_details(
                    {"details": {"redirectResult": result}}, idempotency_key=digest(f"{reference}\n{result}")
                ).message,
                reference,
                capture=capture,
            ),
            lambda status, code: unknown,
            unknown,
            unknown,
        )

    async def modify(self, request: ProcessorModification) -> ModificationAnswer:
        """One request, its reference as the idempotency key. See Processor.modify."""
        held = request.processor_charge
        if held is None:
            return ModificationAnswer(ModificationOutcome.NEVER_SENT)
        body: dict[str, Any] = {"merchantAccount": self._merchant_account, "reference": request.reference}
        try:
            if request.amount is not None:
                body["amount"] = {"value": UNITS.of(request.amount), "currency": request.amount.currency}
        except AmountUnsayable:
            return ModificationAnswer(ModificationOutcome.NEVER_SENT, decline_code=REASON_NOT_REPRESENTABLE)
        if request.kind is not ModificationKind.VOID and request.amount is None:
            return ModificationAnswer(ModificationOutcome.NEVER_SENT)  # Adyen takes none without an amount
        call = {
            ModificationKind.CAPTURE: self._modifications.capture_authorised_payment,
            ModificationKind.VOID: self._modifications.cancel_authorised_payment_by_psp_reference,
            ModificationKind.REFUND: self._modifications.refund_captured_payment,
        }[request.kind]
        return await self._asked(
            lambda: modification_answer(call(body, held, idempotency_key=request.reference).message),
            modification_refused,
            ModificationAnswer(ModificationOutcome.NEVER_SENT),
            ModificationAnswer(ModificationOutcome.UNKNOWN),
        )

    async def find_modification(self, request: ProcessorModification) -> ModificationAnswer | None:
        """UNKNOWN: there is nothing to ask (2). See Processor.find_modification."""
        return ModificationAnswer(ModificationOutcome.UNKNOWN)

    def read_webhook(self, headers: dict[str, str], body: bytes, now_ms: int) -> Sequence[ProcessorEvent]:
        """See Processor.read_webhook. Adyen signs in the body, and no time."""
        return read_events(self._hmac_key, self._merchant_account, body)

    async def close(self) -> None:
        """Closes the connections; calls under way end by their own timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._transport.close()

    async def _asked(
        self,
        call: Callable[[], _Answer],
        refused: Callable[[object, object], _Answer],
        never_sent: _Answer,
        unknown: _Answer,
    ) -> _Answer:
        """What came of a call, without the client's errors (3)."""
        try:
            async with asyncio.timeout(self._timeout_seconds):  # (1)
                return await asyncio.get_running_loop().run_in_executor(self._threads, for_thread(call))
        except NotSent:
            return never_sent
        except (NotAnswered, TimeoutError):
            return unknown
        except AdyenError as failure:
            return refused(failure.status_code, failure.error_code)
        except Exception:  # noqa: BLE001  # the client stumbled over an answer that is none of Adyen's
            return unknown

    def _payment(self, request: ProcessorCharge) -> dict[str, Any]:
        interaction, model = _RECURRING[request.initiator]
        body: dict[str, Any] = {
            "merchantAccount": self._merchant_account,
            "reference": request.reference if request.capture else f"{request.reference}{HOLD}",
            "amount": {"value": UNITS.of(request.amount), "currency": request.amount.currency},
            "paymentMethod": _card_fields(request),
            "shopperInteraction": interaction,
            "recurringProcessingModel": model,
            "returnUrl": request.return_url,
            "metadata": {"cordonMerchant": request.merchant},
            **_browser_fields(request.device),
        }
        if request.capture:
            body["captureDelayHours"] = 0
        else:
            body["additionalData"] = {"manualCapture": "true"}
        if request.cryptogram is not None:
            value, indicator = request.cryptogram.expose(Exposure.PROCESSOR)
            body["mpiData"] = {
                "tokenAuthenticationVerificationValue": value,
                **({"eci": indicator} if indicator else {}),
            }
        return body


def _browser_fields(device: Device | None) -> dict[str, Any]:
    """What 3-D Secure asks of the browser, in Adyen's words."""
    if device is None:
        return {}
    told = {
        "acceptHeader": device.accept_header,
        "userAgent": device.user_agent,
        "javaScriptEnabled": device.javascript_enabled,
        "language": device.language,
        "javaEnabled": device.java_enabled,
        "colorDepth": device.color_depth,
        "screenHeight": device.screen_height,
        "screenWidth": device.screen_width,
        "timeZoneOffset": device.tz,
    }
    browser = {name: value for name, value in told.items() if value is not None}
    return {"channel": "Web", "browserInfo": browser, **({"shopperIP": device.ip} if device.ip else {})}


def _card_fields(request: ProcessorCharge) -> dict[str, str]:
    month, year = request.card.expiry.expose(Exposure.PROCESSOR)
    fields = {
        "type": "scheme" if request.cryptogram is None else "networkToken",
        "number": request.card.pan.expose(Exposure.PROCESSOR),
        "expiryMonth": f"{month:02d}",
        "expiryYear": str(year),
    }
    if request.cvc is not None:
        fields["cvc"] = request.cvc.expose(Exposure.PROCESSOR)
    if request.card.name is not None:
        fields["holderName"] = request.card.name.expose(Exposure.PROCESSOR)
    if request.initial_network_reference is not None:
        fields["networkPaymentReference"] = request.initial_network_reference
    return fields
