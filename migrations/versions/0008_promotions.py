"""Which models the flow runs, and which of them was made to serve: the newest promotion says so.

Where nobody ever promoted one, the champion serves; code of before knows no other.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the tables; a row a model, and one a promotion."""
    op.execute(
        """
        CREATE TABLE model (
            name text PRIMARY KEY,
            description text NOT NULL,
            servable boolean NOT NULL,
            running boolean NOT NULL,
            started_at timestamptz NOT NULL
        )
        """
    )
    # A promotion is taken back once, hence UNIQUE.
    op.execute(
        """
        CREATE TABLE promotion (
            promotion_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            at timestamptz NOT NULL DEFAULT now(),
            model text NOT NULL,
            before text NOT NULL,
            actor text NOT NULL,
            reason text NOT NULL DEFAULT '',
            automatic boolean NOT NULL DEFAULT false,
            undoes bigint UNIQUE REFERENCES promotion,
            judged_at timestamptz
        )
        """
    )


def downgrade() -> None:
    """Drops them."""
    op.execute("DROP TABLE promotion")
    op.execute("DROP TABLE model")
