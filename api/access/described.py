"""The OpenAPI says what each operation needs, and what it answers to who may not."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from api import declared, kinds
from api.access import policy
from api.access.policy import Open

SCHEMES: dict[str, Any] = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key, `tg_<prefix>_<secret>`, or a token (JWT) of the OpenID issuer.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-tidegate",
        "description": "Of the pages, after the login; `tidegate` on plain http of this machine."
        " Changes need `X-CSRF-Token` too: `GET /v1/session` tells it.",
    },
}


def add(app: FastAPI) -> None:
    """Makes the application's OpenAPI say so."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _describe(plain())  # which the application keeps
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _describe(schema: dict[str, Any]) -> None:
    schema.setdefault("components", {})["securitySchemes"] = SCHEMES
    # FastAPI writes `{id:path}` as `{id}`.
    needs = {
        (method.lower(), path.replace(":path}", "}")): need
        for (method, path), need in policy.ROUTES.items()
    }
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            need = needs.get((method, path))
            if need is Open.EVERYBODY:
                operation["security"] = []
                declared.extend(operation, kinds.TOO_MANY)
                continue
            names = [] if need is None or isinstance(need, Open) else [need.value]
            operation["security"] = [{"key": names}, {"session": names}]
            if names:
                said = f"Needs the scope `{names[0]}`."
                operation["description"] = f"{operation.get('description', '')}\n\n{said}".strip()
            declared.extend(
                operation, kinds.UNAUTHENTICATED, kinds.FORBIDDEN, kinds.TOO_MANY, kinds.UNAVAILABLE
            )
