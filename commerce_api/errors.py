"""The commerce side's refusals: a closed set with what the caller can do, mapped to HTTP here and nowhere else."""

from enum import Enum
from typing import NamedTuple


class _Kind(NamedTuple):
    status: int
    message: str


class CommerceError(Enum):
    """A refusal's code is its member's name in lower case. Codes are only ever added."""

    INVALID_REQUEST = _Kind(422, "The request does not have the required form. See `broken` for the rules it breaks.")
    UNAUTHENTICATED = _Kind(
        401, "This call needs a shopper who is signed in, or the brand's agent key: `Authorization: Bearer …`."
    )
    SCOPE_INSUFFICIENT = _Kind(
        403, "The shopper did not allow this yet. Ask them to, with the scopes of the challenge."
    )
    BRAND_UNKNOWN = _Kind(404, "There is no brand of this name here. `cordon brand add` makes one.")
    PRODUCT_UNKNOWN = _Kind(404, "The catalogue has no such product. Search for it and use the id from the answer.")
    QUANTITY_INVALID = _Kind(422, "A quantity is a whole number from 1 to 999.")
    TOO_MANY_LINES = _Kind(422, "A checkout holds at most 50 different products.")
    CURRENCY_MISMATCH = _Kind(422, "This brand sells in one currency only; leave the currency out or use the brand's.")
    TOTAL_OUT_OF_BOUNDS = _Kind(422, "The total is beyond what one checkout may come to. Lower the quantities.")
    OUT_OF_STOCK = _Kind(409, "There is not enough of this product left. Lower the quantity or choose another.")
    SHIPPING_OPTION_UNKNOWN = _Kind(422, "Choose one of the checkout's shipping options.")
    COUNTRY_NOT_SERVED = _Kind(422, "The brand does not ship to this country.")
    DISCOUNT_INVALID = _Kind(422, "This discount code is not valid for this checkout.")
    OFFER_INVALID = _Kind(422, "This offer is not valid here: ask for offers again and use the new token.")
    OFFER_UNKNOWN = _Kind(404, "There is no such offer here. Take offer ids from the answers that made them.")
    OFFERS_APART = _Kind(422, "These offers were not made to one and the same shopper. Have each said by itself.")
    CHECKOUT_UNKNOWN = _Kind(404, "There is no such checkout here. Create one.")
    CHECKOUT_NOT_READY = _Kind(409, "The checkout lacks something; its messages say what. Update it, then try again.")
    CHECKOUT_IN_PAYMENT = _Kind(
        409, "A payment for this checkout is under way. Ask for its state; do not start another."
    )
    CHECKOUT_FINISHED = _Kind(409, "This checkout is completed, canceled or expired. Create a new one.")
    CONFIRMATION_STALE = _Kind(
        409,
        "This does not confirm the checkout as it is now. Show the shopper its lines and total, then complete it with the "
        "confirmation that it has now.",
    )
    PAYMENT_TOKEN_INVALID = _Kind(
        422, "This is no payment token of this shop's vault. Complete without one, and give the shopper continue_url."
    )
    PAYMENT_NOT_ALLOWED = _Kind(
        403, "Paying is left to the shopper here. Complete without a payment token, and give the shopper continue_url."
    )
    SPENDING_LIMIT = _Kind(
        403,
        "This is more than this assistant may spend. Complete without a payment token, and give the shopper continue_url: "
        "they can pay it themselves.",
    )
    ORDER_UNKNOWN = _Kind(404, "There is no such order here.")
    ORDER_REFUNDED = _Kind(409, "The money of this order was given back already; there is nothing left to ask for.")
    ORDER_LINE_UNKNOWN = _Kind(422, "The order holds no such product. Take variant ids from the order's lines.")
    SHOPPER_UNKNOWN = _Kind(403, "Only the brand's own agent may say who the shopper is. Leave the shopper out.")
    STEP_UP_NEEDED = _Kind(
        403, "This needs a shopper who is known better. Have them prove who they are in one of the ways of `step_up`."
    )
    CONSENT_MISSING = _Kind(
        403, "The shopper did not agree to this. Ask them with one of the policy's wordings, then report their consent."
    )
    WORDING_UNKNOWN = _Kind(
        422, "The brand's policy has no such wording for this purpose. Use the id of one that it has."
    )
    FACT_KEY_UNKNOWN = _Kind(422, "There is no such key. Use one of docs/memory.md, or add it to the brand's policy.")
    FACT_REFUSED = _Kind(422, "This looks like payment data, which is not remembered. Leave numbers and codes out.")
    OUTCOME_UNKNOWN = _Kind(404, "There is no such outcome here. Take its id from the answer that reported it.")
    OUTCOME_CONFLICT = _Kind(
        409, "This outcome is on record with another value or decision. If that was wrong, reverse it by its id."
    )
    OUTCOME_FOLLOWS_ORDER = _Kind(409, "A sale is reversed by its order: refund the order, and the bill follows.")
    RATE_LIMITED = _Kind(429, "Too many calls in a short time. Nothing was done; wait, then try the same call again.")
    IDEMPOTENCY_CONFLICT = _Kind(
        422, "This idempotency key was used with another request. Use a new key for a new request."
    )
    PAYMENT_UNAVAILABLE = _Kind(
        503, "Payment cannot be taken just now. Try the same call again: it never charges twice."
    )
    BUSY = _Kind(503, "Too many changes at once. Nothing was done; try the same call again.")
    INTERNAL = _Kind(
        500, "Something failed here that is ours to mend. Nothing is lost; ask for the state, then try again."
    )

    @property
    def code(self) -> str:
        """The code on the wire."""
        return self.name.lower()

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value.status

    @property
    def message(self) -> str:
        """What the caller can do."""
        return self.value.message


class CommerceRefusal(Exception):
    """A refused call. Carries its kind and nothing of the request."""

    def __init__(self, kind: CommerceError) -> None:
        super().__init__(kind.code)
        self.kind = kind
