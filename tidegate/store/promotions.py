"""Which models run in the flow, and which of them serves: its scores decide.

The newest promotion says which one; without any it is the champion. A rollback is a promotion as
well: of the model that served before the one that it takes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter

from psycopg.pq import TransactionStatus
from psycopg.rows import class_row

from tidegate.schema import CHAMPION, SUSPENDED, TRIAL
from tidegate.store.connection import Conn
from tidegate.store.stats import FINITE, Point

AUTOMATIC_ACTOR = "tidegate"

# How good a model is over the payments of the last seven days, as if each of them had served.
AVERAGE_PRECISION = f"{TRIAL}average_precision_7d"
FRAUDS = f"{TRIAL}frauds_7d"

# Event time between two promotions, if the second is automatic: the figures of seven days then
# rest on other payments than those that the first one was judged by.
APART = timedelta(days=7)

# Arbitrary, but it must never change, or an old and a new release would no longer see each other.
LOCK = 7_421_907_310_558_205

TAKE_LOCK = "SELECT pg_advisory_xact_lock(%(lock)s)"
TRY_LOCK = "SELECT pg_try_advisory_xact_lock(%(lock)s)"

STOP_OTHERS = "UPDATE model SET running = false WHERE running AND name <> ALL(%(names)s::text[])"

# In order, so that two who write do not wait for each other in a circle.
WRITE_MODELS = """
INSERT INTO model (name, description, servable, running, started_at)
SELECT name, description, servable, true, now()
FROM unnest(%(names)s::text[], %(descriptions)s::text[], %(servable)s::boolean[])
    AS given (name, description, servable)
ORDER BY name
ON CONFLICT (name) DO UPDATE SET
    description = excluded.description,
    servable = excluded.servable,
    running = true,
    started_at = excluded.started_at
"""

READ_MODELS = "SELECT name, description, servable, running, started_at FROM model ORDER BY name"

SERVING = "SELECT model FROM promotion ORDER BY promotion_id DESC LIMIT 1"

# The audit's row comes with the promotion or not at all.
WRITE = """
WITH written AS (
    INSERT INTO promotion (model, before, actor, reason, automatic, undoes, judged_at)
    VALUES (
        %(model)s, %(before)s, %(actor)s, %(reason)s, %(automatic)s, %(undoes)s::bigint,
        %(judged_at)s::timestamptz
    )
    RETURNING promotion_id, at, model, before, actor, reason, automatic, undoes, judged_at
), audited AS (
    INSERT INTO audit (actor, action, subject, before, after)
    SELECT actor, %(action)s, model,
        jsonb_build_object('serving', before), jsonb_build_object('serving', model)
    FROM written
)
SELECT * FROM written
"""

# Those that stand, the newest of them: what is undone once is passed over.
TO_UNDO = """
SELECT promotion_id, before FROM promotion
WHERE undoes IS NULL AND NOT EXISTS (
    SELECT FROM promotion AS later WHERE later.undoes = promotion.promotion_id
)
ORDER BY promotion_id DESC LIMIT 1
"""

HISTORY = """
SELECT promotion_id, at, model, before, actor, reason, automatic, undoes, judged_at FROM promotion
WHERE promotion_id < coalesce(%(after)s::bigint, 9223372036854775807)
ORDER BY promotion_id DESC LIMIT %(limit)s
"""

STANDINGS = f"""
SELECT model.name, description, servable, newest.metric, newest.at, newest.value, newest.examples
FROM model CROSS JOIN unnest(%(metrics)s::text[]) AS asked (metric) LEFT JOIN LATERAL (
    SELECT metric, at, value, examples FROM model_metric
    WHERE name = model.name AND metric = asked.metric AND {FINITE}
    ORDER BY at DESC LIMIT 1
) AS newest ON true
WHERE running ORDER BY model.name
"""

MEASURED = f"""
WITH measured AS (
    SELECT model.name, newest.at, newest.value
    FROM model CROSS JOIN LATERAL (
        SELECT at, value FROM model_metric
        WHERE name = model.name AND metric = %(average_precision)s AND {FINITE}
        ORDER BY at DESC LIMIT 1
    ) AS newest
    WHERE running AND servable
)
SELECT measured.name, measured.at, measured.value, counted.value
FROM measured LEFT JOIN model_metric AS counted
    ON counted.name = measured.name AND counted.metric = %(frauds)s AND counted.at = measured.at
