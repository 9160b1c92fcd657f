"""Authorization, capture, void and refund apart: amounts of a charge, its legs at processors, its modifications."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_LIVE = sa.text("state IN ('pending', 'unknown', 'action_required', 'authorized', 'succeeded')")
_AMOUNTS = ("authorized", "capturing", "captured", "refunding", "refunded", "disputed")


def upgrade() -> None:
    """Adds columns and tables; a charge from before that succeeded was captured in whole, by the processor it names."""
    op.drop_index("uq_charge_live", table_name="charge")
    with op.batch_alter_table("charge") as table:
        table.add_column(sa.Column("capture", sa.String(10), nullable=False, server_default="automatic"))
        table.add_column(sa.Column("initiator", sa.String(20), nullable=False, server_default="shopper"))
        table.add_column(sa.Column("network_reference", sa.String(80), nullable=True))
        for name in _AMOUNTS:
            table.add_column(sa.Column(f"{name}_minor", sa.BigInteger(), nullable=False, server_default="0"))
        table.add_column(sa.Column("authorized_until_ms", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("is_closed", sa.Boolean(), nullable=False, server_default=sa.false()))
        table.add_column(sa.Column("attention", sa.String(40), nullable=True))
        table.add_column(sa.Column("attention_ms", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE charge SET authorized_minor = amount_minor, captured_minor = amount_minor, is_closed = true "
        "WHERE state = 'succeeded'"
    )
    with op.batch_alter_table("charge") as table:
        table.create_check_constraint(
            "ck_charge_captured",
            "capturing_minor >= 0 AND captured_minor >= 0 AND captured_minor + capturing_minor <= authorized_minor",
        )
        table.create_check_constraint(
            "ck_charge_refunded",
            "refunding_minor >= 0 AND refunded_minor >= 0 AND refunded_minor + refunding_minor <= captured_minor",
        )
        table.create_index("ix_charge_attention", ["attention_ms"])
        table.create_index("ix_charge_processor_charge", ["processor", "processor_charge"])
    op.create_index(
        "uq_charge_live", "charge", ["merchant", "checkout"], unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE
    )
    op.add_column("operation", sa.Column("grounds", sa.String(40), nullable=True))
    _legs()
    _modifications()


def _legs() -> None:
    op.create_table(
        "charge_leg",
        sa.Column("charge_id", sa.String(40), sa.ForeignKey("charge.id"), nullable=False),
        sa.Column("leg", sa.Integer(), nullable=False),
        sa.Column("processor", sa.String(20), nullable=False),
        sa.Column("reason", sa.String(40), nullable=False),
        sa.Column("rule", sa.String(40), nullable=True),
        sa.Column("outcome", sa.String(20), nullable=True),
        sa.Column("decline_code", sa.String(40), nullable=True),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("charge_id", "leg"),
    )


def _modifications() -> None:
    op.create_table(
        "modification",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("charge_id", sa.String(40), sa.ForeignKey("charge.id"), nullable=False),
        sa.Column("merchant", sa.String(64), sa.ForeignKey("merchant.id"), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("asked_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("is_final", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("is_ours", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("reason", sa.String(40), nullable=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("decline_code", sa.String(40), nullable=True),
        sa.Column("processor", sa.String(20), nullable=False),
        sa.Column("processor_reference", sa.String(80), nullable=True),
        sa.Column("attention", sa.String(40), nullable=True),
        sa.Column("attention_ms", sa.BigInteger(), nullable=True),
        sa.Column("intended_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("(kind = 'void') = (amount_minor IS NULL)", name="ck_modification_amount"),
    )
    op.create_index("uq_modification_request", "modification", ["merchant", "request"], unique=True)
    op.create_index("ix_modification_charge", "modification", ["charge_id"])
    op.create_index("ix_modification_state", "modification", ["state"])
    op.create_index("ix_modification_attention", "modification", ["attention_ms"])
