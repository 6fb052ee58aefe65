"""The stateful steps of the scoring flow: what each does with its part, and what it remembers.

Snapshots are portable bytes (`models.portable`): a step's arrays and the number of the step that
it expects next.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TypeAlias, TypeVar

import numpy as np
from bytewax.operators import StatefulBatchLogic

from dataflows.keys import shards_of
from dataflows.lockstep import Lockstep
from dataflows.messages import (
    CardWork,
    Envelope,
    Observed,
    Outcome,
    Release,
    Repeated,
    Scorable,
    TerminalNews,
    TerminalWork,
)
from dataflows.noting import noting
from dataflows.reused import reused
from models.cards import CardProfiles
from models.champion import served_probability
from models.features import CARD_COLUMNS, TERMINAL_COLUMNS, empty, hundredths
from models.policy import Policy
from models.portable import pack, unpack
from models.published import Published
from models.reasons import explain
from models.recent import NEW, REPEAT, REUSED, RecentIds
from models.terminals import TerminalProfiles
from tidegate import metrics
from tidegate.schema import (
    SECOND,
    Batch,
    DeadLetters,
    Decision,
    Decisions,
    Ints,
    ModelVersion,
    texts,
)

V = TypeVar("V")
W = TypeVar("W")
Emitted: TypeAlias = tuple[Iterable[W], bool]

VERSION = 1


class Remembering(StatefulBatchLogic[V, W, bytes]):
    """A step whose snapshot is `dump`'s bytes; the time each takes is measured."""

    @noting
    def snapshot(self) -> bytes:
        """The state for recovery."""
        with metrics.SNAPSHOT_SECONDS.time():
            return self.dump()

    def dump(self) -> bytes:
        """The whole state as portable bytes."""
        raise NotImplementedError


class CardStep(Remembering[CardWork, tuple[int, TerminalWork]]):
    """Gives rows the features of their cards' past, and sends them on to the terminal shards."""

    def __init__(self, state: bytes | None, shards: int, maturity_days: float) -> None:
        self._shards = shards
        self._recent = RecentIds()
        if state is None:
            self._profiles = CardProfiles(maturity_days)
            self._steps: Lockstep[CardWork] = Lockstep(1)
        else:
            arrays = unpack("cards", VERSION, state)
            self._profiles = CardProfiles.load(arrays.pop("profiles").tobytes(), maturity_days)
            self._steps = Lockstep(1, int(arrays.pop("next")[0]))
            self._recent.load(arrays)

    @noting
    def on_batch(self, values: list[CardWork]) -> Emitted[tuple[int, TerminalWork]]:
        """One `TerminalWork` for each terminal shard, of each whole step."""
        return [sent for (work,) in self._steps.whole(values) for sent in self._step(work)], False

    def _step(self, work: CardWork) -> list[tuple[int, TerminalWork]]:
        self._profiles.learn(work.examples)
        outcome = self._recent.check(work.batch, work.now)
        refused, again = None, None
        batch, position, envelope = work.batch, work.position, work.origin.envelope
        if outcome.any():
            refused = reused(work, np.flatnonzero(outcome == REUSED))
            again = np.flatnonzero(outcome == REPEAT)
            fresh = np.flatnonzero(outcome == NEW)
            batch, position = batch.take(fresh), position[fresh]
            envelope = None if envelope is None else envelope.take(fresh)
        parts = self._observed(batch, position, envelope)
        repeated = [None] * self._shards if again is None else self._repeated(work, again)
        return [
            (
                shard,
                TerminalWork(
                    work.number,
                    work.now,
                    work.received,
                    parts[shard],
                    refused if shard == 0 else None,
                    repeated[shard],
                ),
            )
            for shard in range(self._shards)
        ]

    def _observed(
        self, batch: Batch, position: Ints, envelope: Envelope | None
    ) -> list[Observed | None]:
        """Rows with their features, by terminal shard."""
        parts: list[Observed | None] = [None] * self._shards
        if not len(batch):
            return parts
        features = empty(len(batch))
        features[:, CARD_COLUMNS] = self._profiles.observe(batch, hundredths(batch))
        rows = Observed(batch, position, features, envelope)
        owner = shards_of(batch.terminal_id, self._shards)
        for shard in set(owner.tolist()):
            parts[shard] = rows.take(owner == shard)
        return parts

    def _repeated(self, work: CardWork, rows: Ints) -> list[Repeated | None]:
        """Repeats by terminal shard: one has its first occurrence's terminal, and so comes to the
        sink by the same way, after it."""
        batch, envelope = work.batch.take(rows), work.origin.envelope
        repeated = Repeated(
            batch.transaction_id,
            batch.event_time,
            None if envelope is None else envelope.take(rows),
        )
        owner = shards_of(batch.terminal_id, self._shards)
        parts = [repeated.take(owner == shard) for shard in range(self._shards)]
        return [part if len(part) else None for part in parts]

    def dump(self) -> bytes:
        """Profiles, the ids of the last day, and the next step's number."""
        arrays = {
            "profiles": np.frombuffer(self._profiles.dump(), np.uint8),
            "next": np.array([self._steps.settle()]),
            **self._recent.dump(),
        }
        return pack("cards", VERSION, arrays)


