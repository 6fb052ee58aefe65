"""What becomes of alerts, as events: streamed to who watches, and sent to webhooks.

Triggers write an event in the transaction of the alert it tells of, whoever changes it. Nothing is
rewritten: alerts of before have no events until they change.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# Read in the order of (xid, id), up to the oldest transaction that still runs: by ids alone, rows
# of a transaction that commits late would be skipped.
EVENTS = (
    """
    CREATE TABLE alert_event (
        id bigint GENERATED ALWAYS AS IDENTITY,
        xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        at timestamptz NOT NULL DEFAULT now(),
        kind text NOT NULL CHECK (kind IN ('alert.created', 'alert.changed')),
        alert_id uuid NOT NULL,
        version integer NOT NULL,
        PRIMARY KEY (xid, id)
    )
    """,
    "CREATE INDEX alert_event_at ON alert_event (at)",
    # Up to where events were deleted, and up to where they were made into deliveries.
    """
    CREATE TABLE alert_event_position (
        name text PRIMARY KEY CHECK (name IN ('deleted', 'delivered')),
        xid xid8 NOT NULL,
        id bigint NOT NULL
    )
    """,
    """
    INSERT INTO alert_event_position (name, xid, id)
    VALUES ('deleted', '0', 0), ('delivered', '0', 0)
    """,
)

# They run with the rights of their owner: who may change an alert need not be allowed to write
# events. Hence the schema, which no temporary table can stand before.
FUNCTIONS = (
    """
    CREATE FUNCTION log_alert_created() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
    BEGIN
        INSERT INTO alert_event (kind, alert_id, version)
        SELECT 'alert.created', alert_id, version FROM written;
        IF FOUND THEN
            PERFORM pg_notify('tidegate_alerts', '');
        END IF;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE FUNCTION log_alert_changed() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
    BEGIN
        INSERT INTO alert_event (kind, alert_id, version)
        SELECT 'alert.changed', written.alert_id, written.version
        FROM written JOIN replaced USING (alert_id)
        WHERE written IS DISTINCT FROM replaced;
        IF FOUND THEN
            PERFORM pg_notify('tidegate_alerts', '');
        END IF;
        RETURN NULL;
    END
    $$
    """,
    # Whoever deletes events, who reads on from before them is told.
    """
    CREATE FUNCTION note_alert_events_deleted() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
    BEGIN
        UPDATE alert_event_position AS p SET xid = last.xid, id = last.id
        FROM (SELECT xid, id FROM gone ORDER BY xid DESC, id DESC LIMIT 1) AS last
        WHERE p.name = 'deleted' AND (p.xid, p.id) < (last.xid, last.id);
        RETURN NULL;
    END
    $$
    """,
)
TRIGGERS = (
    """
    CREATE TRIGGER alert_created_is_logged AFTER INSERT ON alert
    REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION log_alert_created()
    """,
    """
    CREATE TRIGGER alert_changed_is_logged AFTER UPDATE ON alert
    REFERENCING NEW TABLE AS written OLD TABLE AS replaced
    FOR EACH STATEMENT EXECUTE FUNCTION log_alert_changed()
    """,
    """
    CREATE TRIGGER alert_event_deleted_is_noted AFTER DELETE ON alert_event
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION note_alert_events_deleted()
    """,
)

# A secret is stored as `tidegate.sealing` writes it. Deliveries are outbox and log in one: a body
# is made once, so that every try sends the same bytes.
WEBHOOKS = (
    """
    CREATE TABLE webhook (
        webhook_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        url text NOT NULL CHECK (length(url) BETWEEN 1 AND 2000),
        description text NOT NULL CHECK (length(description) <= 1000),
        kinds text[] NOT NULL CHECK (
            kinds <@ ARRAY['alert.created', 'alert.changed'] AND cardinality(kinds) > 0
        ),
        secret text NOT NULL,
        previous_secret text,
        previous_until timestamptz,
        status text NOT NULL DEFAULT 'enabled' CHECK (status IN ('enabled', 'disabled')),
        disabled_because text,
        version integer NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL DEFAULT now(),
        created_by text NOT NULL,
        changed_at timestamptz,
        enabled_at timestamptz NOT NULL DEFAULT now(),
        delivered_at timestamptz,
        failing_since timestamptz,
        CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
    )
    """,
    "CREATE INDEX webhook_newest ON webhook (created_at DESC, webhook_id)",
    """
    CREATE TABLE webhook_delivery (
        delivery_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        webhook_id uuid NOT NULL REFERENCES webhook ON DELETE CASCADE,
        event_id text NOT NULL,
        kind text NOT NULL CHECK (kind IN ('alert.created', 'alert.changed', 'ping')),
        alert_id uuid,
        body text NOT NULL,
        state text NOT NULL DEFAULT 'pending'
            CHECK (state IN ('pending', 'delivered', 'failed')),
        attempts integer NOT NULL DEFAULT 0,
        at timestamptz NOT NULL DEFAULT now(),
        next_at timestamptz DEFAULT now(),
        tried_at timestamptz,
        status_code integer,
        error text,
        seconds double precision,
        UNIQUE (webhook_id, event_id),
        CHECK ((state = 'pending') = (next_at IS NOT NULL))
    )
    """,
    """
    CREATE INDEX webhook_delivery_waiting ON webhook_delivery (webhook_id, next_at)
    WHERE state = 'pending'
    """,
    "CREATE INDEX webhook_delivery_newest ON webhook_delivery (webhook_id, delivery_id DESC)",
    "CREATE INDEX webhook_delivery_at ON webhook_delivery (at)",
)


def upgrade() -> None:
    """Makes events, the triggers that write them, webhooks and their deliveries."""
    for statement in EVENTS:
        op.execute(statement)
    schema = op.get_bind().execute(text("SELECT quote_ident(current_schema())")).scalar_one()
    for statement in FUNCTIONS:
        op.execute(statement.format(schema=schema))
    for statement in (*TRIGGERS, *WEBHOOKS):
        op.execute(statement)


def downgrade() -> None:
    """Drops them."""
    op.execute("DROP TRIGGER alert_created_is_logged ON alert")
    op.execute("DROP TRIGGER alert_changed_is_logged ON alert")
    op.execute("DROP TABLE webhook_delivery, webhook, alert_event, alert_event_position")
    for name in ("log_alert_created", "log_alert_changed", "note_alert_events_deleted"):
        op.execute(f"DROP FUNCTION {name}()")
