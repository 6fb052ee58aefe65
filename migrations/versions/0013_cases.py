"""Cases, which gather a card's alerts of a day; the words of alerts, for free text; their orders.

Triggers do the gathering, in the transaction that writes the alert: whoever writes, code of before
too, gathers and counts. A row trigger chooses the case, so that an alert is written once and not
changed afterwards; a statement's trigger counts what was really inserted, so that a repeat counts
nothing. Rows of an alert are locked before its case's, everywhere.

Alerts of before get their cases and words afterwards, in batches (`store.gathering`): nothing here
rewrites them.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

CASES = """
CREATE TABLE alert_case (
    case_id uuid PRIMARY KEY,
    card_token text COLLATE "C" NOT NULL,
    opened_at timestamptz NOT NULL,
    opener_time timestamptz NOT NULL,
    first_event_time timestamptz NOT NULL,
    last_event_time timestamptz NOT NULL,
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'investigating', 'closed')),
    outcome text CHECK (outcome IN ('fraud', 'genuine', 'unclear')),
    assignee text,
    alert_count integer NOT NULL DEFAULT 0,
    open_count integer NOT NULL DEFAULT 0,
    highest_score double precision NOT NULL,
    currency text,
    amount_minor numeric DEFAULT 0,
    version integer NOT NULL DEFAULT 0,
    changed_at timestamptz,
    CONSTRAINT alert_case_outcome_when_closed CHECK (outcome IS NULL OR status = 'closed')
)
"""

COLUMN = "ALTER TABLE alert ADD COLUMN case_id uuid REFERENCES alert_case"

WORDS = """
CREATE TABLE alert_text (
    alert_id uuid PRIMARY KEY REFERENCES alert ON DELETE CASCADE,
    words tsvector NOT NULL
)
"""

# What a new case or alert is found by. `alert_ungathered` holds alerts of before until they are
# gathered, and nothing else.
CASE_INDEXES = (
    """
    CREATE INDEX alert_case_to_join ON alert_case (card_token, opener_time DESC, case_id)
    WHERE status <> 'closed'
    """,
    "CREATE INDEX alert_case_newest ON alert_case (opened_at DESC, case_id)",
    "CREATE INDEX alert_case_score ON alert_case (highest_score DESC, case_id)",
    "CREATE INDEX alert_case_status ON alert_case (status, opened_at DESC, case_id)",
    "CREATE INDEX alert_case_status_score ON alert_case (status, highest_score DESC, case_id)",
    "CREATE INDEX alert_case_of_card ON alert_case (card_token, opened_at DESC, case_id)",
    """
    CREATE INDEX alert_case_of_assignee ON alert_case (assignee, opened_at DESC, case_id)
    WHERE assignee IS NOT NULL
    """,
    """
    CREATE INDEX alert_case_of_outcome ON alert_case (outcome, opened_at DESC, case_id)
    WHERE outcome IS NOT NULL
    """,
)
ALERT_INDEXES = (
    """
    CREATE INDEX alert_of_case ON alert (case_id, created_at DESC, alert_id)
    WHERE case_id IS NOT NULL
    """,
    """
    CREATE INDEX alert_ungathered ON alert (card_token, event_time, alert_id)
    WHERE case_id IS NULL
    """,
    "CREATE INDEX alert_amount ON alert (currency, amount_minor DESC, alert_id)",
    "CREATE INDEX alert_status_amount ON alert (status, currency, amount_minor DESC, alert_id)",
    """
    CREATE INDEX alert_of_top_reason
    ON alert ((reasons -> 0 ->> 'code'), created_at DESC, alert_id)
    """,
    "CREATE INDEX alert_text_words ON alert_text USING gin (words)",
)

# The same id whoever opens the case, and however often. A name-based UUID of version 8 (RFC 9562,
# appendix B.2), as PostgreSQL has SHA-256 and no SHA-1 without an extension.
CASE_OF = r"""
CREATE FUNCTION case_of(alert_id uuid) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT encode(
        set_byte(set_byte(h, 6, get_byte(h, 6) & 15 | 128), 8, get_byte(h, 8) & 63 | 128), 'hex'
    )::uuid
    FROM substring(
        sha256('\x2b7d3c1e90f54a61b8a4d05c7e12f3a6'::bytea || uuid_send(alert_id)) FOR 16
    ) AS h
