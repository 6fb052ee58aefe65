"""The API against its own OpenAPI: every operation is asked what its description allows, and what
it does not, and is held to what the description says of the answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.config import SchemathesisConfig

import migrations
from api import create_app
from api.access import credentials
from tests import databases
from tests.api import rows
from tests.api.conftest import served
from tests.api.keys import ADMIN_KEY, bearer, put_admin_key
from tests.remade import put_made, put_versions
from tidegate.settings import Access, Webhooks
from tidegate.store.release import Release

CONFIG = {
    # The same requests each time: what is found by chance is found again.
    "auth": {"openapi": {"key": {"bearer": ADMIN_KEY}}},
    "generation": {"deterministic": True},
    "checks": {
        # 412: a request may be right and its ETag an old one.
        "positive_data_acceptance": {
            "expected-statuses": ["2xx", "3xx", "401", "403", "404", "409", "412", "429"]
        },
        "missing_required_header": {"expected-statuses": ["422", "428"]},
    },
    "operations": [
        {
            "include-path": "/v1/alerts/export",
            # Its address is that of an alert called `export`, too, which could be changed.
            "checks": {
                "unsupported_method": {"enabled": False},
                "allow_header_conformance": {"enabled": False},
            },
        }
    ],
}
# Payments are of the past, and of no year before 1970.
PAST = st.datetimes(datetime(1970, 1, 2), datetime(2026, 1, 1)).map(lambda at: f"{at.isoformat()}Z")
schemathesis.openapi.format("date-time", PAST)

APP = create_app("postgresql://nobody@/none?host=/nowhere")
SCHEMA = schemathesis.openapi.from_dict(
    APP.openapi(), config=SchemathesisConfig.from_dict(CONFIG)
).exclude(path="/v1/alerts/stream")  # it does not end; tests/api/test_alert_stream.py reads it


SETTINGS = settings(
    max_examples=15,
    stateful_step_count=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def address(postgres: str, _template: str) -> Iterator[str]:
    """An API over one of everything."""
    with databases.fresh(postgres, _template) as url, pytest.MonkeyPatch.context() as monkeypatch:
        put_admin_key(url)
        with psycopg.connect(url) as conn:
            _fill(conn)
        # Wrong credentials are refused each time, not slowed down.
        monkeypatch.setattr(credentials, "WRONG_BURST", 1_000_000)
        app = create_app(
            url,
            release=Release(migrations.head(), migrations.known()),
            access=Access(rate_per_second=1_000_000, rate_burst=1_000_000),
            hooks=Webhooks(deliver=False, allow_private=True),
        )
        with served(app) as address:
            yield address


def _fill(conn: psycopg.Connection) -> None:
    published = put_versions(conn)
    for number in range(3):
        alert_id = rows.put_alert(conn, number)
        rows.put_comment(conn, alert_id)
        rows.put_dead_letter(conn, number)
        rows.put_label(conn, f"t-{number}", number)
        put_made(conn, published, f"t-{number}", number)
        hook = rows.put_webhook(conn)
        rows.put_delivery(conn, hook, f"event-{number}")
    for name in ("champion", "quick"):
        rows.put_model(conn, name)
        rows.put_version(conn, f"{name}-1", 1, name=name)
        rows.put_metric(conn, "log_loss", 1, 0.25, name=name)
    rows.put_promotion(conn, "quick", "champion")


@pytest.fixture(scope="module")
def known(address: str) -> dict[str, Any]:
    """What there is, by the name of the parameter that asks for it."""
    with httpx.Client(base_url=address, headers=bearer(ADMIN_KEY)) as client:

        def first(path: str) -> dict[str, Any]:
            found: dict[str, Any] = client.get(path).raise_for_status().json()["data"][0]
            return found

        alert = first("/v1/alerts")
        hook = first("/v1/webhooks")["webhook_id"]
        return {
            "alert_id": alert["alert_id"],
            "card_token": alert["card_token"],
            "terminal_id": alert["terminal_id"],
            "case_id": first("/v1/cases")["case_id"],
            "transaction_id": first("/v1/decisions")["transaction_id"],
            "dead_letter_id": 2**62,  # of none: there is no Kafka here to send it to
            "name": first("/v1/models")["name"],
            "webhook_id": hook,
            "delivery_id": first(f"/v1/webhooks/{hook}/deliveries")["delivery_id"],
        }


def sensible(case: Case, known: dict[str, Any]) -> None:
    """Takes from a request that should be right what no description can rule out, and has it ask
    for what there is."""
    case.query.pop("after", None)  # comes from the page before, and cannot be made up
    if "since" in case.query and "until" in case.query:
        since = datetime.fromisoformat(case.query["since"]).astimezone(UTC)
        case.query["until"] = (since + timedelta(hours=1)).isoformat()
    if case.query.get("sort") == "amount":
        case.query.setdefault("currency", "EUR")  # amounts of several have no order
    case.body = _plain(case.body)
    case.headers.pop("idempotency-key", None)  # stands for one request
    for name in case.path_parameters:
        if name in known:
            case.path_parameters[name] = known[name]


def _plain(body: Any) -> Any:
    """The same with 1 for 1.0, which to JSON Schema is an integer, too; without attributes, of
    which the contract takes fewer than are generated; and to a host whose name can be one."""
    if isinstance(body, list):
        return [_plain(item) for item in body]
    if not isinstance(body, dict):
        return body
    if type(amount := body.get("amount_minor")) is float:
        body = body | {"amount_minor": int(amount)}
    if "url" in body:
        body = body | {"url": "https://hooks.example.com/a"}
    return {name: value for name, value in body.items() if name != "attributes"}


@SCHEMA.parametrize()
@SETTINGS
def test_an_operation_is_what_it_is_said_to_be(
    case: Case, address: str, known: dict[str, Any]
) -> None:
    if case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE:
        sensible(case, known)
    case.call_and_validate(base_url=address, timeout=30)


def test_operations_are_what_they_are_said_to_be_one_after_the_other(
    address: str, known: dict[str, Any]
) -> None:
    """What one answers with is what others are asked for: an alert that was listed is changed."""

    class Machine(SCHEMA.as_state_machine()):  # type: ignore[misc]
        def before_call(self, case: Case) -> None:
            super().before_call(case)
            if case.meta is None or case.meta.generation.mode is GenerationMode.POSITIVE:
                sensible(case, {"dead_letter_id": known["dead_letter_id"]})

        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"base_url": address, "timeout": 30}

    Machine.run(settings=SETTINGS)
