from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest

from tidegate.settings import (
    Learning,
    Monitoring,
    Retention,
    SettingError,
    Settings,
    Thresholds,
    Webhooks,
    masked_url,
)

KEY, OTHER_KEY = (b64encode(bytes([number]) * 32).decode() for number in (7, 8))


def refusal(**env: str) -> str:
    """What `from_environ` says of these variables, given without their prefix."""
    with pytest.raises(SettingError) as caught:
        Settings.from_environ({f"TIDEGATE_{name}": value for name, value in env.items()})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_empty_environment_gives_the_defaults_of_the_demo() -> None:
    settings = Settings.from_environ({})
    here = Path.cwd()
    assert settings.storage.database_url is None
    assert settings.storage.data_dir == here / ".tidegate"
    assert settings.storage.recovery_dir == here / ".tidegate" / "recovery"
    assert (settings.flow.snapshot_seconds, settings.flow.shards, settings.flow.workers) == (
        10.0,
        4,
        1,
    )
    assert settings.thresholds == Thresholds(0.3, 0.9, 20)
    assert settings.learning.maturity == 7 * 86_400_000_000
    assert settings.kafka.brokers == ()
    assert settings.kafka.topics.dead_letters == "dead-letters"
    assert settings.monitoring.metrics_port is None


def test_every_variable_reaches_its_setting(tmp_path: Path) -> None:
    settings = Settings.from_environ(
        {
            "TIDEGATE_DATABASE_URL": "postgresql://someone:secret@db:5432/tidegate",
            "TIDEGATE_DATA_DIR": str(tmp_path),
            "TIDEGATE_RECOVERY_DIR": str(tmp_path / "elsewhere"),
            "TIDEGATE_SNAPSHOT_SECONDS": "0.5",
            "TIDEGATE_SHARDS": "8",
            "TIDEGATE_WORKERS": "2",
            "TIDEGATE_REVIEW_THRESHOLD": "0.25",
            "TIDEGATE_DECLINE_THRESHOLD": "1",
            "TIDEGATE_CONTROL_ONE_IN": "50",
            "TIDEGATE_MATURITY_DAYS": "0.5",
            "TIDEGATE_CHALLENGERS": "quick, logistic,,quick",
            "TIDEGATE_PROMOTE_AUTOMATICALLY": "True",
            "TIDEGATE_PROMOTE_MARGIN": "0.05",
            "TIDEGATE_PROMOTE_FRAUDS": "300",
            "TIDEGATE_KAFKA_BROKERS": "a:9092, SASL_SSL://b.example:9093,[::1]:9094",
            "TIDEGATE_KAFKA_CONFIG": '{"sasl.password": "p", "enable.idempotence": true, "x": 5}',
            "TIDEGATE_TOPIC_TRANSACTIONS": "t",
            "TIDEGATE_TOPIC_LABELS": "l",
            "TIDEGATE_TOPIC_DECISIONS": "d",
            "TIDEGATE_TOPIC_ALERTS": "a",
            "TIDEGATE_TOPIC_DEAD_LETTERS": "dl",
            "TIDEGATE_RETENTION_SCORE_DAYS": "100",
            "TIDEGATE_RETENTION_DEAD_LETTER_DAYS": "20",
            "TIDEGATE_RETENTION_MODEL_METRIC_DAYS": "30",
            "TIDEGATE_RETENTION_AUDIT_DAYS": "3650",
            "TIDEGATE_RETENTION_INBOX_DAYS": "9",
            "TIDEGATE_RETENTION_COUNT_DAYS": "31",
            "TIDEGATE_RETENTION_EVENT_DAYS": "5",
            "TIDEGATE_COMPRESS_AFTER_DAYS": "2",
            "TIDEGATE_WEBHOOKS": "off",
            "TIDEGATE_WEBHOOK_ALLOW_PRIVATE": "true",
            "TIDEGATE_SECRET_KEY": f"{KEY}, {OTHER_KEY}",
            "TIDEGATE_METRICS_PORT": "9100",
            "TIDEGATE_METRICS_HOST": "0.0.0.0",
            "TIDEGATE_LOG_LEVEL": "WARNING",
            "TIDEGATE_LOG_FORMAT": "json",
            "TIDEGATE_TRACES_URL": "https://collector:4318/v1/traces",
            "TIDEGATE_TRACES_SHARE": "0.5",
            "HOME": "/somewhere",
        }
    )
    assert settings.storage.database_url == "postgresql://someone:secret@db:5432/tidegate"
    assert settings.storage.data_dir == tmp_path
    assert settings.storage.recovery_dir == tmp_path / "elsewhere"
    assert (settings.flow.snapshot_seconds, settings.flow.shards, settings.flow.workers) == (
        0.5,
        8,
        2,
    )
    assert settings.thresholds == Thresholds(0.25, 1.0, 50)
    assert settings.learning == Learning(0.5, ("quick", "logistic"), True, 0.05, 300)
    assert settings.learning.maturity == 43_200_000_000
    assert settings.kafka.brokers == ("a:9092", "SASL_SSL://b.example:9093", "[::1]:9094")
    assert settings.kafka.config == {"sasl.password": "p", "enable.idempotence": "true", "x": "5"}
    topics = settings.kafka.topics
    assert (topics.transactions, topics.labels, topics.decisions) == ("t", "l", "d")
    assert (topics.alerts, topics.dead_letters) == ("a", "dl")
    traces = "https://collector:4318/v1/traces"
    assert settings.monitoring == Monitoring(9100, "0.0.0.0", "warning", "json", traces, 0.5)
    assert settings.retention == Retention(100, 20, 30, 3650, 31, 5, 9, 2)
    assert settings.webhooks == Webhooks(False, True, (KEY, OTHER_KEY))