$$
"""

# A lock on the case that is joined: who closes it meanwhile is waited for, and then it is none to
# join.
CASE_FOR = """
CREATE FUNCTION case_for(
    alert_id uuid, card text, at timestamptz, raised_at timestamptz, of_score double precision,
    of_currency text
) RETURNS uuid LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    found uuid;
BEGIN
    SELECT c.case_id INTO found FROM alert_case AS c
    WHERE c.card_token = card AND c.status <> 'closed'
    AND c.opener_time >= at - INTERVAL '24 hours' AND c.opener_time <= at + INTERVAL '24 hours'
    ORDER BY c.opener_time DESC, c.case_id LIMIT 1 FOR NO KEY UPDATE;
    IF found IS NULL THEN
        found := case_of(alert_id);
        INSERT INTO alert_case (
            case_id, card_token, opened_at, opener_time, first_event_time, last_event_time,
            highest_score, currency
        )
        VALUES (found, card, raised_at, at, at, at, of_score, of_currency)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN found;
END
$$
"""

# Of one that was just made, the first count is its version 1.
ADD_TO_CASE = """
CREATE FUNCTION add_to_case(
    joined uuid, alerts bigint, opened bigint, first timestamptz, last timestamptz,
    highest double precision, low_currency text, high_currency text, amount numeric
) RETURNS void LANGUAGE sql AS $$
    UPDATE alert_case SET
        alert_count = alert_count + alerts,
        open_count = open_count + opened,
        first_event_time = least(first_event_time, first),
        last_event_time = greatest(last_event_time, last),
        highest_score = greatest(highest_score, highest),
        amount_minor = CASE WHEN currency = low_currency AND currency = high_currency
            THEN amount_minor + amount END,
        currency = CASE WHEN currency = low_currency AND currency = high_currency
            THEN currency END,
        changed_at = CASE WHEN version > 0 THEN now() END,
        version = version + 1
    WHERE case_id = joined
$$
"""

# An alert that is there already will not be inserted, and must not open a case.
JOIN_CASE = """
CREATE FUNCTION alert_joins_case() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {path} AS $$
BEGIN
    IF NEW.case_id IS NULL AND NOT EXISTS (
        SELECT FROM alert AS a WHERE a.alert_id = NEW.alert_id
    ) THEN
        NEW.case_id := case_for(
            NEW.alert_id, NEW.card_token, NEW.event_time, NEW.created_at, NEW.score, NEW.currency
        );
    END IF;
    RETURN NEW;
END
$$
"""

_JOINED = """
    PERFORM add_to_case(
        j.case_id, j.alerts, j.opened, j.first, j.last, j.highest, j.low, j.high, j.amount
    ) FROM (
        SELECT n.case_id, count(*) AS alerts,
               count(*) FILTER (WHERE n.status <> 'closed') AS opened,
               min(n.event_time) AS first, max(n.event_time) AS last, max(n.score) AS highest,
               min(n.currency) AS low, max(n.currency) AS high, sum(n.amount_minor) AS amount
        FROM {rows} GROUP BY n.case_id
    ) AS j;
"""

COUNT_INSERTED = """
CREATE FUNCTION case_counts_inserted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {path}
AS $$
BEGIN
    {joined}
    INSERT INTO alert_text (alert_id, words)
    SELECT alert_id, alert_words(
        ARRAY[transaction_id, card_token, terminal_id, coalesce(merchant_id, '')],
        jsonb_path_query_array(reasons, '$[*].text')::text
    )
    FROM added ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$
"""

# Whatever becomes of an alert is a new version of its case: who closes the case has seen it.
COUNT_CHANGED = """
CREATE FUNCTION case_counts_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {path}
AS $$
BEGIN
    {joined}
    UPDATE alert_case AS c SET
        open_count = c.open_count + j.opened, version = c.version + 1, changed_at = now()
    FROM (
        SELECT n.case_id, (count(*) FILTER (WHERE n.status <> 'closed')
                         - count(*) FILTER (WHERE o.status <> 'closed'))::integer AS opened
        FROM after_rows AS n JOIN before_rows AS o USING (alert_id)
        WHERE o.case_id = n.case_id AND o.version <> n.version
        GROUP BY n.case_id
    ) AS j
    WHERE c.case_id = j.case_id;
    RETURN NULL;