WHERE measured.at = (SELECT max(at) FROM measured)
ORDER BY measured.value DESC, measured.name
"""

# Of a person's promotions the newest one: whether it was a rollback.
WENT_BACK = """
SELECT undoes IS NOT NULL FROM promotion WHERE NOT automatic ORDER BY promotion_id DESC LIMIT 1
"""

JUDGED = "SELECT max(judged_at) FROM promotion"


class CannotPromote(ValueError):
    """Why another model cannot be made to serve, in one sentence."""


class NotServable(CannotPromote):
    """That model cannot serve."""


class UnknownModel(NotServable):
    """The flow never ran a model of that name."""


class ServesAlready(CannotPromote):
    """That model serves as it is."""


class NothingToUndo(CannotPromote):
    """There is no promotion that is not taken back yet."""


@dataclass(frozen=True, slots=True)
class RunningModel:
    """A model that the flow runs."""

    name: str
    description: str
    servable: bool  # whether it is published as weights, and so could decide


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that the flow runs or once ran."""

    name: str
    description: str
    servable: bool
    running: bool
    started_at: datetime  # aware, UTC


@dataclass(frozen=True, slots=True)
class Promotion:
    """One change of the model that serves."""

    promotion_id: int
    at: datetime  # when it was asked for: aware, UTC
    model: str  # serves from then on
    before: str  # served until then
    actor: str
    reason: str
    automatic: bool
    undoes: int | None  # the promotion that this one, a rollback, takes back
    judged_at: datetime | None  # event time of the newest figures that there were


@dataclass(frozen=True, slots=True)
class Standing:
    """A running model and the newest finite values that it is judged by, if it was measured."""

    name: str
    description: str
    servable: bool
    serving: bool
    average_precision: Point | None  # over seven days of the stream, 0 to 1
    frauds: Point | None  # in the same days
    suspended: Point | None  # what was too much then; it learns again if others are newer


@dataclass(frozen=True, slots=True)
class _Measured:
    """Figures of a model that could serve."""

    name: str
    at: datetime
    average_precision: float
    frauds: float | None


def write_models(conn: Conn, models: Sequence[RunningModel]) -> None:
    """Notes that the flow was started with these models, and with no other."""
    names = [model.name for model in models]
    conn.execute(STOP_OTHERS, {"names": names})
    conn.execute(
        WRITE_MODELS,
        {
            "names": names,
            "descriptions": [model.description for model in models],
            "servable": [model.servable for model in models],
        },
    )


def known(conn: Conn) -> dict[str, KnownModel]:
    """Every model that the flow runs or once ran, by name."""
    with conn.cursor(row_factory=class_row(KnownModel)) as cursor:
        return {model.name: model for model in cursor.execute(READ_MODELS)}


def serving(conn: Conn) -> str:
    """The model that is to serve."""
    row = conn.execute(SERVING).fetchone()
    return CHAMPION if row is None else str(row[0])


def promote(conn: Conn, model: str, *, actor: str, reason: str = "") -> Promotion:
    """Makes the model serve, and writes the audit.

    Must run in a transaction, which the caller commits; others who would promote wait for its end.
    Raises NotServable (UnknownModel where the flow never ran it) and ServesAlready.
    """
    _lock(conn)
    before = serving(conn)
    _check(conn, model)
    if model == before:
        raise ServesAlready(f"{model} serves already")
    judged_at = _newest(_measured(conn))
    return _write(conn, model, before, actor=actor, reason=reason, judged_at=judged_at)


def rollback(conn: Conn, *, actor: str, reason: str = "") -> Promotion:
    """Takes back the newest promotion that stands: who does it twice goes two steps back.

    Must run in a transaction, as `promote`. Raises NothingToUndo, and NotServable where the model
    to go back to can no longer serve.
    """
    _lock(conn)
    row = conn.execute(TO_UNDO).fetchone()
    if row is None:
        raise NothingToUndo("there is no promotion to take back")
    undoes, model = row
    _check(conn, model)
    judged_at = _newest(_measured(conn))
    before = serving(conn)
    return _write(
        conn, model, before, actor=actor, reason=reason, undoes=undoes, judged_at=judged_at
    )


