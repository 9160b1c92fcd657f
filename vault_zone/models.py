"""The zone's tables. A card is in one column of one of them, sealed; everything else is tokens, money and states."""

from sqlalchemy import (
    BigInteger,
    Boolean,
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
    false,
    text,
    true,
)

from audit.store import metadata as audit_metadata
from tokenization.wire import ChargeState
from vault_zone.ledger.append_only import guard

metadata = MetaData()
for _table in audit_metadata.tables.values():
    _table.to_metadata(metadata)

LIVE_CHARGE_STATES = (
    ChargeState.PENDING,
    ChargeState.UNKNOWN,
    ChargeState.ACTION_REQUIRED,
    ChargeState.AUTHORIZED,
    ChargeState.SUCCEEDED,
)
_LIVE = text("state IN ('pending', 'unknown', 'action_required', 'authorized', 'succeeded')")

merchant = Table(
    "merchant",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("frame_origins", Text, nullable=False, server_default="[]"),  # JSON: whose pages may frame the card fields
    Column("keys_destroyed_ms", BigInteger, nullable=True),  # its cards are gone for good, and it takes no more
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
    Column("uses", BigInteger, nullable=False),  # counted when a process takes a lease of them, so never too few
    Column("created_ms", BigInteger, nullable=False),
    Column("retire_by_ms", BigInteger, nullable=False),  # the end of its crypto-period: it seals nothing afterwards
    Column("retired_ms", BigInteger, nullable=True),
    Column("destroyed_ms", BigInteger, nullable=True),
    Index("uq_data_key_epoch", "merchant", "purpose", "epoch", unique=True),
)

