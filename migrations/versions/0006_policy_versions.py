"""What the policies did that decisions name, so that a decision can be made again.

Decisions made before name policies that are not here; code of before leaves the table alone.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the table; a row a change of the settings, some 20 bytes each, kept for ever."""
    op.execute(
        """
        CREATE TABLE policy_version (
            version text PRIMARY KEY,
            content text NOT NULL,
            stored_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )


def downgrade() -> None:
    """Drops it."""
    op.execute("DROP TABLE policy_version")
