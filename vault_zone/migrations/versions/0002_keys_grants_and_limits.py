"""Keys with crypto-periods, saved cards with consent, fingerprints, partial use of grants, idempotency, velocity, re-keying.

A charge outlives its grant and its card, so it no longer points at them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_YEAR_MS = 365 * 86_400_000


def upgrade() -> None:
    """Adds columns and tables; keys and records from before get what they were made with."""
    with op.batch_alter_table("merchant") as table:
        table.add_column(sa.Column("frame_origins", sa.Text(), nullable=False, server_default="[]"))
        table.add_column(sa.Column("keys_destroyed_ms", sa.BigInteger(), nullable=True))
    with op.batch_alter_table("data_key") as table:
        table.add_column(sa.Column("retire_by_ms", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("retired_ms", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("destroyed_ms", sa.BigInteger(), nullable=True))
    op.execute(sa.text("UPDATE data_key SET retire_by_ms = created_ms + :year").bindparams(year=_YEAR_MS))
    with op.batch_alter_table("data_key") as table:
        table.alter_column("retire_by_ms", nullable=False)
    _card_record()
    with op.batch_alter_table("card_grant") as table:
        table.add_column(sa.Column("used_minor", sa.BigInteger(), nullable=False, server_default="0"))
        table.add_column(sa.Column("processor", sa.String(80), nullable=True))
        table.add_column(sa.Column("needs_code", sa.Boolean(), nullable=False, server_default=sa.true()))
        table.add_column(sa.Column("created_ms", sa.BigInteger(), nullable=False, server_default="0"))
        table.create_check_constraint("ck_card_grant_used", "used_minor >= 0 AND used_minor <= ceiling_minor")
        table.create_index("ix_card_grant_expires", ["expires_ms"])
    _capture_session()
    _charge()
    _new_tables()


def _card_record() -> None:
    with op.batch_alter_table("card_record") as table:
        table.add_column(sa.Column("format", sa.Integer(), nullable=False, server_default="1"))
        table.add_column(sa.Column("kind", sa.String(20), nullable=False, server_default="card"))
        table.add_column(sa.Column("source", sa.String(20), nullable=False, server_default="page"))
        table.add_column(sa.Column("shopper", sa.String(64), nullable=True))
        table.add_column(sa.Column("fingerprint", sa.String(64), nullable=True))
        table.add_column(sa.Column("fingerprint_key_id", sa.String(40), nullable=True))
        table.create_index("ix_card_record_key", ["key_id", "token"])
        table.create_index("ix_card_record_shopper", ["merchant", "shopper"])
        table.create_index("ix_card_record_fingerprint", ["merchant", "fingerprint"])
    with op.batch_alter_table("card_record") as table:
        for name in ("format", "kind", "source"):
            table.alter_column(name, server_default=None)


def _capture_session() -> None:
    with op.batch_alter_table("capture_session") as table:
        table.add_column(sa.Column("mode", sa.String(10), nullable=False, server_default="page"))
        table.add_column(sa.Column("frame_origin", sa.String(300), nullable=True))
        table.add_column(sa.Column("opener_digest", sa.String(64), nullable=True))
        table.add_column(sa.Column("shopper", sa.String(64), nullable=True))
        table.add_column(sa.Column("next_try_ms", sa.BigInteger(), nullable=False, server_default="0"))
        table.add_column(sa.Column("device_sealed", sa.LargeBinary(), nullable=True))
        table.add_column(sa.Column("brand", sa.String(20), nullable=True))
        table.add_column(sa.Column("last4", sa.String(4), nullable=True))
        table.create_index("ix_capture_session_expires", ["expires_ms"])
    op.execute(
        "UPDATE capture_session SET "
        "brand = (SELECT card_record.brand FROM card_record WHERE card_record.token = capture_session.token), "
        "last4 = (SELECT card_record.last4 FROM card_record WHERE card_record.token = capture_session.token) "
        "WHERE token IS NOT NULL"
    )


def _charge() -> None:
    inspector = sa.inspect(op.get_bind())
    names = [key["name"] for key in inspector.get_foreign_keys("charge") if key["referred_table"] == "card_grant"]
    if op.get_bind().dialect.name == "postgresql":
        for name in names:
            op.drop_constraint(str(name), "charge", type_="foreignkey")
        return
    # SQLite names no foreign key of ours: the table is made anew under the naming rule, and the key of that name is dropped.
    rule = {"fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s"}
    with op.batch_alter_table("charge", naming_convention=rule) as table:
        table.drop_constraint("fk_charge_grant_id_card_grant", type_="foreignkey")


def _new_tables() -> None:
    op.create_table(
        "consent",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("merchant", sa.String(64), nullable=False),
        sa.Column("shopper", sa.String(64), nullable=False),
        sa.Column("token", sa.String(40), nullable=False),
        sa.Column("wording", sa.String(40), nullable=False),
        sa.Column("purpose", sa.String(20), nullable=False),
        sa.Column("given_ms", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["merchant"], ["merchant.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_consent_token", "consent", ["token"])
    op.create_table(
        "idempotency",
        sa.Column("caller", sa.String(80), nullable=False),
        sa.Column("key_digest", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key_digest"),
    )
    op.create_index("ix_idempotency_expires", "idempotency", ["expires_ms"])
    op.create_table(
        "velocity_counter",
        sa.Column("merchant", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("window_ms", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant", "kind", "subject", "window_ms"),
    )
    op.create_index("ix_velocity_counter_expires", "velocity_counter", ["expires_ms"])
    op.create_table(
        "rekeying",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("merchant", sa.String(64), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["merchant"], ["merchant.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_rekeying_state", "rekeying", ["state"])
