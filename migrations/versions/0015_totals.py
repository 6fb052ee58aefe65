"""Totals that nobody has to count, and which releases still work with a schema.

What the totals count is small beside the decisions, but grows for ever: alerts, labels, frauds and
dead letters. Whoever writes adds to a total of his own session's, so that two do not wait for each
other; sums of them are what was counted. `tidegate maintain` counts anew each hour.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# kind, key, state: 'alert', decision, status; 'label', source, ''; 'fraud', '', '' (payments whose
# standing label says so); 'dead_letter', reason, ''. Room in the pages lets updates stay in them.
TOTAL = """
CREATE TABLE total (
    kind text NOT NULL,
    key text NOT NULL,
    state text NOT NULL,
    slot smallint NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (kind, key, state, slot)
) WITH (fillfactor = 50)
"""

# Sixty-four slots: sessions that share one wait for each other's commits, and are few.
ADD = """
CREATE FUNCTION add_to_total(kind text, key text, state text, added bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER {path} AS $$
    INSERT INTO total AS t (kind, key, state, slot, count)
    VALUES ($1, $2, $3, pg_backend_pid() % 64, $4)
    ON CONFLICT ON CONSTRAINT total_pkey DO UPDATE SET count = t.count + excluded.count
$$
"""

ALERTS_INSERTED = """
CREATE FUNCTION total_of_alerts_inserted() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER {path} AS $$
BEGIN
    PERFORM add_to_total('alert', n.decision, n.status, n.number) FROM (
        SELECT decision, status, count(*) AS number FROM added
        GROUP BY decision, status ORDER BY decision, status
    ) AS n;
    RETURN NULL;
END
$$
"""

ALERTS_CHANGED = """
CREATE FUNCTION total_of_alerts_changed() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER {path} AS $$
BEGIN
    PERFORM add_to_total('alert', n.decision, n.status, n.number) FROM (
        SELECT decision, status, sum(one) AS number FROM (
            SELECT decision, status, 1 AS one FROM after_rows
            UNION ALL SELECT decision, status, -1 FROM before_rows
        ) AS ones
        GROUP BY decision, status HAVING sum(one) <> 0 ORDER BY decision, status
    ) AS n;
    RETURN NULL;
END
$$
"""

# What stands of a payment's labels: as the view `standing_label` has it, with the new ones and
# without.
LABELS_INSERTED = """
CREATE FUNCTION total_of_labels_inserted() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER {path} AS $$
DECLARE
    more bigint;
BEGIN
    PERFORM add_to_total('label', n.source, '', n.number) FROM (
        SELECT source, count(*) AS number FROM added GROUP BY source ORDER BY source
    ) AS n;
    SELECT count(*) FILTER (WHERE now_fraud) - count(*) FILTER (WHERE was_fraud) INTO more FROM (
        SELECT
            (array_agg(l.fraud ORDER BY l.labelled_at DESC, l.fraud DESC, l.source))[1]
                AS now_fraud,
            (array_agg(l.fraud ORDER BY l.labelled_at DESC, l.fraud DESC, l.source)
                FILTER (WHERE a.source IS NULL))[1] AS was_fraud
        FROM (SELECT DISTINCT transaction_id FROM added) AS touched
        JOIN label AS l USING (transaction_id)
        LEFT JOIN added AS a USING (transaction_id, labelled_at, source)
        GROUP BY transaction_id
    ) AS stands;
    IF more <> 0 THEN
        PERFORM add_to_total('fraud', '', '', more);
    END IF;
    RETURN NULL;
END
$$
"""

TRIGGERS = (
    """
    CREATE TRIGGER total_of_alerts_inserted AFTER INSERT ON alert
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION total_of_alerts_inserted()
    """,
    """
    CREATE TRIGGER total_of_alerts_changed AFTER UPDATE ON alert
    REFERENCING NEW TABLE AS after_rows OLD TABLE AS before_rows
    FOR EACH STATEMENT EXECUTE FUNCTION total_of_alerts_changed()
    """,
    """
    CREATE TRIGGER total_of_labels_inserted AFTER INSERT ON label
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION total_of_labels_inserted()
    """,
)

# Nobody writes meanwhile: the triggers were made in the same transaction.
SO_FAR = """
INSERT INTO total (kind, key, state, slot, count)
SELECT 'alert', decision, status, 0, count(*) FROM alert GROUP BY decision, status
UNION ALL SELECT 'label', source, '', 0, count(*) FROM label GROUP BY source
UNION ALL SELECT 'fraud', '', '', 0, count(*) FROM standing_label WHERE fraud
UNION ALL SELECT 'dead_letter', reason, '', 0, count(*) FROM dead_letter GROUP BY reason
"""

# works_from: the newest revision that the oldest release knew which still works with this schema.
# A migration that takes away what older releases use, or asks more of them, raises it.
SUPPORT = (
    """
    CREATE TABLE schema_support (
        "only" boolean PRIMARY KEY DEFAULT true CHECK ("only"),
        works_from text NOT NULL
    )
    """,
    "INSERT INTO schema_support (works_from) VALUES ('0014')",
)

INDEXES = ("CREATE INDEX api_key_oldest ON api_key (created_at, prefix)",)

DOWN = (
    "DROP INDEX api_key_oldest",
    "DROP TABLE schema_support",
    "DROP TRIGGER total_of_labels_inserted ON label",
    "DROP TRIGGER total_of_alerts_changed ON alert",
    "DROP TRIGGER total_of_alerts_inserted ON alert",
    "DROP FUNCTION total_of_labels_inserted()",
    "DROP FUNCTION total_of_alerts_changed()",
    "DROP FUNCTION total_of_alerts_inserted()",
    "DROP FUNCTION add_to_total",
    "DROP TABLE total",
)


def upgrade() -> None:
    """Counts what is there: writers of alerts and labels wait, seconds for millions."""
    op.execute(TOTAL)
    schema = op.get_bind().execute(text("SELECT quote_ident(current_schema())")).scalar_one()
    # As in 0013: rights of who migrates, hence a path; and plans outlive the small tables.
    path = f"SET search_path = {schema}, pg_temp SET enable_seqscan = off"
    for function in (ADD, ALERTS_INSERTED, ALERTS_CHANGED, LABELS_INSERTED):
        op.execute(function.format(path=path))
    for statement in (*TRIGGERS, SO_FAR, *SUPPORT, *INDEXES):
        op.execute(statement)


def downgrade() -> None:
    """Takes all of it away."""
    for statement in DOWN:
        op.execute(statement)
