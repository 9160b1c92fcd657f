"""One line of a settlement report, whichever processor wrote it: a movement of money on the balance that it holds."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from tokenization.money import MAXIMUM_AMOUNT_MINOR
from tokenization.wire import Currency, Wire

CREATED_MAXIMUM_SECONDS: Final = 4_102_444_800  # the year 2100
SignedMinor = Annotated[int, Field(strict=True, ge=-MAXIMUM_AMOUNT_MINOR, le=MAXIMUM_AMOUNT_MINOR)]
ReportedId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,79}$")]


class LineType(StrEnum):
    """What a line is about. What a report calls otherwise is ``unknown``."""

    CHARGE = "charge"
    REFUND = "refund"
    REFUND_FAILURE = "refund_failure"  # a refund came back
    DISPUTE = "dispute"
    DISPUTE_REVERSAL = "dispute_reversal"
    FEE = "fee"
    PAYOUT = "payout"
    UNKNOWN = "unknown"


class Line(Wire):
    """Amounts are what they do to the balance at the processor: a charge above zero, a refund, dispute or payout
    below.

    ``net_minor`` is ``gross_minor`` less ``fee_minor``. ``reference`` is our id (of the charge, its capture or refund) as the
    processor gives it back; ``processor_ids`` are the processor's own of the same, any of which may be known here.
    """

    reported_id: ReportedId
    type: LineType
    reference: ReportedId | None = None
    processor_ids: Annotated[tuple[ReportedId, ...], Field(max_length=4)] = ()
    gross_minor: SignedMinor
    fee_minor: SignedMinor
    net_minor: SignedMinor
    currency: Currency
    created_seconds: Annotated[int, Field(strict=True, ge=0, le=CREATED_MAXIMUM_SECONDS)]
    payout: ReportedId | None = None
