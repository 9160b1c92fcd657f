"""The reports that can be read.

Sandbox: columns balance_transaction (or id), type, reference, processor_id, gross_minor, fee_minor, net_minor, currency,
created_at, payout (or payout_id).

Stripe: the CSV of the Balance report and of the Payouts report, as their Reports API and dashboard give them (report types
``balance_change_from_activity.itemized`` and ``payouts.itemized``; docs.stripe.com/reports/report-types/balance). Amounts
stand in major units with their sign on Stripe's balance, the kind of a movement in ``reporting_category``
(docs.stripe.com/reports/reporting-categories), our reference in the columns of payment and refund metadata.
"""

from collections.abc import Mapping
from typing import Final

from tokenization.money import MoneyInvalid, exponent
from vault_zone.reconciliation.line import Line, LineType
from vault_zone.reconciliation.reading import Form, major, moment, whole

# The metadata keys that the connector writes our ids under: of the charge to a PaymentIntent, of the refund to a Refund.
_OUR_CHARGE: Final = "payment_metadata[cordon_charge]"
_OUR_REFUND: Final = "refund_metadata[cordon_refund]"
_STRIPE_TYPES: Final[Mapping[str, LineType]] = {
    "charge": LineType.CHARGE,
    "refund": LineType.REFUND,
    "refund_failure": LineType.REFUND_FAILURE,
    "partial_capture_reversal": LineType.CHARGE,  # what an authorization was over its capture; see _stripe_type
    "dispute": LineType.DISPUTE,
    "dispute_reversal": LineType.DISPUTE_REVERSAL,
    "fee": LineType.FEE,
    "network_cost": LineType.FEE,
    "payout": LineType.PAYOUT,
    "payout_reversal": LineType.PAYOUT,
}


def _sandbox(row: Mapping[str, str]) -> Line:
    kind = row["type"]
    known = kind in LineType.__members__.values() and kind != LineType.UNKNOWN
    return Line(
        reported_id=row.get("balance_transaction") or row.get("id") or "",
        type=LineType(kind) if known else LineType.UNKNOWN,
        reference=row["reference"] or None,
        processor_ids=tuple(filter(None, (row["processor_id"],))),
        gross_minor=whole(row["gross_minor"]),
        fee_minor=whole(row["fee_minor"]),
        net_minor=whole(row["net_minor"]),
        currency=row["currency"].upper(),
        created_seconds=moment(row["created_at"]),
        payout=row.get("payout") or row.get("payout_id") or None,
    )


def _stripe(row: Mapping[str, str]) -> Line:
    currency = row["currency"].upper()
    try:
        exponent(currency)
    except MoneyInvalid as invalid:
        raise ValueError(invalid.code) from None
    kind = _STRIPE_TYPES.get(row["reporting_category"], LineType.UNKNOWN)
    gross_minor = major(row["gross"], currency)
    if kind is LineType.CHARGE and gross_minor < 0:  # a partial capture's second half: the books know the captured sum
        kind = LineType.UNKNOWN
    is_refund = kind in (LineType.REFUND, LineType.REFUND_FAILURE)
    reference = row.get(_OUR_REFUND if is_refund else _OUR_CHARGE)
    # The connector knows a charge by its PaymentIntent, so that comes first.
    ids = (*(() if is_refund else (row.get("payment_intent_id"), row.get("charge_id"))), row.get("source_id"))
    return Line(
        reported_id=row["balance_transaction_id"],
        type=kind,
        reference=reference or None,
        processor_ids=tuple(dict.fromkeys(one for one in ids if one)),
        gross_minor=gross_minor,
        fee_minor=major(row["fee"], currency),
        net_minor=major(row["net"], currency),
        currency=currency,
        created_seconds=moment(row.get("created_utc") or row.get("created") or row.get("effective_at") or ""),
        payout=row.get("automatic_payout_id") or row.get("payout_id") or None,
    )


_SANDBOX: Final = frozenset(
    {"type", "reference", "processor_id", "gross_minor", "fee_minor", "net_minor", "currency", "created_at"}
)

FORMS: Final = (
    Form("sandbox", "sandbox", _SANDBOX | {"balance_transaction", "payout"}, _sandbox),
    Form("sandbox", "sandbox", _SANDBOX | {"id", "payout_id"}, _sandbox),
    Form(
        "stripe",
        "stripe",
        frozenset({"balance_transaction_id", "reporting_category", "currency", "gross", "fee", "net"}),
        _stripe,
    ),
)
