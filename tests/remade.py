"""Decisions that can be made again: stored with their features, model and policy."""

from __future__ import annotations

import numpy as np
from psycopg import Connection

from models.champion import Champion
from models.features import WIDTH
from models.policy import Policy
from models.published import Published
from tests.api.rows import put_score
from tidegate.schema import Decision, ModelVersion, texts
from tidegate.store import models

POLICY = Policy(0.2, 0.6)


def model() -> Published:
    """A model that has learned a little."""
    rng = np.random.default_rng(11)
    champion = Champion()
    features = rng.gamma(2, 40, (256, WIDTH)).astype(np.float32)
    picked = champion.indices(features)
    champion.learn_rows(picked, rng.random(256) < 0.5, np.ones(256, np.float32))
    return champion.publish()


def put_versions(conn: Connection) -> Published:
    """Stores a model version and a policy version; gives the model."""
    published = model()
    version = ModelVersion(published.version, "champion", 0, published.content, 256, 128)
    models.write_version(conn, version)
    models.write_policy(conn, POLICY.version, POLICY.content)
    return published


def put_made(
    conn: Connection,
    published: Published,
    transaction_id: str,
    seconds: float,
    log_odds: int | None = None,
) -> tuple[int, str]:
    """Stores what these versions decide on features drawn for the id, or other log-odds beside the
    same decision; gives what they decide."""
    rng = np.random.default_rng(list(transaction_id.encode()))
    features = rng.gamma(2, 40, (1, WIDTH)).astype(np.float32)
    made = published.log_odds(features)
    decision = Decision(POLICY.decide(made, texts([transaction_id]))[0]).name.lower()
    put_score(
        conn,
        transaction_id,
        seconds,
        features=features.astype("<f4").tobytes(),
        log_odds=int(made[0]) if log_odds is None else log_odds,
        decision=decision,
        model_version=published.version,
        policy_version=POLICY.version,
    )
    return int(made[0]), decision
