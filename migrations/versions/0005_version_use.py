"""Until when decisions name a model version, so that one that no decision names can go.

What stands already has none and is kept for ever. Older code writes none either, so old and new
may run side by side.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column and the index by which old versions are found."""
    # Event time: no decision that names the version is of a later one.
    op.execute("ALTER TABLE model_version ADD COLUMN used_until timestamptz")
    op.execute("CREATE INDEX model_version_used ON model_version (used_until)")


def downgrade() -> None:
    """Forgets it."""
    op.execute("ALTER TABLE model_version DROP COLUMN used_until")
