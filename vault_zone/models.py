"""The zone's tables. A card is in one column of one of them, sealed; everything else is tokens, money and states."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

from audit.store import metadata as audit_metadata
from tokenization.wire import ChargeState

metadata = MetaData()
for _table in audit_metadata.tables.values():
    _table.to_metadata(metadata)

LIVE_CHARGE_STATES = (ChargeState.PENDING, ChargeState.UNKNOWN, ChargeState.ACTION_REQUIRED, ChargeState.SUCCEEDED)
_LIVE = text("state IN ('pending', 'unknown', 'action_required', 'succeeded')")

merchant = Table(
    "merchant",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

data_key = Table(
    "data_key",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("merchant", String(64), ForeignKey("merchant.id"), nullable=False),
    Column("purpose", String(20), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("provider", String(20), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("state", String(10), nullable=False),
    Column("uses", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Index("uq_data_key_epoch", "merchant", "purpose", "epoch", unique=True),
)

card_record = Table(
    "card_record",
    metadata,
    Column("token", String(40), primary_key=True),
    Column("merchant", String(64), ForeignKey("merchant.id"), nullable=False),
    Column("key_id", String(40), ForeignKey("data_key.id"), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("brand", String(20), nullable=False),
    Column("last4", String(4), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("ix_card_record_expires", "expires_ms"),
)

card_grant = Table(
    "card_grant",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("token", String(40), ForeignKey("card_record.token"), nullable=False),
    Column("merchant", String(64), nullable=False),
    Column("checkout", String(64), nullable=False),
    Column("ceiling_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("uses_left", Integer, nullable=False),
    Column("revoked_ms", BigInteger, nullable=True),
    CheckConstraint("uses_left >= 0", name="ck_card_grant_uses"),
    Index("ix_card_grant_token", "token"),
)

capture_session = Table(
    "capture_session",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("secret_digest", String(64), nullable=False, unique=True),
    Column("claim_digest", String(64), nullable=True),
    Column("merchant", String(64), ForeignKey("merchant.id"), nullable=False),
    Column("checkout", String(64), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("summary", Text, nullable=False),
    Column("return_url", Text, nullable=False),
    Column("cancel_url", Text, nullable=False),
    Column("state", String(10), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("token", String(40), nullable=True),
    Column("grant_id", String(40), nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("ix_capture_session_checkout", "merchant", "checkout"),
)

charge = Table(
    "charge",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("payment", String(64), nullable=False),
    Column("merchant", String(64), ForeignKey("merchant.id"), nullable=False),
    Column("checkout", String(64), nullable=False),
    Column("grant_id", String(40), ForeignKey("card_grant.id"), nullable=False),
    Column("token", String(40), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("brand", String(20), nullable=False),
    Column("last4", String(4), nullable=False),
    Column("processor", String(20), nullable=False),
    Column("processor_charge", String(80), nullable=True),
    Column("state", String(20), nullable=False),
    Column("decline_code", String(40), nullable=True),
    Column("action_url", Text, nullable=True),
    Column("return_url", Text, nullable=False),
    Column("intended_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    CheckConstraint("amount_minor > 0", name="ck_charge_amount"),
    # The payment is the idempotency key (I3); and one checkout has at most one charge that took, or may yet take, money.
    Index("uq_charge_payment", "merchant", "payment", unique=True),
    Index("uq_charge_live", "merchant", "checkout", unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE),
    Index("ix_charge_state", "state"),
)

webhook_inbox = Table(
    "webhook_inbox",
    metadata,
    Column("processor", String(20), primary_key=True),
    Column("event_id", String(80), primary_key=True),
    Column("received_ms", BigInteger, nullable=False),
)