def test_the_recovery_store_follows_the_data_directory(tmp_path: Path) -> None:
    settings = Settings.from_environ({"TIDEGATE_DATA_DIR": str(tmp_path)})
    assert settings.storage.recovery_dir == tmp_path / "recovery"


def test_an_empty_value_counts_as_not_set() -> None:
    empty = {"TIDEGATE_SHARDS": "", "TIDEGATE_DATABASE_URL": " ", "TIDEGATE_TOPIC_LABELS": ""}
    assert Settings.from_environ(empty) == Settings.from_environ({})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SNAPSHOT_SECONDS", "0.09", "is 0.09: 0.1 to 3600 seconds is allowed"),
        ("SNAPSHOT_SECONDS", "3601", "is 3601: 0.1 to 3600 seconds is allowed"),
        ("SNAPSHOT_SECONDS", "nan", "is 'nan': a number is needed"),
        ("SNAPSHOT_SECONDS", "1e999", "is '1e999': a number is needed"),
        ("SHARDS", "0", "is 0: 1 to 64 is allowed"),
        ("SHARDS", "65", "is 65: 1 to 64 is allowed"),
        ("SHARDS", "4.0", "is '4.0': a whole number is needed"),
        ("SHARDS", "٤", "is '٤': a whole number is needed"),
        ("WORKERS", "99", "is 99: 1 to 64 is allowed"),
        ("WORKERS", "5", "is 5: at most as many as shards (TIDEGATE_SHARDS is 4)"),
        ("REVIEW_THRESHOLD", "0", "is 0: above 0 and at most 1 is allowed"),
        ("DECLINE_THRESHOLD", "1.01", "is 1.01: above 0 and at most 1 is allowed"),
        ("REVIEW_THRESHOLD", "0.95", "is 0.95: at most TIDEGATE_DECLINE_THRESHOLD, 0.9, is"),
        ("CONTROL_ONE_IN", "-1", "is -1: 0 to 1e+06 is allowed"),
        ("PROMOTE_AUTOMATICALLY", "yes please", "is 'yes please': true or false is allowed"),
        ("PROMOTE_MARGIN", "1.5", "is 1.5: 0 to 1 is allowed"),
        ("PROMOTE_FRAUDS", "0", "is 0: 1 to 1e+06 is allowed"),
        ("MATURITY_DAYS", "0.03", "is 0.03: 0.04 to 90 days is allowed"),
        ("RETENTION_AUDIT_DAYS", "-1", "is -1: 1 to 36500 days, or 0 for none, is allowed"),
        ("RETENTION_EVENT_DAYS", "3", "is 3: 4 or more, or 0 for ever, is allowed"),
        ("WEBHOOKS", "maybe", "is 'maybe': true or false is allowed"),
        (
            *("RETENTION_SCORE_DAYS", "29"),
            "is 29: 30 or more, or 0 for ever, is allowed",
        ),
        (
            *("RETENTION_COUNT_DAYS", "7"),
            "is 7: 30 or more, or 0 for ever, is allowed",
        ),
        (
            *("RETENTION_SCORE_DAYS", "14"),
            "is 14: more than TIDEGATE_COMPRESS_AFTER_DAYS, 14, or 0 for ever, is allowed",
        ),
        (
            *("COMPRESS_AFTER_DAYS", "7"),
            "is 7: more than TIDEGATE_MATURITY_DAYS, 7, or 0 for never, is allowed",
        ),
        ("METRICS_PORT", "65536", "is 65536: 1 to 65535, or 0 for none, is allowed"),
        ("METRICS_PORT", "-1", "is -1: 1 to 65535, or 0 for none, is allowed"),
        ("LOG_LEVEL", "loud", "is 'loud': one of debug, info, warning, error is allowed"),
        ("LOG_FORMAT", "xml", "is 'xml': one of auto, text, json is allowed"),
        ("TRACES_URL", "collector:4318", "is not shown (14 characters): http:// or https://"),
        ("TRACES_URL", "grpc://collector", "is grpc://collector: http:// or https://, a host"),
        ("TRACES_URL", "http://me:word@collector", "is http://me:***@collector: http:// or"),
        ("TRACES_URL", "http://collector:x", "is http://collector:x: http:// or https://"),
        ("TRACES_SHARE", "1.5", "is 1.5: 0 to 1 is allowed"),
        ("KAFKA_BROKERS", "a:9092,,b:9092", "has '': host:port, separated by commas, is needed"),
        ("KAFKA_BROKERS", "a:0", "has 'a:0': host:port, separated by commas, is needed"),
        ("KAFKA_BROKERS", "a b", "has 'a b': host:port, separated by commas, is needed"),
        ("PROXIES", "10.0.0.0/8,10.1.2.3/8", "has '10.1.2.3/8': networks such as 10.0.0.0/8"),
        ("PROXIES", "*", "has '*': networks such as 10.0.0.0/8, separated by commas, are needed"),
        ("TOPIC_LABELS", "a topic", "is 'a topic': 1 to 249 letters"),
        ("TOPIC_LABELS", "..", "is '..': 1 to 249 letters"),
        ("TOPIC_ALERTS", "labels", "is 'labels': TIDEGATE_TOPIC_LABELS has that topic already"),
    ],
)
def test_a_wrong_value_is_refused_by_name_with_what_is_allowed(
    name: str, value: str, said: str
) -> None:
    assert refusal(**{name: value}).startswith(f"TIDEGATE_{name} {said}")


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("SNAPSHOT_SECONDS", "0.1", "3600"),
        ("SHARDS", "1", "64"),
        ("MATURITY_DAYS", "0.04", "90"),
        ("METRICS_PORT", "0", "65535"),
    ],
)
def test_the_bounds_themselves_are_allowed(name: str, low: str, high: str) -> None:
    for value in (low, high):
        Settings.from_environ({f"TIDEGATE_{name}": value, "TIDEGATE_COMPRESS_AFTER_DAYS": "0"})


