"""Where the supervisors of a cluster on several machines meet: who is there, and what is ordered.

Both tables are about the moment: they hold a row a machine, and one row.
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# A supervisor that offers a worker. generation: of the cluster that its worker is or was of;
# code: how that one ended, null while it runs.
MEMBER = """
CREATE TABLE crew_member (
    session uuid PRIMARY KEY,
    name text NOT NULL,
    address text NOT NULL,
    settings jsonb NOT NULL,
    leaving boolean NOT NULL DEFAULT false,
    generation bigint,
    code integer,
    reason text,
    seen_at timestamptz NOT NULL DEFAULT now()
)
"""

# The workers of the newest generation, in the order of their numbers; the leader's own comes first
# and has no session. stop: 0 to run, 1 to end with a snapshot, 2 to end at once.
ORDER = """
CREATE TABLE crew_order (
    "only" boolean PRIMARY KEY DEFAULT true CHECK ("only"),
    generation bigint NOT NULL,
    sessions uuid[] NOT NULL,
    addresses text[] NOT NULL,
    stop smallint NOT NULL CHECK (stop BETWEEN 0 AND 2),
    ordered_at timestamptz NOT NULL DEFAULT now()
)
"""


def upgrade() -> None:
    """Adds the tables."""
    op.execute(MEMBER)
    op.execute(ORDER)


def downgrade() -> None:
    """Drops them; clusters of one machine do not need them."""
    op.execute("DROP TABLE crew_order")
    op.execute("DROP TABLE crew_member")
