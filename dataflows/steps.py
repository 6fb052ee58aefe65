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
    Outcome,
    Release,
    Repeated,
    Scorable,
    TerminalNews,
    TerminalWork,
    joined,
)
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
        features = empty(len(batch))
        features[:, CARD_COLUMNS] = self._profiles.observe(batch, hundredths(batch))
        owner = shards_of(batch.terminal_id, self._shards)
        repeated = [None] * self._shards if again is None else self._repeated(work, again)
        sent = []
        for shard in range(self._shards):
            rows = np.flatnonzero(owner == shard)
            piece = TerminalWork(
                work.number,
                work.now,
                work.received,
                batch.take(rows),
                position[rows],
                features[rows],
                None if envelope is None else envelope.take(rows),
                refused if shard == 0 else None,
                repeated[shard],
            )
            sent.append((shard, piece))
        return sent

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

    def on_batch(self, values: list[TerminalWork | TerminalNews]) -> Emitted[Scorable]:
        """One `Scorable` of each whole step."""
        return [self._step(parts) for parts in self._steps.whole(values)], False

    def _step(self, parts: list[TerminalWork | TerminalNews]) -> Scorable:
        work = [part for part in parts if isinstance(part, TerminalWork)]
        for part in parts:
            if isinstance(part, TerminalNews):
                self._profiles.learn(part.examples)
        # Back into the order of the stream, whichever card shard came first.
        order = np.argsort(np.concatenate([part.position for part in work]), kind="stable")
        batch = Batch.concat([part.batch for part in work]).take(order)
        features = np.concatenate([part.features for part in work])[order]
        features[:, TERMINAL_COLUMNS] = self._profiles.observe(batch, hundredths(batch))
        envelope = joined([part.envelope for part in work])
        refused = [part.refused for part in work if part.refused is not None]
        repeated = [part.repeated for part in work if part.repeated is not None]
        return Scorable(
            work[0].number,
            work[0].now,
            work[0].received,
            batch,
            features,
            None if envelope is None else envelope.take(order),
            DeadLetters.concat(refused) if refused else None,
            Repeated.concat(repeated) if repeated else None,
        )

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

    def on_batch(self, values: list[Scorable | Release]) -> Emitted[Outcome]:
        """One `Outcome` of each whole step."""
        return [self._step(parts) for parts in self._steps.whole(values)], False

    def _step(self, parts: list[Scorable | Release]) -> Outcome:
        version: ModelVersion | None = None
        rows: Scorable | None = None
        for part in parts:
            if isinstance(part, Release):
                version = part.version
            else:
                rows = part
        if version is not None:
            self._model = Published.load(version.content)
        assert rows is not None
        return Outcome(
            rows.number,
            rows.received,
            self._decide(rows) if len(rows.batch) else None,
            rows.envelope,
            version,
            dead=rows.refused,
            repeated=rows.repeated,
        )

    def _decide(self, rows: Scorable) -> Decisions:
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
            rows.now,
            model.version,
            self._policy.version,
        )

    def dump(self) -> bytes:
        """The version in use and the next step's number."""
        content = b"" if self._model is None else self._model.content
        model = np.frombuffer(content, np.uint8)
        return pack("score", VERSION, {"model": model, "next": np.array([self._steps.settle()])})
