"""The flow itself: the number of shards changes nothing, and decisions follow from scores."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from bytewax.testing import run_main

from dataflows.feedback import LabelBook
from dataflows.files import FileSource, Input, open_files
from dataflows.memory import MemoryStore
from dataflows.routes import Routes
from dataflows.scoring import Plan, build
from dataflows.sink import OutcomeSink
from dataflows.store import partitions
from models.policy import Policy
from tests.dataflows.streams import simulated, write
from tidegate.readers import LabelFile
from tidegate.schema import DAY, Decision, Decisions

MATURITY = 2.0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write(tmp_path_factory.mktemp("world"), *simulated(2_500, 6, seed=4))


def decisions(files: tuple[Path, Path], shards: int, policy: Policy | None = None) -> Decisions:
    """All decisions of a run in memory, by event time and id."""
    parts: list[Decisions] = []
    keys = Routes(shards).keys
    store = MemoryStore(partitions(keys), 100 * DAY, parts.append)
    labels, dead = LabelFile(files[1]).read()
    given = Input(open_files([files[0]], None), LabelBook(labels), dead, round(MATURITY * DAY))
    source = FileSource(given, store, threading.Event())
    run_main(build(source, OutcomeSink(keys, store), Plan(shards, policy or Policy(), MATURITY)))
    return in_order(parts)


def in_order(parts: list[Decisions]) -> Decisions:
    versions = {part.policy_version for part in parts}
    assert len(versions) == 1
    together = Decisions.concat(parts)
    batch = type(parts[0].batch).concat([part.batch for part in parts])
    order = np.lexsort((batch.transaction_id.astype(str), batch.event_time))
    return Decisions(
        batch.take(order),
        together.features[order],
        together.log_odds[order],
        together.score[order],
        together.decision[order],
        together.propensity[order],
        together.reasons[order],
        together.scored_at,
        together.stream_time,
        together.model_version,
        together.policy_version,
    )


@pytest.mark.parametrize("shards", [3, 8])
def test_the_number_of_shards_changes_no_bit(files: tuple[Path, Path], shards: int) -> None:
    one, many = decisions(files, 1), decisions(files, shards)
    assert one.batch.transaction_id.tolist() == many.batch.transaction_id.tolist()
    assert len(one) == 2_500
    assert one.features.tobytes() == many.features.tobytes()
    assert one.log_odds.tolist() == many.log_odds.tolist()
    assert one.score.tobytes() == many.score.tobytes()
    assert one.decision.tolist() == many.decision.tolist()
    assert json.dumps(one.reasons.tolist()) == json.dumps(many.reasons.tolist())


def test_decisions_follow_the_thresholds_and_only_what_is_flagged_has_reasons(
    files: tuple[Path, Path],
) -> None:
    middling = decisions(files, 2, Policy(decline=1.0))
    review, decline = np.quantile(middling.score, [0.9, 0.98])
    # Reviews hide no outcome, so they change no score.
    reviewed = decisions(files, 2, Policy(float(review), 1.0))
    assert reviewed.score.tobytes() == middling.score.tobytes()
    found = decisions(files, 2, Policy(float(review), float(decline)))
    kinds = found.decision
    assert {Decision(kind) for kind in kinds} == set(Decision)
    assert found.score[kinds == Decision.APPROVE].max() < review + 1e-6
    assert found.score[kinds == Decision.REVIEW].min() > review - 1e-6
    assert found.score[kinds == Decision.DECLINE].min() > decline - 1e-6
    # A model that has learned nothing yet has no reasons.
    assert all(found.reasons[(kinds == Decision.DECLINE) & (found.log_odds > 0)])
    for kind, reasons in zip(kinds.tolist(), found.reasons, strict=True):
        assert kind != Decision.APPROVE or reasons == []
        for reason in reasons:
            assert set(reason) == {"code", "weight", "text"}
    assert found.policy_version != middling.policy_version
