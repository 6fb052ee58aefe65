"""The first key: where a database has none, nobody could be let in to make one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import psycopg
from anyio import to_thread

from api.context import Context
from tidegate import keys
from tidegate.access import Role
from tidegate.store import api_keys

log = logging.getLogger(__name__)

NAME = "first admin key"
ACTOR = "tidegate"
RETRY_SECONDS = 2.0


async def make(context: Context, tell: Callable[[str], None]) -> None:
    """Makes an admin's key if there is no key at all, and tells it, once; a database that is away
    or has no tables yet is waited for. Of several processes that start at once, one makes it."""
    while True:
        try:
            text = await to_thread.run_sync(_make, context)
        except psycopg.errors.InsufficientPrivilege:
            log.warning("no first key is made: the database role of the API may only read")
            return
        except psycopg.Error:  # away; or the schema is not there yet, as /readyz says
            await asyncio.sleep(RETRY_SECONDS)
            continue
        if text is not None:
            tell(text)
        return


def _make(context: Context) -> str | None:
    with context.pool.connection() as conn:
        if api_keys.has_any(conn):  # also where the API may only read
            return None
    key = keys.made()
    with context.writing() as conn:
        written = api_keys.make_first(conn, key, name=NAME, role=Role.ADMIN, actor=ACTOR)
    return None if written is None else key.text
