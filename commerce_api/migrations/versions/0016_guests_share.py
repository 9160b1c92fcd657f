"""How much of a budget guests hold just now; and what came of an offer stays as it was written."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0014"
branch_labels = None
depends_on = None

_REFUSAL = "outcomes are never changed"


def upgrade() -> None:
    """Adds the counts, whose reservation each is, and what keeps outcomes as they are. Deleted they are with their decision."""
    with op.batch_alter_table("offer_budget") as table:
        table.add_column(sa.Column("guest_minor", sa.BigInteger(), nullable=False, server_default="0"))
        table.add_column(sa.Column("guest_uses", sa.BigInteger(), nullable=False, server_default="0"))
        table.create_check_constraint(
            "ck_offer_budget_guests",
            "guest_minor BETWEEN 0 AND reserved_minor AND guest_uses BETWEEN 0 AND reserved_uses",
        )
    op.add_column("offer_reservation", sa.Column("verification", sa.String(10), nullable=True))
    if op.get_bind().dialect.name == "sqlite":
        refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        op.execute(f"CREATE TRIGGER offer_outcome_unchanged BEFORE UPDATE ON offer_outcome {refuse}")
        return
    op.execute(
        "CREATE FUNCTION outcomes_are_never_changed() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    run = "EXECUTE FUNCTION outcomes_are_never_changed()"
    op.execute(f"CREATE TRIGGER offer_outcome_unchanged BEFORE UPDATE ON offer_outcome FOR EACH ROW {run}")
    op.execute(f"CREATE TRIGGER offer_outcome_whole BEFORE TRUNCATE ON offer_outcome FOR EACH STATEMENT {run}")
