"""What must hold whatever failed: nothing lost, nothing doubled, nothing changed, no contradiction
between the database and the topics, and every decision can be computed again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from models.champion import served_probability
from models.policy import Policy
from models.published import Published
from tests.dataflows.streams import query
from tests.faults.cluster import CONTROL, DECLINE, REVIEW
from tests.faults.messages import Traffic
from tidegate.kafka.outgoing import AlertMessage, DeadLetterMessage, DecisionMessage
from tidegate.schema import Decision, texts, to_micros
from tidegate.settings import Topics
from tidegate.store import connection, models
from tidegate.store.decisions import alert_id

DIGESTS = "SELECT transaction_id, md5(score::text) FROM score"

SCORES = """
SELECT transaction_id, event_time, score, decision, reasons, model_version, scored_at,
       amount_minor, currency, card_token, terminal_id, merchant_id, log_odds, features,
       policy_version
FROM score
"""

ALERTS = """
SELECT alert_id, transaction_id, event_time, amount_minor, currency, card_token, terminal_id,
       merchant_id, score, decision, reasons, model_version
FROM alert
"""

LETTERS = """
SELECT topic, partition, "offset", at, reason, field, detail, payload FROM dead_letter
"""

READ_SECONDS = 60.0

LABELS = "SELECT transaction_id, labelled_at, source, fraud FROM label"


@dataclass
class Verdict:
    """What was found. The three numbers count transactions; `wrong` says everything in words."""

    lost: int = 0
    doubled: int = 0
    changed: int = 0
    wrong: list[str] = field(default_factory=list)

    def found(self, what: str, which: Iterable[Any]) -> int:
        """Notes something that should not be, if there is any of it; gives how many there are."""
        some = list(which)
        if some:
            self.wrong.append(f"{len(some)} {what}, such as {some[:3]!r}")
        return len(some)

    def require(self) -> None:
        """Fails unless all is well."""
        assert not self.wrong, "\n".join(self.wrong)
        assert (self.lost, self.doubled, self.changed) == (0, 0, 0)


class Witness:
    """Looks at the stored decisions again and again: what it saw once must be there for ever."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._seen: dict[str, str] = {}
        self.changed: set[str] = set()

    def look(self) -> int:
        """Compares with what it saw before; how many decisions there are."""
        rows: dict[str, str] = dict(query(self._database, DIGESTS))
        self.changed |= {name for name, was in self._seen.items() if rows.get(name) != was}
        self._seen |= rows
        return len(rows)


def judge(
    database: str,
    address: str,
    topics: Topics,
    traffic: Traffic,
    bad: set[tuple[str, int, int]],
    witness: Witness,
    *,
    once: bool = False,
) -> Verdict:
    """Everything at the end of a scenario, when the run was stopped. bad: where the wrong messages
    lie. once: nothing was sent twice and nothing killed, so the topics hold everything once."""
    verdict = Verdict()
    witness.look()
    verdict.changed = verdict.found("decisions changed", witness.changed)
    rows = query(database, SCORES)
    _all_decided(verdict, rows, traffic)
    _recompute(verdict, database, rows)
    _decisions(verdict, rows, read(address, topics.decisions), once)
    _alerts(verdict, rows, query(database, ALERTS), read(address, topics.alerts), once)
    _letters(verdict, query(database, LETTERS), bad, read(address, topics.dead_letters), once)
    stored = {(n, to_micros(at), source, fraud) for n, at, source, fraud in query(database, LABELS)}
    verdict.found("labels are missing", traffic.labels - stored)
    verdict.found("labels were never sent", stored - traffic.labels)
    return verdict


def _all_decided(verdict: Verdict, rows: Sequence[Any], traffic: Traffic) -> None:
    times = Counter(row[0] for row in rows)
    verdict.lost = verdict.found("payments were lost", traffic.payments.keys() - times.keys())
    verdict.doubled = verdict.found(
        "payments were decided twice", (name for name, count in times.items() if count > 1)
    )
    verdict.found("decisions of no payment", times.keys() - traffic.payments.keys())
    moved = (r[0] for r in rows if traffic.payments.get(r[0]) not in (None, to_micros(r[1])))
    verdict.found("decisions with another time", moved)


def _recompute(verdict: Verdict, database: str, rows: Sequence[Any]) -> None:
    """Log-odds, score and decision from the stored features and the stored model, to the bit."""
    policy = Policy(REVIEW, DECLINE, CONTROL)
    by_version: dict[str, list[Any]] = {}
    for row in rows:
        by_version.setdefault(row[5], []).append(row)
    with connection.connect(database, application_name="tidegate-test") as conn:
        for name, group in by_version.items():
            version = models.read_version(conn, name)
            if version is None:
                verdict.found("decisions of a version that is not there", [name])
                continue
            model = Published.load(version.content)
            verdict.found("versions under another name", {model.version} - {name})
            features = np.frombuffer(b"".join(row[13] for row in group), "<f4")
            log_odds = model.log_odds(features.reshape(len(group), -1).astype(np.float32))
            ids = texts([row[0] for row in group])
            kinds = [Decision(kind).name.lower() for kind in policy.decide(log_odds, ids).tolist()]
            computed = zip(
                group, log_odds.tolist(), served_probability(log_odds).tolist(), kinds, strict=True
            )
            verdict.found(
                "decisions that come out otherwise when computed again",
                (
                    row[0]
                    for row, odds, score, kind in computed
                    if (row[12], row[2], row[3]) != (odds, score, kind)
                ),
            )
    verdict.found("policies", {row[14] for row in rows} - {policy.version})


