"""Settings: read once from the environment by an entry point, checked, frozen.

`Settings.from_environ(os.environ)` is the way in. A value that is wrong, or a misspelt name, raises
`SettingError` with one line that names the variable, what it was and what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path

from tidegate.environment import Given, Network, SettingError, is_safe_url, masked_url, shown

__all__ = [
    "Access",
    "Flow",
    "Kafka",
    "Learning",
    "Monitoring",
    "Retention",
    "SettingError",
    "Settings",
    "Storage",
    "Thresholds",
    "Topics",
    "Webhooks",
    "masked_url",
]

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


@dataclass(frozen=True, slots=True)
class Storage:
    """Where things are kept."""

    database_url: str | None = field(default=None, repr=False)  # None: the embedded PostgreSQL
    data_dir: Path = Path(".tidegate")  # the embedded PostgreSQL's files live here
    recovery_dir: Path = Path(".tidegate/recovery")  # Bytewax's recovery store; never on NFS


@dataclass(frozen=True, slots=True)
class Flow:
    """How the scoring dataflow runs."""

    snapshot_seconds: float = 10.0  # between two snapshots, 0.1 to 3600
    shards: int = 4  # of the entity profiles, 1 to 64; fixed when the recovery store is made
    workers: int = 1  # processes, 1 to the number of shards

    def __post_init__(self) -> None:
        _within("TIDEGATE_SNAPSHOT_SECONDS", self.snapshot_seconds, 0.1, 3600, "seconds")
        _within("TIDEGATE_SHARDS", self.shards, 1, 64)
        _within("TIDEGATE_WORKERS", self.workers, 1, 64)
        if self.workers > self.shards:
            raise SettingError(
                "TIDEGATE_WORKERS",
                f"is {self.workers}: at most as many as shards (TIDEGATE_SHARDS is {self.shards})",
            )


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The scores from which a payment is reviewed and declined: 0 < review <= decline <= 1; and
    the control group, one in so many of those to decline, which is reviewed instead."""

    review: float = 0.3  # probability
    decline: float = 0.9  # probability
    control: int = 20  # one in so many, 0 for none

    def __post_init__(self) -> None:
        for variable, value in (
            ("TIDEGATE_REVIEW_THRESHOLD", self.review),
            ("TIDEGATE_DECLINE_THRESHOLD", self.decline),
        ):
            if not 0 < value <= 1:
                raise SettingError(variable, f"is {value:g}: above 0 and at most 1 is allowed")
        _within("TIDEGATE_CONTROL_ONE_IN", self.control, 0, 1_000_000)
        if self.review > self.decline:
            raise SettingError(
                "TIDEGATE_REVIEW_THRESHOLD",
                f"is {self.review:g}: at most TIDEGATE_DECLINE_THRESHOLD, {self.decline:g}, "
                "is allowed",
            )


@dataclass(frozen=True, slots=True)
class Learning:
    """How the models learn."""

    maturity_days: float = 7.0  # event time after which silence counts as genuine, 0.04 to 90
    challengers: tuple[str, ...] = ()  # by name; what there is, `models.roster` knows
    promote: bool = False  # a challenger that did better, without being asked
    promote_margin: float = 0.02  # average precision by which it must have done better
    promote_frauds: int = 100  # of seven days, on which that must rest

    def __post_init__(self) -> None:
        _within("TIDEGATE_MATURITY_DAYS", self.maturity_days, 0.04, 90, "days")
        _within("TIDEGATE_PROMOTE_MARGIN", self.promote_margin, 0, 1)
        _within("TIDEGATE_PROMOTE_FRAUDS", self.promote_frauds, 1, 1_000_000)

    @property
    def maturity(self) -> int:
        """`maturity_days` in microseconds."""
        return round(self.maturity_days * 86_400_000_000)


# Counts of so many days are refreshed from the rows: see migrations/versions/0003_aggregates.py.
REFRESHED_DAYS = 30

