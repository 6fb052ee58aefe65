"""Every metric of Tidegate, declared once: its name, its unit, its labels, what it counts.

They live in one registry of the process. The API shows it under /metrics; a scoring process, which
has no API, starts an exporter (`tidegate.exporter`). Labels come from closed lists, never from
data: an id as a label would make a time series of every card.
"""

from __future__ import annotations

from math import nan

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from tidegate.schema import Decision, Reason

# Without it every counter and histogram has a second series with the time it was made.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)  # CPU, memory, open files

OUTCOMES = (*(decision.name.lower() for decision in Decision), "repeat", "dead_letter")
DELIVERIES = ("delivered", "retried", "failed")
LABEL_SOURCES = ("chargeback", "issuer", "customer", "analyst")

# Upper bounds in seconds: a payment waits for its decision, so the steps are fine below a second;
# a backlog is told from a stop by the ones above.
_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60, 300)
# A customer calls the same day; a chargeback takes weeks.
_DAY = 86_400.0
_DELAY = (_DAY / 24, _DAY / 4, *(days * _DAY for days in (1, 2, 4, 7, 10, 14, 21, 30, 45, 60, 90)))
_SNAPSHOT = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# An answer from an index takes milliseconds; ten seconds is the statement timeout.
_REQUEST = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# Most payments score next to nothing: fine at the bottom, then in tenths.
_SCORE = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)

TRANSACTIONS = Counter(
    "tidegate_transactions_total",
    "Transactions taken, by what became of them: one of OUTCOMES.",
    ["outcome"],
    registry=REGISTRY,
)
SCORING_LATENCY_SECONDS = Histogram(
    "tidegate_scoring_latency_seconds",
    "From the event's receipt to its decision being durable.",
    unit="seconds",
    buckets=_LATENCY,
    registry=REGISTRY,
)
SCORE = Histogram(
    "tidegate_score",
    "Scores given, as probabilities from 0 to 1.",
    buckets=_SCORE,
    registry=REGISTRY,
)
DEAD_LETTERS = Counter(
    "tidegate_dead_letters_total",
    "Messages that could not be taken, by reason (tidegate.schema.Reason).",
    ["reason"],
    registry=REGISTRY,
)
LABELS = Counter(
    "tidegate_labels_total",
    "Labels taken, by who said it: one of LABEL_SOURCES.",
    ["source"],
    registry=REGISTRY,
)
CONSUMER_LAG = Gauge(
    "tidegate_consumer_lag",
    "Messages of a Kafka partition that are there and not yet decided and stored.",
    ["topic", "partition"],
    registry=REGISTRY,
)
CONSUMER_LAG_SECONDS = Gauge(
    "tidegate_consumer_lag_seconds",
    "Age of a partition's oldest message that was fetched and not yet decided and stored, else 0.",
    ["topic", "partition"],
    registry=REGISTRY,
)
KAFKA_REACHABLE = Gauge(
    "tidegate_kafka_reachable",
    "1 when a Kafka broker answered last time, else 0; NaN where nobody asks one.",
    registry=REGISTRY,
)
KAFKA_REACHABLE.set(nan)
KAFKA_SKIPPED = Counter(
    "tidegate_kafka_skipped_messages_total",
    "Messages that the broker had deleted before they were read.",
    ["topic"],
    registry=REGISTRY,
)
PUBLISHED = Counter(
    "tidegate_published_messages_total",
    "Messages that a broker has acknowledged, by what they are: decision, alert or dead_letter.",
    ["kind"],
    registry=REGISTRY,
)
MODEL_AVERAGE_PRECISION = Gauge(
    "tidegate_model_average_precision",
    "Average precision of a model over its last labelled transactions, tested before learned.",
    ["model"],
    registry=REGISTRY,
)
MODEL_RECALL = Gauge(
    "tidegate_model_recall",
    "Part of the frauds among the 1 % of payments that a model scored highest, of seven days.",
    ["model"],
    registry=REGISTRY,
)
MODEL_CARD_PRECISION = Gauge(
    "tidegate_model_card_precision",
    "Of the 100 cards a day that a model scored highest, the part with a fraud, of seven days.",
    ["model"],
    registry=REGISTRY,
)
MODEL_LOG_LOSS = Gauge(
    "tidegate_model_log_loss_nats",
    "Log loss of a model, mean over payments with a known outcome, of seven days.",
    ["model"],
    registry=REGISTRY,
)
MODEL_CALIBRATION = Gauge(
    "tidegate_model_calibration_ratio",
    "Frauds that a model expected over frauds that there were, of seven days; 1 is right.",
    ["model"],
    registry=REGISTRY,
)
MODEL_TRIAL_AVERAGE_PRECISION = Gauge(
    "tidegate_model_trial_average_precision",
    "Average precision of a model on the payments that all models are tried on, of seven days.",
    ["model"],
    registry=REGISTRY,
)
MODEL_SUSPENDED = Gauge(
    "tidegate_model_suspended",
    "1 where a challenger took more time or room than its cap, and learns no more.",
    ["model"],
    registry=REGISTRY,
)
MODEL_DRIFT = Counter(
    "tidegate_model_drift_total",
    "Alarms that a model's errors, its scores or the payments changed.",
    ["model", "signal"],
    registry=REGISTRY,
)
SNAPSHOT_SECONDS = Histogram(
    "tidegate_snapshot_seconds",
    "Time that a step or a sink took for its part of a snapshot.",
    unit="seconds",
    buckets=_SNAPSHOT,
    registry=REGISTRY,
)

