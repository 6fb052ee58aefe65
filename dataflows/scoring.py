"""The scoring flow: payments in, learned decisions out.

A step of the stream holds what became known and the payments that came after it. Its payments get
the features of their cards, then those of their terminals; the learner meanwhile learns what became
known and releases a model version; with both at hand the payments are scored, decided and stored.
Profiles do not depend on the model, so there is no circle: what was stored comes back, days later,
through the source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream
from bytewax.inputs import Source
from bytewax.outputs import Sink

from dataflows.learning import ChallengeStep, LearnStep
from dataflows.live.order import OrderStep
from dataflows.live.slots import Keyed
from dataflows.messages import Outcome, Step
from dataflows.routes import Routes
from dataflows.steps import CardStep, ScoreStep, TerminalStep
from models.learner import CHAMPION, Additive
from models.policy import Policy
from models.roster import Challenger

FLOW = "tidegate"

# Names of the steps that have state. A recovery store knows its contents by them: whoever renames
# one loses its state, so `dataflows.recovery` refuses a store that has others.
_STATEFUL = ("cards", "terminals", "learn", "challenge", "score", "store")
FROM_FILES = ("stream", *_STATEFUL)
LIVE = ("slots", "order", *_STATEFUL)


@dataclass(frozen=True)
class Plan:
    """What the flow is built with, beside its ends. shards: fixed for the life of a recovery
    store. maturity_days: when silence counts as genuine. challengers: what learns beside the
    champion."""

    shards: int
    policy: Policy
    maturity_days: float
    champion: Additive = CHAMPION
    challengers: tuple[Challenger, ...] = ()


def build(source: Source[Step], sink: Sink[tuple[str, Outcome]], plan: Plan) -> Dataflow:
    """The graph from a source of steps, as files give them, to a sink of outcomes."""
    flow = Dataflow(FLOW)
    _score(op.input("stream", flow, source), sink, plan)
    return flow


def build_live(
    source: Source[Keyed],
    order: Callable[[bytes | None], OrderStep],
    sink: Sink[tuple[str, Outcome]],
    plan: Plan,
) -> Dataflow:
    """The graph from slots, which read Kafka's partitions and the inbox, over the one step that
    puts what they read in order, to a sink of outcomes."""
    flow = Dataflow(FLOW)
    pieces = op.input("slots", flow, source)
    ordered = op.stateful_batch("order", pieces, order)
    _score(op.key_rm("steps", ordered), sink, plan)
    return flow


def _score(stream: Stream[Step], sink: Sink[tuple[str, Outcome]], plan: Plan) -> None:
    route = Routes(plan.shards, [challenger.name for challenger in plan.challengers])

    def cards(state: bytes | None) -> CardStep:
        return CardStep(state, plan.shards, plan.maturity_days)

    def terminals(state: bytes | None) -> TerminalStep:
        return TerminalStep(state, plan.shards, plan.maturity_days)

    def learn(state: bytes | None) -> LearnStep:
        return LearnStep(state, plan.champion, tried=bool(plan.challengers))

    def challenge(state: bytes | None) -> ChallengeStep:
        return ChallengeStep(state, plan.challengers)

    def score(state: bytes | None) -> ScoreStep:
        return ScoreStep(state, plan.policy)

    by_card = op.flat_map("by_card", stream, route.cards)
    with_card = op.stateful_batch("cards", by_card, cards)

    by_terminal = op.map("by_terminal", with_card, route.terminals)
    news = op.flat_map("news", stream, route.news)
    terminal_work: Any = op.merge("terminal_work", by_terminal, news)
    with_terminal = op.stateful_batch("terminals", terminal_work, terminals)

    lessons = op.map("lessons", stream, route.lessons)
    learned = op.stateful_batch("learn", lessons, learn)
    challenges = op.flat_map("challenges", stream, route.challenges)
    challenged = op.stateful_batch("challenge", challenges, challenge)
    taught = op.merge("taught", learned, challenged)
    releases = op.flat_map("releases", taught, route.releases)

    to_score: Any = op.merge("to_score", with_terminal, releases)
    scored = op.stateful_batch("score", to_score, score)

    facts = op.map("facts", stream, route.facts)
    measured = op.flat_map("measured", taught, route.measured)
    op.output("store", op.merge("outcomes", scored, facts, measured), sink)