def test_equal_thresholds_are_allowed() -> None:
    settings = Settings.from_environ(
        {"TIDEGATE_REVIEW_THRESHOLD": "0.5", "TIDEGATE_DECLINE_THRESHOLD": "0.5"}
    )
    assert settings.thresholds.review == settings.thresholds.decline == 0.5


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("SHARD", "SHARDS"),
        ("DATABSE_URL", "DATABASE_URL"),
        ("KAFKA_BROKER", "KAFKA_BROKERS"),
        ("TOPIC_DEADLETTERS", "TOPIC_DEAD_LETTERS"),
        ("SNAPSHOT_SECS", "SNAPSHOT_SECONDS"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest_one_and_without_its_value(
    wrong: str, nearest: str
) -> None:
    said = refusal(**{wrong: "hunter2"})
    assert said == f"TIDEGATE_{wrong} is no setting; the nearest one is TIDEGATE_{nearest}"


def test_variables_of_kubernetes_services_and_of_the_tests_are_left_alone() -> None:
    Settings.from_environ(
        {
            "TIDEGATE_SERVICE_HOST": "10.0.0.1",
            "TIDEGATE_SERVICE_PORT_HTTP": "8000",
            "TIDEGATE_PORT": "tcp://10.0.0.1:8000",
            "TIDEGATE_PORT_8000_TCP_ADDR": "10.0.0.1",
            "TIDEGATE_API_PORT_8000_TCP": "tcp://10.0.0.1:8000",
            "TIDEGATE_REQUIRE": "all",
            "TIDEGATE_TEST_ANYTHING": "1",
        }
    )
    assert refusal(PORT="8000").startswith("TIDEGATE_PORT is no setting")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://someone:hunter2@db/tidegate",
        "postgresql://someone:hunter2@db/with space",
        "postgres:someone:hunter2@db",
        "host=db password=hunter2",
        "hunter2",
        "postgresql://someone:hun@ter2/x@db /y",
        "http://db/x?user=a&password=hunter2&sslmode=require",
    ],
)
def test_a_refused_database_url_never_shows_its_password(url: str) -> None:
    said = refusal(DATABASE_URL=url)
    assert said.startswith("TIDEGATE_DATABASE_URL is ")
    assert said.endswith("a URL that begins with postgresql:// is needed")
    assert "hunter2" not in said
    assert "ter2" not in said


