import re

from prometheus_client.parser import text_string_to_metric_families

from tidegate import metrics
from tidegate.schema import Reason

CONTRACT = {
    "tidegate_transactions_total": {"outcome"},
    "tidegate_scoring_latency_seconds_bucket": {"le"},
    "tidegate_dead_letters_total": {"reason"},
    "tidegate_consumer_lag": {"topic", "partition"},
    "tidegate_labels_total": {"source"},
    "tidegate_model_average_precision": {"model"},
    "tidegate_snapshot_seconds_bucket": {"le"},
    "tidegate_score_bucket": {"le"},
}


def samples(text: str) -> dict[str, set[str]]:
    """The names of all samples, with the names of their labels."""
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_metrics_others_rely_on_are_shown_with_their_labels() -> None:
    metrics.CONSUMER_LAG.labels("transactions", "0").set(5)
    metrics.MODEL_AVERAGE_PRECISION.labels("champion").set(0.7)
    body, content_type = metrics.exposition()
    shown = samples(body.decode())
    assert content_type.startswith("text/plain")
    assert {name: shown[name] for name in CONTRACT} == CONTRACT


def test_every_metric_has_our_prefix_a_help_and_its_base_unit() -> None:
    for family in metrics.REGISTRY.collect():
        assert re.match(r"(tidegate|process)_", family.name)
        assert family.documentation
        assert not re.search(r"_(ms|millis|micros|minutes|kb|mb)$", family.name)
        if family.unit:
            assert family.name.endswith(f"_{family.unit}")


def test_series_of_closed_lists_are_there_before_their_first_event() -> None:
    shown = metrics.exposition()[0].decode()
    for reason in Reason:
        assert f'tidegate_dead_letters_total{{reason="{reason}"}}' in shown
    for outcome in ("approve", "review", "decline"):
        assert f'tidegate_transactions_total{{outcome="{outcome}"}}' in shown
    for source in ("chargeback", "issuer", "customer", "analyst"):
        assert f'tidegate_labels_total{{source="{source}"}}' in shown


def test_no_series_tells_only_when_it_was_made() -> None:
    assert "_created" not in metrics.exposition()[0].decode()
