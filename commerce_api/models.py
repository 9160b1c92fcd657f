"""The tables of the commerce side. Tokens, money, states; no card data, ever."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from audit.store import metadata as audit_metadata

_ROW_ID = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER PRIMARY KEY

metadata = MetaData()
for _table in audit_metadata.tables.values():
    _table.to_metadata(metadata)

brand = Table(
    "brand",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("policy", Text, nullable=False),
    Column("agent_key_version", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("offers_paused_ms", BigInteger, nullable=True),
)

variant = Table(
    "variant",
    metadata,
    Column("row_id", _ROW_ID, primary_key=True, autoincrement=True),  # what the full-text index points at
    Column("brand", String(64), ForeignKey("brand.id"), nullable=False),
    Column("id", String(200), nullable=False),
    Column("product_id", String(200), nullable=False),
    Column("title", Text, nullable=False),
    Column("product_title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("url", Text, nullable=True),
    Column("image_url", Text, nullable=True),
    Column("price_minor", BigInteger, nullable=False),
    Column("list_price_minor", BigInteger, nullable=True),
    Column("availability", String(20), nullable=False),
    Column("available", Integer, nullable=False),
    Column("stock", Integer, nullable=True),  # NULL: the feed does not count it
    Column("reserved", Integer, nullable=False, server_default="0"),
    Column("options", Text, nullable=False),
    Column("categories", Text, nullable=False),
    Column("brand_name", Text, nullable=False),
    Column("gtin", String(20), nullable=True),
    Column("condition", String(20), nullable=False),
    Column("search_text", Text, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    UniqueConstraint("brand", "id", name="uq_variant"),
    CheckConstraint("reserved >= 0", name="ck_variant_reserved"),
    CheckConstraint("stock IS NULL OR stock >= reserved", name="ck_variant_stock"),  # never oversold
    Index("ix_variant_product", "brand", "product_id"),
)

product_vector = Table(
    "product_vector",
    metadata,
    Column("brand", String(64), ForeignKey("brand.id"), primary_key=True),
    Column("product_id", String(200), primary_key=True),
    Column("digest", String(32), nullable=False),  # of the model's name and the text
    Column("vector", LargeBinary, nullable=False),  # int8
    Column("made_ms", BigInteger, nullable=False),
    Index("ix_product_vector_made", "brand", "made_ms"),
)

reservation = Table(
    "reservation",
    metadata,
    Column("checkout", String(40), primary_key=True),
    Column("brand", String(64), nullable=False),
    Column("variant", String(200), primary_key=True),
    Column("quantity", Integer, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    CheckConstraint("quantity > 0", name="ck_reservation_quantity"),
    ForeignKeyConstraint(["brand", "variant"], ["variant.brand", "variant.id"]),
    Index("ix_reservation_variant", "brand", "variant", "expires_ms"),
)

checkout = Table(
    "checkout",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("brand", String(64), ForeignKey("brand.id"), nullable=False),
    Column("principal", String(100), nullable=False),
    Column("channel", String(20), nullable=False),
    Column("state", String(20), nullable=False),
    Column("version", Integer, nullable=False),
    Column("document", Text, nullable=False),
    Column("capture_session", String(64), nullable=True),
    Column("order_id", String(40), nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("ix_checkout_state", "state", "expires_ms"),
)

_RETURN_DUE = text("return_due_ms IS NOT NULL")
_LIVE_PAYMENT = text("state IN ('pending', 'action_required', 'succeeded')")
_GRANTED = text("oauth_grant IS NOT NULL")
payment = Table(
    "payment",
    metadata,
    Column("id", String(40), primary_key=True),  # the idempotency key of the charge (I3)
    Column("checkout", String(40), ForeignKey("checkout.id"), nullable=False),
    Column("brand", String(64), nullable=False),
    Column("grant_id", String(40), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("state", String(20), nullable=False),
    Column("charge", String(40), nullable=True),
    Column("card_brand", String(20), nullable=True),
    Column("card_last4", String(4), nullable=True),
    Column("decline_code", String(40), nullable=True),
    Column("action_url", Text, nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("return_request", String(40), nullable=True),  # the zone's key under which late money goes back
    Column("return_due_ms", BigInteger, nullable=True),  # when the zone is asked about that; null when it has ended
    Column("oauth_grant", String(40), nullable=True),  # under whose limit an assistant paid
    Index("ix_payment_return_due", "return_due_ms", sqlite_where=_RETURN_DUE, postgresql_where=_RETURN_DUE),
    Index("ix_payment_oauth_grant", "oauth_grant", sqlite_where=_GRANTED, postgresql_where=_GRANTED),
    # One checkout has at most one payment that took, or may yet take, money.
    Index("uq_payment_live", "checkout", unique=True, sqlite_where=_LIVE_PAYMENT, postgresql_where=_LIVE_PAYMENT),
)

order = Table(
    "customer_order",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("brand", String(64), ForeignKey("brand.id"), nullable=False),
    Column("checkout", String(40), ForeignKey("checkout.id"), nullable=False, unique=True),
    Column("payment", String(40), ForeignKey("payment.id"), nullable=False, unique=True),
    Column("principal", String(100), nullable=False),
    Column("state", String(20), nullable=False),
    Column("document", Text, nullable=False),
    Column("captured_minor", BigInteger, nullable=False, server_default="0"),
    Column("refunded_minor", BigInteger, nullable=False, server_default="0"),
    Column("disputed_minor", BigInteger, nullable=False, server_default="0"),
    Column("money_version", BigInteger, nullable=False, server_default="0"),  # counts the changes of its amounts
    Column("money_changed_ms", BigInteger, nullable=True),
    Column("created_ms", BigInteger, nullable=False),
)

_LIVE_REFUND = text("state = 'asked'")
order_refund = Table(
    "order_refund",
    metadata,
    Column("id", String(40), primary_key=True),  # the idempotency key at the zone (I3)
    Column("order_id", String(40), ForeignKey("customer_order.id"), nullable=False),
    Column("payment", String(40), nullable=False),
    Column("amount_minor", BigInteger, nullable=True),  # null: all that was left
    Column("reason", String(40), nullable=False),
    Column("state", String(20), nullable=False),
    Column("code", String(40), nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Index("ix_order_refund_order", "order_id"),
    # One order has at most one refund of which nobody knows how it ended.
    Index("uq_order_refund_live", "order_id", unique=True, sqlite_where=_LIVE_REFUND, postgresql_where=_LIVE_REFUND),
)

_OPEN_REQUEST = text("state = 'open'")
order_request = Table(
    "order_request",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("order_id", String(40), ForeignKey("customer_order.id"), nullable=False),
    Column("brand", String(64), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("variants", Text, nullable=False),  # a JSON list; empty for the whole order
    Column("principal", String(100), nullable=False),
    Column("channel", String(20), nullable=False),
    Column("state", String(20), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Index("ix_order_request_order", "order_id"),
    Index("ix_order_request_brand", "brand", "state"),
    # One order has at most one open request of a kind: asking again asks for the same.
    Index(
        "uq_order_request_open",
        "order_id",
        "kind",
        unique=True,
        sqlite_where=_OPEN_REQUEST,
        postgresql_where=_OPEN_REQUEST,
    ),
)

_USED = text("checkout IS NOT NULL")
_UNTAKEN = text("taken_ms IS NULL")
_SIGNED = text("snapshot IS NOT NULL")
offer_decision = Table(
    "offer_decision",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("brand", String(64), ForeignKey("brand.id"), nullable=False),
    Column("principal", String(100), nullable=False),
    Column("chosen", String(64), nullable=True),
    Column("record", Text, nullable=False),
    Column("snapshot", Text, nullable=True),  # the signed offer, the only form that checkout honours (I6)
    Column("decided_ms", BigInteger, nullable=False),
    Column("subject", String(40), nullable=True),  # a pseudonym (commerce_api/offering/context.py)
    Column("presented_ms", BigInteger, nullable=True),
    Column("slot", String(20), nullable=True),
    Column("checkout", String(40), nullable=True),  # the one that it is used in
    Column("taken_ms", BigInteger, nullable=True),  # when it first was in a checkout and held there
    # All that caps ask for: what was decided for a shopper, and for none, is counted without looking at the records.
    Index("ix_offer_decision_subject", "brand", "subject", "chosen", "presented_ms", "decided_ms"),
    Index("ix_offer_decision_checkout", "checkout", sqlite_where=_USED, postgresql_where=_USED),
    Index("ix_offer_decision_principal", "brand", "principal"),
    # What is to be forgotten in time, and no row that stays: a sweep that finds nothing reads nothing.
    Index("ix_offer_decision_untaken", "decided_ms", sqlite_where=_UNTAKEN, postgresql_where=_UNTAKEN),
    Index("ix_offer_decision_signed", "decided_ms", sqlite_where=_SIGNED, postgresql_where=_SIGNED),
)

# The offers that were on the table, under the hash that decisions name: with them a decision can be played again.
offer_policy = Table(
    "offer_policy",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("brand", String(64), ForeignKey("brand.id"), primary_key=True),
    Column("document", Text, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
)

offer_outcome = Table(
    "offer_outcome",
    metadata,
    Column("decision", String(40), ForeignKey("offer_decision.id"), primary_key=True),
    Column("key", String(80), primary_key=True),  # each outcome once, however often it is reported
    Column("brand", String(64), nullable=False),
    Column("type", String(20), nullable=False),
    Column("value_minor", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("recorded_ms", BigInteger, nullable=False),
)

offer_budget = Table(
    "offer_budget",
    metadata,
    Column("brand", String(64), ForeignKey("brand.id"), primary_key=True),
    Column("offer", String(64), primary_key=True),
    Column("reserved_minor", BigInteger, nullable=False),
    Column("reserved_uses", BigInteger, nullable=False),
    Column("spent_minor", BigInteger, nullable=False),
    Column("spent_uses", BigInteger, nullable=False),
    Column("guest_minor", BigInteger, nullable=False, server_default="0"),  # of what is reserved
    Column("guest_uses", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("reserved_minor >= 0 AND reserved_uses >= 0", name="ck_offer_budget_reserved"),
    CheckConstraint(
        "guest_minor BETWEEN 0 AND reserved_minor AND guest_uses BETWEEN 0 AND reserved_uses",
        name="ck_offer_budget_guests",
    ),
)

_RESERVED = text("state = 'reserved'")
offer_reservation = Table(
    "offer_reservation",
    metadata,
    Column("decision", String(40), primary_key=True),
    Column("brand", String(64), nullable=False),
    Column("offer", String(64), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("state", String(20), nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("verification", String(10), nullable=True),  # of whom it was made to; null: of before this was counted
    Index("ix_offer_reservation_due", "expires_ms", sqlite_where=_RESERVED, postgresql_where=_RESERVED),
)

shopper_fact = Table(
    "shopper_fact",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("brand", String(64), ForeignKey("brand.id"), nullable=False),
    Column("subject", String(40), nullable=False),  # a pseudonym, as in offer_decision
    Column("key", String(64), nullable=False),
    Column("value", Text, nullable=False),
    Column("source", String(10), nullable=False),
    Column("sensitivity", String(20), nullable=False),
    Column("level", Integer, nullable=False),  # needed beside what the sensitivity needs
    Column("said_ms", BigInteger, nullable=False),
    Column("valid_until_ms", BigInteger, nullable=False),
    Index("ix_shopper_fact_subject", "brand", "subject", "key"),
    Index("ix_shopper_fact_due", "valid_until_ms"),
)

_CONSENT_IN_FORCE = text("withdrawn_ms IS NULL")
_CONSENT_WITHDRAWN = text("withdrawn_ms IS NOT NULL")
shopper_consent = Table(
    "shopper_consent",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("brand", String(64), ForeignKey("brand.id"), nullable=False),
    Column("subject", String(40), nullable=False),
    Column("purpose", String(20), nullable=False),
    Column("wording", String(64), nullable=False),
    Column("words", Text, nullable=False),  # as they were shown, whatever the policy says later
    Column("known_by", String(40), nullable=False),
    Column("given_ms", BigInteger, nullable=False),
    Column("withdrawn_ms", BigInteger, nullable=True),
    Index(
        "ix_shopper_consent_withdrawn",
        "withdrawn_ms",
        sqlite_where=_CONSENT_WITHDRAWN,
        postgresql_where=_CONSENT_WITHDRAWN,
    ),
    # A shopper has at most one consent in force for a purpose.
    Index(
        "uq_shopper_consent",
        "brand",
        "subject",
        "purpose",
        unique=True,
        sqlite_where=_CONSENT_IN_FORCE,
        postgresql_where=_CONSENT_IN_FORCE,
    ),
)

# What agents brought about and what it costs (commerce_api/billing): rows are only added, by triggers of the revision.
billing_contract = Table(
    "billing_contract",
    metadata,
    Column("brand", String(64), ForeignKey("brand.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("document", Text, nullable=False),
    Column("from_ms", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

billed_outcome = Table(
    "billed_outcome",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("brand", String(64), ForeignKey("brand.id"), nullable=False),
    Column("key", String(64), nullable=False),  # what makes it one and the same
    Column("type", String(10), nullable=False),
    Column("value_minor", BigInteger, nullable=False),
    Column("decision", String(40), nullable=True),
    Column("conversation", String(64), nullable=True),
    Column("order_id", String(40), nullable=True),
    Column("reference", String(64), nullable=True),
    Column("contract_version", Integer, nullable=True),
    Column("ruling", String(20), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("recorded_ms", BigInteger, nullable=False),
    UniqueConstraint("brand", "key", name="uq_billed_outcome"),
)

billing_reversal = Table(
    "billing_reversal",
    metadata,
    Column("outcome", String(40), ForeignKey("billed_outcome.id"), primary_key=True),
    Column("key", String(80), primary_key=True),
    Column("reason", String(20), nullable=False),
    Column("amount_minor", BigInteger, nullable=True),  # null: all of it
    Column("at_ms", BigInteger, nullable=False),
    Column("recorded_ms", BigInteger, nullable=False),
)

billing_line = Table(
    "billing_line",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("brand", String(64), ForeignKey("brand.id"), nullable=False),
    Column("outcome", String(40), ForeignKey("billed_outcome.id"), nullable=False),
    Column("source", String(80), nullable=False),  # the charge, or the key of a reversal
    Column("place", Integer, nullable=False),  # among the lines of its source
    Column("kind", String(20), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("contract_version", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("posted_ms", BigInteger, nullable=False),  # in which month it counts
    Column("recorded_ms", BigInteger, nullable=False),
    UniqueConstraint("outcome", "source", "place", name="uq_billing_line"),
    Index("ix_billing_line_posted", "brand", "posted_ms"),
)

# What is on record of calls of language models: rows are only added, by triggers of the revision.
model_call = Table(
    "model_call",
    metadata,
    Column("call", String(40), primary_key=True),
    Column("record", String(10), primary_key=True),  # opened, ended, judged: each has columns of its own
    Column("at_ms", BigInteger, nullable=False),
    Column("brand", String(64), ForeignKey("brand.id"), nullable=True),
    Column("decision", String(40), nullable=True),
    Column("purpose", String(20), nullable=True),
    Column("provider", String(40), nullable=True),
    Column("model", String(100), nullable=True),
    Column("sent", String(64), nullable=True),  # a keyed hash of the bytes that left
    Column("scrubbed", Integer, nullable=True),
    Column("outcome", String(20), nullable=True),
    Column("first_token_ms", BigInteger, nullable=True),
    Column("total_ms", BigInteger, nullable=True),
    Column("input_tokens", BigInteger, nullable=True),
    Column("output_tokens", BigInteger, nullable=True),
    Column("cost_micros", BigInteger, nullable=True),
    Column("currency", String(3), nullable=True),
    Column("verdict", String(20), nullable=True),
    Index("ix_model_call_brand", "brand", "at_ms"),
    Index("ix_model_call_at", "at_ms"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("scope", String(200), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("answer", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

# The embedded authorization server (commerce_api/authorization). Secrets are digests, e-mail addresses keyed digests.
oauth_client = Table(
    "oauth_client",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("brand", String(64), ForeignKey("brand.id"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("redirect_uris", Text, nullable=False),  # a JSON list
    Column("network", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger, nullable=False),
    Index("ix_oauth_client_network", "network", "created_ms"),
    Index("ix_oauth_client_used", "used_ms"),
)

oauth_request = Table(
    "oauth_request",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("brand", String(64), ForeignKey("brand.id"), nullable=False),
    Column("browser", String(64), nullable=False),  # digest of the cookie of the browser that it was begun in
    Column("network", String(64), nullable=False),
    Column("client", String(500), nullable=False),
    Column("client_name", String(100), nullable=False),
    Column("redirect_uri", Text, nullable=False),
    Column("scope", String(300), nullable=False),
    Column("resource", String(500), nullable=False),
    Column("state", Text, nullable=True),
    Column("code_challenge", String(128), nullable=False),
    Column("shopper", String(40), nullable=True),
    Column("challenge", String(64), nullable=True),  # what a passkey signs next; null: none is taken
    Column("passkey_tries", Integer, nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("ix_oauth_request_expires", "expires_ms"),
    Index("ix_oauth_request_network", "network", "created_ms"),
)

client_document_fetch = Table(
    "client_document_fetch",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("network", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Index("ix_client_document_fetch_network", "network", "created_ms"),
    Index("ix_client_document_fetch_created", "created_ms"),
)

sign_in_code = Table(
    "sign_in_code",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("brand", String(64), ForeignKey("brand.id"), nullable=False),
    Column("request", String(40), nullable=False),
    Column("mailbox", String(64), nullable=False),
    Column("network", String(64), nullable=False),
    Column("code_digest", String(64), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("used_ms", BigInteger, nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("ix_sign_in_code_request", "request", "created_ms"),
    Index("ix_sign_in_code_mailbox", "mailbox", "created_ms"),
    Index("ix_sign_in_code_network", "network", "created_ms"),
    Index("ix_sign_in_code_created", "created_ms"),
)

shopper_account = Table(
    "shopper_account",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("brand", String(64), ForeignKey("brand.id"), nullable=False),
    Column("mailbox", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    UniqueConstraint("brand", "mailbox", name="uq_shopper_account"),
    Index("ix_shopper_account_seen", "seen_ms"),
)

passkey = Table(
    "passkey",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("brand", String(64), ForeignKey("brand.id"), nullable=False),
    Column("shopper", String(40), nullable=False),
    Column("credential", LargeBinary, nullable=False),
    Column("public_key", LargeBinary, nullable=False),  # COSE
    Column("sign_count", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger, nullable=True),
    UniqueConstraint("credential", name="uq_passkey_credential"),
    Index("ix_passkey_shopper", "shopper", "created_ms"),
)

oauth_grant = Table(
    "oauth_grant",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("brand", String(64), ForeignKey("brand.id"), nullable=False),
    Column("client", String(500), nullable=False),
    Column("shopper", String(40), nullable=False),
    Column("scope", String(300), nullable=False),
    Column("resource", String(500), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger, nullable=True),
    Column("limit_minor", BigInteger, nullable=True),  # what the client may pay in all; null: it may not pay
    Index("ix_oauth_grant_expires", "expires_ms"),
    Index("ix_oauth_grant_revoked", "revoked_ms"),
)

oauth_code = Table(
    "oauth_code",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("grant_id", String(40), ForeignKey("oauth_grant.id"), nullable=False),
    Column("redirect_uri", Text, nullable=False),
    Column("code_challenge", String(128), nullable=False),
    Column("used_ms", BigInteger, nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("ix_oauth_code_created", "created_ms"),
    Index("ix_oauth_code_grant", "grant_id"),
)

oauth_refresh = Table(
    "oauth_refresh",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("grant_id", String(40), ForeignKey("oauth_grant.id"), nullable=False),
    Column("used_ms", BigInteger, nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("ix_oauth_refresh_grant", "grant_id"),
    Index("ix_oauth_refresh_expires", "expires_ms"),
)

browser_session = Table(
    "browser_session",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("brand", String(64), ForeignKey("brand.id"), nullable=False),
    Column("shopper", String(40), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("ix_browser_session_expires", "expires_ms"),
)