def automatic(conn: Conn, *, margin: float, frauds: int) -> Promotion | None:
    """Promotes the best model that can serve, if it is better than the one that serves by at
    least `margin` of average precision over at least `frauds` frauds; None where it is not.

    Both must have been measured at the same newest event time, seven days of it after the last
    promotion. When a person went back, nothing is promoted until a person promotes. May be called
    at any time, by several at once, and waits for nobody: while another one promotes it is None.
    Must run in a transaction, as `promote`.
    """
    _check_transaction(conn)
    if _better(conn, margin, frauds) is None:
        return None
    (alone,) = conn.execute(TRY_LOCK, {"lock": LOCK}).fetchone() or (False,)
    if not alone:
        return None
    found = _better(conn, margin, frauds)  # another one may have been quicker
    if found is None:
        return None
    best, now = found
    reason = (
        f"average precision {_figure(best.average_precision)} against "
        f"{_figure(now.average_precision)} over {best.frauds:.0f} frauds"
    )
    return _write(
        conn,
        best.name,
        now.name,
        actor=AUTOMATIC_ACTOR,
        reason=reason,
        automatic=True,
        judged_at=best.at,
    )


def history(conn: Conn, *, limit: int, after: int | None = None) -> list[Promotion]:
    """At most `limit` promotions, newest first; `after` is the id of the last one of the page
    before."""
    with conn.cursor(row_factory=class_row(Promotion)) as cursor:
        return cursor.execute(HISTORY, {"limit": limit, "after": after}).fetchall()


def standings(conn: Conn) -> list[Standing]:
    """How the models stand that the flow runs, by name."""
    serves = serving(conn)
    asked = {"metrics": [AVERAGE_PRECISION, FRAUDS, SUSPENDED]}
    found = []
    for model, rows in groupby(conn.execute(STANDINGS, asked), key=itemgetter(0, 1, 2)):
        name, description, servable = model
        points = {row[3]: Point(*row[4:]) for row in rows if row[3] is not None}
        found.append(
            Standing(
                name=name,
                description=description,
                servable=servable,
                serving=name == serves,
                average_precision=points.get(AVERAGE_PRECISION),
                frauds=points.get(FRAUDS),
                suspended=points.get(SUSPENDED),
            )
        )
    return found


def _lock(conn: Conn) -> None:
    """Lets nobody else promote until the transaction ends."""
    _check_transaction(conn)
    conn.execute(TAKE_LOCK, {"lock": LOCK})


def _check_transaction(conn: Conn) -> None:
    if conn.autocommit and conn.info.transaction_status == TransactionStatus.IDLE:
        raise RuntimeError("promotions are made in a transaction: its end gives the lock back")


def _check(conn: Conn, name: str) -> None:
    """Raises NotServable unless the flow runs the model and it can serve."""
    models = known(conn)
    running = ", ".join(model.name for model in models.values() if model.running) or "none"
    found = models.get(name)
    if found is None:
        raise UnknownModel(f"the flow runs no model {name}; it runs: {running}")
    if not found.running:
        raise NotServable(f"the flow no longer runs {name}; it runs: {running}")
    if not found.servable:
        raise NotServable(f"{name} cannot serve: only models that are published as weights can")


def _measured(conn: Conn) -> list[_Measured]:
    """The models that could serve and were measured at the newest moment, the best one first."""
    asked = {"average_precision": AVERAGE_PRECISION, "frauds": FRAUDS}
    return [_Measured(*row) for row in conn.execute(MEASURED, asked)]


def _newest(measured: Sequence[_Measured]) -> datetime | None:
    return measured[0].at if measured else None


def _better(conn: Conn, margin: float, frauds: int) -> tuple[_Measured, _Measured] | None:
    """The model to promote by itself and the one that serves, with their figures; or None."""
    measured = _measured(conn)
    by_name = {model.name: model for model in measured}
    now = by_name.get(serving(conn))
    if now is None:
        return None
    best = measured[0]
    gain = best.average_precision - now.average_precision
    if gain <= 0 or gain < margin:  # with a margin of 0, too, an equal one is no better
        return None
    if best.frauds is None or best.frauds < frauds:
        return None
    if (conn.execute(WENT_BACK).fetchone() or (False,))[0]:
        return None
    (judged_at,) = conn.execute(JUDGED).fetchone() or (None,)
    if judged_at is not None and best.at - judged_at < APART:
        return None
    return best, now


def _figure(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _write(
    conn: Conn,
    model: str,
    before: str,
    *,
    actor: str,
    reason: str,
    automatic: bool = False,
    undoes: int | None = None,
    judged_at: datetime | None,
) -> Promotion:
    values = {
        "model": model,
        "before": before,
        "actor": actor,
        "reason": reason,
        "automatic": automatic,
        "undoes": undoes,
        "judged_at": judged_at,
        "action": "model.promote" if undoes is None else "model.rollback",
    }
    with conn.cursor(row_factory=class_row(Promotion)) as cursor:
        written = cursor.execute(WRITE, values).fetchone()
    assert written is not None  # what INSERT returns
    return written
