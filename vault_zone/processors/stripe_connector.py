"""The connector to Stripe, by its official client. docs/connectors.md says what it promises, with sources.

What must hold of a charge:
 1. The card goes to Stripe as a PaymentMethod first. Whatever becomes of that request, no charge was asked for: NEVER_SENT.
 2. The charge is one request, PaymentIntent create with confirm, under our reference as idempotency key; the PaymentMethod's
    key is derived from it. Neither holds an attempt: the same charge asked again is the same charge at Stripe.
 3. The client retries nothing, and both requests together end within the timeout.
 4. What is not a definite answer is UNKNOWN. Stripe's record, by its id or by our reference, ends it.
 5. Absence is said only after every PaymentIntent since the charge was meant has been looked at; otherwise UNKNOWN.
 6. No error of the client leaves here: it holds texts of Stripe's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlsplit

import stripe

from tokenization.money import Money
from tokenization.wire import Initiator, ModificationKind
from vault_zone.card import Exposure
from vault_zone.processors.believing import child
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
from vault_zone.processors.stripe_objects import (
    CHARGE,
    MERCHANT,
    REASON_NOT_REPRESENTABLE,
    REFUND,
    UNITS,
    Refusal,
    charge_refused,
    intent_answer,
    method_refused,
    modification_refused,
    refund_answer,
    refusal,
)
from vault_zone.processors.stripe_transport import NotSent, StripeTransport
from vault_zone.processors.stripe_webhooks import read_event
from vault_zone.processors.units import AmountUnsayable

API_BASE: Final = "https://api.stripe.com"
SHARED_TOKEN_VERSION: Final = "2026-04-22.preview"  # the API version that takes shared payment tokens
PAGE: Final = 100  # the most that Stripe gives at once
MAXIMUM_PAGES: Final = 50
LOOK_BACK_SECONDS: Final = 300  # for clocks that do not agree
_CAPTURED: Final = "captured"  # metadata of a PaymentIntent, under the capture's reference
_MIT: Final[Mapping[Initiator, Any]] = {
    Initiator.MERCHANT_UNSCHEDULED: True,
    Initiator.MERCHANT_RECURRING: "recurring",
}


@dataclass(frozen=True, slots=True)
class SharedTokenCharge:
    """A charge of a shared payment token (SPT) that an agent granted us: Stripe holds the card, the zone never sees it."""

    reference: str
    merchant: str
    amount: Money
    token: str
    return_url: str
    capture: bool = True


class _Silent:
    """No answer that can be believed: ``left`` tells whether anything may have arrived."""

    def __init__(self, *, left: bool) -> None:
        self.left = left


_Said = dict[str, Any] | Refusal | _Silent


class StripeProcessor:
    """Speaks for one Stripe account.

    ``api_base`` is another address in tests alone: https, or this machine. ``has_multiple_captures``: Stripe has enabled
    multicapture for the account. Raises ValueError for an address that a card must not be sent to.
    """

    # No figure is published for how late a request may take effect; Stripe's own clients give up after 80 seconds.
    request_lifetime_seconds = 600.0
    # The shortest that Stripe names: Visa, merchant-initiated (https://docs.stripe.com/payments/place-a-hold-on-a-payment-method).
    authorization_lifetime_seconds = (4 * 24 + 18) * 3600.0

    def __init__(
        self,
        api_key: str,
        webhook_secret: str,
        *,
        name: str = "stripe",
        api_base: str = API_BASE,
        timeout_seconds: float = 30.0,
        has_multiple_captures: bool = False,
        transport: StripeTransport | None = None,
    ) -> None:
        address = urlsplit(api_base)
        if address.scheme != "https" and address.hostname not in ("127.0.0.1", "::1"):
            raise ValueError("cards are sent over https, or to this machine in a test")
        self.name = name
        self.is_sandbox = "_test_" in api_key[:8]
        self.features = frozenset(
            {
                Feature.MANUAL_CAPTURE,
                Feature.PARTIAL_CAPTURE,
                Feature.PARTIAL_REFUND,
                Feature.MERCHANT_INITIATED,
                Feature.QUERY,
                *((Feature.MULTIPLE_CAPTURES,) if has_multiple_captures else ()),
            }
        )
        self._has_multiple_captures = has_multiple_captures
        self._webhook_secret = webhook_secret
        self._timeout_seconds = timeout_seconds
        self._transport = transport or StripeTransport(timeout_seconds)
        self._client = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base},
            max_network_retries=0,  # (3)
            http_client=self._transport,
        )

    async def charge(self, request: ProcessorCharge) -> ProcessorAnswer:
        """PaymentMethod, then PaymentIntent. See Processor.charge."""
        if request.cryptogram is not None:  # the published API takes no network token: not declared, not sent
            return ProcessorAnswer(Outcome.NEVER_SENT, may_go_elsewhere=True)
        try:
            intent = _intent_parameters(request, has_multiple_captures=self._has_multiple_captures)
        except AmountUnsayable:
            return ProcessorAnswer(Outcome.NEVER_SENT, decline_code=REASON_NOT_REPRESENTABLE)
        is_charging = False
        try:
            async with asyncio.timeout(self._timeout_seconds):  # (3)
                said = await _said(  # (1)
                    self._client.v1.payment_methods.create_async(
                        _method_parameters(request), {"idempotency_key": f"{request.reference}:pm"}
                    )
                )
                method = child(said, "id") if isinstance(said, dict) else None
                if not isinstance(method, str):
                    return method_refused(said if isinstance(said, Refusal) else None)
                is_charging = True
                intent["payment_method"] = method
                said = await _said(  # (2)
                    self._client.v1.payment_intents.create_async(intent, {"idempotency_key": request.reference})
                )
        except TimeoutError:
            left = _Silent(left=is_charging)
            return _charge_answer(left)
        return _charge_answer(said)

    async def charge_shared_token(self, request: SharedTokenCharge) -> ProcessorAnswer:
        """Charges a shared payment token, once, with the promises of Processor.charge.

        The released client does not know the parameter, so this is a raw request in the version that does
        (https://docs.stripe.com/agentic-commerce/concepts/shared-payment-tokens, a preview).
        """
        try:
            body = {
                **_common(request.reference, request.merchant, request.amount, capture=request.capture),
                "payment_method_data": {"shared_payment_granted_token": request.token},
                "return_url": request.return_url,
            }
        except AmountUnsayable:
            return ProcessorAnswer(Outcome.NEVER_SENT, decline_code=REASON_NOT_REPRESENTABLE)
        called = self._client.raw_request_async(
            "post",
            "/v1/payment_intents",
            **body,
            idempotency_key=request.reference,
            stripe_version=SHARED_TOKEN_VERSION,
        )
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return _charge_answer(await _said(called, lambda answer: answer.data))
        except TimeoutError:
            return ProcessorAnswer(Outcome.UNKNOWN)

    async def find(
        self, reference: str, processor_charge: str | None = None, begun_ms: int | None = None
    ) -> ProcessorAnswer | None:
        """By Stripe's id where it is known, else through the list since the charge was meant. See Processor.find.

        Search would be one request, but it lags behind by a minute, in an outage by more
        (https://docs.stripe.com/search#data-freshness): it can prove presence and never absence.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                intent = (
                    await self._intent(reference, processor_charge)
                    if processor_charge
                    else await self._listed_intent(reference, begun_ms)
                )
        except TimeoutError:
            return ProcessorAnswer(Outcome.UNKNOWN)
        return None if intent is None else intent_answer(intent)

    async def modify(self, request: ProcessorModification) -> ModificationAnswer:
        """One request, its reference as the idempotency key. See Processor.modify."""
        if request.processor_charge is None:
            return ModificationAnswer(ModificationOutcome.NEVER_SENT)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                said = await _said(self._modification(request, request.processor_charge))
        except AmountUnsayable:
            return ModificationAnswer(ModificationOutcome.NEVER_SENT, decline_code=REASON_NOT_REPRESENTABLE)
        except TimeoutError:
            return ModificationAnswer(ModificationOutcome.UNKNOWN)
        match said:
            case Refusal():
                return modification_refused(said)
            case _Silent(left=False):
                return ModificationAnswer(ModificationOutcome.NEVER_SENT)
            case dict() if request.kind is ModificationKind.REFUND:
                return refund_answer(said)
            case dict():
                return _done(request, said)
        return ModificationAnswer(ModificationOutcome.UNKNOWN)

    async def find_modification(self, request: ProcessorModification) -> ModificationAnswer | None:
        """By what the PaymentIntent or its list of refunds holds. See Processor.find_modification."""
        if request.processor_charge is None:
            return None  # modify() sends nothing without it
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if request.kind is ModificationKind.REFUND:
                    refund = await self._listed_refund(request.reference, request.processor_charge)
                    return None if refund is None else refund_answer(refund)
                intent = await self._intent(request.charge, request.processor_charge)
        except TimeoutError:
            return ModificationAnswer(ModificationOutcome.UNKNOWN)
        return _shown(request, intent)

    def read_webhook(self, headers: dict[str, str], body: bytes, now_ms: int) -> Sequence[ProcessorEvent]:
        """See Processor.read_webhook."""
        return read_event(self._webhook_secret, headers.get("stripe-signature", ""), body, now_ms)

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close_async()

    def _modification(self, request: ProcessorModification, intent: str) -> Awaitable[Any]:
        options: stripe.RequestOptions = {"idempotency_key": request.reference}
        if request.kind is ModificationKind.VOID:
            return self._client.v1.payment_intents.cancel_async(intent, {}, options)
        amount = {} if request.amount is None else {"amount": UNITS.of(request.amount)}
        if request.kind is ModificationKind.REFUND:
            refund: Any = {"payment_intent": intent, "metadata": {REFUND: request.reference}, **amount}
            return self._client.v1.refunds.create_async(refund, options)
        # The mark on the PaymentIntent tells later that this capture, and not another one, was made.
        capture: Any = {"metadata": {request.reference: _CAPTURED}, "expand": ["latest_charge"]}
        if amount:
            capture["amount_to_capture"] = amount["amount"]
        if not request.is_final:
            capture["final_capture"] = False
        return self._client.v1.payment_intents.capture_async(intent, capture, options)

    async def _intent(self, reference: str, held: str) -> dict[str, Any]:
        """The PaymentIntent under Stripe's id. Empty, and so UNKNOWN, where it cannot be had or is another charge's."""
        said = await _said(self._client.v1.payment_intents.retrieve_async(held, {"expand": ["latest_charge"]}))
        is_ours = isinstance(said, dict) and child(said, "metadata", CHARGE) == reference
        return said if isinstance(said, dict) and is_ours else {}

    async def _listed_intent(self, reference: str, begun_ms: int | None) -> dict[str, Any] | None:
        """The PaymentIntent that holds our reference; None when none does (5). Empty, so UNKNOWN, when not all were seen."""
        since: Any = {} if begun_ms is None else {"created": {"gte": begun_ms // 1000 - LOOK_BACK_SECONDS}}
        listed = self._client.v1.payment_intents.list_async
        return await _first_of(
            lambda after: listed(cast("Any", {"limit": PAGE, "expand": ["data.latest_charge"], **since, **after})),
            lambda intent: child(intent, "metadata", CHARGE) == reference,
        )

    async def _listed_refund(self, reference: str, intent: str) -> dict[str, Any] | None:
        listed = self._client.v1.refunds.list_async
        return await _first_of(
            lambda after: listed(cast("Any", {"limit": PAGE, "payment_intent": intent, **after})),
            lambda refund: child(refund, "metadata", REFUND) == reference,
        )


async def _first_of(page: Callable[[Any], Awaitable[Any]], is_it: Callable[[object], bool]) -> dict[str, Any] | None:
    """The first object of a list that is it; None once the whole list was seen without it; empty when it could not be."""
    after: dict[str, str] = {}
    for _ in range(MAXIMUM_PAGES):
        said = await _said(page(after))
        objects = child(said, "data") if isinstance(said, dict) else None
        if not isinstance(objects, list):
            return {}
        if found := next((each for each in objects if isinstance(each, dict) and is_it(each)), None):
            return found
        more, last = child(said, "has_more"), child(objects[-1], "id") if objects else None
        if more is False:
            return None
        if more is not True or not isinstance(last, str) or after.get("starting_after") == last:
            return {}
        after = {"starting_after": last}
    return {}


async def _said(called: Awaitable[Any], content: Callable[[Any], Any] = lambda answer: answer.to_dict()) -> _Said:
    """What Stripe answered, without the client's errors (6)."""
    try:
        said = content(await called)
    except NotSent:
        return _Silent(left=False)
    except stripe.StripeError as failure:
        return refusal(failure) or _Silent(left=True)
    except Exception:  # noqa: BLE001  # the client stumbled over an answer that is none of Stripe's
        return _Silent(left=True)
    return said if isinstance(said, dict) else _Silent(left=True)


def _charge_answer(said: _Said) -> ProcessorAnswer:
    match said:
        case Refusal():
            return charge_refused(said)
        case _Silent(left=False):
            return ProcessorAnswer(Outcome.NEVER_SENT, may_go_elsewhere=True)
        case dict():
            return intent_answer(said)
    return ProcessorAnswer(Outcome.UNKNOWN)  # (4)


def _done(request: ProcessorModification, intent: dict[str, Any]) -> ModificationAnswer:
    """What the PaymentIntent says that answers our own capture or void."""
    answer = intent_answer(intent)
    if request.kind is ModificationKind.VOID:
        is_done = answer.outcome in (Outcome.VOIDED, Outcome.EXPIRED)
    else:
        is_done = answer.processor_charge is not None and _taken(intent) > 0
    outcome = ModificationOutcome.SUCCEEDED if is_done else ModificationOutcome.UNKNOWN
    return ModificationAnswer(outcome, answer.processor_charge)


def _shown(request: ProcessorModification, intent: dict[str, Any]) -> ModificationAnswer | None:
    """Whether the PaymentIntent shows our capture or void; None where it certainly does not (5)."""
    answer = intent_answer(intent)
    if answer.processor_charge is None:
        return ModificationAnswer(ModificationOutcome.UNKNOWN)
    marks = child(intent, "metadata")
    captures = {name for name, mark in marks.items() if mark == _CAPTURED} if isinstance(marks, dict) else set()
    if request.kind is ModificationKind.VOID or request.reference in captures:
        done = _done(request, intent)
        return done if done.outcome is ModificationOutcome.SUCCEEDED else None
    # Money was taken and nothing says by which capture: it may have been this one.
    is_unexplained = _taken(intent) > 0 and not captures
    return ModificationAnswer(ModificationOutcome.UNKNOWN, answer.processor_charge) if is_unexplained else None


def _taken(intent: dict[str, Any]) -> int:
    taken = child(intent, "amount_received")
    return taken if type(taken) is int else 0


def _method_parameters(request: ProcessorCharge) -> Any:
    month, year = request.card.expiry.expose(Exposure.PROCESSOR)
    card: dict[str, Any] = {
        "number": request.card.pan.expose(Exposure.PROCESSOR),
        "exp_month": month,
        "exp_year": year,
    }
    if request.cvc is not None:
        card["cvc"] = request.cvc.expose(Exposure.PROCESSOR)
    billing: dict[str, Any] = {}
    if request.card.name is not None:
        billing["name"] = request.card.name.expose(Exposure.PROCESSOR)
    if request.card.postal_code is not None:
        billing["address"] = {"postal_code": request.card.postal_code.expose(Exposure.PROCESSOR)}
    return {"type": "card", "card": card, **({"billing_details": billing} if billing else {})}


def _common(reference: str, merchant: str, amount: Money, *, capture: bool) -> dict[str, Any]:
    return {
        "amount": UNITS.of(amount),
        "currency": amount.currency.lower(),
        "confirm": True,
        "payment_method_types": ["card"],
        "capture_method": "automatic" if capture else "manual",
        "metadata": {CHARGE: reference, MERCHANT: merchant},
        "expand": ["latest_charge"],
    }


def _intent_parameters(request: ProcessorCharge, *, has_multiple_captures: bool) -> Any:
    asked = _common(request.reference, request.merchant, request.amount, capture=request.capture)
    if request.initiator is Initiator.SHOPPER:
        asked["return_url"] = request.return_url
    else:
        asked["off_session"] = _MIT[request.initiator]
    if has_multiple_captures and not request.capture:
        asked["payment_method_options"] = {"card": {"request_multicapture": "if_available"}}
    return asked
