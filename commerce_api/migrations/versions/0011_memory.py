"""What shoppers let be remembered, and the words in which they agreed."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds facts and consents."""
    op.create_table(
        "shopper_fact",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("brand", sa.String(64), sa.ForeignKey("brand.id"), nullable=False),
        sa.Column("subject", sa.String(40), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("source", sa.String(10), nullable=False),
        sa.Column("sensitivity", sa.String(20), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("said_ms", sa.BigInteger(), nullable=False),
        sa.Column("valid_until_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_shopper_fact_subject", "shopper_fact", ["brand", "subject", "key"])
    op.create_index("ix_shopper_fact_due", "shopper_fact", ["valid_until_ms"])
    op.create_table(
        "shopper_consent",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("brand", sa.String(64), sa.ForeignKey("brand.id"), nullable=False),
        sa.Column("subject", sa.String(40), nullable=False),
        sa.Column("purpose", sa.String(20), nullable=False),
        sa.Column("wording", sa.String(64), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("known_by", sa.String(40), nullable=False),
        sa.Column("given_ms", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn_ms", sa.BigInteger(), nullable=True),
    )
    withdrawn = sa.text("withdrawn_ms IS NOT NULL")
    op.create_index(
        "ix_shopper_consent_withdrawn",
        "shopper_consent",
        ["withdrawn_ms"],
        sqlite_where=withdrawn,
        postgresql_where=withdrawn,
    )
    in_force = sa.text("withdrawn_ms IS NULL")
    op.create_index(
        "uq_shopper_consent",
        "shopper_consent",
        ["brand", "subject", "purpose"],
        unique=True,
        sqlite_where=in_force,
        postgresql_where=in_force,
    )
