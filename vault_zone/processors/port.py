"""The port to a card processor: what any connector promises, so that the charge engine can promise at most one charge (I3)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tokenization.money import Money
from vault_zone.card import Card, Cryptogram, Cvc
from vault_zone.device import Device


class Outcome(StrEnum):
    """What the processor says of a charge. ``UNKNOWN`` is what we say when it said nothing that can be believed."""

    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    ACTION_REQUIRED = "action_required"
    UNKNOWN = "unknown"
    NEVER_SENT = "never_sent"  # provably not charged: the request did not leave, or was refused as malformed


@dataclass(frozen=True, slots=True)
class ProcessorCharge:
    """What goes to the processor. ``reference`` is the charge's id: idempotency key and search key, the same on every try.

    With a ``cryptogram`` the card's number is a network token. ``device`` is for 3-D Secure, where a browser sent the card.
    """

    reference: str
    merchant: str
    amount: Money
    card: Card
    cvc: Cvc | None
    return_url: str
    cryptogram: Cryptogram | None = None
    device: Device | None = None


@dataclass(frozen=True, slots=True)
class ProcessorAnswer:
    """What came back, without card data. ``processor_charge`` is the processor's own id, where it gave one."""

    outcome: Outcome
    processor_charge: str | None = None
    decline_code: str | None = None
    action_url: str | None = None


@dataclass(frozen=True, slots=True)
class ProcessorEvent:
    """A verified webhook: which charge it is about and what the processor now says of it."""

    event_id: str
    reference: str
    answer: ProcessorAnswer


class WebhookRefused(Exception):
    """The webhook's signature, age or form is wrong. It is not acted on."""


class Processor(Protocol):
    """A connector to one processor.

    ``name`` is stored with each charge. ``is_sandbox`` is shown wherever a charge is shown.
    ``request_lifetime_seconds`` bounds how long after it was sent a request may still take effect: a charge that find() does
    not know after that time never happened. Source: the processor's own documentation.
    """

    name: str
    is_sandbox: bool
    request_lifetime_seconds: float

    async def charge(self, request: ProcessorCharge) -> ProcessorAnswer:
        """Asks for the charge, once.

        MUST send ``request.reference`` as the processor's idempotency key, MUST NOT retry, MUST end within its timeout.
        MUST answer UNKNOWN whenever the request may have reached the processor and no definite answer came back; NEVER_SENT
        only when it provably did not leave or was refused before any effect. MUST NOT raise for anything the network does.
        """

    async def find(self, reference: str) -> ProcessorAnswer | None:
        """The processor's record of a charge: None when it has none. UNKNOWN when it cannot be asked now. MUST NOT raise."""

    def read_webhook(self, headers: dict[str, str], body: bytes, now_ms: int) -> ProcessorEvent | None:
        """A webhook's event, or None for one that is of no interest. Raises WebhookRefused. Header names are lower case."""

    async def close(self) -> None:
        """Lets the connections go."""