def test_a_masked_url_still_tells_where_it_leads() -> None:
    assert (
        masked_url("postgresql://someone:secret@db:5432/tidegate?sslmode=require")
        == "postgresql://someone:***@db:5432/tidegate?sslmode=require"
    )
    assert masked_url("postgresql:///x?host=/run/pg") == "postgresql:///x?host=/run/pg"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            '{"sasl.password": "hunter2"',
            "is not JSON (Expecting ',' delimiter at line 1 column 28)",
        ),
        ('["hunter2"]', "is not a JSON object of librdkafka's properties"),
        ('{"sasl.password": ["hunter2"]}', "has a 'sasl.password' that is neither text, a number"),
        ('{"sasl.password": null}', "has a 'sasl.password' that is neither text, a number"),
        ('{"bootstrap.servers": "a:1"}', "has bootstrap.servers: use TIDEGATE_KAFKA_BROKERS"),
    ],
)
def test_a_refused_kafka_config_never_shows_its_values(config: str, said: str) -> None:
    message = refusal(KAFKA_CONFIG=config)
    assert message.startswith(f"TIDEGATE_KAFKA_CONFIG {said}")
    assert "hunter2" not in message


def test_brokers_with_a_password_are_refused_without_it() -> None:
    assert "hunter2" not in refusal(KAFKA_BROKERS="someone:hunter2@a:9092")


@pytest.mark.parametrize(
    "key", ["hunter2", "hunter2" * 6 + "==", "hunter2\u00e9", f"{KEY},hunter2"]
)
def test_a_refused_key_is_not_shown(key: str) -> None:
    said = refusal(SECRET_KEY=key)
    number = 2 if "," in key else 1
    assert said.startswith(f"TIDEGATE_SECRET_KEY has a key, number {number}, that is not 32 bytes")
    assert "hunter2" not in said
    assert KEY not in said


def test_printing_the_settings_shows_no_secret() -> None:
    settings = Settings.from_environ(
        {
            "TIDEGATE_DATABASE_URL": "postgresql://someone:hunter2@db/tidegate",
            "TIDEGATE_KAFKA_CONFIG": '{"sasl.password": "hunter2"}',
            "TIDEGATE_SECRET_KEY": KEY,
        }
    )
    assert "hunter2" not in repr(settings)
    assert KEY not in repr(settings)


def test_a_long_or_wild_value_is_shown_short_and_on_one_line() -> None:
    said = refusal(SHARDS="7\n\x1b[31m" + "9" * 500)
    assert len(said) < 160
    assert said.isprintable()


def test_changing_a_setting_checks_it_too() -> None:
    flow = Settings.from_environ({}).flow
    assert replace(flow, workers=2).workers == 2
    with pytest.raises(SettingError, match="TIDEGATE_WORKERS is 0: 1 to 64 is allowed"):
        replace(flow, workers=0)


def test_counts_are_kept_as_long_as_decisions_unless_told() -> None:
    settings = Settings.from_environ({"TIDEGATE_RETENTION_SCORE_DAYS": "0"})
    assert settings.retention.count_days == 0


def test_a_payment_is_kept_and_not_compressed_until_it_is_mature() -> None:
    assert refusal(MATURITY_DAYS="14") == (
        "TIDEGATE_COMPRESS_AFTER_DAYS is 14: more than TIDEGATE_MATURITY_DAYS, 14, or 0 for never, "
        "is allowed"
    )
    said = refusal(MATURITY_DAYS="30.5", COMPRESS_AFTER_DAYS="0", RETENTION_SCORE_DAYS="30")
    assert said.startswith("TIDEGATE_RETENTION_SCORE_DAYS is 30: more than TIDEGATE_MATURITY_DAYS")
    for allowed in ("0", "31"):
        Settings.from_environ(
            {
                "TIDEGATE_MATURITY_DAYS": "30.5",
                "TIDEGATE_COMPRESS_AFTER_DAYS": allowed,
                "TIDEGATE_RETENTION_SCORE_DAYS": "32",
            }
        )
