"""Decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query

from api import cursors, declared, kinds, problems
from api.context import Ctx
from api.parameters import DecisionParameters, TransactionId
from api.replies import (
    DecisionRecordReply,
    DecisionReply,
    FeatureReply,
    LabelReply,
    MadeAgainReply,
    MadeReply,
    Page,
)
from models.replay import CannotReplay, Replayer
from tidegate.schema import Decision
from tidegate.store import models, queries, replays
from tidegate.store.queries import DecisionFilter, StoredDecision

router = APIRouter(prefix="/v1", tags=["decisions"])


@router.get("/decisions", responses=declared.LISTED)
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


# A transaction's id may hold slashes, hence the whole rest of the path. One that ends in /replay
# cannot be fetched by itself.
@router.get(
    "/decisions/{transaction_id:path}/replay",
    responses={**declared.FETCHED, **declared.told(kinds.CONFLICT)},
)
def replay_decision(context: Ctx, transaction_id: TransactionId) -> MadeAgainReply:
    """The decision made again from its stored inputs and versions, beside the stored one."""
    with context.pool.connection() as conn:
        stored = replays.made(conn, transaction_id)
        if stored is None:
            raise problems.missing("decision")
        replayer = Replayer(partial(models.read_version, conn), partial(models.read_policy, conn))
        try:
            again = replayer.replay(
                stored.model_version,
                stored.policy_version,
                [stored.transaction_id],
                [stored.features],
            )
        except CannotReplay as ex:
            raise problems.Failed(kinds.CONFLICT, str(ex)) from ex
    made = MadeReply(
        log_odds=int(again.log_odds[0]), decision=Decision(again.decision[0]).name.lower()
    )
    before = MadeReply(log_odds=stored.log_odds, decision=stored.decision)
    return MadeAgainReply(
        transaction_id=stored.transaction_id,
        event_time=stored.event_time,
        model_version=stored.model_version,
        policy_version=stored.policy_version,
        same=made == before,
        stored=before,
        again=made,
    )


@router.get("/decisions/{transaction_id:path}", responses=declared.FETCHED)
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
    """The stored features with their names. A later release appends features, so the first ones
    have the same names ever; those that this release does not know have none."""
    row = np.frombuffer(stored, dtype="<f4")
    # The shortest decimals that are this float32 again, not the digits of its double.
    values = [float(str(value)) if np.isfinite(value) else None for value in row]
    unknown = [None] * max(0, len(row) - len(names))
    named = [*names, *unknown]
    return [FeatureReply(name=n, value=v) for n, v in zip(named, values, strict=False)]


def _cursor(row: StoredDecision) -> str:
    return cursors.at_id("decision", row.event_time, row.transaction_id)
