"""What the sandbox has on record, and how the interface shows each. Times are milliseconds since the epoch, UTC."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """The state of a charge; all but two are final. What was captured may still be refunded or disputed."""

    SUCCEEDED = "succeeded"  # captured, in whole or in part
    AUTHORIZED = "authorized"
    DECLINED = "declined"
    REQUIRES_ACTION = "requires_action"
    VOIDED = "voided"
    EXPIRED = "expired"


class Kind(StrEnum):
    """What may be done to a charge."""

    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"


class ModificationStatus(StrEnum):
    """The state of a capture, void or refund; ``pending`` ends by itself."""

    SUCCEEDED = "succeeded"
    PENDING = "pending"
    DECLINED = "declined"


class ModificationDecline(StrEnum):
    """Why a capture, void or refund was declined; a closed set."""

    CURRENCY_MISMATCH = "currency_mismatch"
    AUTHENTICATION_PENDING = "authentication_pending"
    CHARGE_DECLINED = "charge_declined"
    ALREADY_CAPTURED = "already_captured"
    ALREADY_VOIDED = "already_voided"
    AUTHORIZATION_EXPIRED = "authorization_expired"
    NOTHING_CAPTURED = "nothing_captured"
    ALREADY_REFUNDED = "already_refunded"
    CHARGE_DISPUTED = "charge_disputed"
    AMOUNT_EXCEEDS_CAPTURABLE = "amount_exceeds_capturable"
    AMOUNT_EXCEEDS_REFUNDABLE = "amount_exceeds_refundable"
    REFUND_FAILED = "refund_failed"


class DisputeStatus(StrEnum):
    """The state of a dispute; ``won`` and ``lost`` are final."""

    NEEDS_RESPONSE = "needs_response"
    UNDER_REVIEW = "under_review"
    WON = "won"
    LOST = "lost"


class DisputeReason(StrEnum):
    """What the cardholder says is wrong; a closed set."""

    FRAUDULENT = "fraudulent"
    PRODUCT_NOT_RECEIVED = "product_not_received"
    GENERAL = "general"


class Entry(StrEnum):
    """What moved the balance."""

    CHARGE = "charge"
    REFUND = "refund"
    DISPUTE = "dispute"
    DISPUTE_REVERSAL = "dispute_reversal"
    FEE = "fee"
    PAYOUT = "payout"


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge as it is kept. Of the card: brand, last four, and what charges on it go on to do (``behaviour``).

    ``capturable_minor`` is what is held and not captured; ``refunding_minor`` is in refunds that are pending.
    """

    id: str
    reference: str
    status: Status
    amount_minor: int
    currency: str
    capture: bool
    initiator: str
    capturable_minor: int
    captured_minor: int
    refunding_minor: int
    refunded_minor: int
    disputed_minor: int
    decline_code: str | None
    brand: str
    last4: str
    behaviour: str
    merchant: str
    return_url: str
    challenge_id: str | None
    decline_code_after_challenge: str | None
    network_reference: str
    expires_at: int | None
    created_at: int

    @property
    def refundable_minor(self) -> int:
        """What can still be refunded: captured, and in no refund and no dispute."""
        return self.captured_minor - self.refunding_minor - self.refunded_minor - self.disputed_minor


@dataclass(frozen=True, slots=True)
class Modification:
    """A capture, void or refund. ``reference`` is None for one that no caller asked for; a pending one ends at ``due_at``."""

    id: str
    reference: str | None
    kind: Kind
    charge_id: str
    charge_reference: str
    status: ModificationStatus
    amount_minor: int | None
    currency: str
    is_final: bool
    decline_code: str | None
    due_at: int | None
    created_at: int


@dataclass(frozen=True, slots=True)
class Dispute:
    """A dispute. ``fee_minor`` is kept by the processor, whoever wins."""

    id: str
    charge_id: str
    charge_reference: str
    status: DisputeStatus
    amount_minor: int
    currency: str
    reason: str
    fee_minor: int
    evidence_due_at: int
    created_at: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """One line of the balance: net = gross - fee. ``reference`` is the caller's, ``processor_id`` the sandbox's."""

    id: str
    type: Entry
    reference: str | None
    processor_id: str
    charge_reference: str | None
    gross_minor: int
    fee_minor: int
    net_minor: int
    currency: str
    payout_id: str | None
    created_at: int


def charge_object(charge: Charge, public_url: str) -> dict[str, Any]:
    """The charge as the API shows it."""
    shown: dict[str, Any] = {
        "id": charge.id,
        "object": "charge",
        "reference": charge.reference,
        "status": charge.status.value,
        "amount_minor": charge.amount_minor,
        "currency": charge.currency,
        "capture": charge.capture,
        "initiator": charge.initiator,
        "capturable_minor": charge.capturable_minor,
        "captured_minor": charge.captured_minor,
        "refunded_minor": charge.refunded_minor,
        "disputed_minor": charge.disputed_minor,
        "card": {"brand": charge.brand, "last4": charge.last4},
        "network_reference": charge.network_reference,
        "created_at": as_text(charge.created_at),
        "sandbox": True,
    }
    if charge.decline_code is not None:
        shown["decline_code"] = charge.decline_code
    if charge.capturable_minor and charge.expires_at is not None:
        shown["expires_at"] = as_text(charge.expires_at)
    if charge.status is Status.REQUIRES_ACTION:
        shown["action"] = {"type": "redirect", "url": f"{public_url}/acs/{charge.challenge_id}"}
    return shown


def modification_object(modification: Modification) -> dict[str, Any]:
    """The capture, void or refund as the API shows it."""
    shown: dict[str, Any] = {
        "id": modification.id,
        "object": "modification",
        "kind": modification.kind.value,
        "reference": modification.reference,
        "charge": modification.charge_id,
        "charge_reference": modification.charge_reference,
        "status": modification.status.value,
        "amount_minor": modification.amount_minor,
        "currency": modification.currency,
        "created_at": as_text(modification.created_at),
        "sandbox": True,
    }
    if modification.kind is Kind.CAPTURE:
        shown["final"] = modification.is_final
    if modification.decline_code is not None:
        shown["decline_code"] = modification.decline_code
    return shown


def dispute_object(dispute: Dispute) -> dict[str, Any]:
    """The dispute as the API shows it."""
    return {
        "id": dispute.id,
        "object": "dispute",
        "charge": dispute.charge_id,
        "charge_reference": dispute.charge_reference,
        "status": dispute.status.value,
        "amount_minor": dispute.amount_minor,
        "currency": dispute.currency,
        "reason": dispute.reason,
        "fee_minor": dispute.fee_minor,
        "evidence_due_at": as_text(dispute.evidence_due_at),
        "created_at": as_text(dispute.created_at),
        "sandbox": True,
    }


def payout_object(payout: Transaction) -> dict[str, Any]:
    """The payout as the API shows it: what left the balance."""
    return {
        "id": payout.processor_id,
        "object": "payout",
        "amount_minor": -payout.net_minor,
        "currency": payout.currency,
        "created_at": as_text(payout.created_at),
        "sandbox": True,
    }


def as_text(milliseconds: int) -> str:
    """RFC 3339 in UTC: ``2026-11-22T09:30:00.000Z``."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