card_record = Table(
    "card_record",
    metadata,
    Column("token", String(40), primary_key=True),
    Column("merchant", String(64), ForeignKey("merchant.id"), nullable=False),
    Column("key_id", String(40), ForeignKey("data_key.id"), nullable=False),
    Column("format", Integer, nullable=False),  # of the sealed bytes; a row keeps the one it was written in
    Column("sealed", LargeBinary, nullable=False),
    Column("kind", String(20), nullable=False),  # card, or network_token
    Column("source", String(20), nullable=False),  # how it came: page, fields, wallet, acp, ucp
    Column("brand", String(20), nullable=False),
    Column("last4", String(4), nullable=False),
    Column("shopper", String(64), nullable=True),  # whose saved card it is; null for a card of one purchase
    Column("fingerprint", String(64), nullable=True),  # keyed, internal, gone with the row
    Column("fingerprint_key_id", String(40), nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("ix_card_record_expires", "expires_ms"),
    Index("ix_card_record_key", "key_id", "token"),
    Index("ix_card_record_shopper", "merchant", "shopper"),
    Index("ix_card_record_fingerprint", "merchant", "fingerprint"),
)

consent = Table(
    "consent",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("merchant", String(64), ForeignKey("merchant.id"), nullable=False),
    Column("shopper", String(64), nullable=False),
    Column(
        "token", String(40), nullable=False
    ),  # kept when the card is deleted: that consent was given stays on record
    Column("wording", String(40), nullable=False),  # which text the shopper agreed to
    Column("purpose", String(20), nullable=False),
    Column("given_ms", BigInteger, nullable=False),
    Column("withdrawn_ms", BigInteger, nullable=True),
    Index("ix_consent_token", "token"),
)

card_grant = Table(
    "card_grant",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("token", String(40), ForeignKey("card_record.token"), nullable=False),
    Column("merchant", String(64), nullable=False),
    Column("checkout", String(64), nullable=False),
    Column("ceiling_minor", BigInteger, nullable=False),
    Column("used_minor", BigInteger, nullable=False, server_default="0"),  # of the ceiling, by all uses together
    Column("currency", String(3), nullable=False),
    Column(
        "processor", String(80), nullable=True
    ),  # the only processor it may be sent to; null leaves the choice to routing
    Column(
        "needs_code", Boolean, nullable=False, server_default=true()
    ),  # whether the charge must carry a security code
    Column("created_ms", BigInteger, nullable=False, server_default="0"),
    Column("expires_ms", BigInteger, nullable=False),
    Column("uses_left", Integer, nullable=False),
    Column("revoked_ms", BigInteger, nullable=True),
    CheckConstraint("uses_left >= 0", name="ck_card_grant_uses"),
    CheckConstraint("used_minor >= 0 AND used_minor <= ceiling_minor", name="ck_card_grant_used"),
    Index("ix_card_grant_token", "token"),
    Index("ix_card_grant_expires", "expires_ms"),
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
    Column(
        "mode", String(10), nullable=False, server_default="page"
    ),  # page, or fields in a frame of the merchant's page
    Column("frame_origin", String(300), nullable=True),  # the page that may frame it
    Column("opener_digest", String(64), nullable=True),  # of the secret that only the browser which began this holds
    Column("shopper", String(64), nullable=True),  # who may save the card
    Column("state", String(10), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_try_ms", BigInteger, nullable=False, server_default="0"),  # no try is looked at before
    Column("device_sealed", LargeBinary, nullable=True),  # the browser's 3-D Secure data, until the charge
    Column("device_key_id", String(40), nullable=True),
    Column("token", String(40), nullable=True),
    Column("grant_id", String(40), nullable=True),
    Column("brand", String(20), nullable=True),
    Column("last4", String(4), nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("ix_capture_session_checkout", "merchant", "checkout"),
    Index("ix_capture_session_expires", "expires_ms"),
)

charge = Table(
    "charge",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("payment", String(64), nullable=False),
    Column("merchant", String(64), ForeignKey("merchant.id"), nullable=False),
    Column("checkout", String(64), nullable=False),
    Column("grant_id", String(40), nullable=False),  # the charge outlives grant and card
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
    Column("capture", String(10), nullable=False, server_default="automatic"),  # automatic, or manual
    Column("initiator", String(20), nullable=False, server_default="shopper"),
    Column("network_reference", String(80), nullable=True),  # the card network's id of the purchase
    # Amounts that a modification is under way for are held apart, so that two of them cannot take the same money.
    Column("authorized_minor", BigInteger, nullable=False, server_default="0"),
    Column("capturing_minor", BigInteger, nullable=False, server_default="0"),
    Column("captured_minor", BigInteger, nullable=False, server_default="0"),
    Column("refunding_minor", BigInteger, nullable=False, server_default="0"),
    Column("refunded_minor", BigInteger, nullable=False, server_default="0"),
    Column("disputed_minor", BigInteger, nullable=False, server_default="0"),
    Column("authorized_until_ms", BigInteger, nullable=True),
    Column("is_closed", Boolean, nullable=False, server_default=false()),  # nothing more can be captured
    Column("attention", String(40), nullable=True),  # why a person has to look at it
    Column("attention_ms", BigInteger, nullable=True),
    Column("intended_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    CheckConstraint("amount_minor > 0", name="ck_charge_amount"),
    CheckConstraint(
        "capturing_minor >= 0 AND captured_minor >= 0 AND captured_minor + capturing_minor <= authorized_minor",
        name="ck_charge_captured",
    ),
    CheckConstraint(
        "refunding_minor >= 0 AND refunded_minor >= 0 AND refunded_minor + refunding_minor <= captured_minor",
        name="ck_charge_refunded",
    ),
    # The payment is the idempotency key (I3); and one checkout has at most one charge that took, or may yet take, money.
    Index("uq_charge_payment", "merchant", "payment", unique=True),
    Index("uq_charge_live", "merchant", "checkout", unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE),
    Index("ix_charge_state", "state"),
    Index("ix_charge_attention", "attention_ms"),
    Index("ix_charge_processor_charge", "processor", "processor_charge"),
    Index("ix_charge_token", "merchant", "token"),
    Index(
        "ix_charge_authorized_until",
        "is_closed",
        "authorized_until_ms",
        sqlite_where=text("authorized_until_ms IS NOT NULL"),
        postgresql_where=text("authorized_until_ms IS NOT NULL"),
    ),
)

charge_leg = Table(
    "charge_leg",  # one processor that a charge was sent to, and why that one
    metadata,
    Column("charge_id", String(40), ForeignKey("charge.id"), primary_key=True),
    Column("leg", Integer, primary_key=True),
    Column("processor", String(20), nullable=False),
    Column("reason", String(40), nullable=False),  # a code of routing's
    Column("rule", String(40), nullable=True),  # the name of the rule that chose it
    Column("outcome", String(20), nullable=True),  # null while it is under way
    Column("decline_code", String(40), nullable=True),
    Column("started_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger, nullable=True),
)

modification = Table(
    "modification",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("request", String(64), nullable=False),  # the caller's idempotency key
    Column("charge_id", String(40), ForeignKey("charge.id"), nullable=False),
    Column("merchant", String(64), ForeignKey("merchant.id"), nullable=False),
    Column("kind", String(10), nullable=False),
    Column("amount_minor", BigInteger, nullable=True),  # null for a void
    Column("asked_minor", BigInteger, nullable=True),  # as asked for; null: all that was left
    Column("currency", String(3), nullable=False),
    Column("is_final", Boolean, nullable=False, server_default=true()),
    Column("is_ours", Boolean, nullable=False, server_default=true()),  # false: done at the processor, not through us
    Column("reason", String(40), nullable=True),
    Column("state", String(20), nullable=False),
    Column("decline_code", String(40), nullable=True),
    Column("processor", String(20), nullable=False),
    Column("processor_reference", String(80), nullable=True),
    Column("attention", String(40), nullable=True),
    Column("attention_ms", BigInteger, nullable=True),
    Column("intended_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    CheckConstraint("(kind = 'void') = (amount_minor IS NULL)", name="ck_modification_amount"),
    Index("uq_modification_request", "merchant", "request", unique=True),
    Index("ix_modification_charge", "charge_id"),
    Index("ix_modification_state", "state"),
    Index("ix_modification_attention", "attention_ms"),
)

dispute = Table(
    "dispute",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("charge_id", String(40), ForeignKey("charge.id"), nullable=False),
    Column("merchant", String(64), ForeignKey("merchant.id"), nullable=False),
    Column("processor", String(20), nullable=False),
    Column("processor_dispute", String(80), nullable=False),
    Column("state", String(20), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("fee_minor", BigInteger, nullable=False, server_default="0"),
    Column(
        "fee_currency", String(3), nullable=True
    ),  # the account's, which may not be the charge's; null without a fee
    Column("is_inquiry", Boolean, nullable=False, server_default=false()),  # nothing is withheld for it
    Column("reason", String(40), nullable=False),
    Column("evidence_due_ms", BigInteger, nullable=True),
    Column("opened_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    CheckConstraint("amount_minor > 0 AND fee_minor >= 0", name="ck_dispute_amount"),
    Index("uq_dispute_processor", "processor", "processor_dispute", unique=True),
    Index("ix_dispute_merchant", "merchant", "state"),
    Index("ix_dispute_charge", "charge_id"),
)

notice = Table(
    "notice",  # what is told to commerce; written in the transaction of what it tells
    metadata,
    Column("id", String(40), primary_key=True),
    Column("merchant", String(64), ForeignKey("merchant.id"), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("charge_id", String(40), ForeignKey("charge.id"), nullable=False),
    Column("modification_id", String(40), ForeignKey("modification.id"), nullable=True),
    Column("dispute_id", String(40), ForeignKey("dispute.id"), nullable=True),
    Column("state", String(10), nullable=False),  # pending, delivered, abandoned
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("due_ms", BigInteger, nullable=False),  # no attempt before; while one is under way, when it counts as lost
    Column("last_status", Integer, nullable=True),  # of HTTP; null when there was no answer
    Column("happened_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Index("ix_notice_due", "state", "due_ms"),
    Index("ix_notice_happened", "happened_ms"),
)

webhook_inbox = Table(
    "webhook_inbox",
    metadata,
    Column("processor", String(20), primary_key=True),
    Column("event_id", String(80), primary_key=True),
    Column("received_ms", BigInteger, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("caller", String(80), primary_key=True),
    Column("key_digest", String(64), primary_key=True),
    Column("fingerprint", String(64), nullable=False),  # keyed: a plain hash of the body would be a hash of a card
    Column("key_id", String(40), nullable=True),  # the key that the fingerprint was made with
    Column("status", Integer, nullable=True),  # null while the first call is in flight
    Column("answer", Text, nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("ix_idempotency_expires", "expires_ms"),
)

agent_platform = Table(
    "agent_platform",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("bearer_digest", String(64), nullable=False, unique=True),  # of 256 random bits
    Column("signature_algorithm", String(10), nullable=True),  # ed25519, or es256; null where requests are not signed
    Column("signature_key", Text, nullable=True),  # public, PEM
    Column("protocols", Text, nullable=False),  # JSON: acp, ucp
    Column("merchants", Text, nullable=False),  # JSON: for whom it may hand over cards
    Column("ceiling_minor", BigInteger, nullable=True),  # of a token whose protocol carries no amount
    Column("currency", String(3), nullable=True),  # of that ceiling
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger, nullable=True),
)

velocity_counter = Table(
    "velocity_counter",
    metadata,
    Column("merchant", String(64), primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("subject", String(64), primary_key=True),  # keyed digest of what is counted
    Column("window_ms", BigInteger, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("ix_velocity_counter_expires", "expires_ms"),
)

rekeying = Table(
    "rekeying",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("merchant", String(64), ForeignKey("merchant.id"), nullable=False),
    Column("state", String(10), nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Index("ix_rekeying_state", "state"),
)

access_identity = Table(
    "access_identity",  # what is on record of access.json
    metadata,
    Column("identity", String(50), primary_key=True),
    Column("role", String(20), nullable=True),
    Column("merchants", Text, nullable=False),  # JSON, sorted
    Column("changed_ms", BigInteger, nullable=False),
)

issued_certificate = Table(
    "issued_certificate",
    metadata,
    Column("serial", String(40), primary_key=True),
    Column("identity", String(50), nullable=False),
    Column("issued_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger, nullable=True),
)

operation = Table(
    "operation",  # a dangerous act that one operator asked for and another has to approve
    metadata,
    Column("id", String(40), primary_key=True),
    Column("act", String(30), nullable=False),
    Column("merchant", String(64), nullable=True),  # null: it concerns every merchant
    Column("subject", String(80), nullable=True),  # what it is to be done to
    Column("state", String(10), nullable=False),
    Column("reason", String(40), nullable=True),
    Column("requested_by", String(50), nullable=False),
    Column("decided_by", String(50), nullable=True),
    Column("requested_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("decided_ms", BigInteger, nullable=True),
    Column("ended_ms", BigInteger, nullable=True),
    Column("grounds", String(40), nullable=True),  # why who asked says it should be done
    CheckConstraint(
        "decided_by IS NULL OR state = 'refused' OR decided_by <> requested_by", name="ck_operation_second"
    ),
    Index("ix_operation_state", "state"),
)

forward_list = Table(
    "forward_list",
    metadata,
    Column("serial", BigInteger, primary_key=True, autoincrement=False),  # never goes back
    Column("digest", String(64), nullable=False),
    Column("accepted_ms", BigInteger, nullable=False),
)

forward = Table(
    "forward",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("merchant", String(64), ForeignKey("merchant.id"), nullable=False),
    Column("idempotency_key", String(64), nullable=False),
    Column("request_mac", String(64), nullable=False),  # keyed: of the request as asked, with placeholders
    Column("mac_key_id", String(40), nullable=False),
    Column("grant_id", String(40), nullable=False),  # outlived, as by a charge
    Column("token", String(40), nullable=False),
    Column("checkout", String(64), nullable=False),
    Column("destination", String(64), nullable=False),
    Column("amount_minor", BigInteger, nullable=True),  # null when it moves no money
    Column("currency", String(3), nullable=True),
    Column("state", String(10), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("status", Integer, nullable=True),
    Column("answer", Text, nullable=True),  # scrubbed, as it is given on every repetition
    Column("reason", String(40), nullable=True),
    Column("intended_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Index("uq_forward_key", "merchant", "idempotency_key", unique=True),
    Index("ix_forward_state", "state"),
)

# The books. An account is one kind of account of one merchant at one processor in one currency; its row is the projection of
# its postings, moved in their transaction. Entries and postings are never changed: the triggers of ledger/append_only.py.
ledger_account = Table(
    "ledger_account",
    metadata,
    Column("merchant", String(64), primary_key=True),
    Column("processor", String(20), primary_key=True),
    Column("currency", String(3), primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("balance_minor", BigInteger, nullable=False),  # debits less credits
    Column("postings", BigInteger, nullable=False),  # how many; the newest one's place in the account
    CheckConstraint("kind NOT IN ('held', 'disputed') OR balance_minor >= 0", name="ck_ledger_account_overdraft"),
)

ledger_charge = Table(
    "ledger_charge",  # what the books hold of one charge: the same projection, of its entries
    metadata,
    Column("charge_id", String(40), primary_key=True),
    Column("merchant", String(64), primary_key=True),
    Column("processor", String(20), primary_key=True),
    Column("currency", String(3), primary_key=True),
    Column("held_minor", BigInteger, nullable=False),
    Column("kept_minor", BigInteger, nullable=False),  # captured and not refunded
    Column("refunded_minor", BigInteger, nullable=False, server_default="0"),  # and not come back
    Column("disputed_minor", BigInteger, nullable=False),
    Column("ended_minor", BigInteger, nullable=False),  # of what was held, by the newest fact: a capture ends its part
    Column("facts", BigInteger, nullable=False),
    CheckConstraint("held_minor >= 0 AND kept_minor >= 0 AND disputed_minor >= 0", name="ck_ledger_charge_overdraft"),
    CheckConstraint("refunded_minor >= 0", name="ck_ledger_charge_refunded"),
)

ledger_entry = Table(
    "ledger_entry",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("merchant", String(64), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("source", String(80), nullable=False),  # what makes it idempotent
    Column("charge_id", String(40), nullable=True),  # null for payouts and the account's fees
    Column("processor", String(20), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("reverses", String(40), ForeignKey("ledger_entry.id"), nullable=True, unique=True),
    Column("recorded_ms", BigInteger, nullable=False),
    Column("place", BigInteger, nullable=True, unique=True),  # in the chain; null until the sealing pass comes by
    Column("chain_digest", String(64), nullable=True),
    CheckConstraint("amount_minor > 0", name="ck_ledger_entry_amount"),
    Index("uq_ledger_entry_source", "merchant", "kind", "source", unique=True),
    Index("ix_ledger_entry_charge", "charge_id"),
    Index("ix_ledger_entry_merchant", "merchant", "recorded_ms"),
    Index(
        "ix_ledger_entry_unsealed",
        "recorded_ms",
        sqlite_where=text("place IS NULL"),
        postgresql_where=text("place IS NULL"),
    ),
)

ledger_posting = Table(
    "ledger_posting",
    metadata,
    Column("entry", String(40), ForeignKey("ledger_entry.id"), primary_key=True),
    Column("kind", String(20), primary_key=True),  # of the account: an entry touches each at most once
    Column("merchant", String(64), nullable=False),
    Column("processor", String(20), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),  # a debit, or below zero a credit
    Column("place", BigInteger, nullable=False),  # in the account, from 1 without a gap
    Column("balance_minor", BigInteger, nullable=False),  # of the account behind this posting
    CheckConstraint("amount_minor <> 0", name="ck_ledger_posting_amount"),
    Index("uq_ledger_posting_place", "merchant", "processor", "currency", "kind", "place", unique=True),
)
guard(ledger_account, ledger_entry, ledger_posting)

settlement = Table(
    "settlement",  # a processor's report that was read
    metadata,
    Column("id", String(40), primary_key=True),
    Column("merchant", String(64), ForeignKey("merchant.id"), nullable=False),
    Column("processor", String(20), nullable=False),
    Column("digest", String(64), nullable=False),  # of the file's bytes
    Column("state", String(10), nullable=False),  # reading, or finished
    Column("lines", BigInteger, nullable=False),
    Column("matched", BigInteger, nullable=False),
    Column("first_ms", BigInteger, nullable=True),  # the time that its lines are from
    Column("last_ms", BigInteger, nullable=True),
    Column("started_by", String(50), nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("finished_ms", BigInteger, nullable=True),
    Index("uq_settlement_digest", "merchant", "processor", "digest", unique=True),
)

settlement_line = Table(
    "settlement_line",  # the processor's movement of money, once, whichever reports it stands in
    metadata,
    Column("merchant", String(64), primary_key=True),
    Column("processor", String(20), primary_key=True),
    Column("reported_id", String(80), primary_key=True),  # the processor's own id of it
    Column("settlement", String(40), ForeignKey("settlement.id"), nullable=False),
    Column("type", String(40), nullable=False),
    Column("charge_id", String(40), nullable=True),
    Column("modification_id", String(40), nullable=True),
    Column("gross_minor", BigInteger, nullable=False),
    Column("fee_minor", BigInteger, nullable=False),
    Column("net_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("payout", String(80), nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("reference", String(80), nullable=True),  # ours, as the processor gives it back
    Column("processor_ids", Text, nullable=False, server_default="[]"),  # JSON: the processor's own of the same
    Column("ours_minor", BigInteger, nullable=False, server_default="0"),  # what of the books it accounts for
    Index("ix_settlement_line_charge", "charge_id"),
    Index("ix_settlement_line_settlement", "settlement"),
)

settlement_break = Table(
    "settlement_break",  # where a report and the books do not agree
    metadata,
    Column("id", String(40), primary_key=True),
    Column("settlement", String(40), ForeignKey("settlement.id"), nullable=False),
    Column("merchant", String(64), ForeignKey("merchant.id"), nullable=False),
    Column("processor", String(20), nullable=False),
    Column("code", String(30), nullable=False),
    Column("subject", String(80), nullable=False),  # the processor's id of the line; of what it does not report, ours
    Column("charge_id", String(40), nullable=True),
    Column("ours_minor", BigInteger, nullable=True),
    Column("theirs_minor", BigInteger, nullable=True),
    Column("currency", String(3), nullable=False),
    Column("entry", String(40), ForeignKey("ledger_entry.id"), nullable=True),  # what it left in suspense
    Column("found_ms", BigInteger, nullable=False),
    Column("resolved_ms", BigInteger, nullable=True),
    Column("resolved_by", String(50), nullable=True),
    Column("reason", String(200), nullable=True),
    CheckConstraint("(resolved_ms IS NULL) = (resolved_by IS NULL)", name="ck_settlement_break_resolved"),
    Index("uq_settlement_break_subject", "merchant", "processor", "code", "subject", unique=True),
    Index("ix_settlement_break_resolved", "resolved_ms"),
)
