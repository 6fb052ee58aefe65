"""What analysts make of alerts: who looks at them, what came out, and what was said of them.

Nothing is rewritten, and code of before goes on writing alerts: each begins at version 1.
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# That a closed alert has an outcome is left to the code: one that was closed before has none, and
# even a check that is NOT VALID would refuse every later change of it.
COLUMNS = (
    "assignee text",
    "snoozed_until timestamptz",
    "outcome text CHECK (outcome IN ('fraud', 'genuine', 'unclear'))",
    "version integer NOT NULL DEFAULT 1",
    "changed_at timestamptz",
)
CHECK = """
ALTER TABLE alert ADD CONSTRAINT alert_outcome_when_closed
    CHECK (outcome IS NULL OR status = 'closed')
"""

# No retention takes alerts away; who deletes one by hand need not know of its comments.
COMMENTS = """
CREATE TABLE alert_comment (
    comment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id uuid NOT NULL REFERENCES alert ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT now(),
    author text NOT NULL,
    text text NOT NULL CHECK (length(text) BETWEEN 1 AND 4000)
)
"""

# Alerts that nobody has are an index of their own: where a column IS NULL, PostgreSQL does not see
# that an index that begins with it is in the order of the rest. Of a new alert, two are written.
INDEXES = (
    "CREATE INDEX alert_comment_of_alert ON alert_comment (alert_id, comment_id)",
    "CREATE INDEX alert_of_merchant ON alert (merchant_id, created_at DESC, alert_id)",
    """
    CREATE INDEX alert_of_assignee ON alert (assignee, created_at DESC, alert_id)
    WHERE assignee IS NOT NULL
    """,
    """
    CREATE INDEX alert_unassigned ON alert (created_at DESC, alert_id) WHERE assignee IS NULL
    """,
    """
    CREATE INDEX alert_of_outcome ON alert (outcome, created_at DESC, alert_id)
    WHERE outcome IS NOT NULL
    """,
    """
    CREATE INDEX alert_snoozed ON alert (created_at DESC, alert_id)
    WHERE snoozed_until IS NOT NULL
    """,
)


def upgrade() -> None:
    """Adds the columns, the comments and what their lists are read by."""
    op.execute("ALTER TABLE alert " + ", ".join(f"ADD COLUMN {column}" for column in COLUMNS))
    op.execute(CHECK)
    op.execute(COMMENTS)
    for statement in INDEXES:
        op.execute(statement)


def downgrade() -> None:
    """Drops them, and with the columns their indexes."""
    op.execute("DROP TABLE alert_comment")
    op.execute("DROP INDEX alert_of_merchant")
    names = [column.split()[0] for column in COLUMNS]
    op.execute("ALTER TABLE alert " + ", ".join(f"DROP COLUMN {name}" for name in names))
