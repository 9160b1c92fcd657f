"""Calls of language models, on record: rows that are never changed, and not deleted before their time."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_REFUSAL = "the record of model calls is append-only"
_KEPT_MS = 400 * 86_400_000  # commerce_api/offering/model_calls.py: KEPT_SECONDS


def upgrade() -> None:
    """Adds the table and what keeps it. How old a row is, the database's own clock says."""
    op.create_table(
        "model_call",
        sa.Column("call", sa.String(40), primary_key=True),
        sa.Column("record", sa.String(10), primary_key=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("brand", sa.String(64), sa.ForeignKey("brand.id"), nullable=True),
        sa.Column("decision", sa.String(40), nullable=True),
        sa.Column("purpose", sa.String(20), nullable=True),
        sa.Column("provider", sa.String(40), nullable=True),
        sa.Column("model", sa.String(100), nullable=True),
        sa.Column("sent", sa.String(64), nullable=True),
        sa.Column("scrubbed", sa.Integer(), nullable=True),
        sa.Column("outcome", sa.String(20), nullable=True),
        sa.Column("first_token_ms", sa.BigInteger(), nullable=True),
        sa.Column("total_ms", sa.BigInteger(), nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cost_micros", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(3), nullable=True),
        sa.Column("verdict", sa.String(20), nullable=True),
    )
    op.create_index("ix_model_call_brand", "model_call", ["brand", "at_ms"])
    op.create_index("ix_model_call_at", "model_call", ["at_ms"])
    if op.get_bind().dialect.name == "sqlite":
        refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        young = f"OLD.at_ms > CAST(strftime('%s', 'now') AS INTEGER) * 1000 - {_KEPT_MS}"
        op.execute(f"CREATE TRIGGER model_call_unchanged BEFORE UPDATE ON model_call {refuse}")
        op.execute(f"CREATE TRIGGER model_call_kept BEFORE DELETE ON model_call WHEN {young} {refuse}")
        return
    op.execute(
        "CREATE OR REPLACE FUNCTION model_calls_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF TG_OP = 'DELETE' THEN IF OLD.at_ms <= extract(epoch FROM clock_timestamp()) * 1000 - {_KEPT_MS} "
        f"THEN RETURN OLD; END IF; END IF; RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    run = "EXECUTE FUNCTION model_calls_are_append_only()"
    op.execute(f"CREATE TRIGGER model_call_unchanged BEFORE UPDATE ON model_call FOR EACH ROW {run}")
    op.execute(f"CREATE TRIGGER model_call_kept BEFORE DELETE ON model_call FOR EACH ROW {run}")
    op.execute(f"CREATE TRIGGER model_call_whole BEFORE TRUNCATE ON model_call FOR EACH STATEMENT {run}")
