"""Under which key a session's 3-D Secure data of the browser is sealed."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column beside the sealed one, which was never written before."""
    op.add_column("capture_session", sa.Column("device_key_id", sa.String(40), nullable=True))
