"""Errors as `application/problem+json` (RFC 9457), the same everywhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from api.cursors import CursorError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5
READ_ONLY = "the database role of the API may only read"


class Fault(BaseModel):
    """One thing wrong with a request."""

    source: str = Field(alias="in", description="`query`, `path`, `header` or `body`")
    field: str
    detail: str


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    errors: list[Fault] | None = Field(None, description="with status 422: each fault")


Responses = dict[int | str, dict[str, Any]]

NOT_FOUND: Responses = {404: {"model": Problem, "description": "There is no such thing."}}
INVALID: Responses = {
    422: {"model": Problem, "description": "A parameter is wrong; `errors` names it."}
}
UNAVAILABLE: Responses = {503: {"model": Problem, "description": "The database does not answer."}}
LISTED: Responses = {**INVALID, **UNAVAILABLE}
CHANGED: Responses = {
    403: {"model": Problem, "description": "The database lets the API only read."},
    413: {"model": Problem, "description": "The body is too large."},
    415: {"model": Problem, "description": "The body is not declared as JSON."},
}
REPLAYED: Responses = {
    **NOT_FOUND,
    **CHANGED,
    409: {"model": Problem, "description": "It was replayed already, or cannot be."},
    422: {"model": Problem, "description": "The corrected message is bad; `errors` says why."},
    503: {"model": Problem, "description": "The database or Kafka does not answer, or is not set."},
}
ROLLED_BACK: Responses = {
    **CHANGED,
    409: {"model": Problem, "description": "Nothing is to be taken back, or cannot be."},
    422: {"model": Problem, "description": "The body is wrong; `errors` says why."},
    **UNAVAILABLE,
}
PROMOTED: Responses = {
    **NOT_FOUND,
    **ROLLED_BACK,
    409: {"model": Problem, "description": "It cannot serve, or serves already."},
}
_BUSY: Responses = {
    503: {"model": Problem, "description": "Too much waits, or the database is away."}
}
LABELLED: Responses = {
    403: {"model": Problem, "description": "The database lets the API only read."},
    413: {"model": Problem, "description": "The body is too large."},
    415: {"model": Problem, "description": "The body is not declared as JSON."},
    422: {"model": Problem, "description": "The contract is broken; `errors` says where."},
    **_BUSY,
}
TAKEN: Responses = {
    **LABELLED,
    409: {"model": Problem, "description": "An id was used before, for another payment."},
}
FETCHED: Responses = {**NOT_FOUND, **INVALID, **UNAVAILABLE}
COMMENTED: Responses = {
    **NOT_FOUND,
    **CHANGED,
    422: {"model": Problem, "description": "The body is wrong; `errors` says why."},
    **UNAVAILABLE,
}
WORKED: Responses = {
    **COMMENTED,
    412: {"model": Problem, "description": "It was changed meanwhile; `ETag` is the one of now."},
    422: {"model": Problem, "description": "It cannot be like that; `errors` says why."},
    428: {"model": Problem, "description": "`If-Match` is missing."},
}
MADE_AGAIN: Responses = {
    **FETCHED,
    409: {"model": Problem, "description": "One of its versions is missing or damaged."},
}


def reply(
    status: int,
    detail: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    **members: object,
) -> JSONResponse:
    """A problem as a response; further members are added to the body as they are."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail is not None:
        body["detail"] = detail
    # Errors are as little to be kept by caches as what they stand for.
    headers = {"Cache-Control": "no-store", **(headers or {})}
    return JSONResponse(body | members, status, headers, media_type=MEDIA_TYPE)


class Invalid(Exception):
    """One thing wrong with a request, told as 422."""

    def __init__(self, source: str, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.fault = {"in": source, "field": field, "detail": detail}


def later(detail: str) -> JSONResponse:
    """503 for what passes by itself."""
    return reply(503, detail, headers={"Retry-After": str(RETRY_SECONDS)})


def missing(what: str) -> HTTPException:
    """To be raised where something asked for is not there."""
    return HTTPException(HTTPStatus.NOT_FOUND, f"no such {what}")


def invalid(errors: Sequence[Mapping[str, str]]) -> JSONResponse:
    """422 with each fault as {in, field, detail}."""
    detail = "; ".join(f"{fault['field']}: {fault['detail']}" for fault in errors)
    return reply(422, detail, errors=list(errors))


def add(app: FastAPI) -> None:
    """Makes the application answer with problems, and its OpenAPI say so."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(Invalid, _invalid)
    app.add_exception_handler(CursorError, _cursor)
    app.add_exception_handler(psycopg.OperationalError, _unavailable)
    app.add_exception_handler(psycopg.InterfaceError, _unavailable)
    app.add_exception_handler(psycopg.errors.InsufficientPrivilege, _forbidden)
    app.add_exception_handler(psycopg.errors.UndefinedTable, _schema)
    app.add_exception_handler(psycopg.errors.UndefinedColumn, _schema)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _openapi(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


async def _http(request: Request, ex: Exception) -> JSONResponse:
    assert isinstance(ex, HTTPException)
    phrase = HTTPStatus(ex.status_code).phrase
    detail = None if ex.detail == phrase else ex.detail
    return reply(ex.status_code, detail, headers=ex.headers)


async def _validation(request: Request, ex: Exception) -> JSONResponse:
    assert isinstance(ex, RequestValidationError)
    return invalid([_fault(error) for error in ex.errors()])


def _fault(error: Mapping[str, Any]) -> dict[str, str]:
    # The value at fault is left out: it may be a card number.
    where, *path = [str(part) for part in error["loc"]] or ["request"]
    return {"in": where, "field": ".".join(path)[:64] or where, "detail": str(error["msg"])}


async def _invalid(request: Request, ex: Exception) -> JSONResponse:
    assert isinstance(ex, Invalid)
    return invalid([ex.fault])


async def _cursor(request: Request, ex: Exception) -> JSONResponse:
    return invalid([{"in": "query", "field": "after", "detail": str(ex)}])


async def _unavailable(request: Request, ex: Exception) -> JSONResponse:
    return _away(ex)


def _away(ex: Exception) -> JSONResponse:
    log.warning("database: %s", type(ex).__name__)
    detail = "the database does not answer"
    if isinstance(ex, psycopg.errors.QueryCanceled):
        detail = "the database took too long to answer"
    return reply(503, detail, headers={"Retry-After": str(RETRY_SECONDS)})


async def _forbidden(request: Request, ex: Exception) -> JSONResponse:
    return reply(403, READ_ONLY)


def of_database(ex: psycopg.Error) -> JSONResponse:
    """The answer where the database failed before any route was reached. Raises what is no such
    failure."""
    if isinstance(ex, psycopg.OperationalError | psycopg.InterfaceError):
        return _away(ex)
    if isinstance(ex, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return _no_table()
    raise ex


async def _schema(request: Request, ex: Exception) -> JSONResponse:
    return _no_table()


def _no_table() -> JSONResponse:
    detail = "the database lacks a table or column: run `tidegate migrate`"
    return reply(503, detail, headers={"Retry-After": str(RETRY_SECONDS)})


def _openapi(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes
    )
    for operations in schema["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status >= "400" and "content" in response:
                    content = response["content"].pop("application/json")
                    response["content"][MEDIA_TYPE] = content
    return schema
