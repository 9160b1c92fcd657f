"""The port to a card processor: what any connector promises, so that the charge engine can promise at most one charge (I3).

A connector speaks for one account at one processor. It holds no state of its own but its connections and what it last heard
of the processor's health: everything that must survive is the engine's, on disk, before the connector is called.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from tokenization.money import Money
from tokenization.wire import DisputeState, Initiator, ModificationKind
from vault_zone.card import Card, Cryptogram, Cvc
from vault_zone.device import Device


class Outcome(StrEnum):
    """What the processor says of a charge. ``UNKNOWN`` is what we say when it said nothing that can be believed."""

    SUCCEEDED = "succeeded"  # authorized and captured, in whole or in part
    AUTHORIZED = "authorized"  # the money is held, nothing is captured
    DECLINED = "declined"
    ACTION_REQUIRED = "action_required"
    VOIDED = "voided"  # the authorization, or the wait for the shopper's bank, was ended without money taken
    EXPIRED = "expired"  # the authorization ran out without money taken
    UNKNOWN = "unknown"
    NEVER_SENT = "never_sent"  # provably not charged: the request did not leave, or was refused as malformed


class ModificationOutcome(StrEnum):
    """What the processor says of a capture, a void or a refund."""

    SUCCEEDED = "succeeded"
    ACCEPTED = "accepted"  # taken on; the processor's notice or record will tell the outcome
    DECLINED = "declined"  # refused by the processor, without effect
    UNKNOWN = "unknown"
    NEVER_SENT = "never_sent"


class Feature(StrEnum):
    """What a processor's account can do. The engine refuses what the connector does not declare."""

    MANUAL_CAPTURE = "manual_capture"
    PARTIAL_CAPTURE = "partial_capture"
    MULTIPLE_CAPTURES = "multiple_captures"
    PARTIAL_REFUND = "partial_refund"
    MERCHANT_INITIATED = "merchant_initiated"
    NETWORK_TOKEN = "network_token"  # nosec B105  # a name, not a secret
    QUERY = "query"  # has a record that can be asked by our reference; without it only its notices tell an outcome


@dataclass(frozen=True, slots=True)
class ProcessorCharge:
    """What goes to the processor. ``reference`` is the charge's id: idempotency key and search key, the same on every try.

    With a ``cryptogram`` the card's number is a network token. ``capture``: whether the money is taken with the authorization.
    ``initial_network_reference``: the card network's id of the purchase in which the shopper agreed to later charges.
    With a ``cryptogram`` the card's number is a network token. ``device`` is for 3-D Secure, where a browser sent the card.
    """

    reference: str
    merchant: str
    amount: Money
    card: Card
    cvc: Cvc | None
    return_url: str
    cryptogram: Cryptogram | None = None
    capture: bool = True
    initiator: Initiator = Initiator.SHOPPER
    initial_network_reference: str | None = None
    device: Device | None = None


@dataclass(frozen=True, slots=True)
class ProcessorAnswer:
    """What came back, without card data. ``processor_charge`` is the processor's own id, where it gave one.

    ``may_go_elsewhere``: the processor declined, for a reason of its own or of the network, and another one may be asked.
    Of NEVER_SENT it is true when no connection was made, and false when the request was refused as malformed.
    """

    outcome: Outcome
    processor_charge: str | None = None
    decline_code: str | None = None
    action_url: str | None = None
    network_reference: str | None = None
    captured_minor: int | None = None  # of SUCCEEDED, when it is not the whole amount
    may_go_elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class ProcessorModification:
    """A capture, void or refund. ``reference`` is its own id: idempotency key and search key, the same on every try.

    ``charge`` is our reference of the charge, ``processor_charge`` the processor's. A void has no amount. ``is_final``: the
    capture is the last one, and what is left of the authorization is let go.
    """

    reference: str
    kind: ModificationKind
    merchant: str
    charge: str
    processor_charge: str | None
    amount: Money | None
    is_final: bool = True


@dataclass(frozen=True, slots=True)
class ModificationAnswer:
    """What came back of a modification."""

    outcome: ModificationOutcome
    processor_reference: str | None = None
    decline_code: str | None = None


