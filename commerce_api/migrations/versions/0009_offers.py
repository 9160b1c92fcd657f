"""What comes of an offer, how much of it is left, and to which subject it was made."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the switch of a brand, subject and presentation of a decision, outcomes and budgets."""
    op.add_column("brand", sa.Column("offers_paused_ms", sa.BigInteger(), nullable=True))
    op.add_column("offer_decision", sa.Column("subject", sa.String(40), nullable=True))
    op.add_column("offer_decision", sa.Column("presented_ms", sa.BigInteger(), nullable=True))
    op.add_column("offer_decision", sa.Column("slot", sa.String(20), nullable=True))
    op.add_column("offer_decision", sa.Column("checkout", sa.String(40), nullable=True))
    op.create_index("ix_offer_decision_subject", "offer_decision", ["brand", "subject", "decided_ms"])
    op.create_index("ix_offer_decision_decided", "offer_decision", ["decided_ms"])
    op.create_table(
        "offer_policy",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("brand", sa.String(64), sa.ForeignKey("brand.id"), primary_key=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "offer_outcome",
        sa.Column("decision", sa.String(40), sa.ForeignKey("offer_decision.id"), primary_key=True),
        sa.Column("key", sa.String(80), primary_key=True),
        sa.Column("brand", sa.String(64), nullable=False),
        sa.Column("type", sa.String(20), nullable=False),
        sa.Column("value_minor", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("recorded_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "offer_budget",
        sa.Column("brand", sa.String(64), sa.ForeignKey("brand.id"), primary_key=True),
        sa.Column("offer", sa.String(64), primary_key=True),
        sa.Column("reserved_minor", sa.BigInteger(), nullable=False),
        sa.Column("reserved_uses", sa.BigInteger(), nullable=False),
        sa.Column("spent_minor", sa.BigInteger(), nullable=False),
        sa.Column("spent_uses", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("reserved_minor >= 0 AND reserved_uses >= 0", name="ck_offer_budget_reserved"),
    )
    op.create_table(
        "offer_reservation",
        sa.Column("decision", sa.String(40), primary_key=True),
        sa.Column("brand", sa.String(64), nullable=False),
        sa.Column("offer", sa.String(64), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
    )
    reserved = sa.text("state = 'reserved'")
    op.create_index(
        "ix_offer_reservation_due",
        "offer_reservation",
        ["expires_ms"],
        sqlite_where=reserved,
        postgresql_where=reserved,
    )
