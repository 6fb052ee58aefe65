"""Decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query

from api import cursors, problems
from api.context import Ctx
from api.parameters import DecisionParameters, TransactionId
from api.replies import DecisionRecordReply, DecisionReply, FeatureReply, LabelReply, Page
from tidegate.store import queries
from tidegate.store.queries import DecisionFilter, StoredDecision

router = APIRouter(prefix="/v1", tags=["decisions"])


@router.get("/decisions", responses=problems.LISTED)
def list_decisions(
    context: Ctx, asked: Annotated[DecisionParameters, Query()]
) -> Page[DecisionReply]:
    """Decisions, newest event time first."""
    after = None if asked.after is None else cursors.read_at_id("decision", asked.after)
    which = DecisionFilter(**asked.filters())
    with context.pool.connection() as conn:
        found = queries.decisions(conn, which, limit=asked.limit + 1, after=after)
    shown, end = cursors.page(found, asked.limit, _cursor)
    return Page(data=[DecisionReply.model_validate(row) for row in shown], next=end)


# A transaction's id may hold slashes, hence the whole rest of the path.
@router.get("/decisions/{transaction_id:path}", responses=problems.FETCHED)
def get_decision(context: Ctx, transaction_id: TransactionId) -> DecisionRecordReply:
    """One decision with its inputs and the transaction's labels."""
    with context.pool.connection() as conn:
        record = queries.decision(conn, transaction_id)
        if record is None:
            raise problems.missing("decision")
        labels = queries.labels(conn, transaction_id)
    return DecisionRecordReply(
        **asdict(record)
        | {
            "features": features(record.features, context.feature_names),
            "labels": [LabelReply.model_validate(label) for label in labels],
        }
    )


def features(stored: bytes, names: Sequence[str]) -> list[FeatureReply]:
    """The stored features with their names; without names where their number is another one, as
    those of a model of another release."""
    row = np.frombuffer(stored, dtype="<f4")
    named = names if len(names) == len(row) else [None] * len(row)
    # The shortest decimals that are this float32 again, not the digits of its double.
    values = [float(str(value)) if np.isfinite(value) else None for value in row]
    return [FeatureReply(name=n, value=v) for n, v in zip(named, values, strict=True)]


def _cursor(row: StoredDecision) -> str:
    return cursors.at_id("decision", row.event_time, row.transaction_id)