class TerminalStep(Remembering[TerminalWork | TerminalNews, Scorable]):
    """Gives rows the features of their terminals' past, which complete them."""

    def __init__(self, state: bytes | None, shards: int, maturity_days: float) -> None:
        parts = shards + 1  # a part of every card shard, and the news
        if state is None:
            self._profiles = TerminalProfiles(maturity_days)
            self._steps: Lockstep[TerminalWork | TerminalNews] = Lockstep(parts)
        else:
            arrays = unpack("terminals", VERSION, state)
            self._profiles = TerminalProfiles.load(arrays["profiles"].tobytes(), maturity_days)
            self._steps = Lockstep(parts, int(arrays["next"][0]))

    @noting
    def on_batch(self, values: list[TerminalWork | TerminalNews]) -> Emitted[Scorable]:
        """One `Scorable` of each whole step."""
        return [self._step(parts) for parts in self._steps.whole(values)], False

    def _step(self, parts: list[TerminalWork | TerminalNews]) -> Scorable:
        work = [part for part in parts if isinstance(part, TerminalWork)]
        for part in parts:
            if isinstance(part, TerminalNews):
                self._profiles.learn(part.examples)
        rows = self._observed([part.rows for part in work if part.rows is not None])
        refused = [part.refused for part in work if part.refused is not None]
        repeated = [part.repeated for part in work if part.repeated is not None]
        return Scorable(
            work[0].number,
            work[0].now,
            work[0].received,
            rows,
            DeadLetters.concat(refused) if refused else None,
            Repeated.concat(repeated) if repeated else None,
        )

    def _observed(self, parts: list[Observed]) -> Observed | None:
        """The rows with all their features, in the order of the stream, whichever card shard came
        first."""
        if not parts:
            return None
        rows = Observed.concat(parts)
        if len(parts) > 1:
            rows = rows.take(np.argsort(rows.position, kind="stable"))
        batch = rows.batch
        rows.features[:, TERMINAL_COLUMNS] = self._profiles.observe(batch, hundredths(batch))
        return rows

    def dump(self) -> bytes:
        """Profiles and the next step's number."""
        profiles = np.frombuffer(self._profiles.dump(), np.uint8)
        arrays = {"profiles": profiles, "next": np.array([self._steps.settle()])}
        return pack("terminals", VERSION, arrays)


class ScoreStep(Remembering[Scorable | Release, Outcome]):
    """Scores rows with a replica of the champion, and decides."""

    def __init__(self, state: bytes | None, policy: Policy) -> None:
        self._policy = policy
        self._model: Published | None = None
        if state is None:
            self._steps: Lockstep[Scorable | Release] = Lockstep(2)
        else:
            arrays = unpack("score", VERSION, state)
            self._model = Published.load(arrays["model"].tobytes())
            self._steps = Lockstep(2, int(arrays["next"][0]))

    @noting
    def on_batch(self, values: list[Scorable | Release]) -> Emitted[Outcome]:
        """One `Outcome` of each whole step."""
        return [self._step(parts) for parts in self._steps.whole(values)], False

    def _step(self, parts: list[Scorable | Release]) -> Outcome:
        version: ModelVersion | None = None
        given: Scorable | None = None
        for part in parts:
            if isinstance(part, Release):
                version = part.version
            else:
                given = part
        if version is not None:
            self._model = Published.load(version.content)
        assert given is not None
        rows = given.rows
        return Outcome(
            given.number,
            given.received,
            None if rows is None else self._decide(rows, given.now),
            None if rows is None else rows.envelope,
            version,
            dead=given.refused,
            repeated=given.repeated,
        )

    def _decide(self, rows: Observed, now: int) -> Decisions:
        model = self._model
        assert model is not None  # the first step comes with a version
        picked = model.layout.indices(rows.features[:, model.columns])
        log_odds = model.sum(picked)
        decision = self._policy.decide(log_odds, rows.batch.transaction_id)
        reasons = texts([[]] * len(decision))
        flagged = np.flatnonzero(decision != Decision.APPROVE)
        if len(flagged):
            reasons[flagged] = explain(
                model, rows.batch.take(flagged), rows.features[flagged], picked[flagged]
            )
        return Decisions(
            rows.batch,
            rows.features,
            log_odds,
            served_probability(log_odds),
            decision,
            self._policy.propensity(log_odds),
            reasons,
            int(time.time() * SECOND),
            now,
            model.version,
            self._policy.version,
        )

    def dump(self) -> bytes:
        """The version in use and the next step's number."""
        content = b"" if self._model is None else self._model.content
        model = np.frombuffer(content, np.uint8)
        return pack("score", VERSION, {"model": model, "next": np.array([self._steps.settle()])})
