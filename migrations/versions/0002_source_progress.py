"""How far the messages of Kafka's partitions are stored, so that sources need not run ahead."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE source_progress (
            topic text NOT NULL,
            partition bigint NOT NULL,
            generation bigint NOT NULL,
            "offset" bigint NOT NULL,
            updated_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (topic, partition)
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE source_progress")