END
$$
"""

# Ids as they are, what people read in words: parted by whatever is neither letter nor digit in
# ASCII, which is the same in every locale.
ALERT_WORDS = r"""
CREATE FUNCTION alert_words(ids text[], said text) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_to_tsvector(ARRAY(
        SELECT left(word, 128) FROM (
            SELECT lower(unnest(ids))
            UNION ALL
            SELECT regexp_split_to_table(
                lower(said), '[\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u007f]+'
            )
        ) AS parted (word) WHERE word <> ''
    ))
$$
"""

# At 10,000 words an alert has enough of them: a tsvector has a bound, too, and refuses what is
# beyond it.
ADD_COMMENT = """
CREATE FUNCTION comment_adds_words() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {path}
AS $$
BEGIN
    UPDATE alert_text AS t SET words = t.words || alert_words(ARRAY[]::text[], c.said)
    FROM (SELECT alert_id, string_agg(text, ' ') AS said FROM added GROUP BY alert_id) AS c
    WHERE t.alert_id = c.alert_id AND length(t.words) < 10000;
    RETURN NULL;
END
$$
"""

TRIGGERS = (
    """
    CREATE TRIGGER alert_joins_case BEFORE INSERT ON alert
    FOR EACH ROW EXECUTE FUNCTION alert_joins_case()
    """,
    """
    CREATE TRIGGER case_counts_inserted AFTER INSERT ON alert
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION case_counts_inserted()
    """,
    """
    CREATE TRIGGER case_counts_changed AFTER UPDATE ON alert
    REFERENCING OLD TABLE AS before_rows NEW TABLE AS after_rows
    FOR EACH STATEMENT EXECUTE FUNCTION case_counts_changed()
    """,
    """
    CREATE TRIGGER comment_adds_words AFTER INSERT ON alert_comment
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION comment_adds_words()
    """,
)
DROPPED = (
    "TRIGGER comment_adds_words ON alert_comment",
    "TRIGGER case_counts_changed ON alert",
    "TRIGGER case_counts_inserted ON alert",
    "TRIGGER alert_joins_case ON alert",
    "FUNCTION comment_adds_words()",
    "FUNCTION case_counts_changed()",
    "FUNCTION case_counts_inserted()",
    "FUNCTION alert_joins_case()",
    "FUNCTION add_to_case",
    "FUNCTION case_for",
    "FUNCTION case_of(uuid)",
    "FUNCTION alert_words(text[], text)",
    "INDEX alert_amount",
    "INDEX alert_status_amount",
    "INDEX alert_of_top_reason",
    "TABLE alert_text",
)


def upgrade() -> None:
    """Makes cases and words, and the triggers that keep them."""
    for statement in (CASES, COLUMN, WORDS, *CASE_INDEXES, *ALERT_INDEXES):
        op.execute(statement)
    for statement in (CASE_OF, CASE_FOR, ADD_TO_CASE, ALERT_WORDS, *_functions(), *TRIGGERS):
        op.execute(statement)


def downgrade() -> None:
    """Drops them, and with the column its indexes."""
    for dropped in DROPPED:
        op.execute(f"DROP {dropped}")
    op.execute("ALTER TABLE alert DROP COLUMN case_id")
    op.execute("DROP TABLE alert_case")


def _functions() -> list[str]:
    """The triggers' functions. They run with the rights of who migrates, so that a role that may
    change alerts needs no more than before; hence a fixed path. And plans are kept from when the
    tables were small: they must not read all of them when they no longer are."""
    schema = op.get_bind().execute(text("SELECT quote_ident(current_schema())")).scalar()
    path = f"SET search_path = {schema}, pg_temp SET enable_seqscan = off"
    inserted = _JOINED.format(rows="added AS n WHERE n.case_id IS NOT NULL")
    changed = _JOINED.format(
        rows="after_rows AS n JOIN before_rows AS o USING (alert_id)"
        " WHERE o.case_id IS NULL AND n.case_id IS NOT NULL"
    )
    return [
        JOIN_CASE.format(path=path),
        COUNT_INSERTED.format(path=path, joined=inserted),
        COUNT_CHANGED.format(path=path, joined=changed),
        ADD_COMMENT.format(path=path),
    ]
