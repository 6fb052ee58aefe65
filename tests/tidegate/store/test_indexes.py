"""Every list reads its page from one place of one index, and sorts no more than equal times.

The rows are few, so plans are asked for with sequential scans and sorts made unattractive: what is
left shows whether an index can serve the query at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection

from tests.api.rows import (
    at,
    put_alert,
    put_comment,
    put_dead_letter,
    put_delivery,
    put_label,
    put_metric,
    put_promotion,
    put_score,
    put_version,
    put_webhook,
)
from tests.migrations.test_upgrade import KEPT
from tidegate import keys
from tidegate.store import (
    aggregates,
    alert_events,
    alert_work,
    alerts,
    api_keys,
    audit,
    cases,
    deliveries,
    entities,
    promotions,
    queries,
    served,
    similar,
    stats,
    traffic,
    webhooks,
)
from tidegate.store.alert_events import Position
from tidegate.store.alerts import AlertFilter
from tidegate.store.audit import AuditFilter
from tidegate.store.cases import CaseFilter
from tidegate.store.queries import DeadLetterFilter, DecisionFilter
from tidegate.store.traffic import Step

Plan = dict[str, Any]
Conn = Connection[Any]

UNATTRACTIVE = ("enable_seqscan", "enable_sort", "enable_bitmapscan")


class Explaining(psycopg.Cursor[Any]):
    """Asks for the plan of every query before it runs it."""

    plans: ClassVar[list[Plan]] = []

    def execute(self, query, params=None, **kwargs):
        if not isinstance(query, str):
            query = query.as_string(self)
        super().execute(f"EXPLAIN (FORMAT JSON) {query}", params)
        # As it came: rows may be made into objects that a plan does not fit.
        assert self.pgresult is not None
        (told,) = json.loads(self.pgresult.get_value(0, 0) or b"")
        self.plans.append(told["Plan"])
        return super().execute(query, params, **kwargs)


ROWS = 3_000
# What differs from row to row, by table; n is the row's number.
VARIED: dict[str, str] = {
    "score": """
        'transaction_id', 't' || n, 'event_time', %(start)s + n / 2 * interval '1 second',
        'card_token', 'card-' || mod(n, 400), 'terminal_id', 'terminal-' || mod(n, 300),
        'merchant_id', 'merchant-' || mod(n, 300),
        'decision', CASE mod(n, 50) WHEN 1 THEN 'review' WHEN 2 THEN 'decline' ELSE 'approve' END
    """,
    # Before alerts, which open cases of their own.
    "alert_case": """
        'case_id', gen_random_uuid(), 'highest_score', n / 3000.0,
        'opened_at', %(start)s + n / 2 * interval '1 second',
        'card_token', 'case-card-' || mod(n, 400),
        'assignee', CASE mod(n, 50) WHEN 3 THEN NULL ELSE 'analyst-' || mod(n, 200) END,
        'status', CASE mod(n, 50) WHEN 1 THEN 'open' ELSE 'closed' END,
        'outcome', CASE mod(n, 50) WHEN 1 THEN NULL WHEN 2 THEN 'unclear' ELSE 'genuine' END
    """,
    "alert": """
        'alert_id', gen_random_uuid(), 'transaction_id', 't' || n, 'score', n / 3000.0,
        'created_at', %(start)s + n / 2 * interval '1 second',
        'card_token', 'card-' || mod(n, 400), 'terminal_id', 'terminal-' || mod(n, 300),
        'merchant_id', 'merchant-' || mod(n, 300),
        'assignee', CASE mod(n, 50) WHEN 3 THEN NULL ELSE 'analyst-' || mod(n, 200) END,
        'snoozed_until', CASE mod(n, 50) WHEN 5 THEN now() + interval '1 day' END,
        'status', CASE mod(n, 50) WHEN 1 THEN 'open' ELSE 'closed' END,
        'outcome', CASE mod(n, 50) WHEN 1 THEN NULL WHEN 2 THEN 'unclear' ELSE 'genuine' END,
        'amount_minor', 10 * n, 'currency', CASE mod(n, 9) WHEN 1 THEN 'JPY' ELSE 'EUR' END,
        'case_id', NULL, 'reasons', jsonb_build_array(
            jsonb_build_object('code', 'code-' || mod(n, 40), 'text', 'word' || mod(n, 500)))
    """,
    "alert_comment": """
        'comment_id', 10 + n,
        'alert_id', (ARRAY(SELECT alert_id FROM alert ORDER BY 1 LIMIT 100))[1 + mod(n, 100)]
    """,
    "dead_letter": """
        'id', 10 + n, 'offset', n, 'reason', 'reason-' || mod(n, 300),
        'topic', 'topic-' || mod(n, 200)
    """,
    "model_metric": "'metric', 'metric-' || mod(n, 7), 'at', %(start)s + n * interval '1 second'",
    "model_version": "'version', 'v' || n, 'name', 'model-' || mod(n, 30)",
    "label": "'transaction_id', 't' || n",
    "promotion": "'promotion_id', 10 + n",
    "audit": """
        'audit_id', 10 + n, 'at', %(start)s + n / 2 * interval '1 second',
        'actor', 'actor-' || mod(n, 200), 'action', 'action-' || mod(n, 100),
        'subject', 'subject-' || mod(n, 300)
    """,
    "api_key": """
        'key_id', gen_random_uuid(), 'prefix', 'prefix-' || n,
        'created_at', %(start)s + n / 2 * interval '1 second'
    """,
    "webhook": """
        'webhook_id', gen_random_uuid(), 'created_at', %(start)s + n * interval '1 second'
    """,
    "webhook_delivery": """
        'delivery_id', 10 + n, 'event_id', 'evt_' || n,
        'webhook_id', (ARRAY(SELECT webhook_id FROM webhook ORDER BY 1 LIMIT 300))[1 + mod(n, 300)],
        'state', CASE mod(n, 50) WHEN 1 THEN 'pending' ELSE 'delivered' END,
        'next_at', CASE mod(n, 50) WHEN 1 THEN now() - n * interval '1 second' END
    """,
}

FIRST = UUID(int=0)
# By the database.
NUMBERED = ("alert_comment", "audit", "dead_letter", "promotion", "webhook_delivery")


@pytest.fixture
def filled(conn: Conn) -> Iterator[Conn]:
    put_score(conn, "first", 0)
    put_alert(conn, 0, alert_id=FIRST)
    put_comment(conn, FIRST)
    put_dead_letter(conn, 0)
    put_metric(conn, "metric", 0, 0.5)
    put_version(conn, "first", 0)
    put_label(conn, "first", 0)
    put_promotion(conn, "quick", "champion")
    put_webhook(conn, FIRST)
    put_delivery(conn, FIRST, "evt_first")
    # Writes the first line of the audit, too.
    api_keys.make(conn, keys.made(), name="first", role="viewer", scopes=None, days=None, actor="")
    for table, varied in VARIED.items():
        conn.execute(
            f"""
            INSERT INTO {table} {"OVERRIDING SYSTEM VALUE" if table in NUMBERED else ""}
            SELECT made.* FROM {table} AS first, generate_series(1, {ROWS}) AS n,
                jsonb_populate_record(first, jsonb_build_object({varied})) AS made
            """,
            {"start": at(0)},
        )
    conn.commit()
    conn.execute("ANALYZE")
    for setting in UNATTRACTIVE:
        conn.execute(f"SET {setting} = off")
    conn.commit()
    conn.cursor_factory = Explaining
    Explaining.plans = []
    yield conn
    conn.cursor_factory = psycopg.Cursor


# How TimescaleDB names a chunk's part of an index.
OF_CHUNK = re.compile(r"(_hyper_\d+_\d+_chunk_|\d+_\d+_)")


def index_of(node: Plan) -> str:
    return str(node.get("Index Name", ""))


def indexes(plan: Plan) -> set[str]:
    names = (node["Index Name"] for node in nodes(plan) if "Index Name" in node)
    return {OF_CHUNK.sub("", name, count=1) for name in names}


def scanned(plans: Iterable[Plan]) -> set[str]:
    """The tables that are read whole."""
    return {
        str(node.get("Relation Name"))
        for plan in plans
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan"
    }


def nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


SOON = round(at(3600).timestamp()) * 1_000_000
NEWEST = (at(1000), UUID(int=0))
BY_SCORE = (0.5, UUID(int=0))
BY_AMOUNT = (9_000, UUID(int=0))
FIRST_CASE = cases.case_id(FIRST)


def a_page(which: AlertFilter, **given: Any) -> Callable[[Conn], Any]:
    return lambda conn: alerts.page(conn, which, limit=20, **given)


def some_cases(which: CaseFilter, **given: Any) -> Callable[[Conn], Any]:
    return lambda conn: cases.page(conn, which, limit=20, **given)


def some_decisions(which: DecisionFilter, **given: Any) -> Callable[[Conn], Any]:
    return lambda conn: queries.decisions(conn, which, limit=20, **given)


def some_letters(which: DeadLetterFilter, **given: Any) -> Callable[[Conn], Any]:
    return lambda conn: queries.dead_letters(conn, which, limit=20, **given)


def some_audited(which: AuditFilter, **given: Any) -> Callable[[Conn], Any]:
    return lambda conn: audit.page(conn, which, limit=20, **given)


READS: dict[str, tuple[Callable[[Conn], Any], str]] = {
    "alerts": (a_page(AlertFilter()), "alert_newest"),
    "alerts, a next page": (a_page(AlertFilter(), after=NEWEST), "alert_newest"),
    "alerts of some days": (a_page(AlertFilter(since=at(200), until=at(900))), "alert_newest"),
    "open alerts": (a_page(AlertFilter(status="open")), "alert_status"),
    "open alerts, a next page": (a_page(AlertFilter(status="open"), after=NEWEST), "alert_status"),
    "a card's alerts": (a_page(AlertFilter(card_token="card-3")), "alert_of_card"),
    "a card's alerts, a next page": (
        a_page(AlertFilter(card_token="card-3"), after=NEWEST),
        "alert_of_card",
    ),
    "a terminal's alerts": (a_page(AlertFilter(terminal_id="terminal-3")), "alert_of_terminal"),
    "a terminal's alerts, a next page": (
        a_page(AlertFilter(terminal_id="terminal-3"), after=NEWEST),
        "alert_of_terminal",
    ),
    "alerts by score": (a_page(AlertFilter(), order="score"), "alert_score"),
    "alerts by score, a next page": (
        a_page(AlertFilter(), order="score", after=BY_SCORE),
        "alert_score",
    ),
    "high alerts": (a_page(AlertFilter(min_score=0.9), order="score"), "alert_score"),
    "open high alerts": (
        a_page(AlertFilter(status="open", min_score=0.9), order="score"),
        "alert_status_score",
    ),
    "open alerts by score, a next page": (
        a_page(AlertFilter(status="open"), order="score", after=BY_SCORE),
        "alert_status_score",
    ),
    "alerts of a middling score": (
        a_page(AlertFilter(min_score=0.4, max_score=0.6), order="score"),
        "alert_score",
    ),
    "low alerts, newest first": (a_page(AlertFilter(max_score=0.4)), "alert_newest"),
    "a merchant's alerts": (a_page(AlertFilter(merchant_id="merchant-3")), "alert_of_merchant"),
    "a merchant's alerts, a next page": (
        a_page(AlertFilter(merchant_id="merchant-3"), after=NEWEST),
        "alert_of_merchant",
    ),
    "an analyst's alerts": (a_page(AlertFilter(assignee="analyst-7")), "alert_of_assignee"),
    "an analyst's alerts, a next page": (
        a_page(AlertFilter(assignee="analyst-7"), after=NEWEST),
        "alert_of_assignee",
    ),
    "nobody's alerts": (a_page(AlertFilter(unassigned=True)), "alert_unassigned"),
    "nobody's alerts, a next page": (
        a_page(AlertFilter(unassigned=True), after=NEWEST),
        "alert_unassigned",
    ),
    "somebody's alerts": (a_page(AlertFilter(unassigned=False)), "alert_newest"),
    "alerts of an outcome": (a_page(AlertFilter(outcome="unclear")), "alert_of_outcome"),
    "alerts of an outcome, a next page": (
        a_page(AlertFilter(outcome="unclear"), after=NEWEST),
        "alert_of_outcome",
    ),
    "snoozed alerts": (a_page(AlertFilter(snoozed=True)), "alert_snoozed"),
    "snoozed alerts, a next page": (
        a_page(AlertFilter(snoozed=True), after=NEWEST),
        "alert_snoozed",
    ),
    "alerts that are not snoozed": (a_page(AlertFilter(snoozed=False)), "alert_newest"),
    "open alerts that are not snoozed": (
        a_page(AlertFilter(status="open", snoozed=False)),
        "alert_status",
    ),
    "alerts of a reason": (a_page(AlertFilter(reason="terminal_fraud_7d")), "alert_newest"),
    "alerts of a reason, a next page": (
        a_page(AlertFilter(reason="terminal_fraud_7d"), after=NEWEST),
        "alert_newest",
    ),
    "a card's alerts of a reason": (
        a_page(AlertFilter(card_token="card-3", reason="terminal_fraud_7d")),
        "alert_of_card",
    ),
    "alerts of amounts": (
        a_page(AlertFilter(min_amount_minor=1, max_amount_minor=10**6)),
        "alert_newest",
    ),
    "alerts, oldest first": (a_page(AlertFilter(), order="oldest"), "alert_newest"),
    "alerts, oldest first, a next page": (
        a_page(AlertFilter(), order="oldest", after=NEWEST),
        "alert_newest",
    ),
    "open alerts, oldest first, a next page": (
        a_page(AlertFilter(status="open"), order="oldest", after=NEWEST),
        "alert_status",
    ),
    "alerts by amount": (
        a_page(AlertFilter(currency="EUR"), order="amount"),
        "alert_amount",
    ),
    "alerts by amount, a next page": (
        a_page(AlertFilter(currency="EUR"), order="amount", after=BY_AMOUNT),
        "alert_amount",
    ),
    "open alerts by amount, a next page": (
        a_page(AlertFilter(currency="EUR", status="open"), order="amount", after=BY_AMOUNT),
        "alert_status_amount",
    ),
    "alerts of amounts by amount": (
        a_page(
            AlertFilter(currency="EUR", min_amount_minor=100, max_amount_minor=900),
            order="amount",
        ),
        "alert_amount",
    ),
    "a case's alerts": (a_page(AlertFilter(case_id=FIRST_CASE)), "alert_of_case"),
    "a case's alerts, a next page": (
        a_page(AlertFilter(case_id=FIRST_CASE), after=NEWEST),
        "alert_of_case",
    ),
    "cases": (some_cases(CaseFilter()), "alert_case_newest"),
    "cases, a next page": (some_cases(CaseFilter(), after=NEWEST), "alert_case_newest"),
    "cases of some days": (
        some_cases(CaseFilter(since=at(200), until=at(900))),
        "alert_case_newest",
    ),
    "cases by score": (some_cases(CaseFilter(), order="score"), "alert_case_score"),
    "cases by score, a next page": (
        some_cases(CaseFilter(min_score=0.1), order="score", after=BY_SCORE),
        "alert_case_score",
    ),
    "open cases": (some_cases(CaseFilter(status="open")), "alert_case_status"),
    "open cases by score, a next page": (
        some_cases(CaseFilter(status="open"), order="score", after=BY_SCORE),
        "alert_case_status_score",
    ),
    "a card's cases": (some_cases(CaseFilter(card_token="case-card-3")), "alert_case_of_card"),
    "an analyst's cases": (some_cases(CaseFilter(assignee="analyst-7")), "alert_case_of_assignee"),
    "cases of an outcome, a next page": (
        some_cases(CaseFilter(outcome="unclear"), after=NEWEST),
        "alert_case_of_outcome",
    ),
    "one case": (lambda conn: cases.get(conn, FIRST_CASE), "alert_case_pkey"),
    "comments of an alert": (
        lambda conn: alert_work.comments(conn, FIRST, limit=20),
        "alert_comment_of_alert",
    ),
    "comments of an alert, a next page": (
        lambda conn: alert_work.comments(conn, FIRST, limit=20, after=1000),
        "alert_comment_of_alert",
    ),
    "events of alerts": (
        lambda conn: alert_events.after(conn, Position(700, 3), limit=20),
        "alert_event_pkey",
    ),
    "webhooks": (lambda conn: webhooks.page(conn, limit=20), "webhook_newest"),
    "webhooks, a next page": (
        lambda conn: webhooks.page(conn, limit=20, after=NEWEST),
        "webhook_newest",
    ),
    "deliveries": (
        lambda conn: deliveries.page(conn, FIRST, limit=20),
        "webhook_delivery_newest",
    ),
    "deliveries, a next page": (
        lambda conn: deliveries.page(conn, FIRST, limit=20, after=1000),
        "webhook_delivery_newest",
    ),
    "decisions": (some_decisions(DecisionFilter()), "score_event_time"),
    "decisions, a next page": (
        some_decisions(DecisionFilter(), after=(at(1000), "t9")),
        "score_event_time",
    ),
    "decisions of some days": (
        some_decisions(DecisionFilter(since=at(200), until=at(900))),
        "score_event_time",
    ),
    "a card's decisions": (some_decisions(DecisionFilter(card_token="card-3")), "score_card"),
    "a card's decisions, a next page": (
        some_decisions(DecisionFilter(card_token="card-3"), after=(at(1000), "t9")),
        "score_card",
    ),
    "a terminal's decisions": (
        some_decisions(DecisionFilter(terminal_id="terminal-3")),
        "score_terminal",
    ),
    "declined ones": (some_decisions(DecisionFilter(decision="decline")), "score_flagged"),
    "one decision": (lambda conn: queries.decision(conn, "t7"), "score_pkey"),
    "payments of labels": (
        lambda conn: served.by_ids(conn, ["t7", "t9"], SOON),
        "score_pkey",
    ),
    "its labels": (lambda conn: queries.labels(conn, "t7"), "label_pkey"),
    "the newest decision": (lambda conn: queries.newest_decision(conn), "score_event_time"),
    "dead letters": (some_letters(DeadLetterFilter()), "dead_letter_id"),
    "dead letters, a next page": (some_letters(DeadLetterFilter(), after=1000), "dead_letter_id"),
    "dead letters of a reason": (
        some_letters(DeadLetterFilter(reason="reason-2")),
        "dead_letter_of_reason",
    ),
    "dead letters of a topic": (
        some_letters(DeadLetterFilter(topic="topic-2")),
        "dead_letter_of_topic",
    ),
    "one dead letter": (lambda conn: queries.dead_letter(conn, 7), "dead_letter_id"),
    "versions of a model": (
        lambda conn: stats.versions(conn, "model-1", limit=20),
        "model_version_name",
    ),
    "versions of a model, a next page": (
        lambda conn: stats.versions(conn, "model-1", limit=20, after=(at(1000), "v9")),
        "model_version_name",
    ),
    "keys": (lambda conn: api_keys.listed(conn, limit=20), "api_key_oldest"),
    "the audit": (some_audited(AuditFilter()), "audit_newest"),
    "the audit, a next page": (
        some_audited(AuditFilter(), after=(at(1000), 7)),
        "audit_newest",
    ),
    "what somebody did": (some_audited(AuditFilter(actor="actor-3")), "audit_of_actor"),
    "what somebody did, a next page": (
        some_audited(AuditFilter(actor="actor-3"), after=(at(1000), 7)),
        "audit_of_actor",
    ),
    "one kind of change": (some_audited(AuditFilter(action="action-3")), "audit_of_action"),
    "what became of something": (
        some_audited(AuditFilter(subject="subject-3")),
        "audit_of_subject",
    ),
    "promotions": (lambda conn: promotions.history(conn, limit=20), "promotion_pkey"),
    "promotions, a next page": (
        lambda conn: promotions.history(conn, limit=20, after=1000),
        "promotion_pkey",
    ),
    "the model that serves": (promotions.serving, "promotion_pkey"),
    "newest metrics of a model": (
        lambda conn: stats.latest_metrics(conn, "champion"),
        "model_metric_pkey",
    ),
}


# A row a metric, sorted by name; a row an id, sorted by time.
FEW = ("newest metrics of a model", "payments of labels")


@pytest.mark.parametrize("name", READS)
def test_a_list_is_read_from_its_index(filled: Conn, name: str) -> None:
    read, index = READS[name]
    if name in FEW:
        psycopg.Cursor(filled).execute("SET enable_sort = on")
    read(filled)
    assert Explaining.plans
    for plan in Explaining.plans:
        kinds = {node["Node Type"] for node in nodes(plan)}
        assert index in indexes(plan)
        assert "Seq Scan" not in kinds
        if name not in FEW:
            assert "Sort" not in kinds, "only equal times may be sorted, as Incremental Sort"
        if name.endswith("a next page"):
            begins = [node for node in nodes(plan) if OF_CHUNK.sub("", index_of(node)) == index]
            assert any("Index Cond" in node for node in begins), "it begins where the last ended"


def test_waiting_dead_letters_are_found_without_those_that_were_replayed(filled: Conn) -> None:
    queries.waiting(filled, "reason-1")
    queries.dead_letters(filled, DeadLetterFilter(replayed=False), limit=20)
    for plan in Explaining.plans:
        assert indexes(plan) & {"dead_letter_waiting", "dead_letter_of_reason"}


# Of what is read in several queries, or in one from several indexes.
COMPOSED: dict[str, tuple[Callable[[Conn], Any], set[str]]] = {
    "rare words": (
        a_page(AlertFilter(text="word7")),
        {"alert_text_words", "alert_pkey"},
    ),
    "an id": (a_page(AlertFilter(text="T77")), {"alert_text_words", "alert_pkey"}),
    "a card": (
        lambda conn: entities.card(conn, "card-3"),
        {"score_card", "label_pkey", "alert_of_card", "score_event_time"},
    ),
    "a terminal": (
        lambda conn: entities.terminal(conn, "terminal-3"),
        {"score_terminal", "label_pkey", "alert_of_terminal"},
    ),
    "keys after another": (
        lambda conn: api_keys.listed(conn, limit=20, after="prefix-7"),
        {"api_key_prefix", "api_key_oldest"},
    ),
    "models": (
        lambda conn: stats.models(conn, limit=20, after="model-1"),
        {"model_version_name", "model_metric_pkey"},
    ),
    "learning curves": (
        lambda conn: stats.series(conn, "champion", points=50),
        {"model_metric_pkey"},
    ),
    "totals": (stats.totals, {"score_event_time"}),
    "similar alerts": (
        lambda conn: similar.similar(conn, FIRST, limit=20),
        {"alert_of_card", "alert_of_terminal", "alert_of_top_reason", "alert_pkey"},
    ),
}


# What grows for ever, or as fast as payments come.
LARGE = {"score", "alert", "alert_case", "alert_text", "label", "dead_letter", "model_metric"}
LARGE |= {"model_version", *KEPT}


# What is counted, and what was written since the last count.
COUNTED: dict[str, tuple[Callable[[Conn], Any], set[str]]] = {
    "all by minute": (
        lambda conn: traffic.decided(conn, Step.MINUTE, since=at(0), until=at(900)),
        {"decision_minute_kept_pkey"},
    ),
    "all by hour": (
        lambda conn: traffic.decided(conn, Step.HOUR, since=at(0), until=at(900)),
        {"decision_hour_kept_pkey"},
    ),
    "scores and latency by day": (
        lambda conn: traffic.spread(conn, Step.DAY, since=at(0), until=at(900)),
        {"decision_day_kept_pkey"},
    ),
    "a terminal by hour": (
        lambda conn: traffic.terminal(conn, "terminal-3", Step.HOUR, since=at(0), until=at(900)),
        {"terminal_hour_kept_pkey"},
    ),
    "a merchant by hour": (
        lambda conn: traffic.merchant(conn, "merchant-3", Step.HOUR, since=at(0), until=at(900)),
        {"merchant_hour_kept_pkey"},
    ),
}


@pytest.mark.parametrize("name", COUNTED)
def test_counts_are_read_from_their_indexes(filled: Conn, name: str) -> None:
    filled.cursor_factory = psycopg.Cursor
    filled.commit()
    filled.autocommit = True
    aggregates.refresh(filled)
    filled.execute("ANALYZE")
    for setting in ("enable_sort", "enable_bitmapscan"):
        filled.execute(f"SET {setting} = on")
    filled.cursor_factory = Explaining
    read, wanted = COUNTED[name]
    read(filled)
    found = set().union(*(indexes(plan) for plan in Explaining.plans))
    assert wanted <= found
    assert scanned(Explaining.plans) & LARGE == set()


@pytest.mark.parametrize("name", COMPOSED)
def test_what_is_composed_is_read_from_indexes_alone(filled: Conn, name: str) -> None:
    read, wanted = COMPOSED[name]
    # A few rows that were found are sorted, and an inverted index is read as a bitmap.
    for setting in ("enable_sort", "enable_bitmapscan"):
        psycopg.Cursor(filled).execute(f"SET {setting} = on")
    read(filled)
    plans = [plan for plan in Explaining.plans if "score_below" not in json.dumps(plan)]
    found = set().union(*(indexes(plan) for plan in plans))
    assert wanted <= found
    assert scanned(plans) & LARGE == set()
