"""A dead letter of an id that is used again is the same in every life of a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dataflows.messages import CardWork, Origin, no_examples
from dataflows.reused import reused
from tests.dataflows.streams import START, payments
from tidegate.schema import Batch, texts


def letter(extras: dict[str, list[object]]) -> str:
    """The payload of the first row's letter, in a batch with these optional fields."""
    rows = 2
    batch: Batch = replace(
        payments(["a", "b"], [START, START]),
        extras={name: texts(values) for name, values in extras.items()},
    )
    zeros = np.zeros(rows, np.int64)
    origin = Origin(texts(["transactions"] * rows), zeros, np.arange(rows), zeros)
    work = CardWork(0, START, 0.0, batch, np.arange(rows), origin, no_examples())
    dead = reused(work, np.array([0]))
    assert dead is not None
    return str(dead.payload[0])


def test_it_does_not_depend_on_the_rows_beside_it() -> None:
    alone = letter({"merchant_id": ["m", None], "latitude": [0.0, None]})
    assert alone == letter(
        {"latitude": [0.0, 1.0], "channel": [None, "pos"], "merchant_id": ["m", "n"]}
    )
    assert '"merchant_id":"m"' in alone
    assert '"latitude":0.0' in alone