def _decisions(
    verdict: Verdict, rows: Sequence[Any], messages: Sequence[Message], once: bool
) -> None:
    stored = {row[0]: _decision(row) for row in rows}
    told: Counter[str] = Counter()
    against = set()
    for message in messages:
        value = msgspec.json.decode(message.value() or b"", type=DecisionMessage)
        told[value.transaction_id] += 1
        if stored.get(value.transaction_id) != value:
            against.add(value.transaction_id)
    verdict.changed += verdict.found("decisions told otherwise than stored", against)
    verdict.lost += verdict.found("decisions were never told", stored.keys() - told.keys())
    if once:
        repeated = (name for name, count in told.items() if count > 1)
        verdict.found("decisions were told twice", repeated)


def _decision(row: Any) -> DecisionMessage:
    return msgspec.convert(
        dict(zip(DecisionMessage.__struct_fields__, row[:7], strict=True))
        | {"score": row[2], "decision": row[3], "reasons": row[4], "model_version": row[5]},
        DecisionMessage,
    )


def _alerts(
    verdict: Verdict,
    rows: Sequence[Any],
    alerts: Sequence[Any],
    messages: Sequence[Message],
    once: bool,
) -> None:
    scored = {row[0]: row for row in rows if row[3] != "approve"}
    stored = {}
    for alert in alerts:
        name = str(alert[1])
        row = scored.get(name)
        if row is None or alert[0] != alert_id(name) or tuple(alert[2:]) != _alert_of(row):
            verdict.found("alerts that do not agree with their decisions", [name])
        else:
            stored[str(alert[0])] = msgspec.convert(
                dict(zip(AlertMessage.__struct_fields__, (*alert, row[6]), strict=True)),
                AlertMessage,
            )
    verdict.found("alerts are missing", scored.keys() - {alert[1] for alert in alerts})
    told: Counter[str] = Counter()
    against = set()
    for message in messages:
        key = (message.key() or b"").decode()
        value = msgspec.json.decode(message.value() or b"", type=AlertMessage)
        told[key] += 1
        if str(value.alert_id) != key or stored.get(key) != value:
            against.add(key)
    verdict.changed += verdict.found("alerts told otherwise than stored", against)
    verdict.lost += verdict.found("alerts were never told", stored.keys() - told.keys())
    if once:
        verdict.found("alerts were told twice", (key for key, count in told.items() if count > 1))


def _alert_of(row: Any) -> tuple[Any, ...]:
    _, at, score, decision, reasons, version, _, amount, currency, card, terminal, merchant = row[
        :12
    ]
    return at, amount, currency, card, terminal, merchant, score, decision, reasons, version


def _letters(
    verdict: Verdict,
    letters: Sequence[Any],
    bad: set[tuple[str, int, int]],
    messages: Sequence[Message],
    once: bool,
) -> None:
    times = Counter((topic, partition, offset) for topic, partition, offset, *_ in letters)
    verdict.found("wrong messages are no dead letters", bad - times.keys())
    verdict.found("dead letters of good messages", times.keys() - bad)
    verdict.found("dead letters twice", (place for place, count in times.items() if count > 1))
    names = DeadLetterMessage.__struct_fields__
    stored = {
        letter[:3]: msgspec.convert(dict(zip(names, letter, strict=True)), DeadLetterMessage)
        for letter in letters
    }
    told: Counter[tuple[str, int, int]] = Counter()
    for message in messages:
        value = msgspec.json.decode(message.value() or b"", type=DeadLetterMessage)
        place = (value.topic, value.partition, value.offset)
        told[place] += 1
        if stored.get(place) != value:
            verdict.found("dead letters told otherwise than stored", [value])
    verdict.found("dead letters were never told", stored.keys() - told.keys())
    if once:
        verdict.found("dead letters were told twice", (p for p, n in told.items() if n > 1))


def read(address: str, topic: str) -> list[Message]:
    """All messages of a topic, from its beginning to its present end."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "tidegate-tests",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        consumer.assign([TopicPartition(topic, part, OFFSET_BEGINNING) for part in partitions])
        found: list[Message] = []
        ended = 0
        deadline = time.monotonic() + READ_SECONDS
        while ended < len(partitions):
            assert time.monotonic() < deadline, f"{topic} cannot be read to its end"
            for message in consumer.consume(1000, timeout=0.1):
                error = message.error()
                if error is None:
                    found.append(message)
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    ended += 1
        return found
    finally:
        consumer.close()