@dataclass(frozen=True, slots=True)
class ModificationNews:
    """What the processor now says of a modification.

    ``reference`` is ours, or None for one that was not asked for through Cordon (a refund in the processor's own dashboard);
    ``amount`` is told then.
    """

    kind: ModificationKind
    reference: str | None
    answer: ModificationAnswer
    amount: Money | None = None


@dataclass(frozen=True, slots=True)
class DisputeNews:
    """What the processor now says of a dispute. ``fee`` is what it keeps for it; times in milliseconds since 1970.

    ``withholds``: whether it has taken the money back until the end. An inquiry of the shopper's bank takes none; None where
    the word is one that both have. A state that is final says True where money was, or may have been, taken back before.
    """

    processor_dispute: str
    state: DisputeState
    amount: Money
    reason: str
    evidence_due_ms: int | None = None
    fee: Money | None = None
    withholds: bool | None = True


@dataclass(frozen=True, slots=True)
class ProcessorEvent:
    """A verified notice: which charge it is about (our reference), and what the processor now says of it, or of a
    modification or dispute of it. ``processor_charge`` finds the charge where the notice does not hold our reference.
    """

    event_id: str
    reference: str | None
    news: ProcessorAnswer | ModificationNews | DisputeNews
    processor_charge: str | None = None


class WebhookRefused(Exception):
    """The webhook's signature, age or form is wrong. It is not acted on."""


@runtime_checkable
class EndsByReturn(Protocol):
    """A connector whose processor ends an authentication only when it is told with what the shopper came back from the bank."""

    async def end_authentication(self, reference: str, query: str, *, capture: bool) -> ProcessorAnswer:
        """What the processor says of the charge, told ``query`` of the address that the shopper came back to.

        The query is whoever's that sent it: MUST answer UNKNOWN for what the processor says of any other charge than
        ``reference``, and whenever there is no definite answer. MUST NOT raise.
        """


class Processor(Protocol):
    """A connector to one processor.

    ``name`` is stored with each charge. ``is_sandbox`` is shown wherever a charge is shown.
    ``request_lifetime_seconds`` bounds how long after it was sent a request may still take effect: a charge that find() does
    not know after that time never happened (where ``Feature.QUERY`` is declared). ``authorization_lifetime_seconds``: how long
    money that was authorized is held. Source of each: the processor's own documentation, named in the connector.
    """

    name: str
    is_sandbox: bool
    features: frozenset[Feature]
    request_lifetime_seconds: float
    authorization_lifetime_seconds: float

    async def charge(self, request: ProcessorCharge) -> ProcessorAnswer:
        """Asks for the charge, once.

        MUST send ``request.reference`` as the processor's idempotency key, MUST NOT retry, MUST end within its timeout.
        MUST answer UNKNOWN whenever the request may have reached the processor and no definite answer came back; NEVER_SENT
        only when it provably did not leave or was refused before any effect. MUST NOT raise for anything the network does.
        """

    async def find(
        self, reference: str, processor_charge: str | None = None, begun_ms: int | None = None
    ) -> ProcessorAnswer | None:
        """The processor's record of a charge: None when it has none. UNKNOWN when it cannot be asked now. MUST NOT raise.

        ``begun_ms``: when the charge was meant. A processor whose record is read by time needs it to say for certain that
        there is none; without it such a connector may have to answer UNKNOWN.
        """

    async def modify(self, request: ProcessorModification) -> ModificationAnswer:
        """Asks for a capture, void or refund, once. The same promises as charge()."""

    async def find_modification(self, request: ProcessorModification) -> ModificationAnswer | None:
        """The processor's record of a modification: None when it has none. UNKNOWN when it cannot be asked. MUST NOT raise."""

    def read_webhook(self, headers: dict[str, str], body: bytes, now_ms: int) -> Sequence[ProcessorEvent]:
        """A webhook's events; none for what is of no interest. Raises WebhookRefused. Header names are lower case."""

    async def close(self) -> None:
        """Lets the connections go."""
