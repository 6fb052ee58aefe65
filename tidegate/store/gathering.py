"""Gives alerts of before there were cases their cases and words, some cards at a time.

New alerts get them as they are inserted. A card's old ones are taken together, in the order of
their payments, as if they came just now; a case all of whose alerts are closed already is closed,
too. Whoever reads or writes alerts meanwhile goes on; an alert's version stays as it is.
"""

from __future__ import annotations

from tidegate.store.connection import Conn

BATCH = 500  # alerts by which the cards of a step are chosen: some 0.5 s of locks on them

# Two who gather one card at once would open two cases of the same alerts. The number is arbitrary.
LOCK = "SELECT pg_advisory_xact_lock(6210974403117)"

# Where nobody closed the alerts with an outcome, as before there were outcomes, the case has none.
GATHER = """
WITH cards AS MATERIALIZED (
    SELECT DISTINCT card_token FROM (
        SELECT card_token FROM alert WHERE case_id IS NULL ORDER BY card_token LIMIT %(batch)s
    ) AS first
), waiting AS MATERIALIZED (
    SELECT a.alert_id, a.card_token, a.event_time, a.created_at, a.score, a.currency, a.status,
           a.outcome, a.transaction_id, a.terminal_id, a.merchant_id, a.reasons
    FROM cards CROSS JOIN LATERAL (
        SELECT * FROM alert WHERE case_id IS NULL AND card_token = cards.card_token
        ORDER BY event_time, alert_id
    ) AS a
    ORDER BY a.card_token, a.event_time, a.alert_id
), joined AS MATERIALIZED (
    SELECT *, case_for(alert_id, card_token, event_time, created_at, score, currency) AS case_id
    FROM waiting
), worded AS (
    INSERT INTO alert_text (alert_id, words)
    SELECT alert_id, alert_words(
        ARRAY[transaction_id, card_token, terminal_id, coalesce(merchant_id, '')],
        jsonb_path_query_array(reasons, '$[*].text')::text || ' ' || coalesce((
            SELECT left(string_agg(text, ' ' ORDER BY comment_id), 200000)
            FROM alert_comment AS c WHERE c.alert_id = joined.alert_id
        ), '')
    )
    FROM joined ON CONFLICT DO NOTHING
), written AS (
    UPDATE alert AS a SET case_id = joined.case_id FROM joined
    WHERE a.alert_id = joined.alert_id AND a.case_id IS NULL
    RETURNING a.case_id
)
SELECT case_id, count(*) FROM written GROUP BY case_id
"""

CLOSE = """
UPDATE alert_case AS c SET status = 'closed', outcome = (
    SELECT CASE
        WHEN bool_or(outcome = 'fraud') THEN 'fraud'
        WHEN bool_or(outcome = 'unclear') THEN 'unclear'
        ELSE min(outcome)
    END FROM alert WHERE alert.case_id = c.case_id
)
FROM unnest(%(cases)s::uuid[], %(counts)s::bigint[]) AS made (case_id, alerts)
WHERE c.case_id = made.case_id AND c.open_count = 0 AND c.alert_count = made.alerts
AND c.status = 'open'
"""


def step(conn: Conn, *, batch: int = BATCH) -> int:
    """Gathers the alerts of some cards; returns how many alerts that were, 0 at the end. The caller
    commits after each step, and may stop between any two."""
    conn.execute(LOCK)
    made = conn.execute(GATHER, {"batch": batch}).fetchall()
    if made:
        found, counts = zip(*made, strict=True)
        conn.execute(CLOSE, {"cases": list(found), "counts": list(counts)})
    return sum(count for _, count in made)
