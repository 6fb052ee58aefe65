"""How probable it was that a payment like this is not declined, for what is judged by outcomes.

Rows of before have NULL, which stands for 1; so has what code of before writes.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column, which rewrites nothing."""
    op.execute("ALTER TABLE score ADD COLUMN propensity real")


def downgrade() -> None:
    """Drops it."""
    op.execute("ALTER TABLE score DROP COLUMN propensity")
