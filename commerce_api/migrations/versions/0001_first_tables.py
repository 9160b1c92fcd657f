"""The commerce side's first tables, and the full-text index of the catalogue."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes every table."""
    op.create_table(
        "audit_event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("event_id", sa.String(length=40), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("resource", sa.String(length=200), nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("event_id"),
        sa.UniqueConstraint("leaf_index"),
    )
    op.create_index("ix_audit_event_resource", "audit_event", ["resource"], unique=False)
    op.create_index(
        "ix_audit_event_waiting",
        "audit_event",
        ["id"],
        unique=False,
        sqlite_where=sa.text("leaf_index IS NULL"),
        postgresql_where=sa.text("leaf_index IS NULL"),
    )
    op.create_table(
        "brand",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("agent_key_version", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "idempotency",
        sa.Column("scope", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "key"),
    )
    op.create_table(
        "checkout",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("brand", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=100), nullable=False),
        sa.Column("channel", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("capture_session", sa.String(length=64), nullable=True),
        sa.Column("order_id", sa.String(length=40), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand"],
            ["brand.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_checkout_state", "checkout", ["state", "expires_ms"], unique=False)
    op.create_table(
        "offer_decision",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("brand", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=100), nullable=False),
        sa.Column("chosen", sa.String(length=64), nullable=True),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("snapshot", sa.Text(), nullable=True),
        sa.Column("decided_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand"],
            ["brand.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "variant",
        sa.Column("row_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("brand", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("product_id", sa.String(length=200), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("product_title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("image_url", sa.Text(), nullable=True),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("list_price_minor", sa.BigInteger(), nullable=True),
        sa.Column("availability", sa.String(length=20), nullable=False),
        sa.Column("available", sa.Integer(), nullable=False),
        sa.Column("stock", sa.Integer(), nullable=True),
        sa.Column("reserved", sa.Integer(), server_default="0", nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("categories", sa.Text(), nullable=False),
        sa.Column("brand_name", sa.Text(), nullable=False),
        sa.Column("gtin", sa.String(length=20), nullable=True),
        sa.Column("condition", sa.String(length=20), nullable=False),
        sa.Column("search_text", sa.Text(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("reserved >= 0", name="ck_variant_reserved"),
        sa.CheckConstraint("stock IS NULL OR stock >= reserved", name="ck_variant_stock"),
        sa.ForeignKeyConstraint(
            ["brand"],
            ["brand.id"],
        ),
        sa.PrimaryKeyConstraint("row_id"),
        sa.UniqueConstraint("brand", "id", name="uq_variant"),
    )
    op.create_index("ix_variant_product", "variant", ["brand", "product_id"], unique=False)
    op.create_table(
        "payment",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("checkout", sa.String(length=40), nullable=False),
        sa.Column("brand", sa.String(length=64), nullable=False),
        sa.Column("grant_id", sa.String(length=40), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("charge", sa.String(length=40), nullable=True),
        sa.Column("card_brand", sa.String(length=20), nullable=True),
        sa.Column("card_last4", sa.String(length=4), nullable=True),
        sa.Column("decline_code", sa.String(length=40), nullable=True),
        sa.Column("action_url", sa.Text(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["checkout"],
            ["checkout.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "uq_payment_live",
        "payment",
        ["checkout"],
        unique=True,
        sqlite_where=sa.text("state IN ('pending', 'action_required', 'succeeded')"),
        postgresql_where=sa.text("state IN ('pending', 'action_required', 'succeeded')"),
    )
    op.create_table(
        "reservation",
        sa.Column("checkout", sa.String(length=40), nullable=False),
        sa.Column("brand", sa.String(length=64), nullable=False),
        sa.Column("variant", sa.String(length=200), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("quantity > 0", name="ck_reservation_quantity"),
        sa.ForeignKeyConstraint(
            ["brand", "variant"],
            ["variant.brand", "variant.id"],
        ),
        sa.PrimaryKeyConstraint("checkout", "variant"),
    )
    op.create_index("ix_reservation_variant", "reservation", ["brand", "variant", "expires_ms"], unique=False)
    op.create_table(
        "customer_order",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("brand", sa.String(length=64), nullable=False),
        sa.Column("checkout", sa.String(length=40), nullable=False),
        sa.Column("payment", sa.String(length=40), nullable=False),
        sa.Column("principal", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand"],
            ["brand.id"],
        ),
        sa.ForeignKeyConstraint(
            ["checkout"],
            ["checkout.id"],
        ),
        sa.ForeignKeyConstraint(
            ["payment"],
            ["payment.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("checkout"),
        sa.UniqueConstraint("payment"),
    )
    if op.get_context().dialect.name == "sqlite":
        columns = "brand, title, search_text"
        fresh, old = "new.brand, new.title, new.search_text", "old.brand, old.title, old.search_text"
        # Constants of this file only, so nothing can be injected.
        forget = f"INSERT INTO variant_search (variant_search, rowid, {columns}) VALUES ('delete', old.row_id, {old});"  # nosec B608
        learn = f"INSERT INTO variant_search (rowid, {columns}) VALUES (new.row_id, {fresh});"  # nosec B608
        changed = "old.title <> new.title OR old.search_text <> new.search_text"
        op.execute(
            f"CREATE VIRTUAL TABLE variant_search USING fts5({columns}, content='variant', content_rowid='row_id')"
        )
        op.execute(f"CREATE TRIGGER variant_search_insert AFTER INSERT ON variant BEGIN {learn} END")
        op.execute(f"CREATE TRIGGER variant_search_delete AFTER DELETE ON variant BEGIN {forget} END")
        op.execute(
            f"CREATE TRIGGER variant_search_update AFTER UPDATE OF title, search_text ON variant WHEN {changed} "
            f"BEGIN {forget} {learn} END"
        )
    else:
        op.execute(
            "ALTER TABLE variant ADD COLUMN search_vector tsvector GENERATED ALWAYS AS "
            "(setweight(to_tsvector('simple', title), 'A') || to_tsvector('simple', search_text)) STORED"
        )
        op.execute("CREATE INDEX ix_variant_search ON variant USING gin (search_vector)")
