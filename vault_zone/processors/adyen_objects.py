"""What Adyen's answers and errors say, in the port's words. Whatever is not definite is UNKNOWN (I3).

Source: Checkout API 72, https://docs.adyen.com/api-explorer/Checkout/72/post/payments,
https://docs.adyen.com/development-resources/refusal-reasons and .../error-codes.
"""

import re
from typing import Any, Final

from vault_zone.processors.believing import child, text
from vault_zone.processors.port import ModificationAnswer, ModificationOutcome, Outcome, ProcessorAnswer
from vault_zone.processors.units import Units

# Behind our reference at Adyen of a charge that is captured later: a webhook does not say it elsewhere under its signature.
HOLD: Final = ".hold"
REASON_DECLINED: Final = "card_declined"
REASON_NOT_REPRESENTABLE: Final = "amount_not_representable"
# https://docs.adyen.com/development-resources/currency-codes: these differ from ISO 4217 there.
UNITS: Final = Units({"CLP": 2, "CVE": 0, "IDR": 0, "ISK": 2})
_TEMPORARY: Final = frozenset(
    {"acquirer_error", "issuer_unavailable", "error", "transaction_not_permitted_by_acquirer"}
)
_WAITS: Final = frozenset({"RedirectShopper", "ChallengeShopper", "IdentifyShopper", "PresentToShopper"})
_ALREADY_PROCESSED: Final = "704"  # the same key again, while the first is under way or with another body
_TURNED_AWAY: Final = frozenset({401, 403, 429})


def refusal_reason(value: object) -> str | None:
    """A refusal reason such as ``Issuer Unavailable`` as ``issuer_unavailable``; None for what is no short text."""
    said = text(value, 60)
    words = re.sub(r"[^a-z]+", "_", said.lower()).strip("_")[:40] if said else ""
    return words or None


def is_temporary(reason: str | None) -> bool:
    """Whether nobody judged the card, so that another processor may be asked."""
    return reason in _TEMPORARY


def payment_answer(answer: object, *, capture: bool) -> ProcessorAnswer:
    """What the answer to /payments says of the charge."""
    held, result = text(child(answer, "pspReference")), child(answer, "resultCode")
    if result == "Authorised" and held is not None:
        network = text(child(answer, "additionalData", "networkTxReference"))
        return ProcessorAnswer(Outcome.SUCCEEDED if capture else Outcome.AUTHORIZED, held, network_reference=network)
    if isinstance(result, str) and result in _WAITS:
        url = text(child(answer, "action", "url"), 2000)
        return ProcessorAnswer(Outcome.ACTION_REQUIRED, held, action_url=url)
    if result in ("Refused", "Error", "Cancelled") and held is not None:
        reason = refusal_reason(child(answer, "refusalReason")) or REASON_DECLINED
        return ProcessorAnswer(Outcome.DECLINED, held, reason, may_go_elsewhere=is_temporary(reason))
    return ProcessorAnswer(Outcome.UNKNOWN, held)  # Pending and Received among them: a webhook tells


def details_answer(answer: object, reference: str, *, capture: bool) -> ProcessorAnswer:
    """What the answer to /payments/details says of the charge with this reference; UNKNOWN where it is of another payment."""
    said = text(child(answer, "merchantReference"))
    if said is None or said.removesuffix(HOLD) != reference:
        return ProcessorAnswer(Outcome.UNKNOWN)
    return payment_answer(answer, capture=capture)


def payment_refused(status: object, code: object) -> ProcessorAnswer:
    """What an error of the API means for the charge."""
    if status in _TURNED_AWAY:
        return ProcessorAnswer(Outcome.NEVER_SENT, may_go_elsewhere=True)
    if is_of_the_request(status, code):
        return ProcessorAnswer(Outcome.NEVER_SENT)
    return ProcessorAnswer(Outcome.UNKNOWN)


def modification_answer(answer: object) -> ModificationAnswer:
    """What the answer to a capture, cancel or refund says: taken on, and a webhook tells."""
    held = text(child(answer, "pspReference"))
    if child(answer, "status") == "received" and held is not None:
        return ModificationAnswer(ModificationOutcome.ACCEPTED, held)
    return ModificationAnswer(ModificationOutcome.UNKNOWN, held)


def modification_refused(status: object, code: object) -> ModificationAnswer:
    """What an error of the API means for a capture, cancel or refund."""
    if status in _TURNED_AWAY:
        return ModificationAnswer(ModificationOutcome.NEVER_SENT)
    if is_of_the_request(status, code):
        return ModificationAnswer(ModificationOutcome.DECLINED, decline_code="refused")
    return ModificationAnswer(ModificationOutcome.UNKNOWN)


def is_of_the_request(status: object, code: Any) -> bool:
    """Whether the request was refused for its form, before any effect: an error code of Adyen's that is not about its key."""
    return status in (400, 422) and isinstance(code, str) and code != _ALREADY_PROCESSED
