"""Whether the process lives, whether it can serve, and what it measured."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
from fastapi import APIRouter
from fastapi.responses import Response

from api import declared, kinds, problems
from api.context import Context, Ctx
from api.replies import AliveReply, CheckReply, ReadyReply
from tidegate import metrics
from tidegate.store import queries, release
from tidegate.store.release import Release, Schema

router = APIRouter(tags=["health"])

READY_SECONDS = 1.0  # probes wait no longer for a connection


# Asynchronous, so that it answers while every worker thread waits for the database.
@router.get("/healthz")
async def healthz() -> AliveReply:
    """The process answers; nothing else is asked."""
    return AliveReply(status="alive")


@router.get("/readyz", response_model=ReadyReply, responses=declared.UNAVAILABLE)
def readyz(context: Ctx) -> ReadyReply | Response:
    """Whether the database answers and has a schema that this release works with."""
    checks = _checks(context)
    wrong = [check.detail for check in checks if not check.ok]
    if wrong:
        return problems.reply(
            kinds.UNAVAILABLE, "; ".join(wrong), checks=[c.model_dump() for c in checks]
        )
    return ReadyReply(status="ready", checks=checks)


@router.get("/metrics", include_in_schema=False)
async def get_metrics(context: Ctx) -> Response:
    """Prometheus metrics of this process."""
    pool = context.pool.get_stats()
    idle = pool.get("pool_available", 0)
    metrics.POOL_CONNECTIONS.labels("idle").set(idle)
    metrics.POOL_CONNECTIONS.labels("in_use").set(pool.get("pool_size", 0) - idle)
    metrics.POOL_WAITING.set(pool.get("requests_waiting", 0))
    content, media_type = metrics.exposition()
    return Response(content, headers={"Content-Type": media_type})


def _checks(context: Context) -> list[CheckReply]:
    try:
        with context.pool.connection(timeout=READY_SECONDS) as conn:
            schema = _schema(release.schema(conn), context.release)
            newest = queries.newest_decision(conn) if schema.ok else None
    except (psycopg.OperationalError, psycopg.InterfaceError):
        # Why is in the pool's log: it may name hosts and users, which are not for everybody.
        return [CheckReply(name="database", ok=False, detail="the database does not answer")]
    answers = CheckReply(name="database", ok=True, detail="the database answers")
    if not schema.ok:
        return [answers, schema]
    return [answers, schema, _decisions(newest)]


def _schema(found: Schema, own: Release | None) -> CheckReply:
    if found.revision is None:
        detail = "the database has no tables yet: run tidegate migrate"
        return CheckReply(name="schema", ok=False, detail=detail)
    wrong = None if own is None else release.refusal(own, found)
    if wrong is not None:
        return CheckReply(name="schema", ok=False, detail=f"the schema {wrong}")
    return CheckReply(name="schema", ok=True, detail=f"the schema is at {found.revision}")


def _decisions(newest: tuple[datetime, datetime] | None) -> CheckReply:
    # Never a reason to be not ready: what is stored can be served.
    if newest is None:
        return CheckReply(name="decisions", ok=True, detail="no decision was written yet")
    event_time, scored_at = newest
    age = int((datetime.now(UTC) - scored_at).total_seconds())
    detail = f"the newest decision was made {age} s ago; the stream is at {event_time.isoformat()}"
    return CheckReply(name="decisions", ok=True, detail=detail)
