"""Errors as `application/problem+json` (RFC 9457), the same everywhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api import kinds, routing
from api.cursors import CursorError
from api.kinds import Kind

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5
READ_ONLY = "the database role of the API may only read"


class Failed(HTTPException):
    """A problem as an exception. It is one of Starlette's, which middleware and dependencies may
    raise wherever they are."""

    def __init__(
        self, kind: Kind, detail: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(kind.status, detail, headers)
        self.kind = kind
        self.told = detail


class Invalid(Exception):
    """One thing wrong with a request, told as 422."""

    def __init__(self, source: str, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.fault = {"in": source, "field": field, "detail": detail}


def reply(
    kind: Kind,
    detail: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    **members: object,
) -> JSONResponse:
    """A problem as a response; further members are added to the body as they are."""
    body = {"type": kind.type, "title": kind.title, "status": kind.status}
    if detail is not None:
        body["detail"] = detail
    # Errors are as little to be kept by caches as what they stand for.
    told = {"Cache-Control": "no-store"}
    if kind.passes:
        told["Retry-After"] = str(RETRY_SECONDS)
    return JSONResponse(
        body | members, kind.status, told | dict(headers or {}), media_type=MEDIA_TYPE
    )


def missing(what: str) -> Failed:
    """To be raised where something asked for is not there."""
    return Failed(kinds.NOT_FOUND, f"no such {what}")


def invalid(errors: Sequence[Mapping[str, str]]) -> JSONResponse:
    """422 with each fault as {in, field, detail}."""
    detail = "; ".join(f"{fault['field']}: {fault['detail']}" for fault in errors)
    return reply(kinds.INVALID, detail, errors=list(errors))


def add(app: FastAPI) -> None:
    """Makes the application answer with problems."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(Invalid, _invalid)
    app.add_exception_handler(CursorError, _cursor)
    app.add_exception_handler(psycopg.OperationalError, _unavailable)
    app.add_exception_handler(psycopg.InterfaceError, _unavailable)
    app.add_exception_handler(psycopg.errors.InsufficientPrivilege, _forbidden)
    app.add_exception_handler(psycopg.errors.UndefinedTable, _schema)
    app.add_exception_handler(psycopg.errors.UndefinedColumn, _schema)


async def _http(request: Request, ex: Exception) -> JSONResponse:
    assert isinstance(ex, HTTPException)
    if isinstance(ex, Failed):
        return reply(ex.kind, ex.told, headers=ex.headers)
    if ex.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI's, of bytes that are not even text
        return invalid([{"in": "body", "field": "body", "detail": "not JSON"}])
    headers = dict(ex.headers or {})
    if ex.status_code == HTTPStatus.METHOD_NOT_ALLOWED:  # Starlette tells those of one route
        headers["Allow"] = ", ".join(routing.methods(request.app.routes, request.scope))
    phrase = HTTPStatus(ex.status_code).phrase
    kind = kinds.BY_STATUS.get(ex.status_code)
    if kind is None:  # of the framework, and of no kind that it is known to have
        log.error("an error of no kind: %s", ex.status_code)
        kind = Kind("internal", ex.status_code, phrase, "")
    return reply(kind, None if ex.detail == phrase else ex.detail, headers=headers)


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
    return reply(kinds.UNAVAILABLE, detail)


async def _forbidden(request: Request, ex: Exception) -> JSONResponse:
    return reply(kinds.READ_ONLY, READ_ONLY)


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
    return reply(kinds.SCHEMA, detail)
