"""The context that a payment over HTTP came with, so that its trace goes on where it is scored.

The inbox is locked for a moment; no row is written anew.
"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column, which may be left out."""
    op.execute("ALTER TABLE inbox ADD COLUMN trace text")


def downgrade() -> None:
    """Drops it; traces of payments that wait end there."""
    op.execute("ALTER TABLE inbox DROP COLUMN trace")
