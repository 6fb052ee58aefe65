"""Rows to write, for the tests of the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tidegate.schema import SECOND, Batch, Decision, Decisions, texts

MakeDecisions = Callable[..., Decisions]

START = 1_714_564_800 * SECOND  # 2024-05-01T12:00:00Z


@pytest.fixture
def decided() -> MakeDecisions:
    """Makes decisions of the given transaction ids, one second apart, all approved unless told."""

    def make(
        ids: Sequence[str],
        *,
        decisions: Sequence[Decision] | None = None,
        reasons: Sequence[list[dict[str, Any]]] | None = None,
        start: int = START,
        width: int = 3,
        model_version: str = "m1",
        **extras: Sequence[Any],
    ) -> Decisions:
        rows = len(ids)
        at = start + SECOND * np.arange(rows, dtype=np.int64)
        chosen = [Decision.APPROVE] * rows if decisions is None else list(decisions)
        batch = Batch(
            transaction_id=texts(ids),
            event_time=at,
            amount_minor=np.arange(rows, dtype=np.int64) + 1_000,
            currency=texts(["EUR"] * rows),
            card_token=texts([f"card-{row % 3}" for row in range(rows)]),
            terminal_id=texts([f"terminal-{row % 2}" for row in range(rows)]),
            content=np.arange(rows, dtype=np.uint64),
            extras={name: texts(column) for name, column in extras.items()},
        )
        return Decisions(
            batch=batch,
            features=np.linspace(-3, 7, rows * width, dtype=np.float32).reshape(rows, width),
            log_odds=np.arange(rows, dtype=np.int64) - 2,
            score=np.linspace(0, 1, rows),
            decision=np.array(chosen, dtype=np.int8),
            reasons=texts([[] for _ in ids] if reasons is None else reasons),
            scored_at=start + 60 * SECOND + 7,
            stream_time=start - SECOND,
            model_version=model_version,
            policy_version="p1",
        )

    return make