# The audit gives no newer row away: see migrations/versions/0011_access.py.
AUDIT_DAYS = 30


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows are kept, and when they go to the columnstore; in days, 0 for never.

    Alerts, labels and what is counted by day are kept for ever; a model version as long as a
    decision may name it.
    """

    score_days: int = 400  # a year and a month, so that the same weeks of two years can be compared
    dead_letter_days: int = 90
    model_metric_days: int = 400
    audit_days: int = 0
    count_days: int = 400  # what is counted by minute and hour
    event_days: int = 7  # what became of alerts, and what was sent to webhooks
    inbox_days: int = 7  # messages that the flow has read; past any backup that may be restored
    compress_after_days: int = 14  # past maturity and the longest outage that is caught up with

    def __post_init__(self) -> None:
        for name in ("score", "dead_letter", "model_metric", "audit", "inbox", "count"):
            variable = f"TIDEGATE_RETENTION_{name.upper()}_DAYS"
            _days(variable, getattr(self, f"{name}_days"))
        if 0 < self.audit_days < AUDIT_DAYS:
            raise SettingError(
                "TIDEGATE_RETENTION_AUDIT_DAYS",
                f"is {self.audit_days}: {AUDIT_DAYS} or more, or 0 for ever, is allowed",
            )
        _days("TIDEGATE_COMPRESS_AFTER_DAYS", self.compress_after_days)
        _days("TIDEGATE_RETENTION_EVENT_DAYS", self.event_days)
        # A webhook is tried for three days.
        if 0 < self.event_days < 4:
            raise SettingError(
                "TIDEGATE_RETENTION_EVENT_DAYS",
                f"is {self.event_days}: 4 or more, or 0 for ever, is allowed",
            )
        if 0 < self.score_days <= self.compress_after_days:
            raise SettingError(
                "TIDEGATE_RETENTION_SCORE_DAYS",
                f"is {self.score_days}: more than TIDEGATE_COMPRESS_AFTER_DAYS, "
                f"{self.compress_after_days}, or 0 for ever, is allowed",
            )


@dataclass(frozen=True, slots=True)
class Topics:
    """Kafka topics; no two may be the same, or a flow would read what it wrote."""

    transactions: str = "transactions"
    labels: str = "labels"
    decisions: str = "decisions"
    alerts: str = "alerts"
    dead_letters: str = "dead-letters"

    def __post_init__(self) -> None:
        taken: dict[str, str] = {}
        for topic_field in fields(self):
            variable = f"TIDEGATE_TOPIC_{topic_field.name.upper()}"
            topic = getattr(self, topic_field.name)
            if not _TOPIC.fullmatch(topic) or topic in (".", ".."):
                raise SettingError(
                    variable,
                    f"is {shown(topic)}: 1 to 249 letters, digits, dots, underscores and hyphens "
                    "are allowed",
                )
            if topic in taken:
                raise SettingError(
                    variable, f"is {shown(topic)}: {taken[topic]} has that topic already"
                )
            taken[topic] = variable


@dataclass(frozen=True, slots=True)
class Kafka:
    """The way to Kafka. Without brokers there is none."""

    brokers: tuple[str, ...] = ()  # host:port each
    # Properties for librdkafka, as it names them; may hold passwords.
    config: Mapping[str, str] = field(default_factory=dict, repr=False)
    topics: Topics = field(default_factory=Topics)
    # Where a first start begins to read: earliest, latest, or a time (RFC 3339).
    start: str = "earliest"
    slots: int = 16  # that partitions are dealt to, 1 to 64; fixed with the recovery store

    def __post_init__(self) -> None:
        _within("TIDEGATE_KAFKA_SLOTS", self.slots, 1, 64)
        if self.start not in ("earliest", "latest") and not _is_time(self.start):
            raise SettingError(
                "TIDEGATE_KAFKA_START",
                f"is {shown(self.start)}: earliest, latest or a time with its offset from UTC, "
                "such as 2026-01-31T00:00:00Z, is allowed",
            )


@dataclass(frozen=True, slots=True)
class Access:
    """Who is let in to the API, and how often."""

    auth: bool = True  # False: everybody, as an admin; only on a loopback address
    oidc_issuer: str | None = None  # URL; None: no tokens are taken but our own keys
    oidc_audience: str | None = None  # that a token must be meant for
    oidc_roles_claim: str = "roles"  # where a token has its roles; dots lead into objects
    rate_per_second: int = 500  # requests of a key, or of an address without one
    rate_burst: int = 1000  # that may come at once
    proxies: tuple[Network, ...] = ()  # networks whose X-Forwarded-For and -Proto are believed

    def __post_init__(self) -> None:
        _within("TIDEGATE_RATE_PER_SECOND", self.rate_per_second, 1, 1_000_000)
        _within("TIDEGATE_RATE_BURST", self.rate_burst, 1, 10_000_000)
        if self.oidc_issuer is not None and not is_safe_url(self.oidc_issuer):
            raise SettingError(
                "TIDEGATE_OIDC_ISSUER",
                f"is {masked_url(self.oidc_issuer)}: an https URL is needed, or http on loopback",
            )
        if self.oidc_issuer is not None and self.oidc_audience is None:
            raise SettingError(
                "TIDEGATE_OIDC_AUDIENCE", "is not set: TIDEGATE_OIDC_ISSUER needs an audience"
            )


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Where a process shows its metrics and sends its traces, and how it logs."""

    metrics_port: int | None = None  # 1 to 65535; None: no exporter
    metrics_host: str = "127.0.0.1"  # 0.0.0.0 or :: for all interfaces
    log_level: str = "info"  # debug, info, warning or error
    log_format: str = "auto"  # text, json, or auto: text on a terminal, else json
    traces_url: str | None = None  # of a collector, OTLP over HTTP; None: nothing is traced
    traces_share: float = 0.01  # of what nobody decided on before, 0 to 1

    def __post_init__(self) -> None:
        if self.metrics_port is not None and not 1 <= self.metrics_port <= 65535:
            raise SettingError(
                "TIDEGATE_METRICS_PORT",
                f"is {self.metrics_port}: 1 to 65535, or 0 for none, is allowed",
            )
        _one_of("TIDEGATE_LOG_LEVEL", self.log_level, ("debug", "info", "warning", "error"))
        _one_of("TIDEGATE_LOG_FORMAT", self.log_format, ("auto", "text", "json"))
        _within("TIDEGATE_TRACES_SHARE", self.traces_share, 0, 1)


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Where and how events are sent."""

    deliver: bool = True  # by `tidegate api`
    allow_private: bool = False  # into private networks, and without TLS
    # That stored secrets are encrypted with: the first encrypts, each decrypts. None: they are not.
    secret_keys: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. `dataclasses.replace` on a group checks the new values too."""

    storage: Storage = field(default_factory=Storage)
    flow: Flow = field(default_factory=Flow)
    thresholds: Thresholds = field(default_factory=Thresholds)
    learning: Learning = field(default_factory=Learning)
    kafka: Kafka = field(default_factory=Kafka)
    monitoring: Monitoring = field(default_factory=Monitoring)
    retention: Retention = field(default_factory=Retention)
    access: Access = field(default_factory=Access)
    webhooks: Webhooks = field(default_factory=Webhooks)

    def __post_init__(self) -> None:
        maturity, kept = self.learning.maturity_days, self.retention
        for name, days in (("SCORE", kept.score_days), ("COUNT", kept.count_days)):
            if 0 < days < REFRESHED_DAYS:
                raise SettingError(
                    f"TIDEGATE_RETENTION_{name}_DAYS",
                    f"is {days}: {REFRESHED_DAYS} or more, or 0 for ever, is allowed",
                )
        # Payments are read once more at their maturity: they must be there, and not be compressed.
        for variable, days, never in (
            ("TIDEGATE_RETENTION_SCORE_DAYS", kept.score_days, "0 for ever"),
            ("TIDEGATE_COMPRESS_AFTER_DAYS", kept.compress_after_days, "0 for never"),
        ):
            if 0 < days <= maturity:
                raise SettingError(
                    variable,
                    f"is {days}: more than TIDEGATE_MATURITY_DAYS, {maturity:g}, or {never}, "
                    "is allowed",
                )

    @classmethod
    def from_environ(cls, env: Mapping[str, str]) -> Settings:
        """The settings that `env` holds, defaults for the rest. Paths come out absolute.

        Raises `SettingError` for the first value that is not allowed, and for a variable that
        begins with TIDEGATE_ and is none of ours.
        """
        given, default = Given(env), cls()
        data_dir = given.path("DATA_DIR", default.storage.data_dir.absolute())
        storage = Storage(
            database_url=given.database_url("DATABASE_URL"),
            data_dir=data_dir,
            recovery_dir=given.path("RECOVERY_DIR", data_dir / "recovery"),
        )
        flow = Flow(
            snapshot_seconds=given.number("SNAPSHOT_SECONDS", default.flow.snapshot_seconds),
            shards=given.whole("SHARDS", default.flow.shards),
            workers=given.whole("WORKERS", default.flow.workers),
        )
        thresholds = Thresholds(
            review=given.number("REVIEW_THRESHOLD", default.thresholds.review),
            decline=given.number("DECLINE_THRESHOLD", default.thresholds.decline),
            control=given.whole("CONTROL_ONE_IN", default.thresholds.control),
        )
        learning = Learning(
            maturity_days=given.number("MATURITY_DAYS", default.learning.maturity_days),
            challengers=given.names("CHALLENGERS"),
            promote=given.switch("PROMOTE_AUTOMATICALLY", default.learning.promote),
            promote_margin=given.number("PROMOTE_MARGIN", default.learning.promote_margin),
            promote_frauds=given.whole("PROMOTE_FRAUDS", default.learning.promote_frauds),
        )
        topics = Topics(
            transactions=given.text("TOPIC_TRANSACTIONS", default.kafka.topics.transactions),
            labels=given.text("TOPIC_LABELS", default.kafka.topics.labels),
            decisions=given.text("TOPIC_DECISIONS", default.kafka.topics.decisions),
            alerts=given.text("TOPIC_ALERTS", default.kafka.topics.alerts),
            dead_letters=given.text("TOPIC_DEAD_LETTERS", default.kafka.topics.dead_letters),
        )
        kafka = Kafka(
            brokers=given.brokers("KAFKA_BROKERS"),
            config=given.kafka_config("KAFKA_CONFIG"),
            topics=topics,
            start=given.text("KAFKA_START", default.kafka.start),
            slots=given.whole("KAFKA_SLOTS", default.kafka.slots),
        )
        monitoring = Monitoring(
            metrics_port=given.whole("METRICS_PORT", 0) or None,
            metrics_host=given.text("METRICS_HOST", default.monitoring.metrics_host),
            log_level=given.text("LOG_LEVEL", default.monitoring.log_level).lower(),
            log_format=given.text("LOG_FORMAT", default.monitoring.log_format).lower(),
            traces_url=given.http_url("TRACES_URL"),
            traces_share=given.number("TRACES_SHARE", default.monitoring.traces_share),
        )
        kept = default.retention
        score_days = given.whole("RETENTION_SCORE_DAYS", kept.score_days)
        retention = Retention(
            score_days=score_days,
            dead_letter_days=given.whole("RETENTION_DEAD_LETTER_DAYS", kept.dead_letter_days),
            model_metric_days=given.whole("RETENTION_MODEL_METRIC_DAYS", kept.model_metric_days),
            audit_days=given.whole("RETENTION_AUDIT_DAYS", kept.audit_days),
            inbox_days=given.whole("RETENTION_INBOX_DAYS", kept.inbox_days),
            # Who keeps decisions longer wants to see them counted.
            count_days=given.whole("RETENTION_COUNT_DAYS", score_days),
            event_days=given.whole("RETENTION_EVENT_DAYS", kept.event_days),
            compress_after_days=given.whole("COMPRESS_AFTER_DAYS", kept.compress_after_days),
        )
        access = Access(
            auth=given.switch("AUTH", default.access.auth),
            oidc_issuer=given.text("OIDC_ISSUER", "") or None,
            oidc_audience=given.text("OIDC_AUDIENCE", "") or None,
            oidc_roles_claim=given.text("OIDC_ROLES_CLAIM", default.access.oidc_roles_claim),
            rate_per_second=given.whole("RATE_PER_SECOND", default.access.rate_per_second),
            rate_burst=given.whole("RATE_BURST", default.access.rate_burst),
            proxies=given.networks("PROXIES"),
        )
        webhooks = Webhooks(
            deliver=given.switch("WEBHOOKS", default.webhooks.deliver),
            allow_private=given.switch("WEBHOOK_ALLOW_PRIVATE", default.webhooks.allow_private),
            secret_keys=given.secret_keys("SECRET_KEY"),
        )
        given.refuse_unknown()
        return cls(
            storage, flow, thresholds, learning, kafka, monitoring, retention, access, webhooks
        )


def _within(variable: str, value: float, low: float, high: float, unit: str = "") -> None:
    if not low <= value <= high:
        allowed = f"{low:g} to {high:g} {unit}".rstrip()
        raise SettingError(variable, f"is {value:.15g}: {allowed} is allowed")


def _days(variable: str, value: int) -> None:
    if not 0 <= value <= 36_500:
        raise SettingError(variable, f"is {value}: 1 to 36500 days, or 0 for none, is allowed")


def _is_time(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).utcoffset() is not None
    except ValueError:
        return False


def _one_of(variable: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingError(variable, f"is {shown(value)}: one of {', '.join(allowed)} is allowed")
