"""What the OpenAPI says of errors: which kinds each operation may answer with, and as what."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

from api import kinds
from api.kinds import Kind
from api.problems import MEDIA_TYPE

Responses = dict[int | str, dict[str, Any]]


class Fault(BaseModel):
    """One thing wrong with a request."""

    source: str = Field(alias="in", description="`query`, `path`, `header` or `body`")
    field: str
    detail: str


class Problem(BaseModel):
    """What went wrong (RFC 9457). `type` tells the kinds apart, and leads to what it means."""

    type: str = Field(examples=[kind.type for kind in kinds.KINDS.values()])
    title: str
    status: int
    detail: str | None = None
    errors: list[Fault] | None = Field(None, description="with status 422: each fault")


def told(*found: Kind) -> Responses:
    """The answers of these kinds, for a route's description."""
    answers: Responses = {}
    for kind in found:
        _add(answers.setdefault(kind.status, {"model": Problem}), kind)
    return answers


def extend(operation: dict[str, Any], *found: Kind) -> None:
    """The same for an operation of an OpenAPI, in which these kinds may be named already."""
    schema = {"$ref": "#/components/schemas/Problem"}
    for kind in found:
        answer = operation["responses"].setdefault(str(kind.status), {})
        _add(answer, kind)
        answer["content"][MEDIA_TYPE]["schema"] = schema


def _add(answer: dict[str, Any], kind: Kind) -> None:
    examples = answer.setdefault("content", {}).setdefault(MEDIA_TYPE, {"examples": {}})["examples"]
    if kind.name not in examples:
        examples[kind.name] = {"summary": kind.title, "value": _example(kind)}
        answer["description"] = f"{answer.get('description', '')} {kind.title}.".strip()


def _example(kind: Kind) -> dict[str, Any]:
    body: dict[str, Any] = {"type": kind.type, "title": kind.title, "status": kind.status}
    if kind is kinds.INVALID:
        fault = {"in": "query", "field": "limit", "detail": "Input should be greater than 0"}
        body |= {"detail": "limit: Input should be greater than 0", "errors": [fault]}
    return body


UNAVAILABLE = told(kinds.UNAVAILABLE, kinds.SCHEMA)
LISTED = told(kinds.INVALID, kinds.UNAVAILABLE, kinds.SCHEMA)
FETCHED = {**told(kinds.NOT_FOUND), **LISTED}
# What every route with a body may answer.
SENT = {
    **told(kinds.READ_ONLY, kinds.TOO_SLOW, kinds.TOO_LARGE, kinds.MEDIA_TYPE),
    **LISTED,
}
CHANGED = {**told(kinds.NOT_FOUND), **SENT}
MATCHED = {**told(kinds.CHANGED, kinds.MATCH_MISSING), **CHANGED}


def add(app: FastAPI) -> None:
    """Makes the application's OpenAPI say that errors are problems."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _openapi(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _openapi(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes
    )
    for operations in schema["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                # Optional to FastAPI, so that its absence is answered with 428.
                if parameter["name"] == "if-match" and "428" in operation["responses"]:
                    parameter["required"] = True
            for status, response in operation["responses"].items():
                if status >= "400" and "content" in response:
                    # FastAPI puts the model there, beside our examples.
                    plain = response["content"].pop("application/json", {})
                    response["content"].setdefault(MEDIA_TYPE, {}).update(plain)
    return schema
