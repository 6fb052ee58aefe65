"""Which part of a step goes to which shard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from dataflows.keys import shard_keys, shards_of
from dataflows.messages import (
    CardWork,
    Lesson,
    Outcome,
    Release,
    Step,
    TerminalNews,
    TerminalWork,
    no_examples,
)
from dataflows.store import FACTS, LEARNING
from tidegate.schema import CHAMPION, Examples, Texts, View

LEARNER = CHAMPION


class Routes:
    """Splits what flows by card or terminal over a fixed number of shards."""

    def __init__(self, shards: int, challengers: Sequence[str] = ()) -> None:
        self.shards = shards
        self.challengers = challengers
        self.keys = shard_keys(shards)

    def cards(self, step: Step) -> Iterable[tuple[str, CardWork]]:
        """Every card shard's part of a step, empty ones too."""
        known = _without_features(step.examples)
        # Only frauds, and what is no longer one, matter to a card.
        known = known.take(known.fraud | (known.before == View.FRAUD))
        parts = self._parts(known, known.card_token)
        owner = shards_of(step.batch.card_token, self.shards)
        for shard, key in enumerate(self.keys):
            rows = np.flatnonzero(owner == shard)
            yield (
                key,
                CardWork(
                    step.number,
                    step.now,
                    step.received,
                    step.batch.take(rows),
                    rows,
                    step.origin.take(rows),
                    parts[shard],
                ),
            )

    def news(self, step: Step) -> Iterable[tuple[str, TerminalNews]]:
        """Every terminal shard's part of what became known."""
        known = _without_features(step.examples)
        parts = self._parts(known, known.terminal_id)
        return [
            (key, TerminalNews(step.number, parts[shard])) for shard, key in enumerate(self.keys)
        ]

    def terminals(self, sent: tuple[str, tuple[int, TerminalWork]]) -> tuple[str, TerminalWork]:
        """A card shard's rows, on to the terminal shard that they are for."""
        _, (shard, work) = sent
        return self.keys[shard], work

    def lessons(self, step: Step) -> tuple[str, Lesson]:
        """What the champion gets of a step."""
        return LEARNER, _lesson(step, CHAMPION)

    def challenges(self, step: Step) -> Iterable[tuple[str, Lesson]]:
        """The same for every challenger."""
        return [(name, _lesson(step, name)) for name in self.challengers]

    def releases(self, sent: tuple[str, Release | Outcome]) -> Iterable[tuple[str, Release]]:
        """A version goes to every shard."""
        _, release = sent
        return [(key, release) for key in self.keys if isinstance(release, Release)]

    def measured(self, sent: tuple[str, Release | Outcome]) -> Iterable[tuple[str, Outcome]]:
        """The models' metrics go to the sink."""
        _, outcome = sent
        return [(LEARNING, outcome)] if isinstance(outcome, Outcome) else []

    def facts(self, step: Step) -> tuple[str, Outcome]:
        """Labels and dead letters go to the sink as they are."""
        outcome = Outcome(
            step.number, step.received, labels=step.labels, dead=step.dead, marks=step.marks
        )
        return FACTS, outcome

    def _parts(self, known: Examples, entities: Texts) -> list[Examples]:
        if not len(known):
            return [known] * self.shards
        owner = shards_of(entities, self.shards)
        return [known.take(owner == shard) for shard in range(self.shards)]


def _lesson(step: Step, model: str) -> Lesson:
    examples = step.examples or no_examples()
    return Lesson(step.number, step.now, examples, model, step.serving)


def _without_features(known: Examples | None) -> Examples:
    # Profiles count payments; only the learner looks at their features.
    if known is None:
        return no_examples()
    return replace(known, features=np.zeros((len(known), 0), np.float32))
