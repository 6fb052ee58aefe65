"""The first tables: decisions, alerts, labels, dead letters, models, progress, and the API's own.

Where the extension timescaledb can be used, the tables that grow with time become hypertables.
Where it cannot, they stay plain tables of the same names and columns.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Ids compare byte by byte (COLLATE "C") in every table that is joined on them: their indexes then
# cost less than in a language's order, and survive an upgrade of the system's locales.
TABLES = (
    """
    CREATE TABLE score (
        transaction_id text COLLATE "C" NOT NULL,
        event_time timestamptz NOT NULL,
        card_token text COLLATE "C" NOT NULL,
        terminal_id text COLLATE "C" NOT NULL,
        amount_minor bigint NOT NULL,
        currency text NOT NULL,
        merchant_id text COLLATE "C",
        customer_id text COLLATE "C",
        channel text,
        details jsonb,
        score double precision NOT NULL,
        log_odds bigint NOT NULL,
        decision text NOT NULL CHECK (decision IN ('approve', 'review', 'decline')),
        model_version text NOT NULL,
        policy_version text NOT NULL,
        features bytea NOT NULL,
        reasons jsonb NOT NULL,
        scored_at timestamptz NOT NULL,
        stream_time timestamptz NOT NULL,
        PRIMARY KEY (transaction_id, event_time)
    )
    """,
    "CREATE INDEX score_event_time ON score (event_time)",
    "CREATE INDEX score_card ON score (card_token, event_time DESC)",
    "CREATE INDEX score_terminal ON score (terminal_id, event_time DESC)",
    """
    CREATE TABLE alert (
        alert_id uuid PRIMARY KEY,
        transaction_id text COLLATE "C" NOT NULL,
        event_time timestamptz NOT NULL,
        card_token text COLLATE "C" NOT NULL,
        terminal_id text COLLATE "C" NOT NULL,
        merchant_id text COLLATE "C",
        amount_minor bigint NOT NULL,
        currency text NOT NULL,
        score double precision NOT NULL,
        decision text NOT NULL CHECK (decision IN ('review', 'decline')),
        reasons jsonb NOT NULL,
        model_version text NOT NULL,
        status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'investigating', 'closed')),
        created_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (transaction_id, event_time)
    )
    """,
    "CREATE INDEX alert_newest ON alert (created_at DESC, alert_id)",
    "CREATE INDEX alert_card ON alert (card_token, event_time DESC)",
    "CREATE INDEX alert_terminal ON alert (terminal_id, event_time DESC)",
    "CREATE INDEX alert_status ON alert (status, created_at DESC, alert_id)",
    """
    CREATE TABLE label (
        transaction_id text COLLATE "C" NOT NULL,
        labelled_at timestamptz NOT NULL,
        source text NOT NULL CHECK (source IN ('chargeback', 'issuer', 'customer', 'analyst')),
        fraud boolean NOT NULL,
        reason text,
        stored_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (transaction_id, labelled_at, source)
    )
    """,
    # The whole history is kept; this is what is believed now. Of two sources that speak of the
    # same moment, the one that says fraud is heard.
    """
    CREATE VIEW standing_label AS
    SELECT DISTINCT ON (transaction_id)
        transaction_id, labelled_at, source, fraud, reason, stored_at
    FROM label
    ORDER BY transaction_id, labelled_at DESC, fraud DESC, source
    """,
    """
    CREATE TABLE dead_letter (
        id bigint GENERATED ALWAYS AS IDENTITY,
        topic text NOT NULL,
        partition bigint NOT NULL,
        "offset" bigint NOT NULL,
        at timestamptz NOT NULL,
        reason text NOT NULL,
        field text,
        detail text NOT NULL,
        payload text NOT NULL,
        stored_at timestamptz NOT NULL DEFAULT now(),
        replayed_at timestamptz,
        PRIMARY KEY (topic, partition, "offset", at)
    )
    """,
    "CREATE INDEX dead_letter_id ON dead_letter (id)",
    "CREATE INDEX dead_letter_reason ON dead_letter (reason, at)",
    """
    CREATE TABLE model_version (
        version text PRIMARY KEY,
        name text NOT NULL,
        stream_time timestamptz NOT NULL,
        content bytea NOT NULL,
        examples bigint NOT NULL,
        frauds bigint NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX model_version_name ON model_version (name, stream_time DESC)",
    """
    CREATE TABLE model_metric (
        name text NOT NULL,
        metric text NOT NULL,
        at timestamptz NOT NULL,
        value double precision NOT NULL,
        examples bigint NOT NULL,
        PRIMARY KEY (name, metric, at)
    )
    """,
    """
    CREATE TABLE sink_progress (
        partition text PRIMARY KEY,
        generation bigint NOT NULL,
        sequence bigint NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE cluster (
        "only" boolean PRIMARY KEY DEFAULT true CHECK ("only"),
        generation bigint NOT NULL,
        started_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE rule (
        rule_id uuid PRIMARY KEY,
        name text NOT NULL UNIQUE,
        expression text NOT NULL,
        action text NOT NULL CHECK (action IN ('review', 'decline', 'approve')),
        enabled boolean NOT NULL DEFAULT true,
        created_by text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE list_entry (
        list_name text NOT NULL,
        entry text NOT NULL,
        note text,
        created_by text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz,
        PRIMARY KEY (list_name, entry)
    )
    """,
    """
    CREATE TABLE audit (
        audit_id bigint GENERATED ALWAYS AS IDENTITY,
        at timestamptz NOT NULL DEFAULT now(),
        actor text NOT NULL,
        action text NOT NULL,
        subject text NOT NULL,
        before jsonb,
        after jsonb,
        PRIMARY KEY (audit_id, at)
    )
    """,
    """
    CREATE TABLE api_key (
        key_id uuid PRIMARY KEY,
        name text NOT NULL,
        prefix text NOT NULL,
        key_hash bytea NOT NULL,
        scopes text[] NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz,
        revoked_at timestamptz,
        last_used_at timestamptz
    )
    """,
    "CREATE INDEX api_key_prefix ON api_key (prefix)",
)

