"""The one table of who may do what: each route, by method and path template, and what it needs.

What is not in here is refused for everybody. To add a route, add its line:
`tests/api/test_access.py` fails until it is there.
"""

from __future__ import annotations

from enum import Enum

from tidegate.access import Scope


class Open(Enum):
    """What needs no scope."""

    EVERYBODY = "everybody"  # without a key, too
    CALLERS = "callers"  # whoever is known


Need = Scope | Open

ROUTES: dict[tuple[str, str], Need] = {
    ("GET", "/healthz"): Open.EVERYBODY,
    ("GET", "/readyz"): Open.EVERYBODY,
    ("GET", "/metrics"): Open.EVERYBODY,  # numbers of the process, without any id
    ("GET", "/openapi.json"): Open.EVERYBODY,
    ("GET", "/static"): Open.EVERYBODY,
    ("GET", "/problems/{name}"): Open.EVERYBODY,
    ("GET", "/login"): Open.EVERYBODY,
    ("POST", "/login"): Open.EVERYBODY,
    ("GET", "/"): Scope.ALERTS_READ,
    ("GET", "/alerts"): Scope.ALERTS_READ,
    ("GET", "/alerts/{alert_id}"): Scope.ALERTS_READ,
    ("GET", "/models"): Scope.MODELS_READ,
    ("GET", "/stream"): Scope.STATS_READ,
    ("GET", "/v1/session"): Open.CALLERS,
    ("DELETE", "/v1/session"): Open.CALLERS,
    ("POST", "/v1/transactions"): Scope.TRANSACTIONS_WRITE,
    ("POST", "/v1/labels"): Scope.LABELS_WRITE,
    ("GET", "/v1/decisions"): Scope.DECISIONS_READ,
    ("GET", "/v1/decisions/{transaction_id:path}/replay"): Scope.DECISIONS_READ,
    ("GET", "/v1/decisions/{transaction_id:path}"): Scope.DECISIONS_LOOKUP,
    ("GET", "/v1/alerts"): Scope.ALERTS_READ,
    ("GET", "/v1/alerts/stream"): Scope.ALERTS_READ,
    ("GET", "/v1/alerts/export"): Scope.ALERTS_READ,
    ("GET", "/v1/alerts/{alert_id}"): Scope.ALERTS_READ,
    ("PATCH", "/v1/alerts/{alert_id}"): Scope.ALERTS_WRITE,
    ("GET", "/v1/alerts/{alert_id}/comments"): Scope.ALERTS_READ,
    ("POST", "/v1/alerts/{alert_id}/comments"): Scope.ALERTS_WRITE,
    ("POST", "/v1/alerts/{alert_id}/disposition"): Scope.ALERTS_WRITE,
    ("GET", "/v1/alerts/{alert_id}/similar"): Scope.ALERTS_READ,
    ("GET", "/v1/cases"): Scope.CASES_READ,
    ("GET", "/v1/cases/{case_id}"): Scope.CASES_READ,
    ("PATCH", "/v1/cases/{case_id}"): Scope.CASES_WRITE,
    ("GET", "/v1/cards/{card_token:path}"): Scope.CARDS_READ,
    ("GET", "/v1/terminals/{terminal_id:path}"): Scope.TERMINALS_READ,
    ("GET", "/v1/models"): Scope.MODELS_READ,
    ("GET", "/v1/models/{name}"): Scope.MODELS_READ,
    ("POST", "/v1/models/{name}/promote"): Scope.MODELS_PROMOTE,
    ("POST", "/v1/promotions/rollback"): Scope.MODELS_PROMOTE,
    ("GET", "/v1/promotions"): Scope.MODELS_READ,
    ("GET", "/v1/stats"): Scope.STATS_READ,
    ("GET", "/v1/traffic"): Scope.STATS_READ,
    ("GET", "/v1/traffic/terminals"): Scope.TERMINALS_READ,
    ("GET", "/v1/dead-letters"): Scope.DEAD_LETTERS_READ,
    ("POST", "/v1/dead-letters/{dead_letter_id}/replay"): Scope.DEAD_LETTERS_REPLAY,
    ("GET", "/v1/audit"): Scope.AUDIT_READ,
    ("GET", "/v1/webhooks"): Scope.WEBHOOKS_ADMIN,
    ("POST", "/v1/webhooks"): Scope.WEBHOOKS_ADMIN,
    ("GET", "/v1/webhooks/{webhook_id}"): Scope.WEBHOOKS_ADMIN,
    ("PATCH", "/v1/webhooks/{webhook_id}"): Scope.WEBHOOKS_ADMIN,
    ("DELETE", "/v1/webhooks/{webhook_id}"): Scope.WEBHOOKS_ADMIN,
    ("POST", "/v1/webhooks/{webhook_id}/rotate"): Scope.WEBHOOKS_ADMIN,
    ("GET", "/v1/webhooks/{webhook_id}/deliveries"): Scope.WEBHOOKS_ADMIN,
    ("POST", "/v1/webhooks/{webhook_id}/test"): Scope.WEBHOOKS_ADMIN,
    ("POST", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver"): Scope.WEBHOOKS_ADMIN,
}


def need(method: str, path: str) -> Need | None:
    """What a route needs; None: nobody may call it. HEAD is GET without the body."""
    return ROUTES.get(("GET" if method == "HEAD" else method, path))


def is_page(path: str) -> bool:
    """Whether a route is a page, which leads to the login instead of answering with an error."""
    return not path.startswith("/v1/")
