"""The zone's refusals: a closed set, mapped to HTTP here and nowhere else. None of them holds a value (I1)."""

from enum import Enum
from typing import Any, NamedTuple

from fastapi.responses import HTMLResponse
from pydantic import BaseModel


class _Kind(NamedTuple):
    status: int
    message: str


class ZoneError(Enum):
    """A refusal's code is its member's name in lower case. Codes are only ever added."""

    INVALID_REQUEST = _Kind(422, "The request does not have the required form. See `broken` for the rules it breaks.")
    CALLER_UNKNOWN = _Kind(403, "This caller's certificate names no identity that may make this call.")
    NOT_FOUND = _Kind(404, "There is nothing under this id for this merchant.")
    CARD_TEXT_REFUSED = _Kind(
        422, "Card-like text is refused here. A card is entered on the capture page and nowhere else."
    )
    GRANT_NOT_USABLE = _Kind(
        409, "The grant is expired, used, revoked, or bound to something else. Send the shopper to a new capture link."
    )
    # Not given any more: an amount over a grant's ceiling is refused as any other broken binding is.
    AMOUNT_OVER_CEILING = _Kind(
        409, "The amount is over what the shopper agreed to. Send the shopper to a new capture link."
    )
    SECURITY_CODE_GONE = _Kind(
        409,
        "The card's security code is no longer held. Send the shopper to a new capture link to enter the card again.",
    )
    PAYMENT_CONFLICT = _Kind(
        409, "This payment id was used for a different charge. A new charge needs a new payment id."
    )
    CHECKOUT_ALREADY_CHARGED = _Kind(
        409, "This checkout has a charge that took, or may yet take, money. Ask for its state."
    )
    NOT_OFFERED_BY_PROCESSOR = _Kind(
        409, "The account at the processor cannot do this: a part, another part, or a later capture. Ask for the whole."
    )
    MODIFICATION_CONFLICT = _Kind(
        409, "This request key was used for a different capture, void or refund. A new one needs a new key."
    )
    MODIFICATION_NOT_POSSIBLE = _Kind(
        409,
        "The charge is not in a state in which this can be done, or something else is under way. Ask for its state.",
    )
    AMOUNT_NOT_AVAILABLE = _Kind(
        409, "The amount is more than what is left to capture or to refund. Ask for the charge's amounts."
    )
    FRAME_ORIGIN_UNKNOWN = _Kind(
        409, "This origin is not one whose pages may frame the merchant's card fields. An operator adds it first."
    )
    FORWARD_LIST_REFUSED = _Kind(
        503,
        "The list of forward destinations is absent, altered, unsigned or older than one before. Tell the operator.",
    )
    DESTINATION_UNKNOWN = _Kind(404, "No destination of this id is allowed for this merchant.")
    FORWARD_REQUEST_REFUSED = _Kind(
        422, "A header, a path parameter or the form of the body is not what this destination's entry allows."
    )
    PLACEHOLDER_REFUSED = _Kind(
        422,
        "A placeholder stands where the entry does not allow it, is not one that exists, is not a whole value, or one that "
        "is needed (the number; the security code, where the grant asks for it) is missing.",
    )
    PLACEHOLDER_EMPTY = _Kind(
        409, "The card has no such part. Nothing was sent; leave the placeholder out or have the card entered again."
    )
    FORWARD_AMOUNT_REFUSED = _Kind(
        422, "Amount or currency is not in the fields that the entry names, as an integer of minor units and a code."
    )
    FORWARD_CONFLICT = _Kind(
        409, "This idempotency key was used for a different request. A new request needs a new key."
    )
    FORWARD_IN_FLIGHT = _Kind(409, "This request is under way. Ask again for its state.")
    WALLET_TOKEN_REFUSED = _Kind(
        422,
        "The wallet's payment data is not of a form that is taken, or not for this amount, currency or time. See `broken` for "
        "the field and the rule.",
    )
    AUDIT_UNAVAILABLE = _Kind(
        503, "The audit log cannot be written, so nothing is charged. Try again; tell the operator."
    )
    KEYS_UNAVAILABLE = _Kind(503, "The key provider does not answer. Nothing was done; try again.")
    SECOND_PERSON_NEEDED = _Kind(409, "Who asked for this cannot approve it. Another operator of that role has to.")
    OPERATION_NOT_OPEN = _Kind(409, "This operation was decided, or its hour is over. List the operations to see.")
    ACT_NOT_AVAILABLE = _Kind(409, "This zone has nothing that carries out this act, so it cannot be asked for.")
    KEY_IN_USE = _Kind(
        409, "Cards are sealed under this key, or it is active. Rotate and re-key first, then destroy it."
    )
    KEYS_DESTROYED = _Kind(
        410, "This merchant's keys were destroyed, and every card under them is gone. No new card is taken for it."
    )
    ZONE_SEALED = _Kind(
        503,
        "The zone is sealed: its custodians have to open it (`vault-zone unseal`). Nothing was done; try again later.",
    )
    NOT_SEALED = _Kind(409, "The zone is open; no share is needed.")
    NOT_SEALABLE = _Kind(409, "The root key is not in custodians' hands here, so there is nothing to seal.")
    SHARE_MISTYPED = _Kind(
        422, "These are not the words of a share, or one of them is mistyped. Check each, and their order."
    )
    SHARE_OF_ANOTHER_CEREMONY = _Kind(409, "This share is of another ceremony. Bring the one from the newest.")
    SHARE_GIVEN_ALREADY = _Kind(
        409, "This share, or this custodian's, was given in this round. Another custodian has to."
    )
    SHARES_DO_NOT_OPEN = _Kind(409, "These shares together do not open the keystore. All have to be given again.")
    ENTRY_NOT_REVERSIBLE = _Kind(
        409,
        "There is no such entry of this merchant, it undoes another one or is undone already, or what it brought was used "
        "since. List the entries to see.",
    )
    SETTLEMENT_NOT_OPEN = _Kind(
        409, "This report was read to its end, or is not one of this merchant. Hand the file in again to see."
    )
    BREAK_NOT_OPEN = _Kind(409, "This break was resolved before, by somebody or by a later report. List the breaks.")
    BUSY = _Kind(503, "Too many changes at once. Nothing was done; try again.")
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


class ZoneRefusal(Exception):
    """A refused call. Carries its kind, the names of broken rules where there are any, and nothing of the request."""

    def __init__(self, kind: ZoneError, broken: tuple[str, ...] = ()) -> None:
        super().__init__(kind.code)
        self.kind = kind
        self.broken = broken


class Told(BaseModel):
    """What an error says."""

    code: str
    message: str


class Refusal(BaseModel):
    """The one shape of an error. ``broken`` names the rules that a body broke, for ``invalid_request``."""

    error: Told
    broken: list[str] | None = None


# Every route may refuse: in its description this stands in the place of the framework's own errors, which echo what was sent.
REFUSALS: dict[int | str, dict[str, Any]] = {"default": {"model": Refusal}}

# A page answers a browser with a page, whatever happened; what is wrong with the request itself is told as elsewhere.
IS_PAGE: dict[str, Any] = {
    "response_class": HTMLResponse,
    "responses": {"default": {"model": Refusal, "content": {"text/html": {}}}},
}