NAMES = (
    "score",
    "alert",
    "label",
    "dead_letter",
    "model_version",
    "model_metric",
    "sink_progress",
    "cluster",
    "rule",
    "list_entry",
    "audit",
    "api_key",
)

# Rows may be added to the audit and never changed. The row trigger reaches the chunks of a
# hypertable too; TRUNCATE fires per statement only.
AUDIT_IS_APPEND_ONLY = (
    """
    CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'audit is append-only: % is refused', TG_OP
            USING ERRCODE = 'insufficient_privilege';
    END
    $$
    """,
    """
    CREATE TRIGGER audit_keeps_rows BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change()
    """,
    """
    CREATE TRIGGER audit_keeps_all BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()
    """,
)

# The indexes on time are made above, hence no default ones.
HYPERTABLES = (
    """
    SELECT create_hypertable('score', by_range('event_time', INTERVAL '1 day'),
                             create_default_indexes => false)
    """,
    """
    SELECT create_hypertable('dead_letter', by_range('at', INTERVAL '7 days'),
                             create_default_indexes => false)
    """,
    """
    SELECT create_hypertable('model_metric', by_range('at', INTERVAL '30 days'),
                             create_default_indexes => false)
    """,
    """
    SELECT create_hypertable('audit', by_range('at', INTERVAL '30 days'),
                             create_default_indexes => false)
    """,
)


def upgrade() -> None:
    """Makes the tables; hypertables where TimescaleDB is at hand."""
    for statement in TABLES:
        op.execute(statement)
    if _timescaledb():
        for statement in HYPERTABLES:
            op.execute(statement)
    for statement in AUDIT_IS_APPEND_ONLY:
        op.execute(statement)


def downgrade() -> None:
    """Drops the tables. The extension stays: others in the database may use it."""
    op.execute("DROP VIEW standing_label")
    for table in NAMES:  # one by one: a hypertable cannot be dropped together with others
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION refuse_audit_change()")


def _timescaledb() -> bool:
    """Whether the extension can be used; makes it where it is available and not made yet."""
    available = op.get_bind().execute(
        text("SELECT installed_version FROM pg_available_extensions WHERE name = 'timescaledb'")
    )
    row = available.one_or_none()
    if row is None:
        return False
    if row.installed_version is None:
        op.execute("CREATE EXTENSION timescaledb")
    return True