LAST_SNAPSHOT = Gauge(
    "tidegate_last_snapshot_timestamp_seconds",
    "When the sinks of this process last gave their part of a snapshot, in Unix time.",
    registry=REGISTRY,
)
WRITER_QUEUED_ROWS = Gauge(
    "tidegate_writer_queued_rows",
    "Rows that wait to be stored. Where there are too many, the sources are held back.",
    registry=REGISTRY,
)
BACK_PRESSURE_SECONDS = Counter(
    "tidegate_back_pressure_seconds_total",
    "Time that the flow stood still because rows were not stored as fast as they came.",
    registry=REGISTRY,
)
LABEL_DELAY_SECONDS = Histogram(
    "tidegate_label_delay_seconds",
    "From a payment to the champion's learning that it was a fraud, in event time.",
    unit="seconds",
    buckets=_DELAY,
    registry=REGISTRY,
)
POOL_CONNECTIONS = Gauge(
    "tidegate_database_pool_connections",
    "Connections of the API's pool, by state: idle or in_use.",
    ["state"],
    registry=REGISTRY,
)
POOL_WAITING = Gauge(
    "tidegate_database_pool_waiting_requests",
    "Requests that wait for a connection of the API's pool.",
    registry=REGISTRY,
)

API_REQUESTS = Counter(
    "tidegate_api_requests_total",
    "Requests answered, by the route's template and HTTP status (499: the client went away).",
    ["route", "status"],
    registry=REGISTRY,
)
API_REFUSALS = Counter(
    "tidegate_api_refusals_total",
    "Requests that were not let in, by HTTP status: 401 nobody known, 403 may not, 429 too many.",
    ["status"],
    registry=REGISTRY,
)
API_REQUEST_SECONDS = Histogram(
    "tidegate_api_request_seconds",
    "From a request's arrival to the end of its answer, by the route's template.",
    ["route"],
    unit="seconds",
    buckets=_REQUEST,
    registry=REGISTRY,
)
STREAMS_OPEN = Gauge(
    "tidegate_streams_open",
    "Streams of alerts that are open.",
    registry=REGISTRY,
)
STREAM_EVENTS = Counter(
    "tidegate_stream_events_total",
    "Events sent to streams of alerts, each for each stream.",
    registry=REGISTRY,
)
WEBHOOK_DELIVERIES = Counter(
    "tidegate_webhook_deliveries_total",
    "Tries to send an event to a webhook, by what became of it: one of DELIVERIES.",
    ["outcome"],
    registry=REGISTRY,
)
WEBHOOK_OLDEST_PENDING_SECONDS = Gauge(
    "tidegate_webhook_oldest_pending_seconds",
    "Age of what waits longest to be sent to a webhook; 0 when nothing waits.",
    unit="seconds",
    registry=REGISTRY,
)

# A series that is missing until its first event hides that event from rate(): start all at 0.
for _outcome in OUTCOMES:
    TRANSACTIONS.labels(_outcome)
for _reason in Reason:
    DEAD_LETTERS.labels(_reason.value)
for _source in LABEL_SOURCES:
    LABELS.labels(_source)
for _outcome in DELIVERIES:
    WEBHOOK_DELIVERIES.labels(_outcome)


def exposition() -> tuple[bytes, str]:
    """All metrics of this process in Prometheus' text format, and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
