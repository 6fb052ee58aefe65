"""`tidegate evaluate`: how good would the scores have been?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from dataflows.evaluate import Scored
from dataflows.evaluate import evaluate as evaluate_history
from models.learner import CHAMPION
from models.quality import average_precision
from models.roster import HANDBOOK, challengers
from tidegate.cli.progress import bar
from tidegate.readers import TransactionFile
from tidegate.schema import DAY, SUSPENDED, TRIAL, Ints, to_datetime

_WEEK = 7 * DAY
_FEATURES = {"all": CHAMPION, "book": HANDBOOK}


def evaluate(
    files: Sequence[Path],
    delay_days: float,
    scores: Path | None,
    currency: str | None,
    features: str,
    beside: Sequence[str] = (),
) -> None:
    """Prints a JSON line for each week of the history, one for all of it, and where challengers
    learn beside the champion one for each model. Raises ValueError for a name that is nobody's."""
    counts = [TransactionFile(path, currency=currency).rows for path in files]
    total = None if None in counts else sum(count or 0 for count in counts)
    with bar("evaluating", total) as advance:
        scored = evaluate_history(
            files,
            delay_days=delay_days,
            currency=currency,
            champion=_FEATURES[features],
            challengers=challengers(beside),
            on_rows=advance,
        )
    if scores is not None:
        table = pa.table({"transaction_id": pa.array(scored.transaction_id), "score": scored.score})
        pq.write_table(table, scores)
    if not len(scored.score):
        typer.echo(json.dumps({"transactions": 0}))
        return
    start = int(scored.event_time.min()) // DAY * DAY
    week = (scored.event_time - start) // _WEEK
    for number in range(int(week.max()) + 1):
        first = to_datetime(start + number * _WEEK).date().isoformat()
        typer.echo(json.dumps({"week": first, **_quality(scored, np.flatnonzero(week == number))}))
    everything = np.arange(len(scored.score))
    typer.echo(json.dumps({"week": "all", **_quality(scored, everything)}))
    if beside:
        for name in sorted({name for name, _ in scored.metrics}):
            typer.echo(json.dumps({"model": name, **_trial(scored, name)}))


def _trial(scored: Scored, name: str) -> dict[str, object]:
    """What a model's trial came to, as far as there is something to say of it."""
    wanted = (f"{TRIAL}average_precision", f"{TRIAL}average_precision_7d", SUSPENDED)
    found = [(metric, scored.metrics.get((name, metric))) for metric in wanted]
    return {metric: round(point.value, 4) for metric, point in found if point is not None}


def _quality(scored: Scored, rows: Ints) -> dict[str, object]:
    fraud = scored.fraud[rows]
    _, place = np.unique(scored.log_odds[rows], return_inverse=True)
    precision = average_precision(
        np.bincount(place[~fraud], minlength=len(rows)),
        np.bincount(place[fraud], minlength=len(rows)),
    )
    return {
        "transactions": len(rows),
        "frauds": int(fraud.sum()),
        "average_precision": None if np.isnan(precision) else round(precision, 4),
    }
