"""The sample is the same for every model, and stands for all payments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.sampling import MOST, SHARE, sample
from tests.models.rows import scored
from tidegate.schema import Examples, texts


def payments(rows: int, share: float, first: int = 0) -> Examples:
    rng = np.random.default_rng(rows + first)
    found = scored(rng.normal(size=rows), rng.random(rows) < share)
    return replace(found, transaction_id=texts([f"p-{first + n}" for n in range(rows)]))


def test_all_frauds_and_a_share_of_the_rest_are_in_it() -> None:
    given = payments(1_000, 0.03)
    drawn = sample(given)
    assert drawn.rows.tolist() == sorted(drawn.rows.tolist())
    assert set(np.flatnonzero(given.fraud)) <= set(drawn.rows.tolist())
    genuine = ~drawn.examples.fraud
    assert genuine.sum() == pytest.approx(970 / SHARE, abs=25)
    assert drawn.examples.stands.tolist() == np.where(genuine, SHARE, 1).tolist()
    assert drawn.examples.transaction_id.tolist() == given.transaction_id[drawn.rows].tolist()


def test_what_is_drawn_depends_on_the_payment_alone() -> None:
    given = payments(600, 0.02)
    backwards = sample(given.take(np.arange(600)[::-1]))
    assert set(backwards.examples.transaction_id) == set(sample(given).examples.transaction_id)


def test_a_large_lesson_is_thinned_and_stands_for_as_many() -> None:
    total, frauds = 0, 0
    for start in range(5):
        drawn = sample(payments(20_000, 0.05, 20_000 * start))
        assert len(drawn.rows) <= MOST
        total += int(drawn.examples.stands.sum())
        frauds += int(drawn.examples.stands[drawn.examples.fraud].sum())
    assert total == pytest.approx(100_000, rel=0.15)
    assert frauds == pytest.approx(5_000, rel=0.15)


def test_what_a_payment_stood_for_is_kept() -> None:
    given = payments(300, 0.1)
    control = replace(given, stands=np.full(300, 20))
    assert sample(control).examples.stands.tolist() == (20 * sample(given).examples.stands).tolist()


def test_of_nothing_nothing_is_drawn() -> None:
    assert len(sample(payments(0, 0.5)).rows) == 0
