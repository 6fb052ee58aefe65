"""What was served for transactions, read back so that late labels can be learned from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

import numpy as np

from tidegate.schema import DAY, Features, Served, texts
from tidegate.store.connection import Conn, Micros, MicrosLoader

BETWEEN = """
SELECT transaction_id, event_time, card_token, terminal_id, features, log_odds, stream_time,
       decision = 'decline', coalesce(propensity, 1)
FROM score
WHERE event_time > %(after)s AND event_time <= %(until)s
ORDER BY event_time, transaction_id COLLATE "C"
"""

BY_IDS = """
SELECT transaction_id, event_time, card_token, terminal_id, features, log_odds, stream_time,
       decision = 'decline', coalesce(propensity, 1)
FROM score
WHERE transaction_id = ANY(%(ids)s) AND event_time > %(after)s AND event_time <= %(until)s
AND stream_time < %(now)s
ORDER BY event_time, transaction_id COLLATE "C"
"""


# Most labels are of payments that are not in the columnstore yet, or not for long. There an index
# finds them; in the columnstore, what is looked through is unpacked, some .1 s a million decisions.
_EVER = 2**62  # microseconds
_AGES = (14 * DAY, 45 * DAY, 90 * DAY, _EVER)


def between(conn: Conn, after: int, until: int, width: int = 0) -> Served:
    """The transactions with after < event_time <= until (microseconds since the epoch), ordered by
    time and then id. All of them are read into memory: choose the span accordingly.

    Features have at least `width` columns: rows of an earlier release, which knew fewer, have NaN
    in those that came later.
    """
    return _read(conn, BETWEEN, {"after": Micros(after), "until": Micros(until)}, width)


def by_ids(conn: Conn, ids: Sequence[str], now: int, width: int = 0) -> Served:
    """The transactions of these ids that were decided with a stream time before `now`
    (microseconds since the epoch), ordered by time and then id; else as `between`.

    Of an id that was used again after weeks, only the newer use is found: old ones are not looked
    for once an id is there.
    """
    found: list[Served] = []
    missing, until = set(ids), _EVER
    for age in _AGES:
        after = now - age
        values = {"ids": sorted(missing), "now": Micros(now)}
        values |= {"after": Micros(after), "until": Micros(until)}
        part = _read(conn, BY_IDS, values, width)
        if len(part) or not found:
            found = [part, *(later for later in found if len(later))]
        missing.difference_update(part.transaction_id.tolist())
        if not missing:
            break
        until = after
    return Served.concat(found)


def _read(conn: Conn, query: LiteralString, parameters: dict[str, Any], width: int) -> Served:
    with conn.cursor(binary=True) as cur:
        cur.adapters.register_loader("timestamptz", MicrosLoader)
        rows = cur.execute(query, parameters).fetchall()
    columns = list(zip(*rows, strict=True)) or [()] * 9
    return Served(
        transaction_id=texts(columns[0]),
        event_time=np.array(columns[1], dtype=np.int64),
        card_token=texts(columns[2]),
        terminal_id=texts(columns[3]),
        features=_features(columns[4], width),
        log_odds=np.array(columns[5], dtype=np.int64),
        stream_time=np.array(columns[6], dtype=np.int64),
        declined=np.array(columns[7], dtype=np.bool_),
        propensity=np.array(columns[8], dtype=np.float32),
    )


def _features(stored: Sequence[bytes], width: int) -> Features:
    lengths = {len(row) // 4 for row in stored}
    if len(lengths) == 1 and min(lengths) >= width:
        flat = np.frombuffer(b"".join(stored), dtype="<f4").astype(np.float32, copy=False)
        return flat.reshape(len(stored), -1)
    features = np.full((len(stored), max(lengths | {width})), np.nan, dtype=np.float32)
    for row, values in enumerate(stored):
        features[row, : len(values) // 4] = np.frombuffer(values, dtype="<f4")
    return features
